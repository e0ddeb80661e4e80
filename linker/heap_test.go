package linker

import (
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// largeMemory is how much memory of this process lies in large pages, kB.
func largeMemory(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Skip(err)
	}
	m := regexp.MustCompile(`AnonHugePages: *(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Skip("the system does not tell")
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAdviseLarge: what is made after the collection lies in large pages, where
// the system has some to give.
func TestAdviseLarge(t *testing.T) {
	const size = 16 << 20
	touch := func(b []byte) []byte {
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		return b
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	before := largeMemory(t)
	if before > 0 {
		t.Skip("some is in use, and may be used again")
	}
	if !adviseLarge() {
		t.Skip("the system has no large pages for those who ask")
	}
	control, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(control)
	unix.Madvise(control, unix.MADV_HUGEPAGE)
	touch(control)
	between := largeMemory(t)
	if between-before < size/2/1024 {
		t.Skip("the system has no large pages at the moment")
	}
	runtime.GC()
	heap := touch(make([]byte, size))
	if after := largeMemory(t); after-between < size/2/1024 {
		t.Errorf("%d kB of %d lie in large pages", after-between, size/1024)
	}
	runtime.KeepAlive(heap)
}

// TestAdviseLargeLimited: nothing is taken where what is not used counts, too.
func TestAdviseLargeLimited(t *testing.T) {
	for _, resource := range []int{unix.RLIMIT_AS, unix.RLIMIT_DATA} {
		var was unix.Rlimit
		if err := unix.Getrlimit(resource, &was); err != nil || was.Cur != unix.RLIM_INFINITY {
			t.Skip("there is a limit already")
		}
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: 64 << 30, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
		asked := adviseLarge()
		if err := unix.Setrlimit(resource, &was); err != nil {
			t.Fatal(err)
		}
		if asked {
			t.Errorf("limit %d: memory was taken", resource)
		}
	}
}
