package linker

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"leanlink/linker/debuginfo"
	"leanlink/merge"
	"leanlink/objfile"
)

// joining is the debug information that leanlink joins in the linker's place:
// see package debuginfo. What does not depend on what is decided is done on
// another processor while that is being decided, and the rest when the output is
// there. A nil joining is that of a link whose debug information the linker joins.
type joining struct {
	join    *debuginfo.Join // valid when scanned
	inputs  *mappings       // what is joined
	output  string
	how     debuginfo.Manner
	scanned chan error    // why the linker should join it, nil for nothing
	merged  chan struct{} // closed when what does not depend on the plan is done
	err     error         // valid when merged
}

// newReader makes what reads the objects' debug information as they come into
// the link; nil if the linker is to join it, or if what takes part in the link
// are not the objects themselves.
func (p *preparation) newReader() *debuginfo.Reader {
	if p.cfg.Trims() || runtime.GOMAXPROCS(0) == 1 || p.keepsDebug() != "" {
		return nil
	}
	return debuginfo.NewReader()
}

// startJoining begins to join a link's debug information, if it can be done
// here.
func (p *preparation) startJoining(link *merge.Link) *joining {
	reader := p.in.debug
	if reader == nil {
		if p.keepsDebug() != "" {
			return nil
		}
		reader = debuginfo.NewReader()
	}
	files := make([]*objfile.File, len(link.Objects))
	for i, o := range link.Objects {
		files[i] = o.File
	}
	d := &joining{inputs: &p.in.mapped, output: resolve(p.cl.Dir, p.cl.Output), scanned: make(chan error, 1), merged: make(chan struct{})}
	d.how = debuginfo.Manner{Rehash: p.cl.hashesOutput(), LeavesOut: p.kind == KindBFD && p.cl.GCSections}
	go func() {
		defer close(d.merged)
		d.join, d.err = reader.Join(files, p.in.mapped.letGoOf)
		if d.err == nil && (d.join == nil || p.script != nil && p.script.places(d.join.Names())) {
			d.err = errors.New("there is none, or a script says where it goes")
		}
		if d.scanned <- d.err; d.err == nil {
			d.err = d.join.Merge()
		}
	}()
	return d
}

// keepsDebug says why the linker is to join the debug information itself, ""
// if it need not.
func (p *preparation) keepsDebug() string {
	cl := p.cl
	switch {
	case cl.stripsDebug():
		return "it leaves it out"
	case p.cfg.DebugInfo == "link":
		return "the config says so"
	case p.kind != KindLLD && p.kind != KindBFD && p.kind != KindGold && p.kind != KindMold:
		return "what it makes of addresses of what is not in the output is not known"
	case cl.ICF != "" && cl.ICF != "none":
		return "what folds is known to it alone"
	case cl.Map != "" || cl.PrintMap:
		return "it is asked what lies where"
	}
	if info, err := os.Stat(resolve(cl.Dir, cl.Output)); err == nil && !info.Mode().IsRegular() {
		return "the output is no file"
	}
	for _, a := range cl.Args {
		if strings.HasPrefix(a, "-gz") {
			return "it is to compress it"
		}
		for word := range strings.SplitSeq(a, ",") { // of -Wl,…
			if name, _, _ := strings.Cut(word, "="); strings.HasPrefix(name, "-") && !hasPath(name) && concernsDebug(name) {
				return "it is told something about it: " + a
			}
		}
	}
	if z := slices.IndexFunc(cl.Z, concernsDebug); z >= 0 {
		return "it is told something about it: -z " + cl.Z[z]
	}
	return ""
}

// hasPath reports whether an option ends in a path or a name, which may be any.
func hasPath(option string) bool {
	return strings.ContainsAny(option, "/") || len(option) > 1 && strings.IndexByte("LBlIo", option[1]) >= 0 && option != "-oformat"
}

func concernsDebug(option string) bool {
	return slices.ContainsFunc(aboutDebug, func(part string) bool { return strings.Contains(option, part) })
}

// aboutDebug are parts of options that say what is to become of debug
// information or of sections that nobody expects, or that the output is to have
// no sections.
var aboutDebug = []string{"debug", "gdb-index", "orphan-handling", "dead-reloc", "unique", "print-gc", "section-start", "section-ordering",
	"compress-sections", "oformat", "nosectionheader"}

// hashesOutput reports whether a build ID of the output would be a hash of it.
func (cl *CommandLine) hashesOutput() bool {
	hashes := true
	for _, a := range cl.Args {
		if _, id, ok := strings.Cut(a, "-build-id="); ok {
			id, _, _ = strings.Cut(id, ",")
			hashes = id != "uuid" && !strings.HasPrefix(id, "0x")
		}
	}
	return hashes
}

// places reports whether a script says something of sections of some names.
func (s *script) places(names []string) bool {
	any := newMatcher(s.patterns)
	for _, n := range names {
		if any.match(n) {
			return true
		}
	}
	return false
}

// wait waits until it is known whether the debug information can be joined
// here; it is nil if not.
func (d *joining) wait() *joining {
	if d == nil || <-d.scanned != nil {
		return nil
	}
	return d
}

// abandon waits until nothing of the inputs is looked at any more.
func (d *joining) abandon() {
	if d != nil {
		<-d.merged
	}
}

// edits reports whether an object has debug information that is taken out of it.
func (d *joining) edits(k int) bool { return d != nil && d.join.Has(k) }

// edit takes the debug information out of an object, if it has any. The edit is
// that of a plan that is Bare, nil for none.
func (d *joining) edit(plan *merge.Plan, k int, e *objfile.Edit, scratch *objfile.Scratch) (*objfile.Edit, error) {
	if !d.edits(k) {
		return e, nil
	}
	o := plan.Link.Objects[k]
	if e == nil {
		e = scratch.NewEdit(o.File)
	}
	return e, d.join.Edit(k, e, func(symbol, section uint32) bool {
		if plan.Fate[o.Base+merge.SecID(section)] == merge.FateThunk {
			return true // its debug information is that of a body which is gone
		}
		return symbol < o.File.FirstGlobal && e.Excludes(section) // a name could be another's
	})
}

// finish puts the debug information into the output.
func (d *joining) finish() error {
	if <-d.merged; d.err != nil {
		return d.err
	}
	if err := d.join.Finish(d.output, d.how); err != nil {
		return fmt.Errorf("debug information: %w", err)
	}
	return d.inputs.unchanged() // until now
}
