package verify

import (
	"bytes"
	"debug/elf"
	"fmt"
	"sort"
	"strings"
)

// Where does a section of an object lie in the output? A link map would say, but there is one only when asked for, and
// it would have to be believed. So the output itself is read: its symbol table names the addresses of global symbols
// (and of local ones whose name is unique and whose bytes fit). From there the relocated fields are decoded: the field of
// a call says where the callee is, the field of a lea where the constant is. Following them like a garbage collector
// reaches every section that the program can reach, anonymous ones too, and every further reference to a section must
// lead to the same place. A folded section has the address of its leader.
//
// An address that only a reference names is believed if the bytes there fit. Where they don't, the reference may be wrong
// or the section damaged; so such candidates wait until everything else is placed. If the section was then found
// elsewhere, the reference is at fault, else the address most references name is taken and the bytes are reported; what
// such a section leads to is not followed, for it would only lead further astray.
//
// It ends because each section gets one address, once. The cost is that of reading each live section twice.

// use is a reference of the output: the field at off of from leads to target.
type use struct {
	from   *section
	off    int64 // in from; negative for a frame description
	index  int   // of the relocation in from, or -1
	target *target
	addend int64
	lead   decoded
	call   bool
	as     string // names the reference in a message, for what is no relocated field
}

// suspect is an address that a reference names for a section whose bytes do not fit there.
type suspect struct {
	base   uint64
	use    use
	symbol string // names the address instead of a reference
}

// obligation is a reference of a leader that stands for those of its followers.
type obligation struct {
	sec   *section
	index int
}

// wordLead follows a pointer.
func (v *checker) wordLead(d decoded, addr uint64, addend int64) decoded {
	p, err := v.out.wordAt(addr)
	if err != nil {
		d.kind, d.bad = leadNowhere, err.Error()
		return d
	}
	_, bound := v.out.relocs[addr]
	d.bare = !bound
	d.kind, d.place = leadPlace, place{p.addr - uint64(addend), p.name, p.addend - uint64(addend)}
	return d
}

// slotLead follows a word of the global offset table.
func (v *checker) slotLead(d decoded, slot uint64) decoded {
	d = v.wordLead(d, slot, 0)
	if d.bad != "" {
		d.bad = "leads to a table slot: " + d.bad
	}
	return d
}

// gotLead: all references to the global offset table itself must mean one address.
func (v *checker) gotLead(d decoded, addr uint64) decoded {
	d.kind = leadNowhere
	if !v.haveGOT {
		v.haveGOT, v.gotBase = true, addr
	} else if v.gotBase != addr {
		d.bad = fmt.Sprintf("the global offset table is at 0x%x, not 0x%x", v.gotBase, addr)
	}
	return d
}

// tlsLead follows what the dynamic linker resolves to a thread-local symbol.
func (v *checker) tlsLead(d decoded, r dynReloc) decoded {
	d.kind, d.place = leadPlace, place{addr: v.out.tlsStart + r.addend}
	if r.sym != 0 && int(r.sym) < len(v.out.dynsyms) {
		y := &v.out.dynsyms[r.sym]
		if d.place.addr += y.value; y.bind() != elf.STB_LOCAL {
			d.place.name, d.place.addend = y.name, r.addend
		}
	}
	return d
}

// tlsSlotLead follows a table slot that holds an offset from the thread pointer.
func (v *checker) tlsSlotLead(d decoded, slot uint64) decoded {
	if r, ok := v.out.relocs[slot]; ok {
		if r.kind != dynTPOff {
			d.kind, d.bad = leadNowhere, fmt.Sprintf("leads to the slot at 0x%x, which holds no thread pointer offset", slot)
			return d
		}
		return v.tlsLead(d, r)
	}
	w, ok := v.out.load(slot)
	if !ok {
		d.kind, d.bad = leadNowhere, fmt.Sprintf("leads to a slot at 0x%x, which is not in the output", slot)
		return d
	}
	d.kind, d.place = leadPlace, place{addr: w + v.out.threadPointer()}
	return d
}

