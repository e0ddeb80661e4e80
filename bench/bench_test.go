package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
		r, err := ways[i].run(dir, work)
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
	if err := run([]string{"-case", "hello", "-runs", "1", "-linker", "lld", "-cache", t.TempDir()}, &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	for _, want := range []string{"pass-through: ", "\n### hello: ", "\n| lld | ", "\n| leanlink, lld | ", "worker fold ", "peak of the worker "} {
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
