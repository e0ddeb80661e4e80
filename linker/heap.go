package linker

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

// startHeap prepares Go's heap for a link. Little of what the phases make is
// ever thrown away: so the first garbage collection waits until there are 64 MB,
// which most links never have. From then on it is as usual.
func startHeap() {
	usual := debug.SetGCPercent(-1)
	large := adviseLarge()
	go func() { // beside the reading of the arguments
		if large {
			runtime.GC()
		}
		debug.SetGCPercent(1600) // of the 4 MB with which Go begins
		type first struct{ _ *byte }
		runtime.SetFinalizer(&first{}, func(*first) { debug.SetGCPercent(usual) })
	}()
}

// heapStart is how much of the heap is to lie in large pages, bytes: all that
// there is before the first collection, less the unit in which Go takes memory of
// the system.
const heapStart = 60 << 20

// largePage is the size of a large page of most machines, bytes. Where it is
// another the advice begins in the middle of one, which stays small.
const largePage = 2 << 20

// adviseLarge has the system back the beginning of the heap with large pages,
// where it does that for those who ask. A page costs a fault, and work again when
// the process ends; of small ones that was a tenth of a link's time.
//
// Go cannot be told, but advice holds for addresses, whatever lies there later. So
// a slice is made as large as the heap is to become, the system is told of its
// memory, and it is dropped: the next collection, which the caller sees to, makes
// room for all that comes. What is not used is never backed. It reports whether
// there is something to collect.
func adviseLarge() bool {
	// Of "always", "madvise" and "never" one is in brackets. What always is need
	// not be asked for.
	how, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil || !bytes.Contains(how, []byte("[madvise]")) {
		return false
	}
	for _, resource := range [...]int{unix.RLIMIT_AS, unix.RLIMIT_DATA} {
		var limit unix.Rlimit
		if unix.Getrlimit(resource, &limit) != nil || limit.Cur != unix.RLIM_INFINITY {
			return false // what is not used counts, too
		}
	}
	heap := make([]byte, heapStart)
	lead := -uintptr(unsafe.Pointer(&heap[0])) & (largePage - 1)
	return unix.Madvise(heap[lead:], unix.MADV_HUGEPAGE) == nil
}
