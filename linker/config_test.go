package linker

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// project writes files into a new folder; "DIR" in their text becomes its
// path.
func project(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		putFile(t, filepath.Join(dir, name), strings.ReplaceAll(text, "DIR", dir))
	}
	return dir
}

// loadFor loads the config of a link that Cargo makes for the package in
// dir/pkg: rustc works in dir/cwd and writes dir/output.
func loadFor(t *testing.T, dir, pkg, cwd, output string, vars ...string) (*Config, error) {
	t.Helper()
	env := &Environment{Dir: filepath.Join(dir, cwd), Vars: append([]string{"HOME=/nowhere"}, vars...)}
	if pkg != "-" {
		env.Vars = append(env.Vars, "CARGO_MANIFEST_DIR="+filepath.Join(dir, pkg))
	}
	args := []string{"-m64", "x.o", "-o", filepath.Join(dir, output), "-L", "/r/lib/rustlib/x86_64-unknown-linux-gnu/lib"}
	cl, err := ParseCommandLine(args, env.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return LoadConfig(cl, env)
}

const primary = "CARGO_PRIMARY_PACKAGE=1"

func TestConfigOrder(t *testing.T) {
	// Each row adds a place that goes before all that were there.
	places := []struct{ file, text, value, source string }{
		{"", "", "safe", "default"},
		{"leanlink.toml", "fold = \"all\"\n", "all", "DIR/leanlink.toml:1"},
		{"leanlink.toml", "[profile.release]\nfold = \"off\"\n", "off", "DIR/leanlink.toml:3"},
		{"leanlink.toml", "[target.x86_64-unknown-linux-gnu]\nfold = \"safe\"\n", "safe", "DIR/leanlink.toml:5"},
		{"Cargo.toml", "[workspace.metadata.leanlink]\nfold = \"all\"\n", "all", "DIR/Cargo.toml:4"},
		{"Cargo.toml", "[workspace.metadata.leanlink.profile.release]\nfold = \"off\"\n", "off", "DIR/Cargo.toml:6"},
		{"Cargo.toml", "[workspace.metadata.leanlink.target.x86_64-unknown-linux-gnu]\nfold = \"safe\"\n", "safe", "DIR/Cargo.toml:8"},
		{"app/Cargo.toml", "[package.metadata.leanlink]\nfold = \"all\"\n", "all", "DIR/app/Cargo.toml:4"},
		{"app/Cargo.toml", "[package.metadata]\nleanlink.profile.release.fold = \"off\"\n", "", ""}, // the same table twice: replaced below
	}
	files := map[string]string{
		"Cargo.toml":     "[workspace]\nmembers = [\"app\"]\n",
		"app/Cargo.toml": "[package]\nname = \"app\"\n",
	}
	for _, p := range places {
		if p.value == "" {
			break
		}
		if p.file != "" {
			files[p.file] += p.text
		}
		dir := project(t, files)
		cfg, err := loadFor(t, dir, "app", ".", "target/release/deps/app-1", primary)
		if err != nil {
			t.Fatalf("%s: %v", p.source, err)
		}
		if want := strings.ReplaceAll(p.source, "DIR", dir); cfg.Fold != p.value || cfg.Source("fold") != want {
			t.Errorf("fold is %s from %s, want %s from %s", cfg.Fold, cfg.Source("fold"), p.value, want)
		}
		cfg, err = loadFor(t, dir, "app", ".", "target/release/deps/app-1", primary, "LEANLINK_FOLD=off")
		if err != nil || cfg.Fold != "off" || cfg.Source("fold") != "LEANLINK_FOLD" {
			t.Errorf("over %s: fold is %s from %s, %v", p.source, cfg.Fold, cfg.Source("fold"), err)
		}
	}
}

func TestConfigValues(t *testing.T) {
	dir := project(t, map[string]string{
		"Cargo.toml": "[package]\nname = \"app\"\n",
		"leanlink.toml": `
fold = "all"
keep = [
	"core::*",
	"a?<b, c>",
]
host = true
real-linker = "tools/ld"
report = "reports/"
verify = true
save = "cases"
thunks = false
trim.panic = "trap"

[trim]
backtrace = "addresses"
unwind-tables = "calls"
relocations = "packed"

[budget]
total = "1MB"
section.".text" = 5

[profile.dev]
real-linker = "clang"

[profile.release]
report = "../r.gz"

[target.thumbv7m-none-eabi]
real-linker = "arm-none-eabi-ld"
`})
	want := &Config{
		Fold: "all", Keep: []string{"core::*", "a?<b, c>"}, Host: true, RealLinker: dir + "/tools/ld", Report: dir + "/reports/",
		Verify: true, Save: dir + "/cases", DebugInfo: "join", TrimPanic: "trap", TrimBacktrace: "addresses", TrimUnwindTables: "calls",
		TrimRelocations: "packed", TrimAlign: "keep",
		Budget:  []Budget{{What: "section..text", Bytes: 5}, {What: "total", Bytes: 1_000_000}},
		Profile: "tiny", Triple: "x86_64-unknown-linux-gnu", Workspace: dir, Package: dir, Files: []string{dir + "/leanlink.toml"},
	}
	cfg, err := loadFor(t, dir, ".", ".", "target/tiny/deps/app-1", primary)
	if err != nil {
		t.Fatal(err)
	}
	for key, line := range map[string]string{"keep": "3", "trim.panic": "13", "trim.relocations": "18", "budget": "20"} {
		if got, want := cfg.Source(key), dir+"/leanlink.toml:"+line; got != want {
			t.Errorf("source of %s: %s, want %s", key, got, want)
		}
	}
	cfg.sources = nil
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("%+v, want\n%+v", cfg, want)
	}
	if !cfg.Trims() {
		t.Error("nothing to trim")
	}

	for output, want := range map[string][2]string{
		"target/debug/deps/app-1":   {"clang", dir + "/reports/"},
		"target/release/deps/app-1": {dir + "/tools/ld", filepath.Dir(dir) + "/r.gz"},
	} {
		cfg, err := loadFor(t, dir, ".", ".", output, primary)
		if err != nil || cfg.RealLinker != want[0] || cfg.Report != want[1] {
			t.Errorf("%s: %q, %q, %v, want %q", output, cfg.RealLinker, cfg.Report, err, want)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	dir := project(t, map[string]string{"Cargo.toml": "[package]\nname = \"app\"\n"})
	for _, tt := range []struct{ output, pkg, fold, profile string }{
		{"target/debug/deps/app-1", ".", "off", "dev"},
		{"target/x86_64-unknown-linux-gnu/debug/deps/app-1", ".", "off", "dev"},
		{"target/release/deps/app-1", ".", "safe", "release"},
		{"target/tiny/deps/app-1", ".", "safe", "tiny"},
		{"target/debug/deps/app-1", "-", "safe", ""}, // not Cargo: the folder means nothing
		{"out", ".", "safe", ""},
	} {
		cfg, err := loadFor(t, dir, tt.pkg, ".", tt.output, primary)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Fold != tt.fold || cfg.Profile != tt.profile {
			t.Errorf("%s: fold %s, profile %q, want %s, %q", tt.output, cfg.Fold, cfg.Profile, tt.fold, tt.profile)
		}
		if cfg.Source("fold") != "default" || cfg.Trims() || !cfg.Thunks || cfg.Host || cfg.Verify || len(cfg.Files) != 0 {
			t.Errorf("%s: %+v", tt.output, cfg)
		}
	}
	putFile(t, filepath.Join(dir, "leanlink.toml"), "fold = \"all\"\n")
	if cfg, err := loadFor(t, dir, ".", ".", "target/debug/deps/app-1", primary); err != nil || cfg.Fold != "all" {
		t.Errorf("fold set for all profiles: %+v, %v", cfg, err)
	}
}

const allKeys = "the keys are fold, keep, host, real-linker, report, verify, save, thunks, debug-info, trim.panic, trim.backtrace, trim.unwind-tables, trim.relocations, trim.align, budget"

func TestConfigErrors(t *testing.T) {
	tests := []struct{ file, text, err string }{
		{"leanlink.toml", "\nfould = \"safe\"\n", `DIR/leanlink.toml:2: unknown key "fould"; KEYS`},
		{"leanlink.toml", "[trim]\npanics = \"trap\"\n", `DIR/leanlink.toml:2: unknown key "trim.panics"; KEYS`},
		{"leanlink.toml", "trim = \"trap\"\n", `DIR/leanlink.toml:1: unknown key "trim"; KEYS`},
		{"leanlink.toml", "[folding]\nx = 1\n", `DIR/leanlink.toml:1: unknown key "folding"; KEYS`},
		{"leanlink.toml", "[profile.tiny]\n\nfold = \"alll\"\n", `DIR/leanlink.toml:3: fold = "alll": must be safe, all or off`},
		{"leanlink.toml", "[target.other]\nfold = true\n", `DIR/leanlink.toml:2: fold = true: must be safe, all or off`},
		{"leanlink.toml", "[profile.release.target.x]\nfold = \"all\"\n", `DIR/leanlink.toml:1: unknown key "target"; KEYS`},
		{"leanlink.toml", "profile = 3\n", `DIR/leanlink.toml:1: profile must be a table`},
		{"leanlink.toml", "[target]\nx = 3\n", `DIR/leanlink.toml:2: x must be a table`},
		{"leanlink.toml", "keep = \"core::*\"\n", `DIR/leanlink.toml:1: keep = "core::*": must be a list of globs that are not empty`},
		{"leanlink.toml", "keep = [\n  \"\",\n]\n", `DIR/leanlink.toml:1: keep = […]: must be a list of globs that are not empty`},
		{"leanlink.toml", "host = \"yes\"\n", `DIR/leanlink.toml:1: host = "yes": must be true or false`},
		{"leanlink.toml", "real-linker = [\"cc\"]\n", `DIR/leanlink.toml:1: real-linker = […]: must be a program's name or path`},
		{"leanlink.toml", "report = false\n", `DIR/leanlink.toml:1: report = false: must be a path or "off"`},
		{"leanlink.toml", "save = \"\"\n", `DIR/leanlink.toml:1: save = "": must be a folder`},
		{"leanlink.toml", "budget = 3\n", `DIR/leanlink.toml:1: budget = 3: must be a table`},
		{"leanlink.toml", "\n[budget]\ntotal = true\n", `DIR/leanlink.toml:2: budget.total = true: must be a number of bytes, a size such as "1.5MB" or "64KiB", or a growth such as "+2%" or "+10kB"`},
		{"leanlink.toml", "fold = \n", `DIR/leanlink.toml:1: expected value but found '\n' instead`},
		{"Cargo.toml", "[package]\nname = \"app\"\n[package.metadata.leanlink]\nx = 1\n", `DIR/Cargo.toml:4: unknown key "x"; KEYS`},
		{"Cargo.toml", "[package]\nname = \"app\"\n[package.metadata]\nleanlink = 1\n", `DIR/Cargo.toml:4: package.metadata.leanlink must be a table`},
		{"Cargo.toml", "[package]\nname = \"app\"\n[workspace.metadata.leanlink.trim]\nrelocations = 4\n", `DIR/Cargo.toml:4: trim.relocations = 4: must be keep or packed`},
		{"Cargo.toml", "[package]\nname = \"app\"\n[package.metadata]\nother = \"leanlink\"\n", ""},
	}
	for _, tt := range tests {
		files := map[string]string{"Cargo.toml": "[package]\nname = \"app\"\n"}
		files[tt.file] = tt.text
		dir := project(t, files)
		_, err := loadFor(t, dir, ".", ".", "target/release/deps/app-1", primary)
		want := strings.ReplaceAll(strings.ReplaceAll(tt.err, "DIR", dir), "KEYS", allKeys)
		if errText(err) != want {
			t.Errorf("%q:\n%s, want\n%s", tt.text, errText(err), want)
		}
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	dir := project(t, map[string]string{"Cargo.toml": "[package]\nname = \"app\"\n"})
	vars := []string{primary, "LEANLINK_FOLD=all", "LEANLINK_KEEP=core::* ; a<b, c>", "LEANLINK_HOST=1", "LEANLINK_REAL_LINKER=tools/ld",
		"LEANLINK_REPORT=off", "LEANLINK_VERIFY=true", "LEANLINK_SAVE=/cases", "LEANLINK_THUNKS=0", "LEANLINK_TRIM_PANIC=location",
		"LEANLINK_TRIM_UNWIND_TABLES=drop", "LEANLINK_DISABLE=", "LEANLINK_TEST_X=y", "LEANLINK_TRIM_RELOCATIONS="}
	cfg, err := loadFor(t, dir, ".", ".", "target/release/deps/app-1", vars...)
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Source("trim.unwind-tables"); got != "LEANLINK_TRIM_UNWIND_TABLES" {
		t.Errorf("source: %s", got)
	}
	cfg.sources = nil
	want := &Config{Fold: "all", Keep: []string{"core::*", "a<b, c>"}, Host: true, RealLinker: dir + "/tools/ld", Report: "off", Verify: true,
		Save: "/cases", DebugInfo: "join", TrimPanic: "location", TrimBacktrace: "keep", TrimUnwindTables: "drop", TrimRelocations: "keep", TrimAlign: "keep",
		Profile: "release", Triple: "x86_64-unknown-linux-gnu", Workspace: dir, Package: dir}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("%+v, want\n%+v", cfg, want)
	}

	const variables = "LEANLINK_DISABLE, LEANLINK_TIMINGS, LEANLINK_PROFILE, LEANLINK_ADVICE, LEANLINK_FOLD, LEANLINK_KEEP, LEANLINK_HOST, LEANLINK_REAL_LINKER, LEANLINK_REPORT, LEANLINK_VERIFY, LEANLINK_SAVE, LEANLINK_THUNKS, LEANLINK_DEBUG_INFO, LEANLINK_TRIM_PANIC, LEANLINK_TRIM_BACKTRACE, LEANLINK_TRIM_UNWIND_TABLES, LEANLINK_TRIM_RELOCATIONS, LEANLINK_TRIM_ALIGN"
	for variable, want := range map[string]string{
		"LEANLINK_FOLDS=all":           "LEANLINK_FOLDS: unknown variable; there are " + variables,
		"LEANLINK_BUDGET=1":            "LEANLINK_BUDGET: unknown variable; there are " + variables,
		"LEANLINK_FOLD=alll":           `LEANLINK_FOLD: fold = "alll": must be safe, all or off`,
		"LEANLINK_HOST=yes":            `LEANLINK_HOST: host = "yes": must be true or false`,
		"LEANLINK_TRIM_PANIC=trap ":    `LEANLINK_TRIM_PANIC: trim.panic = "trap ": must be keep, location, message or trap`,
		"LEANLINK_TRIM_RELOCATIONS=no": `LEANLINK_TRIM_RELOCATIONS: trim.relocations = "no": must be keep or packed`,
	} {
		if _, err := loadFor(t, dir, ".", ".", "target/release/deps/app-1", primary, variable); errText(err) != want {
			t.Errorf("%s:\n%s, want\n%s", variable, errText(err), want)
		}
	}
}

// Which workspace configures a link is a matter of trust; see workspace.go.
func TestWorkspaceTrust(t *testing.T) {
	dir := project(t, map[string]string{
		"ws/Cargo.toml":                          "[workspace]\nmembers = [\"app\", \"nested/*\"]\nexclude = [\"out\", \"nested\"]\n[workspace.metadata.leanlink]\nfold = \"all\"\n",
		"ws/leanlink.toml":                       "report = \"off\"\n",
		"ws/Cargo.lock":                          "[[package]]\nname = \"libc\"\nversion = \"0.2.1\"\nsource = \"registry\"\n",
		"ws/app/Cargo.toml":                      "[package]\nname = \"app\"\n[package.metadata.leanlink]\nverify = true\n",
		"ws/out/Cargo.toml":                      "[package]\nname = \"out\"\n[package.metadata.leanlink]\nverify = true\n",
		"ws/nested/a/Cargo.toml":                 "[package]\nname = \"a\"\n",
		"ws/vendor/libc/Cargo.toml":              "[package]\nname = \"libc\"\n[package.metadata.leanlink]\nreal-linker = \"evil\"\n",
		"ws/vendor/libc/.cargo-checksum.json":    "{}",
		"ws/target/CACHEDIR.TAG":                 "",
		"far/Cargo.toml":                         "[package]\nname = \"far\"\nworkspace = \"../ws\"\n",
		"path/Cargo.toml":                        "[package]\nname = \"path\"\n[package.metadata.leanlink]\nreal-linker = \"evil\"\n",
		"path/leanlink.toml":                     "real-linker = \"evil\"\n",
		"home/registry/src/x/libc/Cargo.toml":    "[package]\nname = \"libc\"\n[package.metadata.leanlink]\nreal-linker = \"evil\"\n[workspace]\n",
		"home/registry/src/x/libc/leanlink.toml": "real-linker = \"evil\"\n",
		"home/git/checkouts/g/1/Cargo.toml":      "[workspace.metadata.leanlink]\nreal-linker = \"evil\"\n",
		"home/git/checkouts/g/1/sub/Cargo.toml":  "[package]\nname = \"g\"\n",
		"home/own/Cargo.toml":                    "[package]\nname = \"own\"\n",
		"home/Cargo.toml":                        "[workspace]\n",
		"plain/sub/x":                            "",
		"plain/leanlink.toml":                    "host = true\n",
		"odd/Cargo.toml":                         "[workspace]\nmembers = @app\n",
		"odd/app/Cargo.toml":                     "[package]\nname = \"app\"\n",
		"other/target/CACHEDIR.TAG":              "",
	})
	libc := []string{"CARGO_PKG_NAME=libc", "CARGO_PKG_VERSION=0.2.1"}
	tests := []struct {
		name             string
		pkg, cwd, output string
		vars             []string
		workspace, pack  string // what counts, "" nothing
	}{
		{"a member", "ws/app", "ws", "ws/target/release/deps/app", []string{primary}, "ws", "ws/app"},
		{"a member that is a dependency", "ws/app", "ws", "elsewhere/release/deps/app", nil, "ws", "ws/app"},
		{"a member, target folder elsewhere", "ws/app", "ws", "elsewhere/release/deps/app", []string{primary}, "ws", "ws/app"},
		{"package.workspace", "far", "ws", "ws/target/release/deps/far", []string{primary}, "ws", "far"},
		{"excluded", "ws/out", "ws/out", "ws/out/target/release/deps/out", []string{primary}, "ws/out", "ws/out"},
		{"excluded folder, but a member", "ws/nested/a", "ws", "ws/target/release/deps/a", []string{primary}, "ws", "ws/nested/a"},
		{"from a registry", "home/registry/src/x/libc", "home/registry/src/x/libc", "ws/target/release/build/libc-1/b", libc, "ws", ""},
		{"from a registry, target folder elsewhere", "home/registry/src/x/libc", "home/registry/src/x/libc", "other/target/release/build/libc-1/b", append([]string{"PWD=DIR/ws/app"}, libc...), "ws", ""},
		{"a stranger to the caller's folder", "home/registry/src/x/libc", "home/registry/src/x/libc", "other/target/release/build/libc-1/b", []string{"PWD=DIR/ws", "CARGO_PKG_NAME=libc", "CARGO_PKG_VERSION=0.2.2"}, "", ""},
		{"no caller", "home/registry/src/x/libc", "home/registry/src/x/libc", "other/target/release/build/libc-1/b", libc, "", ""},
		{"cargo install", "home/registry/src/x/libc", "home/registry/src/x/libc", "tmp/release/deps/libc", []string{primary}, "", ""},
		{"from git", "home/git/checkouts/g/1/sub", "home/git/checkouts/g/1", "tmp/release/deps/g", []string{primary}, "", ""},
		{"vendored", "ws/vendor/libc", "ws/vendor/libc", "ws/target/release/build/libc-1/b", nil, "ws", ""},
		{"a path outside", "path", "path", "ws/target/release/build/path-1/b", nil, "ws", ""},
		{"a path outside, asked for", "path", "path", "path/target/release/deps/path", []string{primary}, "path", "path"},
		{"Cargo's home is no workspace", "home/own", "home/own", "home/own/target/release/deps/own", []string{primary}, "home/own", "home/own"},
		{"a manifest that only Cargo can read", "odd/app", "odd", "odd/target/release/deps/app", []string{primary}, "odd", "odd/app"},
		{"without Cargo", "-", "plain/sub", "plain/x", nil, "plain", ""},
		{"without Cargo, in a member", "-", "ws/app", "x", nil, "ws", "ws/app"},
	}
	for _, tt := range tests {
		vars := []string{"CARGO_HOME=" + dir + "/home"}
		for _, v := range tt.vars {
			vars = append(vars, strings.ReplaceAll(v, "DIR", dir))
		}
		cfg, err := loadFor(t, dir, tt.pkg, tt.cwd, tt.output, vars...)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		abs := func(path string) string {
			if path == "" {
				return ""
			}
			return filepath.Join(dir, path)
		}
		if cfg.Workspace != abs(tt.workspace) || cfg.Package != abs(tt.pack) {
			t.Errorf("%s: workspace %q, package %q, want %q, %q", tt.name, cfg.Workspace, cfg.Package, abs(tt.workspace), abs(tt.pack))
		}
		if trusted := tt.workspace == "path"; cfg.RealLinker == "evil" && !trusted {
			t.Errorf("%s: a dependency chose the linker", tt.name)
		}
	}
}

// The README's table of keys is this program's own.
func TestReadmeKeys(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Skip("no README.md yet")
	}
	const begin, end = "<!-- keys: made by KeysTable -->\n", "<!-- end of keys -->\n"
	_, rest, ok := strings.Cut(string(readme), begin)
	table, _, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("README.md has no table of keys between %q and %q; it should be\n%s", begin, end, KeysTable())
	}
	if table != KeysTable() {
		t.Errorf("README.md's table of keys is\n%s\nbut should be\n%s", table, KeysTable())
	}
}

