package linker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Style is the way a command line spells the linker's options.
type Style uint8

// The two styles that rustc uses.
const (
	StyleCC Style = iota // a compiler driver: linker options come as -Wl,…
	StyleLD              // a linker's own options (rust-lld -flavor gnu …)
)

// String names the style for messages.
func (s Style) String() string {
	if s == StyleLD {
		return "ld"
	}
	return "cc"
}

// CommandLine is one link's arguments, response files expanded, in order.
type CommandLine struct {
	Style  Style    // how options are spelled
	Dir    string   // the working folder, against which relative paths resolve
	Argv   []string // the original arguments, unexpanded, without argv[0]
	Args   []string // the arguments, response files expanded; see ParseCommandLine
	Inputs []Input  // what names an input, in order
	Output string   // -o, a.out without one

	ResponseFile bool   // the original arguments name a response file
	Flavor       string // -flavor NAME, which only lld's generic program takes
	Query        string // the argument that makes this a question and not a link, or ""

	// What the options say of the link. Where an option and its opposite
	// are both given the last one counts, as it does for the linkers.
	GCSections              bool // --gc-sections
	GCKeepExported          bool // --gc-keep-exported
	Shared                  bool // -shared
	PIE                     bool // -pie, -static-pie
	StaticExe               bool // -static, -static-pie: no shared objects at all
	Relocatable             bool // -r
	EmitRelocs              bool // -q, --emit-relocs
	ExportDynamic           bool // --export-dynamic, -rdynamic
	StripAll                bool // -s, --strip-all
	StripDebug              bool // -S, --strip-debug
	PrintMap                bool // -M, --print-map
	Plugin                  bool // -plugin, -flto: some inputs are compiled during the link
	AllowMultipleDefinition bool // --allow-multiple-definition, -z muldefs

	BSymbolic         string // "", all, functions, non-weak or non-weak-functions
	Entry             string // -e; "" is the linker's default
	Init              string // -init; "" is the linker's default
	Fini              string // -fini; "" is the linker's default
	ICF               string // --icf=MODE: the linker's own folding
	Map               string // -Map FILE
	FuseLD            string // -fuse-ld=NAME, or the path of --ld-path=PATH
	Emulation         string // -m NAME; of a driver -m32, -m64, -mx32 without the dash
	Sysroot           string // --sysroot
	RetainSymbolsFile string // --retain-symbols-file FILE

	Undefined            []string // -u, --undefined, --require-defined, --undefined-glob
	ExportDynamicSymbols []string // --export-dynamic-symbol GLOB
	VersionScripts       []string // --version-script
	DynamicLists         []string // --dynamic-list, --export-dynamic-symbol-list
	Scripts              []string // -T, --script
	ExcludeLibs          []string // --exclude-libs
	Wrap                 []string // --wrap
	KeepUnique           []string // --keep-unique
	Defsym               []string // --defsym, NAME=EXPRESSION
	Z                    []string // -z KEYWORD
	LibraryPaths         []string // -L, in order
	DriverPaths          []string // -B of a driver, in order
	OtherFiles           []string // further files that options name, such as symbol orders
	Unknown              []string // what this package has no name for: the link may mean more than it seems
}

// Input is one argument, or pair of arguments, that names a file or library
// of the link.
type Input struct {
	Arg     int    // index into Args of the argument (of "-l" for the pair "-l" "foo")
	NArgs   int    // number of arguments, 1 or more
	Path    string // as the linker would open it; "" for a library that is not (yet) found
	Library string // NAME of -lNAME, else ""

	// The state of the options at this position.
	WholeArchive bool   // --whole-archive
	AsNeeded     bool   // --as-needed
	Static       bool   // -Bstatic
	StartLib     bool   // between --start-lib and --end-lib: extracted as an archive's member is
	Group        int    // > 0: number of the --start-group it lies in
	JustSymbols  bool   // --just-symbols
	Format       string // -b FORMAT ("binary"), "" for the default
}

