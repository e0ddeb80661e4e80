package debuginfo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"leanlink/objfile"
)

// grouped has debug information in a group, as .debug_macro comes.
const grouped = `
	.section .debug_macro, "G", @progbits, wm4.h.1.0123, comdat
	.byte 4, 0, 5, 1
	.long .debug_str
	.section .debug_macro, "", @progbits
	.byte 4, 0, 7
	.long .Lgroup
	.section .debug_macro, "G", @progbits, wm4.h.1.0123, comdat
.Lgroup:
	.section .debug_str, "MS", @progbits, 1
	.string "A 1"
	.section .debug_info, "", @progbits
	.quad f
	.section .text.f, "ax", @progbits
f:	ret
`

// FuzzJoin: whatever the objects are, joining them is an error or sections of the
// sizes that were told before; nothing panics, and the objects' edits parse.
func FuzzJoin(f *testing.F) {
	var seeds [][]byte
	for _, file := range append(joinedFiles(f), assemble(f, "grouped.o", grouped)) {
		seeds = append(seeds, file.Data)
		f.Add(file.Data, []byte{})
		f.Add(file.Data, []byte{2, 0, 4, 1, 1, 1, 8, 7})
	}
	f.Fuzz(func(t *testing.T, b, ops []byte) {
		b = spoiled(b, ops)
		first, err := objfile.Parse("fuzz.o", b)
		if err != nil {
			return
		}
		before := bytes.Clone(b)
		files := []*objfile.File{first}
		for _, seed := range seeds {
			f, err := objfile.Parse("seed.o", bytes.Clone(seed))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		if first.Is64() {
			joinAll(t, files)
		}
		joinAll(t, files[:1])
		if !bytes.Equal(b, before) {
			t.Fatal("the input was changed")
		}
	})
}

func joinAll(t *testing.T, files []*objfile.File) {
	refused := func(err error) bool {
		var format *objfile.FormatError
		if err != nil && !errors.As(err, &format) && err.Error() == "" {
			t.Fatalf("%T: an error without a word", err)
		}
		return err != nil
	}
	r := NewReader()
	defer r.Stop()
	r.Add(files[0])
	j, err := r.Join(files, func([]byte) {})
	if refused(err) || j == nil {
		return
	}
	if refused(j.Merge()) || j.size() > 1<<24 {
		return
	}
	var tables []byte
	for k, f := range files {
		if !j.Has(k) {
			continue
		}
		e := objfile.NewEdit(f)
		if refused(j.Edit(k, e, func(symbol, section uint32) bool { return symbol%3 == 0 })) {
			return
		}
		if _, err := e.Write(io.Discard); refused(err) {
			return
		}
		var out bytes.Buffer
		e.Write(&out)
		again, err := objfile.Parse("again.o", out.Bytes())
		if err != nil {
			t.Fatalf("the edited object does not parse: %v", err)
		}
		for i := range again.Sections {
			if again.Sections[i].Name == tableName {
				tables = append(tables, again.Bytes(uint32(i))...)
			}
		}
	}
	if err := j.read(tables, false); err != nil {
		t.Fatalf("the tables as they were written cannot be read: %v", err)
	}
	if sections, _, err := j.contents(true, []byte("id")); !refused(err) && len(sections) != len(j.sections) {
		t.Fatalf("%d sections of %d", len(sections), len(j.sections))
	}
	for _, s := range j.sections {
		if s.strings != nil {
			release(s.strings.data)
		}
	}
}

// spoiled changes an object as ops say, four bytes each: what, which, the field,
// the value.
func spoiled(b, ops []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < 64 || b[4] != 2 {
		return b
	}
	shoff, count := binary.LittleEndian.Uint64(b[40:]), uint64(binary.LittleEndian.Uint16(b[60:]))
	if count == 0 || shoff > uint64(len(b)) || count*64 > uint64(len(b))-shoff {
		return b
	}
	for ; len(ops) >= 4; ops = ops[4:] {
		header := b[shoff+uint64(ops[1])%count*64:][:64]
		offset, size := binary.LittleEndian.Uint64(header[24:]), binary.LittleEndian.Uint64(header[32:])
		n := uint64(len(b))
		v := []uint64{0, 1, 2, 3, 4, 8, 24, n, n - 1, n / 2, 1 << 31, 1 << 32, 1<<64 - 1, count, count - 1, uint64(ops[3]),
			0x30, 0x200, 0x800, 0x80000000, size - 1, size + 1, offset + 8, shoff}[ops[3]%24]
		switch ops[0] % 3 {
		case 0: // a section's header
			at := []int{0, 4, 8, 24, 32, 40, 44, 48, 56}[ops[2]%9]
			if at == 0 || at == 4 || at == 40 || at == 44 {
				binary.LittleEndian.PutUint32(header[at:], uint32(v))
			} else {
				binary.LittleEndian.PutUint64(header[at:], v)
			}
		case 1: // a byte of a section
			if offset < n && size > 0 && size <= n-offset {
				b[offset+uint64(ops[2])%size] = ops[3]
			}
		case 2: // a field of a symbol or a relocation
			if offset < n && size >= 24 && size <= n-offset {
				binary.LittleEndian.PutUint64(b[offset+uint64(ops[2])/3%(size/24)*24+uint64(ops[2])%3*8:], v)
			}
		}
	}
	return b
}

// size is how many bytes the joined sections have; known after Merge.
func (j *Join) size() (n uint64) {
	for _, s := range j.sections {
		n += s.size
	}
	return n
}
