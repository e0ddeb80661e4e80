package merge

import (
	"fmt"
	"strings"

	"leanlink/objfile"
)

// Edit makes the changes to one object that the plan asks for; nil if there
// are none.
//
//   - A global symbol marks the start of each leader: its own, or a new
//     hidden one.
//   - References from live sections that name a folded section's local or
//     section symbol name the leader's instead. References by global names
//     stay: the names move.
//   - A folded section's global names become undefined here and aliases in
//     the leader's object. So do local names of Rust functions, for debuggers.
//   - Frame entries of what is folded or dropped name no LSDA any more, for
//     some linkers keep every LSDA that any entry names.
//   - Strings that nothing uses are emptied, where the linker would keep them.
//
// Nothing refers to a folded section then, and --gc-sections drops it with
// its frame entry, and treats debug information of it as that of any dead
// function.
//
// The edit's memory is scratch.
func (p *Plan) Edit(object int, scratch *objfile.Scratch) (*objfile.Edit, error) {
	l := p.Link
	o := l.Objects[object]
	if o.Reason != "" {
		return nil, nil
	}
	names := p.borrowNames(o)
	defer p.returnNames(names)
	e := &editor{p: p, l: l, o: o, edit: scratch.NewEdit(o.File), names: names}
	for _, step := range [...]func() error{e.leaders, e.disown, e.references, e.frames, e.exclusions, e.poison, e.thunks, e.strings} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if !e.edit.Changed() {
		return nil, nil
	}
	e.unread()
	return e.edit, nil
}

// CertainlyEdits reports whether there certainly are changes to make to an object:
// whether it has something that is left out. It takes less than to make them.
func (p *Plan) CertainlyEdits(object int) bool {
	o := p.Link.Objects[object]
	if o.Reason != "" {
		return false
	}
	for i := range o.File.Sections {
		if p.excludes(o, uint32(i)) {
			return true
		}
	}
	return false
}

type editor struct {
	p     *Plan
	l     *Link
	o     *Object
	edit  *objfile.Edit
	names *objectNames
}

// objectNames finds the symbols of one object by what they stand for: as
// arrays, which one object after the other uses, for most references ask.
type objectNames struct {
	own   []uint32 // indexed by SymID: the object's own symbol of that name, 0 if it has none
	mark  []uint32 // indexed by Plan.leads: the symbol that marks a leader in this object, 0 if there is none yet
	owned []SymID  // where own is not 0
	marks []uint32 // where mark is not 0
}

// borrowNames returns the names of an object.
func (p *Plan) borrowNames(o *Object) *objectNames {
	n, _ := p.names.Get().(*objectNames)
	if n == nil {
		n = &objectNames{own: make([]uint32, len(p.Link.defs)), mark: make([]uint32, p.leaders+1)}
	}
	for k, id := range o.globals {
		n.own[id] = o.File.FirstGlobal + uint32(k)
	}
	n.owned = o.globals
	return n
}

// returnNames has another object use them.
func (p *Plan) returnNames(n *objectNames) {
	for _, id := range n.owned {
		n.own[id] = 0
	}
	for _, id := range n.marks {
		n.mark[id] = 0
	}
	n.owned, n.marks = nil, n.marks[:0]
	p.names.Put(n)
}

// Mark is the name of the symbol that marks a leader. No compiler makes
// names with a dollar sign before a letter.
func markName(n uint32) string { return fmt.Sprintf("leanlink$%d", n) }

// mark returns the symbol that stands for a leader in this object: a name
// that the leader has already, or a new one.
func (e *editor) mark(leader SecID) (uint32, error) {
	lead := e.p.leads[leader]
	if k := e.names.mark[lead]; k != 0 {
		return k, nil
	}
	k, err := e.newMark(leader)
	if err == nil {
		e.names.mark[lead] = k
		e.names.marks = append(e.names.marks, lead)
	}
	return k, err
}

func (e *editor) newMark(leader SecID) (uint32, error) {
	lo, li := e.l.Of(leader)
	name, s := markName(e.p.leads[leader]-1), e.l.markSymbol(leader)
	if k, ok := e.l.ownName(leader); ok {
		if lo == e.o {
			return k, nil
		}
		if k := e.names.own[lo.globals[k-lo.File.FirstGlobal]]; k != 0 {
			return k, nil
		}
		// Declared as visible as it is defined: of two, the narrower wins.
		name, s.Other = lo.File.SymbolName(k), lo.File.Symbol(k).Other
	}
	if lo == e.o {
		s.Section = li
	} else {
		s.Type, s.Value = objfile.STT_NOTYPE, 0 // undefined here
	}
	return e.edit.AddSymbol(name, s)
}

