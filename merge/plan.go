package merge

import (
	"strings"
	"sync"

	"leanlink/objfile"
)

// Fate is what becomes of a section.
type Fate uint8

// Fates. Sections that are not allocated have none.
const (
	FateNone    Fate = iota
	FateKept         // stays, perhaps for others as well
	FateFolded       // gone; its leader stands for it
	FateThunk        // its body is a jump to its leader
	FateDropped      // nothing reaches it: the linker drops it
)

// Plan says what becomes of every section of a link.
type Plan struct {
	Link *Link
	// Fate, Leader and Reason are indexed by SecID. Leader is NoSec but for
	// FateFolded and FateThunk. Reason says why a kept section could not
	// fold; Eligible for those that merely have no equal.
	Fate   []Fate
	Leader []SecID
	Reason []Reason
	// Class is a number for each set of equal sections, −1 for sections
	// without one. Indexed by SecID.
	Class []int32
	// Align is the alignment of leaders, and of the mergeable constants they
	// use, that must be larger than their own.
	Align map[SecID]uint64
	// Thunks has the new body of each FateThunk section.
	Thunks map[SecID]*objfile.Thunk

	// Bare: somebody else takes debug information out of the edited objects, so
	// that nothing in it needs an edit.
	Bare bool

	// leads numbers the leaders, from 1 and in link order, for the names of
	// the symbols that mark them; 0 for all else. Indexed by SecID.
	leads   []uint32
	leaders uint32 // the last of those numbers
	// aliases lists, by leader, the names that it takes over.
	aliases map[SecID][]SymID
	// localAliases lists, by leader, the local names that it takes over.
	localAliases map[SecID][]localAlias
	// reach is more than any jump from code to code spans, bytes; 0 unknown.
	reach uint64
	// names has *objectNames that no object uses at the moment.
	names sync.Pool
}

// localAlias is a local symbol of a folded section.
type localAlias struct {
	name   string
	symbol objfile.Symbol
}

// Make decides what becomes of every section: reachability, significance of
// addresses, folding. It changes nothing.
func (l *Link) Make() (*Plan, error) {
	l.mark()
	l.opt.phase("mark")
	l.weigh()
	l.readNotes()
	l.opt.phase("weigh")
	l.trace()
	l.opt.phase("trace")
	n := l.Sections()
	p := &Plan{
		Link: l, Fate: make([]Fate, n), Leader: make([]SecID, n), Reason: make([]Reason, n), Class: make([]int32, n),
		Align: map[SecID]uint64{}, Thunks: map[SecID]*objfile.Thunk{}, leads: make([]uint32, n), aliases: map[SecID][]SymID{},
		localAliases: map[SecID][]localAlias{},
	}
	l.class = make([]uint32, n)
	var classes classTable
	inParallel(len(l.Objects), func(k int) {
		o, classes := l.Objects[k], objectClasses{all: &classes}
		for i := range uint32(len(o.File.Sections)) {
			id := o.Base + SecID(i)
			p.Leader[id], p.Class[id] = NoSec, -1
			switch {
			case o.File.Sections[i].Flags&objfile.SHF_ALLOC == 0:
			case o.dropped(i):
				p.Fate[id], p.Reason[id] = FateDropped, Grouped
			case l.live[id]:
				p.Fate[id] = FateKept
				p.Reason[id] = l.whyNot(o, i)
				l.class[id] = classes.number(l.outputClass(o, o.File.Sections[i].Name))
			default:
				p.Fate[id] = FateDropped
			}
		}
	})
	if l.opt.Mode == ModeOff {
		return p, nil
	}
	l.opt.phase("eligible")
	f, err := l.fold(p.Reason)
	if err != nil {
		return nil, err
	}
	l.opt.phase("fold")
	// Functions first: which jump table stays depends on who uses it.
	for _, code := range [...]bool{true, false} {
		for c, members := range f.members {
			if (l.Section(f.nodes[members[0]]).Flags&objfile.SHF_EXECINSTR != 0) != code {
				continue
			}
			ids := make([]SecID, len(members))
			for k, m := range members {
				ids[k] = f.nodes[m]
				p.Class[ids[k]] = int32(c)
			}
			if len(ids) > 1 {
				p.preferTable(ids)
				p.elect(f, ids)
			}
		}
	}
	p.settle()
	p.keepTables()
	p.dropMetadata()
	p.nameLeaders()
	p.takeNames()
	p.takeLocalNames()
	return p, nil
}

