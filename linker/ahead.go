package linker

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"leanlink/objfile"
)

// ahead copies the debug information of objects into their new files while it
// is still being decided what becomes of the rest. It is most of the bytes, no
// decision depends on it, and an edit leaves it where it is; what an edit
// changes in it is written over the copy.
//
// Some phases take one processor: searching archives, marking, electing
// leaders. This takes the others meanwhile, and waits while a phase has use for
// them itself. Where there is but one it does nothing.
type ahead struct {
	w    *writer
	stop atomic.Bool
	gate sync.Mutex    // held while a phase has use for all processors
	held bool          // it is
	slot chan struct{} // one for each file that is copied at once
	all  sync.WaitGroup
	// waiting are those that were added before start.
	waiting []*aheadFile
	started bool
	files   map[*objfile.File]*aheadFile
}

// aheadFile is a new file that has some of its bytes.
type aheadFile struct {
	path string
	// source is the file that has the object, offset bytes from its beginning.
	source string
	offset uint64
	runs   []span
	done   chan struct{}
	err    error // valid when done: nil if all runs are there
}

// errAbandoned is the fault of a file that was not begun.
var errAbandoned = errors.New("not begun")

// span is a part of a file: offsets.
type span struct{ at, end uint64 }

// minAhead is how many bytes make a file worth the trouble.
const minAhead = 16 << 10

func newAhead(w *writer) *ahead {
	return &ahead{w: w, slot: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)), files: map[*objfile.File]*aheadFile{}}
}

// add begins to copy an object that takes part in the link: base is what its
// file is called, source the file that it lies in, mapped at image. A nil ahead
// does nothing.
func (a *ahead) add(base string, f *objfile.File, source string, image []byte) {
	if a == nil || a.stop.Load() {
		return
	}
	runs, size := debugRuns(f)
	if size < minAhead {
		return
	}
	n := &aheadFile{path: a.w.path(base), source: source, runs: runs, done: make(chan struct{})}
	n.offset = uint64(uintptr(unsafe.Pointer(&f.Data[0])) - uintptr(unsafe.Pointer(&image[0])))
	a.files[f] = n
	a.all.Add(1)
	if !a.started {
		a.waiting = append(a.waiting, n)
		return
	}
	go a.copy(n)
}

// start begins to copy. size is about what the inputs have, bytes: it must
// fit into memory with ease, for nothing is decided yet.
func (a *ahead) start(size uint64) {
	if a == nil {
		return
	}
	a.started = true
	if !inMemory(a.w.dir, size) {
		a.stop.Store(true)
	}
	for _, n := range a.waiting {
		go a.copy(n)
	}
	a.waiting = nil
}

// during has the copying go on during a phase that takes one processor, and
// wait during any other.
func (a *ahead) during(alone bool) {
	switch {
	case a == nil || a.held == !alone:
	case alone:
		a.held = false
		a.gate.Unlock()
	default:
		a.held = true
		a.gate.Lock()
	}
}

// end waits until nothing is being copied any more; what has not begun never
// will.
func (a *ahead) end() {
	if a == nil {
		return
	}
	a.stop.Store(true)
	a.during(true)
	if !a.started {
		a.start(0)
	}
	a.all.Wait()
}

// clear is end, and removes what was copied.
func (a *ahead) clear() {
	if a == nil {
		return
	}
	a.end()
	for _, n := range a.files {
		os.Remove(n.path)
	}
	a.files = nil
}

func (a *ahead) copy(n *aheadFile) {
	defer a.all.Done()
	defer close(n.done)
	a.slot <- struct{}{}
	defer func() { <-a.slot }()
	a.gate.Lock()
	a.gate.Unlock()
	if n.err = errAbandoned; a.stop.Load() {
		return
	}
	file, err := os.OpenFile(n.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		n.err = err
		return
	}
	n.err = n.send(file)
	if err := file.Close(); n.err == nil {
		n.err = err
	}
}

// send copies the runs from file to file: reading them where they are mapped
// would hold up the phases that map and read meanwhile.
func (n *aheadFile) send(to *os.File) error {
	from, err := openRegular(n.source)
	if err != nil {
		return err
	}
	defer from.Close()
	for _, r := range n.runs {
		if _, err := to.Seek(int64(r.at), io.SeekStart); err != nil {
			return err
		}
		for at := int64(n.offset + r.at); at < int64(n.offset+r.end); {
			k, err := unix.Sendfile(int(to.Fd()), int(from.Fd()), &at, int(n.offset+r.end)-int(at))
			switch {
			case err == unix.EINTR:
			case err != nil:
				return &os.PathError{Op: "sendfile", Path: to.Name(), Err: err}
			case k == 0:
				return fmt.Errorf("%s: %w", n.source, errChanged)
			}
		}
	}
	return nil
}

// take returns the file that has the beginnings of an object's new one, nil
// if there is none. The caller then owns it.
func (a *ahead) take(f *objfile.File) *aheadFile {
	if a == nil {
		return nil
	}
	n := a.files[f]
	delete(a.files, f)
	return n
}

// debugRuns lists the parts of an object that are debug information and its
// relocations, ascending, and their size together. What lies between two of
// its sections, to align the second, counts.
func debugRuns(f *objfile.File) (runs []span, size uint64) {
	for i := range f.Sections {
		s := &f.Sections[i]
		if len(f.Bytes(uint32(i))) == 0 {
			continue
		}
		of := s
		if s.Type == objfile.SHT_RELA || s.Type == objfile.SHT_REL {
			of = &f.Sections[s.Info]
		}
		if of.IsDebug() {
			runs = append(runs, span{s.Offset, s.Offset + s.Size})
		}
	}
	slices.SortFunc(runs, func(a, b span) int { return cmp.Compare(a.at, b.at) })
	joined := runs[:0]
	for _, r := range runs {
		if last := len(joined) - 1; last >= 0 && r.at >= joined[last].end && r.at-joined[last].end < 16 {
			joined[last].end = r.end
		} else {
			joined = append(joined, r)
		}
	}
	for _, r := range joined {
		size += r.end - r.at
	}
	return joined, size
}

// without takes the runs, which are ascending, out of the pieces that are the
// original's.
func without(pieces []objfile.Piece, runs []span) []objfile.Piece {
	out := make([]objfile.Piece, 0, len(pieces)+len(runs))
	for _, p := range pieces {
		if !p.Same {
			out = append(out, p)
			continue
		}
		at, end := p.At, p.At+uint64(len(p.Data))
		for len(runs) > 0 && runs[0].end <= at {
			runs = runs[1:]
		}
		for _, r := range runs {
			if r.at >= end || at >= end {
				break
			}
			if r.at > at {
				out = append(out, objfile.Piece{At: at, Data: p.Data[at-p.At : r.at-p.At], Same: true})
			}
			at = max(at, r.end)
		}
		if at < end {
			out = append(out, objfile.Piece{At: at, Data: p.Data[at-p.At:], Same: true})
		}
	}
	return out
}
