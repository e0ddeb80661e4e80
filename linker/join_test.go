package linker

import "testing"

// TestKeepsDebug: what a command line says of debug information leaves it to the
// linker; what its files are called does not.
func TestKeepsDebug(t *testing.T) {
	tests := []struct {
		args  []string
		keeps bool
	}{
		{[]string{"x.o"}, false},
		{[]string{"-L", "target/debug/deps", "-Ltarget/debug", "-Ldebug", "-ldebug", "-Bdebug", "debug/x.o", "debug.o"}, false},
		{[]string{"-Wl,-rpath,/opt/debug", "-Wl,-rpath=/opt/debug", "x.o"}, false},
		{[]string{"-Wl,--gc-sections,-O1", "-Wl,--build-id", "x.o"}, false},
		{[]string{"-Wl,-S", "x.o"}, true},
		{[]string{"-Wl,--compress-debug-sections=zlib", "x.o"}, true},
		{[]string{"-Xlinker", "--compress-debug-sections=zstd", "x.o"}, true},
		{[]string{"-gz", "x.o"}, true},
		{[]string{"-gz=zlib", "x.o"}, true},
		{[]string{"-Wl,--gdb-index", "x.o"}, true},
		{[]string{"-Wl,--orphan-handling=error", "x.o"}, true},
		{[]string{"-Wl,-z,dead-reloc-in-nonalloc=.debug_*=1", "x.o"}, true},
		{[]string{"-Wl,-z,nosectionheader", "x.o"}, true},
		{[]string{"-Wl,-Map=x.map", "x.o"}, true},
		{[]string{"-Wl,--icf=all", "x.o"}, true},
		{[]string{"-Wl,--oformat=binary", "x.o"}, true},
	}
	for _, tt := range tests {
		cl, err := ParseCommandLine(append([]string{"-m64", "-fuse-ld=lld"}, tt.args...), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		p := &preparation{cl: cl, cfg: &Config{}, kind: KindLLD}
		if why := p.keepsDebug(); (why != "") != tt.keeps {
			t.Errorf("%q: the linker joins it: %q, want %v", tt.args, why, tt.keeps)
		}
	}
	cl, _ := ParseCommandLine([]string{"-m64", "x.o"}, t.TempDir())
	if p := (&preparation{cl: cl, cfg: &Config{}, kind: KindUnknown}); p.keepsDebug() == "" {
		t.Error("a linker that is not known need not join it")
	}
}
