package linker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTakes(t *testing.T) {
	tests := []struct {
		names string
		want  Takes
	}{
		{"cc c++ gcc g++ clang clang++ gcc-12 clang-19 clang++-19 /usr/bin/x86_64-linux-gnu-gcc-12 arm-none-eabi-gcc musl-cc aarch64-linux-gnu-g++", TakesDriver},
		{"rust-lld lld lld-19 flip-link /home/u/.cargo/bin/flip-link", TakesFlavor},
		{"ld ld.lld ld.lld-19 ld.bfd ld.gold ld.mold mold gold wild arm-none-eabi-ld riscv64-unknown-elf-ld.bfd x86_64-linux-gnu-ld.gold", TakesLD},
		{"my-linker.sh zig ldd linker", TakesAny},
	}
	for _, tt := range tests {
		for name := range strings.FieldsSeq(tt.names) {
			if got := takes(name); got != tt.want {
				t.Errorf("%s: %v, want %v", name, got, tt.want)
			}
		}
	}
}

func TestLinkerKind(t *testing.T) {
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "mold"), "")
	if err := os.Symlink("mold", filepath.Join(dir, "ld")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		real, args string
		want       Kind
	}{
		{"cc", "-m64 a.o", KindBFD},
		{"/usr/bin/gcc-12", "-m64 -fuse-ld=lld", KindLLD},
		{"cc", "-m64 -fuse-ld=gold", KindGold},
		{"cc", "-m64 -fuse-ld=bfd", KindBFD},
		{"clang", "-m64 -fuse-ld=mold", KindMold},
		{"clang", "-m64 -fuse-ld=/opt/wild", KindWild},
		{"clang", "-m64 --ld-path=/opt/ld.lld-19", KindLLD},
		{"clang", "-m64 -fuse-ld=own", KindUnknown},
		{"cc", "-m64 -B" + dir, KindMold},
		{"cc", "-m64 -B/nowhere", KindBFD},
		{"rust-lld", "-flavor gnu a.o", KindLLD},
		{"flip-link", "-flavor gnu a.o", KindLLD},
		{"ld.lld-19", "-flavor gnu a.o", KindLLD},
		{"ld.gold", "-flavor gnu a.o", KindGold},
		{dir + "/ld", "-flavor gnu a.o", KindMold},
		{"arm-none-eabi-ld", "-flavor gnu a.o", KindBFD},
		{"arm-none-eabi-gcc", "-flavor gnu a.o", KindBFD},
		{"my-linker.sh", "-flavor gnu a.o", KindUnknown},
		{"my-linker.sh", "-m64 -fuse-ld=lld", KindLLD},
	}
	for _, tt := range tests {
		if got := parse(t, strings.Fields(tt.args)...).LinkerKind(tt.real); got != tt.want {
			t.Errorf("%s %s: %v, want %v", tt.real, tt.args, got, tt.want)
		}
	}
}

// elfObject is the beginning of an ELF object of a machine.
func elfObject(machine byte) string {
	return "\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00" + string([]byte{machine}) + "\x00"
}

