package linker

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func parse(t testing.TB, args ...string) *CommandLine {
	t.Helper()
	cl, err := ParseCommandLine(args, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// rustcHosted is how rustc 1.95 links a program for x86-64 Linux.
func rustcHosted(target, tmp string) []string {
	lib := "/rust/lib/rustlib/x86_64-unknown-linux-gnu/lib"
	return []string{"-m64", target + "/deps/" + tmp + "/symbols.o", target + "/deps/app-1.app.2-cgu.0.rcgu.o",
		"-Wl,--as-needed", "-Wl,-Bstatic", target + "/deps/libdep-3.rlib", lib + "/libstd-4.rlib",
		"-Wl,-Bdynamic", "-lgcc_s", "-lc", "-L", target + "/deps/" + tmp + "/raw-dylibs",
		"-B/rust/lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld", "-fuse-ld=lld", "-Wl,--eh-frame-hdr", "-Wl,-z,noexecstack",
		"-L", lib, "-o", target + "/deps/app-1", "-Wl,--gc-sections", "-pie", "-Wl,-z,relro,-z,now", "-Wl,-O1",
		"-Wl,--strip-debug", "-nodefaultlibs"}
}

// rustcBare is how rustc 1.95 links firmware.
func rustcBare(target, tmp string) []string {
	return []string{"-flavor", "gnu", target + "/deps/" + tmp + "/symbols.o", target + "/deps/fw-1.fw.2-cgu.0.rcgu.o",
		"--as-needed", "-Bstatic", target + "/deps/libcortex_m-3.rlib", "-L", target + "/build/fw-4/out",
		"-L", "/rust/lib/rustlib/thumbv7m-none-eabi/lib", "-o", target + "/deps/fw-1", "--gc-sections", "-O1",
		"--nmagic", "-Tlink.x"}
}

func TestParseRustcCommandLines(t *testing.T) {
	cl := parse(t, rustcHosted("/t/release", "rustcAbCdEf")...)
	want := []Input{
		{Arg: 1, NArgs: 1, Path: "/t/release/deps/rustcAbCdEf/symbols.o"},
		{Arg: 2, NArgs: 1, Path: "/t/release/deps/app-1.app.2-cgu.0.rcgu.o"},
		{Arg: 5, NArgs: 1, Path: "/t/release/deps/libdep-3.rlib", AsNeeded: true, Static: true},
		{Arg: 6, NArgs: 1, Path: "/rust/lib/rustlib/x86_64-unknown-linux-gnu/lib/libstd-4.rlib", AsNeeded: true, Static: true},
		{Arg: 8, NArgs: 1, Library: "gcc_s", AsNeeded: true},
		{Arg: 9, NArgs: 1, Library: "c", AsNeeded: true},
	}
	if !reflect.DeepEqual(cl.Inputs, want) {
		t.Errorf("inputs: %+v, want %+v", cl.Inputs, want)
	}
	if cl.Style != StyleCC || cl.Output != "/t/release/deps/app-1" || !cl.GCSections || !cl.PIE || !cl.StripDebug ||
		cl.FuseLD != "lld" || cl.Emulation != "m64" || cl.Shared || len(cl.Unknown) != 0 || cl.Query != "" {
		t.Errorf("facts: %+v", cl)
	}
	if want := []string{"noexecstack", "relro", "now"}; !slices.Equal(cl.Z, want) {
		t.Errorf("-z: %q, want %q", cl.Z, want)
	}
	if !slices.Equal(cl.Args, cl.Argv) {
		t.Errorf("arguments changed: %q", cl.Args)
	}

	cl = parse(t, rustcBare("/t/thumbv7m-none-eabi/release", "rustcAbCdEf")...)
	if cl.Style != StyleLD || cl.Flavor != "gnu" || cl.Output != "/t/thumbv7m-none-eabi/release/deps/fw-1" || !cl.GCSections ||
		!slices.Equal(cl.Scripts, []string{"link.x"}) || len(cl.Inputs) != 3 || !cl.Inputs[2].Static || len(cl.Unknown) != 0 {
		t.Errorf("facts: %+v", cl)
	}
}

// Each line of options sets one fact, in both styles unless one is named.
func TestOptionFacts(t *testing.T) {
	tests := []struct {
		style string // cc, ld or "" for both (-Wl, is put before it for cc)
		args  string
		want  CommandLine // only the facts
	}{
		{"", "--gc-sections", CommandLine{GCSections: true}},
		{"", "--gc-sections --no-gc-sections", CommandLine{}},
		{"", "-gc-sections --gc-keep-exported", CommandLine{GCSections: true, GCKeepExported: true}},
		{"", "-shared", CommandLine{Shared: true}},
		{"cc", "-shared", CommandLine{Shared: true}},
		{"", "-pie", CommandLine{PIE: true}},
		{"", "-pie --no-pie", CommandLine{}},
		{"cc", "-static-pie", CommandLine{PIE: true, StaticExe: true}},
		{"cc", "-static", CommandLine{StaticExe: true}},
		{"ld", "-static", CommandLine{StaticExe: true}},
		{"", "-r", CommandLine{Relocatable: true}},
		{"cc", "-r", CommandLine{Relocatable: true}},
		{"", "--relocatable", CommandLine{Relocatable: true}},
		{"", "-q", CommandLine{EmitRelocs: true}},
		{"", "--emit-relocs", CommandLine{EmitRelocs: true}},
		{"", "-E", CommandLine{ExportDynamic: true}},
		{"", "--export-dynamic --no-export-dynamic", CommandLine{}},
		{"cc", "-rdynamic", CommandLine{ExportDynamic: true}},
		{"", "-Bsymbolic", CommandLine{BSymbolic: "all"}},
		{"", "-Bsymbolic-functions", CommandLine{BSymbolic: "functions"}},
		{"", "-e main", CommandLine{Entry: "main"}},
		{"", "-emain", CommandLine{Entry: "main"}},
		{"", "--entry=main", CommandLine{Entry: "main"}},
		{"cc", "-e main", CommandLine{Entry: "main"}},
		{"", "-init=i --fini f", CommandLine{Init: "i", Fini: "f"}},
		{"", "-u a --undefined=b --require-defined c --undefined-glob=d*", CommandLine{Undefined: []string{"a", "b", "c", "d*"}}},
		{"cc", "-u a -ub", CommandLine{Undefined: []string{"a", "b"}}},
		{"", "--version-script=v --version-script w", CommandLine{VersionScripts: []string{"v", "w"}}},
		{"", "--dynamic-list=l --export-dynamic-symbol-list=m", CommandLine{DynamicLists: []string{"l", "m"}}},
		{"", "--export-dynamic-symbol=s", CommandLine{ExportDynamicSymbols: []string{"s"}}},
		{"", "-T a -Tb --script=c -dT d", CommandLine{Scripts: []string{"a", "b", "c", "d"}}},
		{"cc", "-T a -Tb", CommandLine{Scripts: []string{"a", "b"}}},
		{"", "-Ttext=0x1000 -Ttext-segment 0x2000", CommandLine{}},
		{"", "--exclude-libs ALL --wrap=w --defsym=a=b", CommandLine{ExcludeLibs: []string{"ALL"}, Wrap: []string{"w"}, Defsym: []string{"a=b"}}},
		{"", "-L a -Lb --library-path=c", CommandLine{LibraryPaths: []string{"a", "b", "c"}}},
		{"", "--icf=all --keep-unique=k", CommandLine{ICF: "all", KeepUnique: []string{"k"}}},
		{"", "-s", CommandLine{StripAll: true}},
		{"cc", "-s", CommandLine{StripAll: true}},
		{"", "-S", CommandLine{StripDebug: true}},
		{"", "-M", CommandLine{PrintMap: true}},
		{"", "-Map=m", CommandLine{Map: "m"}},
		{"", "-m elf_x86_64", CommandLine{Emulation: "elf_x86_64"}},
		{"", "-plugin p -plugin-opt=x", CommandLine{Plugin: true}},
		{"cc", "-flto", CommandLine{Plugin: true}},
		{"", "-z muldefs", CommandLine{AllowMultipleDefinition: true, Z: []string{"muldefs"}}},
		{"", "-znow -z relro", CommandLine{Z: []string{"now", "relro"}}},
		{"", "--retain-symbols-file r", CommandLine{RetainSymbolsFile: "r"}},
		{"", "--symbol-ordering-file=o", CommandLine{OtherFiles: []string{"o"}}},
		{"", "-soname x -h y -rpath=z --hash-style=gnu --build-id -O2 -dynamic-linker d --start-group --end-group", CommandLine{}},
		{"", "--print-map --print-gc-sections --print-memory-usage", CommandLine{PrintMap: true}},
		{"", "--frobnicate -9", CommandLine{Unknown: []string{"--frobnicate", "-9"}}},
		{"", "-version", CommandLine{Query: "-version"}},
		{"", "-v", CommandLine{Query: "-v"}},
		{"", "--help", CommandLine{Query: "--help"}},
		{"cc", "-###", CommandLine{Query: "-###"}},
		{"cc", "--version", CommandLine{Query: "--version"}},
		{"cc", "-v", CommandLine{Query: "-v"}},
		{"cc", "-print-file-name=libc.a", CommandLine{Query: "-print-file-name=libc.a"}},
		{"cc", "--print-search-dirs", CommandLine{Query: "--print-search-dirs"}},
		{"cc", "-dumpmachine", CommandLine{Query: "-dumpmachine"}},
		{"cc", "-c", CommandLine{Query: "-c"}},
		{"cc", "-fuse-ld=mold -B/x --sysroot=/s", CommandLine{FuseLD: "mold", DriverPaths: []string{"/x"}, Sysroot: "/s"}},
		{"cc", "--ld-path=/x/ld.lld", CommandLine{FuseLD: "/x/ld.lld"}},
		{"cc", "-march=native -Wall -g -O2 -pthread -isystem /i -D X -nostdlib -nostartfiles -static-libgcc --param a=b -MF d", CommandLine{}},
		{"cc", "--frobnicate", CommandLine{Unknown: []string{"--frobnicate"}}},
		{"cc", "-Wl,@inner", CommandLine{Unknown: []string{"@inner"}}},
		{"cc", "-Xlinker --gc-sections -Xlinker -e -Xlinker main", CommandLine{GCSections: true, Entry: "main"}},
	}
	for _, tt := range tests {
		for _, style := range []string{"cc", "ld"} {
			if tt.style != "" && tt.style != style {
				continue
			}
			args := []string{"-flavor", "gnu"}
			if style == "cc" {
				args = []string{"-m64"}
			}
			for _, arg := range strings.Fields(tt.args) {
				if style == "cc" && tt.style == "" {
					arg = "-Wl," + arg
				}
				args = append(args, arg)
			}
			cl := parse(t, args...)
			want := tt.want
			want.Output = "a.out"
			want.Style, want.Argv, want.Args, want.Dir = cl.Style, cl.Argv, cl.Args, cl.Dir
			if style == "ld" {
				want.Flavor = "gnu"
			} else if want.Emulation == "" {
				want.Emulation = "m64"
			}
			if cl.Style.String() != style || !reflect.DeepEqual(*cl, want) {
				t.Errorf("%s %q:\n%+v, want\n%+v", style, tt.args, *cl, want)
			}
		}
	}
}

func TestInputs(t *testing.T) {
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "syms"), "")
	tests := []struct {
		args   string
		inputs []Input
		out    string // Args, "" if as given
	}{
		{args: "-m64 a.o -lm -l z -l:x.a", inputs: []Input{
			{Arg: 1, NArgs: 1, Path: "a.o"}, {Arg: 2, NArgs: 1, Library: "m"}, {Arg: 3, NArgs: 2, Library: "z"}, {Arg: 5, NArgs: 1, Library: ":x.a"}}},
		{args: "-flavor gnu a.o -l z --library=y --library x", inputs: []Input{
			{Arg: 2, NArgs: 1, Path: "a.o"}, {Arg: 3, NArgs: 2, Library: "z"}, {Arg: 5, NArgs: 1, Library: "y"}, {Arg: 6, NArgs: 2, Library: "x"}}},
		{args: "-flavor gnu --whole-archive a.a --no-whole-archive b.a", inputs: []Input{
			{Arg: 3, NArgs: 1, Path: "a.a", WholeArchive: true}, {Arg: 5, NArgs: 1, Path: "b.a"}}},
		{args: "-flavor gnu --push-state --as-needed -Bstatic --whole-archive a.a --pop-state b.a --pop-state", inputs: []Input{
			{Arg: 6, NArgs: 1, Path: "a.a", WholeArchive: true, AsNeeded: true, Static: true}, {Arg: 8, NArgs: 1, Path: "b.a"}}},
		{args: "-flavor gnu ( a.a ) -( b.a -) --start-group c.a --end-group d.a", inputs: []Input{
			{Arg: 2, NArgs: 1, Path: "("}, {Arg: 3, NArgs: 1, Path: "a.a"}, {Arg: 4, NArgs: 1, Path: ")"},
			{Arg: 6, NArgs: 1, Path: "b.a", Group: 1}, {Arg: 9, NArgs: 1, Path: "c.a", Group: 2}, {Arg: 11, NArgs: 1, Path: "d.a"}}},
		{args: "-flavor gnu --start-lib a.o --end-lib b.o -b binary c --format=default d.o", inputs: []Input{
			{Arg: 3, NArgs: 1, Path: "a.o", StartLib: true}, {Arg: 5, NArgs: 1, Path: "b.o"},
			{Arg: 8, NArgs: 1, Path: "c", Format: "binary"}, {Arg: 10, NArgs: 1, Path: "d.o"}}},
		{args: "-flavor gnu --just-symbols=s -R syms -R folder", inputs: []Input{
			{Arg: 2, NArgs: 1, Path: "s", JustSymbols: true}, {Arg: 3, NArgs: 2, Path: "syms", JustSymbols: true}}},
		{args: "-m64 a.o -Wl,--whole-archive,b.a,--no-whole-archive -Wl,-z,now c.o",
			inputs: []Input{{Arg: 1, NArgs: 1, Path: "a.o"}, {Arg: 3, NArgs: 1, Path: "b.a", WholeArchive: true}, {Arg: 6, NArgs: 1, Path: "c.o"}},
			out:    "-m64 a.o -Wl,--whole-archive -Wl,b.a -Wl,--no-whole-archive -Wl,-z,now c.o"},
		{args: "-m64 -Wl,-l,foo -Wl,b.a -Xlinker c.a",
			inputs: []Input{{Arg: 1, NArgs: 2, Library: "foo"}, {Arg: 3, NArgs: 1, Path: "b.a"}, {Arg: 4, NArgs: 2, Path: "c.a"}},
			out:    "-m64 -Wl,-l -Wl,foo -Wl,b.a -Xlinker c.a"},
		{args: "-m64 -Wl,-T -Wl,x.ld -Wl,--defsym,a=b a.o", inputs: []Input{{Arg: 4, NArgs: 1, Path: "a.o"}}},
		{args: "-flavor gnu -o out -e main a.o -O 2 -soname s", inputs: []Input{{Arg: 6, NArgs: 1, Path: "a.o"}}},
	}
	for _, tt := range tests {
		args := strings.Fields(tt.args)
		cl, err := ParseCommandLine(args, dir)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(cl.Inputs, tt.inputs) {
			t.Errorf("%s:\n%+v, want\n%+v", tt.args, cl.Inputs, tt.inputs)
		}
		if tt.out == "" {
			tt.out = tt.args
		}
		if got := strings.Join(cl.Args, " "); got != tt.out {
			t.Errorf("%s: arguments %s, want %s", tt.args, got, tt.out)
		}
	}
	if cl := parse(t, "-m64", "a.c", "-x", "c", "-"); !slices.Equal(cl.Unknown, []string{"a.c", "-x", "-"}) {
		t.Errorf("sources: unknown is %q", cl.Unknown)
	}
}

