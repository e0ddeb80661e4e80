package merge

import (
	"strings"

	"leanlink/objfile"
)

// isVtable reports whether an anonymous constant of a Rust object is proven
// to be a vtable: a place whose function pointers the program calls and can
// never compare.
//
// The shape (drop glue or 0, size, alignment, methods) is not enough, for a
// promoted #[repr(C)] struct of a function, 16, 8 and another function has
// it, too, and its fields can be read. What the slots point to is the
// evidence: every method's name is of a form that methods of traits have,
// and there is drop glue in the first slot or an implementation's method
// among the others.
func (l *Link) isVtable(o *Object, i uint32) bool {
	f := o.File
	s := &f.Sections[i]
	word := uint64(f.WordSize())
	b := f.Bytes(i)
	n := uint64(len(b)) // not Size: SHT_NOBITS has none of its bytes here
	if !o.Rust || !strings.HasPrefix(s.Name, ".data.rel.ro.") && !strings.HasPrefix(s.Name, ".rodata.") || n < 3*word || n%word != 0 {
		return false
	}
	size, align := loadWord(b[word:], word), loadWord(b[2*word:], word)
	if align == 0 || align&(align-1) != 0 || align > 1<<29 || size%align != 0 {
		return false
	}
	if len(o.Symbols(i)) > 0 {
		all := true
		for _, k := range o.Symbols(i) {
			sym := f.Symbol(k)
			switch name := f.NameOf(&sym); {
			case strings.HasPrefix(name, "vtable."):
			case l.isLocalLabel(&sym, name), isAnonymous(name):
				all = false
			default:
				return false // a static, whose fields the program can read
			}
		}
		if all {
			return true
		}
	}
	rs := f.Relocs(i)
	traits, glue := false, false
	seen := make([]bool, n/word)
	for k := range rs.Len() {
		r := rs.At(k)
		if r.Offset%word != 0 || r.Offset >= word && r.Offset < 3*word {
			return false
		}
		kind := l.Arch.Reloc(r.Type)
		if kind.Kind != objfile.RelAbs || uint64(kind.Size) != word || seen[r.Offset/word] {
			return false
		}
		seen[r.Offset/word] = true
		addend, ok := l.addend(o, i, rs, r)
		if !ok {
			return false
		}
		t := l.resolveRef(o, r.Sym)
		name := ""
		switch t.kind {
		case toSection:
			ts := l.Section(t.sec)
			if ts.Flags&objfile.SHF_EXECINSTR == 0 {
				if r.Offset == 0 {
					return false
				}
				// The vtable of a supertrait; it proves nothing.
				continue
			}
			if l.codeStart(t, addend) != 0 {
				return false
			}
			name = l.functionName(t)
		case toSymbol:
			if !t.global {
				return false
			}
			name = l.symName[t.sym]
		default:
			return false
		}
		if r.Offset == 0 {
			if !isDropGlue(name) {
				return false
			}
			glue = true
			continue
		}
		switch evidence(name) {
		case slotPlain:
			return false
		case slotTrait:
			traits = true
		}
	}
	for k := range seen {
		if !seen[k] && k != 1 && k != 2 && loadWord(b[uint64(k)*word:], word) != 0 {
			return false
		}
	}
	return glue || traits
}

