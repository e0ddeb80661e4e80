package report

import (
	"bytes"
	"debug/elf"
	"os"
	"testing"
)

// A file that is mapped and one that is not are the same.
func TestMapped(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m := mapFile(f, info.Size())
	defer m.unmap()
	if int64(len(m.bytes)) != info.Size() {
		t.Fatalf("%d of %d bytes are mapped", len(m.bytes), info.Size())
	}
	plain := &mappedFile{ReaderAt: f}
	var hashes []string
	for _, in := range []*mappedFile{m, plain} {
		e, err := elf.NewFile(in)
		if err != nil {
			t.Fatal(err)
		}
		hash, err := hashFile(in, uint64(info.Size()), e)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, hash)
		for _, s := range e.Sections {
			if s.Type == elf.SHT_NOBITS {
				continue
			}
			got, err := in.data(s)
			if err != nil {
				t.Fatal(err)
			}
			if want, err := s.Data(); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s has %d bytes, want %d (%v)", s.Name, len(got), len(want), err)
			}
		}
		// Beyond its end there is nothing.
		if _, err := hashFile(in, uint64(info.Size())+1, e); err == nil {
			t.Error("a file was hashed beyond its end")
		}
		e.Sections[1].Offset = uint64(info.Size())
		if _, err := in.data(e.Sections[1]); err != nil {
			t.Errorf("a section that lies elsewhere by its header: %v", err) // what elf read of it
		}
	}
	if hashes[0] != hashes[1] {
		t.Errorf("hashes %v", hashes)
	}
}
