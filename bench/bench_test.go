package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"leanlink/objfile"
)

// The made-up programs are whole programs: they link with every linker there
// is, plain and by leanlink, which finds the copies, and run.
func TestSynthetic(t *testing.T) {
	for _, tool := range []string{"cc", "rustc", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("no " + tool)
		}
	}
	work := t.TempDir()
	o := options{runs: 1, cache: t.TempDir(), program: filepath.Join(work, "leanlink"), linkers: []string{"lld", "mold", "gold", "bfd"}, log: os.Stderr}
	if err := command(o.log, "", nil, "go", "build", "-o", o.program, "leanlink/linker/leanlink"); err != nil {
		t.Fatal(err)
	}
	dir, err := synthetic(2500)(o, work)
	if err != nil {
		t.Fatal(err)
	}
	l, err := openLink(dir, &benchCase{name: "synthetic"}, o)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(work, "program")
	ways := l.ways(o, out)
	if len(ways) < 3 {
		t.Fatalf("%d ways to link", len(ways))
	}
	sizes := map[string]int64{}
	for i := range ways {
		r, err := ways[i].run(dir, work, "")
		if err != nil {
			t.Fatal(err)
		}
		if by := strings.HasPrefix(ways[i].name, "leanlink"); by != (len(r.phases) > 10) {
			t.Errorf("%s: %d phases", ways[i].name, len(r.phases))
		}
		if printed, err := exec.Command(out).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", ways[i].name, err, printed)
		}
		st, err := os.Stat(out)
		if err != nil {
			t.Fatal(err)
		}
		sizes[ways[i].name] = st.Size()
	}
	for i := range ways {
		if ways[i].vars != nil && sizes[ways[i].name] >= sizes[ways[ways[i].base].name] {
			t.Errorf("%s: %d bytes, plain %d", ways[i].name, sizes[ways[i].name], sizes[ways[ways[i].base].name])
		}
	}
}

// The command itself, on the smallest program.
func TestCommand(t *testing.T) {
	for _, tool := range []string{"cc", "cargo", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("no " + tool)
		}
	}
	var out, log strings.Builder
	if err := run([]string{"-case", "hello", "-runs", "1", "-linker", "lld", "-cache", t.TempDir(), "-pprof", t.TempDir()}, &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	for _, want := range []string{"pass-through: ", "\n### hello: ", "\n| lld | ", "\n| leanlink, lld | ", "worker fold ", "peak of the worker ", "\nType: cpu\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	for _, args := range [][]string{{"-case", "no-such"}, {"more"}} {
		if err := run(args, &out, &log); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

// A relink is of a crate whose objects are new, one of them with other contents
// each time; the case that it was made of stays as it was.
func TestRelink(t *testing.T) {
	from := t.TempDir()
	if err := os.Mkdir(filepath.Join(from, "in"), 0o777); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"args":      []byte("in/a.o\nin/b.o\nin/libc.a\n"),
		"about":     []byte("leanlink: test\nstyle: cc\n"),
		"in/a.o":    syntheticObject(0, 3, 3),
		"in/b.o":    syntheticObject(0, 8, 8),
		"in/libc.a": []byte("!<arch>\n"),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(from, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := relink(func(options, string) (string, error) { return from, nil })(options{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, err := openCrate(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.objects) != 2 {
		t.Fatalf("the crate has the objects %q", c.objects)
	}
	seen := map[string]bool{string(files["in/a.o"]): true, string(files["in/b.o"]): true}
	for range 3 {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		for _, path := range c.objects {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if was := seen[string(data)]; was == (path == c.changed) {
				t.Errorf("%s: contents seen before: %v", filepath.Base(path), was)
			}
			if _, err := objfile.Parse(path, data); err != nil {
				t.Error(err)
			}
			seen[string(data)] = true
		}
	}
	for name, data := range files {
		if now, err := os.ReadFile(filepath.Join(from, name)); err != nil || string(now) != string(data) {
			t.Errorf("%s was changed (%v)", name, err)
		}
	}
}

// A link of many functions keeps within the memory that docs/performance.md
// promises: its mapped inputs, 32 MB and 400 bytes for each live section.
func TestMemory(t *testing.T) {
	for _, tool := range []string{"cc", "rustc", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("no " + tool)
		}
	}
	work := t.TempDir()
	o := options{runs: 1, cache: t.TempDir(), program: filepath.Join(work, "leanlink"), linkers: []string{"lld"}, log: os.Stderr}
	if err := command(o.log, "", nil, "go", "build", "-o", o.program, "leanlink/linker/leanlink"); err != nil {
		t.Fatal(err)
	}
	for _, functions := range []int{5_000, 60_000} {
		dir, err := synthetic(functions)(o, work)
		if err != nil {
			t.Fatal(err)
		}
		l, err := openLink(dir, &benchCase{name: "synthetic"}, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, y := range l.ways(o, filepath.Join(work, "program")) {
			if y.vars == nil {
				continue
			}
			r, err := y.run(dir, work, "")
			if err != nil {
				t.Fatal(err)
			}
			peak, bound := r.memory()
			// A busy machine lets go of files late.
			if peak == 0 || peak > bound*9/8 {
				t.Errorf("%d functions: the worker's peak is %d bytes, the bound %d", functions, peak, bound)
			}
			t.Logf("%d functions: %d of %d bytes", functions, peak, bound)
		}
	}
}