// keepTables settles jump tables after their functions. A table whose
// function stays does, too: the function would else jump into the body of
// another, which does the same but has another name. A table whose function
// folds goes the way of that: the leader's table stands for it.
func (p *Plan) keepTables() {
	l := p.Link
	for id, fate := range p.Fate {
		user := l.user[id]
		if fate != FateFolded || user == NoSec || user == manySecs || l.Section(user).Flags&objfile.SHF_EXECINSTR == 0 {
			continue
		}
		own := false
		l.Targets(SecID(id), func(t SecID) { own = own || t == user })
		switch {
		case !own:
		case p.Fate[user] == FateKept:
			p.Fate[id], p.Leader[id] = FateKept, NoSec
		case p.Leader[user] != NoSec:
			l.Targets(p.Leader[user], func(t SecID) {
				if p.Class[t] == p.Class[id] && p.Fate[t] == FateKept && l.user[t] == p.Leader[user] {
					p.Leader[id] = t
					if align := l.Section(SecID(id)).Align; align > max(l.Section(t).Align, p.Align[t]) {
						p.Align[t] = align
					}
				}
			})
		}
	}
}

// elect chooses the leader of a class and what becomes of the others.
//
// Data and functions that are only called fold into the first in link
// order. A function with an identity never shares its address with another
// that has one, nor with one that a vtable names; it keeps its address, with
// a jump for a body where that is smaller.
// A named static is never in a class, not even as a leader: a program may
// know that an anonymous constant is not that static (rust-lang/rust 161973).
func (p *Plan) elect(f *folder, ids []SecID) {
	leader, vtables := NoSec, false
	for _, id := range ids {
		if !f.identity[id] {
			if leader == NoSec {
				leader = id
			}
			vtables = vtables || p.Link.weight[id] == inVtable
		}
	}
	if leader == NoSec || !vtables {
		// Nobody minds sharing an address with one that has an identity.
		for _, id := range ids {
			if f.identity[id] {
				leader = id
				break
			}
		}
	}
	align := uint64(1)
	for _, id := range ids {
		switch {
		case id == leader:
		case !f.identity[id]:
			p.Fate[id], p.Leader[id] = FateFolded, leader
		default:
			if t := p.thunk(id); t != nil {
				p.Fate[id], p.Leader[id] = FateThunk, leader
				p.Thunks[id] = t
			}
		}
		if p.Fate[id] == FateFolded {
			align = max(align, p.Link.Section(id).Align)
		}
		if p.Fate[id] != FateKept {
			p.raisePieces(f, leader, id)
		}
	}
	if align > p.Link.Section(leader).Align {
		p.Align[leader] = align
	}
}

// raisePieces gives the mergeable constants that a leader uses the alignment
// of those that the other used in their place.
func (p *Plan) raisePieces(f *folder, leader, other SecID) {
	oa, ia := p.Link.Of(leader)
	ob, ib := p.Link.Of(other)
	ra, rb := oa.File.Relocs(ia), ob.File.Relocs(ib)
	for k := range ra.Len() {
		if t := oa.target(ra.Sym(k)); t.kind != toSection || p.Link.Section(t.sec).Flags&objfile.SHF_MERGE == 0 {
			continue
		}
		a, b := f.operandOf(oa, ia, ra, ra.At(k)), f.operandOf(ob, ib, rb, rb.At(k))
		if a.kind == operandPiece && b.align > max(a.align, p.Align[a.sec]) {
			p.Align[a.sec] = b.align
		}
	}
}

