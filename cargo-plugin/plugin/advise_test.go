package plugin

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"leanlink/linker"
	"leanlink/report"
)

// TestMeasure has most of the variants set already, so that few are left to
// build.
func TestMeasure(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("some of the settings are for x86-64")
	}
	c := newCrate(t)
	c.write("Cargo.toml", c.read("Cargo.toml")+"[profile.small]\ninherits = \"release\"\npanic = \"abort\"\n[profile.release]\nopt-level = \"z\"\ncodegen-units = 1\nlto = true\n")
	c.write("leanlink.toml", "fold = \"all\"\n[trim]\nrelocations = \"packed\"\nunwind-tables = \"drop\"\npanic = \"message\"\nalign = \"size\"\n")
	out, errs := c.run(0, "advise", "--profile", "small", "--measure", "--format", "csv")
	c.contains(errs, "Building 1 variants and linking 3 more: about ", "1 of 4: as it is", "] 2 of 4: backtraces of addresses", "] 3 of 4: panics that trap", "] done")
	var rows []string
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "backtraces of addresses") {
			rows = append(rows, line)
		}
	}
	if len(rows) != 2 || !strings.Contains(rows[0], ",measured,memory,backtraces of addresses,") || !strings.HasSuffix(rows[1], `,"leanlink.toml: trim.backtrace = ""addresses"""`) {
		t.Errorf("rows about backtraces: %q in\n%s", rows, out)
	}
	// What was measured is remembered until the program changes.
	out, _ = c.run(0, "advise", "--profile", "small", "-q", "--format", "csv")
	c.contains(out, rows[0])
	c.write("src/main.rs", strings.Replace(helloMain, "m:?", "m:#?", 1))
	out, _ = c.run(0, "advise", "--profile", "small", "-q", "--format", "csv")
	if strings.Contains(out, "measured,") {
		t.Errorf("of a program that has changed since:\n%s", out)
	}
}

func TestPace(t *testing.T) {
	list := []*variant{&variants[0], &variants[2], &variants[3], &variants[9], &variants[10]}
	p := newPace(list, nil, "release", 0)
	check := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s\nwanted %s", got, want)
		}
	}
	check(p.estimate(), "Building 3 variants and linking 2 more: each build takes about as long as a first build of this project.")
	check(p.progress(0), "[░░░░░░░░░░░░░░░░░░░░] 1 of 5: as it is")
	p.passed(0, 10*time.Second)
	check(p.progress(1), "[████░░░░░░░░░░░░░░░░] 2 of 5: LTO, about 40 seconds left") // 3 × 10 and 10
	p.passed(1, 60*time.Second)
	p.passed(2, 5*time.Second)
	p.passed(3, 2*time.Second)
	check(p.progress(4), "[████████████████░░░░] 5 of 5: unwind tables for calls only, about 2 seconds left")
	check(p.progress(5), "[████████████████████] done")

	known := newPace(list, map[string]time.Duration{"release LTO": 100 * time.Second}, "release", 30*time.Second)
	check(known.estimate(), "Building 3 variants and linking 2 more: about 3 minutes.")
}

func TestVariantIsSet(t *testing.T) {
	v := func(name string) *variant {
		return &variants[slices.IndexFunc(variants, func(v variant) bool { return v.name == name })]
	}
	c := newConfigs(t)
	cfg, err := linkConfig(c.line, c.session.env, "t", c.session.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		set  map[string]string
		want bool
	}{
		{"as it is", nil, false},
		{"LTO", nil, false},
		{"LTO", map[string]string{"lto": "true"}, true},
		{"LTO", map[string]string{"lto": "thin"}, false},
		{"LTO, thin", map[string]string{"lto": "fat"}, true},
		{"optimised for size", map[string]string{"opt-level": "z"}, true},
		{"all of these", map[string]string{"lto": "fat", "codegen-units": "1", "opt-level": "s"}, false},
		{"everything folded that compilers allow", nil, false},
	} {
		if got := v(row.name).isSet(row.set, cfg); got != row.want {
			t.Errorf("%s with %v: %v", row.name, row.set, got)
		}
	}
}

