package verify

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"strings"
	"testing"
)

// damage is an output to be damaged, with what a check of it found out.
type damage struct {
	t    *testing.T
	c    *Claim
	v    *checker // of the undamaged output
	data []byte   // of the damaged one
}

// section is the one of that name that the undamaged output has.
func (d *damage) section(name string) *section {
	d.t.Helper()
	for _, s := range d.v.sections {
		if s.name == name && s.located {
			return s
		}
	}
	d.t.Fatalf("no section %s was located", name)
	return nil
}

// bytes is n bytes of the damaged output by their address.
func (d *damage) bytes(addr uint64, n int) []byte {
	d.t.Helper()
	for _, s := range d.v.out.file.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS && s.Addr <= addr && addr+uint64(n) <= s.Addr+s.Size {
			off := s.Offset + addr - s.Addr
			return d.data[off : off+uint64(n)]
		}
	}
	d.t.Fatalf("nothing at 0x%x", addr)
	return nil
}

// whole is a section of the damaged output.
func (d *damage) whole(name string) []byte {
	d.t.Helper()
	s := d.v.out.file.Section(name)
	if s == nil {
		d.t.Fatalf("the output has no %s", name)
	}
	return d.data[s.Offset : s.Offset+s.FileSize]
}

// field is the relocated field in a section that refers to a symbol.
func (d *damage) field(section, symbol string) []byte {
	d.t.Helper()
	s := d.section(section)
	for i := range s.relocs {
		if s.obj.symbols[s.relocs[i].sym].name == symbol {
			return d.bytes(s.addr+s.relocs[i].off, 4)
		}
	}
	d.t.Fatalf("%s does not refer to %s", section, symbol)
	return nil
}

// frame is the frame description of a section's code and its bytes in the output.
func (d *damage) frame(section string) (*outFDE, []byte) {
	d.t.Helper()
	f := d.v.outFDEs[d.section(section).addr]
	if len(f) != 1 {
		d.t.Fatalf("%s has %d frame descriptions", section, len(f))
	}
	n := int(binary.LittleEndian.Uint32(d.bytes(f[0].addr, 4)))
	return f[0], d.bytes(f[0].addr, n+4)
}

func add32(b []byte, n int32) {
	binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)+uint32(n))
}

// rela is the dynamic relocation of the output that applies to addr.
func (d *damage) rela(addr uint64) []byte {
	d.t.Helper()
	for _, name := range []string{".rela.dyn", ".rela.plt"} {
		if d.v.out.file.Section(name) == nil {
			continue
		}
		for b := d.whole(name); len(b) >= 24; b = b[24:] {
			if binary.LittleEndian.Uint64(b) == addr {
				return b[:24]
			}
		}
	}
	d.t.Fatalf("no dynamic relocation applies to 0x%x", addr)
	return nil
}

