package verify

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzObject: whatever bytes an original object has, the check ends with a result or an error.
func FuzzObject(f *testing.F) {
	c := foldedByHand(f)
	output, err := os.ReadFile(c.Output)
	if err != nil {
		f.Fatal(err)
	}
	for i := range c.Objects {
		f.Add(c.Objects[i].Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := *c
		d.Objects = append([]Object(nil), c.Objects...)
		d.Objects[1].Data = data
		if _, err := check(&d, output, nil); err != nil && len(err.Error()) == 0 {
			t.Error("an error without a message")
		}
	})
}

// FuzzOutput: the same for the linked file and the link map.
func FuzzOutput(f *testing.F) {
	c := foldedByHand(f)
	output, err := os.ReadFile(c.Output)
	if err != nil {
		f.Fatal(err)
	}
	linkMap, err := os.ReadFile(c.Map)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(output, linkMap)
	f.Fuzz(func(t *testing.T, output, linkMap []byte) {
		if _, err := check(c, output, linkMap); err != nil && len(err.Error()) == 0 {
			t.Error("an error without a message")
		}
	})
}

// FuzzFrames: entries of a frame table lie in it, one behind the other, and
// what their fields are read from lies in the entry.
func FuzzFrames(f *testing.F) {
	for _, b := range frameSeeds(f, ".eh_frame") {
		f.Add(b, true)
	}
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"), false)
	f.Fuzz(func(t *testing.T, data []byte, wide bool) {
		word := uint64(4)
		if wide {
			word = 8
		}
		list, err := walkFrames(data)
		if err != nil {
			return
		}
		end := uint64(0)
		cies := map[uint64]*cie{}
		for _, e := range list {
			if e.off < end || e.body < e.off || e.end < e.body || e.end > uint64(len(data)) {
				t.Fatalf("%+v behind 0x%x in %d bytes", e, end, len(data))
			}
			end = e.end
			if e.isCIE {
				if c, err := parseCIE(data, e, word); err == nil {
					cies[e.off] = c
				}
				continue
			}
			c := cies[e.cie]
			if c == nil {
				continue
			}
			if d, err := parseFDE(data, e, c, word); err == nil && (d.pcAt < e.body || d.sizeAt < d.pcAt || d.sizeAt > e.end || d.lsdaAt > e.end || len(d.rows) > int(e.end-e.body)) {
				t.Fatalf("%+v: %+v", e, d)
			}
		}
	})
}

// FuzzLSDA: a landing-pad table has a size within its section, or is none.
func FuzzLSDA(f *testing.F) {
	for _, b := range frameSeeds(f, ".gcc_except_table") {
		f.Add(b, uint16(0), true)
	}
	f.Add([]byte{0xff, 0x9b, 0x10, 1, 4, 0, 1, 2, 1, 0x7f, 0x7d, 0, 0}, uint16(0), false)
	f.Fuzz(func(t *testing.T, data []byte, off uint16, wide bool) {
		word := uint64(4)
		if wide {
			word = 8
		}
		s := &section{obj: &object{name: "fuzz.o"}, name: ".gcc_except_table", data: data}
		if n, err := lsdaSize(s, uint64(off), word); err == nil && n > uint64(len(data))-uint64(off) {
			t.Fatalf("%d bytes at %d of %d", n, off, len(data))
		}
	})
}

// FuzzMap: a link map names what stands in it.
func FuzzMap(f *testing.F) {
	f.Add([]byte("1c0410 1bf410 2e 16 a.o:(.text.f)\n .text.g\n                0x1 0x2 b.o\n .text.h 0x10 0x20 c.o\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := readMap(data)
		if len(m.order) != len(m.addr) {
			t.Fatalf("%d names, %d in order", len(m.addr), len(m.order))
		}
		for _, name := range m.order {
			if !bytes.Contains(data, []byte(name)) {
				t.Fatalf("%q does not stand in the map", name)
			}
		}
	})
}

// frameSeeds are the sections of one name, or with that name before a dot, of
// the objects that objfile's tests read and of small members of Rust's library.
func frameSeeds(f *testing.F, name string) [][]byte {
	paths, err := filepath.Glob("../../objfile/testdata/objects/*.o")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	var all [][]byte
	add := func(b []byte) {
		o, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, s := range o.Sections {
			if s.Name != name && !strings.HasPrefix(s.Name, name+".") || s.Size > 4096 || s.Size == 0 {
				continue
			}
			if b, err := s.Data(); err == nil {
				all = append(all, b)
			}
		}
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		add(b)
	}
	root, err := exec.Command("rustc", "--print", "sysroot").Output()
	if err != nil {
		return all
	}
	libs, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "lib/rustlib/x86_64-unknown-linux-gnu/lib/libpanic_unwind-*.rlib"))
	for _, path := range libs {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		// Objects in an archive begin with the magic number like any other.
		for at := 0; ; at++ {
			i := bytes.Index(b[at:], []byte("\x7fELF\x02"))
			if i < 0 {
				break
			}
			at += i
			add(b[at:])
		}
	}
	if len(all) == 0 {
		f.Fatalf("no section %s in the seeds", name)
	}
	return all
}

// A table of landing pads in which every action names a long list of types.
func TestLSDAOfManyLists(t *testing.T) {
	const n = 1 << 20
	data := []byte{encOmit, 0x9b, 0x80, 0x80, 0x80, 1, 1, 0x81, 0x80, 0x20} // types 2 MB on, call sites of 512 KB
	sites := len(data)
	data = append(data, bytes.Repeat([]byte{1}, 5*n-sites)...)
	for at := sites + 0x80001; at+1 < 2*n; at += 2 {
		data[at], data[at+1] = 0x7f, 1 // a filter of -1, and the next action
	}
	s := &section{obj: &object{name: "many.o"}, name: ".gcc_except_table", data: data}
	start := time.Now()
	_, err := lsdaSize(s, 0, 8)
	if err == nil || err.Error() != "many.o: section .gcc_except_table: offset 0x0: not a readable landing-pad table" {
		t.Errorf("%v", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("%v", d)
	}
}
