package plugin

import (
	"strconv"
	"strings"

	"leanlink/report"
)

// options are the command line.
type options struct {
	command *command
	words   []string // what is no option, after the command's name

	cargo     []string // options for cargo build, in their order
	metadata  []string // those of them that cargo metadata takes, too
	targetDir string   // --target-dir
	manifest  string   // --manifest-path
	targets   []string // --target
	configs   []string // --config
	color     string   // auto, always or never
	quiet     int
	release   bool
	profile   string // --profile
	chosen    []choice

	format   string // table, json, csv, markdown or html
	output   string // -o: a file instead of the standard output
	file     string // --file
	rows     int    // -n
	rowsSet  bool
	wide     bool
	view     report.ViewOptions
	check    bool
	baseline string
	rev      string
	record   bool
	history  string // --history
	memory   string
	measure  bool
	user     bool
	undo     bool
	filter   string
}

// cargoFlags are Cargo's options that cargo build takes. value says what
// follows: nothing, a value, or a value that may be missing.
var cargoFlags = map[string]cargoFlag{
	"--release": {}, "-r": {}, "--profile": {value: always},
	"--package": {value: sometimes}, "-p": {value: sometimes}, "--workspace": {}, "--all": {}, "--exclude": {value: always},
	"--lib": {}, "--bin": {value: sometimes}, "--bins": {}, "--example": {value: sometimes}, "--examples": {}, "--test": {value: sometimes}, "--tests": {},
	"--bench": {value: sometimes}, "--benches": {}, "--all-targets": {},
	"--features": {value: always}, "-F": {value: always}, "--all-features": {}, "--no-default-features": {},
	"--target": {value: always}, "--target-dir": {value: always}, "--manifest-path": {value: always, metadata: true}, "--lockfile-path": {value: always, metadata: true},
	"--config": {value: always, metadata: true}, "-Z": {value: always, metadata: true}, "--locked": {metadata: true}, "--frozen": {metadata: true}, "--offline": {metadata: true},
	"--jobs": {value: always}, "-j": {value: always}, "--keep-going": {}, "--ignore-rust-version": {}, "--timings": {}, "--future-incompat-report": {},
	"--color": {value: always}, "--quiet": {}, "-q": {}, "--verbose": {}, "-v": {}, "-vv": {},
}

// choice is what Cargo is asked to build, of several things that it may build
// for it: an integration test has its package's programs built.
type choice struct {
	kind string // of a target: "bin", "example", …
	name string // or a pattern of names; "" is all
}

// chosenKinds are the options that choose, by what they choose.
var chosenKinds = map[string]string{
	"--bin": "bin", "--bins": "bin", "--example": "example", "--examples": "example", "--test": "test", "--tests": "test",
	"--bench": "bench", "--benches": "bench", "--lib": "cdylib",
}

type cargoFlag struct {
	value    flagValue
	metadata bool // cargo metadata takes it, too
}

type flagValue uint8

const (
	never flagValue = iota
	always
	sometimes
)

// formats are the forms of output that --format takes.
var formats = []string{"table", "json", "csv", "markdown", "html"}

// parseArgs reads the arguments after "size-report".
func parseArgs(args []string) (*options, error) {
	o := &options{format: "table", color: "auto", rows: 20}
	var words []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, value, hasValue := arg, "", false
		switch {
		case arg == "--":
			return nil, usageErrorf("-- : there is nothing to pass on; rustc's flags go into RUSTFLAGS or the config")
		case strings.HasPrefix(arg, "--"):
			name, value, hasValue = strings.Cut(arg, "=")
		case len(arg) > 2 && arg[0] == '-' && strings.ContainsRune("njpFZo", rune(arg[1])):
			name, value, hasValue = arg[:2], strings.TrimPrefix(arg[2:], "="), true // -n20, -j2
		case !strings.HasPrefix(arg, "-") || arg == "-":
			words = append(words, arg)
			continue
		}
		// take returns the option's value.
		take := func() (string, error) {
			if hasValue {
				return value, nil
			}
			if i+1 >= len(args) {
				return "", usageErrorf("%s: a value is missing", name)
			}
			i++
			return args[i], nil
		}
		if flag, ok := cargoFlags[name]; ok {
			given := []string{name}
			switch {
			case flag.value == never && hasValue && name != "--timings":
				return nil, usageErrorf("%s takes no value", name)
			case flag.value == always || flag.value == sometimes && (hasValue || i+1 < len(args) && !strings.HasPrefix(args[i+1], "-")):
				v, err := take()
				if err != nil {
					return nil, err
				}
				value = v
				given = append(given, v)
			case hasValue:
				given[0] = arg
			}
			if err := o.cargoOption(name, value, given, flag); err != nil {
				return nil, err
			}
			continue
		}
		if err := o.own(name, hasValue, take); err != nil {
			return nil, err
		}
	}
	return o, o.choose(words)
}

