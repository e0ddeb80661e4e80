package verify

import (
	"debug/elf"
	"sort"
	"strconv"
	"strings"
)

// arrayNames are the output sections whose words are functions that the start-up code calls in order.
var arrayNames = []string{".preinit_array", ".init_array", ".fini_array"}

// checkArrays: the words of the inputs' init and fini arrays are in the output's, all of them and in order. The inputs'
// order is that of their priorities (.init_array.N, the plain ones last), then of the link. Between them may be words of
// start-up objects that nobody claimed.
func (v *checker) checkArrays() {
	for _, name := range arrayNames {
		var list []*section
		for _, s := range v.sections {
			if (s.name == name || strings.HasPrefix(s.name, name+".")) && s.alloc() && !s.discarded && s.size > 0 {
				list = append(list, s)
			}
		}
		if len(list) == 0 {
			continue
		}
		plain := 1 << 30 // last, whatever the others' number
		if v.claim.Linker == "lld" || v.claim.Linker == "mold" {
			plain = 65536 // behind every priority of the source, but sanitizers have 65537
		}
		sort.SliceStable(list, func(i, j int) bool { return arrayPriority(list[i].name, plain) < arrayPriority(list[j].name, plain) })
		var out *outSection
		for i := range v.out.sections {
			if v.out.sections[i].name == name {
				out = &v.out.sections[i]
			}
		}
		if out == nil {
			v.fail(list[0], -1, "the output has no %s", name)
			continue
		}
		v.matchArray(list, out)
	}
}

// arrayPriority orders the input sections of an array as linkers do; plain is the place of those without a number.
func arrayPriority(name string, plain int) int {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		if n, err := strconv.Atoi(name[i+1:]); err == nil {
			return n
		}
	}
	return plain
}

// matchArray finds each input section in the output array, after the one before it.
func (v *checker) matchArray(list []*section, out *outSection) {
	at := out.addr
	for _, s := range list {
		if s.fate == Folded || s.fate == Thunk || s.fate == Dropped {
			continue // reported by legality; there is nothing to look for
		}
		found := false
		for addr := at; addr+s.size <= out.end; addr += v.out.word {
			if s.located && s.addr != addr || !v.arrayFits(s, addr) {
				continue
			}
			v.locate(s, addr, true, "its place in the array")
			v.res.Arrays += int(s.size / v.out.word)
			at, found = addr+s.size, true
			break
		}
		if !found {
			v.fail(s, -1, "its entries are not in %s after those that come before it", out.name)
		}
	}
}

// arrayFits says that the words at addr lead to the functions that the section's do.
func (v *checker) arrayFits(s *section, addr uint64) bool {
	if s.typ == uint32(elf.SHT_NOBITS) {
		return false
	}
	for i := range s.relocs {
		r := &s.relocs[i]
		t := &s.obj.targets[r.sym]
		p, err := v.out.wordAt(addr + r.off)
		if err != nil {
			return false
		}
		switch {
		case p.name != "":
			if plain(p.name) != plain(t.name) {
				return false
			}
		case t.kind == toSection:
			base := (p.addr - uint64(r.addend) - t.value) & v.arch.codeMask
			if to := t.sec.rep(); to.located && to.addr != base || !to.located && !v.holds(to, base) {
				return false
			}
		}
	}
	return true
}
