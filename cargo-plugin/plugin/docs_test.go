package plugin

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedCommands has parseArgs read every command line that the
// documentation shows.
func TestDocumentedCommands(t *testing.T) {
	count := 0
	for _, name := range []string{"guide.md", "install.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		checked := regexp.MustCompile("\\$\\{\\{[^}]*\\}\\}").ReplaceAllString(string(text), "X")
		inBlock := false
		for n, line := range strings.Split(checked, "\n") {
			if strings.HasPrefix(line, "```") {
				inBlock = !inBlock
				continue
			}
			at := strings.Index(line, "cargo size-report ")
			if !inBlock || at < 0 {
				continue
			}
			command, _, _ := strings.Cut(line[at:], " #")
			count++
			if _, err := parseArgs(strings.Fields(command)[2:]); err != nil {
				t.Errorf("docs/%s:%d: %s: %v", name, n+1, command, err)
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d command lines were found", count)
	}
	for _, line := range strings.Split(helpOptions, "\n") {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "cargo size-report "); ok {
			if _, err := parseArgs(strings.Fields(command)); err != nil {
				t.Errorf("help: %s: %v", command, err)
			}
		}
	}
}

// TestArgs reads arguments as Cargo, cargo-bloat and people write them.
func TestArgs(t *testing.T) {
	o, err := parseArgs(strings.Fields("top --release -p one --bin two -F a,b -j2 -n50 --config=net.offline=true --target x86_64-unknown-linux-musl --target-dir /t --message-format json --filter serde -vv --timings=html"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(o.cargo, " "), "--release -p one --bin two -F a,b -j 2 --config net.offline=true -vv --timings=html"; got != want {
		t.Errorf("for cargo build:\n%s\nnot\n%s", got, want)
	}
	if got := strings.Join(o.metadata, " "); got != "--config net.offline=true" {
		t.Errorf("for cargo metadata: %s", got)
	}
	if o.command.name != "top" || o.rows != 50 || o.format != "json" || o.targetDir != "/t" || len(o.targets) != 1 || o.view.Filter == nil {
		t.Errorf("read as %+v", o)
	}
	if o, err = parseArgs([]string{"--crates", "--bin"}); err != nil || o.command.name != "crates" || strings.Join(o.cargo, " ") != "--bin" {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = parseArgs(nil); err != nil || o.command.name != "summary" || o.rows != 20 {
		t.Errorf("%+v, %v", o, err)
	}
	for args, want := range map[string]string{
		"why":               "it is cargo size-report why SYMBOL",
		"top extra":         "top takes no extra",
		"--release=yes":     "--release takes no value",
		"--features":        "--features: a value is missing",
		"--color blue":      "--color blue: must be auto, always or never",
		"--format xml":      "--format xml: must be table, json, csv, markdown or html",
		"top --format html": "--format html shows everything at once; leave out top",
		"--demangle much":   "--demangle much: must be none, short or full",
		"-- -C opt-level=3": "-- : there is nothing to pass on; rustc's flags go into RUSTFLAGS or the config",
		"--wide=1":          "--wide takes no value",
		"diff a b c":        "it is cargo size-report diff OLD [NEW]",
	} {
		if _, err := parseArgs(strings.Fields(args)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}