// ownName finds a global symbol of a leader that marks its start for the
// whole link: the only definition of its name, and one that nothing can take
// the place of.
func (l *Link) ownName(leader SecID) (uint32, bool) {
	o, i := l.Of(leader)
	for _, k := range o.Symbols(i) {
		if k < o.File.FirstGlobal {
			continue
		}
		s := o.File.Symbol(k)
		d := &l.defs[o.globals[k-o.File.FirstGlobal]]
		code := o.File.Sections[i].Flags&objfile.SHF_EXECINSTR != 0
		if s.Bind != objfile.STB_GLOBAL || s.Value&^l.thumbBit(&s) != 0 || d.several || d.pinned || d.exported ||
			code && s.Type != objfile.STT_FUNC || l.opt.Shared && s.Visibility() == objfile.STV_DEFAULT {
			continue
		}
		return k, true
	}
	return 0, false
}

// leaders marks the leaders that lie here, raises their alignment and
// defines the names that they take over.
func (e *editor) leaders() error {
	for i := range e.o.File.Sections {
		id := e.o.Base + SecID(i)
		if e.p.Fate[id] == FateKept {
			if a, ok := e.p.Align[id]; ok {
				e.edit.SetAlign(uint32(i), a)
			}
		}
		if e.p.leads[id] == 0 {
			continue
		}
		if _, err := e.mark(id); err != nil {
			return err
		}
		for _, name := range e.p.aliases[id] {
			d := &e.l.defs[name]
			s := e.l.Objects[d.object].File.Symbol(d.symbol)
			s.Section = uint32(i)
			if k := e.names.own[name]; k != 0 {
				// The name is already in this object's table: a reference to
				// the folded definition, or a definition that lost to it.
				if err := e.edit.SetSymbol(k, s); err != nil {
					return err
				}
			} else if _, err := e.edit.AddSymbol(e.l.symName[name], s); err != nil {
				return err
			}
		}
		for _, a := range e.p.localAliases[id] {
			s := a.symbol
			s.Bind, s.Other, s.Section = objfile.STB_GLOBAL, s.Other&^3|objfile.STV_HIDDEN, uint32(i)
			if _, err := e.edit.AddSymbol(a.name, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// disown makes the global names of folded sections undefined.
func (e *editor) disown() error {
	f := e.o.File
	for i := range f.Sections {
		id := e.o.Base + SecID(i)
		if e.p.Fate[id] != FateFolded {
			continue
		}
		for _, k := range e.o.Symbols(uint32(i)) {
			if k < f.FirstGlobal {
				continue
			}
			if sec, ok := e.l.place(e.o.globals[k-f.FirstGlobal]); ok && e.p.Fate[sec] == FateFolded && e.l.objOf[e.p.Leader[sec]] == e.o.index {
				continue // leaders has moved it to the leader, which lies here, too
			}
			s := f.Symbol(k)
			s = objfile.Symbol{Bind: objfile.STB_GLOBAL, Type: objfile.STT_NOTYPE, Other: s.Other}
			if err := e.edit.SetSymbol(k, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// references redirects what this object's live sections say of folded
// sections by local and section symbols.
func (e *editor) references() error {
	f := e.o.File
	for i := range f.Sections {
		if !e.p.remains(e.o, uint32(i)) || isEhFrame(&f.Sections[i]) {
			continue
		}
		rs := f.Relocs(uint32(i))
		for k := range rs.Len() {
			if err := e.redirect(uint32(i), rs, k); err != nil {
				return err
			}
		}
	}
	return nil
}

// redirect changes one relocation, if it names what is folded, and calls of
// a function that only jumps on.
func (e *editor) redirect(section uint32, rs objfile.Relocs, k int) error {
	t := e.o.target(rs.Sym(k))
	if t.global || t.kind != toSection && t.kind != toDiscarded {
		return nil
	}
	id := t.sec
	if e.p.Fate[id] != FateFolded && e.p.Fate[id] != FateThunk {
		return nil
	}
	r := rs.At(k)
	s := e.o.File.Symbol(r.Sym)
	switch e.p.Fate[id] {
	case FateThunk:
		if e.o.File.Sections[section].Flags&objfile.SHF_EXECINSTR == 0 || !e.l.Arch.IsCall(e.o.File.Bytes(section), r) ||
			!e.p.redirectable(e.o, section, rs, r, &s) {
			return nil // it goes through the jump
		}
	}
	m, err := e.mark(e.p.Leader[id])
	if err != nil {
		return err
	}
	// settle has seen that an addend in the section need not change.
	r.Sym = m
	r.Addend += int64(s.Value &^ e.l.thumbBit(&s))
	e.edit.SetReloc(section, k, r)
	return nil
}

// frames redirects the LSDA pointers of live functions' frame entries, and
// makes those of all others name nothing.
func (e *editor) frames() error {
	for _, ref := range e.o.fdes {
		if ref.lsda < 0 {
			continue
		}
		eh := e.o.frames[ref.frame]
		rs := e.o.File.Relocs(eh.Section)
		id := e.o.Base + SecID(ref.section)
		switch fate := e.p.Fate[id]; {
		case e.p.remains(e.o, ref.section):
			if err := e.redirect(eh.Section, rs, int(ref.lsda)); err != nil {
				return err
			}
		case fate == FateFolded, fate == FateDropped, fate == FateThunk:
			r := rs.At(int(ref.lsda))
			e.edit.SetReloc(eh.Section, int(ref.lsda), objfile.Reloc{Offset: r.Offset, Type: e.l.Arch.None})
		}
	}
	return nil
}

// exclusions leaves out what is gone. A linker with --gc-sections would find
// out by itself, all but gold, which keeps every exception table; the others
// are spared the work, and a link without --gc-sections folds, too.
func (e *editor) exclusions() error {
	f := e.o.File
	excluded := make([]bool, len(f.Sections))
	for i := range f.Sections {
		if !e.p.excludes(e.o, uint32(i)) {
			continue
		}
		e.edit.Exclude(uint32(i))
		if e.l.opt.Exclude == ExcludeDetached {
			e.detach(uint32(i))
		}
		excluded[uint32(i)] = true
	}
	// What tools are told of a section that is left out goes with it: gold
	// would miss the section.
	for i := range f.Sections {
		s := &f.Sections[i]
		if _, grouped := e.o.groups[uint32(i)]; !grouped && s.Flags&(objfile.SHF_LINK_ORDER|objfile.SHF_ALLOC) == objfile.SHF_LINK_ORDER && int(s.Link) < len(excluded) && excluded[s.Link] {
			e.edit.Exclude(uint32(i))
		}
	}
	return nil
}

// excludes reports whether a section is left out by the edit, and not by the linker
// alone.
func (p *Plan) excludes(o *Object, section uint32) bool {
	l, id := p.Link, o.Base+SecID(section)
	fate := p.Fate[id]
	if fate != FateFolded && fate != FateDropped || fate == FateFolded && l.opt.Poison {
		return false
	}
	s := &o.File.Sections[section]
	if _, grouped := o.groups[section]; grouped || isEhFrame(s) {
		return false
	}
	if fate == FateDropped && o.definesGlobal(section) {
		return false // GNU ld would take debug information's use of the name for an undefined reference
	}
	if l.noted[id] {
		return false // GNU ld takes no relocation of a note against what is excluded
	}
	return l.opt.Exclude != ExcludeTables || strings.HasPrefix(s.Name, ".gcc_except_table")
}

// unread leaves out what the linker does not read: debug information where it
// strips that, and the bytecode that Rust's libraries have beside their code.
func (e *editor) unread() {
	for i := range e.o.File.Sections {
		s := &e.o.File.Sections[i]
		if s.Flags&objfile.SHF_ALLOC != 0 {
			continue
		}
		if e.l.opt.Strip && s.IsDebug() ||
			!e.l.opt.PinAll && s.Flags&objfile.SHF_EXCLUDE != 0 && (s.Name == ".llvmbc" || s.Name == ".llvmcmd") {
			if _, grouped := e.o.groups[uint32(i)]; !grouped {
				e.edit.Exclude(uint32(i))
			}
		}
	}
}

// definesGlobal reports whether a section defines a name that other objects
// can see.
func (o *Object) definesGlobal(section uint32) bool {
	for _, k := range o.Symbols(section) {
		if k >= o.File.FirstGlobal {
			return true
		}
	}
	return false
}

// detach makes a section's frame entries name no function.
func (e *editor) detach(section uint32) {
	for _, ref := range e.o.framesOf(section) {
		eh := e.o.frames[ref.frame]
		k := e.o.frameRelocs[ref.frame].nth(int(ref.begin))
		r := e.o.File.Relocs(eh.Section).At(k)
		e.edit.SetReloc(eh.Section, k, objfile.Reloc{Offset: r.Offset, Type: e.l.Arch.None})
	}
}

// thunks replaces the bodies of functions that only jump on. Their frame
// entries cover the jump, have no LSDA and no instructions of their own: at
// a jump the frame is as it was at the call.
func (e *editor) thunks() error {
	f := e.o.File
	jumps := false
	for i := range f.Sections {
		id := e.o.Base + SecID(i)
		t := e.p.Thunks[id]
		if t == nil {
			continue
		}
		jumps = true
		m, err := e.mark(e.p.Leader[id])
		if err != nil {
			return err
		}
		relocs := append([]objfile.Reloc(nil), t.Relocs...)
		relocs[0].Sym = m
		e.edit.SetContents(uint32(i), t.Code, relocs)
		e.edit.SetAlign(uint32(i), t.Align)
		for _, k := range e.o.Symbols(uint32(i)) {
			s := f.Symbol(k)
			switch was := s; {
			case s.Size != 0:
				s.Size = uint64(len(t.Code))
			case s.Value > uint64(len(t.Code)) && e.l.Arch.Mapping && strings.HasPrefix(f.NameOf(&was), "$"):
				s = objfile.Symbol{} // says what the code behind this is, which is another's now
			case s.Value > uint64(len(t.Code)):
				s.Value = uint64(len(t.Code)) // a label: the function's end, or on the way there
			default:
				continue
			}
			if err := e.edit.SetSymbol(k, s); err != nil {
				return err
			}
		}
		for _, ref := range e.o.framesOf(uint32(i)) {
			eh := e.o.frames[ref.frame]
			fde := &eh.FDEs[ref.fde]
			size := make([]byte, fde.FieldSize)
			size[0] = byte(len(t.Code))
			for _, k := range e.o.innerRelocs(ref) {
				r := f.Relocs(eh.Section).At(k)
				if r.Offset == fde.PCRange() {
					size[0] = 0 // the labels say it, which move with what the linker shortens
					continue
				}
				e.edit.SetReloc(eh.Section, k, objfile.Reloc{Offset: r.Offset, Type: e.l.Arch.None})
			}
			e.edit.Patch(eh.Section, fde.PCRange(), size)
			if fde.LSDA() != 0 {
				e.edit.Patch(eh.Section, fde.LSDA(), make([]byte, fde.LSDASize))
			}
			e.edit.Patch(eh.Section, fde.InstrOff(), make([]byte, fde.End()-fde.InstrOff()))
		}
	}
	if jumps && !e.l.opt.Strip && !e.p.Bare {
		return e.forget()
	}
	return nil
}

// forget makes debug information say of functions that only jump on what it
// says of dead ones: it is that of bodies which are gone, and longer than the
// jumps, so that it would lie about what comes behind them. A hidden weak
// symbol that nobody defines is 0 in such sections, which debuggers ignore, or
// lld's mark for what is dead.
func (e *editor) forget() error {
	f := e.o.File
	jumps := make([]bool, f.NumSymbols) // by symbol: its function only jumps on
	for i := range jumps {
		s := f.Symbol(uint32(i))
		jumps[i] = s.Defined() && e.p.Thunks[e.o.Base+SecID(s.Section)] != nil
	}
	var gone uint32
	for i := range f.Sections {
		if s := &f.Sections[i]; !s.IsDebug() || s.Rel == 0 || s.MultiRel {
			continue
		}
		rs := f.Relocs(uint32(i))
		for k := range rs.Len() {
			sym := rs.Sym(k)
			if sym >= f.NumSymbols {
				return f.ErrorAt(uint32(i), rs.At(k).Offset, "a relocation names a symbol that does not exist")
			}
			if !jumps[sym] {
				continue
			}
			r := rs.At(k)
			if gone == 0 {
				var err error
				gone, err = e.edit.AddSymbol("leanlink$gone", objfile.Symbol{Bind: objfile.STB_WEAK, Other: objfile.STV_HIDDEN})
				if err != nil {
					return err
				}
			}
			r.Sym = gone
			e.edit.SetReloc(uint32(i), k, r)
		}
	}
	return nil
}