// tlsPairLead follows two slots that hold a module and an offset in its block.
func (v *checker) tlsPairLead(d decoded, slot uint64) decoded {
	if r, ok := v.out.relocs[slot]; ok && r.kind != dynDTPMod {
		d.kind, d.bad = leadNowhere, fmt.Sprintf("leads to the slot at 0x%x, which holds no module number", slot)
		return d
	}
	if r, ok := v.out.relocs[slot+v.out.word]; ok {
		return v.tlsLead(d, r)
	}
	w, _ := v.out.load(slot + v.out.word)
	d.kind, d.place = leadPlace, place{addr: w + v.out.tlsStart}
	return d
}

// locate gives a section its address.
func (v *checker) locate(s *section, addr uint64, named bool, why string) {
	if s.located || s.discarded || !s.alloc() || s.merged() || s.table() {
		return
	}
	s.located, s.addr, s.named, s.why = true, addr, named, why
	v.work = append(v.work, s)
}

// seed places the sections that symbols of the output, its link map or its entry name.
func (v *checker) seed(linkMap []byte) {
	if list := v.out.byName["_GLOBAL_OFFSET_TABLE_"]; len(list) == 1 {
		v.haveGOT, v.gotBase = true, v.out.symbols[list[0]].value
	}
	for pass := range 2 {
		for _, o := range v.objects {
			for i := range o.symbols {
				t := &o.targets[i]
				y := &o.symbols[i]
				if t.kind != toSection || t.local || t.def != y || t.free || (t.sec.fate == Folded) != (pass == 1) {
					continue
				}
				addr, sure, ok := v.symbolAddr(y)
				if !ok {
					continue
				}
				r := t.sec.rep()
				if v.holds(r, addr-y.value) {
					v.locate(r, addr-y.value, true, "symbol "+y.name)
				} else if sure && y.bind() != elf.STB_WEAK && !t.ifunc() {
					// The symbol is wrong or the section damaged; which, the references will tell.
					v.suspects[r] = append(v.suspects[r], suspect{base: addr - y.value, symbol: y.name})
				}
			}
		}
	}
	v.seedLocals()
	v.seedMap(linkMap)
	v.seedMain()
}

