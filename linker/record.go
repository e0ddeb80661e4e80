package linker

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sort"
	"strings"

	"leanlink/linker/verify"
	"leanlink/merge"
	"leanlink/objfile"
	"leanlink/report"
)

// paths shortens what a report says of files.
func (p *preparation) paths() report.Paths {
	return report.NewPaths(p.cl.Dir, p.cl.Output, p.cl.Args, os.Getenv)
}

// newReport begins a report with what is known of the link as a whole.
func (p *preparation) newReport() *report.Report {
	r := &report.Report{
		Tool:  "leanlink " + Version,
		Stamp: p.cfg.Stamp(),
		Modes: report.Modes{
			Fold: p.cfg.Fold, GC: p.cl.GCSections, Linker: p.kind.String(), Style: p.cl.Style.String(),
			Triple: p.cfg.Triple, Profile: p.cfg.Profile, Package: packageName(), Keep: p.cfg.Keep, Trims: p.trims.notes,
		},
	}
	paths := p.paths()
	for _, a := range p.cl.Args {
		r.Command = append(r.Command, paths.ShortenArg(a))
	}
	return r
}

// record writes down what a plan does, in the form of a report without its
// sections.
func (p *preparation) record(plan *merge.Plan) *report.Report {
	l := plan.Link
	paths := p.paths()
	r := p.newReport()
	r.Modes.Machine = l.Arch.Name
	r.Modes.Could = p.couldSave(plan)
	rewritten := p.rewritten
	object := 0
	add := func(f *inputFile, member string, file *objfile.File) {
		in := report.Input{Path: paths.Shorten(f.input.Path), Member: member, Crate: report.FileCrate(f.input.Path, member), Size: uint64(len(file.Data))}
		switch o := l.Objects[object]; {
		case o.Reason != "":
			in.Fate, in.Reason = report.InputAlone, o.Reason
		case rewritten[object]:
			in.Fate = report.InputRewritten
		}
		object++
		r.Inputs = append(r.Inputs, in)
	}
	var alone []report.Input
	for i := range p.in.files {
		f := &p.in.files[i]
		switch {
		case f.object != nil:
			add(f, "", f.object)
		case f.archive != nil:
			for _, m := range f.members {
				if file := m.File(); file != nil {
					add(f, m.Name, file)
				}
			}
		default:
			reason := f.reason
			if f.shared != nil {
				reason = "shared object"
			}
			name := f.input.Path
			if name == "" {
				name = "-l" + f.input.Library
			}
			alone = append(alone, report.Input{Path: paths.Shorten(name), Fate: report.InputAlone, Reason: reason})
		}
	}
	r.Inputs = append(r.Inputs, alone...)
	return r
}

// fewTargets are so few that sorting is not worth a call.
const fewTargets = 16

// recorder gives a report the sections of a link.
type recorder struct {
	p    *preparation
	plan *merge.Plan
	// ids are the sections with a fate, by SectionIndex; live is the inverse of
	// those that were not dropped, by SecID, report.None for the others.
	ids    []merge.SecID
	live   []report.SectionIndex
	shapes []uint32 // as ids

	object *merge.Object // that was last entered; see enter
	first  report.SectionIndex
	// Of the object's sections, from first on.
	kinds   []report.Kind
	symbols [][]report.Symbol
	names   []report.Symbol // those of all of them

	last  report.SectionIndex // the section that was last asked for
	table merge.SecID         // its landing-pad table
	refs  []merge.SecID       // of the one whose targets were last asked for
}

func newRecorder(p *preparation, plan *merge.Plan) *recorder {
	n := 0
	for _, f := range plan.Fate {
		if f != merge.FateNone {
			n++
		}
	}
	d := &recorder{p: p, plan: plan, ids: make([]merge.SecID, 0, n), live: make([]report.SectionIndex, len(plan.Fate))}
	for id, f := range plan.Fate {
		d.live[id] = report.None
		if f == merge.FateNone {
			continue
		}
		if f != merge.FateDropped {
			d.live[id] = report.SectionIndex(len(d.ids))
		}
		d.ids = append(d.ids, merge.SecID(id))
	}
	d.shapes = plan.Shapes(d.ids)
	return d
}

