package verify

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"
)

// A fold is right if nothing that a program can do tells the folded section from its leader. For each claimed pair the
// two are held side by side: the bytes outside relocated fields, each relocation's type, offset and target, the frame
// descriptions and the landing pads. Two targets are the same if they are the same place once the claimed folds are
// done, or, for a call, do the same. That assumes of the other pairs what is to be proved, which is sound because every pair is proved: the claim as a
// whole is a bisimulation or some pair shows a difference (coinduction; design of the folding itself aside, this is only
// the definition). What is not claimed as folded but has no identity either, such as two landing-pad tables, is compared
// by content, with the same assumption for what is being compared already.

// pair is two sections assumed equal, from an offset in each on.
type pair struct {
	a, b       *section
	offA, offB uint64
}

// provePairs proves each claimed fold.
func (v *checker) provePairs() {
	for _, s := range v.sections {
		if s.leader == nil {
			continue
		}
		v.res.Folds++
		l := s.leader
		if d := v.unlike(s, l); d != nil {
			v.fail(s, d.off, "is not its leader %s: %s", l.where(), d.what)
		}
	}
}

// nameClass is the part of a section's name that decides where linkers and scripts put it.
func nameClass(name string) string {
	for _, c := range []string{".data.rel.ro", ".gcc_except_table", ".text", ".rodata", ".ARM.extab"} {
		if name == c || strings.HasPrefix(name, c+".") {
			return c
		}
	}
	if i := strings.IndexByte(name[min(1, len(name)):], '.'); i >= 0 {
		return name[:i+1]
	}
	return name
}

// unlike is the first difference between two sections and what hangs on them, or nil.
func (v *checker) unlike(a, b *section) *difference {
	const irrelevant = shfGroup
	switch {
	case a.typ != b.typ:
		return &difference{-1, fmt.Sprintf("it has type %d, the leader %d", a.typ, b.typ)}
	case a.flags&^irrelevant != b.flags&^irrelevant:
		return &difference{-1, fmt.Sprintf("it has flags 0x%x, the leader 0x%x", a.flags, b.flags)}
	case nameClass(a.name) != nameClass(b.name):
		return &difference{-1, "linker scripts may put them into different output sections"}
	case a.size != b.size:
		return &difference{-1, fmt.Sprintf("it has %d bytes, the leader %d", a.size, b.size)}
	case a.obj.opaque || b.obj.opaque:
		return &difference{-1, "one lies in an object that was left alone"}
	}
	if d := v.unlikeRange(a, b, 0, 0, a.size); d != nil {
		return d
	}
	if d := v.unlikeFrames(a, b); d != nil {
		return d
	}
	return v.unlikeExidx(a, b)
}

// unlikeRange compares n bytes from offsets in two sections on, with their relocations.
func (v *checker) unlikeRange(a, b *section, offA, offB, n uint64) *difference {
	ra, rb := relocsIn(a, offA, n), relocsIn(b, offB, n)
	if len(ra) != len(rb) {
		return &difference{-1, fmt.Sprintf("it has %d relocations, the leader %d", len(ra), len(rb))}
	}
	da, db := slice(a.data, offA, n), slice(b.data, offB, n)
	if n > 0 && (da == nil || db == nil) {
		return &difference{-1, "there are no bytes to compare"}
	}
	pos := 0
	gap := func(end int) *difference {
		if pos < end && !bytes.Equal(da[pos:end], db[pos:end]) {
			for da[pos] == db[pos] {
				pos++
			}
			return &difference{int64(offA) + int64(pos), fmt.Sprintf("it holds %02x, the leader %02x", da[pos], db[pos])}
		}
		return nil
	}
	for i := range ra {
		x, y := &ra[i], &rb[i]
		at := int64(x.off)
		if x.off-offA != y.off-offB || x.typ != y.typ {
			return &difference{at, fmt.Sprintf("it has a relocation of type %d here, the leader one of type %d at 0x%x", x.typ, y.typ, y.off)}
		}
		if d := gap(int(x.off - offA)); d != nil {
			return d
		}
		fa, fb := da[min(x.off-offA, n):], db[min(x.off-offA, n):]
		na, restA := v.arch.field(x.typ, fa)
		_, restB := v.arch.field(y.typ, fb)
		if na > len(fa) {
			return &difference{at, "the relocation reaches beyond the end of the section"}
		}
		if restA != restB {
			return &difference{at, "the instructions differ in the bits that are not relocated"}
		}
		pos = max(pos, int(x.off-offA)+na)
		f := v.arch.form(x.typ)
		if f == formUnknown {
			return &difference{at, fmt.Sprintf("the relocation type %d is not understood", x.typ)}
		}
		// An unwind entry means its own function as a call does: whatever stands for it.
		// Nor does an entry of a jump table, the only thing in constant data that is relative to its own place.
		entry := !a.code() && !b.code() && (a.flags|b.flags)&uint64(elf.SHF_WRITE) == 0 && v.selfRelative(x.typ)
		call := a.table() || entry || a.code() && v.arch.call(a, x) && v.arch.call(b, y)
		if what := v.unlikeTargets(a, b, x, y, f, call, obligation{b, indexOf(b, y)}); what != "" {
			return &difference{at, what}
		}
	}
	return gap(int(n))
}

