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
// mapped is worth the trouble. That happens when less than spare is left to the
// bound, and at least residentMany bytes of files are in memory; residentTick is
// how often that is looked at.
const (
	manyLive     = 50_000
	spare        = 24 << 20
	residentMany = 16 << 20
	residentTick = 2 * time.Millisecond
)

// keepMemory tells the collector how much there is for this link, of which some
// number of sections are live, and sees to it that what is mapped does not stay
// in memory where that is too much. Each phase may know better how many are
// live.
func (p *preparation) keepMemory(live int) {
	mapped := p.in.mapped.size()
	bound := mapped + memoryBase + memorySection*int64(live)
	_, files := residentMemory(mapped)
	if live >= manyLive {
		p.in.mapped.keepBelow(bound - max(spare, bound/8))
		files = min(mapped, residentMany+mapped/8) // more are looked at than can be let go of at once
	}
	debug.SetMemoryLimit(max(bound-files, memoryBase/2))
}

// residentMemory is how many bytes the process has in memory, and how many of
// them are mapped files, the program among them; as many as are mapped if that
// is not to be known.
func residentMemory(mapped int64) (all, files int64) {
	text, err := os.ReadFile("/proc/self/statm")
	f := strings.Fields(string(text)) // size, resident, shared, …: pages
	if err != nil || len(f) < 3 {
		return mapped, mapped
	}
	page := int64(os.Getpagesize())
	for i, to := range []*int64{&all, &files} {
		pages, err := strconv.ParseInt(f[1+i], 10, 64)
		if err != nil || pages < 0 || pages > math.MaxInt64/page {
			return mapped, mapped
		}
		*to = pages * page
	}
	return all, files
}

// keepBelow lets go of the files whenever the process has more than some bytes
// in memory, from now on and until it is told 0. They are read again where they
// are looked at again; most are not.
func (m *mappings) keepBelow(bytes int64) {
	if was := m.below.Swap(bytes); was != 0 || bytes == 0 {
		return // it is being done, or nothing is to be done
	}
	go func() {
		for below := bytes; below != 0; below = m.below.Load() {
			all, files := residentMemory(below)
			if all > below && files > residentMany {
				m.letGo()
			}
			if all < below-below/4 {
				time.Sleep(4 * residentTick)
			}
			time.Sleep(residentTick)
		}
	}()
}