func (d *recorder) rows() report.Rows {
	return report.Rows{Len: len(d.ids), Section: d.section, Targets: d.targets}
}

// roots lists what is alive by itself.
func (d *recorder) roots() (roots []report.Root) {
	for k, id := range d.ids {
		if d.plan.Fate[id] != merge.FateDropped {
			if why := d.plan.Link.RootReason(id); why != "" {
				roots = append(roots, report.Root{Section: report.SectionIndex(k), Why: why})
			}
		}
	}
	return roots
}

// section sets s to an allocated section and what became of it.
func (d *recorder) section(k report.SectionIndex, s *report.Section) {
	if k%manyLive == manyLive-1 && len(d.ids) > 10*manyLive { // here memory is shortest
		d.p.in.mapped.letGo()
	}
	id, plan, l := d.ids[k], d.plan, d.plan.Link
	o, i := l.Of(id)
	if o != d.object {
		d.enter(k, o)
	}
	h := &o.File.Sections[i]
	*s = report.Section{
		Input: report.InputIndex(l.ObjectIndex(id)), Index: i, Name: h.Name, Size: h.Size, Align: h.Align,
		Kind: d.kinds[k-d.first], Into: report.None, FDE: o.FrameBytes(i), Class: uint32(plan.Class[id] + 1), Shape: d.shapes[k], Symbols: d.symbols[k-d.first],
	}
	if s.Kind == report.KindUnwind {
		s.Size = o.CommonFrameBytes(i)
	}
	d.last, d.table = k, merge.NoSec
	if s.FDE > 0 {
		if d.table = l.ExceptionTable(id); d.table != merge.NoSec {
			s.LSDA = l.Section(d.table).Size
		}
	}
	switch plan.Fate[id] {
	case merge.FateKept:
		s.Fate = report.FateKept
		if why := plan.Reason[id]; why != merge.Eligible {
			s.Fate, s.Reason = report.FateIneligible, report.Reason(why.String())
		} else if d.p.cfg.Fold == "off" {
			s.Fate, s.Reason = report.FateIneligible, report.ReasonFoldOff
		}
	case merge.FateFolded:
		s.Fate, s.Into = report.FateFolded, d.live[plan.Leader[id]]
	case merge.FateThunk:
		s.Fate, s.Into = report.FateThunk, d.live[plan.Leader[id]]
		s.NewSize, s.NewFDE = uint64(len(plan.Thunks[id].Code)), s.FDE
	case merge.FateDropped:
		s.Fate, s.Reason = report.FateDropped, report.ReasonUnreached
		switch {
		case o.Discarded(i):
			s.Reason = report.ReasonComdat
		case h.Flags&objfile.SHF_EXCLUDE != 0:
			s.Reason = report.ReasonExcluded
		}
	}
}

// enter looks at the names of an object's sections, of which k is the first, and
// at their symbols: those lie anywhere in the file, and so the processor waits
// for many of them at once.
func (d *recorder) enter(k report.SectionIndex, o *merge.Object) {
	d.object, d.first = o, k
	d.kinds, d.symbols, d.names = d.kinds[:0], d.symbols[:0], d.names[:0]
	ids := d.ids[k:]
	for n, id := range ids {
		if id-o.Base >= merge.SecID(len(o.File.Sections)) {
			ids = ids[:n]
			break
		}
		d.kinds = append(d.kinds, sectionKind(&o.File.Sections[id-o.Base]))
	}
	for _, id := range ids {
		d.symbols = append(d.symbols, d.symbolsOf(o, uint32(id-o.Base)))
	}
}

