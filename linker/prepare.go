package linker

import (
	"os"
	"slices"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"leanlink/merge"
	"leanlink/objfile"
)

// Prepared is what the worker hands back for the real linker.
type Prepared struct {
	Args []string // the new arguments, without argv[0]
	// Unchanged says why the link is left as it is, "" where it is not:
	// Args are then the original ones.
	Unchanged string
	// Finish is what is left to do after the link, nil for nothing.
	Finish *Finish
}

// Prepare reads the link's inputs, decides what it can do without and
// writes changed objects into dir. The inputs are never changed.
func Prepare(cl *CommandLine, cfg *Config, real *Linker, dir string) (*Prepared, error) {
	return prepareTimed(cl, cfg, real, dir, nil)
}

// prepareTimed is Prepare by the clock, which may be nil.
func prepareTimed(cl *CommandLine, cfg *Config, real *Linker, dir string, clock *timings) (*Prepared, error) {
	p := &preparation{cl: cl, cfg: cfg, kind: cl.LinkerKind(real.Path), clock: clock}
	prepared, err := p.prepare(real, dir)
	if err != nil || prepared.Unchanged != "" {
		p.debug.abandon()
	}
	if err == nil && prepared.Unchanged != "" {
		prepared.Finish = p.finishUnchanged(prepared.Unchanged)
	}
	return prepared, err
}

func (p *preparation) prepare(real *Linker, dir string) (*Prepared, error) {
	cl := p.cl
	unchanged := func(reason string) (*Prepared, error) { return &Prepared{Args: cl.Args, Unchanged: reason}, nil }
	if reason := unsuited(cl); reason != "" {
		return unchanged(reason)
	}
	dirs := real.defaultDirs(cl)
	defer dirs() // whom it asks must have ended before the link goes on
	if err := p.decideTrims(real, NewEnvironment()); err != nil {
		return nil, err
	}
	var err error
	if p.script, err = readScripts(cl); err != nil {
		return unchanged(err.Error())
	}
	if p.script != nil && p.script.unread != "" {
		return unchanged(p.script.unread)
	}
	p.out = p.newWriter(dir)
	reader := p.newReader()
	defer reader.Stop()
	if p.in, err = readInputs(cl, dirs, reader); err != nil {
		return nil, err
	}
	if p.in.scripted != "" {
		return unchanged("the linker script " + p.in.scripted + " among the inputs does more than name files")
	}
	p.clock.lap("read")
	// Each input is now open and its format known; archives are not yet
	// searched.
	search, agree, err := p.extract()
	if err != nil {
		return nil, err
	}
	if !agree {
		return unchanged("which archive members the real linker extracts is not certain")
	}
	if p.in.pinAll || p.in.bytecode && p.kind != KindLLD {
		// What it will refer to when it has been compiled nobody can see yet:
		// not which members it needs nor whose addresses it takes.
		return unchanged("an input is compiled during the link (LTO)")
	}
	files := p.in.linkOrder()
	if len(files) == 0 {
		return unchanged("no objects among the inputs")
	}
	if p.kind == KindGold && cl.ICF != "" && cl.ICF != "none" {
		// Its own folding ends in an internal error over names that moved.
		return unchanged("gold folds by itself (--icf)")
	}
	if p.kind == KindUnknown && !cl.GCSections {
		return unchanged("without --gc-sections, the real linker must be one that is known")
	}
	p.clock.lap("extract")
	likely := 0 // live sections
	for _, f := range files {
		likely += len(f.Sections) / 2 // of the others most are relocations
	}
	p.keepMemory(likely)
	opt, err := p.options()
	if err != nil {
		return nil, err
	}
	opt.Search = search
	link, err := merge.NewLink(files, opt)
	opt.Search = nil
	if err != nil {
		return unchanged(err.Error())
	}
	p.clock.lap("resolve")
	// Every symbol now stands for one definition.
	p.originals, p.linkOptions = files, opt
	p.linkOptions.Phase = nil // its phases are none of this link's
	if link, err = p.trim(link, opt); err != nil {
		return nil, err
	}
	// The link is now of the objects without what the trims cut.
	p.clock.lap("trim")
	p.debug = p.startJoining(link)
	plan, err := link.Make()
	if err != nil {
		return nil, err
	}
	p.clock.lap("plan")
	p.clock.note(p, plan)
	live := plan.Live()
	p.keepMemory(live)
	// Nothing below changes what was decided.
	args, err := p.rewrite(plan, dir)
	if err == errFileNames {
		return unchanged(err.Error())
	}
	if err != nil {
		return nil, err
	}
	p.clock.lap("write")
	p.out = &writer{} // all that was written is let go of
	p.keepMemory(live)
	if err := p.in.mapped.unchanged(); err != nil {
		return nil, err
	}
	args = append(append(args, p.linkerFlags()...), p.mapFlags(dir)...)
	finish := p.finishPlan(plan)
	plan.Forget()
	return &Prepared{Args: args, Finish: finish}, nil
}

