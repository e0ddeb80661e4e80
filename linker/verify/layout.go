package verify

import (
	"debug/elf"
	"sort"
	"strings"
)

// placed is the sections with an address of their own that keep says yes to, by address.
func (v *checker) placed(keep func(*section) bool) []*section {
	var list []*section
	for _, s := range v.sections {
		if s.located && !s.doubtful && keep(s) {
			list = append(list, s)
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].addr < list[j].addr })
	return list
}

// extent is how many bytes of the output are the section's.
func (v *checker) extent(s *section) uint64 {
	if s.elastic || s.outside {
		return 0 // not known, and less than it was; or not in memory at all
	}
	if s.fate == Thunk {
		if _, size, ok := v.arch.jump(v.out, s.addr, s.data); ok {
			return size
		}
		return 0
	}
	return s.size
}

// checkLayout: each section is aligned as its object asked, a leader as each that it stands for did; code lies where it can
// be executed; and no two share bytes.
func (v *checker) checkLayout() {
	for _, s := range v.sections {
		r := s.rep()
		if !r.located || r.doubtful || s.discarded {
			continue
		}
		align := max(s.align, s.demand)
		if s.fate == Thunk {
			// A jump needs no alignment; only bit 0 may have a meaning in a pointer to it (C++ member pointers).
			align = min(align, 2)
		}
		if r.addr&(align-1) != 0 {
			v.fail(s, -1, "at 0x%x is not aligned to %d", r.addr, align)
		}
		if r != s || s.size == 0 || s.tls() {
			continue
		}
		out := v.out.section(s.addr)
		if out == nil {
			continue // reported when its bytes were compared
		}
		if s.elastic && s.fate != Thunk && v.arch.relaxed != nil {
			switch _, known, d := v.arch.relaxed(v, s, s.addr); {
			case d != nil:
				v.fail(s, d.off, "%s (placed by %s)", d.what, s.why)
			case known:
				v.res.Followed++
			}
		}
		if s.code() && out.flags&elf.SHF_EXECINSTR == 0 {
			v.fail(s, -1, "is code, but %s at 0x%x cannot be executed", out.name, s.addr)
		}
	}
	list := v.placed(func(s *section) bool { return v.extent(s) > 0 && !(s.tls() && s.typ == uint32(elf.SHT_NOBITS)) })
	for i := 1; i < len(list); i++ {
		a, b := list[i-1], list[i]
		if a.addr+v.extent(a) <= b.addr {
			continue
		}
		if v.claim.LinkerFolds && a.addr == b.addr && a.size == b.size {
			v.shared[a], v.shared[b] = true, true
			continue
		}
		v.fail(b, -1, "at 0x%x shares bytes with %s at 0x%x, which nobody claimed", b.addr, a.where(), a.addr)
	}
}

// checkSymbols: the output's symbols are where the sections are that define them; those of a folded section at its
// leader.
func (v *checker) checkSymbols() {
	for _, o := range v.objects {
		for i := range o.symbols {
			t, y := &o.targets[i], &o.symbols[i]
			if t.kind != toSection || t.local || t.def != y || t.free || t.sec.discarded || t.sec.merged() || t.ifunc() {
				continue
			}
			r := t.sec.rep()
			if !r.located {
				continue
			}
			addr, sure, ok := v.symbolAddr(y)
			if !ok {
				continue
			}
			v.res.Symbols++
			if strings.Contains(y.name, "@") {
				continue // of several versions the output's table need not say which
			}
			if want := r.addr + y.value; addr != want && sure {
				v.fail(t.sec, int64(y.value), "symbol %s is at 0x%x, its definition at 0x%x", y.name, addr, want)
			} else if addr != want {
				continue
			}
			v.checkSize(t.sec, y)
		}
	}
	v.checkLocals()
}

// checkSize: a symbol for a function or variable has the original's size, but a jump's its own.
func (v *checker) checkSize(s *section, y *symbol) {
	if s.fate == Thunk || s.elastic || y.kind() != elf.STT_FUNC && y.kind() != elf.STT_OBJECT {
		return
	}
	for _, i := range v.out.byName[plain(y.name)] {
		z := &v.out.symbols[i]
		if z.bind() != elf.STB_LOCAL && z.defined() && z.size != y.size {
			v.fail(s, int64(y.value), "symbol %s has size %d in the output, %d in the original", y.name, z.size, y.size)
		}
	}
}

// checkLocals: where the output has as many local symbols of a name as the located sections define, they are at those
// places.
func (v *checker) checkLocals() {
	want := map[string][]*section{}
	at := map[*section]map[string]uint64{}
	for _, s := range v.sections {
		if !s.located || s.doubtful || s.merged() {
			continue
		}
		for _, i := range s.syms {
			y := &s.obj.symbols[i]
			if y.bind() != elf.STB_LOCAL || y.kind() != elf.STT_FUNC && y.kind() != elf.STT_OBJECT {
				continue
			}
			want[y.name] = append(want[y.name], s)
			if at[s] == nil {
				at[s] = map[string]uint64{}
			}
			at[s][y.name] = s.addr + y.value
		}
	}
	for name, list := range want {
		found := map[uint64]bool{}
		n := 0
		for _, i := range v.out.byName[plain(name)] {
			if y := &v.out.symbols[i]; y.bind() == elf.STB_LOCAL {
				found[v.symbolValue(y)&v.arch.codeMask] = true
				n++
			}
		}
		if n < len(list) {
			continue
		}
		for _, s := range list {
			v.res.Symbols++
			if !found[at[s][name]&v.arch.codeMask] {
				v.fail(s, -1, "none of the %d symbols %s of the output is at 0x%x", n, name, at[s][name])
			}
		}
	}
}

// checkExports: what was exported is.
func (v *checker) checkExports() {
	for _, name := range v.claim.Exports {
		i, ok := v.out.dynamic[name]
		if !ok {
			i, ok = v.out.dynamic[plain(name)]
		}
		if !ok || v.out.dynsyms[i].shndx == 0 {
			v.fail(nil, -1, "symbol %s should be exported and is not", name)
			continue
		}
		v.res.Exports++
		if g := v.globals[name]; g != nil && g.obj.symbols[g.sym].defined() {
			y := &g.obj.symbols[g.sym]
			r := g.obj.sections[y.shndx].rep()
			if got := v.symbolValue(&v.out.dynsyms[i]); r.located && got != r.addr+y.value && y.kind() != elf.STT_GNU_IFUNC {
				v.fail(g.obj.sections[y.shndx], int64(y.value), "is exported as %s at 0x%x, but is at 0x%x", name, got, r.addr+y.value)
			}
		}
	}
}

// count notes how much of the inputs was not reached.
func (v *checker) count() {
	for _, s := range v.sections {
		if s.alloc() && s.size > 0 && !s.discarded && !s.merged() && !s.rep().located && !s.table() {
			v.res.Unlocated++
		}
	}
	if v.res.Functions == 0 && v.res.Folds > 0 {
		v.fail(nil, -1, "no function of the objects was found in it: a stripped output takes a link map")
	}
}
