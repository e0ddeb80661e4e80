package debuginfo

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"syscall"

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
		if s.strings != nil {
			release(s.strings.data)
			s.strings.data = nil
		}
	}
	return nil
}

// attach is Finish for an open output, whose bytes are image.
func (j *Join) attach(path string, image []byte, out *os.File, how Manner) error {
	f, err := objfile.Parse(path, image)
	if err != nil {
		return err
	}
	gone, zero, err := j.complete(f, how.LeavesOut)
	if err != nil {
		return err
	}
	sections, foreign := j.attachments(f)
	room, err := f.Attach(gone, sections)
	if err != nil {
		return err
	}
	for _, p := range room.Pieces {
		if _, err := out.WriteAt(p.Data, int64(p.At)); err != nil {
			return err
		}
	}
	for k, b := range foreign {
		if _, err := out.WriteAt(b, int64(room.Places[k])); err != nil {
			return err
		}
	}
	id := objfile.Piece{}
	if how.Rehash {
		id = buildID(f)
	}
	sum, err := j.write(out, room.Places, zero, id.Data)
	if err != nil {
		return err
	}
	if _, err := out.WriteAt(sum, int64(id.At)); err != nil {
		return err
	}
	return out.Truncate(int64(room.Size))
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

// complete reads what only the linker knows: gone is the section of the tables, 0
// if there are none, and zero says whether something lies at the address 0.
func (j *Join) complete(f *objfile.File, leavesOut bool) (gone uint32, zero bool, err error) {
	var table []byte // none if all that there is debug information of is dead
	if k := slices.IndexFunc(f.Sections, func(s objfile.Section) bool { return s.Name == tableName }); k >= 0 {
		gone, table = uint32(k), f.Bytes(uint32(k))
	}
	if err := j.read(table, leavesOut); err != nil {
		return 0, false, f.ErrorAt(gone, 0, err.Error())
	}
	named := map[string]bool{}
	for i := range f.Sections {
		s := &f.Sections[i]
		zero = zero || s.Flags&(objfile.SHF_ALLOC|objfile.SHF_TLS) == objfile.SHF_ALLOC && s.Size > 0 && f.Address(uint32(i)) == 0
		if s.IsDebug() {
			if named[s.Name] {
				return 0, false, f.ErrorAt(uint32(i), 0, "the output has two sections of the name")
			}
			named[s.Name] = true
		}
	}
	return gone, zero, nil
}

// attachments are the joined sections as the output is to have them. foreign is
// what the linker has put into some of them itself, of files that it adds, with
// zeros up to where the rest begins; indexed as the sections.
func (j *Join) attachments(f *objfile.File) (sections []objfile.Attachment, foreign [][]byte) {
	for _, s := range j.sections {
		s.base = 0
		var theirs []byte
		if k := slices.IndexFunc(f.Sections, func(h objfile.Section) bool { return h.Name == s.name }); k >= 0 {
			h := &f.Sections[k]
			s.align = max(s.align, h.Align)
			s.base = (h.Size + s.align - 1) &^ (s.align - 1)
			theirs = make([]byte, s.base)
			copy(theirs, f.Bytes(uint32(k)))
		}
		foreign = append(foreign, theirs)
		sections = append(sections, objfile.Attachment{Name: s.name, Flags: s.flags, Align: s.align, EntSize: s.entSize, Size: s.base + s.size})
	}
	return sections, foreign
}

// buildIDType is NT_GNU_BUILD_ID.
const buildIDType = 3

// buildID is an output's build ID and where it is; none is empty.
func buildID(f *objfile.File) objfile.Piece {
	for i := range f.Sections {
		s := &f.Sections[i]
		if s.Type != objfile.SHT_NOTE {
			continue
		}
		b := f.Bytes(uint32(i))
		if at, n := findBuildID(b); n > 0 && n <= sha256.Size {
			return objfile.Piece{At: s.Offset + at, Data: bytes.Clone(b[at : at+n])}
		}
	}
	return objfile.Piece{}
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
