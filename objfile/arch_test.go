package objfile

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The addends that lie in the fields of SHT_REL relocations. The bytes are
// those that GNU as 2.40 writes for the instruction in the comment; the
// addend is the displacement that llvm-objdump 19 shows for a branch, and the
// immediate that it shows for a move.
func TestARMAddend(t *testing.T) {
	for _, c := range []struct {
		typ   uint32
		field string // hexadecimal, in memory order
		want  int64
	}{
		{10, "fff7feff", -4},        // bl f
		{10, "01f018f9", 0x1230},    // bl f+0x1234
		{10, "faf7c2fc", -0x567c},   // bl f-0x5678
		{10, "fff3fdf7", 0x7ffffa},  // bl f+0x7ffffe
		{10, "00f01ee8", 0x3c},      // blx f+0x40
		{30, "fff7febf", -4},        // b.w f
		{30, "00f0feb9", 0x3fc},     // b.w f+0x400
		{51, "3ff4feaf", -4},        // beq.w f
		{51, "02f03282", 0x2464},    // beq.w f+0x2468
		{51, "0ff4feaf", -0x30004},  // beq.w f-0x30000
		{102, "fee7", -4},           // b f
		{102, "10e0", 0x20},         // b f+0x24
		{103, "fed0", -4},           // beq f
		{52, "08b1", 2},             // cbz r0, f+6
		{52, "00b3", 0x40},          // cbz r0, f+0x44
		{47, "41f23420", 0x1234},    // movw r0, #0x1234
		{48, "c1f23420", 0x1234},    // movt r0, #0x1234: of d+0x1234
		{47, "4ff6f877", -8},        // movw r7, #0xfff8
		{48, "cff6f877", -8},        // movt r7, #0xfff8: of d-8
		{47, "47f6ff79", 0x7fff},    // movw r9, #0x7fff
		{49, "41f23420", 0x1234},    // movw r0, relative
		{50, "c1f23420", 0x1234},    // movt r0, relative
		{43, "340201e3", 0x1234},    // movw r0, #0x1234 in ARM state
		{44, "f00f4fe3", -16},       // movt r0, #0xfff0 in ARM state
		{28, "fe0300eb", 0xff8},     // bl f+0x1000 in ARM state
		{28, "060000fa", 0x18},      // blx f+0x20 in ARM state
		{28, "060000fb", 0x1a},      // the same two bytes further on
		{29, "fefbffea", -0x1008},   // b f-0x1000 in ARM state
		{29, "feffff1b", -8},        // blne f in ARM state
		{2, "78563412", 0x12345678}, // .word d+0x12345678
		{2, "fcffffff", -4},         // .word d-4
		{3, "00010000", 0x100},      // .word d+0x100-.
		{38, "04000000", 4},         // .word d+4(TARGET1)
		{41, "04000000", 4},         // .word d+4(TARGET2)
		{42, "10000080", 0x10},      // bit 31 is another's
		{42, "f0ffff7f", -0x10},     //
		{5, "feff", -2},             //
		{8, "fe", -2},               //
		{11, "02a0", 8},             // adr r0, .+12
		{53, "0ff20820", 0x208},     // adr.w r0, forwards
		{53, "aff20820", -0x208},    // adr.w r0, backwards
		{54, "dff80820", 8},         // ldr.w r2, [pc, #8]
		{54, "5ff80820", -8},        // ldr.w r2, [pc, #-8]
		{6, "0c009fe5", 12},         // ldr r0, [pc, #12] in ARM state
		{6, "0c001fe5", -12},        // ldr r0, [pc, #-12] in ARM state
		{132, "fe20", 0xfe},         // movs r0, #254
		{0, "", 0},                  // nothing is computed
		{40, "1eff2fe1", 0},         // bx lr
		{107, "08000000", 8},        // a word of thread-local storage
	} {
		b, err := hex.DecodeString(c.field)
		if err != nil {
			t.Fatal(err)
		}
		name := arm.Reloc(c.typ).Name
		if got, ok := arm.Addend(b, c.typ); !ok || got != c.want {
			t.Errorf("%s of %s is %#x, %v; want %#x", name, c.field, got, ok, c.want)
		}
		if len(b) > 0 {
			if _, ok := arm.Addend(b[:len(b)-1], c.typ); ok {
				t.Errorf("%s is read from a field that is cut short", name)
			}
		}
	}
	if _, ok := arm.Addend(make([]byte, 8), 255); ok {
		t.Error("a type that is not known has an addend")
	}
}