// preparation is what the phases of Prepare share.
type preparation struct {
	cl     *CommandLine
	cfg    *Config
	kind   Kind
	clock  *timings
	script *script // nil without -T
	in     *inputs
	out    *writer
	// exports says which names the command line exports; nil for none.
	exports func(name string) bool
	// rewritten says which objects were changed; indexed in link order.
	rewritten []bool
	// originals are the objects as they were read; indexed in link order.
	originals   []*objfile.File
	linkOptions merge.Options
	trims       trims
	debug       *joining // nil if the linker joins debug information
}

// unsuited says why a link can't be made smaller, "" if it can.
func unsuited(cl *CommandLine) string {
	switch {
	case cl.Relocatable:
		return "a relocatable link (-r)"
	case cl.EmitRelocs:
		return "relocations are kept (--emit-relocs)"
	case len(cl.Wrap) > 0:
		return "symbols are replaced (--wrap)"
	case cl.AllowMultipleDefinition:
		return "symbols may be defined twice (--allow-multiple-definition)"
	case len(cl.ExcludeLibs) > 0:
		return "symbols are hidden by archive (--exclude-libs)"
	case cl.RetainSymbolsFile != "":
		return "symbols are named in a file (--retain-symbols-file)"
	}
	for _, a := range cl.Unknown {
		// It may bring in objects that are not to be seen from here. A specs
		// file is read as the libraries are that it adds: see options.
		if !strings.Contains(a, "-specs") {
			return "what " + a + " means for the link is not known"
		}
	}
	for _, a := range cl.Args {
		for _, option := range listsInputs {
			if strings.Contains(a+",", option) {
				return "a file lists or holds the inputs (-" + strings.TrimSuffix(option, ",") + ")"
			}
		}
	}
	for _, u := range cl.Undefined {
		if strings.ContainsAny(u, "*?[") {
			return "symbols are wanted by a pattern (--undefined-glob)"
		}
	}
	return ""
}

// listsInputs are options that have the linker write files that name its inputs
// or hold them. A link map is put right afterwards; these are left alone, for
// build systems and people look for their own files there.
var listsInputs = []string{"-dependency-file", "-reproduce", "-repro,", "-why-extract", "-why-live", "-print-archive-stats"}

// extract searches the archives as the real linker will. Where its way is
// not known, both ways must agree; agree is false if they don't.
func (p *preparation) extract() (search *merge.Search, agree bool, err error) {
	roots := append([]string{}, p.cl.Undefined...)
	if p.script != nil {
		roots = append(roots, p.script.roots...)
	}
	if p.cl.Entry != "" || p.kind != KindBFD {
		roots = append(roots, entrySymbol(p.cl)) // for shared objects, too
	}
	if p.cl.Style == StyleCC && !p.cl.Shared && !hasOption(p.cl, "-nostartfiles") && !hasOption(p.cl, "-nostdlib") {
		roots = append(roots, "main") // crt1.o's
	}
	inputs := p.in.resolverInputs()
	agree = true
	eager := p.kind != KindBFD && p.kind != KindGold
	if search, err = merge.Extract(inputs, roots, eager); err != nil {
		return nil, false, err
	}
	switch p.kind {
	case KindLLD:
	case KindMold, KindWild:
		// They take objects in the order of the command line.
		return search, search.Contested() == "", nil
	case KindBFD, KindGold:
		agree = search.Contested() == ""
	default:
		taken := search.Taken()
		if search, err = merge.Extract(inputs, roots, false); err != nil {
			return nil, false, err
		}
		agree = search.Taken() == taken && search.Contested() == ""
	}
	p.in.arrange()
	return search, agree, nil
}

func entrySymbol(cl *CommandLine) string {
	if cl.Entry != "" {
		return cl.Entry
	}
	return "_start"
}

// linkOrder lists the objects that take part, in the order of files.
func (in *inputs) linkOrder() []*objfile.File {
	var files []*objfile.File
	for i := range in.files {
		f := &in.files[i]
		if f.object != nil {
			files = append(files, f.object)
		}
		for _, m := range f.members {
			if o := m.File(); o != nil {
				files = append(files, o)
			}
		}
	}
	return files
}