func TestVariantOfTrims(t *testing.T) {
	const host = "x86_64-unknown-linux-gnu"
	abort := map[string]string{"panic": "abort"}
	for _, row := range []struct {
		name                 string
		set                  map[string]string
		triple, panic, table string
		isSet, possible      bool
	}{
		{"panics without locations", nil, host, "keep", "keep", false, true},
		{"panics without locations", nil, host, "message", "keep", true, true},
		{"panics without messages", nil, host, "location", "keep", false, true},
		{"panics without messages", abort, host, "trap", "keep", true, true},
		{"panics without messages", nil, "aarch64-unknown-linux-gnu", "keep", "keep", false, false},
		{"panics that trap", nil, host, "keep", "keep", false, false},
		{"panics that trap", abort, host, "message", "keep", false, true},
		{"panics that trap", abort, host, "trap", "keep", true, true},
		{"panics that trap", nil, "thumbv7em-none-eabihf", "keep", "keep", false, true},
		{"unwind tables for calls only", abort, host, "keep", "drop", true, true},
		{"unwind tables for calls only", nil, "thumbv7em-none-eabihf", "keep", "keep", false, false},
		{"no unwind tables", abort, host, "keep", "calls", false, true},
		{"no unwind tables", nil, host, "keep", "calls", false, false},
		{"all of leanlink's", nil, host, "keep", "keep", false, true},
		{"all of leanlink's", abort, host, "keep", "keep", false, false},
		{"all of leanlink's where panics abort", abort, host, "keep", "keep", false, true},
	} {
		v := &variants[slices.IndexFunc(variants, func(v variant) bool { return v.name == row.name })]
		cfg := &linker.Config{Fold: "safe", TrimPanic: row.panic, TrimUnwindTables: row.table, TrimBacktrace: "keep", TrimRelocations: "keep", TrimAlign: "keep"}
		if got := v.isSet(row.set, cfg); got != row.isSet {
			t.Errorf("%s with panic = %q and unwind-tables = %q: set: %v", row.name, row.panic, row.table, got)
		}
		if got := v.possible(row.set, row.triple); got != row.possible {
			t.Errorf("%s with %v for %s: possible: %v", row.name, row.set, row.triple, got)
		}
	}
}

func TestJoinRanksWhatWasMeasured(t *testing.T) {
	m := &measurement{File: 1000, Loaded: 800, Results: []measured{
		{Name: "as it is", File: 1000, Loaded: 800},
		{Key: "lto", Name: "LTO", Line: "lto line", File: 900, Loaded: 700},
		{Key: "panic", Name: "panics abort", Line: "panic line", File: 1000, Loaded: 800},
		{Key: "opt-level", Name: "larger", Line: "", File: 1100, Loaded: 900},
	}}
	list := m.join([]report.Advice{{Bytes: 300, How: "exactly", What: "symbols", Key: "strip"}, {Bytes: 50, How: "at least", What: "landing pads", Line: "panic, with care", Key: "panic"}, {Bytes: 10, How: "about", What: "other"}})
	var got []string
	for _, a := range list {
		got = append(got, fmt.Sprintf("%d %s %s %s", a.Bytes, a.How, a.What, a.Line))
	}
	want := "300 exactly symbols |100 measured LTO lto line|10 about other "
	if strings.Join(got, "|") != want {
		t.Errorf("got  %q\nwant %q", strings.Join(got, "|"), want)
	}
}

func TestProfileSettings(t *testing.T) {
	c := newConfigs(t)
	c.write("Cargo.toml", "[package]\nname = \"x\"\n[profile.release]\nlto = true\nstrip = true\n[profile.dist]\ninherits = \"release\"\nlto = \"thin\"\ncodegen-units = 1\n")
	c.write(".cargo/config.toml", "[profile.dist]\npanic = \"abort\"\n[profile.release]\nopt-level = \"s\"\n")
	c.session.env = c.session.env.with("CARGO_PROFILE_DIST_CODEGEN_UNITS", "4")
	set, err := c.session.profileSettings(&project{Root: c.session.dir}, "dist")
	if err != nil {
		t.Fatal(err)
	}
	delete(set, "inherits")
	if got, want := fmt.Sprint(set), "map[codegen-units:4 lto:thin opt-level:s panic:abort strip:true]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRustFlags(t *testing.T) {
	const triple = "x86_64-unknown-linux-gnu"
	for _, row := range []struct {
		name, config string
		env          []string
		linker, from string
		flags        string
	}{
		{"none", "", nil, "", "", ""},
		{"build", "[build]\nrustflags = [\"-C\", \"linker=/a\"]\n", nil, "/a", "config.toml", "-C linker=/a"},
		{"target before build", "[build]\nrustflags = [\"-Clinker=/a\"]\n[target." + triple + "]\nrustflags = \"-g -Clinker=/b\"\n", nil, "/b", "config.toml", "-g -Clinker=/b"},
		{"expression", "[target.'cfg(unix)']\nrustflags = [\"--codegen=linker=/c\"]\n[target.'cfg(windows)']\nrustflags = [\"-Clinker=/d\"]\n", nil, "/c", "config.toml", "--codegen=linker=/c"},
		{"variable of the target", "[target." + triple + "]\nrustflags = [\"-g\"]\n", []string{"CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=-Clinker=/e"}, "/e", "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-g -Clinker=/e"},
		{"variable before all", "[build]\nrustflags = [\"-Clinker=/a\"]\n", []string{"RUSTFLAGS=-g"}, "", "RUSTFLAGS", "-g"},
		{"encoded before plain", "", []string{"RUSTFLAGS=-g", "CARGO_ENCODED_RUSTFLAGS=-C\x1flinker=/with blank\x1f-Copt-level=3"}, "/with blank", "CARGO_ENCODED_RUSTFLAGS", "-C linker=/with blank -Copt-level=3"},
		{"another flag", "", []string{"RUSTFLAGS=-Clinker-flavor=gcc -Clink-arg=linker=x -L linker=/x"}, "", "RUSTFLAGS", "-Clinker-flavor=gcc -Clink-arg=linker=x -L linker=/x"},
		{"the last", "", []string{"RUSTFLAGS=-Clinker=/a -Clinker=/b -C"}, "/b", "RUSTFLAGS", "-Clinker=/a -Clinker=/b -C"},
	} {
		c := newConfigs(t)
		c.write(".cargo/config.toml", row.config)
		c.session.env = append(c.session.env, row.env...)
		flags, err := c.session.rustFlags(triple)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		named := flags.linker()
		if got := strings.Join(flags.flags, " "); got != row.flags || named.Path != row.linker || filepath.Base(flags.from) != filepath.Base(row.from) {
			t.Errorf("%s: %q from %s, linker %q", row.name, got, flags.from, named.Path)
		}
		if named.Path == "" {
			continue
		}
		name, value := flags.withLinker("/lean")
		c.session.env = c.session.env.with(name, value)
		if flags, err = c.session.rustFlags(triple); err != nil || flags.linker().Path != "/lean" {
			t.Errorf("%s: with another linker: %v, %v", row.name, flags, err)
		}
	}
}

