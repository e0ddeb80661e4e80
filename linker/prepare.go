package linker

import (
	"errors"
	"fmt"

	"leanlink/merge"
	"leanlink/objfile"
)

// Prepared is what the worker hands back for the real linker.
type Prepared struct {
	Args []string // the new arguments, without argv[0]
	// Unchanged says why the link is left as it is, "" where it is not:
	// Args are then the original ones.
	Unchanged string
}

// Prepare reads the link's inputs, decides what it can do without and
// writes changed objects into dir. The inputs are never changed.
func Prepare(cl *CommandLine, cfg *Config, dir string) (*Prepared, error) {
	if reason := unsuited(cl); reason != "" {
		return &Prepared{Args: cl.Args, Unchanged: reason}, nil
	}
	in, err := readInputs(cl)
	if err != nil {
		return nil, err
	}
	// Each input is now open and its format known; archives are not yet
	// searched.
	if err := extract(cl, in); err != nil {
		return nil, err
	}
	files := in.linkOrder()
	if len(files) == 0 {
		return &Prepared{Args: cl.Args, Unchanged: "no objects among the inputs"}, nil
	}
	link, err := merge.NewLink(files, mergeOptions(cl, cfg, in))
	if err != nil {
		return nil, err
	}
	// Every symbol now stands for one definition.
	plan, err := link.Make()
	if err != nil {
		return nil, err
	}
	// Nothing below changes what was decided.
	args, err := rewrite(cl, in, plan, dir)
	if err != nil {
		return nil, err
	}
	return &Prepared{Args: args}, nil
}

// unsuited says why a link can't be made smaller, "" if it can.
func unsuited(cl *CommandLine) string {
	switch {
	case cl.Relocatable:
		return "a relocatable link (-r)"
	case cl.EmitRelocs:
		return "relocations are kept (--emit-relocs)"
	case !cl.GCSections:
		return "the linker was not asked to drop what nothing reaches (--gc-sections)"
	case len(cl.Wrap) > 0:
		return "symbols are replaced (--wrap)"
	}
	return ""
}

// extract searches the archives as the real linker will. Where its way is
// not known, both ways must agree.
func extract(cl *CommandLine, in *inputs) error {
	roots := append([]string{}, cl.Undefined...)
	if cl.Style == StyleCC && cl.Entry == "" {
		roots = append(roots, "main")
	} else {
		roots = append(roots, entrySymbol(cl))
	}
	return merge.Extract(in.resolverInputs(), roots, true)
}

func entrySymbol(cl *CommandLine) string {
	if cl.Entry != "" {
		return cl.Entry
	}
	return "_start"
}

// linkOrder lists the objects that take part, in command line order.
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
	"__dso_handle", "data_start", "__data_start", "_DYNAMIC", "_GLOBAL_OFFSET_TABLE_", "__TMC_END__",
	"_ITM_registerTMCloneTable", "_ITM_deregisterTMCloneTable", "__gmon_start__", "__preinit_array_start"}

// mergeOptions says what the command line and the config mean for folding.
func mergeOptions(cl *CommandLine, cfg *Config, in *inputs) merge.Options {
	opt := merge.Options{Shared: cl.Shared, Wanted: in.wanted, Pinned: map[string]bool{}, PinAll: in.pinAll}
	switch cfg.Fold {
	case "safe":
		opt.Mode = merge.ModeSafe
	case "all":
		opt.Mode = merge.ModeAll
	}
	opt.ExportAll = cl.ExportDynamic || cl.Shared || len(cl.DynamicLists) > 0
	for _, n := range startNames {
		opt.Wanted[n] = true
	}
	for _, n := range append([]string{entrySymbol(cl), cl.Init, cl.Fini}, cl.Undefined...) {
		if n != "" {
			opt.Wanted[n] = true
		}
	}
	return opt
}

var errNoObjects = errors.New("no objects")

func init() { _ = fmt.Sprint }