// selfRelative: the type that compilers give to entries of jump tables, whose values count from the entry.
func (v *checker) selfRelative(typ uint32) bool {
	switch v.arch.machine {
	case elf.EM_X86_64:
		return elf.R_X86_64(typ) == elf.R_X86_64_PC32
	case elf.EM_AARCH64:
		return elf.R_AARCH64(typ) == elf.R_AARCH64_PREL32
	case elf.EM_ARM:
		return elf.R_ARM(typ) == elf.R_ARM_REL32
	}
	return false
}

func indexOf(s *section, r *reloc) int {
	for i := range s.relocs {
		if &s.relocs[i] == r {
			return i
		}
	}
	return -1
}

// relocsIn is the relocations of n bytes at off.
func relocsIn(s *section, off, n uint64) []reloc {
	lo, hi := 0, len(s.relocs)
	for lo < hi && s.relocs[lo].off < off {
		lo++
	}
	// A relocation at the very end covers nothing, but belongs to the section when all of it is meant.
	for hi > lo && s.relocs[hi-1].off >= off+n && off+n != s.size {
		hi--
	}
	return s.relocs[lo:hi]
}

// preemptible says that the dynamic linker may bind the symbol elsewhere.
func (v *checker) preemptible(t *target) bool {
	if !v.claim.Shared || t.local || t.def == nil || t.def.vis() != elf.STV_DEFAULT {
		return false
	}
	i, ok := v.out.dynamic[plain(t.name)]
	return ok && v.out.dynsyms[i].shndx != 0
}

// unlikeTargets says how the targets of two relocations differ; "" where they do not.
func (v *checker) unlikeTargets(a, b *section, x, y *reloc, f form, call bool, o obligation) string {
	if f == formNone {
		return ""
	}
	s, t := &a.obj.targets[x.sym], &b.obj.targets[y.sym]
	if s.free || t.free {
		if s.name == t.name && x.addend == y.addend {
			return ""
		}
		return fmt.Sprintf("it refers to %s, the leader to %s, which an option defines", s.name, t.name)
	}
	if s.kind != t.kind {
		return fmt.Sprintf("it refers to %s, the leader to %s", s.show(), t.show())
	}
	differ := func() string {
		return fmt.Sprintf("it refers to %s%+d, the leader to %s%+d", s.show(), x.addend, t.show(), y.addend)
	}
	samePlace := s.value+uint64(x.addend) == t.value+uint64(y.addend)
	if f == formSlot {
		samePlace = s.value == t.value && x.addend == y.addend
	}
	switch s.kind {
	case toNothing:
		if x.addend != y.addend {
			return differ()
		}
		return ""
	case toAbsolute:
		if !samePlace {
			return differ()
		}
		return ""
	case toUndefined, toCommon:
		if s.def.name != t.def.name || x.addend != y.addend || s.weak != t.weak {
			return differ()
		}
		return ""
	}
	if v.preemptible(s) || v.preemptible(t) {
		if s.name != t.name || x.addend != y.addend {
			return differ() + ", which may be bound elsewhere"
		}
		return ""
	}
	if s.tls() || t.tls() || s.ifunc() || t.ifunc() {
		if s.sec != t.sec || !samePlace || s.tls() != t.tls() || s.ifunc() != t.ifunc() {
			return differ()
		}
		return ""
	}
	if s.sec.merged() || t.sec.merged() {
		return v.unlikePieces(s, t, x, y, o)
	}
	rs, rt := s.sec.rep(), t.sec.rep()
	if call {
		rs, rt = rs.callee(), rt.callee()
	}
	if rs == rt {
		if !samePlace {
			return differ()
		}
		return ""
	}
	if !samePlace || s.sec.code() != t.sec.code() {
		return differ()
	}
	// A call sees no more of two functions than what they do: they may be alike though each keeps an address of its own.
	if s.sec.code() && !call || !s.sec.code() && (v.identity(s.sec) != "" || v.identity(t.sec) != "") {
		return differ()
	}
	key := pair{s.sec, t.sec, 0, 0}
	if v.pairsSeen[key] {
		return ""
	}
	v.pairsSeen[key] = true
	if d := v.unlike(s.sec, t.sec); d != nil {
		delete(v.pairsSeen, key)
		return differ() + fmt.Sprintf(", which differ: offset 0x%x: %s", max(d.off, 0), d.what)
	}
	if !s.sec.code() { // what is only called does the same at any address
		t.sec.demand = max(t.sec.demand, s.sec.align)
	}
	return ""
}