// ParseCommandLine reads the arguments of a linker (argv without argv[0])
// that runs in the folder dir. Nothing but response files is opened.
//
// Args holds every argument as it was given, with one exception: where an
// input stands amid others in one -Wl,… argument, each of its parts becomes a
// -Wl,… of its own, so that the input can be replaced alone.
//
// The error is that of a response file that cannot be read.
func ParseCommandLine(argv []string, dir string) (*CommandLine, error) {
	args, used, err := expandResponseFiles(argv, dir)
	if err != nil {
		return nil, err
	}
	cl := &CommandLine{Style: detectStyle(args), Dir: dir, Argv: argv, Args: args, Output: "a.out", ResponseFile: used}
	p := &argParser{cl: cl}
	p.tokenize(args)
	for p.next < len(p.tokens) {
		if p.tokens[p.next].ld {
			p.ldOption()
		} else {
			p.ccOption()
		}
	}
	p.splitComposites(args)
	return cl, nil
}

// detectStyle tells a driver's arguments from a linker's. Names do not help:
// rustc gives a linker that it does not know by name whatever the target is
// used to. Options that only one of the two has decide; the driver's first,
// because a driver's -Xlinker may be followed by any of the linker's.
func detectStyle(args []string) Style {
	if len(args) > 0 && args[0] == "-flavor" {
		return StyleLD
	}
	ld := false
	for _, arg := range args {
		switch {
		case strings.HasPrefix(arg, "-Wl,"), strings.HasPrefix(arg, "-fuse-ld="), arg == "-Xlinker",
			arg == "-m64", arg == "-m32", arg == "-nodefaultlibs", arg == "-nostartfiles",
			arg == "-static-pie", arg == "-rdynamic", arg == "-no-pie", arg == "-pthread",
			strings.HasPrefix(arg, "-march="), strings.HasPrefix(arg, "-mcpu="), strings.HasPrefix(arg, "--target="):
			return StyleCC
		case arg == "--gc-sections", arg == "--as-needed", arg == "--no-as-needed", arg == "--eh-frame-hdr",
			arg == "--start-group", arg == "--end-group", arg == "-(", arg == "--whole-archive",
			arg == "-Bstatic", arg == "-Bdynamic", arg == "-dynamic-linker", arg == "--dynamic-linker",
			strings.HasPrefix(arg, "-melf"), strings.HasPrefix(arg, "--hash-style"), strings.HasPrefix(arg, "--build-id"),
			strings.HasPrefix(arg, "--version-script"), arg == "--relocatable",
			arg == "-m", arg == "--nmagic", arg == "--strip-debug", arg == "--strip-all", arg == "--strip-all=no":
			ld = true
		}
	}
	if ld {
		return StyleLD
	}
	return StyleCC
}

// token is one word as the driver or the linker sees it: an argument, or one
// of the words between the commas of -Wl,….
type token struct {
	text  string
	arg   int  // index of its (first) argument
	nargs int  // 2 for -Xlinker WORD
	ld    bool // a word for the linker
	wl    bool // from a -Wl,… argument
}

// position is the part of the options' state that holds from one place of the
// command line on, which --push-state saves.
type position struct {
	wholeArchive, asNeeded, static bool
	format                         string
}

type argParser struct {
	cl     *CommandLine
	tokens []token
	next   int // index of the token to be read

	position
	saved    []position // --push-state
	startLib bool
	groups   int // number of groups seen
	group    int // number of the open group, 0 none

	inputTokens []int // parallel to cl.Inputs: index of each input's first token
	inputEnds   []int // parallel to cl.Inputs: index after its last token
}

func (p *argParser) tokenize(args []string) {
	p.tokens = make([]token, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if p.cl.Style == StyleLD {
			p.tokens = append(p.tokens, token{text: arg, arg: i, nargs: 1, ld: true})
			continue
		}
		if words, ok := strings.CutPrefix(arg, "-Wl,"); ok {
			for word := range strings.SplitSeq(words, ",") {
				p.tokens = append(p.tokens, token{text: word, arg: i, nargs: 1, ld: true, wl: true})
			}
		} else if arg == "-Xlinker" && i+1 < len(args) {
			p.tokens = append(p.tokens, token{text: args[i+1], arg: i, nargs: 2, ld: true})
			i++
		} else {
			p.tokens = append(p.tokens, token{text: arg, arg: i, nargs: 1})
		}
	}
}

// value takes the token after the current option as its value.
func (p *argParser) value() string {
	if p.next >= len(p.tokens) {
		return ""
	}
	p.next++
	return p.tokens[p.next-1].text
}

