package verify

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"
)

// checkLegality: what was folded may be folded by the rules of the language and the mode. Equal bytes are not enough: a
// program may compare addresses. Every live reference is looked at again, those of folded sections as well, for in the
// original link they were there.
func (v *checker) checkLegality() {
	v.markExports()
	for _, s := range v.sections {
		if s.notes() {
			for i := range s.relocs {
				if t := &s.obj.targets[s.relocs[i].sym]; t.kind == toSection {
					t.sec.notedBy = fmt.Sprintf("%s: offset 0x%x", s.where(), s.relocs[i].off)
				}
			}
		}
		if s.located || s.fate == Folded || s.fate == Thunk || s.alloc() && !s.discarded && initName(s.name) {
			v.markReferences(s)
		}
	}
	for _, s := range v.sections {
		if s.fate != Folded && s.fate != Thunk {
			continue
		}
		if why := v.unfoldable(s); why != "" {
			v.fail(s, -1, "must not be folded: %s", why)
		} else if why := v.addressMatters(s); why != "" {
			v.fail(s, -1, "must not be folded into %s: %s", s.leader.where(), why)
		}
	}
}

// notes says that a section is in the file for tools that are no debuggers: what it says of a place is said of no other.
func (s *section) notes() bool {
	if s.alloc() || s.discarded || s.flags&shfLinkOrder != 0 || s.typ != uint32(elf.SHT_PROGBITS) && s.typ != uint32(elf.SHT_NOTE) {
		return false
	}
	for _, p := range []string{".debug", ".zdebug", ".stab", ".llvm"} {
		if strings.HasPrefix(s.name, p) {
			return false
		}
	}
	return true
}

func (v *checker) markExports() {
	for i := range v.out.dynsyms {
		y := &v.out.dynsyms[i]
		if !y.defined() {
			continue
		}
		if g := v.globals[plain(y.name)]; g != nil && g.obj.symbols[g.sym].defined() {
			g.obj.sections[g.obj.symbols[g.sym].shndx].exported = y.name
		}
	}
}

// offsetIn is where in its target a reference means; known is false for a distance in data, which does not say.
func (v *checker) offsetIn(s *section, r *reloc) (off int64, known bool) {
	t := &s.obj.targets[r.sym]
	off, known = int64(t.value)+r.addend, !v.arch.relative(r.typ)
	if s.code() {
		if bias, ok := v.arch.bias(r.typ); ok {
			off, known = off+bias, true
		}
	}
	if t.sec != nil && t.sec.code() {
		off &= int64(v.arch.codeMask)
	}
	return off, known
}

// markReferences notes what each reference of a live section does with the function that it refers to.
func (v *checker) markReferences(s *section) {
	if nameClass(s.name) == ".gcc_except_table" || s.table() || nameClass(s.name) == ".ARM.extab" {
		return // landing pads and frames name code that no program can ask them for
	}
	var vtable, asked bool
	var table *section // the function that s is the jump table of
	if !s.code() {
		table = v.jumpTable(s)
	}
	for i := range s.relocs {
		r := &s.relocs[i]
		t := &s.obj.targets[r.sym]
		if t.kind != toSection || !t.sec.code() || v.arch.form(r.typ) == formNone || v.arch.internal != nil && v.arch.internal(r.typ) {
			continue
		}
		to := t.sec
		if s.code() && v.arch.call(s, r) {
			to.called = true
			continue
		}
		off, known := v.offsetIn(s, r)
		if known && off != 0 && !v.startsFunction(to, uint64(off)) {
			continue // a label inside: the address of no function
		}
		if table == to {
			continue
		}
		if !s.code() {
			if !asked {
				vtable, asked = v.vtable(s), true
			}
			if vtable {
				to.slot = true
				continue
			}
		}
		if !to.taken {
			to.taken, to.takenBy = true, fmt.Sprintf("%s: offset 0x%x", s.where(), r.off)
		}
	}
}

// startsFunction says that a symbol for a function has that offset.
func (v *checker) startsFunction(s *section, off uint64) bool {
	for _, i := range s.syms {
		if y := &s.obj.symbols[i]; y.value&v.arch.codeMask == off && (y.kind() == elf.STT_FUNC || y.kind() == elf.STT_GNU_IFUNC) {
			return true
		}
	}
	return false
}

// hasObject says that a symbol calls something in it a variable.
func (s *section) hasObject() bool {
	for _, i := range s.syms {
		if s.obj.symbols[i].kind() == elf.STT_OBJECT {
			return true
		}
	}
	return false
}

