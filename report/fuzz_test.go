package report

import (
	"bytes"
	"debug/elf"
	"testing"
)

// FuzzLinkMap: whatever a link map says, each section gets at most one place,
// and one that the map gives with its size.
func FuzzLinkMap(f *testing.F) {
	f.Add([]byte("1c0410 1bf410 8 16 a.o:(.text.f)\n .text.g\n                0x10 0x8 a.o\n .text.h 0x10 0x8 c d.o\n"))
	f.Add([]byte("0x1c0410 8 16 a.o:(.text.f)\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := &Report{}
		for _, name := range []string{".text.f", ".text.f", ".text.g", ".text.h"} {
			r.Sections = append(r.Sections, Section{Name: name, Size: 8, Fate: FateKept})
		}
		n, err := r.placeByMap(bytes.NewReader(text), func(string) (InputIndex, bool) { return 0, true })
		if err != nil {
			return
		}
		placed := 0
		for i := range r.Sections {
			if r.Sections[i].Addr != 0 {
				placed++
			}
		}
		if n != placed {
			t.Errorf("%d sections are placed, %d have an address", n, placed)
		}
	})
}

// FuzzLandingPads: a table of landing pads has a size within its section.
func FuzzLandingPads(f *testing.F) {
	f.Add([]byte{0xff, 0x9b, 0x10, 1, 4, 0, 1, 2, 1, 0x7f, 0x7d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, true)
	f.Add([]byte{0xff, 0xff, 1, 4, 0, 1, 2, 1}, false)
	f.Fuzz(func(t *testing.T, table []byte, wide bool) {
		class := elf.ELFCLASS32
		if wide {
			class = elf.ELFCLASS64
		}
		if n := tableSize(table, class); n > uint64(len(table)) {
			t.Errorf("%d of %d bytes", n, len(table))
		}
	})
}