func TestKeys(t *testing.T) {
	var names []string
	for i := range Keys {
		k := &Keys[i]
		names = append(names, k.Name)
		if k.values() == "" || k.Default == "" || k.Doc == "" || strings.ContainsAny(k.Doc+k.Default+k.values(), "|\n") {
			t.Errorf("%s: not fit for the table: %+v", k.Name, k)
		}
		if k.field(&Config{}) == nil {
			t.Errorf("%s: no field", k.Name)
		}
	}
	if got := "the keys are " + strings.Join(names, ", "); got != allKeys {
		t.Errorf("%s, want %s", got, allKeys)
	}
	if sorted := slices.Sorted(slices.Values(names)); len(slices.Compact(sorted)) != len(names) {
		t.Errorf("a key twice: %s", sorted)
	}
}

// No configuration makes LoadConfig panic, and whatever it accepts it can
// name the source of.
func FuzzConfig(f *testing.F) {
	f.Add("fold = \"all\"\n[profile.release]\nkeep = [\"x\"]\n[budget]\ntotal = \"+2%\"")
	f.Add("trim.panic = 1\n[target.x]\nhost = true")
	f.Add("budget = {total = 1, crate = {std = 2}}")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		putFile(t, filepath.Join(dir, "leanlink.toml"), text)
		cl := &CommandLine{Dir: dir, Output: dir + "/target/release/deps/x"}
		cfg, err := LoadConfig(cl, &Environment{Dir: dir})
		if err != nil {
			return
		}
		for key := range cfg.sources {
			if !strings.HasPrefix(cfg.Source(key), dir+"/leanlink.toml") {
				t.Errorf("%q: source of %s is %q", text, key, cfg.Source(key))
			}
		}
	})
}