// addInput records the tokens from start up to the next one as an input.
func (p *argParser) addInput(start int, in Input) {
	in.WholeArchive, in.AsNeeded, in.Static, in.Format = p.wholeArchive, p.asNeeded, p.static, p.format
	in.StartLib, in.Group = p.startLib, p.group
	p.cl.Inputs = append(p.cl.Inputs, in)
	p.inputTokens = append(p.inputTokens, start)
	p.inputEnds = append(p.inputEnds, p.next)
}

// ccOption reads one of the driver's own arguments.
func (p *argParser) ccOption() {
	cl, start := p.cl, p.next
	arg := p.tokens[start].text
	p.next++
	if !strings.HasPrefix(arg, "-") {
		p.addInput(start, Input{Path: arg})
		switch strings.ToLower(filepath.Ext(arg)) {
		case ".c", ".cc", ".cpp", ".cxx", ".c++", ".i", ".ii", ".s", ".sx", ".m", ".f", ".f90":
			cl.Unknown = append(cl.Unknown, arg) // compiled within the link: an object that nobody else sees
		}
		return
	}

	// Options that are one letter and a value, together or apart.
	if len(arg) >= 2 && strings.IndexByte("oLluTzBxDUIAGe", arg[1]) >= 0 && !isLongCC(arg) {
		value := arg[2:]
		if value == "" {
			value = p.value()
		}
		switch arg[1] {
		case 'o':
			cl.Output = value
		case 'L':
			cl.LibraryPaths = append(cl.LibraryPaths, value)
		case 'l':
			p.addInput(start, Input{Library: value})
		case 'B':
			cl.DriverPaths = append(cl.DriverPaths, value)
		case 'x':
			if value != "none" {
				cl.Unknown = append(cl.Unknown, arg)
			}
		case 'u', 'T', 'z', 'e':
			p.applyLD(arg[1:2], value, start)
		}
		return
	}

	name, value, hasValue := strings.Cut(arg, "=")
	switch name {
	case "-":
		cl.Unknown = append(cl.Unknown, arg)
	case "-shared", "--shared":
		cl.Shared = true
	case "-static", "--static":
		cl.StaticExe, p.static = true, true
	case "-static-pie":
		cl.StaticExe, cl.PIE, p.static = true, true, true
	case "-pie", "--pie":
		cl.PIE = true
	case "-no-pie", "-nopie", "--no-pie":
		cl.PIE = false
	case "-rdynamic", "-export-dynamic":
		cl.ExportDynamic = true
	case "-s":
		cl.StripAll = true
	case "-r":
		cl.Relocatable = true
	case "-fuse-ld", "--ld-path":
		cl.FuseLD = value
	case "-flto", "-flto-partition", "-fwhole-program":
		cl.Plugin = true
	case "-fno-lto":
		cl.Plugin = false
	case "-m32", "-m64", "-mx32":
		cl.Emulation = name[1:]
	case "--sysroot", "-isysroot":
		if !hasValue {
			value = p.value()
		}
		cl.Sysroot = value
	case "--entry":
		if !hasValue {
			value = p.value()
		}
		cl.Entry = value
	case "-v", "--version", "--help", "--target-help", "-###", "-dumpmachine", "-dumpversion", "-dumpfullversion", "-dumpspecs",
		"-c", "-S", "-E", "-fsyntax-only", "-M", "-MM":
		cl.Query = arg
	case "-Xassembler", "-Xpreprocessor", "-Xclang", "-Xlinker", "-include", "-isystem", "-iquote", "-idirafter", "-imacros",
		"-iprefix", "-iwithprefix", "-iwithprefixbefore", "-MF", "-MT", "-MQ", "-arch", "-target", "-wrapper",
		"-aux-info", "-dumpbase", "-dumpbase-ext", "-dumpdir", "--param", "-mllvm", "-gcc-toolchain", "-Ttext", "-Tdata", "-Tbss":
		if !hasValue {
			p.value()
		}
	case "-specs", "--specs":
		if !hasValue {
			value = p.value()
		}
		cl.OtherFiles = append(cl.OtherFiles, value)
		cl.Unknown = append(cl.Unknown, arg) // may add inputs and options of its own
	case "--config", "-fplugin", "-plugin":
		cl.Unknown = append(cl.Unknown, arg)
	default:
		switch {
		case strings.HasPrefix(arg, "-print-"), strings.HasPrefix(arg, "--print-"):
			cl.Query = arg
		case strings.HasPrefix(arg, "-f"), strings.HasPrefix(arg, "-m"), strings.HasPrefix(arg, "-W"), strings.HasPrefix(arg, "-O"),
			strings.HasPrefix(arg, "-g"), strings.HasPrefix(arg, "-std"), strings.HasPrefix(arg, "--target="),
			strings.HasPrefix(arg, "-nostd"), strings.HasPrefix(arg, "--rtlib="), strings.HasPrefix(arg, "-rtlib="),
			strings.HasPrefix(arg, "--unwindlib="), strings.HasPrefix(arg, "-unwindlib="), strings.HasPrefix(arg, "-stdlib="),
			strings.HasPrefix(arg, "--gcc-toolchain="), strings.HasPrefix(arg, "-resource-dir"):
		case arg == "-nodefaultlibs", arg == "-nostartfiles", arg == "-nolibc", arg == "-pthread", arg == "-pthreads",
			arg == "-w", arg == "-p", arg == "-pg", arg == "-pipe", arg == "-save-temps", arg == "-static-libgcc",
			arg == "-shared-libgcc", arg == "-static-libstdc++", arg == "-ansi", arg == "-pedantic", arg == "-N", arg == "-n",
			arg == "-Qunused-arguments", arg == "-symbolic", arg == "-no-canonical-prefixes", arg == "-time":
			if arg == "-symbolic" {
				cl.BSymbolic = "all"
			}
		default:
			cl.Unknown = append(cl.Unknown, arg)
		}
	}
}