// symbolAddr is the address of a global symbol of an object in the output; sure says that it is that symbol's and no
// other's of the same name, ok that the output says anything.
func (v *checker) symbolAddr(y *symbol) (addr uint64, sure, ok bool) {
	list := v.out.byName[plain(y.name)]
	var found []*symbol
	for _, i := range list {
		s := &v.out.symbols[i]
		if s.bind() != elf.STB_LOCAL && s.defined() {
			found = []*symbol{s}
			sure = true
			break
		}
		if s.defined() {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		if i, is := v.out.dynamic[plain(y.name)]; is && v.out.dynsyms[i].defined() {
			found, sure = []*symbol{&v.out.dynsyms[i]}, true
		}
	}
	if len(found) != 1 {
		return 0, false, false
	}
	return v.symbolValue(found[0]), sure, true
}

// symbolValue is the address that a symbol of the output stands for; a thread-local one holds an offset in the block.
func (v *checker) symbolValue(y *symbol) uint64 {
	if y.kind() == elf.STT_TLS {
		return y.value + v.out.tlsStart
	}
	return y.value
}

// seedLocals uses local symbols whose name occurs once among the inputs and once in the output.
func (v *checker) seedLocals() {
	if len(v.out.symbols) == 0 {
		return
	}
	count := map[string]int{}
	for _, o := range v.objects {
		for i := range o.symbols {
			if y := &o.symbols[i]; y.defined() && y.name != "" && y.kind() != elf.STT_SECTION {
				count[y.name]++
			}
		}
	}
	for _, s := range v.sections {
		if s.located || s.discarded || s.fate == Folded || s.merged() || s.typ == uint32(elf.SHT_NOBITS) {
			continue
		}
		for _, i := range s.syms {
			y := &s.obj.symbols[i]
			if y.bind() != elf.STB_LOCAL || count[y.name] != 1 || y.kind() != elf.STT_FUNC && y.kind() != elf.STT_OBJECT {
				continue
			}
			list := v.out.byName[y.name]
			if len(list) != 1 {
				continue
			}
			z := &v.out.symbols[list[0]]
			if z.defined() && z.kind() == y.kind() && z.size == y.size && v.holds(s, z.value-y.value) {
				v.locate(s, z.value-y.value, true, "symbol "+y.name)
				break
			}
		}
	}
}

// seedMap uses what a link map says of sections and symbols of unique names.
func (v *checker) seedMap(linkMap []byte) {
	if len(linkMap) == 0 {
		return
	}
	says := readMap(linkMap)
	byName := map[string]*section{}
	for _, s := range v.sections {
		if !s.alloc() || s.discarded || s.size == 0 {
			continue
		}
		if _, twice := byName[s.name]; twice {
			byName[s.name] = nil
		} else {
			byName[s.name] = s
		}
	}
	for _, name := range says.order {
		if s := byName[name]; s != nil && s.fate != Folded && !s.merged() && says.addr[name] != 0 && v.holds(s, says.addr[name]) {
			v.locate(s, says.addr[name], true, "the link map")
		}
	}
}

// seedMain finds the entry, or main in a program whose start-up code nobody claimed: that names it.
func (v *checker) seedMain() {
	try := func(name string, addrs []uint64, why string) {
		g := v.globals[name]
		if g == nil || !g.obj.symbols[g.sym].defined() {
			return
		}
		y := &g.obj.symbols[g.sym]
		r := g.obj.sections[y.shndx].rep()
		for _, addr := range addrs {
			if base := addr&v.arch.codeMask - y.value&v.arch.codeMask; !r.located && v.holds(r, base) {
				v.locate(r, base, false, why)
			}
		}
	}
	try("_start", []uint64{v.out.entry}, "the entry")
	if v.arch.main != nil {
		try("main", v.arch.main(v.out), "the start-up code")
	}
	if len(v.work) > 0 {
		return
	}
	// A script may name any function as the entry: if but one of the global ones fits there, it is that.
	var fits []string
	for name, g := range v.globals {
		y := &g.obj.symbols[g.sym]
		if y.kind() != elf.STT_FUNC || !y.defined() || g.obj.sections[y.shndx].size < 4 || !g.obj.sections[y.shndx].code() {
			continue
		}
		if base := v.out.entry&v.arch.codeMask - y.value&v.arch.codeMask; v.holds(g.obj.sections[y.shndx].rep(), base) {
			fits = append(fits, name)
		}
	}
	if len(fits) == 1 {
		try(fits[0], []uint64{v.out.entry}, "the entry")
	}
}

// follow compares located sections and places what they lead to, until nothing new is found.
func (v *checker) follow() {
	for {
		for len(v.work) > 0 {
			s := v.work[len(v.work)-1]
			v.work = v.work[:len(v.work)-1]
			v.process(s)
		}
		var waiting []*section
		for s := range v.suspects {
			if !s.located {
				waiting = append(waiting, s)
			}
		}
		if len(waiting) == 0 {
			return
		}
		// One at a time: what it leads to may place the others.
		sort.Slice(waiting, func(i, j int) bool { return waiting[i].id < waiting[j].id })
		s := waiting[0]
		best, most := suspect{}, 0
		count := map[uint64]int{}
		for _, x := range v.suspects[s] {
			if count[x.base]++; count[x.base] > most {
				best, most = x, count[x.base]
			}
		}
		v.locate(s, best.base, best.symbol != "", best.why())
		s.doubtful = true
		if !s.located {
			delete(v.suspects, s) // of a kind that is never placed
		}
	}
}

func (x *suspect) why() string {
	if x.symbol != "" {
		return "symbol " + x.symbol
	}
	return x.use.why()
}

// why says in a message that a reference placed a section.
func (u *use) why() string {
	return fmt.Sprintf("the reference at %s: offset 0x%x", u.from.where(), u.off)
}

// settleUses checks the references that had to wait until everything was placed.
func (v *checker) settleUses() {
	var list []use
	for _, xs := range v.suspects {
		for _, x := range xs {
			if x.symbol == "" {
				list = append(list, x.use)
			}
		}
	}
	list = append(list, v.uses...)
	v.uses, v.suspects = nil, nil
	sort.SliceStable(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		if a.from.id != b.from.id {
			return a.from.id < b.from.id
		}
		return a.off < b.off
	})
	for _, u := range list {
		v.settle(u)
	}
}

