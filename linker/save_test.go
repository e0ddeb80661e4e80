package linker

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("LEANLINK_REQUIRE_TOOLS") != "" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

func run(t *testing.T, dir string, vars []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), vars...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// A saved case links to the same bytes in another place, without the files
// that it was made of.
func TestSavedCaseReplays(t *testing.T) {
	cc := tool(t, "cc")
	dir := t.TempDir()
	work := filepath.Join(dir, "the work's folder")
	putFile(t, filepath.Join(work, "main.c"), "int f(void), g(void); int main(void) { return f() + g() - 3; }\n")
	putFile(t, filepath.Join(work, "f.c"), "int f(void) { return 1; }\n")
	putFile(t, filepath.Join(work, "g.c"), "int g(void) { return 2; }\n")
	putFile(t, filepath.Join(work, "list.map"), "{ global: f; local: *; };\n")
	for _, name := range []string{"main", "f", "g"} {
		run(t, work, nil, cc, "-c", "-ffunction-sections", "-o", name+".o", name+".c")
	}
	if err := os.Mkdir(filepath.Join(work, "libs"), 0o777); err != nil {
		t.Fatal(err)
	}
	run(t, work, nil, "ar", "rc", "libs/libf.a", "f.o")
	absolute := filepath.Join(work, "g.o")
	args := []string{"main.o", "-Wl,--version-script=list.map,--gc-sections", "-L", "libs", "-lf", "-lc", absolute, "-o", "prog", "-Wl,-Map=prog.map", "-Wl,--build-id=none"}
	run(t, work, nil, cc, args...)
	want, err := os.ReadFile(filepath.Join(work, "prog"))
	if err != nil {
		t.Fatal(err)
	}

	cl, err := ParseCommandLine(args, work)
	if err != nil {
		t.Fatal(err)
	}
	real := &Linker{Path: cc, Takes: TakesDriver}
	cl.FindLibraries(real)
	cfg := &Config{Fold: "all", Keep: []string{"it's::*"}, sources: map[string]source{}}
	saved, err := SaveCase(cl, cfg, real, filepath.Join(dir, "cases"), "it broke\nbadly")
	if err != nil {
		t.Fatal(err)
	}
	if base := filepath.Base(saved); !strings.HasPrefix(base, "prog-") || filepath.Dir(saved) != filepath.Join(dir, "cases") {
		t.Errorf("saved in %s", saved)
	}
	// Saved again it takes its own place.
	if again, err := SaveCase(cl, cfg, real, filepath.Join(dir, "cases"), "it broke\nbadly"); again != saved || err != nil {
		t.Errorf("saved again in %s, %v", again, err)
	}
	if got, err := os.ReadDir(filepath.Join(dir, "cases")); len(got) != 1 || err != nil {
		t.Errorf("%d cases, %v", len(got), err)
	}

	moved := filepath.Join(t.TempDir(), "-moved case")
	if err := os.Rename(saved, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(work); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{caseArgs, caseReplay} {
		text, err := os.ReadFile(filepath.Join(moved, name))
		if err != nil || strings.Contains(string(text), `\ work\'s`) && !strings.Contains(string(text), "in/") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
		for word := range strings.FieldsSeq(string(text)) {
			if strings.HasPrefix(word, dir) {
				t.Errorf("%s names %s", name, word)
			}
		}
	}
	about, err := os.ReadFile(filepath.Join(moved, caseAbout))
	if err != nil {
		t.Fatal(err)
	}
	wantAbout := "leanlink: " + Version + "\nstyle: cc\nlinker: cc (bfd)\noutput: prog\nprofile: \ntarget: \nLEANLINK_FOLD=all\nLEANLINK_KEEP=it's::*\nLEANLINK_HOST=false\nLEANLINK_VERIFY=false\nLEANLINK_THUNKS=false\nLEANLINK_DEBUG_INFO=\nLEANLINK_TRIM_PANIC=\nLEANLINK_TRIM_BACKTRACE=\nLEANLINK_TRIM_UNWIND_TABLES=\nLEANLINK_TRIM_RELOCATIONS=\nLEANLINK_TRIM_ALIGN=\n\nwhat went wrong:\nit broke\nbadly\n"
	if string(about) != wantAbout {
		t.Errorf("about:\n%s, want\n%s", about, wantAbout)
	}

	run(t, "/", []string{"OUT=again"}, "sh", filepath.Join(moved, caseReplay))
	got, err := os.ReadFile(filepath.Join(moved, "again"))
	if err != nil || string(got) != string(want) {
		t.Errorf("the replay is another program: %d and %d bytes, %v", len(got), len(want), err)
	}
	// The script hands the config on, and what the caller sets goes before.
	putFile(t, filepath.Join(moved, "show"), "#!/bin/sh\necho \"$LEANLINK_FOLD $LEANLINK_KEEP $*\"\n")
	if err := os.Chmod(filepath.Join(moved, "show"), 0o777); err != nil {
		t.Fatal(err)
	}
	if got, want := run(t, "/", []string{"LINKER=./show"}, "sh", filepath.Join(moved, caseReplay), "-s"), "all it's::* @args -o out -s\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := run(t, "/", []string{"LINKER=./show", "LEANLINK_FOLD=off"}, "sh", filepath.Join(moved, caseReplay)), "off it's::* @args -o out\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}

	opened, err := OpenCase(moved)
	if err != nil {
		t.Fatal(err)
	}
	if opened.Style != StyleCC || len(opened.Inputs) != 4 || !opened.GCSections || opened.Dir != moved {
		t.Errorf("%+v", opened)
	}
	for _, in := range opened.Inputs {
		if in.Path != "" && !exists(filepath.Join(moved, in.Path)) {
			t.Errorf("%s is not in the case", in.Path)
		}
	}
	if _, err := OpenCase(t.TempDir()); err == nil || !strings.HasPrefix(err.Error(), "not a saved case: open ") {
		t.Errorf("an empty folder: %v", err)
	}
}

// A firmware's linker scripts come along, wherever they were found.
func TestSavedCaseArguments(t *testing.T) {
	dir := project(t, map[string]string{
		"fw.o": elfObject(40), "memory.x": "RAM\n", "out/link.x": "INCLUDE memory.x\nINCLUDE \"device.x\"\n", "out/device.x": "INCLUDE nowhere.x\n", "own.x": "SECTIONS {}\n",
	})
	args := strings.Fields("-flavor gnu fw.o missing.o -L out -Lother -oprog --gc-sections -Tlink.x -T own.x -Map prog.map --defsym=out=1")
	cl, err := ParseCommandLine(args, dir)
	if err != nil {
		t.Fatal(err)
	}
	c := newCase(cl, &Linker{Path: "rust-lld", Takes: TakesFlavor})
	in := "in" + dir
	want := []string{in + "/fw.o", "missing.o", "-L", in + "/out", "-L" + in + "/other", "--gc-sections", "-Tlink.x", "-T", in + "/own.x", "-Map", "out.map", "--defsym=out=1", "-L", in}
	if got := c.args(); !slices.Equal(got, want) {
		t.Errorf("%q, want\n%q", got, want)
	}
	if want := []string{"fw.o", "out/link.x", "memory.x", "out/device.x", "own.x"}; !slices.Equal(c.order, want) {
		t.Errorf("%q, want %q", c.order, want)
	}
	saved, err := SaveCase(cl, &Config{}, &Linker{Path: "/x/rust-lld", Takes: TakesFlavor}, t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join(saved, caseReplay))
	if want := `exec "${LINKER:-rust-lld}" -flavor 'gnu' @args -o "${OUT:-out}" "$@"` + "\n"; err != nil || !strings.HasSuffix(string(script), want) {
		t.Errorf("%s, %v", script, err)
	}
	opened, err := OpenCase(saved)
	if err != nil || opened.Style != StyleLD || opened.Flavor != "gnu" || len(opened.Inputs) != 2 {
		t.Errorf("%+v, %v", opened, err)
	}
}

func TestAutomaticCasesAreBounded(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "x.o"), elfObject(62))
	cases := filepath.Join(cache, "leanlink/cases")
	save := func(output string) (string, error) {
		cl, err := ParseCommandLine([]string{"-m64", "x.o", "-o", output}, dir)
		if err != nil {
			t.Fatal(err)
		}
		return saveAutomatically(cl, &Config{}, &Linker{Path: "cc", Takes: TakesDriver}, "failure of "+output)
	}
	names := func() string {
		entries, err := os.ReadDir(cases)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, e := range entries {
			if e.IsDir() {
				name, _, _ := strings.Cut(e.Name(), "-")
				list = append(list, name)
			}
		}
		return strings.Join(list, " ")
	}
	for i := range 5 {
		path, err := save(fmt.Sprintf("p%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			putFile(t, filepath.Join(cases, ".case-dead/x"), "") // of a worker that was killed
		}
		old := time.Now().Add(time.Duration(i-10) * time.Minute)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(); got != "p2 p3 p4" {
		t.Errorf("kept %s, want the last three", got)
	}
	if _, err := os.Stat(filepath.Join(cases, ".case-dead")); err == nil {
		t.Error("what a killed worker left is still there")
	}
	// The first failure of a link is kept, not copied anew.
	path, err := save("p3")
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || time.Since(st.ModTime()) < time.Minute {
		t.Errorf("saved anew: %v, %v", st.ModTime(), err)
	}
	// A gigabyte is too much, for one and for all.
	big := func(path string, size int64) {
		putFile(t, path, "")
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	big(filepath.Join(cases, "p4-big/file"), 999_999_000)
	if _, err := save("p5"); err != nil {
		t.Fatal(err)
	}
	if got := names(); got != "p5" && got != "p4 p5" {
		t.Errorf("kept %s with a case of nearly a gigabyte", got)
	}
	big(filepath.Join(dir, "x.o"), 1_000_000_001)
	if _, err := save("p6"); errText(err) != "its inputs are 1000 MB" {
		t.Errorf("a case of a gigabyte: %v", err)
	}
	if st, err := os.Stat(cases); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st, err)
	}
}

