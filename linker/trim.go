package linker

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"leanlink/linker/verify"
	"leanlink/merge"
	"leanlink/objfile"
)

// packFlag has a linker pack relative relocations (DT_RELR): lld 15, GNU ld
// 2.38 and mold 2.1 are the first that do it right.
const packFlag = "pack-relative-relocs"

// notePacked is the report's note of packed relocations.
const notePacked = "relocations = packed"

// trims is what the config's trims come to in one link.
type trims struct {
	cut  merge.Trim
	pack bool
	// cuts says what was cut from which object, nil without any; indexed in
	// link order.
	cuts  [][]merge.Cut
	notes []string // for the report: what was done, or why nothing was
}

// decideTrims settles which trims apply to this link. The error, a *Refusal,
// says which one asks for what can't be had.
func (p *preparation) decideTrims(real *Linker, env *Environment) error {
	if !p.cfg.Trims() {
		return nil
	}
	if why := notFinal(p.cl, env); why != "" {
		p.trims.notes = append(p.trims.notes, "none: "+why)
		return nil
	}
	if p.cfg.TrimRelocations == "packed" {
		if p.kind == KindGold {
			return p.refuseTrim("trim.relocations", "packed", "gold has no packed relocations (-z "+packFlag+"): use lld, GNU ld from 2.38 or mold")
		}
		if p.kind == KindMold {
			if version, tooOld := moldVersion(p.cl, real); tooOld {
				return p.refuseTrim("trim.relocations", "packed", version+" makes packed relocations that glibc refuses to load: use mold from 2.1")
			}
		}
		p.trims.pack = true
		p.note(notePacked)
	}
	if p.cfg.TrimPanic == "location" && p.cfg.Fold == "off" {
		return p.refuseTrim("trim.panic", "location", "Locations become one by folding, and fold is off")
	}
	p.trims.cut = merge.Trim{
		Trap:     p.cfg.TrimPanic == "trap",
		Messages: p.cfg.TrimPanic == "message",
		// It is by folding that they become one.
		Locations:  (p.cfg.TrimPanic == "location" || p.cfg.TrimPanic == "trap") && p.cfg.Fold != "off",
		Symbolizer: p.cfg.TrimBacktrace == "addresses",
		Frames:     p.cfg.TrimUnwindTables == "drop",
		Calls:      p.cfg.TrimUnwindTables == "calls",
		Align:      p.cfg.TrimAlign == "size",
	}
	return nil
}

// trim makes the trims and returns the link of what is left.
func (p *preparation) trim(link *merge.Link, opt merge.Options) (*merge.Link, error) {
	if !p.trims.cut.Any() {
		return link, nil
	}
	t, err := link.Trim(p.trims.cut)
	if err != nil {
		return nil, p.refuseCut(err)
	}
	if p.trims.cut.Trap {
		p.note("panic = trap: %d functions, %d operands, %d functions with dead ends (%d bytes)", t.Traps, t.Operands, t.DeadEnds, t.DeadBytes)
	}
	if p.trims.cut.Messages {
		p.note("panic = message: %d functions, %d operands", t.Messages, t.Operands)
	}
	if p.trims.cut.Locations {
		p.note("panic locations: %d made one", t.Locations)
	}
	if p.trims.cut.Symbolizer {
		p.note("backtrace = addresses: %d functions", t.Symbolizers)
	}
	if p.trims.cut.Frames {
		p.note("unwind-tables = drop: %d bytes", t.Frames)
	}
	if p.trims.cut.Calls {
		p.note("unwind-tables = calls: %d bytes fewer", t.Frames)
	}
	if p.trims.cut.Align {
		p.note("align = size: %d functions", t.Aligned)
	}
	var said []string
	for _, key := range slices.Sorted(maps.Keys(t.Missing)) {
		said = append(said, fmt.Sprintf("%s: the trim found nothing to do: %s", key, strings.Join(t.Missing[key], ", ")))
	}
	if len(said) > 0 {
		p.trims.notes = append(p.trims.notes, said...)
		fmt.Fprintln(os.Stderr, strings.Join(said, "; ")) // the worker's warning, which is one line
	}
	p.in.replace(t.Files)
	p.trims.cuts = t.Cuts
	return merge.NewLink(t.Files, opt)
}

// refuseCut says which key asks for a cut that can't be made.
func (p *preparation) refuseCut(err error) error {
	var no *merge.TrimError
	if !errors.As(err, &no) {
		return err
	}
	value := map[string]string{"trim.panic": p.cfg.TrimPanic, "trim.unwind-tables": p.cfg.TrimUnwindTables}[no.Key]
	return p.refuseTrim(no.Key, value, no.Why)
}

