package linker

import (
	"leanlink/merge"
	"leanlink/objfile"
	"leanlink/report"
)

// adviceVariable asks for what each trim that is not in force would save. It
// is found by planning the same link once more with each; nothing is linked,
// so padding and what the real linker does by itself are guessed.
const adviceVariable = "LEANLINK_ADVICE"

// couldTrims are the trims that are tried, by the setting that asks for them;
// the last two are all that go together. Their names are the report's.
var couldTrims = []struct {
	setting string
	cut     merge.Trim
}{
	{"trim.panic=location", merge.Trim{Locations: true}},
	{"trim.panic=message", merge.Trim{Messages: true}},
	{"trim.panic=trap", merge.Trim{Trap: true, Locations: true}},
	{"trim.backtrace=addresses", merge.Trim{Symbolizer: true}},
	{"trim.unwind-tables=calls", merge.Trim{Calls: true}},
	{"trim.unwind-tables=drop", merge.Trim{Frames: true}},
	{"trim.align=size", merge.Trim{Align: true}},
	{report.AllUnwinding, merge.Trim{Locations: true, Symbolizer: true, Calls: true, Align: true}},
	{report.AllAborting, merge.Trim{Trap: true, Locations: true, Symbolizer: true, Frames: true, Align: true}},
}

// with is what is cut if both are asked for; ok is false if nothing more is, or
// if one keeps what the other cuts.
func with(now, more merge.Trim) (both merge.Trim, ok bool) {
	both = merge.Trim{
		Trap: now.Trap || more.Trap, Messages: now.Messages || more.Messages, Locations: now.Locations || more.Locations,
		Symbolizer: now.Symbolizer || more.Symbolizer, Frames: now.Frames || more.Frames, Calls: now.Calls || more.Calls, Align: now.Align || more.Align,
	}
	if both.Trap {
		both.Messages = false // there is none to empty
	}
	if both.Frames {
		both.Calls = false
	}
	return both, both != now && !(now.Trap && !more.Trap && both.Messages) && !(now.Messages && more.Locations && !more.Trap)
}

// couldSave is what trims would save in bytes of memory, by the setting that
// asks for them; nil if nobody wants to know. What is refused in this link, or
// finds nothing, is not in it.
func (p *preparation) couldSave(plan *merge.Plan) map[string]uint64 {
	env := NewEnvironment()
	if env.Get(adviceVariable) != "1" {
		return nil
	}
	saves := map[string]uint64{}
	if p.cfg.Fold == "off" || notFinal(p.cl, env) != "" {
		return saves
	}
	now := p.weight(plan)
	link, err := merge.NewLink(p.originals, p.linkOptions)
	if err != nil {
		return saves
	}
	for _, c := range couldTrims {
		cut, more := with(p.trims.cut, c.cut)
		if !more {
			continue
		}
		then, err := p.weighTrimmed(link, cut)
		if err == nil && then < now {
			saves[c.setting] = now - then
		}
	}
	return saves
}

// weighTrimmed plans the link with other trims. An error says that they can't
// be had.
func (p *preparation) weighTrimmed(link *merge.Link, cut merge.Trim) (uint64, error) {
	t, err := link.Trim(cut)
	if err != nil {
		return 0, err
	}
	trimmed, err := merge.NewLink(t.Files, p.linkOptions)
	if err != nil {
		return 0, err
	}
	plan, err := trimmed.Make()
	if err != nil {
		return 0, err
	}
	return p.weight(plan), nil
}

// weight guesses how much memory the output of a plan takes: its sections, one
// behind the other, their frame entries, and the relocations of its pointers.
func (p *preparation) weight(plan *merge.Plan) uint64 {
	const (
		header     = 8  // an entry of .eh_frame_hdr
		relocation = 24 // Elf64_Rela
	)
	l := plan.Link
	var places [report.NumKinds]uint64
	for id, fate := range plan.Fate {
		if fate != merge.FateKept && fate != merge.FateThunk {
			continue
		}
		o, i := l.Of(merge.SecID(id))
		s := &o.File.Sections[i]
		kind, size := sectionKind(s), s.Size
		if s.Type == objfile.SHT_NOBITS || s.Name == ".eh_frame" || l.HasPieces(merge.SecID(id)) {
			continue
		}
		if fate == merge.FateThunk {
			size = uint64(len(plan.Thunks[merge.SecID(id)].Code))
		}
		align := max(s.Align, 1)
		places[kind] = (places[kind]+align-1)/align*align + size
		if n := o.FrameBytes(i); n > 0 {
			places[report.KindUnwind] += n
			if p.cl.Style == StyleCC {
				places[report.KindUnwind] += header
			}
		}
		if s.Rel == 0 || s.Flags&objfile.SHF_EXECINSTR != 0 || !p.cl.PIE && !p.cl.Shared || p.trims.pack {
			continue
		}
		rs := o.File.Relocs(i)
		for k := range rs.Len() {
			if r := l.Arch.Reloc(rs.At(k).Type); r.Kind == objfile.RelAbs && int(r.Size) == o.File.WordSize() {
				places[report.KindRelro] += relocation
			}
		}
	}
	sum := plan.PieceBytes()
	for _, n := range places {
		sum += n
	}
	return sum
}
