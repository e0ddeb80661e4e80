package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bareC needs no library: calls near and far, constants, a jump table, data of all kinds, and an init array.
const bareC = `
extern int other(int);
extern const int third[2];
extern int common_two[4];
static const char *const names[] = {"one", "two", "three", "four"};
static int (*volatile table[])(int) = {other, other};
volatile int sink;
static int thrice(int x) { return x * 3 + sink; }
__attribute__((noinline)) static const char *name(int n) { return names[n & 3]; }
__attribute__((constructor)) static void first(void) { sink++; }
__attribute__((noinline)) int pick(int n) {
	switch (n) {
	case 0: return other(3); case 1: return name(n)[0]; case 2: return thrice(n); case 3: return table[n & 1](n);
	case 4: return sink = 7; case 5: return third[n & 1]; case 6: return common_two[n & 3]; default: return -n;
	}
}
void entry(void) {
	for (int i = 0; i < 9; i++) sink += pick(i);
	for (;;) ;
}
`

const bareOtherC = `
int common_two[4] = {1, 2, 3, 4};
const int third[2] = {3, 33};
void __aeabi_unwind_cpp_pr0(void) {}
void __aeabi_unwind_cpp_pr1(void) {}
__attribute__((noinline)) static const char *message(int n) { return n ? "one" : "a longer string of the other file"; }
__attribute__((section(".far"), noinline)) int distant(int n) { return n * 5 + common_two[n & 3]; }
int other(int n) { return message(n)[0] + distant(n); }
`

// bareScript puts .far where no branch reaches.
const bareScript = `
SECTIONS {
	. = 0x10000;
	.text : { *(.text .text.*) }
	.rodata : { *(.rodata .rodata.*) }
	.ARM.extab : { *(.ARM.extab*) }
	.ARM.exidx : { __exidx_start = .; *(.ARM.exidx*) __exidx_end = .; }
	.eh_frame : { KEEP(*(.eh_frame)) }
	.init_array : { KEEP(*(SORT_BY_INIT_PRIORITY(.init_array.*))) KEEP(*(.init_array)) }
	.data : { *(.data .data.* .sdata .sdata.*) }
	.bss : { *(.bss .bss.* .sbss .sbss.* COMMON) }
	. = 0x20000000;
	.far : { *(.far) }
}
ENTRY(entry)
`