// callee is what a call to the section reaches: the leader where the section became a jump to it.
func (s *section) callee() *section {
	if s.fate == Thunk {
		return s.leader
	}
	return s
}

// show names a target in a message.
func (t *target) show() string {
	switch t.kind {
	case toNothing:
		return "nothing"
	case toAbsolute:
		return fmt.Sprintf("the absolute 0x%x", t.value)
	case toSection:
		return t.describe()
	}
	return t.def.name
}

// unlikePieces compares references into mergeable sections by content. The leader's piece may be aligned less than the
// other's: then the output must have it aligned as the other needs.
func (v *checker) unlikePieces(s, t *target, x, y *reloc, o obligation) string {
	if !s.sec.merged() || !t.sec.merged() {
		return fmt.Sprintf("it refers to %s, the leader to %s, and only one of them is mergeable", s.show(), t.show())
	}
	const kind = shfStrings | shfMerge
	if s.sec.flags&kind != t.sec.flags&kind || s.sec.ent != t.sec.ent || nameClass(s.sec.name) != nameClass(t.sec.name) {
		return fmt.Sprintf("it refers to %s, the leader to %s, which are not merged with each other", s.show(), t.show())
	}
	p, okP := pieceOf(s, x.addend)
	q, okQ := pieceOf(t, y.addend)
	rest := func(t *target, r *reloc) int64 {
		if t.whole {
			return 0
		}
		return r.addend
	}
	if !okP || !okQ {
		if s.sec == t.sec && p.at == q.at && rest(s, x) == rest(t, y) {
			return ""
		}
		return fmt.Sprintf("it refers to %s%+d, the leader to %s%+d, which are no whole pieces", s.show(), x.addend, t.show(), y.addend)
	}
	if p.at-p.start != q.at-q.start || rest(s, x) != rest(t, y) || !bytes.Equal(p.content, q.content) {
		return fmt.Sprintf("it refers to %s, the leader to %s", quote(p.content), quote(q.content))
	}
	if p.whole && p.start%s.sec.align == 0 && s.sec.align > 1 {
		v.oblige[o] = max(v.oblige[o], s.sec.align)
	}
	return ""
}

// unlikeFrames compares the frame descriptions of the code in two sections.
func (v *checker) unlikeFrames(a, b *section) *difference {
	if len(a.fdes) != len(b.fdes) {
		return &difference{-1, fmt.Sprintf("it has %d frame descriptions, the leader %d", len(a.fdes), len(b.fdes))}
	}
	for i, f := range a.fdes {
		g := b.fdes[i]
		at := int64(f.start)
		switch {
		case f.start != g.start || f.size != g.size:
			return &difference{at, "its frame description covers another range than the leader's"}
		case !bytes.Equal(f.rows, g.rows):
			return &difference{at, "its call frame differs from the leader's"}
		case !f.cie.same(g.cie):
			return &difference{at, "its frame's common information differs from the leader's"}
		case (f.cie.personality == nil) != (g.cie.personality == nil):
			return &difference{at, "one has a personality routine, the other not"}
		case (f.lsda == nil) != (g.lsda == nil):
			return &difference{at, "one has a landing-pad table, the other not"}
		}
		if p, q := f.cie.personality, g.cie.personality; p != nil {
			if what := v.unlikeTargets(f.cie.sec, g.cie.sec, p, q, formSlot, true, obligation{}); what != "" {
				return &difference{at, "the personality routines differ: " + what}
			}
		}
		if f.lsda != nil {
			if what := v.unlikeLSDA(f, g); what != "" {
				return &difference{at, "the landing-pad tables differ: " + what}
			}
		}
	}
	return nil
}

// unlikeLSDA compares two landing-pad tables, wherever in their sections they lie.
func (v *checker) unlikeLSDA(f, g *fde) string {
	s, t := f.lsdaTarget(), g.lsdaTarget()
	if s.sec == nil || t.sec == nil {
		return "one is not in any object"
	}
	if s.sec.rep() == t.sec.rep() && s.off == t.off {
		return ""
	}
	key := pair{s.sec, t.sec, s.off, t.off}
	if v.pairsSeen[key] {
		return ""
	}
	v.pairsSeen[key] = true
	n, err := lsdaSize(s.sec, s.off, v.out.word)
	m, err2 := lsdaSize(t.sec, t.off, v.out.word)
	switch {
	case err == nil && err2 == nil:
		if n != m {
			return fmt.Sprintf("they have %d and %d bytes", n, m)
		}
	case s.off == 0 && t.off == 0 && s.sec.size == t.sec.size:
		n = s.sec.size
	default:
		return "they are not understood"
	}
	if d := v.unlikeRange(s.sec, t.sec, s.off, t.off, n); d != nil {
		delete(v.pairsSeen, key)
		return fmt.Sprintf("offset 0x%x: %s", max(d.off, 0), d.what)
	}
	return ""
}
