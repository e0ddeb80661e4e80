package linker

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// gnuArchive is an archive of equal objects with these names, whatever they are.
func gnuArchive(object []byte, names ...string) []byte {
	var table, members bytes.Buffer
	member := func(b *bytes.Buffer, name string, data []byte) {
		fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", name, 0, 0, 0, 0o644, len(data))
		b.Write(data)
		if len(data)%2 != 0 {
			b.WriteByte('\n')
		}
	}
	for _, name := range names {
		if bsd, ok := strings.CutPrefix(name, "bsd:"); ok {
			member(&members, fmt.Sprintf("#1/%d", len(bsd)), append([]byte(bsd), object...))
			continue
		}
		at := table.Len()
		table.WriteString(name + "/\n")
		member(&members, fmt.Sprintf("/%d", at), object)
	}
	var all bytes.Buffer
	all.WriteString("!<arch>\n")
	member(&all, "//", table.Bytes())
	all.Write(members.Bytes())
	return all.Bytes()
}

// tree lists all that is in a folder, with sizes and modes.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			list = append(list, fmt.Sprintf("%s %v %d %v", path, info.Mode(), info.Size(), info.ModTime()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Whatever members are called, what is made of them lies in the link's own
// folder, in a file each, and is an argument of its own.
func TestHostileMemberNames(t *testing.T) {
	names := []string{"../../evil.o", "../../../../../../../../tmp/evil.o", "/evil.o", "/etc/evil.o", "a/../../b.o", "..", ".", "", " ", "same.o", "same.o",
		"@evil", "-o", "-Wl,-o,evil", "a,b.o", "a\nb.o", "a b.o", "$(touch evil).o", "`touch evil`.o", "no\xff\xfeutf8.o", "evil.o/", strings.Repeat("long", 1000) + ".o",
		strings.Repeat("d/", 500) + "deep.o", "lib.rmeta.o", "bsd:../evil.o", "bsd:evil\x00.o", "bsd:" + strings.Repeat("x", 300)}
	root := t.TempDir()
	dir := filepath.Join(root, "deep/enough/for/two/dots")
	putFile(t, filepath.Join(dir, "libx.a"), string(gnuArchive(fuzzSeeds(t, "x86_64-rustc.o")[0], names...)))
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	cl, err := ParseCommandLine([]string{"-flavor", "gnu", "--whole-archive", "libx.a", "-o", "out"}, dir)
	if err != nil {
		t.Fatal(err)
	}
	outside := func() []string {
		return slices.DeleteFunc(tree(t, root), func(s string) bool { return strings.HasPrefix(s, work) })
	}
	before := outside()
	p, err := Prepare(cl, &Config{Fold: "all", Report: "off"}, &Linker{Path: "ld.lld", Takes: TakesLD}, work)
	if err != nil {
		t.Fatal(err)
	}
	if after := outside(); !slices.Equal(before, after) {
		t.Errorf("outside the folder of the link:\n%q, was\n%q", after, before)
	}
	var made []string
	for _, arg := range p.Args {
		if strings.HasPrefix(arg, work+"/objects/") {
			made = append(made, arg)
		} else if !slices.Contains(cl.Args, arg) {
			t.Errorf("a new argument: %q", arg)
		}
	}
	files, err := os.ReadDir(filepath.Join(work, "objects"))
	if err != nil || len(files) != len(made) || len(made) != len(names) {
		t.Errorf("%d files and %d arguments for %d members, %v", len(files), len(made), len(names), err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
	// What a saved case is made of is no more: the archive.
	c := newCase(cl, &Linker{Path: "ld.lld", Takes: TakesLD})
	if len(c.order) != 1 {
		t.Errorf("a case of %q", c.order)
	}
}

// A thin archive names files. Of those that are no objects nothing is read into
// the output or a saved case.
func TestThinArchiveOfSecrets(t *testing.T) {
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "secret"), "root:x:0:0")
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"secret", filepath.Join(dir, "secret"), "pipe", "/dev/zero", "."} {
		var b bytes.Buffer
		fmt.Fprintf(&b, "!<thin>\n%-16s%-12d%-6d%-6d%-8o%-10d`\n%s/\n", "//", 0, 0, 0, 0, len(name)+2, name)
		if b.Len()%2 != 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", "/0", 0, 0, 0, 0o644, 10)
		putFile(t, filepath.Join(dir, "libthin.a"), b.String())
		work := t.TempDir()
		cl, err := ParseCommandLine([]string{"-flavor", "gnu", "--whole-archive", "libthin.a", "-o", "out"}, dir)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Prepare(cl, &Config{Fold: "all", Report: "off"}, &Linker{Path: "ld.lld", Takes: TakesLD}, work)
		if err == nil && !slices.Equal(p.Args, cl.Args) {
			t.Errorf("%s: %q", name, p.Args)
		}
		if c := newCase(cl, &Linker{Path: "ld.lld", Takes: TakesLD}); len(c.order) != 1 {
			t.Errorf("%s: a case of %q", name, c.order)
		}
	}
}

