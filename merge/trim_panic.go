package merge

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"

	"github.com/ianlancetaylor/demangle"

	"leanlink/objfile"
)

//go:embed trim_panics.txt
var panicList string

// panicEntry is one line of trim_panics.txt. Releases are minor versions of
// Rust 1.
type panicEntry struct {
	path         string
	since, until int // until is 0 for those that the newest checked release has
	generic      bool
}

// panicEntries are the functions that a panic begins with, by path. Most links
// never ask.
var panicEntries = sync.OnceValue(func() map[string]panicEntry { return parsePanics(panicList) })

func parsePanics(text string) map[string]panicEntry {
	minor := func(s string) int {
		n, _ := strconv.Atoi(strings.TrimPrefix(s, "1."))
		return n
	}
	m := map[string]panicEntry{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 3 && f[0] != "#" {
			m[f[0]] = panicEntry{f[0], minor(f[1]), minor(f[2]), len(f) > 3}
		}
	}
	return m
}

// expected says whether a release's standard library should have the entry.
func (p *panicEntry) expected(minor int) bool {
	return !p.generic && minor >= p.since && (p.until == 0 || minor <= p.until)
}

// panicPath is the path of a panic entry point that a symbol of either
// mangling names, "" for all other symbols.
func panicPath(name string) string {
	// Demangling everything would take longer than the rest of the trim.
	hint := false
	for _, h := range [...]string{"panic", "fail", "overflow", "_error", "rust_", "rust_oom", "resume_unwind", "begin_unwind"} {
		hint = hint || strings.Contains(name, h)
	}
	if !hint {
		return ""
	}
	path := name
	if IsRustName(name) {
		path = demangle.Filter(name, demangle.NoTemplateParams, demangle.NoParams)
		if k := strings.LastIndex(path, "::h"); k >= 0 && len(path)-k == 19 {
			path = path[:k]
		}
		path = strings.TrimSuffix(strings.TrimPrefix(path, "__rustc::"), "::<>")
		path = vecPath().ReplaceAllString(path, "alloc::vec::Vec::")
		path = strings.Replace(path, "core::slice::<impl [T]>::", "core::slice::", 1)
	}
	if _, ok := panicEntries()[path]; !ok || path == name && !strings.Contains(name, "rust_") {
		return ""
	}
	return path
}

// vecPath is how the manglings write the type Vec in a path.
var vecPath = pattern(`^(<alloc::vec::Vec<[^>]*>>|alloc::vec::Vec<T,A>|alloc::vec::Vec\$LT\$T\$C\$A\$GT\$)::`)

// unwinder names an object by which panics unwind, "" if none does: the
// runtime that unwinds is the only Rust code that raises an exception.
func (l *Link) unwinder() string {
	raise, ok := l.names.lookUp("_Unwind_RaiseException")
	if !ok {
		return ""
	}
	for _, o := range l.Objects {
		for k, id := range o.globals {
			if s := o.File.Symbol(o.File.FirstGlobal + uint32(k)); id == raise && o.Rust && !s.Defined() {
				return o.File.Name
			}
		}
	}
	return ""
}

// dynamicStd reports whether the panic runtime is in a shared object, where
// no trim reaches it: one has its language items, or the objects lack them.
func (l *Link) dynamicStd() bool {
	for name := range l.opt.Wanted {
		if strings.HasSuffix(name, "rust_begin_unwind") || name == "rust_eh_personality" {
			return true
		}
	}
	for id, name := range l.symName {
		if strings.HasSuffix(name, "__rust_start_panic") || strings.HasSuffix(name, "rust_begin_unwind") {
			if l.defs[id].rank == rankNone {
				return true
			}
		}
	}
	return false
}

// traps replaces the bodies of panic entry points.
func (x *trimmer) traps() error {
	l := x.l
	if name := l.unwinder(); name != "" {
		return &TrimError{"trim.panic", "panics unwind in this program (" + name + " raises exceptions), and could be caught: build with panic = \"abort\""}
	}
	if l.dynamicStd() {
		return &TrimError{"trim.panic", "the panic runtime is in a shared object (prefer-dynamic), which is not trimmed"}
	}
	found := map[string]bool{}
	releases := map[string]int{} // the standard library's crates in this link, with Rust's minor version
	var kept []string
	for _, o := range l.Objects {
		if !o.Rust || o.Reason != "" {
			continue
		}
		crate := stdCrate(o.File.Name)
		if crate != "" {
			releases[crate] = rustMinor(o.File)
		}
		for i := range o.File.Sections {
			paths, alone := l.panicEntryOf(o, uint32(i))
			if len(paths) == 0 {
				continue
			}
			if !alone {
				kept = append(kept, paths...)
				continue
			}
			for _, p := range paths {
				found[p] = true
			}
			x.trap(o, uint32(i))
			x.out.Traps++
		}
	}
	var missing []string
	for path, e := range panicEntries() {
		crate, _, ok := strings.Cut(path, "::")
		if !ok {
			crate = "std"
		}
		if minor := releases[crate]; minor > 0 && e.expected(minor) && !found[path] {
			missing = append(missing, path)
		}
	}
	for _, path := range kept {
		if !found[path] {
			missing = append(missing, path)
		}
	}
	if x.out.Traps == 0 && len(missing) == 0 {
		missing = append(missing, "core::panicking")
	}
	x.missing("trim.panic", missing)
	for i, cuts := range x.out.Cuts {
		for k, cut := range cuts {
			if cut == CutTrap {
				x.ignored[l.Objects[i].Base+SecID(k)] = allRegisters
			}
		}
	}
	return nil
}

