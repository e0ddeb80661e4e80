package linker

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// machineFamily names the machines whose objects can meet in one linker:
// x86 for i686 and x86_64, arm for arm and thumb. It is "" for a name whose
// first part it does not know. name is a target triple or the prefix of a
// tool (arm-none-eabi-ld).
func machineFamily(name string) string {
	arch, _, _ := strings.Cut(name, "-")
	switch {
	case arch == "x86_64", arch == "i386", arch == "i486", arch == "i586", arch == "i686", arch == "amd64":
		return "x86"
	case strings.HasPrefix(arch, "aarch64"), arch == "arm64":
		return "aarch64"
	case strings.HasPrefix(arch, "arm"), strings.HasPrefix(arch, "thumb"):
		return "arm"
	case strings.HasPrefix(arch, "riscv"):
		return "riscv"
	case strings.HasPrefix(arch, "powerpc"):
		return "powerpc"
	case strings.HasPrefix(arch, "mips"):
		return "mips"
	case strings.HasPrefix(arch, "loongarch"):
		return "loongarch"
	case arch == "s390x":
		return "s390"
	case strings.HasPrefix(arch, "sparc"):
		return "sparc"
	case arch == "avr", arch == "msp430", arch == "hexagon", arch == "xtensa", arch == "m68k", arch == "csky", strings.HasPrefix(arch, "bpf"), strings.HasPrefix(arch, "wasm"):
		return arch
	}
	return ""
}

// elfFamily is machineFamily for an ELF header's e_machine.
func elfFamily(machine uint16) string {
	switch machine {
	case 3, 62:
		return "x86"
	case 40:
		return "arm"
	case 183:
		return "aarch64"
	case 243:
		return "riscv"
	case 20, 21:
		return "powerpc"
	case 8:
		return "mips"
	case 258:
		return "loongarch"
	case 22:
		return "s390"
	case 2, 18, 43:
		return "sparc"
	case 83:
		return "avr"
	case 105:
		return "msp430"
	case 164:
		return "hexagon"
	case 94:
		return "xtensa"
	case 4:
		return "m68k"
	case 252:
		return "csky"
	}
	return ""
}

// linkFamily is the machine family of the first object among the inputs, ""
// if none of the first few is a little- or big-endian ELF file.
func (cl *CommandLine) linkFamily() (family string) {
	cl.firstObject(func(h [20]byte) bool {
		family = headerFamily(h)
		return family != ""
	})
	return family
}

// isELF32 reports whether the first object among the inputs is of that class.
func (cl *CommandLine) isELF32() (narrow bool) {
	cl.firstObject(func(h [20]byte) bool {
		narrow = h[4] == 1
		return true
	})
	return narrow
}

// firstObject gives f the ELF headers of the first few objects among the
// inputs, until it is content.
func (cl *CommandLine) firstObject(f func(header [20]byte) bool) {
	tried := 0
	for i := range cl.Inputs {
		in := &cl.Inputs[i]
		if in.Path == "" || !strings.HasSuffix(in.Path, ".o") {
			continue
		}
		if tried++; tried > 4 {
			return
		}
		if h, ok := elfHeader(resolve(cl.Dir, in.Path)); ok && f(h) {
			return
		}
	}
}

// elfHeader reads the beginning of an ELF file; ok is false for other files.
func elfHeader(path string) (h [20]byte, ok bool) {
	f, err := openRegular(path)
	if err != nil {
		return h, false
	}
	defer f.Close()
	_, err = io.ReadFull(f, h[:])
	return h, err == nil && string(h[:4]) == "\x7fELF"
}

func headerFamily(h [20]byte) string {
	if h[5] == 2 { // big-endian
		return elfFamily(binary.BigEndian.Uint16(h[18:]))
	}
	return elfFamily(binary.LittleEndian.Uint16(h[18:]))
}

// cargoOutput is what the place of an output inside Cargo's target folder
// tells. Cargo has no variable that names the profile or the target for a
// linker; the path is all there is.
type cargoOutput struct {
	Profile   string // "dev" for the folder debug, else the folder's name; "" if it lies in no such place
	Triple    string // of target/TRIPLE/PROFILE, "" if built for the host without --target
	TargetDir string // the target folder itself, absolute
}