// replace puts trimmed objects, in link order, in the places of those read.
func (in *inputs) replace(files []*objfile.File) {
	n := 0
	for i := range in.files {
		f := &in.files[i]
		if f.object != nil {
			f.object = files[n]
			n++
		}
		for _, m := range f.members {
			if m.File() != nil {
				m.Replace(files[n])
				n++
			}
		}
	}
}

// cutFrom reports whether anything was cut from an object, by its place in link
// order.
func (t *trims) cutFrom(object int) bool { return t.cuts != nil && t.cuts[object] != nil }

// moldVersion asks which mold links, and whether it is one that leaves out the
// version (GLIBC_ABI_DT_RELR) by which glibc recognises packed relocations. A
// mold that does not answer is taken for a new one.
func moldVersion(cl *CommandLine, real *Linker) (version string, tooOld bool) {
	args := []string{"--version"}
	if real.Takes == TakesDriver {
		args = []string{"-Wl,--version"}
		for _, a := range cl.Args {
			if strings.HasPrefix(a, "-fuse-ld=") || strings.HasPrefix(a, "-B") {
				args = append(args, a)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, real.Path, args...).Output()
	return parseMoldVersion(string(out))
}

func parseMoldVersion(text string) (version string, tooOld bool) {
	var major, minor int
	i := strings.Index(text, "mold ")
	if i < 0 {
		return "mold", false
	}
	if n, _ := fmt.Sscanf(text[i:], "mold %d.%d", &major, &minor); n < 2 {
		return "mold", false
	}
	return fmt.Sprintf("mold %d.%d", major, minor), major < 2 || major == 2 && minor < 1
}

// notFinal says why an output is none that is shipped, "" if it may be.
func notFinal(cl *CommandLine, env *Environment) string {
	switch {
	case isBuildScript(env):
		return "a build script"
	case isProcMacro(cl):
		return "a proc-macro"
	}
	for i := range cl.Inputs {
		// rustc --test is the only thing that brings this crate in.
		if base := filepath.Base(cl.Inputs[i].Path); strings.HasPrefix(base, "libtest-") && strings.HasSuffix(base, ".rlib") {
			return "a test harness"
		}
	}
	return ""
}

// refuseTrim is the error of a trim that can't be had in this link.
func (p *preparation) refuseTrim(key, value, why string) error {
	return &Refusal{Reason: fmt.Sprintf("%s: %s = %q: %s", p.cfg.Source(key), key, value, why)}
}

func (p *preparation) note(format string, args ...any) {
	p.trims.notes = append(p.trims.notes, fmt.Sprintf(format, args...))
}

// linkerFlags are the arguments that the trims add for the real linker.
func (p *preparation) linkerFlags() []string {
	switch {
	case !p.trims.pack:
		return nil
	case p.cl.Style == StyleCC:
		return []string{"-Wl,-z," + packFlag}
	}
	return []string{"-z", packFlag}
}

// unpacked says that an output that was to have packed relocations has none
// but has others that could be packed: the linker is too old for the flag,
// which most then ignore. "" if all is well.
func unpacked(output string) string {
	f, err := elf.Open(output)
	if err != nil {
		return ""
	}
	defer f.Close()
	packed, _ := f.DynValue(dtRelr)
	relative := uint64(0)
	for _, tag := range []elf.DynTag{elf.DT_RELACOUNT, elf.DT_RELCOUNT} {
		if v, err := f.DynValue(tag); err == nil && len(v) > 0 {
			relative += v[0]
		}
	}
	if len(packed) > 0 || relative < 2 {
		return ""
	}
	return fmt.Sprintf("trim.relocations = \"packed\": the real linker does not know -z %s for this machine; %d relative relocations are as they were", packFlag, relative)
}

// dtRelr is DT_RELR of the generic ABI, which debug/elf does not name.
const dtRelr elf.DynTag = 36

// verifyCuts are the names that the check has for cuts; indexed by merge.Cut.
var verifyCuts = [...]verify.CutKind{merge.CutNone: verify.CutNone, merge.CutTrap: verify.CutTrap, merge.CutLocation: verify.CutLocation,
	merge.CutReturn: verify.CutReturn, merge.CutFrames: verify.CutFrames, merge.CutRows: verify.CutRows,
	merge.CutOperands: verify.CutOperands, merge.CutMessage: verify.CutMessage, merge.CutHandOn: verify.CutHandOn,
	merge.CutEnds: verify.CutEnds, merge.CutTable: verify.CutTable}

// verifyCut is the name that the check has for a cut.
func verifyCut(c merge.Cut) verify.CutKind {
	kind := verifyCuts[c&^merge.CutAligned]
	if c&merge.CutAligned != 0 {
		kind |= verify.CutAligned
	}
	return kind
}
