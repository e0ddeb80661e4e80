package verify

import (
	"debug/elf"
	"encoding/binary"
	"strings"
)

// targetKind says what a symbol stands for in the link as a whole.
type targetKind uint8

const (
	toNothing   targetKind = iota // symbol 0
	toSection                     // a place in a section
	toUndefined                   // defined by a shared object, the linker, or an input that is not claimed
	toAbsolute                    // a number
	toCommon                      // a common symbol, which the linker places
)

// target is what a symbol of an object stands for after resolution.
type target struct {
	kind  targetKind
	sec   *section // for toSection
	value uint64   // offset in sec, or the absolute value
	def   *symbol  // the symbol that defines it
	name  string   // of a global symbol, else ""
	local bool     // a local or section symbol
	whole bool     // a section symbol: the addend, too, says which piece is meant
	weak  bool     // for toUndefined: weak, so it may be nothing
	free  bool     // named in Claim.Provided
}

func (t *target) ifunc() bool { return t.def != nil && t.def.kind() == elf.STT_GNU_IFUNC }
func (t *target) tls() bool {
	return t.def != nil && t.def.kind() == elf.STT_TLS || t.sec != nil && t.sec.tls()
}

// global is the definition that the link chose for a name.
type global struct {
	obj  *object
	sym  uint32
	rank int
}

// The strength of a definition; the first of the strongest wins.
const (
	rankWeak = iota + 1
	rankCommon
	rankStrong
)

// resolve finds which COMDAT groups and which definitions a linker keeps, and what each symbol then stands for.
func (v *checker) resolve() {
	v.dropGroups()
	for _, s := range v.sections {
		s.outside = s.alloc() && v.out.unloaded(s.name)
	}
	v.globals = map[string]*global{}
	for _, o := range v.objects {
		for i := range o.symbols {
			y := &o.symbols[i]
			if y.bind() == elf.STB_LOCAL || y.shndx == 0 {
				continue
			}
			if y.defined() && o.sections[y.shndx].discarded {
				continue
			}
			rank := rankStrong
			switch {
			case y.bind() == elf.STB_WEAK:
				rank = rankWeak
			case y.shndx == shnCommon:
				rank = rankCommon
			}
			if g := v.globals[y.name]; g == nil || rank > g.rank {
				v.globals[y.name] = &global{o, uint32(i), rank}
			}
		}
	}
	for _, o := range v.objects {
		o.targets = make([]target, len(o.symbols))
		for i := range o.symbols {
			o.targets[i] = v.target(o, uint32(i))
		}
	}
}

func (v *checker) target(o *object, i uint32) target {
	y := &o.symbols[i]
	if i == 0 {
		return target{}
	}
	t := target{def: y}
	if y.bind() == elf.STB_LOCAL {
		t.local, t.whole = true, y.kind() == elf.STT_SECTION
	} else {
		t.name, t.free = y.name, v.provided[plain(y.name)]
		g := v.globals[y.name]
		if g == nil || t.free {
			t.kind, t.weak = toUndefined, y.bind() == elf.STB_WEAK
			return t
		}
		o, y = g.obj, &g.obj.symbols[g.sym]
		t.def = y
	}
	switch {
	case y.defined():
		t.kind, t.sec, t.value = toSection, o.sections[y.shndx], y.value
	case y.shndx == shnCommon:
		t.kind = toCommon
	case y.shndx == 0:
		t.kind, t.name = toUndefined, y.name
	default:
		t.kind, t.value = toAbsolute, y.value
	}
	return t
}

// dropGroups discards the sections of every COMDAT group but the first of its signature, and of every
// .gnu.linkonce section but the first of its name.
func (v *checker) dropGroups() {
	seen := map[string]bool{}
	for _, o := range v.objects {
		for _, s := range o.sections {
			if strings.HasPrefix(s.name, ".gnu.linkonce.") && s.alloc() {
				if seen[s.name] {
					s.discarded = true
				}
				seen[s.name] = true
			}
			if s.typ != shtGroup || len(s.data) < 4 || binary.LittleEndian.Uint32(s.data)&1 == 0 {
				continue
			}
			name := ""
			if int(s.info) < len(o.symbols) {
				y := &o.symbols[s.info]
				if name = y.name; y.kind() == elf.STT_SECTION && y.defined() {
					name = o.sections[y.shndx].name
				}
			}
			name = "comdat " + name
			if !seen[name] {
				seen[name] = true
				continue
			}
			for d := s.data[4:]; len(d) >= 4; d = d[4:] {
				if n := binary.LittleEndian.Uint32(d); int(n) < len(o.sections) {
					o.sections[n].discarded = true
				}
			}
		}
	}
}

// applyFates notes the claim on the sections it is about. A claim about a section or leader that there is not, or
// that is itself gone, is a mismatch, and then nothing is believed of it.
func (v *checker) applyFates() {
	for i := range v.claim.Objects {
		o := v.objects[i]
		for n, f := range v.claim.Objects[i].Fates {
			if f.Kind == Unknown {
				continue
			}
			if n >= len(o.sections) {
				if !o.opaque {
					v.res.Mismatches = append(v.res.Mismatches, Mismatch{o.name, "", -1, "the claim names a section that the object does not have"})
				}
				break
			}
			s := o.sections[n]
			if o.opaque && f.Kind != Kept {
				v.fail(s, -1, "claimed as changed, though the object is one left alone")
				continue
			}
			if f.Kind == Kept || f.Kind == Dropped {
				s.fate = f.Kind
				continue
			}
			if int(f.Object) >= len(v.objects) || int(f.Section) >= len(v.objects[f.Object].sections) {
				v.fail(s, -1, "the claim names a leader that there is not")
				continue
			}
			s.fate, s.leader = f.Kind, v.objects[f.Object].sections[f.Section]
		}
	}
	for _, s := range v.sections {
		if s.leader == nil {
			continue
		}
		l := s.leader
		switch {
		case l == s:
			v.fail(s, -1, "its own leader")
		case l.fate != Kept && l.fate != Unknown:
			v.fail(s, -1, "its leader %s was itself not kept", l.where())
		case l.discarded:
			v.fail(s, -1, "its leader %s lost to another COMDAT group", l.where())
		default:
			continue
		}
		s.fate, s.leader = Unknown, nil
	}
}