// failUse reports a reference.
func (v *checker) failUse(u use, format string, args ...any) {
	v.fail(u.from, u.off, "%s"+format, append([]any{u.as}, args...)...)
}

// settle checks that a reference leads to its target, or learns from it where the target is.
func (v *checker) settle(u use) {
	t := u.target
	switch t.kind {
	case toNothing:
		if u.lead.kind == leadPlace && u.lead.place.addr&v.out.mask() != 0 && u.lead.place.name == "" && u.index >= 0 && v.arch.form(u.from.relocs[u.index].typ) == formPlace {
			v.failUse(u, "leads to 0x%x, the original to nothing", u.lead.place.addr)
		}
	case toAbsolute:
		if !t.free && u.lead.kind == leadPlace && (u.lead.place.addr^t.value)&v.out.mask() != 0 {
			v.failUse(u, "holds 0x%x, the original the absolute symbol %s, which is 0x%x", u.lead.place.addr, t.def.name, t.value)
		}
	case toUndefined, toCommon:
		v.settleName(u)
	case toSection:
		v.settleSection(u)
	}
}

// throughPLT follows a procedure linkage table entry.
func (v *checker) throughPLT(addr uint64) (place, bool) {
	s := v.out.section(addr)
	if s == nil || v.arch.plt == nil || !strings.HasPrefix(s.name, ".plt") && !strings.HasPrefix(s.name, ".iplt") {
		return place{}, false
	}
	slot, ok := v.arch.plt(v.out, addr)
	if !ok {
		return place{}, false
	}
	p, err := v.out.wordAt(slot)
	return p, err == nil
}

// settleName: the target is defined outside the claimed objects.
func (v *checker) settleName(u use) {
	t := u.target
	name := plain(t.def.name)
	if t.free || v.provided[name] || u.lead.kind == leadLow {
		return
	}
	p := u.lead.place
	if p.name == "" {
		if q, ok := v.throughPLT(p.addr); ok {
			// A function that the output itself uses by address may have its PLT entry for an address.
			if q.name == "" && v.isNamed(name, p.addr, t) {
				return
			}
			p = q
		}
	}
	if p.name != "" {
		if plain(p.name) != name || p.addend != 0 {
			v.failUse(u, "leads to symbol %s+0x%x, the original to %s", p.name, p.addend, name)
		}
		return
	}
	if p.addr == 0 && !t.weak && u.lead.bare && v.out.pic && !v.isNamed(name, 0, t) {
		v.failUse(u, "leads to nothing, the original to %s", name)
		return
	}
	if p.addr == 0 && t.weak || t.weak && v.out.section(p.addr) == nil {
		return
	}
	if name != "_TLS_MODULE_BASE_" && v.isNamed(name, p.addr, t) || u.lead.kind == leadEither && v.isNamed(name, u.lead.alt, t) {
		return
	}
	if name == "_TLS_MODULE_BASE_" {
		v.tlsBase(u)
		return
	}
	if defined := v.definitions(name); len(defined) > 0 {
		v.failUse(u, "leads to 0x%x, but %s is at 0x%x", p.addr, name, v.symbolValue(defined[0]))
		return
	}
	if u.lead.kind == leadEither {
		return
	}
	was, ok := v.names[name]
	if !ok {
		v.names[name] = p.addr & v.arch.codeMask
	} else if was != p.addr&v.arch.codeMask {
		v.failUse(u, "leads to 0x%x, but other references to %s lead to 0x%x", p.addr, name, was)
	}
}