// thunk returns a body that jumps to the leader, nil if the function must
// keep its own.
func (p *Plan) thunk(id SecID) *objfile.Thunk {
	l := p.Link
	if l.opt.NoThunks || l.Arch.Thunk == nil || l.weight[id] == exported || l.interior[id] {
		return nil
	}
	o, i := l.Of(id)
	if s := &o.File.Sections[i]; s.Flags&objfile.SHF_EXECINSTR == 0 || s.Rel == 0 {
		return nil // data, or no table to put the jump's relocation into
	}
	if !l.isFunction(o, i) {
		return nil // a table amid code, for all that is known: a program reads it
	}
	if l.hasExtab(o, i) || !l.endsInLabel(o, i) {
		return nil // its unwind information could not be cut short
	}
	if p.reach == 0 {
		p.reach = l.allocated()
	}
	t := l.Arch.Thunk(o.File, i, p.reach)
	if t == nil || uint64(len(t.Code)) >= o.File.Sections[i].Size {
		return nil
	}
	// Someone may have asked for the alignment, to have room for bits in
	// pointers: not so in Rust, where up to 16 is what the compiler likes.
	if align := o.File.Sections[i].Align; !o.Rust || align > 16 {
		t.Align = max(t.Align, align)
	}
	return t
}

// isFunction reports whether the symbols of a section of code say that it is a
// function, and none says that it is anything else.
func (l *Link) isFunction(o *Object, i uint32) bool {
	function := false
	for _, k := range o.Symbols(i) {
		switch s := o.File.Symbol(k); {
		case s.Type == objfile.STT_FUNC && s.Value&^l.thumbBit(&s) == 0:
			function = true
		case s.Type == objfile.STT_OBJECT:
			return false
		}
	}
	return function
}

// remains reports whether a section's references count: it is kept, or may be
// after all, as a copy of a COMDAT group that another linker would choose.
func (p *Plan) remains(o *Object, i uint32) bool {
	id := o.Base + SecID(i)
	return p.Fate[id] == FateKept || p.Link.live[id] && o.dropped(i)
}

// nameLeaders numbers the leaders in link order.
func (p *Plan) nameLeaders() {
	for _, lead := range p.Leader {
		if lead != NoSec {
			p.leads[lead] = 1
		}
	}
	for id := range p.leads {
		if p.leads[id] != 0 {
			p.leaders++
			p.leads[id] = p.leaders
		}
	}
}

// takeNames gives each leader the global names of those that fold into it.
// Only the definition that resolution chose becomes an alias; one that lost
// to another just goes.
func (p *Plan) takeNames() {
	l := p.Link
	for id := range l.defs {
		sec, ok := l.place(SymID(id))
		if ok && p.Fate[sec] == FateFolded {
			p.aliases[p.Leader[sec]] = append(p.aliases[p.Leader[sec]], SymID(id))
		}
	}
}

// takeLocalNames does the same for local names of functions, so that a
// debugger finds them. They become global, though hidden; so only names that
// rustc alone makes, and that mean nothing else in this link.
func (p *Plan) takeLocalNames() {
	l := p.Link
	taken := map[string]bool{}
	for id, fate := range p.Fate {
		if fate != FateFolded {
			continue
		}
		o, i := l.Of(SecID(id))
		for _, k := range o.Symbols(i) {
			s := o.File.Symbol(k)
			if k >= o.File.FirstGlobal || s.Type != objfile.STT_FUNC {
				continue
			}
			name := o.File.NameOf(&s)
			if !IsRustName(name) || taken[name] {
				continue
			}
			if _, global := l.names.lookUp(name); global {
				continue
			}
			taken[name] = true
			lead := p.Leader[id]
			p.localAliases[lead] = append(p.localAliases[lead], localAlias{name, s})
		}
	}
}

// IsRustName recognises mangled Rust names, legacy and v0. The legacy ones are
// C++'s form with a hash for the last part.
func IsRustName(name string) bool {
	if strings.HasPrefix(name, "_R") {
		return true
	}
	k := strings.LastIndex(name, "17h")
	return strings.HasPrefix(name, "_ZN") && k > 0 && len(name) >= k+20 && name[k+19] == 'E' && strings.Trim(name[k+3:k+19], "0123456789abcdef") == ""
}

// Folded counts the sections that fold, and their bytes.
func (p *Plan) Folded() (sections int, bytes uint64) {
	for id, f := range p.Fate {
		if f == FateFolded {
			sections++
			bytes += p.Link.Section(SecID(id)).Size
		}
	}
	return sections, bytes
}