func loadWord(b []byte, n uint64) (v uint64) {
	for i := range n {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}

// codeStart is how far behind the start of a section's code a plain
// reference (not PC-relative) points; the Thumb bit does not count.
func (l *Link) codeStart(t target, addend int64) int64 {
	at := int64(t.value) + addend
	if l.Arch.Machine == objfile.EM_ARM {
		at &^= 1
	}
	return at
}

// functionName is the mangled name of the function that a reference names:
// the symbol's, or for a section symbol that of a function in the section.
func (l *Link) functionName(t target) string {
	if t.global {
		return l.symName[t.sym]
	}
	o, i := l.Of(t.sec)
	for _, k := range o.Symbols(i) {
		s := o.File.Symbol(k)
		if s.Type == objfile.STT_FUNC && s.Value&^1 == 0 {
			return o.File.NameOf(&s)
		}
	}
	return ""
}

// isDropGlue recognises core::ptr::drop_in_place::<T> (drop_glue::<T> in
// later compilers) in both manglings.
func isDropGlue(name string) bool {
	switch {
	case strings.HasPrefix(name, "_ZN4core3ptr"):
		rest := strings.TrimLeft(name[len("_ZN4core3ptr"):], "0123456789")
		return strings.HasPrefix(rest, "drop_in_place$LT$") || strings.HasPrefix(rest, "drop_glue$LT$")
	case strings.HasPrefix(name, "_RINvNtC"):
		// _R I <path of core::ptr::drop_in_place> <type> E
		rest := name[len("_RINvNtC"):]
		if len(rest) > 0 && rest[0] == 's' { // disambiguator: s<base-62>_
			if k := strings.IndexByte(rest, '_'); k > 0 {
				rest = rest[k+1:]
			}
		}
		return strings.HasPrefix(rest, "4core3ptr13drop_in_place") || strings.HasPrefix(rest, "4core3ptr9drop_glue")
	}
	return false
}

// slotEvidence is what a mangled name says of its being in a vtable.
type slotEvidence uint8

const (
	slotPlain   slotEvidence = iota // a free function: speaks against a vtable
	slotDefault                     // Path::Name::method: a trait's default method, or an inherent one
	slotTrait                       // a method of a trait implementation, or a shim made for vtables
)

// evidence reads a mangled name, legacy or v0.
//
// The legacy mangling writes <T as Trait>::method for an implementation in
// the type's or trait's own module and <impl Trait for T>::method elsewhere,
// but a trait's default method is only crate::module::Trait::method; rustc
// warns of types and traits whose names don't begin with a capital, and of
// modules whose names do. The v0 mangling has a production for each.
func evidence(name string) slotEvidence {
	switch {
	case strings.HasPrefix(name, "_ZN"):
		var space [16]string
		parts := legacyPath(space[:0], name)
		if len(parts) > 0 && len(parts[len(parts)-1]) == 17 && parts[len(parts)-1][0] == 'h' {
			parts = parts[:len(parts)-1]
		}
		for _, p := range parts {
			if strings.Contains(p, "$u20$as$u20$") || strings.Contains(p, "$LT$impl$u20$") && strings.Contains(p, "$u20$for$u20$") ||
				strings.Contains(p, "$u7b$$u7b$vtable.shim$u7d$$u7d$") {
				return slotTrait
			}
		}
		n := len(parts)
		if n == 0 {
			return slotPlain
		}
		if strings.HasPrefix(parts[n-1], "_$u7b$$u7b$closure") || strings.HasPrefix(parts[n-1], "$u7b$$u7b$closure") || strings.Contains(parts[n-1], "$u7b$$u7b$closure$u7d$$u7d$") {
			return slotDefault // the body of a closure, as Fn::call
		}
		if n >= 3 && parts[n-2][0] >= 'A' && parts[n-2][0] <= 'Z' {
			return slotDefault
		}
		return slotPlain
	case strings.HasPrefix(name, "_RNvX"), strings.HasPrefix(name, "_RNvY"),
		strings.HasPrefix(name, "_RINvX"), strings.HasPrefix(name, "_RINvY"), strings.HasPrefix(name, "_RNSNv"):
		return slotTrait
	case strings.HasPrefix(name, "_RNC"), strings.HasPrefix(name, "_RINC"):
		return slotDefault
	}
	return slotPlain
}

// legacyPath appends the parts of _ZN<length><component>…E; nil if the name has
// another form.
func legacyPath(parts []string, name string) []string {
	s := name[len("_ZN"):]
	for s != "" && s[0] != 'E' {
		n, k := 0, 0
		for k < len(s) && s[k] >= '0' && s[k] <= '9' && n <= len(name) {
			n = n*10 + int(s[k]-'0')
			k++
		}
		if k == 0 || n == 0 || n > len(s)-k {
			return nil
		}
		parts, s = append(parts, s[k:k+n]), s[k+n:]
	}
	return parts
}
