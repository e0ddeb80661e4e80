package examples

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestSegments links a firmware by another script, one that chooses by file names which code runs from RAM and which
// constants lie where. What leanlink makes of it must run the same, and each function must lie where it lay.
func TestSegments(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs firmware")
	}
	f := firmwares[slices.IndexFunc(firmwares, func(f firmware) bool { return f.dir == "riscv-semihost" })]
	config := readConfig(t, f.dir)
	f.require(t, config)
	link := compile(t, build{dir: f.dir, target: config.target})
	folder, err := filepath.Abs(filepath.Join(f.dir, "segments"))
	if err != nil {
		t.Fatal(err)
	}
	script := slices.Index(link.args, "-Tlink.x")
	if script < 0 {
		t.Fatalf("no script among %q", link.args)
	}
	link.args = slices.Concat(link.args[:script], []string{"-L" + folder, "-Tsegments.x"}, link.args[script+1:])

	leanlink := os.Getenv("LEANLINK_BIN")
	if leanlink == "" {
		missing(t, "LEANLINK_BIN names no leanlink")
	}
	for _, w := range f.linkers(t) {
		t.Run(w.name, func(t *testing.T) {
			dir := t.TempDir()
			plain := filepath.Join(dir, "plain")
			link.run(t, plain, w.path, f.args(link, w, false))
			f.run(t, config.runner, plain, "success", 0, false)
			where := functions(t, plain)
			for _, fold := range []string{"safe", "all"} {
				out := filepath.Join(dir, fold)
				link.run(t, out, leanlink, f.args(link, w, true), "LEANLINK_REAL_LINKER="+w.path, "LEANLINK_FOLD="+fold, "LEANLINK_VERIFY=true")
				f.run(t, config.runner, out, "success", 0, false)
				if size, before := flash(t, out), flash(t, plain); size >= before {
					t.Errorf("%s: %d bytes of flash, %d when linked plain", fold, size, before)
				}
				seen := map[string]int{}
				for name, section := range functions(t, out) {
					if was, ok := where[name]; ok {
						seen[section]++
						if section != was {
							t.Errorf("%s: %s is in %s, was in %s", fold, name, section, was)
						}
					}
				}
				if seen[".rwtext"] < 3 || seen[".text"] < 100 {
					t.Errorf("%s: only %v functions compared", fold, seen)
				}
			}
		})
	}
}

// functions says in which output section each function lies, for names that only one has.
func functions(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	where, count := map[string]string{}, map[string]int{}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && int(s.Section) < len(file.Sections) {
			where[s.Name] = file.Sections[s.Section].Name
			count[s.Name]++
		}
	}
	for name, n := range count {
		if n > 1 {
			delete(where, name)
		}
	}
	return where
}
