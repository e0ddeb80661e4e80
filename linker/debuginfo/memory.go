package debuginfo

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Joined strings lie in memory of their own, a few pieces of megabytes that are
// written from end to end and dropped together. The system is asked for large
// pages: faults for small ones, and looking them up for one string after the
// other, took a third of the time of joining. Where it has none they are small.

// allocate returns memory that reads as zeros; release gives it back.
func allocate(size uint64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("no memory for %d bytes of debug information: %w", size, err)
	}
	unix.Madvise(b, unix.MADV_HUGEPAGE)
	return b, nil
}

func release(b []byte) {
	if cap(b) > 0 {
		unix.Munmap(b[:cap(b)])
	}
}

// allocateSlots is allocate for a hash table, whose size is a number of slots.
func allocateSlots(n int) (slots []stringSlot, memory []byte, err error) {
	memory, err = allocate(uint64(n) * uint64(unsafe.Sizeof(stringSlot{})))
	if err != nil {
		return nil, nil, err
	}
	return unsafe.Slice((*stringSlot)(unsafe.Pointer(&memory[0])), n), memory, nil
}

// willRead has the system map what is going to be read of a file, from end to
// end, instead of a few pages at each fault.
func willRead(b []byte) {
	page := os.Getpagesize()
	if len(b) < 16*page {
		return
	}
	lead := int(-uintptr(unsafe.Pointer(&b[0])) & uintptr(page-1))
	unix.Madvise(b[lead:], unix.MADV_POPULATE_READ)
}