// isLongCC says that a driver's argument is a word of its own although it
// begins with a letter that takes a value.
func isLongCC(arg string) bool {
	name, _, _ := strings.Cut(arg, "=")
	switch name {
	case "-Ttext", "-Tdata", "-Tbss", "-Xlinker", "-export-dynamic":
		return true
	}
	return false
}

// ldOption reads one of the linker's own options or inputs.
func (p *argParser) ldOption() {
	cl, start := p.cl, p.next
	arg := p.tokens[start].text
	p.next++
	switch {
	case arg == "":
		return
	case arg[0] == '@' && p.tokens[start].wl:
		// A response file that only the linker opens; what it names is
		// not seen here.
		cl.Unknown = append(cl.Unknown, arg)
		return
	case arg == "-" || arg[0] != '-':
		p.addInput(start, Input{Path: arg})
		return
	}

	// A long option, with one dash or two: -shared, --entry=x, -soname x.
	// Only --o… is long: -omagic is "-o magic".
	long := strings.TrimPrefix(arg[1:], "-")
	name, value, hasValue := strings.Cut(long, "=")
	if strings.HasPrefix(arg, "--") || len(name) > 1 && name[0] != 'o' {
		takes, known := ldLongOption(name)
		if known {
			if takes && !hasValue {
				value = p.value()
			}
			p.applyLD(name, value, start)
			return
		}
		if strings.HasPrefix(arg, "--") {
			cl.Unknown = append(cl.Unknown, arg)
			return
		}
	}

	// A short one: -o FILE, -ofile, -z now, -s.
	letter := arg[1:2]
	if strings.Contains("aAbcefFGhIlLmoPRTuyYz", letter) {
		value = arg[2:]
		if value == "" {
			value = p.value()
		}
		p.applyLD(letter, value, start)
		return
	}
	switch arg[1:] {
	case "r", "i", "Ur", "s", "S", "q", "E", "M", "v", "V", "(", ")", "n", "N", "x", "X", "t", "g", "d", "dc", "dp", "dn", "dy",
		"EB", "EL", "Bstatic", "Bdynamic":
		p.applyLD(arg[1:], "", start)
	case "O": // -O 2: how hard the linker tries
		p.value()
	default:
		if letter != "O" {
			cl.Unknown = append(cl.Unknown, arg)
		}
	}
}