// TestDamage: each damage to a good output is reported, and nothing else.
func TestDamage(t *testing.T) {
	tests := []struct {
		name  string
		pie   bool
		apply func(d *damage)
		want  []string // one for each mismatch: a part of its line
	}{
		{"byte in a function", false, func(d *damage) {
			d.bytes(d.section(".text.twice").addr, 1)[0] ^= 1
		}, []string{"mix.o: section .text.twice: offset 0x0: holds"}},
		{"byte in a function that only references place", true, func(d *damage) {
			s := d.section(".text.message")
			d.bytes(s.addr+s.size-1, 1)[0] ^= 1
		}, []string{"other.o: section .text.message: offset 0x"}},
		{"call target", false, func(d *damage) {
			add32(d.field(".text.pick", "other"), int32(d.section(".text.twice").addr-d.section(".text.other").addr))
		}, []string{"mix.o: section .text.pick: offset 0x"}},
		{"call target, one byte off", true, func(d *damage) { add32(d.field(".text.pick", "other"), 1) },
			[]string{"mix.o: section .text.pick: offset 0x"}},
		{"slot of an imported function", false, func(d *damage) {
			slot, _ := x86PLT(d.v.out, d.leads(".text.pick", "puts"))
			b := d.rela(slot)
			info := binary.LittleEndian.Uint64(b[8:])
			printf := d.v.out.dynamic["printf"]
			binary.LittleEndian.PutUint64(b[8:], info&0xffffffff|uint64(printf)<<32)
		}, []string{"leads to symbol printf+0x0, the original to puts*"}},
		{"missing frame description", false, func(d *damage) {
			f, b := d.frame(".text.pick")
			for _, g := range d.v.outFDEList {
				n := binary.LittleEndian.Uint32(d.bytes(g.addr, 4))
				if g.addr+uint64(n)+4 == f.addr {
					binary.LittleEndian.PutUint32(d.bytes(g.addr, 4), n+uint32(len(b)))
					clear(b)
					return
				}
			}
			d.t.Fatal("no frame description comes before")
		}, []string{"mix.o: section .text.pick: offset 0x0: has 0 frame descriptions", ".eh_frame_hdr: entry"}},
		{"frame rows", true, func(d *damage) {
			f, b := d.frame(".text.pick")
			i := bytes.Index(b, f.rows)
			b[i] ^= 1
		}, []string{"mix.o: section .text.pick: offset 0x0: the frame description's rows are"}},
		{"frame range", true, func(d *damage) {
			_, b := d.frame(".text.twice")
			add32(b[12:], -1)
		}, []string{"mix.o: section .text.twice: offset 0x0: the frame description covers"}},
		{"wrong landing-pad table", true, func(d *damage) {
			_, b := d.frame(".text._Z4workR4Basei")
			other, _ := d.frame(".text.throwing")
			f, _ := d.frame(".text._Z4workR4Basei")
			add32(b[17:], int32(other.lsda-f.lsda))
		}, []string{"(placed by the reference at throw.o: section .text._Z4workR4Basei: offset 0x0)"}},
		{"no landing-pad table", false, func(d *damage) {
			_, b := d.frame(".text._Z4workR4Basei")
			clear(b[17:21])
		}, []string{"throw.o: section .text._Z4workR4Basei: offset 0x0: has no landing-pad table"}},
		{"byte in a landing-pad table", true, func(d *damage) {
			f, _ := d.frame(".text._Z4workR4Basei")
			d.bytes(f.lsda+5, 1)[0] ^= 1
		}, []string{"throw.o: section .gcc_except_table"}},
		{"search table order", true, func(d *damage) {
			b := d.whole(".eh_frame_hdr")
			var x [8]byte
			copy(x[:], b[12:20])
			copy(b[12:20], b[20:28])
			copy(b[20:28], x[:])
		}, []string{".eh_frame_hdr: entry 1 for 0x"}},
		{"string", true, func(d *damage) {
			d.bytes(d.leads(".text.message", ".LC1"), 1)[0]++
		}, []string{"other.o: section .text.message: offset 0x"}},
		{"constant", true, func(d *damage) {
			d.bytes(d.section(".rodata.third").addr, 1)[0] ^= 1
		}, []string{"other.o: section .rodata.third: offset 0x0: holds"}},
		{"pointer in data", false, func(d *damage) {
			add32(d.bytes(d.section(".data.table").addr, 4), int32(d.section(".text.other").addr-d.section(".text.twice").addr))
		}, []string{"mix.o: section .data.table: offset 0x0: leads to"}},
		{"pointer in data, relocated when loaded", true, func(d *damage) {
			add32(d.rela(d.section(".data.rel.table").addr)[16:], 1)
		}, []string{"mix.o: section .data.rel.table: offset 0x0: leads to"}},
		{"missing dynamic relocation", true, func(d *damage) {
			binary.LittleEndian.PutUint32(d.rela(d.section(".data.rel.table").addr)[8:], 0)
		}, []string{"mix.o: section .data.rel.table: offset 0x0: the word at"}},
		{"dynamic relocation where none should be", true, func(d *damage) {
			b := d.rela(d.section(".data.rel.table").addr + 16) // abs, of the C library
			binary.LittleEndian.PutUint64(b, d.section(".rodata.third").addr)
		}, []string{"mix.o: section .data.rel.table: offset 0x10: leads to nothing", "other.o: section .rodata.third: offset 0x0: the output has a dynamic relocation"}},
		{"thread-local offset", true, func(d *damage) { add32(d.field(".text.thrice", "counter"), 4) },
			[]string{"mix.o: section .text.thrice: offset 0x"}},
		{"order of an init array", false, func(d *damage) {
			early, first := d.bytes(d.section(".init_array.00200").addr, 8), d.bytes(d.section(".init_array").addr, 8)
			var x [8]byte
			copy(x[:], early)
			copy(early, first)
			copy(first, x[:])
		}, []string{"mix.o: section .init_array: its entries are not in .init_array after those that come before it"}},
		{"alignment", true, func(d *damage) {
			d.c.Objects[0].Data = withAlign(d.t, d.c.Objects[0].Data, ".text.pick", 1<<16)
		}, []string{"mix.o: section .text.pick: at 0x"}},
		{"symbol", true, func(d *damage) {
			moveSymbol(d, ".text.pick", "pick", 1)
		}, []string{"mix.o: section .text.pick: offset 0x0: symbol pick is at"}},
		{"local symbol", true, func(d *damage) {
			moveSymbol(d, ".text.message", "message", 1)
		}, []string{"other.o: section .text.message: none of the 1 symbols message of the output is at"}},
		{"line table", false, func(d *damage) {
			var at [9]byte
			at[0] = 2
			binary.LittleEndian.PutUint64(at[1:], d.section(".text.twice").addr)
			b := d.whole(".debug_line")
			i := bytes.Index(b, at[:])
			if i < 0 {
				d.t.Fatal("no line table of twice")
			}
			b[i+1]++
		}, []string{"mix.o: section .text.twice: offset 0x0: no line table of the output begins at"}},
		{"export", true, func(d *damage) { d.c.Exports = []string{"puts_missing"} }, []string{"output: symbol puts_missing should be exported and is not"}},
	}
	built := map[bool]*Claim{}
	for _, pie := range []bool{false, true} {
		dir := t.TempDir()
		code, link := "-fno-pie", "-no-pie"
		if pie {
			code, link = "-fPIE", "-pie"
		}
		throw := strings.Replace(throwCC, "int main()", "extern \"C\" int throwing()", 1)
		mix := strings.Replace(mixC, "int sum = 0;", "extern int throwing(void); int sum = throwing();", 1)
		objects := []string{compile(t, dir, "mix.c", mix, code), compile(t, dir, "other.c", otherC, code), compile(t, dir, "throw.cc", throw, code)}
		run(t, dir, "g++", append([]string{link, "-Wl,--gc-sections", "-o", "out"}, objects...)...)
		built[pie] = claimOf(t, dir, "out", objects...)
		mustAgree(t, built[pie])
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := *built[test.pie]
			c.Objects = append([]Object(nil), c.Objects...)
			data, err := os.ReadFile(c.Output)
			if err != nil {
				t.Fatal(err)
			}
			d := &damage{t: t, c: &c, data: bytes.Clone(data)}
			if d.v, err = begin(&c, data); err != nil {
				t.Fatal(err)
			}
			d.v.seed(nil)
			d.v.follow()
			d.v.checkArrays()
			d.v.follow()
			test.apply(d)
			res, err := check(&c, d.data, nil)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, res.Mismatches, test.want)
		})
	}
}

