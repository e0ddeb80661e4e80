package linker

import (
	"path/filepath"
	"testing"
)

func TestOutputPlace(t *testing.T) {
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "marked/CACHEDIR.TAG"), "")
	tests := []struct {
		output string // relative to dir
		want   cargoOutput
	}{
		{"target/debug/deps/app-1", cargoOutput{Profile: "dev", TargetDir: "target"}},
		{"target/release/deps/app-1", cargoOutput{Profile: "release", TargetDir: "target"}},
		{"target/tiny/examples/ex-1", cargoOutput{Profile: "tiny", TargetDir: "target"}},
		{"target/thumbv7m-none-eabi/release/deps/fw-1", cargoOutput{Profile: "release", Triple: "thumbv7m-none-eabi", TargetDir: "target"}},
		{"marked/my-board/debug/deps/fw-1", cargoOutput{Profile: "dev", Triple: "my-board", TargetDir: "marked"}},
		{"marked/debug/deps/fw-1", cargoOutput{Profile: "dev", TargetDir: "marked"}},
		{"target/release/build/libc-1/build_script_build-1", cargoOutput{Profile: "release", TargetDir: "target"}},
		{"target/debug/build/app/1234/out/app", cargoOutput{Profile: "dev", TargetDir: "target"}},
		{"deps/ws/target/release/deps/app", cargoOutput{Profile: "release", TargetDir: "deps/ws/target"}},
		{"somewhere/app", cargoOutput{}},
		{"a.out", cargoOutput{}},
	}
	for _, tt := range tests {
		cl := &CommandLine{Dir: dir, Output: tt.output}
		got := cl.outputPlace()
		if got.TargetDir != "" {
			got.TargetDir, _ = filepath.Rel(dir, got.TargetDir)
		}
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.output, got, tt.want)
		}
	}
}

func TestTargetTriple(t *testing.T) {
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "arm.o"), elfObject(40))
	putFile(t, filepath.Join(dir, "x86.o"), elfObject(62))
	putFile(t, filepath.Join(dir, "not.o"), "!<arch>\n and more than twenty bytes")
	const x86, arm = "x86_64-unknown-linux-gnu", "thumbv7em-none-eabihf"
	tests := []struct {
		name, object string
		args         []string
		vars         []string
		output       string
		want         string
	}{
		{name: "nothing tells", object: "x86.o"},
		{name: "-L of the standard library", object: "arm.o", args: []string{"-L", "/r/lib/rustlib/" + arm + "/lib"}, want: arm},
		{name: "std itself", object: "x86.o", args: []string{"/r/lib/rustlib/" + x86 + "/lib/libstd-1.rlib"}, want: x86},
		{name: "rustc's own lld is the host's", object: "arm.o", args: []string{"-B/r/lib/rustlib/" + x86 + "/bin/gcc-ld", "-L", "/r/lib/rustlib/" + x86 + "/bin"}},
		{name: "of another machine", object: "arm.o", args: []string{"-L", "/r/lib/rustlib/" + x86 + "/lib"}},
		{name: "of another machine, then right", object: "arm.o", args: []string{"-L", "/r/lib/rustlib/" + x86 + "/lib"}, output: "/t/" + arm + "/release/deps/x", want: arm},
		{name: "Cargo's folder", object: "arm.o", output: "/t/" + arm + "/release/deps/x", want: arm},
		{name: "Cargo's variable", object: "arm.o", vars: []string{"CARGO_BUILD_TARGET=" + arm}, want: arm},
		{name: "a target file", object: "arm.o", vars: []string{"CARGO_BUILD_TARGET=/x/my-board.json"}, want: "my-board"},
		{name: "no ELF object", object: "not.o", vars: []string{"CARGO_BUILD_TARGET=" + arm}, want: arm},
		{name: "i686 is x86", object: "x86.o", vars: []string{"CARGO_BUILD_TARGET=i686-unknown-linux-gnu"}, want: "i686-unknown-linux-gnu"},
	}
	for _, tt := range tests {
		cl, err := ParseCommandLine(append([]string{"-m64", tt.object}, tt.args...), dir)
		if err != nil {
			t.Fatal(err)
		}
		if tt.output != "" {
			cl.Output = tt.output
		}
		if got := cl.targetTriple(&Environment{Vars: tt.vars}, cl.outputPlace()); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestMachineFamilies(t *testing.T) {
	// Each triple with the machine of its objects.
	for triple, machine := range map[string]uint16{
		"x86_64-unknown-linux-gnu": 62, "i686-unknown-linux-musl": 3, "thumbv6m-none-eabi": 40, "armv7-unknown-linux-gnueabihf": 40,
		"aarch64-unknown-none": 183, "riscv32imac-unknown-none-elf": 243, "riscv64gc-unknown-linux-gnu": 243,
		"powerpc64le-unknown-linux-gnu": 21, "mips-unknown-linux-gnu": 8, "loongarch64-unknown-linux-gnu": 258, "s390x-unknown-linux-gnu": 22,
		"sparc64-unknown-linux-gnu": 43, "avr-none": 83, "msp430-none-elf": 105, "hexagon-unknown-linux-musl": 164,
		"xtensa-esp32-none-elf": 94, "m68k-unknown-linux-gnu": 4, "csky-unknown-linux-gnuabiv2": 252,
	} {
		if a, b := machineFamily(triple), elfFamily(machine); a == "" || a != b {
			t.Errorf("%s: %q, but machine %d: %q", triple, a, machine, b)
		}
	}
	for _, name := range []string{"", "cc", "my-board", "gcc-12", "ld.lld", "clang"} {
		if got := machineFamily(name); got != "" {
			t.Errorf("%q: %q, want none", name, got)
		}
	}
	if got := elfFamily(9999); got != "" {
		t.Errorf("machine 9999: %q, want none", got)
	}
}

func TestHostArtifacts(t *testing.T) {
	for _, tt := range []struct {
		vars []string
		want bool
	}{
		{[]string{"CARGO_CRATE_NAME=build_script_build"}, true},
		{[]string{"CARGO_CRATE_NAME=build_script_main"}, true},
		{[]string{"CARGO_CRATE_NAME=build_script_main", "CARGO_BIN_NAME=build_script_main"}, false},
		{[]string{"CARGO_CRATE_NAME=app", "CARGO_BIN_NAME=app"}, false},
		{nil, false},
	} {
		if got := isBuildScript(&Environment{Vars: tt.vars}); got != tt.want {
			t.Errorf("%q: build script: %v", tt.vars, got)
		}
	}

	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "macro"), "{\n  global:\n    __rustc_proc_macro_decls_e83f42f0e31e69d5__;\n    rust_metadata_pm_e83f;\n  local:\n    *;\n};\n")
	putFile(t, filepath.Join(dir, "dylib"), "{\n  global:\n    rust_metadata_pm_e83f;\n    f;\n  local:\n    *;\n};\n")
	for _, tt := range []struct {
		args []string
		want bool
	}{
		{[]string{"-m64", "-shared", "-Wl,--version-script=macro"}, true},
		{[]string{"-m64", "-shared", "-Wl,--dynamic-list=macro"}, true},
		{[]string{"-m64", "-Wl,--version-script=macro"}, false},
		{[]string{"-m64", "-shared", "-Wl,--version-script=dylib"}, false},
		{[]string{"-m64", "-shared", "-Wl,--version-script=nowhere"}, false},
		{[]string{"-m64", "-shared"}, false},
	} {
		cl, err := ParseCommandLine(tt.args, dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := isProcMacro(cl); got != tt.want {
			t.Errorf("%q: proc-macro: %v", tt.args, got)
		}
	}
}