// jumpTable is the function that s is a jump table of, or nil: all of s is places in that one function, which refers to
// s; distances, or addresses not all of which are the function's own.
func (v *checker) jumpTable(s *section) *section {
	var fn *section
	inside := false
	for i := range s.relocs {
		r := &s.relocs[i]
		t := &s.obj.targets[r.sym]
		if t.kind != toSection || t.sec != s && !t.sec.code() {
			return nil
		}
		if t.sec == s {
			continue // what a distance is counted from
		}
		if fn == nil {
			fn = t.sec
		}
		if t.sec != fn {
			return nil
		}
		off, _ := v.offsetIn(s, r)
		inside = inside || v.arch.relative(r.typ) || off != 0
	}
	if fn == nil || fn.obj != s.obj {
		return nil
	}
	for i := range fn.relocs {
		if t := &fn.obj.targets[fn.relocs[i].sym]; inside && t.kind == toSection && t.sec == s {
			return fn
		}
	}
	return nil
}

// vtable says that s is proved to be a Rust vtable, whose functions no program can compare: it has the shape (drop glue
// or nothing, size, alignment, methods), rustc made it, and what stands in it is by its name drop glue or a method of a
// trait. The shape alone proves nothing, for a constant of a #[repr(C)] struct may have it.
func (v *checker) vtable(s *section) bool {
	w := v.out.word
	if !s.obj.rust || s.code() || s.size < 3*w || s.size%w != 0 || s.data == nil || v.identity(s) != "" {
		return false
	}
	align := uint64(binary.LittleEndian.Uint32(s.data[2*w:]))
	if w == 8 {
		align = binary.LittleEndian.Uint64(s.data[2*w:])
	}
	if align == 0 || align&(align-1) != 0 || align > 1<<29 {
		return false
	}
	drop, method := false, strings.Contains(s.name, "vtable.")
	for _, i := range s.syms {
		method = method || strings.HasPrefix(s.obj.symbols[i].name, "vtable.")
	}
	for i := range s.relocs {
		r := &s.relocs[i]
		if n, _ := v.arch.field(r.typ, s.data[r.off:]); uint64(n) != w || r.off%w != 0 || r.off == w || r.off == 2*w {
			return false
		}
		name := v.functionName(&s.obj.targets[r.sym], r.addend)
		switch {
		case r.off != 0:
			method = method || traitMethod(name)
		case dropGlue(name):
			drop = true
		default:
			return false
		}
	}
	return drop || method
}

// functionName is the name of the function that a reference means.
func (v *checker) functionName(t *target, addend int64) string {
	if t.kind == toUndefined {
		return t.def.name
	}
	if t.kind != toSection {
		return ""
	}
	for _, i := range t.sec.syms {
		if y := &t.sec.obj.symbols[i]; y.kind() == elf.STT_FUNC && y.value&v.arch.codeMask == (t.value+uint64(addend))&v.arch.codeMask {
			return y.name
		}
	}
	return ""
}

func dropGlue(name string) bool {
	return rustMangled(name) && (strings.Contains(name, "drop_in_place") || strings.Contains(name, "drop_glue"))
}

func rustMangled(name string) bool {
	return strings.HasPrefix(name, "_R") || strings.HasPrefix(name, "_ZN") && strings.Contains(name, "17h")
}

