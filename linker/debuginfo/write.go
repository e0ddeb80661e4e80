package debuginfo

import (
	"crypto/sha256"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"
)

// stretch is what of a joined section is made and written at once.
type stretch struct {
	section int     // by its place in Join.sections
	parts   []*part // one behind the other; none of a section of strings
	at, end uint64  // from the end of the part before, if there is one; in what is joined of the section
}

// stretchSize is what the stretches have at least, bytes, but for a section's
// last: little enough to stay in a processor's cache until it is written, and
// enough for a call to the system.
const stretchSize = 256 << 10

// maxMakers is how many stretches are made at once at the most: to write one takes
// a third of the time of making it, and each has memory of its own.
const maxMakers = 4

// stretches divides the sections, in their order.
func (j *Join) stretches() (all []stretch) {
	for k, s := range j.sections {
		if s.strings != nil {
			for at := uint64(0); at < s.size; at += stretchSize {
				all = append(all, stretch{section: k, at: at, end: min(at+stretchSize, s.size)})
			}
			continue
		}
		next := stretch{section: k}
		for i, p := range s.parts {
			next.parts = append(next.parts, p)
			next.end = p.at + p.object.file.Sections[p.from].Size
			if next.end-next.at >= stretchSize || i == len(s.parts)-1 && next.end > next.at {
				all = append(all, next)
				next = stretch{section: k, at: next.end}
			}
		}
	}
	return all
}

// write makes the joined sections and writes them to the places where they are
// to begin, several stretches at once. The result is another build ID, of one that
// the output had before it had these sections, and of them: where the code of two
// programs is the same but not their lines, debuggers must not take one for the
// other. With none it is none.
func (j *Join) write(out io.WriterAt, places []uint64, zero bool, id []byte) ([]byte, error) {
	all := j.stretches()
	largest := uint64(0)
	for k := range all {
		largest = max(largest, all[k].end-all[k].at)
	}
	sums := make([]xxh3.Uint128, len(all))
	var writing sync.Mutex // the system writes to a file one call at a time, and lets others spin
	var next atomic.Int64
	var g errgroup.Group
	for range min(runtime.GOMAXPROCS(0), maxMakers) {
		g.Go(func() error {
			a := assembler{zero: zero, data: make([]byte, largest)}
			for {
				k := int(next.Add(1)) - 1
				if k >= len(all) {
					return nil
				}
				s := j.sections[all[k].section]
				data, err := a.make(&all[k], s)
				if err != nil {
					return err
				}
				if len(id) > 0 {
					sums[k] = xxh3.Hash128(data)
				}
				writing.Lock()
				_, err = out.WriteAt(data, int64(places[all[k].section]+s.base+all[k].at))
				writing.Unlock()
				if err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil || len(id) == 0 {
		return nil, err
	}
	h := sha256.New()
	h.Write(id)
	for _, sum := range sums {
		b := sum.Bytes()
		h.Write(b[:])
	}
	return h.Sum(nil)[:len(id)], nil
}