// TestCross: plain links for other machines have no mismatch either, and what is damaged in one is reported.
func TestCross(t *testing.T) {
	kinds := []struct {
		name, machine, cc string
		ld                []string // linkers by which it is linked
		flags             []string
		frames, elastic   bool
		veneers           bool
	}{
		{"thumb2", "ARM", "arm-none-eabi-gcc", []string{"arm-none-eabi-ld", "ld.lld"}, []string{"-mcpu=cortex-m4", "-mthumb", "-funwind-tables"}, true, false, true},
		{"thumb1", "ARM", "arm-none-eabi-gcc", []string{"arm-none-eabi-ld"}, []string{"-mcpu=cortex-m0", "-mthumb"}, false, false, true},
		{"arm", "ARM", "arm-none-eabi-gcc", []string{"arm-none-eabi-ld", "ld.lld"}, []string{"-mcpu=cortex-a9", "-marm", "-funwind-tables"}, true, false, true},
		{"interworking", "ARM", "arm-none-eabi-gcc", []string{"arm-none-eabi-ld", "ld.lld"}, []string{"-mcpu=cortex-a9", "-mthumb", "other:-marm"}, false, false, true},
		{"riscv32", "RISC-V 32", "riscv64-unknown-elf-gcc", []string{"riscv64-unknown-elf-ld", "ld.lld"}, []string{"-march=rv32imac", "-mabi=ilp32", "-mcmodel=medany", "-mno-relax", "-fasynchronous-unwind-tables"}, true, false, false},
		{"riscv32-medlow", "RISC-V 32", "riscv64-unknown-elf-gcc", []string{"riscv64-unknown-elf-ld", "ld.lld"}, []string{"-march=rv32imc", "-mabi=ilp32", "-mcmodel=medlow", "-mno-relax"}, false, false, false},
		{"riscv32-relax", "RISC-V 32", "riscv64-unknown-elf-gcc", []string{"riscv64-unknown-elf-ld", "ld.lld"}, []string{"-march=rv32imac", "-mabi=ilp32", "-mrelax"}, false, true, false},
		{"riscv64", "RISC-V 64", "riscv64-unknown-elf-gcc", []string{"riscv64-unknown-elf-ld", "ld.lld"}, []string{"-march=rv64imac", "-mabi=lp64", "-mcmodel=medany", "-mno-relax"}, false, false, false},
		{"aarch64", "AArch64", "aarch64-linux-gnu-gcc", []string{"aarch64-linux-gnu-ld", "ld.lld"}, []string{"-fno-pic", "-fasynchronous-unwind-tables"}, true, false, true},
		{"aarch64-pic", "AArch64", "aarch64-linux-gnu-gcc", []string{"aarch64-linux-gnu-ld", "ld.lld"}, []string{"-fPIC", "-mbranch-protection=standard"}, false, false, true},
	}
	for _, k := range kinds {
		for _, ld := range k.ld {
			t.Run(k.name+"/"+ld, func(t *testing.T) {
				need(t, k.cc)
				linker := ld
				if ld == "ld.lld" {
					linker = findLLD(t)
				} else {
					need(t, ld)
				}
				dir := t.TempDir()
				var objects []string
				for _, f := range [][2]string{{"mix", bareC}, {"other", bareOtherC}} {
					if err := os.WriteFile(filepath.Join(dir, f[0]+".c"), []byte(f[1]), 0o600); err != nil {
						t.Fatal(err)
					}
					args := []string{"-c", "-g", "-O1", "-ffunction-sections", "-fdata-sections", "-ffreestanding", "-o", f[0] + ".o", f[0] + ".c"}
					for _, flag := range k.flags {
						if file, rest, ok := strings.Cut(flag, ":"); !ok || file == f[0] {
							if ok {
								flag = rest
							}
							args = append(args, flag)
						}
					}
					run(t, dir, k.cc, args...)
					objects = append(objects, f[0]+".o")
				}
				script := bareScript
				if !k.veneers {
					script = strings.Replace(script, "0x20000000", "0x40000", 1)
				}
				if err := os.WriteFile(filepath.Join(dir, "script"), []byte(script), 0o600); err != nil {
					t.Fatal(err)
				}
				args := append([]string{"-T", "script", "--gc-sections", "-o", "out"}, objects...)
				if strings.HasPrefix(k.name, "riscv32") && ld != "ld.lld" {
					args = append([]string{"-melf32lriscv"}, args...)
				}
				run(t, dir, linker, args...)
				c := claimOf(t, dir, "out", objects...)
				res := mustAgree(t, c)
				if res.Machine != k.machine {
					t.Errorf("checked as %s", res.Machine)
				}
				if k.elastic {
					if res.Elastic < 4 || res.Symbols < 4 || res.Followed < 4 {
						t.Errorf("hardly anything was looked at: %v", res)
					}
					damageRelaxed(t, c)
					return
				}
				if res.Functions < 6 || res.Relocs < 15 || res.Pieces < 4 || res.Arrays != 1 || res.Skipped != 0 {
					t.Errorf("hardly anything was compared: %v", res)
				}
				if k.frames && res.FDEs < 6 {
					t.Errorf("%d frame descriptions were compared", res.FDEs)
				}
				damageCross(t, c)
			})
		}
	}
}

// findLLD is a linker of the LLVM project that speaks for every machine.
func findLLD(t testing.TB) string {
	dir := lldFolder(t)
	switch dir {
	case "none":
		return need(t, "ld.lld")
	case "":
		return "ld.lld"
	}
	return filepath.Join(dir, "ld.lld")
}

// damageCross flips each bit of a function's relocated fields and of its other bytes: each must be seen.
func damageCross(t *testing.T, c *Claim) {
	t.Helper()
	v, data := located(t, c)
	for _, s := range v.sections {
		if s.name != ".text.pick" && s.name != ".text.other" && s.name != ".rodata.names" && s.name != ".rodata" {
			continue
		}
		if !s.located || s.data == nil {
			continue
		}
		out := v.out.section(s.addr)
		for i := range s.size {
			b := &out.data[s.addr-out.addr+i]
			for bit := range 8 {
				*b ^= 1 << bit
				res, err := check(c, data, nil)
				if err == nil && len(res.Mismatches) == 0 {
					t.Errorf("%s: bit %d of byte 0x%x was flipped, and nobody saw it", s.name, bit, i)
				}
				*b ^= 1 << bit
			}
		}
	}
}