// tlsBase checks the linker's own symbol for the start of the thread-local block, to which local dynamic descriptors
// refer. Where they became an offset of zero from the thread pointer, DTPOFF fields became offsets from it as well.
func (v *checker) tlsBase(u use) {
	switch u.lead.place.addr {
	case v.out.tlsStart:
		v.ldRelaxed = ldKept
	case v.out.threadPointer():
		v.ldRelaxed = ldToThread
	default:
		v.failUse(u, "leads to 0x%x, the original to the start of the thread-local block", u.lead.place.addr)
	}
}

// definitions are the output's own symbols of a name.
func (v *checker) definitions(name string) []*symbol {
	var list []*symbol
	for _, i := range v.out.byName[name] {
		if y := &v.out.symbols[i]; y.shndx != 0 {
			list = append(list, y)
		}
	}
	if i, ok := v.out.dynamic[name]; ok && v.out.dynsyms[i].value != 0 {
		list = append(list, &v.out.dynsyms[i])
	}
	return list
}

func (v *checker) isNamed(name string, addr uint64, t *target) bool {
	for _, y := range v.definitions(name) {
		if v.symbolValue(y)&v.arch.codeMask == addr&v.arch.codeMask {
			return true
		}
	}
	return false
}

// settleSection: the target is a place in a claimed section.
func (v *checker) settleSection(u use) {
	t, s := u.target, u.target.sec
	if s.discarded || !s.alloc() || s.table() || t.free {
		return
	}
	if s.fate == Dropped {
		v.failUse(u, "refers to %s, which is claimed as dropped", s.where())
		return
	}
	if p := u.lead.place; p.name != "" {
		if t.local || plain(p.name) != plain(t.name) || p.addend != 0 {
			v.failUse(u, "leads to symbol %s+0x%x, the original to %s", p.name, p.addend, t.describe())
			return
		}
		if p.addr == 0 {
			v.failUse(u, "leads to symbol %s of another file, the original to %s", p.name, t.describe())
			return
		}
	}
	if s.merged() {
		v.settlePiece(u)
		return
	}
	r := s.rep()
	if u.lead.kind == leadLow {
		if !r.located {
			if v.suspects != nil {
				v.uses = append(v.uses, u)
			}
		} else if want, is := r.addr+t.value+uint64(u.addend), u.lead.place.addr+uint64(u.addend); (want^is)&u.lead.mask != 0 {
			v.failUse(u, "leads to an address of the bits 0x%x, but the original to 0x%x, as %s is at 0x%x", is&u.lead.mask, want, t.describe(), r.addr+t.value)
		}
		return
	}
	if s.fate == Thunk && u.index >= 0 {
		if off, _ := v.offsetIn(u.from, &u.from.relocs[u.index]); off != 0 {
			v.failUse(u, "leads into the middle of %s, which became a jump", s.where())
			return
		}
	}
	if s.elastic && t.value+uint64(u.addend) != 0 {
		return // places inside have moved
	}
	mask := v.out.mask()
	bases := []uint64{u.lead.place.addr - t.value}
	if u.lead.kind == leadEither {
		bases = append(bases, u.lead.alt-t.value)
	}
	if t.value == 0 || u.lead.place.name == "" {
		if p, ok := v.throughPLT(u.lead.place.addr); ok {
			if p.name != "" && (t.local || plain(p.name) != plain(t.name)) {
				v.failUse(u, "calls %s through the procedure linkage table, the original %s", p.name, t.describe())
				return
			}
			bases = append(bases, p.addr-t.value)
		}
	}
	if v.arch.veneer != nil && u.call {
		if to, ok := v.arch.veneer(v.out, u.lead.place.addr); ok {
			bases = append(bases, to-t.value)
		}
	}
	// A call to what became a jump may as well go to the leader itself.
	options := []*section{r}
	if s.fate == Thunk && u.call {
		options = append(options, s.leader)
	}
	for _, base := range bases {
		for _, x := range options {
			if x.located && x.addr == base&mask {
				return
			}
		}
	}
	if v.suspects != nil {
		for _, base := range bases {
			for _, x := range options {
				if !x.located && v.holds(x, base&mask) {
					v.locate(x, base&mask, false, u.why())
					return
				}
			}
		}
		if !r.located {
			v.suspects[r] = append(v.suspects[r], suspect{base: bases[len(bases)-1] & mask, use: u})
			return
		}
	}
	if !r.located {
		return
	}
	v.failUse(u, "leads to 0x%x, but %s is at 0x%x", u.lead.place.addr, t.describe(), r.addr+t.value)
}