// traitMethod says that by its mangling, legacy or v0, a function is a trait's method for a type, a closure's body or a
// shim for a vtable.
func traitMethod(name string) bool {
	if !rustMangled(name) {
		return false
	}
	for _, p := range []string{"_RNvX", "_RNvY", "_RNC", "_RNSN", "_RNS"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	for _, p := range []string{"$u20$as$u20$", "$LT$impl$u20$", "vtable.shim", "$u7b$$u7b$closure$u7d$$u7d$"} {
		if strings.Contains(name, p) {
			return true
		}
	}
	return false
}

// anonymous lists how the symbols begin that compilers give to what the source does not name.
var anonymous = []string{"anon.", ".L", "switch.table", "vtable.", "GCC_except_table"}

// marksData reports whether a symbol only says what lies behind it: a mapping symbol ($d), which is local and without
// a type, on the machines that have them.
func (v *checker) marksData(s *symbol) bool {
	return v.arch.machine != elf.EM_X86_64 && strings.HasPrefix(s.name, "$") && s.bind() == elf.STB_LOCAL && s.kind() == elf.STT_NOTYPE
}

// identity says why a data section's address may matter to the program; "" if the language leaves it none.
func (v *checker) identity(s *section) string {
	switch {
	case s.code():
		return "it is code"
	case s.typ != uint32(elf.SHT_PROGBITS):
		return "it is not plain data"
	case s.flags&uint64(elf.SHF_WRITE) != 0 && nameClass(s.name) != ".data.rel.ro":
		return "it is writable"
	case nameClass(s.name) == ".gcc_except_table" || nameClass(s.name) == ".ARM.extab":
		return ""
	case nameClass(s.name) != ".rodata" && nameClass(s.name) != ".data.rel.ro":
		return "it is in a section of its own choosing"
	case s.merged():
		return ""
	}
	for _, i := range s.syms {
		sym := &s.obj.symbols[i]
		name := sym.name
		unnamed := v.marksData(sym)
		for _, p := range anonymous {
			unnamed = unnamed || strings.HasPrefix(name, p)
		}
		if !unnamed && !v.addrsigClears(s) {
			return "it is the named static " + name
		}
	}
	if !s.obj.rust && !v.addrsigClears(s) {
		return "it was not made by rustc, and a static in it may have lost its symbol"
	}
	return ""
}

// unfoldable says why a section may be folded in no mode; "" if it may.
func (v *checker) unfoldable(s *section) string {
	switch {
	case !s.alloc() || s.typ != uint32(elf.SHT_PROGBITS):
		return "it is no code and no constant"
	case s.tls():
		return "it is thread-local"
	case s.flags&shfRetain != 0:
		return "it is marked to be retained"
	case s.flags&shfLinkOrder != 0:
		return "it belongs to another section"
	case cIdentifier(s.name):
		return "its name is a C identifier, so the program may count on all such sections being there"
	case initName(s.name):
		return "it runs at start or exit"
	case s.notedBy != "":
		return "a tool is told of a place in it at " + s.notedBy
	case strings.HasPrefix(s.name, ".defmt"):
		return "its address is a message"
	case s.fate == Thunk && (!s.code() || !v.startsFunction(s, 0) || s.hasObject()):
		return "what may be read as data can be no jump"
	case s.discarded:
		return "it lost to another COMDAT group"
	}
	for _, i := range s.syms {
		if s.obj.symbols[i].kind() == elf.STT_GNU_IFUNC {
			return "it is the resolver of an indirect function"
		}
	}
	if s.code() {
		return v.halfAddress(s)
	}
	return v.identity(s)
}

// halfAddress says of which address a function has one half only: the other stands in a function that may not be folded,
// or otherwise, and two names of one place have different slots.
func (v *checker) halfAddress(s *section) string {
	if v.arch.half == nil {
		return ""
	}
	type whole struct {
		kind   string
		sym    uint32
		addend int64
	}
	upper, lower := map[whole]bool{}, map[whole]bool{}
	for i := range s.relocs {
		r := &s.relocs[i]
		if kind, up := v.arch.half(r.typ); up {
			upper[whole{kind, r.sym, r.addend}] = true
		} else if kind != "" {
			lower[whole{kind, r.sym, r.addend}] = true
		}
	}
	for i := range s.relocs {
		r := &s.relocs[i]
		if kind, _ := v.arch.half(r.typ); kind != "" && upper[whole{kind, r.sym, r.addend}] != lower[whole{kind, r.sym, r.addend}] {
			return fmt.Sprintf("at offset 0x%x it has half of the address of a %s of %s", r.off, kind, s.obj.targets[r.sym].show())
		}
	}
	return ""
}

func cIdentifier(name string) bool {
	for i, c := range name {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

func initName(name string) bool {
	for _, p := range []string{".init", ".fini", ".init_array", ".fini_array", ".preinit_array", ".ctors", ".dtors"} {
		if name == p || strings.HasPrefix(name, p+".") {
			return true
		}
	}
	return false
}

// addressMatters says why folding a function makes equal two addresses that the program could compare; "" if not.
func (v *checker) addressMatters(s *section) string {
	if !s.code() || s.fate == Thunk {
		return ""
	}
	if s.exported != "" && (v.claim.Shared || v.claim.Mode != "all") {
		return "it is exported as " + s.exported
	}
	if v.claim.Mode == "all" && (s.obj.rust || v.addrsigClears(s)) {
		return ""
	}
	if s.taken {
		return "its address is taken at " + s.takenBy
	}
	if s.slot && (s.leader.taken || s.leader.exported != "") {
		by := s.leader.takenBy
		if by == "" {
			by = "the dynamic symbol " + s.leader.exported
		}
		return "it is in a vtable, and the leader's address is taken at " + by
	}
	return ""
}

// addrsigClears says that every object which can refer to the section's symbols has a table of the symbols whose address
// matters to it (.llvm_addrsig), and none lists them.
func (v *checker) addrsigClears(s *section) bool {
	if s.obj.addrsig == nil {
		return false
	}
	for i := range s.obj.symbols {
		y := &s.obj.symbols[i]
		if !y.defined() || int(y.shndx) != s.index {
			continue
		}
		if s.obj.addrsig[uint32(i)] {
			return false
		}
		if y.bind() != elf.STB_LOCAL && v.significant()[y.name] {
			return false
		}
	}
	return true
}

// significant is the names whose address some object declares significant, or does not declare anything of.
func (v *checker) significant() map[string]bool {
	if v.sigNames == nil {
		v.sigNames = map[string]bool{}
		for _, o := range v.objects {
			for i := range o.symbols {
				if y := &o.symbols[i]; y.bind() != elf.STB_LOCAL && (o.addrsig == nil || o.addrsig[uint32(i)]) {
					v.sigNames[y.name] = true
				}
			}
		}
	}
	return v.sigNames
}