// cargoOption notes an option of Cargo's.
func (o *options) cargoOption(name, value string, given []string, flag cargoFlag) error {
	switch name {
	case "--target-dir":
		o.targetDir = value // it names the folder below which the plugin's own is
		return nil
	case "--target":
		o.targets = append(o.targets, value)
		return nil
	case "--manifest-path":
		o.manifest = value
	case "--config":
		o.configs = append(o.configs, value)
	case "--release", "-r":
		o.release = true
	case "--profile":
		o.profile = value
	case "--quiet", "-q":
		o.quiet++
	case "--color":
		if value != "auto" && value != "always" && value != "never" {
			return usageErrorf("--color %s: must be auto, always or never", value)
		}
		o.color = value
	}
	if kind := chosenKinds[name]; kind != "" {
		o.chosen = append(o.chosen, choice{kind, value})
	}
	o.cargo = append(o.cargo, given...)
	if flag.metadata {
		o.metadata = append(o.metadata, given...)
	}
	return nil
}

// own reads an option that is not Cargo's.
func (o *options) own(name string, hasValue bool, take func() (string, error)) error {
	flags := map[string]func(){
		"--split-std": func() { o.view.SplitStd = true },
		"--full-fn":   func() { o.view.Names = report.NamesFull },
		"--data":      func() { o.view.Data = true },
		"--asked":     func() { o.view.Asked = true },
		"-w":          func() { o.wide = true },
		"--wide":      func() { o.wide = true },
		"--check":     func() { o.check = true },
		"--record":    func() { o.record = true },
		"--measure":   func() { o.measure = true },
		"--user":      func() { o.user = true },
		"--undo":      func() { o.undo = true },
		"--crates":    func() { o.command = commands["crates"] },
		"--help":      func() { o.command = commands["help"] },
		"-h":          func() { o.command = commands["help"] },
		"--version":   func() { o.command = commands["version"] },
		"-V":          func() { o.command = commands["version"] },
	}
	if set, ok := flags[name]; ok {
		if hasValue {
			return usageErrorf("%s takes no value", name)
		}
		if c := o.command; c == commands["help"] || c == commands["version"] {
			return nil // whatever else there is
		}
		set()
		return nil
	}
	texts := map[string]*string{
		"--file": &o.file, "--output": &o.output, "-o": &o.output, "--baseline": &o.baseline, "--rev": &o.rev, "--sort": &o.view.Sort, "--filter": &o.filter,
		"--history": &o.history, "--memory": &o.memory,
	}
	if text, ok := texts[name]; ok {
		v, err := take()
		if err != nil {
			return err
		}
		if v == "" {
			return usageErrorf("%s: a value is missing", name)
		}
		*text = v
		return nil
	}
	switch name {
	case "-n":
		v, err := take()
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			return usageErrorf("-n %s: must be a number of rows; 0 is all", v)
		}
		o.rows, o.rowsSet = int(n), true
		return nil
	case "--format", "--message-format":
		v, err := take()
		if err != nil {
			return err
		}
		for _, f := range formats {
			if v == f {
				o.format = f
				return nil
			}
		}
		return usageErrorf("%s %s: must be %s", name, v, orList(formats))
	case "--demangle":
		v, err := take()
		if err != nil {
			return err
		}
		styles := map[string]report.NameStyle{"none": report.NamesMangled, "short": report.NamesShort, "full": report.NamesFull}
		style, ok := styles[v]
		if !ok {
			return usageErrorf("--demangle %s: must be none, short or full", v)
		}
		o.view.Names = style
		return nil
	}
	return usageErrorf("no such option: %s", name)
}

// choose takes the command from the words and checks what goes with it.
func (o *options) choose(words []string) error {
	if o.command == nil || len(words) > 0 && o.command == commands["crates"] && words[0] == "crates" {
		if len(words) == 0 {
			o.command = commands["summary"]
		} else {
			c, ok := commands[words[0]]
			if !ok {
				return usageErrorf("no such view: %s; there are %s", words[0], strings.Join(commandNames(), ", "))
			}
			o.command, words = c, words[1:]
		}
	}
	o.words = words
	if o.command == commands["help"] || o.command == commands["version"] {
		return nil
	}
	if n := len(words); n < o.command.least || n > o.command.most {
		if o.command.words == "" {
			return usageErrorf("%s takes no %s", o.command.name, strings.Join(words, " "))
		}
		return usageErrorf("it is cargo size-report %s %s", o.command.name, o.command.words)
	}
	if o.filter != "" {
		f, err := report.NewFilter(o.filter)
		if err != nil {
			return usageErrorf("%w", err)
		}
		o.view.Filter = f
	}
	if o.format == "html" && o.command != commands["summary"] {
		return usageErrorf("--format html shows everything at once; leave out %s", o.command.name)
	}
	o.view.Rows = o.rows
	return nil
}

// orList is "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