// symbolsOf lists the symbols of a section, by their offsets.
func (d *recorder) symbolsOf(o *merge.Object, i uint32) []report.Symbol {
	from := len(d.names)
	for _, k := range o.Symbols(i) {
		sym := o.File.Symbol(k)
		if name := o.File.NameWithin(&sym, o.File.Sections[i].Name); name != "" && sym.Type != objfile.STT_FILE && name[0] != '$' && !strings.HasPrefix(name, ".L") {
			d.names = append(d.names, report.Symbol{Name: name, Offset: sym.Value, Size: sym.Size})
		}
	}
	list := d.names[from:len(d.names):len(d.names)]
	if len(list) > 1 {
		slices.SortStableFunc(list, func(a, b report.Symbol) int { return cmp.Compare(a.Offset, b.Offset) })
	}
	return list
}

// targets appends the live sections that a live section refers to.
func (d *recorder) targets(k report.SectionIndex, to []report.SectionIndex) []report.SectionIndex {
	id := d.ids[k]
	if d.plan.Fate[id] == merge.FateDropped {
		return to
	}
	d.refs = d.plan.Link.AppendReferences(d.refs[:0], id)
	table := d.table
	if d.last != k {
		table = d.plan.Link.ExceptionTable(id)
	}
	if table != merge.NoSec {
		d.refs = append(d.refs, table)
	}
	from := len(to)
	for _, t := range d.refs {
		x := d.live[t]
		if x == report.None {
			continue
		}
		at := len(to)
		if at-from < fewTargets { // as most have: they are sorted as they come
			for at > from && to[at-1] > x {
				at--
			}
		}
		if at > from && to[at-1] == x {
			continue
		}
		to = append(to, x)
		copy(to[at+1:], to[at:])
		to[at] = x
	}
	if len(to)-from < fewTargets {
		return to
	}
	slices.Sort(to[from:])
	return to[:from+len(slices.Compact(to[from:]))]
}

// outputSize guesses how many bytes the output will have: at least what is
// loaded, the names, those of marks among them, and debug information if the
// link leaves it in.
func (p *preparation) outputSize(l *merge.Link, sums *report.Sums, marks int) (size uint64) {
	const (
		symbol   = 24 // an entry of the symbol table
		nul      = 1  // behind each name
		mark     = 15 // the name of a mark, of five digits
		hdrEntry = 8  // of .eh_frame_hdr, for each function
		perWord  = 3  // a relative relocation has three words
	)
	size = sums.After.InFile() + hdrEntry*sums.Framed
	if p.cl.PIE || p.cl.Shared {
		size += perWord * sums.After[report.KindRelro]
	}
	if !p.cl.StripAll { // what folds leaves its names to its leader
		size += sums.NameBytes + (symbol+nul)*sums.Symbols + (symbol+mark)*uint64(marks)
	}
	if p.cl.stripsDebug() {
		return size
	}
	for _, o := range l.Objects {
		for i := range o.File.Sections {
			if s := &o.File.Sections[i]; s.Type == objfile.SHT_PROGBITS && s.Flags&(objfile.SHF_ALLOC|objfile.SHF_EXCLUDE) == 0 {
				size += s.Size
			}
		}
	}
	return size
}

// sectionKind says what a section holds, by its type, flags and name.
func sectionKind(s *objfile.Section) report.Kind {
	switch {
	case s.Flags&(objfile.SHF_EXECINSTR|objfile.SHF_TLS) == objfile.SHF_EXECINSTR && strings.HasPrefix(s.Name, ".text"): // most are
		return report.KindCode
	case s.Type == objfile.SHT_PROGBITS && s.Flags&(objfile.SHF_EXECINSTR|objfile.SHF_TLS|objfile.SHF_WRITE) == 0 && strings.HasPrefix(s.Name, ".rodata"): // of the others most
		return report.KindRodata
	case s.Name == ".eh_frame" || strings.HasPrefix(s.Name, ".ARM.exidx"):
		return report.KindUnwind
	case strings.HasPrefix(s.Name, ".gcc_except_table") || strings.HasPrefix(s.Name, ".ARM.extab"):
		return report.KindLSDA
	case s.Type == objfile.SHT_INIT_ARRAY || s.Type == objfile.SHT_FINI_ARRAY || s.Type == objfile.SHT_PREINIT,
		s.Name == ".init" || s.Name == ".fini" || strings.HasPrefix(s.Name, ".ctors") || strings.HasPrefix(s.Name, ".dtors"):
		return report.KindInit
	case s.Type == objfile.SHT_NOTE:
		return report.KindNote
	case s.Flags&objfile.SHF_TLS != 0 && s.Type == objfile.SHT_NOBITS:
		return report.KindTBSS
	case s.Flags&objfile.SHF_TLS != 0:
		return report.KindTLS
	case s.Type == objfile.SHT_NOBITS:
		return report.KindBSS
	case s.Flags&objfile.SHF_EXECINSTR != 0:
		return report.KindCode
	case strings.HasPrefix(s.Name, ".data.rel.ro"):
		return report.KindRelro
	case s.Flags&objfile.SHF_WRITE != 0:
		return report.KindData
	case s.Type == objfile.SHT_PROGBITS:
		return report.KindRodata
	}
	return report.KindOther
}