// outputPlace reads the place of cl's output. Cargo links into
// TARGET_DIR/[TRIPLE/]PROFILE/{deps,examples}/NAME, or build/PACKAGE-HASH/NAME
// for build scripts.
func (cl *CommandLine) outputPlace() cargoOutput {
	out := filepath.Clean(resolve(cl.Dir, cl.Output))
	profile := ""
	for dir := filepath.Dir(out); profile == "" && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		switch filepath.Base(dir) {
		case "deps", "examples", "build":
			profile = filepath.Dir(dir)
		}
	}
	if profile == "" || !filepath.IsAbs(profile) {
		return cargoOutput{}
	}
	var place cargoOutput
	if place.Profile = filepath.Base(profile); place.Profile == "debug" {
		place.Profile = "dev"
	}
	place.TargetDir = filepath.Dir(profile)
	if up := filepath.Dir(place.TargetDir); !isTargetDir(place.TargetDir) && (isTargetDir(up) || machineFamily(filepath.Base(place.TargetDir)) != "") {
		place.Triple, place.TargetDir = filepath.Base(place.TargetDir), up
	}
	return place
}

// isTargetDir says whether Cargo made dir as a target folder: it marks them
// for backup programs.
func isTargetDir(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, "CACHEDIR.TAG"))
	return err == nil
}

// targetTriple infers the target that rustc links for; "" if nothing tells.
// The candidates, best first: the folder of the standard library among the
// arguments, Cargo's output folder, Cargo's environment. One whose machine is
// not that of the first object is wrong whatever named it.
func (cl *CommandLine) targetTriple(env *Environment, place cargoOutput) string {
	family := cl.linkFamily()
	fits := func(triple string) bool {
		f := machineFamily(triple)
		return triple != "" && (f == "" || family == "" || f == family)
	}
	for _, dir := range cl.LibraryPaths {
		if t := rustlibTriple(dir); fits(t) {
			return t
		}
	}
	for i := range cl.Inputs {
		if t := rustlibTriple(cl.Inputs[i].Path); fits(t) {
			return t
		}
	}
	if fits(place.Triple) {
		return place.Triple
	}
	if t := strings.TrimSuffix(filepath.Base(env.Get("CARGO_BUILD_TARGET")), ".json"); t != "." && fits(t) {
		return t
	}
	return ""
}

// rustlibTriple is TRIPLE of …/rustlib/TRIPLE/lib…, "" for other paths. What
// lies in rustlib/HOST/bin (rustc's own lld) says nothing of the target.
func rustlibTriple(path string) string {
	_, rest, ok := strings.Cut(path, "/rustlib/")
	if !ok {
		return ""
	}
	triple, rest, _ := strings.Cut(rest, "/")
	if rest == "lib" || strings.HasPrefix(rest, "lib/") {
		return triple
	}
	return ""
}

// isBuildScript says whether the output is a Cargo build script: its crate's
// name begins with build_script_, which Cargo gives to nothing else, and it
// is not a program of the package (those have CARGO_BIN_NAME).
func isBuildScript(env *Environment) bool {
	return strings.HasPrefix(env.Get("CARGO_CRATE_NAME"), "build_script_") && env.Get("CARGO_BIN_NAME") == ""
}

// procMacroSymbol begins the name of the symbol through which rustc finds the
// macros in a proc-macro's shared object.
const procMacroSymbol = "__rustc_proc_macro_decls_"

// isProcMacro says whether the output is a Rust proc-macro. Neither the
// environment nor the options tell one from a dylib, but rustc exports just
// two symbols of it, in the version script that it writes for the link.
func isProcMacro(cl *CommandLine) bool {
	if !cl.Shared {
		return false
	}
	for _, list := range [][]string{cl.VersionScripts, cl.DynamicLists} {
		for _, path := range list {
			data, err := readRegular(resolve(cl.Dir, path))
			if err == nil && strings.Contains(string(data), procMacroSymbol) {
				return true
			}
		}
	}
	return false
}
