package merge

import (
	"regexp"
	"strings"
	"sync"

	"github.com/ianlancetaylor/demangle"

	"leanlink/objfile"
)

// The standard library resolves an address of a backtrace in one function,
// which hands what it finds to a closure; where it finds nothing, the caller
// prints the address alone. With a body that only returns nothing is ever
// found, and gimli, addr2line, object and miniz_oxide are unreachable.

// symbolizer is that function's path. It returns nothing, and the closure
// that it is given owns nothing. Checked with Rust 1.77.2, 1.95.0 and 1.97
// nightly.
const symbolizer = "std::backtrace_rs::symbolize::gimli::Cache::with_global"

// pattern is a regular expression that is made ready when it is first used:
// most links trim nothing.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

var symbolizerPath = pattern(`^<?std::backtrace_rs::symbolize::gimli::Cache>?::with_global(::<[^>]*>)?(::h[0-9a-f]{16})?$`)

// Return is a body for a function that returns at once, and its alignment.
func Return(machine uint16, thumb bool) (code []byte, align uint64) {
	switch {
	case machine == objfile.EM_X86_64:
		return []byte{0xc3}, 1 // ret
	case machine == objfile.EM_AARCH64:
		return []byte{0xc0, 0x03, 0x5f, 0xd6}, 4 // ret
	case machine == objfile.EM_ARM && thumb:
		return []byte{0x70, 0x47}, 2 // bx lr
	case machine == objfile.EM_ARM:
		return []byte{0x1e, 0xff, 0x2f, 0xe1}, 4 // bx lr
	case machine == objfile.EM_RISCV:
		return []byte{0x67, 0x80, 0x00, 0x00}, 4 // ret
	}
	return nil, 0
}

// backtraces cuts the symbolizer.
func (x *trimmer) backtraces() {
	std := false
	for _, o := range x.l.Objects {
		if !o.Rust || o.Reason != "" {
			continue
		}
		std = std || stdCrate(o.File.Name) == "std"
		for i := range o.File.Sections {
			if thumb, ok := o.isSymbolizer(uint32(i)); ok {
				code, align := Return(o.File.Machine, thumb)
				if code == nil || uint64(len(code)) > o.File.Sections[i].Size {
					continue
				}
				x.cutBody(o, uint32(i), code, nil, align)
				x.out.Cuts[o.index][i] = CutReturn
				x.out.Symbolizers++
			}
		}
	}
	if x.out.Symbolizers > 0 {
		x.demangler()
	}
	if std && x.out.Symbolizers == 0 {
		x.missing("trim.backtrace", []string{symbolizer})
	}
}

// isSymbolizer reports whether a section holds the symbolizer alone.
func (o *Object) isSymbolizer(i uint32) (thumb, ok bool) {
	s := &o.File.Sections[i]
	if s.Flags&objfile.SHF_EXECINSTR == 0 || s.Type != objfile.SHT_PROGBITS || s.MultiRel {
		return false, false
	}
	for _, k := range o.Symbols(i) {
		sym := o.File.Symbol(k)
		if sym.Type != objfile.STT_FUNC {
			continue
		}
		name := o.File.NameOf(&sym)
		if !strings.Contains(name, "with_global") || !IsRustName(name) || sym.Value > 1 ||
			!symbolizerPath().MatchString(demangle.Filter(name, demangle.NoTemplateParams, demangle.NoParams)) {
			return false, false
		}
		ok, thumb = true, thumb || sym.Value == 1
	}
	return thumb, ok
}

// demangler cuts the standard library's own copy of rustc_demangle, which only
// prints the names that the symbolizer finds. Without names nothing calls it,
// but closures that print them stay reachable. It is a crate of its own, and
// no one else can name it; but what it has instances of, such as <&str as
// Display>::fmt, other crates may share with it. Link-time optimisation puts it into an object with
// others; there the names tell it apart.
func (x *trimmer) demangler() {
	crate := x.l.stdDemangler()
	for _, o := range x.l.Objects {
		if !o.Rust || o.Reason != "" {
			continue
		}
		file, _, ok := strings.Cut(o.File.Name, "(")
		alone := ok && strings.Contains(file, "/rustlib/") && strings.Contains(file, "/librustc_demangle-")
		if !alone && crate == "" {
			continue
		}
		for i := range o.File.Sections {
			s := &o.File.Sections[i]
			if s.Flags&objfile.SHF_EXECINSTR == 0 || s.Type != objfile.SHT_PROGBITS || s.MultiRel {
				continue
			}
			functions, own := 0, 0
			for _, k := range o.Symbols(uint32(i)) {
				if sym := o.File.Symbol(k); sym.Type == objfile.STT_FUNC {
					functions++
					name := o.File.NameOf(&sym)
					if sym.Value&^x.l.thumbBit(&sym) == 0 && (alone && definedBy(name, "14rustc_demangle") || definedBy(name, crate)) {
						own++
					}
				}
			}
			if functions > 0 && functions == own {
				x.trap(o, uint32(i))
				x.ignored[o.Base+SecID(i)] = allRegisters
			}
		}
	}
}

// stdBacktraces is in the names of the standard library's functions that call
// its demangler, and demanglerCrate in those of a demangler: its crate, with
// the number that tells it from others of that name.
var (
	stdBacktraces  = pattern(`^_R[A-Za-z0-9_]*Cs[0-9A-Za-z]+_3std12backtrace_rs9symbolize`)
	demanglerCrate = pattern(`^_RNv(?:Nt|Ms?[0-9a-zA-Z]*_)*(Cs[0-9A-Za-z]+_14rustc_demangle)`)
)

// stdDemangler is how names have the crate of the standard library's own copy
// of rustc_demangle: its symbolizer calls that one and no other. It is "" if
// there is none, or if that is not clear.
func (l *Link) stdDemangler() string {
	crate := ""
	for _, o := range l.Objects {
		if !o.Rust || o.Reason != "" {
			continue
		}
		for i := range o.File.Sections {
			if s := &o.File.Sections[i]; s.Flags&objfile.SHF_EXECINSTR == 0 || s.Rel == 0 || s.MultiRel || !o.isNamed(uint32(i), stdBacktraces()) {
				continue
			}
			rs := o.File.Relocs(uint32(i))
			for k := range rs.Len() {
				t := o.target(rs.At(k).Sym)
				if t.kind != toSection {
					continue
				}
				to, sec := l.Of(t.sec)
				for _, k := range to.Symbols(sec) {
					m := demanglerCrate().FindStringSubmatch(to.File.SymbolName(k))
					switch {
					case m == nil:
					case crate != "" && crate != m[1]:
						return ""
					default:
						crate = m[1]
					}
				}
			}
		}
	}
	return crate
}

// isNamed reports whether a symbol of a section has a name like that.
func (o *Object) isNamed(i uint32, like *regexp.Regexp) bool {
	for _, k := range o.Symbols(i) {
		if name := o.File.SymbolName(k); strings.Contains(name, "backtrace_rs") && like.MatchString(name) {
			return true
		}
	}
	return false
}

// definedBy reports whether a name is of a function that a crate defines, and
// not only one that it has an instance of: the crate is in the name before the
// end. In the other mangling, names have no crate but of what is defined.
func definedBy(name, crate string) bool {
	if !strings.HasPrefix(name, "_ZN") {
		name, _, _ = strings.Cut(name, ".") // what LLVM puts behind it
	}
	k := -1
	if crate != "" && IsRustName(name) {
		k = strings.Index(name, crate)
	}
	return k >= 0 && k+len(crate) < len(name)
}
