package linker

import (
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

// record writes down what a plan does, in the form of a report.
func (p *preparation) record(plan *merge.Plan) *report.Report {
	l := plan.Link
	paths := p.paths()
	r := p.newReport()
	r.Modes.Machine = l.Arch.Name
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
	p.recordSections(r, plan)
	return r
}

// recordSections lists the allocated sections with their fates, and the
// references between the live ones.
func (p *preparation) recordSections(r *report.Report, plan *merge.Plan) {
	l := plan.Link
	index := make([]report.SectionIndex, l.Sections()) // by SecID
	var ids []merge.SecID                              // by SectionIndex
	for id := range index {
		index[id] = report.None
		if plan.Fate[id] != merge.FateNone {
			index[id] = report.SectionIndex(len(ids))
			ids = append(ids, merge.SecID(id))
		}
	}
	r.Sections = make([]report.Section, 0, len(ids))
	for _, id := range ids {
		o, i := l.Of(id)
		h := &o.File.Sections[i]
		s := report.Section{
			Input: report.InputIndex(l.ObjectIndex(id)), Index: i, Name: h.Name, Size: h.Size, Align: h.Align,
			Kind: sectionKind(h), Into: report.None, FDE: o.FrameBytes(i), Class: uint32(plan.Class[id] + 1), Shape: plan.Shape(id),
		}
		if s.Kind == report.KindUnwind {
			s.Size = o.CommonFrameBytes(i)
		}
		symbols := o.Symbols(i)
		if len(symbols) > 0 {
			s.Symbols = make([]report.Symbol, 0, len(symbols))
		}
		for _, k := range symbols {
			sym := o.File.Symbol(k)
			if name := o.File.NameOf(&sym); name != "" && sym.Type != objfile.STT_FILE && name[0] != '$' && !strings.HasPrefix(name, ".L") {
				s.Symbols = append(s.Symbols, report.Symbol{Name: name, Offset: sym.Value, Size: sym.Size})
			}
		}
		if len(s.Symbols) > 1 {
			sort.SliceStable(s.Symbols, func(a, b int) bool { return s.Symbols[a].Offset < s.Symbols[b].Offset })
		}
		if t := l.ExceptionTable(id); t != merge.NoSec {
			s.LSDA = l.Section(t).Size
		}
		switch plan.Fate[id] {
		case merge.FateKept:
			s.Fate = report.FateKept
			if why := plan.Reason[id]; why != merge.Eligible {
				s.Fate, s.Reason = report.FateIneligible, report.Reason(why.String())
			} else if p.cfg.Fold == "off" {
				s.Fate, s.Reason = report.FateIneligible, report.ReasonFoldOff
			}
		case merge.FateFolded:
			s.Fate, s.Into = report.FateFolded, index[plan.Leader[id]]
		case merge.FateThunk:
			s.Fate, s.Into = report.FateThunk, index[plan.Leader[id]]
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
		r.Sections = append(r.Sections, s)
	}
	r.Edges.Start = make([]uint32, len(ids)+1)
	seen := make([]int32, len(ids))
	for k, id := range ids {
		if plan.Fate[id] != merge.FateDropped {
			if why := l.RootReason(id); why != "" {
				r.Roots = append(r.Roots, report.Root{Section: report.SectionIndex(k), Why: why})
			}
			from := len(r.Edges.To)
			l.Targets(id, func(t merge.SecID) {
				if x := index[t]; x != report.None && plan.Fate[t] != merge.FateDropped && seen[x] != int32(k)+1 {
					seen[x] = int32(k) + 1
					r.Edges.To = append(r.Edges.To, x)
				}
			})
			slices.Sort(r.Edges.To[from:])
		}
		r.Edges.Start[k+1] = uint32(len(r.Edges.To))
	}
}

// outputSize guesses how many bytes the output will have: at least what is
// loaded, the names, and debug information if the link leaves it in.
func (p *preparation) outputSize(l *merge.Link, r *report.Report) (size uint64) {
	const (
		symbol   = 24 // an entry of the symbol table
		hdrEntry = 8  // of .eh_frame_hdr, for each function
	)
	for k, n := range r.Totals.After {
		if kind := report.Kind(k); kind != report.KindBSS && kind != report.KindTBSS {
			size += n
		}
	}
	for i := range r.Sections {
		s := &r.Sections[i]
		if s.FDE > 0 && s.InOutput() {
			size += hdrEntry
		}
		if !p.cl.StripAll && s.Live() { // what folds leaves its names to its leader
			for k := range s.Symbols {
				size += uint64(len(s.Symbols[k].Name)) + symbol
			}
		}
	}
	if p.cl.StripAll || p.cl.StripDebug {
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
var stampless = []string{"host", "real-linker", "report", "verify", "save", "budget"}

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