func TestDetectStyle(t *testing.T) {
	tests := []struct {
		args string
		want Style
	}{
		{"", StyleCC},
		{"a.o -o out", StyleCC},
		{"-flavor gnu a.o", StyleLD},
		{"a.o --as-needed -Bstatic x.rlib --gc-sections", StyleLD},
		{"-m elf_x86_64 a.o", StyleLD},
		{"a.o -Wl,--as-needed", StyleCC},
		{"-Xlinker --gc-sections a.o", StyleCC},
		{"a.o -nodefaultlibs", StyleCC},
		{"-march=armv7-a --sysroot=/x a.o", StyleCC},
	}
	for _, tt := range tests {
		if got := detectStyle(strings.Fields(tt.args)); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.args, got, tt.want)
		}
	}
}

// Whatever the arguments are, none is lost, every input lies within them, and
// a linker's own arguments are untouched.
func FuzzParseCommandLine(f *testing.F) {
	f.Add(strings.Join(rustcHosted("/t", "rustcAbCdEf"), "\n"))
	f.Add(strings.Join(rustcBare("/t", "rustcAbCdEf"), "\n"))
	f.Add("-Wl,-l,foo,a.o\n-Wl,\n-Xlinker\n-o")
	f.Add("-flavor\n-l\n-b\n--pop-state\n-(")
	f.Fuzz(func(t *testing.T, joined string) {
		args := strings.Split(joined, "\n")
		for _, arg := range args {
			if strings.HasPrefix(arg, "@") {
				return // would open files of this machine
			}
		}
		cl, err := ParseCommandLine(args, "/nowhere")
		if err != nil {
			t.Fatal(err)
		}
		end := 0
		for _, in := range cl.Inputs {
			if in.Arg < end || in.NArgs < 1 || in.Arg+in.NArgs > len(cl.Args) {
				t.Fatalf("%q: input %+v outside %q or before the last one's end, %d", args, in, cl.Args, end)
			}
			end = in.Arg + in.NArgs
		}
		if cl.Style == StyleLD && !slices.Equal(cl.Args, args) {
			t.Fatalf("%q became %q", args, cl.Args)
		}
		words := func(args []string) string {
			var b strings.Builder
			for _, arg := range args {
				rest, composite := strings.CutPrefix(arg, "-Wl,")
				if composite {
					for word := range strings.SplitSeq(rest, ",") {
						b.WriteString("-Wl," + word + "\n")
					}
					continue
				}
				b.WriteString(arg + "\n")
			}
			return b.String()
		}
		if words(cl.Args) != words(args) {
			t.Fatalf("%q became %q", args, cl.Args)
		}
	})
}

func TestParseResponseFile(t *testing.T) {
	dir := t.TempDir()
	args := rustcHosted("/t", "rustcAbCdEf")
	if err := os.WriteFile(filepath.Join(dir, "linker-arguments"), formatResponse(args), 0o666); err != nil {
		t.Fatal(err)
	}
	cl, err := ParseCommandLine([]string{"@linker-arguments"}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if !cl.ResponseFile || !slices.Equal(cl.Args, args) || len(cl.Inputs) != 6 || !slices.Equal(cl.Argv, []string{"@linker-arguments"}) {
		t.Errorf("%+v", cl)
	}
}