// describe names a target for a message.
func (t *target) describe() string {
	name := ""
	if t.def != nil && t.def.name != "" {
		name = t.def.name + " in "
	}
	s := name + t.sec.where()
	if t.value != 0 && name == "" {
		s += fmt.Sprintf("+0x%x", t.value)
	}
	if t.sec.fate == Folded {
		s += " (folded into " + t.sec.leader.where() + ")"
	}
	return s
}

// piece is what a reference into a mergeable section means: its content from the referenced byte on.
type piece struct {
	at      uint64 // the referenced byte
	start   uint64 // the first byte that is compared
	content []byte // from start on
	whole   bool   // start is the beginning of the piece
}

// pieceOf finds it: by the symbol's value for a named symbol, by value and addend for a section symbol. A constant is
// compared whole, a string from the referenced byte on, for linkers store strings that end alike only once.
func pieceOf(t *target, addend int64) (piece, bool) {
	s := t.sec
	p := piece{at: t.value}
	if t.whole {
		p.at += uint64(addend)
	}
	if p.at >= uint64(len(s.data)) {
		return p, false
	}
	if s.flags&shfStrings == 0 {
		p.start, p.whole = p.at-p.at%s.ent, true
		p.content = slice(s.data, p.start, s.ent)
		return p, p.content != nil
	}
	p.start = p.at
	unit := p.at - p.at%s.ent
	p.whole = p.at == unit && (unit == 0 || allZero(slice(s.data, unit-s.ent, s.ent)))
	for end := unit; ; end += s.ent {
		c := slice(s.data, end, s.ent)
		if c == nil {
			return p, false
		}
		if allZero(c) {
			p.content = s.data[p.at : end+s.ent]
			return p, true
		}
	}
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return len(b) > 0
}

// settlePiece: the output must hold the same string or constant where the reference leads.
func (v *checker) settlePiece(u use) {
	if u.lead.kind != leadPlace {
		return
	}
	t, s := u.target, u.target.sec
	p, ok := pieceOf(t, u.addend)
	if !ok {
		v.res.Skipped++ // one past the end, or no string: there is nothing to compare
		return
	}
	addr := u.lead.place.addr
	if t.whole {
		addr += uint64(u.addend)
	}
	addr = (addr - (p.at - p.start)) & v.out.mask()
	v.res.Pieces++
	align := uint64(1)
	if p.whole && p.start%s.align == 0 {
		align = s.align
	}
	if u.index >= 0 {
		align = max(align, v.oblige[obligation{u.from, u.index}])
	}
	if addr&(align-1) != 0 {
		v.failUse(u, "leads to a piece of %s at 0x%x, which is not aligned to %d", s.where(), addr, align)
	}
	got, zero, ok := v.out.at(addr, uint64(len(p.content)))
	if zero {
		got = make([]byte, len(p.content))
	}
	if !ok || !bytes.Equal(got, p.content) {
		v.failUse(u, "leads to 0x%x, which holds %s, the original to %s of %s", addr, quote(got), quote(p.content), s.where())
	}
}

// quote shows bytes in a message.
func quote(b []byte) string {
	more := ""
	if len(b) > 40 {
		b, more = b[:40], "…"
	}
	for _, c := range bytes.TrimRight(b, "\x00") {
		if c < 0x20 || c > 0x7e {
			return fmt.Sprintf("%x%s", b, more)
		}
	}
	return fmt.Sprintf("%q%s", b, more)
}