// configs is a folder with configuration, and a session there.
type configs struct {
	*crate
	session *session
	line    *linker.CommandLine
}

func newConfigs(t *testing.T) *configs {
	c := &crate{t: t, dir: t.TempDir()}
	c.write("Cargo.toml", "[package]\nname = \"x\"\n")
	env := environ{"HOME=" + c.dir}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "PATH=") {
			env = append(env, v)
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		rustup := os.Getenv("RUSTUP_HOME")
		if rustup == "" {
			rustup = filepath.Join(home, ".rustup")
		}
		env = append(env, "RUSTUP_HOME="+rustup, "CARGO_HOME="+filepath.Join(c.dir, "cargo-home"))
	}
	return &configs{c, &session{opts: &options{}, env: env, dir: c.dir, stderr: &bytes.Buffer{}}, &linker.CommandLine{Dir: c.dir}}
}

// What advise says of trims, without measuring, is what they save, to a tenth.
func TestAdviseOfTrims(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("some of the settings are for x86-64")
	}
	c := newCrate(t)
	c.write("Cargo.toml", c.read("Cargo.toml")+"[profile.release]\npanic = \"abort\"\n")
	loaded := func(settings string) int {
		t.Helper()
		c.write("leanlink.toml", settings)
		c.run(0, "--release", "-q")
		f, err := elf.Open(filepath.Join(c.dir, "target/size-report/release/my-hello"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		n := 0
		for _, s := range f.Sections {
			if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
				n += int(s.Size)
			}
		}
		return n
	}
	before := loaded("") // by a link that was not asked for advice
	out, _ := c.run(0, "advise", "--release", "-q", "--format", "csv", "-n", "0")
	advised := map[string]int{}
	for _, line := range strings.Split(out, "\n") {
		if f := strings.SplitN(line, ",", 5); len(f) == 5 && f[1] == "about" {
			advised[f[3]], _ = strconv.Atoi(f[0])
		}
	}
	for what, settings := range map[string]string{
		"panics that say anything": "trim.panic = \"trap\"\n",
		"the backtrace symbolizer": "trim.backtrace = \"addresses\"\n",
		"unwind tables":            "trim.unwind-tables = \"drop\"\n",
		"all trims of what panics": "trim.panic = \"trap\"\ntrim.backtrace = \"addresses\"\ntrim.unwind-tables = \"drop\"\ntrim.align = \"size\"\n",
	} {
		n := 0
		for name, bytes := range advised {
			if strings.HasPrefix(strings.Trim(name, `"`), what) {
				n = bytes
			}
		}
		saved := before - loaded(settings)
		if n < saved*9/10 || n > saved*11/10 {
			t.Errorf("%s: advised %d, saved %d\n%s", what, n, saved, out)
		}
		t.Logf("%s: advised %d, saved %d", what, n, saved)
	}
}
