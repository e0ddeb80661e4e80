package merge

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"leanlink/objfile"
)

// A name that a shared object keeps only for programs of old is not what a
// reference means: linkers extract the archive's definition of it, before the
// shared object and behind. One with a default version is.
func TestOldVersions(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		if os.Getenv("LEANLINK_REQUIRE_TOOLS") != "" {
			t.Fatal("gcc is not installed")
		}
		t.Skip("gcc is not installed")
	}
	dir := t.TempDir()
	run := func(argv ...string) (string, error) {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(argv ...string) string {
		t.Helper()
		out, err := run(argv...)
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
		}
		return out
	}
	for name, text := range map[string]string{
		"main.c":    "int f(int); int main(int c, char **v) { return f(c); }\n",
		"member.c":  "int f(int x) { return x + 2; }\n",
		"old.c":     "__asm__(\".symver old_f, f@V1\");\nint old_f(int x) { return x + 1; }\nint other(void) { return 0; }\n",
		"default.c": "__asm__(\".symver new_f, f@@V1\");\nint new_f(int x) { return x + 1; }\nint other(void) { return 0; }\n",
		"map":       "V1 { global: f; other; local: *; };\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must(gcc, "-c", "main.c", "member.c")
	must("ar", "rcs", "libmember.a", "member.o")
	parse := func(name string) *objfile.File {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		f, err := objfile.Parse(name, b)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, kind := range []string{"old", "default"} {
		library := "lib" + kind + ".so"
		must(gcc, "-shared", "-fPIC", "-o", library, kind+".c", "-Wl,--version-script=map")
		member := func() *Member {
			return &Member{Name: "member.o", Defines: []string{"f"}, Parse: func() (*objfile.File, error) { return parse("member.o"), nil }}
		}
		in := []Input{{File: parse("main.o")}, {Shared: parse(library)}, {Members: []*Member{member()}}}
		x, err := Extract(in, []string{"main"}, false)
		if err != nil {
			t.Fatal(err)
		}
		taken := in[2].Members[0].File() != nil
		if taken != (kind == "old") {
			t.Errorf("%s version: extracted %v", kind, taken)
		}
		contested := map[string]string{"default": "f"}[kind]
		if got := x.Contested(); got != contested {
			t.Errorf("%s version: contested is %q, want %q", kind, got, contested)
		}
		for _, linker := range []string{"bfd", "gold", "lld", "mold"} {
			if _, err := exec.LookPath("ld." + linker); err != nil {
				continue
			}
			if out, err := run(gcc, "-fuse-ld="+linker, "-o", "program", "main.o", "./"+library, "libmember.a"); err != nil {
				t.Errorf("%s: %v\n%s", linker, err, out)
				continue
			}
			// mold takes the archive's even so, which is why it is contested.
			if has := strings.Contains(strings.ToLower(must("nm", "program")), " t f\n"); has != taken && (linker != "mold" || kind == "old") {
				t.Errorf("%s, %s version: the program has the member: %v, Extract says %v", linker, kind, has, taken)
			}
		}
	}
}