// expect: there is one mismatch for each of want, which is a part of it, and none besides. A want that ends in * is a
// part of at least one.
func expect(t testing.TB, got []Mismatch, want []string) {
	t.Helper()
	used := make([]bool, len(got))
	for _, w := range want {
		found := false
		part, many := strings.CutSuffix(w, "*")
		for i, m := range got {
			if !used[i] && strings.Contains(m.String(), part) && (many || !found) {
				used[i], found = true, true
			}
		}
		if !found {
			t.Errorf("not reported: %s", w)
		}
	}
	for i, m := range got {
		if !used[i] {
			t.Errorf("reported besides: %v", m)
		}
	}
}

// withAlign is the object with another alignment in a section's header.
func withAlign(t testing.TB, data []byte, name string, align uint64) []byte {
	t.Helper()
	data = bytes.Clone(data)
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range f.Sections {
		if s.Name == name {
			shoff := binary.LittleEndian.Uint64(data[0x28:])
			binary.LittleEndian.PutUint64(data[shoff+uint64(i)*64+48:], align)
			return data
		}
	}
	t.Fatalf("no section %s", name)
	return nil
}

// moveSymbol changes a symbol's value in the damaged output's symbol table.
func moveSymbol(d *damage, section, name string, by int32) {
	d.t.Helper()
	for _, i := range d.v.out.byName[name] {
		if d.v.out.symbols[i].value == d.section(section).addr {
			add32(d.whole(".symtab")[i*24+8:], by)
			return
		}
	}
	d.t.Fatalf("the output has no symbol %s", name)
}

// leads is the address to which a section's reference to a symbol leads.
func (d *damage) leads(section, symbol string) uint64 {
	s := d.section(section)
	for i := range s.relocs {
		if r := &s.relocs[i]; s.obj.symbols[r.sym].name == symbol {
			return sext32(d.bytes(s.addr+r.off, 4)) + s.addr + r.off + 4
		}
	}
	d.t.Fatalf("nothing refers to %s", symbol)
	return 0
}