// Every type with a meaning has an addend that can be read, or the sections
// that use it could never be compared.
func TestARMAddendComplete(t *testing.T) {
	for typ, r := range armRelocs {
		if r.Kind == RelUnknown {
			continue
		}
		if _, ok := arm.Addend(make([]byte, 8), uint32(typ)); !ok {
			t.Errorf("%s has no addend", r.Name)
		}
	}
}

// tool finds a program of LLVM, under its plain name or Debian's.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, n := range []string{name + "-19", name + "-16", name} {
		if p, err := exec.LookPath(n); err == nil {
			return p
		}
	}
	if os.Getenv("LEANLINK_REQUIRE_TOOLS") != "" {
		t.Fatal(name + " is not installed")
	}
	t.Skip(name + " is not installed")
	return ""
}

// mc assembles with LLVM and parses the object.
func mc(t *testing.T, triple, source string, flags ...string) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.o")
	cmd := exec.Command(tool(t, "llvm-mc"), append([]string{"-triple=" + triple, "-filetype=obj", "-o", path}, flags...)...)
	cmd.Stdin = strings.NewReader(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("llvm-mc: %v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse("a.o", b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The tables number the relocation types as LLVM does, which knows them by
// name.
func TestRelocNumbers(t *testing.T) {
	for _, c := range []struct {
		triple string
		arch   *Arch
		table  []RelocType
		// Types that .reloc has no name for.
		without string
	}{
		{"armv7a-none-eabi", &arm, armRelocs[:], ""},
		{"aarch64-none-elf", &aarch64, aarch64Relocs[:], ""},
		{"riscv32-none-elf", &riscv, riscvRelocs[:], " R_RISCV_RVC_LUI "},
	} {
		t.Run(c.arch.Name, func(t *testing.T) {
			var source strings.Builder
			var want []uint32
			source.WriteString(".data\n")
			for typ, r := range c.table {
				if r.Name == "" || strings.Contains(c.without, " "+r.Name+" ") || typ == 256 {
					continue
				}
				fmt.Fprintf(&source, ".reloc ., %s, x\n.quad 0\n", r.Name)
				want = append(want, uint32(typ))
			}
			f := mc(t, c.triple, source.String())
			if got := ArchOf(f.Machine); got != c.arch {
				t.Fatalf("machine %d is taken for %v", f.Machine, got)
			}
			for i := range f.Sections {
				if f.Sections[i].Name != ".data" {
					continue
				}
				rs := f.Relocs(uint32(i))
				if rs.Len() != len(want) {
					t.Fatalf("%d relocations, want %d", rs.Len(), len(want))
				}
				for k := range rs.Len() {
					if got := rs.At(k).Type; got != want[k] {
						t.Errorf("%s is %d, want %d", c.table[want[k]].Name, want[k], got)
					}
				}
			}
		})
	}
}

// section finds a section by its name.
func (f *File) section(t *testing.T, name string) uint32 {
	t.Helper()
	for i := range f.Sections {
		if f.Sections[i].Name == name {
			return uint32(i)
		}
	}
	t.Fatalf("no section %s", name)
	return 0
}

// A call is told by the type of its relocation; an address in a register or
// a literal is none.
func TestIsCall(t *testing.T) {
	for _, c := range []struct {
		triple, source, want string // y or n for each relocation
		flags                []string
	}{
		{"thumbv7m-none-eabi", ".thumb\nbl f\nb.w f\nbeq.w f\nmovw r0,:lower16:f\nmovt r0,:upper16:f\n.balign 4\n.long f\n.long f-.", "yyynnnn", nil},
		{"thumbv6m-none-eabi", ".thumb\nbl f\nb f\nbeq f\nldr r0,=f", "yyyn", nil},
		{"armv7a-none-eabi", "bl f\nb f\nblx f\nbeq f\nmovw r0,:lower16:f", "yyyyn", nil},
		{"aarch64-none-elf", "bl f\nb f\nb.eq f\ncbz x0,f\ntbz x0,#1,f\nadrp x0,f\nadd x0,x0,:lo12:f\nadr x0,f\nadrp x0,:got:f\nldr x0,[x0,:got_lo12:f]\n.word f-.\n.xword f", "yyyyynnnnnnn", nil},
		{"riscv32-none-elf", "call f\ntail f\njal f\nbeqz a0,f\nc.j f\nc.beqz a0,f\nla a0,f\nlui a0,%hi(f)\naddi a0,a0,%lo(f)\n.word f\n", "yyyyyynnnnn", []string{"-mattr=+c,-relax"}},
	} {
		t.Run(c.triple, func(t *testing.T) {
			f := mc(t, c.triple, ".section .text.g,\"ax\",%progbits\n"+c.source+"\n", c.flags...)
			i := f.section(t, ".text.g")
			arch, rs, got := ArchOf(f.Machine), f.Relocs(i), ""
			for k := range rs.Len() {
				if arch.IsCall(f.Bytes(i), rs.At(k)) {
					got += "y"
				} else {
					got += "n"
				}
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// The bodies of functions that only jump to another.
func TestThunk(t *testing.T) {
	body := strings.Repeat("nop\n", 12)
	for _, c := range []struct {
		name, triple, source string
		code                 string // hexadecimal; "" for none
		relocs               string // offset:type …
		flags                []string
		reach                uint64
	}{
		{"v7-M", "thumbv7m-none-eabi", ".eabi_attribute 6, 10\n.thumb\n" + body, "fff7febf", "0:30", nil, 1 << 19},
		{"v8-M baseline", "thumbv8m.base-none-eabi", ".eabi_attribute 6, 16\n.thumb\n" + body, "fff7febf", "0:30", nil, 1 << 19},
		{"v6-M has no B.W", "thumbv6m-none-eabi", ".eabi_attribute 6, 11\n.thumb\n" + body, "", "", nil, 1 << 19},
		{"no attributes", "thumbv7m-none-eabi", ".thumb\n" + body, "", "", nil, 1 << 19},
		{"ARM state", "armv7a-none-eabi", ".eabi_attribute 6, 10\n.arm\n" + body, "", "", nil, 1 << 19},
		{"AArch64", "aarch64-none-elf", body, "00000014", "0:282", nil, 1 << 19},
		{"AArch64 with a landing pad", "aarch64-none-elf", "bti c\n" + body, "5f2403d500000014", "4:282", []string{"-mattr=+bti"}, 1 << 20},
		{"AArch64 with a landing pad for jumps", "aarch64-none-elf", "bti jc\n" + body, "df2403d500000014", "4:282", []string{"-mattr=+bti"}, 1 << 20},
		{"AArch64 that signs its return address", "aarch64-none-elf", "paciasp\n" + body, "5f2403d500000014", "4:282", []string{"-mattr=+v8.3a"}, 1 << 20},
		{"RISC-V", "riscv32-none-elf", "call x\n" + body, "1703000067000300", "0:19", []string{"-mattr=+c,-relax"}, 1 << 20},
		{"RISC-V, relaxed", "riscv32-none-elf", "call x\n" + body, "1703000067000300", "0:19 0:51", []string{"-mattr=+c,+relax"}, 1 << 20},
		{"RISC-V, small", "riscv32-none-elf", "call x\n" + body, "6f000000", "0:17", []string{"-mattr=+c,-relax"}, 1<<20 - 1},
		{"RISC-V, an interrupt handler", "riscv32-none-elf", "call x\nmret\n" + body, "", "", []string{"-mattr=+c,-relax"}, 1 << 20},
		{"RISC-V, a supervisor's interrupt handler", "riscv32-none-elf", "call x\nc.nop\nsret\n" + body, "", "", []string{"-mattr=+c,-relax"}, 1 << 20},
		{"RISC-V, an interrupt handler, small", "riscv32-none-elf", "call x\nmret\n" + body, "6f000000", "0:17", []string{"-mattr=+c,-relax"}, 1 << 19},
		{"RISC-V with a landing pad", "riscv32-none-elf", "auipc x0,0\ncall x\n" + body, "", "", []string{"-mattr=+c,-relax"}, 1 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := mc(t, c.triple, ".section .text.g,\"ax\",%progbits\n"+c.source, c.flags...)
			th := ArchOf(f.Machine).Thunk(f, f.section(t, ".text.g"), c.reach)
			if th == nil {
				if c.code != "" {
					t.Error("no jump")
				}
				return
			}
			var relocs []string
			for _, r := range th.Relocs {
				relocs = append(relocs, fmt.Sprintf("%d:%d", r.Offset, r.Type))
			}
			if got := hex.EncodeToString(th.Code); got != c.code || strings.Join(relocs, " ") != c.relocs {
				t.Errorf("%s with %v, want %s with %s", got, relocs, c.code, c.relocs)
			}
		})
	}
}

// Build attributes that lie about their sizes are no evidence.
func TestCPUArch(t *testing.T) {
	for _, c := range []struct {
		b    string
		arch uint64
		ok   bool
	}{
		{"", 0, false},
		{"B\x10\x00\x00\x00aeabi\x00\x01\x07\x00\x00\x00\x06\x0a", 0, false},
		{"A\x11\x00\x00\x00aeabi\x00\x01\x07\x00\x00\x00\x06\x0a", 10, true},
		{"A\x18\x00\x00\x00aeabi\x00\x01\x0e\x00\x00\x00\x05cm3\x00\x07M\x06\x0b", 11, true},
		{"A\x08\x00\x00\x00gnu\x00A\x11\x00\x00\x00aeabi\x00\x01\x07\x00\x00\x00\x06\x0a", 0, false}, // one A only
		{"A\x08\x00\x00\x00gnu\x00\x11\x00\x00\x00aeabi\x00\x01\x07\x00\x00\x00\x06\x0d", 13, true},
		{"A\xff\x00\x00\x00aeabi\x00\x01\x07\x00\x00\x00\x06\x0a", 0, false},
		{"A\x11\x00\x00\x00aeabi\x00\x01\xff\x00\x00\x00\x06\x0a", 0, false},
		{"A\x11\x00\x00\x00aeabi\x00\x01\x07\x00\x00\x00\x06\x8a", 0, false},
		{"A\x00\x00\x00\x00aeabi\x00\x01\x07\x00\x00\x00\x06\x0a", 0, false},
	} {
		if arch, ok := cpuArch([]byte(c.b)); arch != c.arch && c.ok || ok != c.ok {
			t.Errorf("%q: %d, %v; want %d, %v", c.b, arch, ok, c.arch, c.ok)
		}
	}
}

// A function that takes its own address without a relocation; one that only
// calls itself does not.
func TestOwnAddress(t *testing.T) {
	for _, c := range []struct {
		triple, source string
		want           bool
		flags          []string
	}{
		{"aarch64-none-elf", "f: nop\nadr x0,f\nret", true, nil},
		{"aarch64-none-elf", "f: nop\nadr x0,.+4\nbl f\nret", false, nil},
		{"thumbv7m-none-eabi", ".thumb\nf: nop\nnop\nsubw r0,pc,#8\nbx lr", true, nil},
		{"thumbv7m-none-eabi", ".thumb\nf: nop\nnop\nsubw r0,pc,#4\nbl f\nbx lr", false, nil},
		{"armv7a-none-eabi", ".arm\nf: nop\nsub r0,pc,#12\nbx lr", true, nil},
		{"armv7a-none-eabi", ".arm\nf: nop\nsub r0,pc,#8\nb f", false, nil},
		{"riscv32-none-elf", "f: nop\nlla a0,f\nret", true, []string{"-mattr=+c,-relax"}},
		{"riscv32-none-elf", "f: nop\ncall f\ntail f", false, []string{"-mattr=+c,-relax"}},
		{"riscv32-none-elf", "f: nop\nauipc a0,0\njalr a1\nret", true, []string{"-mattr=+c,-relax"}},
		{"riscv32-none-elf", "f: nop\nlla a0,x\ncall f\nret", false, []string{"-mattr=+c,+relax"}},
	} {
		t.Run(c.triple+" "+c.source, func(t *testing.T) {
			f := mc(t, c.triple, ".section .text.g,\"ax\",%progbits\n"+c.source+"\n", c.flags...)
			if got := ArchOf(f.Machine).OwnAddress(f, f.section(t, ".text.g")); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
