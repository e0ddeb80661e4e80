package merge

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// inParallel calls f for 0 to n−1, on as many threads as the program may use.
// What f does for one number must not depend on what it does for others.
func inParallel(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers < 2 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i)
			}
		})
	}
	wg.Wait()
}

// chunk is how many numbers inChunks takes at once.
const chunk = 256

// inChunks calls f for runs of the numbers from 0 to n−1, which begin at
// multiples of chunk, in the same way.
func inChunks(n int, f func(from, to int)) {
	inParallel((n+chunk-1)/chunk, func(c int) { f(c*chunk, min(c*chunk+chunk, n)) })
}
