package linker

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMappingsUnchanged(t *testing.T) {
	tests := []struct {
		name   string
		change func(path string) error
		want   string
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"read again", func(path string) error { _, err := os.ReadFile(path); return err }, ""},
		{"another link to it", func(path string) error { return os.Link(path, path+".link") }, ""},
		{"written in place", func(path string) error { return os.WriteFile(path, []byte("other"), 0o600) }, "PATH: changed during the link"},
		{"truncated", func(path string) error { return os.Truncate(path, 2) }, "PATH: changed during the link"},
		{"emptied", func(path string) error { return os.Truncate(path, 0) }, "PATH: changed during the link"},
		{"replaced by an equal file", func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			if err := os.WriteFile(path+".new", []byte("first"), 0o600); err != nil {
				return err
			}
			if err := os.Chtimes(path+".new", info.ModTime(), info.ModTime()); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}, "PATH: changed during the link"},
		{"removed", os.Remove, "PATH: changed during the link"},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "x\xff.o") // no UTF-8
		putFile(t, path, "first")
		long := time.Now().Add(-time.Hour)
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
		m := &mappings{}
		if b, err := m.open(path); err != nil || string(b) != "first" {
			t.Fatalf("%q, %v", b, err)
		}
		if err := tt.change(path); err != nil {
			t.Fatal(err)
		}
		err := m.unchanged()
		if got := strings.ReplaceAll(errText(err), path, "PATH"); got != tt.want || err != nil && !errors.Is(err, errChanged) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// An input that changes while it is read is noticed, whatever was made of it.
func TestInputChangesWhileItIsRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.o")
	putFile(t, path, string(fuzzSeeds(t, "x86_64-gcc.o")[0]))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := int64(0); ; n++ {
			select {
			case <-stop:
				return
			default:
				os.Chtimes(path, time.Unix(n, 0), time.Unix(n, 0))
			}
		}
	}()
	cl, err := ParseCommandLine([]string{"-flavor", "gnu", "x.o", "-o", "out"}, dir)
	if err != nil {
		t.Fatal(err)
	}
	noticed := false
	for try := 0; try < 100 && !noticed; try++ {
		work := t.TempDir()
		_, err := Prepare(cl, &Config{Fold: "all"}, &Linker{Path: "ld.lld", Takes: TakesLD}, work)
		noticed = errors.Is(err, errChanged)
		if err != nil && !noticed {
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
	if !noticed {
		t.Error("a hundred links of an input that changes all the time, and none was refused")
	}
}

// What stands behind an input that is a pipe is the real linker's alone: it is
// neither waited for nor read.
func TestPipesAreLeftAlone(t *testing.T) {
	b := newBench(t)
	putFile(t, filepath.Join(b.dir, "work/x.o"), string(fuzzSeeds(t, "x86_64-gcc.o")[0]))
	pipe := filepath.Join(b.dir, "work/pipe.o")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	// With a writer that has written: a read would succeed, and take it away.
	f, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const text = "\x7fELF and 20 more bytes"
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"-m64 pipe.o -o out", "-flavor gnu pipe.o -o out", "-m64 x.o -Wl,--version-script=pipe.o -shared -o out",
		"-m64 x.o -T pipe.o -o out", "@pipe.o", "-flavor gnu x.o --dynamic-list=pipe.o -o out",
	} {
		_, stderr, end := b.run([]string{"LEANLINK_SAVE=cases", "LEANLINK_TEST_PREPARE=real"}, strings.Fields(args)...)
		if end != "exit status 0" || strings.Contains(stderr, "saved in") {
			t.Errorf("%s: %q, %s", args, stderr, end)
		}
		if calls := b.calls(); !slices.Equal(calls, []string{args}) && args[0] != '-' {
			t.Errorf("%s: called with %q", args, calls)
		}
		if err := f.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if n, err := f.Read(got); string(got[:n]) != text {
			t.Errorf("%s: of the pipe's contents %q is left, %v", args, got[:n], err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
}

// What is let go of reads the same again, and is no longer in memory until then.
func TestLetGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	want := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	var m mappings
	got, err := m.open(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("the file is mapped wrong")
	}
	_, before := residentMemory(0)
	m.letGo()
	_, after := residentMemory(0)
	if before == 0 {
		t.Skip("no /proc/self/statm")
	}
	if before-after < int64(len(want))/2 {
		t.Errorf("%d bytes of files in memory, then %d", before, after)
	}
	if !bytes.Equal(got, want) {
		t.Error("it reads otherwise than before")
	}
}