// damageRelaxed flips each bit of functions that were shortened. What cannot be seen is in the immediates of branches
// within a function and of addresses counted from gp.
func damageRelaxed(t *testing.T, c *Claim) {
	t.Helper()
	v, data := located(t, c)
	flipped, unseen := 0, 0
	for _, s := range v.sections {
		if s.name != ".text.pick" && s.name != ".text.other" || !s.located {
			continue
		}
		size, known, d := riscvRelaxed(v, s, s.addr)
		if !known || d != nil || size >= s.size {
			t.Errorf("%s: %d bytes of %d, followed %v, %v", s.name, size, s.size, known, d)
			continue
		}
		out := v.out.section(s.addr)
		for i := range size {
			b := &out.data[s.addr-out.addr+i]
			for bit := range 8 {
				*b ^= 1 << bit
				flipped++
				if res, err := check(c, data, nil); err == nil && len(res.Mismatches) == 0 {
					unseen++
				}
				*b ^= 1 << bit
			}
		}
	}
	t.Logf("%d of %d flipped bits were not seen", unseen, flipped)
	if flipped < 400 || unseen*4 > flipped {
		t.Errorf("%d of %d flipped bits were not seen", unseen, flipped)
	}
}

// cleanC is a function with a landing pad.
const cleanC = `
extern int puts(const char *);
static void clean(int *p) { puts("clean"); }
__attribute__((constructor)) static void cleaned(void) { __attribute__((cleanup(clean))) int n = 1; puts("cleaned"); }
`

// TestCrossHosted: the same for programs of a system with dynamic linking, thread-local storage and exceptions.
func TestCrossHosted(t *testing.T) {
	kinds := []struct {
		name    string
		compile []string
		link    []string
	}{
		{"pie", []string{"-fPIE"}, []string{"-pie"}},
		{"fixed", []string{"-fno-pie"}, []string{"-no-pie"}},
		{"static", []string{"-fno-pie"}, []string{"-static"}},
		{"shared", []string{"-fPIC"}, []string{"-shared"}},
		{"pie-from-pic", []string{"-fPIC"}, []string{"-pie"}},
		{"tls-dialect", []string{"-fPIC", "-mtls-dialect=trad"}, []string{"-pie"}},
	}
	for _, linker := range []string{"bfd", "gold", "lld", "mold"} {
		for _, k := range kinds {
			t.Run(linker+"/"+k.name, func(t *testing.T) {
				t.Parallel()
				need(t, "aarch64-linux-gnu-gcc")
				var flags []string
				switch linker {
				case "lld":
					flags = useLinker(t, linker)
				case "mold": // the driver for another machine looks for it under this name, beside its own tools
					beside := t.TempDir()
					if err := os.Symlink(need(t, "mold"), filepath.Join(beside, "ld.mold")); err != nil {
						t.Fatal(err)
					}
					flags = []string{"-B" + beside, "-fuse-ld=mold"}
				default:
					flags = []string{"-fuse-ld=" + linker}
					need(t, "aarch64-linux-gnu-ld."+linker)
				}
				if linker == "lld" && k.name == "tls-dialect" {
					t.Skip("lld has no traditional TLS for AArch64")
				}
				dir := t.TempDir()
				var objects []string
				for _, f := range [][2]string{{"mix.c", mixC}, {"other.c", otherC + cleanC}} {
					if err := os.WriteFile(filepath.Join(dir, f[0]), []byte(f[1]), 0o600); err != nil {
						t.Fatal(err)
					}
					args := append([]string{"-c", "-g", "-O1", "-ffunction-sections", "-fdata-sections", "-fcommon", "-fexceptions", "-o", f[0] + ".o", f[0]}, k.compile...)
					run(t, dir, "aarch64-linux-gnu-gcc", args...)
					objects = append(objects, f[0]+".o")
				}
				run(t, dir, "aarch64-linux-gnu-gcc", append(append(append([]string{"-o", "out", "-Wl,--gc-sections"}, flags...), k.link...), objects...)...)
				c := claimOf(t, dir, "out", objects...)
				c.Shared = k.name == "shared"
				res := mustAgree(t, c)
				if res.Functions < 9 || res.Relocs < 60 || res.FDEs < 9 || res.LSDAs < 1 || res.Skipped > 0 && k.name != "tls-dialect" {
					t.Errorf("hardly anything was compared: %v", res)
				}
			})
		}
	}
}