// startNames are the names that C start files and linkers' default scripts
// refer to.
var startNames = [...]string{"main", "_start", "_init", "_fini", "__libc_csu_init", "__libc_csu_fini",
	"__dso_handle", "data_start", "__data_start", "__TMC_END__",
	"_ITM_registerTMCloneTable", "_ITM_deregisterTMCloneTable", "__gmon_start__"}

// phase is told of the end of each phase of merge.Plan's making.
func (p *preparation) phase(name string) {
	p.clock.lap(name)
}

// options says what the command line, the scripts and the config mean for
// folding.
func (p *preparation) options() (merge.Options, error) {
	cl := p.cl
	opt := merge.Options{
		Shared: cl.Shared, Wanted: p.in.wanted, Pinned: map[string]bool{}, PinAll: p.in.pinAll || cl.Plugin,
		Phase: p.phase, Strip: cl.stripsDebug(),
		KeepAll: !cl.GCSections, NoThunks: !p.cfg.Thunks, Keep: keepNames(p.cfg.Keep),
		Poison: os.Getenv(testPoison) != "",
	}
	switch p.cfg.Fold {
	case "safe":
		opt.Mode = merge.ModeSafe
	case "all":
		opt.Mode = merge.ModeAll
	}
	switch p.kind {
	case KindLLD, KindBFD, KindGold:
		opt.Exclude = merge.ExcludeSections
	case KindMold:
		opt.Exclude = merge.ExcludeDetached
	}
	opt.WholeStrings = p.kind == KindBFD || p.kind == KindGold
	var err error
	if opt.Exports, err = exports(cl); err != nil {
		return opt, err
	}
	p.exports = opt.Exports
	if inner := opt.Exports; cl.GCKeepExported {
		opt.Exports = func(string) bool { return true }
	} else if p.in.unknown || addsLibraries(cl) || len(cl.Unknown) > 0 {
		// A library that is not to be seen could want any name, but not one
		// that only rustc can make.
		opt.Exports = func(name string) bool {
			return inner != nil && inner(name) || !merge.IsRustName(name)
		}
	}
	for _, n := range startNames {
		opt.Wanted[n] = true
	}
	for _, n := range []string{entrySymbol(cl), cl.Init, cl.Fini} {
		opt.Wanted[n] = true
	}
	for _, list := range [][]string{cl.Undefined, cl.KeepUnique} {
		for _, n := range list {
			opt.Wanted[n] = true
		}
	}
	if inner := opt.Keep; len(cl.KeepUnique) > 0 {
		opt.Keep = func(name string) bool {
			return slices.Contains(cl.KeepUnique, name) || inner != nil && inner(name)
		}
	}
	delete(opt.Wanted, "")
	for _, d := range cl.Defsym {
		for _, w := range scriptWords(strings.NewReplacer("+", " ", "-", " ", "*", " ", "/", " ").Replace(d)) {
			opt.Pinned[w] = true
		}
	}
	if p.script != nil {
		for n := range p.script.names {
			opt.Pinned[n] = true
		}
		files, class := p.fileClasses(), p.script.class()
		opt.KeepSection, opt.Discards = p.script.keeps(), p.script.discards()
		opt.Class = func(object int, section string) string { return files[object] + class(section) }
	}
	return opt, nil
}

// addsLibraries reports whether the driver brings libraries of its own.
func addsLibraries(cl *CommandLine) bool {
	if cl.Style != StyleCC {
		return false
	}
	for _, a := range cl.Args {
		// Of instrumentation, with or without the default libraries.
		if strings.HasPrefix(a, "-fsanitize") || strings.HasPrefix(a, "-fprofile") || strings.HasPrefix(a, "-fxray") ||
			strings.HasSuffix(a, "-coverage") || strings.HasPrefix(a, "-fopenmp") {
			return true
		}
	}
	return !hasOption(cl, "-nodefaultlibs") && !hasOption(cl, "-nostdlib")
}

// keepNames matches mangled names against the globs of the config, which
// are of demangled names; nil without any.
func keepNames(patterns []string) func(string) bool {
	if len(patterns) == 0 {
		return nil
	}
	m := newMatcher(patterns)
	return func(name string) bool {
		plain := demangle.Filter(name, demangle.NoParams)
		// A name without its hash, as people know it.
		short := plain
		if k := strings.LastIndex(plain, "::h"); k >= 0 && len(plain)-k == 19 {
			short = plain[:k]
		}
		return m.match(name) || m.match(plain) || m.match(short)
	}
}