// ldLongOption says whether GNU ld, gold, lld or mold have a long option of
// this name, and whether its value may be the next argument. For those whose
// value only comes with "=" it says no.
func ldLongOption(name string) (takesValue, known bool) {
	switch name {
	case "architecture", "audit", "auxiliary", "defsym", "depaudit", "dependency-file", "default-script", "dT",
		"dynamic-linker", "dynamic-list", "emulation", "entry", "error-limit", "exclude-libs", "export-dynamic-symbol",
		"export-dynamic-symbol-list", "filter", "fini", "flavor", "format", "gpsize", "hash-style", "ignore-unresolved-symbol",
		"image-base", "init", "just-symbols", "keep-unique", "library", "library-path", "Map", "mllvm", "mri-script",
		"orphan-handling", "output", "pack-dyn-relocs", "plugin", "plugin-opt", "require-defined", "retain-symbols-file",
		"rpath", "rpath-link", "script", "section-start", "soname", "sort-section", "sysroot", "symbol-ordering-file",
		"Tbss", "Tdata", "Tldata-segment", "Trodata-segment", "Ttext", "Ttext-segment", "trace-symbol", "undefined",
		"undefined-glob", "undefined-version", "unresolved-symbols", "version-script", "why-extract", "wrap",
		"section-ordering-file", "call-graph-ordering-file", "oformat", "package-metadata", "warn-backrefs-exclude",
		"thread-count", "spare-dynamic-tags", "threads-count", "compress-sections", "icf-iterations":
		return name != "undefined-version", true
	case "accept-unknown-input-arch", "add-needed", "allow-multiple-definition", "allow-shlib-undefined", "apply-dynamic-relocs",
		"as-needed", "Bdynamic", "Bgroup", "Bno-symbolic", "Bshareable", "Bstatic", "Bsymbolic", "Bsymbolic-functions",
		"Bsymbolic-non-weak", "Bsymbolic-non-weak-functions", "build-id", "call_shared", "call-graph-profile-sort",
		"check-dynamic-relocations", "check-sections", "color-diagnostics", "compress-debug-sections", "cref",
		"ctors-in-init-array", "debug-names", "define-common", "demangle", "detect-odr-violations", "disable-multiple-abs-defs",
		"disable-new-dtags", "discard-all", "discard-locals", "discard-none", "eh-frame-hdr", "emit-relocs", "enable-new-dtags",
		"enable-non-contiguous-regions", "enable-non-contiguous-regions-warnings", "end-group", "end-lib", "error-handling-script",
		"error-rwx-segments", "error-unresolved-symbols", "error-execstack", "execute-only", "export-dynamic", "fatal-warnings",
		"filler", "fix-cortex-a53-835769", "fix-cortex-a53-843419", "fix-cortex-a8", "fork", "full-shutdown", "gc-keep-exported",
		"gc-sections", "gdb-index", "gnu-unique", "help", "icf", "ignore-data-address-equality", "ignore-function-address-equality",
		"incremental", "keep-memory", "ld-generated-unwind-info", "long-plt", "lto", "lto-O", "merge-exidx-entries",
		"merge-notes", "mmap-output-file", "nmagic", "no-accept-unknown-input-arch", "no-add-needed",
		"no-allow-multiple-definition", "no-allow-shlib-undefined", "no-apply-dynamic-relocs", "no-as-needed",
		"no-call-graph-profile-sort", "no-check-sections", "no-color-diagnostics", "no-copy-dt-needed-entries", "copy-dt-needed-entries",
		"no-define-common", "no-demangle", "no-detect-odr-violations", "no-dynamic-linker", "no-eh-frame-hdr", "no-export-dynamic",
		"no-fatal-warnings", "no-fix-cortex-a53-843419", "no-fix-cortex-a8", "no-fork", "no-gc-keep-exported", "no-gc-sections", "no-gdb-index",
		"no-gnu-unique", "no-keep-memory", "no-ld-generated-unwind-info", "no-merge-exidx-entries", "no-mmap-output-file",
		"no-nmagic", "no-omagic", "no-pie", "no-pic-executable", "no-perf-sort", "no-print-gc-sections", "no-print-icf-sections",
		"no-quick-exit", "no-relax", "no-relax-gp", "no-rosegment", "no-strip-discarded", "no-threads", "no-toc-optimize", "no-trampoline",
		"no-undefined", "no-undefined-version", "no-warn-backrefs", "no-warn-execstack", "no-warn-mismatch",
		"no-warn-rwx-segments", "no-warn-search-mismatch", "no-warn-symbol-ordering", "no-warnings", "no-whole-archive",
		"noinhibit-exec", "non_shared", "nostdlib", "omagic", "optimize-bb-jumps", "perf", "pic-executable", "pic-veneer", "pie",
		"plt-align", "pop-state", "posix-fallocate", "preread-archive-symbols", "print-archive-stats", "print-gc-sections",
		"print-icf-sections", "print-map", "print-map-discarded", "print-memory-usage", "print-output-format",
		"print-symbol-counts", "print-symbol-order", "print-sysroot", "push-state", "quick-exit", "qmagic", "Qy", "relax",
		"relax-gp", "relocatable", "repro", "reproducible", "rosegment", "shared", "shuffle-sections", "size-check", "sort-common",
		"start-group", "start-lib", "start-stop-gc", "start-stop-visibility", "no-start-stop-gc", "static", "static-pie", "stats", "strip-all", "strip-all-gdb",
		"strip-debug", "strip-debug-gdb", "strip-debug-non-line", "strip-discarded", "strip-lto-sections", "stub-group-size",
		"target1-abs", "target1-rel", "target2", "target-help", "text-reorder", "thinlto-cache-dir", "thinlto-cache-policy", "thinlto-emit-imports-files",
		"thinlto-index-only", "thinlto-jobs", "threads", "time-trace", "time-trace-file", "time-trace-granularity",
		"tls-get-addr-optimize", "toc-optimize", "trace", "traditional-format", "unique", "use-android-relr-tags", "verbose", "version",
		"version-exports-section", "vs-diagnostics", "warn-alternate-em", "warn-backrefs", "warn-common", "warn-constructors",
		"warn-execstack", "warn-ifunc-textrel", "warn-multiple-gp", "warn-once", "warn-rwx-segments", "warn-section-align",
		"warn-symbol-ordering", "warn-textrel", "warn-unresolved-symbols", "weak-unresolved-symbols", "whole-archive",
		"z-dynamic-undefined-weak", "zdebug-compress":
		return false, true
	}
	return false, false
}

