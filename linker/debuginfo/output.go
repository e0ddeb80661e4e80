package debuginfo

import (
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"leanlink/objfile"
)

// Manner is what is to be known of the real linker and of what it was told.
type Manner struct {
	// Rehash: a build ID, if there is one, is a hash of the output, and so has
	// to be one of the debug information, too.
	Rehash bool
	// LeavesOut: it leaves out what is not loaded of an object of which nothing
	// else is left, the table with it. GNU ld does.
	LeavesOut bool
}

// Finish puts the joined sections into the output of the link. It is to be
// called once, after Apply. If it fails the output may be any bytes.
func (j *Join) Finish(path string, how Manner) error {
	out, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	info, err := out.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", path)
	}
	image, err := syscall.Mmap(int(out.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("%s: cannot be mapped: %w", path, err)
	}
	if err = j.attach(path, image, out, how); err != nil {
		return err // which may borrow from the image: it stays
	}
	syscall.Munmap(image)
	for _, s := range j.sections {
		release(s.data)
		s.data = nil
	}
	return nil
}

// attach is Finish for an open output, whose bytes are image.
func (j *Join) attach(path string, image []byte, out *os.File, how Manner) error {
	f, err := objfile.Parse(path, image)
	if err != nil {
		return err
	}
	sections, gone, err := j.attachments(f, how.LeavesOut)
	if err != nil {
		return err
	}
	var id *objfile.Piece
	if how.Rehash {
		id = buildID(f, sections)
	}
	pieces, size, err := f.Attach(gone, sections)
	if err != nil {
		return err
	}
	if id != nil {
		pieces = append(pieces, *id)
	}
	if err := writeAll(out, pieces); err != nil {
		return err
	}
	return out.Truncate(int64(size))
}

// Lacking reports whether a file is an output that is still to be finished.
func Lacking(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	image, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	f, err := objfile.Parse(path, image)
	return err == nil && slices.ContainsFunc(f.Sections, func(s objfile.Section) bool { return s.Name == tableName })
}

// attachments completes the joined sections with what the linker knows. gone is
// the section of the tables, 0 if there are none.
func (j *Join) attachments(f *objfile.File, leavesOut bool) (sections []objfile.Attachment, gone uint32, err error) {
	var table []byte // none if all that there is debug information of is dead
	if k := slices.IndexFunc(f.Sections, func(s objfile.Section) bool { return s.Name == tableName }); k >= 0 {
		gone, table = uint32(k), f.Bytes(uint32(k))
	}
	if err := j.read(table, leavesOut); err != nil {
		return nil, 0, f.ErrorAt(gone, 0, err.Error())
	}
	zero, moved := false, false
	align, foreign := map[string]uint64{}, map[string][]byte{} // what the linker has joined itself: files that it adds by itself
	for i := range f.Sections {
		s := &f.Sections[i]
		zero = zero || s.Flags&(objfile.SHF_ALLOC|objfile.SHF_TLS) == objfile.SHF_ALLOC && s.Size > 0 && f.Address(uint32(i)) == 0
		if s.IsDebug() && uint32(i) != gone {
			if _, twice := foreign[s.Name]; twice {
				return nil, 0, f.ErrorAt(uint32(i), 0, "the output has two sections of the name")
			}
			foreign[s.Name] = slices.Clone(f.Bytes(uint32(i)))
			align[s.Name] = s.Align
		}
	}
	for _, s := range j.sections {
		s.align = max(s.align, align[s.name])
		s.base = (uint64(len(foreign[s.name])) + s.align - 1) &^ (s.align - 1)
		moved = moved || s.base > 0
	}
	if moved {
		if err := j.Apply(); err != nil { // all offsets are others
			return nil, 0, err
		}
	}
	if err := j.each(func(o *object) error {
		for _, p := range o.parts {
			if p.instead != nil {
				continue
			}
			if err := p.fix(zero); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, 0, err
	}
	for _, s := range j.sections {
		a := objfile.Attachment{Name: s.name, Flags: s.flags, Align: s.align, EntSize: s.entSize, Data: [][]byte{s.data}}
		if b := foreign[s.name]; len(b) > 0 {
			a.Data = [][]byte{b, make([]byte, s.base-uint64(len(b))), s.data}
		}
		sections = append(sections, a)
	}
	return sections, gone, nil
}

// buildIDType is NT_GNU_BUILD_ID.
const buildIDType = 3

// buildID makes another build ID of an output's and the sections that it did
// not have when that was made: where the code of two programs is the same but
// not their lines, debuggers must not take one for the other. nil if the output
// has none.
func buildID(f *objfile.File, sections []objfile.Attachment) *objfile.Piece {
	for i := range f.Sections {
		s := &f.Sections[i]
		if s.Type != objfile.SHT_NOTE {
			continue
		}
		at, n := findBuildID(f.Bytes(uint32(i)))
		if n == 0 || n > sha256.Size {
			continue
		}
		h := sha256.New()
		h.Write(f.Bytes(uint32(i))[at : at+n])
		for k := range sections {
			var sum xxh3.Hasher
			for _, d := range sections[k].Data {
				sum.Write(d)
			}
			v := sum.Sum128().Bytes()
			h.Write(v[:])
		}
		return &objfile.Piece{At: s.Offset + at, Data: h.Sum(nil)[:n]}
	}
	return nil
}

// findBuildID says where in a section of notes the build ID is, and how many
// bytes it has: none if there is none.
func findBuildID(b []byte) (at, n uint64) {
	const head = 12 // the sizes of the name and of what follows it, and the type
	for uint64(len(b))-at >= head {
		name, size, typ := uint64(le.Uint32(b[at:])), uint64(le.Uint32(b[at+4:])), le.Uint32(b[at+8:])
		start := at + head + (name+3)&^3
		if start > uint64(len(b)) || size > uint64(len(b))-start {
			break
		}
		if typ == buildIDType && string(b[at+head:start]) == "GNU\x00" {
			return start, size
		}
		at = min(start+(size+3)&^3, uint64(len(b)))
	}
	return 0, 0
}

// writeRun is how many bytes are written with one call.
const writeRun = 1 << 20

// writeAll writes pieces, several at once.
func writeAll(out *os.File, pieces []objfile.Piece) error {
	var runs []objfile.Piece
	for _, p := range pieces {
		for len(p.Data) > 0 {
			n := min(len(p.Data), writeRun)
			runs = append(runs, objfile.Piece{At: p.At, Data: p.Data[:n]})
			p.At, p.Data = p.At+uint64(n), p.Data[n:]
		}
	}
	var g errgroup.Group
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			for {
				k := int(next.Add(1)) - 1
				if k >= len(runs) {
					return nil
				}
				if _, err := out.WriteAt(runs[k].Data, int64(runs[k].At)); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}
