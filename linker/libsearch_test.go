package linker

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

func TestFindLibraries(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"a/libx.a", "a/liby.so", "a/liby.a", "b/libx.so", "b/odd.a", "sys/lib/libs.a", "drv/libd.a", "drv/libx.a", "a/libz.so/file"} {
		putFile(t, filepath.Join(dir, f), "")
	}
	driver := filepath.Join(dir, "cc")
	putFile(t, driver, "#!/bin/sh\necho \"$@\" >>calls\nprintf 'install: /x\\nprograms: =/y\\nlibraries: =%s:/nowhere/\\n' \"$PWD/drv/\"\n")
	if err := os.Chmod(driver, 0o777); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ args, want string }{
		{"-m64 -L a -L b -lx", "a/libx.a"}, // the first folder, whatever is in it
		{"-m64 -L b -L a -lx", "b/libx.so"},
		{"-m64 -L a -ly", "a/liby.so"},
		{"-m64 -L a -Wl,-Bstatic -ly", "a/liby.a"},
		{"-m64 -L a -static -ly", "a/liby.a"},
		{"-m64 -L b -Wl,-Bstatic -L a -lx", "a/libx.a"},
		{"-m64 -L b -l:odd.a", "b/odd.a"},
		{"-m64 --sysroot=sys -L =/lib -ls", "sys/lib/libs.a"},
		{"-m64 --sysroot=sys -L $SYSROOT/lib -ls", "sys/lib/libs.a"},
		{"-m64 -lx -L a", "a/libx.a"}, // -L counts wherever it stands
		{"-m64 -L a/ -ly", "a/liby.so"},
		{"-m64 -L a -lz", ""}, // a folder is no library
		{"-m64 -L a -ld", dir + "/drv/libd.a"},
		{"-m64 -L b -lx -ld -lnowhere", "b/libx.so " + dir + "/drv/libd.a "},
		{"-flavor gnu -L a -ld", ""}, // lld has no folders of its own
	}
	for _, tt := range tests {
		cl, err := ParseCommandLine(strings.Fields(tt.args), dir)
		if err != nil {
			t.Fatal(err)
		}
		real := &Linker{Path: driver, Takes: TakesDriver}
		if cl.Style == StyleLD {
			real = &Linker{Path: "rust-lld", Takes: TakesFlavor}
		}
		cl.FindLibraries(real)
		var got []string
		for _, in := range cl.Inputs {
			got = append(got, in.Path)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q, want %q", tt.args, got, tt.want)
		}
	}

	// The driver is asked once, with what chooses its folders.
	os.Remove(filepath.Join(dir, "calls"))
	cl, err := ParseCommandLine(strings.Fields("-m32 -march=i686 --sysroot=/s -B/b -O2 -lone -ltwo"), dir)
	if err != nil {
		t.Fatal(err)
	}
	cl.FindLibraries(&Linker{Path: driver, Takes: TakesDriver})
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if want := "-print-search-dirs -m32 -march=i686 --sysroot=/s -B/b\n"; err != nil || string(calls) != want {
		t.Errorf("asked the driver: %q, %v, want %q", calls, err, want)
	}
}

func TestReadSearchDirs(t *testing.T) {
	for _, tt := range []struct {
		answer string
		want   []string
	}{
		{"install: /x\nprograms: =/y\nlibraries: =/a/:/b\n", []string{"/a/", "/b"}},
		{"libraries: =/a\nmore\n", []string{"/a"}},
		{"libraries: =/a:/b", nil}, // it ended before all was said
		{"libraries: /a\n", nil},
		{"", nil},
	} {
		if got := readSearchDirs(strings.NewReader(tt.answer)); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.answer, got, tt.want)
		}
	}
	if got := readSearchDirs(iotest.ErrReader(errors.New("no"))); got != nil {
		t.Errorf("no answer: %q", got)
	}
}

// TestQuery: a driver is asked once, and its answer is what the folders are; one
// that does not answer is none.
func TestQuery(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) string {
		path := filepath.Join(dir, name)
		putFile(t, path, "#!/bin/sh\n"+text)
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		what, driver string
		want         []string
	}{
		{"an answer", script("cc", "echo \"libraries: =/a:/b:$*\"\n"), []string{"/a", "/b", "-print-search-dirs -m64"}},
		{"none", script("gcc", "exit 1\n"), nil},
		{"no such program", filepath.Join(dir, "clang"), nil},
	} {
		cl, err := ParseCommandLine([]string{"-m64", "x.o"}, dir)
		if err != nil {
			t.Fatal(err)
		}
		run := newRunner()
		real := &Linker{Path: tt.driver, Takes: TakesDriver}
		q := newQuery(real, cl)
		q.ask(run, real, cl, NewEnvironment())
		dirs := (&Linker{Path: tt.driver, Takes: TakesDriver, answer: q.file()}).defaultDirs(cl)
		for range 2 {
			if got := dirs(); !slices.Equal(got[:min(len(got), len(tt.want))], tt.want) || len(got) != len(tt.want)+5 { // and those that GNU ld has
				t.Errorf("%s: %q, want %q and five more", tt.what, got, tt.want)
			}
		}
		q.end()
		run.close()
	}
	// One that goes on is not waited for.
	cl := &CommandLine{Style: StyleCC, Dir: dir}
	run := newRunner()
	defer run.close()
	real := &Linker{Path: script("cc", "exec sleep 1000\n"), Takes: TakesDriver}
	q := newQuery(real, cl)
	q.ask(run, real, cl, NewEnvironment())
	q.end()
	if exit, err := q.child.wait(); err != nil || exit.Signal != syscall.SIGKILL {
		t.Errorf("%v, %v", exit, err)
	}
	if q := newQuery(&Linker{Path: "ld.lld", Takes: TakesLD}, &CommandLine{Style: StyleLD}); q != nil || q.file() != nil {
		t.Error("a linker is asked that is no driver")
	}
}