// applyLD notes what one of the linker's options says. start is the index of
// its first token; the next token to be read comes after its value.
func (p *argParser) applyLD(name, value string, start int) {
	cl := p.cl
	switch name {
	case "o", "output":
		cl.Output = value
	case "L", "library-path":
		cl.LibraryPaths = append(cl.LibraryPaths, value)
	case "l", "library":
		p.addInput(start, Input{Library: value})
	case "R":
		// GNU ld: a file is --just-symbols, a folder -rpath.
		if st, err := os.Stat(resolve(cl.Dir, value)); err == nil && st.Mode().IsRegular() {
			p.addInput(start, Input{Path: value, JustSymbols: true})
		}
	case "just-symbols":
		p.addInput(start, Input{Path: value, JustSymbols: true})

	case "as-needed":
		p.asNeeded = true
	case "no-as-needed":
		p.asNeeded = false
	case "whole-archive":
		p.wholeArchive = true
	case "no-whole-archive":
		p.wholeArchive = false
	case "static":
		p.static = true
		if cl.Style == StyleLD {
			cl.StaticExe = true
		}
	case "Bstatic", "dn", "non_shared":
		p.static = true
	case "Bdynamic", "dy", "call_shared":
		p.static = false
	case "push-state":
		p.saved = append(p.saved, p.position)
	case "pop-state":
		if n := len(p.saved); n > 0 {
			p.position, p.saved = p.saved[n-1], p.saved[:n-1]
		}
	case "(", "start-group":
		p.groups++
		p.group = p.groups
	case ")", "end-group":
		p.group = 0
	case "start-lib":
		p.startLib = true
	case "end-lib":
		p.startLib = false
	case "b", "format":
		p.format = value
		if value == "default" || strings.HasPrefix(value, "elf") {
			p.format = ""
		}

	case "gc-sections":
		cl.GCSections = true
	case "no-gc-sections":
		cl.GCSections = false
	case "gc-keep-exported":
		cl.GCKeepExported = true
	case "no-gc-keep-exported":
		cl.GCKeepExported = false
	case "shared", "Bshareable":
		cl.Shared = true
	case "pie", "pic-executable":
		cl.PIE = true
	case "static-pie":
		cl.PIE, cl.StaticExe, p.static = true, true, true
	case "no-pie", "no-pic-executable":
		cl.PIE = false
	case "r", "i", "Ur", "relocatable":
		cl.Relocatable = true
	case "q", "emit-relocs":
		cl.EmitRelocs = true
	case "E", "export-dynamic":
		cl.ExportDynamic = true
	case "no-export-dynamic":
		cl.ExportDynamic = false
	case "s", "strip-all":
		cl.StripAll = true
	case "S", "strip-debug":
		cl.StripDebug = true
	case "M", "print-map":
		cl.PrintMap = true
	case "plugin", "plugin-opt":
		cl.Plugin = true
	case "allow-multiple-definition":
		cl.AllowMultipleDefinition = true
	case "no-allow-multiple-definition":
		cl.AllowMultipleDefinition = false
	case "z":
		cl.Z = append(cl.Z, value)
		if value == "muldefs" {
			cl.AllowMultipleDefinition = true
		}

	case "Bsymbolic":
		cl.BSymbolic = "all"
	case "Bsymbolic-functions":
		cl.BSymbolic = "functions"
	case "Bsymbolic-non-weak":
		cl.BSymbolic = "non-weak"
	case "Bsymbolic-non-weak-functions":
		cl.BSymbolic = "non-weak-functions"
	case "Bno-symbolic":
		cl.BSymbolic = ""
	case "e", "entry":
		cl.Entry = value
	case "init":
		cl.Init = value
	case "fini":
		cl.Fini = value
	case "icf":
		cl.ICF = value
	case "Map":
		cl.Map = value
	case "m", "emulation":
		cl.Emulation = value
	case "sysroot":
		cl.Sysroot = value
	case "flavor":
		cl.Flavor = value
	case "retain-symbols-file":
		cl.RetainSymbolsFile = value

	case "u", "undefined", "require-defined", "undefined-glob":
		cl.Undefined = append(cl.Undefined, value)
	case "export-dynamic-symbol":
		cl.ExportDynamicSymbols = append(cl.ExportDynamicSymbols, value)
	case "version-script":
		cl.VersionScripts = append(cl.VersionScripts, value)
	case "dynamic-list", "export-dynamic-symbol-list":
		cl.DynamicLists = append(cl.DynamicLists, value)
	case "T", "script", "dT", "default-script":
		cl.Scripts = append(cl.Scripts, value)
	case "exclude-libs":
		cl.ExcludeLibs = append(cl.ExcludeLibs, value)
	case "wrap":
		cl.Wrap = append(cl.Wrap, value)
	case "keep-unique":
		cl.KeepUnique = append(cl.KeepUnique, value)
	case "defsym":
		cl.Defsym = append(cl.Defsym, value)
	case "symbol-ordering-file", "section-ordering-file", "call-graph-ordering-file":
		cl.OtherFiles = append(cl.OtherFiles, value)

	case "c", "mri-script":
		cl.Unknown = append(cl.Unknown, fmt.Sprintf("-c %s", value)) // a script that names inputs
	case "v", "V", "version", "help", "target-help", "print-output-format", "print-sysroot":
		cl.Query = p.tokens[start].text
	}
}