// A folder for temporary files that everybody can write to: what others plant
// there is neither followed nor taken for leanlink's own.
func TestPlantedLinks(t *testing.T) {
	b := newBench(t)
	victim := filepath.Join(b.dir, "victim")
	putFile(t, filepath.Join(victim, lockName), "precious")
	putFile(t, filepath.Join(victim, "file"), "precious")
	tmp := filepath.Join(b.dir, "tmp")
	if err := os.Chmod(tmp, 0o1777); err != nil {
		t.Fatal(err)
	}
	link := func(to string, at ...string) {
		t.Helper()
		path := filepath.Join(at...)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	link(victim, tmp, workPrefix+"1")                                                                                   // an old work folder that is none
	link(filepath.Join(victim, lockName), tmp, workPrefix+"2", lockName)                                                // the lock of another
	putFile(t, filepath.Join(tmp, workPrefix+"3", lockName), "")                                                        // one to be swept,
	link(victim, tmp, workPrefix+"3", "objects")                                                                        // with a way out of it
	link(filepath.Join(victim, "file"), b.dir, "work/out"+reportSuffix)                                                 // where the report goes
	link(filepath.Join(victim, "file"), b.dir, "work/reports/planted")                                                  // and beside it
	link(victim, b.dir, "work/cases/out-"+caseName(&CommandLine{Dir: filepath.Join(b.dir, "work"), Output: "out"})[4:]) // and the case
	old := time.Now().Add(-2 * time.Hour)
	for _, n := range []string{"2", "3"} {
		if err := os.Chtimes(filepath.Join(tmp, workPrefix+n), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(victim, old, old); err != nil {
		t.Fatal(err)
	}
	before := tree(t, victim)
	_, stderr, end := b.run([]string{"LEANLINK_SAVE=cases"}, "-m64", "x.o", "-o", "out")
	if end != "exit status 0" {
		t.Errorf("%s, %s", stderr, end)
	}
	if after := tree(t, victim); !slices.Equal(before, after) {
		t.Errorf("another's folder:\n%q, was\n%q", after, before)
	}
	if got, want := strings.Join(b.litter(), " "), workPrefix+"1 "+workPrefix+"2"; got != want {
		t.Errorf("in the temporary folder: %s, want %s", got, want)
	}
	if st, err := os.Lstat(filepath.Join(b.dir, "work/out"+reportSuffix)); err != nil || !st.Mode().IsRegular() || b.file("work/out"+reportSuffix) != "report of out" {
		t.Errorf("the report: %v, %v", st, err)
	}

	// The name that the report has until it is whole can be guessed.
	dst := filepath.Join(b.dir, "work/reports/report")
	link(filepath.Join(victim, "file"), fmt.Sprintf("%s.%d.tmp", dst, os.Getpid()))
	if err := publish(filepath.Join(b.dir, "work/x.o"), dst); err != nil {
		t.Error(err)
	}
	if after := tree(t, victim); !slices.Equal(before, after) {
		t.Errorf("another's folder:\n%q, was\n%q", after, before)
	}
}

// All that a link makes for itself is its owner's alone while it lasts, even
// under an umask that would let everybody in; what it leaves is as readable as
// the output.
func TestModes(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	b := newBench(t)
	_, stderr, end := b.run([]string{"FAKE=list"}, "-m64", "x.o", "-o", "out")
	if end != "exit status 0" || stderr != "" {
		t.Fatalf("%q, %s", stderr, end)
	}
	seen := strings.Fields(b.file("modes"))
	if len(seen) < 3 {
		t.Fatalf("the real linker saw %q", seen)
	}
	for _, mode := range seen {
		if mode != "drwx------" && mode != "-rw-------" {
			t.Errorf("in the work folder: %s", mode)
		}
	}
	for _, umask := range []int{0o022, 0o077, 0o027} {
		syscall.Umask(umask)
		b := newBench(t)
		b.run(nil, "-m64", "x.o", "-o", "out")
		for _, name := range []string{"work/out", "work/out" + reportSuffix} {
			if st, err := os.Stat(filepath.Join(b.dir, name)); err != nil || st.Mode() != fs.FileMode(0o666&^umask) {
				t.Errorf("umask %o: %s: %v, %v", umask, name, st.Mode(), err)
			}
		}
	}
}

// What the caller left open for its children the real linker has, too: make's
// job server is two such files. What leanlink opened it has not.
func TestInheritedFiles(t *testing.T) {
	for _, tt := range []struct{ name, prepare string }{{"a new link", "done"}, {"the original", "unchanged"}, {"a failure", "panic"}} {
		b := newBench(t)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := b.command([]string{"LEANLINK_TEST_PREPARE=" + tt.prepare, "FAKE=jobs", "MAKEFLAGS=--jobserver-auth=3,4"}, "-m64", "x.o", "-o", "out")
		cmd.ExtraFiles = []*os.File{r, w}
		in, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		in.WriteString("what is on standard input\n")
		in.Seek(0, 0)
		cmd.Stdin = in
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", tt.name, err, out)
		}
		w.Close()
		token := make([]byte, 16)
		n, _ := r.Read(token)
		if got := string(token[:n]); got != "token" {
			t.Errorf("%s: the job server got %q", tt.name, got)
		}
		if got, want := b.file("open"), "0 1 2 3 4"; strings.Join(strings.Fields(got), " ") != want {
			t.Errorf("%s: the real linker has the files %q, want %s", tt.name, got, want)
		}
		if got := b.file("stdin"); got != "what is on standard input\n" {
			t.Errorf("%s: standard input %q", tt.name, got)
		}
		r.Close()
	}
}

// A configuration that is made to break its reader is an error.
func TestHostileConfig(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"large", "keep = " + strings.Repeat("[", maxConfig), "DIR/leanlink.toml: larger than 1024 kB"},
		{"deep", "keep = " + strings.Repeat("[", maxConfig-10), "DIR/leanlink.toml: nested more than 1000 levels deep"},
		{"deep tables", "keep = " + strings.Repeat("{a=", maxConfig/3-10), "DIR/leanlink.toml: nested more than 1000 levels deep"},
		{"just deep enough", "keep = " + strings.Repeat("[", maxDepth-10), "DIR/leanlink.toml:1: unexpected EOF"},
	} {
		dir := t.TempDir()
		putFile(t, filepath.Join(dir, "leanlink.toml"), tt.text)
		_, err := LoadConfig(&CommandLine{Dir: dir, Output: "out"}, &Environment{Dir: dir})
		if got := strings.ReplaceAll(errText(err), dir, "DIR"); !strings.HasPrefix(got, tt.want) || len(got) > 300 {
			t.Errorf("%s: %.300q, want %q", tt.name, got, tt.want)
		}
	}
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "leanlink.toml"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadConfig(&CommandLine{Dir: dir, Output: "out"}, &Environment{Dir: dir})
	if got, want := strings.ReplaceAll(errText(err), dir, "DIR"), "DIR/leanlink.toml: not a regular file"; got != want {
		t.Errorf("a pipe: %q, want %q", got, want)
	}
}