// packageName is what Cargo calls the package that is being linked.
func packageName() string {
	if n := os.Getenv("CARGO_PKG_NAME"); n != "" {
		return n
	}
	return os.Getenv("CARGO_CRATE_NAME")
}

// stampless are the keys that change nothing of what is linked, or that say
// where something lies on this machine.
var stampless = []string{"debug-info", "host", "real-linker", "report", "verify", "save", "budget"}

// Stamp tells configs apart: a report with another stamp is of another
// config, or of another version of leanlink.
func (cfg *Config) Stamp() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", Version)
	for i := range Keys {
		if k := &Keys[i]; !slices.Contains(stampless, k.Name) {
			fmt.Fprintf(h, "%s = %#v\n", k.Name, reflect.ValueOf(k.field(cfg)).Elem().Interface())
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// claim says what a plan does, for the check that believes none of it.
func (p *preparation) claim(plan *merge.Plan) *verify.Claim {
	l := plan.Link
	c := &verify.Claim{
		Output: resolve(p.cl.Dir, p.cl.Output), Linker: p.kind.String(), GC: p.cl.GCSections, Shared: p.cl.Shared,
		Mode: p.cfg.Fold, LinkerFolds: p.cl.ICF != "" && p.cl.ICF != "none",
	}
	if p.kind == KindUnknown {
		c.Linker = ""
	}
	for _, n := range l.Exports() {
		if p.cl.Shared && p.exports != nil && p.exports(n) && !strings.Contains(n, "@") {
			c.Exports = append(c.Exports, n)
		}
	}
	for _, d := range p.cl.Defsym {
		name, _, _ := strings.Cut(d, "=")
		c.Provided = append(c.Provided, name)
	}
	if p.script != nil {
		for n := range p.script.names {
			c.Provided = append(c.Provided, n)
		}
		sort.Strings(c.Provided)
	}
	for _, o := range l.Objects {
		v := verify.Object{Name: o.File.Name, Data: o.File.Data, Opaque: o.Reason != "", Fates: make([]verify.Fate, len(o.File.Sections))}
		for i := range v.Fates {
			if v.Opaque {
				break // nothing was done to it, and nothing is claimed of it
			}
			id := o.Base + merge.SecID(i)
			f := &v.Fates[i]
			switch plan.Fate[id] {
			case merge.FateKept:
				f.Kind = verify.Kept
			case merge.FateFolded:
				f.Kind = verify.Folded
			case merge.FateThunk:
				f.Kind = verify.Thunk
			case merge.FateDropped:
				f.Kind = verify.Dropped
			}
			if lead := plan.Leader[id]; lead != merge.NoSec {
				lo, li := l.Of(lead)
				f.Object, f.Section = uint32(l.ObjectIndex(lo.Base)), li
			}
		}
		if n := len(c.Objects); p.trims.cutFrom(n) {
			v.Untrimmed = p.originals[n].Data
			for _, k := range p.trims.cuts[n] {
				v.Cuts = append(v.Cuts, verifyCut(k))
			}
		}
		c.Objects = append(c.Objects, v)
	}
	return c
}
