package linker

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// A link is to take no more memory than its mapped inputs, 32 MB and 400 bytes
// for each live section (docs/performance.md). What is mapped counts as far as
// it has been looked at, and can be let go again; what is left is for Go, whose
// collector is told. Small links never come near and collect nothing.

// The bound of a link's memory, bytes.
const (
	memoryBase    = 32 << 20
	memorySection = 400
)

// manyLive is the number of live sections from which letting go of what is
// mapped is worth the trouble; residentMany is how much of it may then be in
// memory, bytes, and residentTick how often that is looked at.
const (
	manyLive     = 50_000
	residentMany = 16 << 20
	residentTick = 2 * time.Millisecond
)

// keepMemory tells the collector how much there is for this link, of which some
// number of sections are live, and sees to it that what is mapped does not stay
// in memory where that is much. Each phase may know better how many are live.
func (p *preparation) keepMemory(live int) {
	mapped := p.in.mapped.size()
	resident := residentFiles(mapped)
	if live >= manyLive {
		p.in.mapped.letGoOften()
		resident = min(mapped, residentMany*3/2)
	}
	debug.SetMemoryLimit(max(mapped+memoryBase+memorySection*int64(live)-resident, memoryBase/2))
}

// residentFiles is how many bytes of mapped files, the program among them, the
// process has in memory; mapped if that is not to be known.
func residentFiles(mapped int64) int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return mapped
	}
	f := strings.Fields(string(text)) // size, resident, shared, …: pages
	if len(f) < 3 {
		return mapped
	}
	pages, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || pages < 0 || pages > math.MaxInt64>>20 {
		return mapped
	}
	return pages * int64(os.Getpagesize())
}

// letGoOften begins to let go of the files whenever many of their bytes are in
// memory, for as long as the process lives. They are read again where they are
// looked at again; most are not.
func (m *mappings) letGoOften() {
	m.often.Do(func() {
		go func() {
			for range time.Tick(residentTick) {
				if residentFiles(residentMany) > residentMany {
					m.letGo()
				}
			}
		}()
	})
}