// LEANLINK_SAVE saves every link, folded or not.
func TestSaveEveryLink(t *testing.T) {
	b := newBench(t)
	for _, fold := range []string{"all", "off"} {
		_, stderr, end := b.run([]string{"LEANLINK_SAVE=cases", "LEANLINK_FOLD=" + fold}, "-m64", "x.o", "-o", "out-"+fold)
		if stderr != "" || end != "exit status 0" {
			t.Errorf("fold %s: %q, %s", fold, stderr, end)
		}
	}
	found, err := filepath.Glob(filepath.Join(b.dir, "work/cases/out-*/args"))
	if err != nil || len(found) != 2 {
		t.Errorf("%q, %v", found, err)
	}
	_, stderr, end := b.run([]string{"LEANLINK_SAVE=/dev/null/x", "LEANLINK_FOLD=off"}, "-m64", "x.o", "-o", "out")
	if want := "leanlink: warning: the case could not be saved: mkdir /dev/null: not a directory\n"; stderr != want || end != "exit status 0" {
		t.Errorf("%q, %s, want %q", stderr, end, want)
	}
}

func TestCommands(t *testing.T) {
	for name, want := range map[string]string{"version": "leanlink " + Version + " (linux/", "help": "leanlink makes Rust programs smaller"} {
		var out, err strings.Builder
		if status := Commands[name](nil, &out, &err); status != 0 || !strings.HasPrefix(out.String(), want) || err.String() != "" {
			t.Errorf("%s: %d, %q, %q", name, status, out.String(), err.String())
		}
		out.Reset()
		if status := Commands[name]([]string{"x"}, &out, &err); status != 2 || out.String() != "" || err.String() != "leanlink: error: "+name+" takes no arguments\n" {
			t.Errorf("%s x: %d, %q, %q", name, status, out.String(), err.String())
		}
	}
	for name := range Commands {
		if !strings.Contains(usage, "leanlink "+name+" ") {
			t.Errorf("help does not name %s", name)
		}
	}
}