// splitComposites makes each word of a -Wl,… argument that holds an input
// besides other words an argument of its own, and tells every input where in
// Args it stands.
func (p *argParser) splitComposites(args []string) {
	words := make(map[int]int) // argument → number of its words, for those with an input
	for i := range p.cl.Inputs {
		for _, t := range p.tokens[p.inputTokens[i]:p.inputEnds[i]] {
			if t.wl {
				words[t.arg] = 0
			}
		}
	}
	split := false
	for _, t := range p.tokens {
		if n, ok := words[t.arg]; ok && t.wl {
			words[t.arg] = n + 1
			split = split || n > 0
		}
	}

	first := make([]int, len(p.tokens)+1) // token → index of its first argument in the new Args
	if !split {
		for i, t := range p.tokens {
			first[i] = t.arg
		}
		first[len(p.tokens)] = len(args)
	} else {
		out := make([]string, 0, len(args)+8)
		for i, t := range p.tokens {
			switch {
			case t.wl && words[t.arg] > 1:
				first[i] = len(out)
				out = append(out, "-Wl,"+t.text)
			case i > 0 && p.tokens[i-1].arg == t.arg:
				first[i] = first[i-1] // a further word of an argument that stays whole
			default:
				first[i] = len(out)
				out = append(out, args[t.arg:t.arg+t.nargs]...)
			}
		}
		first[len(p.tokens)] = len(out)
		p.cl.Args = out
	}
	for i := range p.cl.Inputs {
		in := &p.cl.Inputs[i]
		in.Arg = first[p.inputTokens[i]]
		in.NArgs = first[p.inputEnds[i]] - in.Arg
	}
}

// stripsDebug reports whether the output will have no debug information.
func (cl *CommandLine) stripsDebug() bool { return cl.StripAll || cl.StripDebug }