func TestFindLinker(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	program := func(names ...string) {
		for _, name := range names {
			putFile(t, filepath.Join(bin, name), "#!/bin/sh\n")
			if err := os.Chmod(filepath.Join(bin, name), 0o777); err != nil {
				t.Fatal(err)
			}
		}
	}
	program("cc", "clang", "rust-lld", "ld", "arm-none-eabi-ld", "arm-none-eabi-gcc", "flip-link", "mine.sh", "self")
	putFile(t, filepath.Join(bin, "plain"), "")
	putFile(t, filepath.Join(dir, "arm.o"), elfObject(40))
	putFile(t, filepath.Join(dir, "x86.o"), elfObject(62))
	putFile(t, filepath.Join(dir, "list"), "{ global: __rustc_proc_macro_decls_0__; };")
	self, err := os.Stat(filepath.Join(bin, "self"))
	if err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	sysroot := filepath.Join(dir, "sysroot/lib/rustlib")
	putFile(t, filepath.Join(sysroot, "host/bin/rust-lld"), "")

	const bare, hosted = "-flavor gnu arm.o -o out", "-m64 x86.o -o out"
	tests := []struct {
		args, config string
		vars         []string
		want         string // the path, relative to dir
		takes        Takes
		err          string
	}{
		{args: hosted, want: "bin/cc", takes: TakesDriver},
		{args: bare, want: "bin/rust-lld", takes: TakesFlavor},
		{args: "-m elf_x86_64 x86.o", want: "bin/rust-lld", takes: TakesFlavor},
		{args: hosted, config: "clang", want: "bin/clang", takes: TakesDriver},
		{args: hosted, config: "bin/mine.sh", want: "bin/mine.sh", takes: TakesAny},
		{args: bare, config: "arm-none-eabi-ld", want: "bin/arm-none-eabi-ld", takes: TakesLD},
		{args: bare, config: "arm-none-eabi-gcc", want: "bin/arm-none-eabi-gcc", takes: TakesDriver},
		{args: bare, config: "flip-link", want: "bin/flip-link", takes: TakesFlavor},
		// One for another machine is never used.
		{args: hosted, config: "arm-none-eabi-gcc", want: "bin/cc", takes: TakesDriver},
		{args: hosted, config: "arm-none-eabi-ld", want: "bin/cc", takes: TakesDriver},
		{args: "-flavor gnu x86.o", config: "arm-none-eabi-ld", want: "bin/rust-lld", takes: TakesFlavor},
		// A bare linker in a workspace of firmware is not for what runs on the host.
		{args: hosted, config: "flip-link", vars: []string{"CARGO_CRATE_NAME=build_script_build"}, want: "bin/cc", takes: TakesDriver},
		{args: hosted + " -shared -Wl,--version-script=list", config: "flip-link", want: "bin/cc", takes: TakesDriver},
		{args: hosted, config: "flip-link", err: `leanlink.toml: real-linker = "flip-link" takes a linker's own options, but rustc gives a compiler driver's for TRIPLE: name a driver such as cc (and choose its linker with -Clink-arg=-fuse-ld=…), or put the key under [target.TRIPLE] if it is for another target`},
		{args: hosted, config: "nowhere", err: `leanlink.toml: real-linker = "nowhere": not found on PATH`},
		{args: hosted, config: "bin/nowhere", err: `leanlink.toml: real-linker = "bin/nowhere": no such file or directory`},
		{args: hosted, config: "bin/plain", err: `leanlink.toml: real-linker = "bin/plain": not an executable file`},
		{args: hosted, config: "bin/self", err: `leanlink.toml: real-linker = "bin/self" is leanlink itself`},
		{args: hosted, config: "self", err: `leanlink.toml: real-linker = "self" is leanlink itself`},
		{args: hosted, vars: []string{"PATH=" + empty}, err: "the real linker cc: not found on PATH; name another with real-linker in leanlink.toml"},
		{args: bare, vars: []string{"PATH=" + empty}, err: "the real linker rust-lld: not found on PATH; name another with real-linker in leanlink.toml"},
		{args: bare + " -L " + sysroot + "/thumbv7m-none-eabi/lib", vars: []string{"PATH=" + empty}, want: "sysroot/lib/rustlib/host/bin/rust-lld", takes: TakesFlavor},
	}
	for _, tt := range tests {
		env := &Environment{Vars: append(slices.Clip(tt.vars), "PATH="+bin), Dir: dir, self: self}
		cl, err := ParseCommandLine(strings.Fields(tt.args), dir)
		if err != nil {
			t.Fatal(err)
		}
		cfg := &Config{RealLinker: tt.config, Triple: "TRIPLE", sources: map[string]source{"real-linker": {path: []string{"leanlink.toml"}}}}
		got, err := FindLinker(cl, cfg, env)
		if errText(err) != tt.err {
			t.Errorf("%s, real-linker %q: error %q, want %q", tt.args, tt.config, errText(err), tt.err)
			continue
		}
		if err == nil && (got.Path != filepath.Join(dir, tt.want) || got.Takes != tt.takes) {
			t.Errorf("%s, real-linker %q: %+v, want %s, %v", tt.args, tt.config, got, tt.want, tt.takes)
		}
	}

	// A leanlink that is called cc and comes first on PATH is not its own
	// real linker.
	env := &Environment{Vars: []string{"PATH=" + filepath.Join(dir, "first") + ":" + bin}, Dir: dir, self: self}
	if err := os.Mkdir(filepath.Join(dir, "first"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(bin, "self"), filepath.Join(dir, "first/cc")); err != nil {
		t.Fatal(err)
	}
	got, err := FindLinker(parse(t, "-m64", "a.o"), &Config{}, env)
	if err != nil || got.Path != filepath.Join(bin, "cc") {
		t.Errorf("leanlink as the first cc: %+v, %v", got, err)
	}
}

func TestLinkerArgs(t *testing.T) {
	tests := []struct {
		name, args string
		takes      Takes
		want       string
	}{
		{"lld keeps the flavor", "-flavor gnu a.o", TakesFlavor, "-flavor gnu a.o"},
		{"lld needs the flavor", "-m elf_i386 a.o --gc-sections", TakesFlavor, "-flavor gnu -m elf_i386 a.o --gc-sections"},
		{"ld has none", "-flavor gnu a.o --gc-sections", TakesLD, "a.o --gc-sections"},
		{"an unknown program gets what rustc gives", "-flavor gnu a.o", TakesAny, "-flavor gnu a.o"},
		{"a driver's own", "-m64 a.o -Wl,--gc-sections", TakesDriver, "-m64 a.o -Wl,--gc-sections"},
		{"for a driver", "-flavor gnu a.o --as-needed -Bstatic x.rlib -L dir -Ldir -lfoo -l bar -o out --gc-sections -O1 --nmagic -Tlink.x -T x.ld -u f -z now -m armelf -e main --defsym=a=b -Map=x,y -rpath /x -soname a,b", TakesDriver,
			"-no-pie -nostartfiles -nostdlib a.o -Wl,--as-needed -Wl,-Bstatic x.rlib -L dir -Ldir -lfoo -l bar -o out -Wl,--gc-sections -Wl,-O1 -Wl,--nmagic -Wl,-Tlink.x -T x.ld -u f -z now -Wl,-m -Xlinker armelf -Wl,-e -Xlinker main -Wl,--defsym=a=b -Xlinker -Map=x,y -Wl,-rpath -Xlinker /x -Wl,-soname -Xlinker a,b"},
		{"position-independent for a driver", "-flavor gnu -pie a.o --no-dynamic-linker", TakesDriver, "-nostartfiles -nostdlib -pie a.o -Wl,--no-dynamic-linker"},
	}
	for _, tt := range tests {
		args := strings.Fields(tt.args)
		before := slices.Clone(args)
		l := &Linker{Takes: tt.takes}
		if got := strings.Join(l.LinkerArgs(parse(t, args...), args), " "); got != tt.want {
			t.Errorf("%s:\n%s, want\n%s", tt.name, got, tt.want)
		}
		if !slices.Equal(args, before) {
			t.Errorf("%s: changed its argument", tt.name)
		}
	}
}
