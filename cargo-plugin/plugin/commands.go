package plugin

import (
	"fmt"
	"io"
	"runtime"

	"leanlink/linker"
	"leanlink/report"
)

// command is a word after cargo size-report.
type command struct {
	name        string
	words       string // what follows it
	least, most int    // how many words that is
	doc         string
	run         func(*session) error
}

// commands are all commands by name. It is filled by init, for parseArgs, which
// they do not call, reads it.
var commands = map[string]*command{}

// commandOrder is the order of the help text.
var commandOrder []*command

func init() {
	plain := func(f func(*report.Sizes, *report.ViewOptions) []*report.Table) func(*report.Sizes, *session) ([]*report.Table, error) {
		return func(z *report.Sizes, s *session) ([]*report.Table, error) { return f(z, &s.opts.view), nil }
	}
	commandOrder = []*command{
		{"summary", "", 0, 0, "what leanlink saved, and where the bytes are (the default)", view("summary", false, plain((*report.Sizes).Summary))},
		{"top", "", 0, 0, "the largest functions; with --data, constants and statics", view("top", false, plain((*report.Sizes).Top))},
		{"crates", "", 0, 0, "bytes by crate", view("crates", false, plain((*report.Sizes).Crates))},
		{"sections", "", 0, 0, "bytes by section of the file", view("sections", false, plain((*report.Sizes).SectionsView))},
		{"dup", "", 0, 0, "identical bodies: copies, bytes, folded or why not", view("dup", true, plain((*report.Sizes).Dup))},
		{"near", "", 0, 0, "bodies that are the same but for a constant or a callee", view("near", true, plain((*report.Sizes).Near))},
		{"generics", "", 0, 0, "generic functions: copies and bytes of machine code", view("generics", false, plain((*report.Sizes).Generics))},
		{"dropped", "", 0, 0, "what nothing reaches", view("dropped", true, plain((*report.Sizes).Dropped))},
		{"why", "SYMBOL", 1, 1, "the shortest path of references that keeps a symbol alive", view("why", true, func(z *report.Sizes, s *session) ([]*report.Table, error) {
			return z.Why(s.opts.words[0], &s.opts.view)
		})},
		{"retained", "", 0, 0, "what would go if one thing went", view("retained", true, func(z *report.Sizes, s *session) ([]*report.Table, error) {
			return z.Retained(&s.opts.view)
		})},
		{"panics", "", 0, 0, "what panics, their messages and backtraces cost", view("panics", false, plain((*report.Sizes).Panics))},
		{"advise", "", 0, 0, "what would make it smaller, by how much, and the line to write; --measure builds variants", advise},
		{"diff", "OLD [NEW]", 0, 2, "what changed between two files, or a file or --rev and now", diff},
		{"history", "", 0, 0, "the builds that --record noted", history},
		{"init", "", 0, 0, "make leanlink the project's linker; --check only says how, --user for you alone, --undo takes it back", initCommand},
		{"doctor", "", 0, 0, "what keeps leanlink from working, and the cure", doctor},
		{"help", "", 0, 9, "this text", help},
		{"version", "", 0, 9, "the version", version},
	}
	for _, c := range commandOrder {
		commands[c.name] = c
	}
}

func commandNames() []string {
	var names []string
	for _, c := range commandOrder {
		names = append(names, c.name)
	}
	return names
}

func version(s *session) error {
	fmt.Fprintf(s.stdout, "cargo-size-report %s (%s/%s, %s)\n", linker.Version, runtime.GOOS, runtime.GOARCH, runtime.Version())
	return nil
}

func help(s *session) error {
	fmt.Fprint(s.stdout, "Where the bytes of a Rust program go, and what leanlink saved.\n\nUsage: cargo size-report [VIEW] [OPTIONS] [CARGO'S OPTIONS]\n\nViews:\n")
	for _, c := range commandOrder {
		name := c.name
		if c.words != "" {
			name += " " + c.words
		}
		fmt.Fprintf(s.stdout, "    %-18s %s\n", name, c.doc)
	}
	_, err := io.WriteString(s.stdout, helpOptions)
	return err
}

const helpOptions = `
Options:
    -n NUMBER             rows to list (default 20; 0 is all)
    -w, --wide            do not shorten names to the terminal's width
    --filter TEXT         list only this crate, or names that match this regular expression
    --sort COLUMN         sort by a column, named as in the JSON
    --crates              the same as the view crates
    --split-std           the crates of the standard library apart
    --full-fn             names of functions with their hashes (--demangle full)
    --demangle STYLE      none, short or full
    --data                constants and statics (top)
    --asked               a generic function counts for the crate that asked for it
    --format FORMAT       table, json, csv, markdown or, of the summary, html (also --message-format)
    -o, --output FILE     write there and not to the standard output
    --color WHEN          auto, always or never; NO_COLOR is obeyed
    --rev REVISION        of diff: build this Git revision in a worktree of its own
    --check               exit 1 if a budget of leanlink.toml is exceeded
    --baseline FILE       what a budget of growth compares with: a report or a linked file
    --memory FILE         the linker script with the MEMORY regions
    --measure             of advise: build the variants of the profile and show their sizes
    --record              note the sizes in leanlink-history.jsonl beside Cargo.toml
    --history FILE        another file for that
    --user                of init: your own Cargo config, not the project's
    --undo                of init: take back what it wrote
    --file PATH           show a file that is there (ELF, or a report), build nothing

Of Cargo's options, all of cargo build: --release, --profile, -p, --workspace,
--bin, --example, --test, --bench, --lib, --features, --all-features,
--no-default-features, --target, --target-dir, --manifest-path, --config,
--locked, --frozen, --offline, -j, -Z, -q, -v and more.

The project is built with leanlink in TARGET_DIR/size-report, unless leanlink is
its linker already; none of its files are changed. Examples:

    cargo size-report --release
    cargo size-report top --release -n 50 --filter serde_json
    cargo size-report why --release regex_automata::meta::strategy::new
    cargo size-report --release --format html
    cargo size-report sections --file target/thumbv7em-none-eabihf/release/firmware
`