// stdCrate is the crate of the standard library that rustc brought an object
// from, "" for all others. One that Cargo built (build-std) may lack functions
// that were inlined.
func stdCrate(object string) string {
	file, _, ok := strings.Cut(object, "(")
	if !ok || !strings.Contains(file, "/rustlib/") {
		return ""
	}
	file = file[strings.LastIndexByte(file, '/')+1:]
	for _, c := range [...]string{"core", "alloc", "std"} {
		if strings.HasPrefix(file, "lib"+c+"-") {
			return c
		}
	}
	return ""
}

// rustMinor is the minor version of the rustc that compiled an object, 0 if
// unknown.
func rustMinor(f *objfile.File) int {
	for i := range f.Sections {
		if f.Sections[i].Name != ".comment" {
			continue
		}
		_, v, _ := strings.Cut(string(f.Bytes(uint32(i))), "rustc version 1.")
		n := 0
		for k := 0; k < len(v) && v[k] >= '0' && v[k] <= '9' && k < 6; k++ {
			n = n*10 + int(v[k]-'0')
		}
		return n
	}
	return 0
}

// panicEntryOf names the panic entry points that a section holds. alone says
// that it holds nothing else, and that nothing can take its place.
func (l *Link) panicEntryOf(o *Object, i uint32) (paths []string, alone bool) {
	s := &o.File.Sections[i]
	if s.Flags&objfile.SHF_EXECINSTR == 0 || s.Type != objfile.SHT_PROGBITS {
		return nil, false
	}
	alone = !s.MultiRel
	for _, k := range o.Symbols(i) {
		sym := o.File.Symbol(k)
		if sym.Type != objfile.STT_FUNC {
			continue
		}
		p := panicPath(o.File.NameOf(&sym))
		if p == "" || sym.Value&^l.thumbBit(&sym) != 0 {
			alone = false
			continue
		}
		paths = append(paths, p)
	}
	return paths, alone
}

// Trap is a body for a function that traps, and its alignment. thumb says
// that an ARM function is one of Thumb code.
func Trap(machine uint16, thumb bool) (code []byte, align uint64) {
	switch {
	case machine == objfile.EM_X86_64:
		return []byte{0x0f, 0x0b}, 1 // ud2
	case machine == objfile.EM_AARCH64:
		return []byte{0x20, 0x00, 0x20, 0xd4}, 4 // brk #1
	case machine == objfile.EM_ARM && thumb:
		return []byte{0xfe, 0xde}, 2 // udf #254
	case machine == objfile.EM_ARM:
		return []byte{0xf0, 0x01, 0xf0, 0xe7}, 4 // udf #16
	case machine == objfile.EM_RISCV:
		return []byte{0x73, 0x00, 0x10, 0x00}, 4 // ebreak
	}
	return nil, 0
}

// trap makes a section's function a trap.
func (x *trimmer) trap(o *Object, i uint32) {
	thumb := false
	for _, k := range o.Symbols(i) {
		s := o.File.Symbol(k)
		thumb = thumb || s.Type == objfile.STT_FUNC && s.Value&1 != 0
	}
	code, align := Trap(o.File.Machine, thumb)
	if code == nil || uint64(len(code)) > o.File.Sections[i].Size {
		return
	}
	x.cutBody(o, i, code, nil, align)
	x.out.Cuts[o.index][i] = CutTrap
}

// cutBody gives a function a shorter body. Its frame entries cover that, have
// no exception table and no rows of their own: at each of its instructions the
// frame is as it was at the call.
func (x *trimmer) cutBody(o *Object, i uint32, code []byte, relocs []objfile.Reloc, align uint64) {
	f, e, l := o.File, x.edit(o), x.l
	e.SetContents(i, code, relocs)
	e.SetAlign(i, align)
	for _, k := range o.Symbols(i) {
		s := f.Symbol(k)
		switch {
		case s.Size != 0:
			s.Size = uint64(len(code))
		case s.Value > uint64(len(code)) && l.Arch.Mapping && strings.HasPrefix(f.SymbolName(k), "$"):
			s = objfile.Symbol{} // says what code is that is no longer there
		case s.Value > uint64(len(code)):
			s.Value = uint64(len(code))
		default:
			continue
		}
		if err := e.SetSymbol(k, s); err != nil {
			continue // Write tells of it
		}
	}
	for _, ref := range o.framesOf(i) {
		eh := o.frames[ref.frame]
		fde := &eh.FDEs[ref.fde]
		rs := f.Relocs(eh.Section)
		size := make([]byte, fde.FieldSize)
		size[0] = byte(len(code))
		for _, k := range o.innerRelocs(ref) {
			r := rs.At(k)
			if r.Offset == fde.PCRange() {
				size[0] = 0 // the labels say it
				continue
			}
			e.SetReloc(eh.Section, k, objfile.Reloc{Offset: r.Offset, Type: l.Arch.None})
		}
		e.Patch(eh.Section, fde.PCRange(), size)
		if ref.lsda >= 0 {
			e.SetReloc(eh.Section, int(ref.lsda), objfile.Reloc{Offset: rs.At(int(ref.lsda)).Offset, Type: l.Arch.None})
		}
		if fde.LSDA() != 0 {
			e.Patch(eh.Section, fde.LSDA(), make([]byte, fde.LSDASize))
		}
		e.Patch(eh.Section, fde.InstrOff(), make([]byte, fde.End()-fde.InstrOff()))
	}
}
