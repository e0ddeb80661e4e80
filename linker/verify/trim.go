package verify

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A trim cuts something out of an object before anything is folded. The rest of the check is about the trimmed object;
// here that is held against the one that the link was given: what is claimed to be cut is exactly what the trim may leave
// in its place, and nothing else differs.

// CutKind says what a trim left of a section.
type CutKind uint8

// The cuts.
const (
	CutNone     CutKind = iota
	CutTrap             // a function whose body is a trap
	CutLocation         // a core::panic::Location without file, line and column
	CutReturn           // a function whose body is a return
	CutFrames           // an empty frame table
	CutRows             // a frame table with the rows that calls need
	CutOperands         // code that no longer loads some addresses
	CutMessage          // the function that panics with messages go through, with an empty one
	CutHandOn           // a function that only hands its Location on to that one
	CutEnds             // code whose ways to nothing but a trap are traps, or gone
	CutTable            // the jump table of such code, which was moved

	CutAligned CutKind = 1 << 7 // besides: a function that may lie anywhere
)

// body says that the function has another body.
func (c CutKind) body() bool { return c == CutTrap || c == CutReturn || c == CutHandOn }

// CheckTrims proves of trimmed objects what Check does, before anything is linked.
func CheckTrims(objects []Object) (*Result, error) {
	if len(objects) == 0 {
		return &Result{}, nil
	}
	f, err := openELF(objects[0].Name, objects[0].Data)
	if err != nil {
		return nil, err
	}
	v := &checker{claim: &Claim{Objects: objects}, res: &Result{}, out: &output{word: 4}, shared: map[*section]bool{}}
	if f.Class == elf.ELFCLASS64 {
		v.out.word = 8
	}
	for _, a := range archs {
		if a.machine == f.Machine && a.class == f.Class {
			v.arch = a
		}
	}
	if v.arch == nil {
		return nil, fmt.Errorf("%s: %w: %v %v", objects[0].Name, ErrMachine, f.Machine, f.Class)
	}
	v.res.Machine = v.arch.name
	if err := v.readObjects(); err != nil {
		return nil, err
	}
	v.resolve()
	if err := v.proveCuts(); err != nil {
		return nil, err
	}
	return v.res, nil
}

// proveCuts compares each trimmed object with its original.
func (v *checker) proveCuts() error {
	originals := make([]*object, len(v.claim.Objects))
	v.originals = map[*section]*section{}
	for i := range v.claim.Objects {
		in := &v.claim.Objects[i]
		if in.Untrimmed == nil {
			if in.Cuts != nil {
				return errAt(in.Name, "something was cut, but there is no original to compare")
			}
			continue
		}
		was, err := readObject(&Object{Name: in.Name, Data: in.Untrimmed}, i, v.arch)
		if err != nil {
			return err
		}
		originals[i] = was
		for k, s := range v.objects[i].sections {
			if k < len(was.sections) {
				v.originals[s] = was.sections[k]
			}
		}
	}
	for i, was := range originals {
		if was != nil {
			v.proveCut(was, v.objects[i], v.claim.Objects[i].Cuts)
		}
	}
	v.proveInside()
	return nil
}

func (v *checker) proveCut(was, is *object, cuts []CutKind) {
	whole := &section{obj: is, name: "headers"}
	if len(was.sections) != len(is.sections) || len(was.symbols) != len(is.symbols) {
		v.fail(whole, -1, "the trimmed object has %d sections and %d symbols, the original %d and %d",
			len(is.sections), len(is.symbols), len(was.sections), len(was.symbols))
		return
	}
	cut := func(i uint32) CutKind {
		if int(i) < len(cuts) {
			return cuts[i]
		}
		return CutNone
	}
	for i := range was.symbols {
		x, y := was.symbols[i], is.symbols[i]
		k := CutNone
		if x.defined() {
			k = cut(x.shndx)
		}
		if k.body() || k == CutLocation {
			if y == (symbol{name: x.name}) && x.bind() == elf.STB_LOCAL && x.kind() == elf.STT_NOTYPE {
				continue // a mapping symbol of what is gone
			}
			x.value, x.size, y.value, y.size = 0, 0, 0, 0
		}
		if k&^CutAligned == CutEnds && v.shortenedSymbol(&x, &y, was.sections[x.shndx], is.sections[x.shndx]) {
			continue
		}
		if x != y {
			v.fail(whole, -1, "the trim changed the symbol %s", was.symbols[i].name)
		}
	}
	for i, a := range was.sections {
		b, kind := is.sections[i], cut(uint32(i))
		if kind&CutAligned != 0 {
			if what := v.unlikeAligned(a, b); what != "" {
				v.fail(b, -1, "%s", what)
			}
			v.res.Cuts++
			same := *b
			same.align = a.align
			b, kind = &same, kind&^CutAligned
		}
		if kind == CutFrames && v.leftOut(a, b) {
			v.res.Cuts++
			continue
		}
		if a.name != b.name || a.typ != b.typ || a.flags != b.flags || a.link != b.link || a.info != b.info || a.ent != b.ent {
			v.fail(b, -1, "the trim changed the section's header")
		}
		switch {
		case kind != CutNone:
			v.res.Cuts++
			if what := v.unlikeCut(a, b, kind, cut); what != "" {
				v.fail(b, 0, "%s", what)
			}
		case a.name == ".eh_frame" && a.alloc():
			if what := unlikeCutFrames(a, b, cut); what != "" {
				v.fail(b, -1, "%s", what)
			}
		case a.typ == uint32(elf.SHT_SYMTAB), a.typ == uint32(elf.SHT_STRTAB):
		case a.typ == uint32(elf.SHT_RELA) || a.typ == uint32(elf.SHT_REL):
			if to := was.sections[a.info]; !to.alloc() && !bytes.Equal(a.data, b.data) {
				v.fail(b, -1, "the trim changed relocations of %s", to.name)
			}
		case a.align != b.align || a.size != b.size || !bytes.Equal(a.data, b.data) || !slices.Equal(a.relocs, b.relocs):
			v.fail(b, -1, "the trim changed the section, but claims not to")
		}
	}
}

// unlikeCut says what makes a section other than what the cut may leave of the original; "" if it is that.
func (v *checker) unlikeCut(was, is *section, kind CutKind, cut func(uint32) CutKind) string {
	switch kind {
	case CutTrap:
		if strings.Contains(was.obj.name, "/librustc_demangle-") && strings.Contains(was.obj.name, "/rustlib/") {
			return v.unlikeBody(was, is, trapBodies, demanglerName(), "trap") // the standard library's own
		}
		if own := v.ownDemangler(); own != nil && !slices.ContainsFunc(was.syms, func(k uint32) bool { return panicName().MatchString(was.obj.symbols[k].name) }) {
			return v.unlikeBody(was, is, trapBodies, own, "trap")
		}
		return v.unlikeBody(was, is, trapBodies, panicName(), "trap")
	case CutReturn:
		return v.unlikeBody(was, is, returnBodies, symbolizerName(), "return")
	case CutFrames:
		if was.name != ".eh_frame" || len(is.data) > 0 || len(is.relocs) > 0 {
			return fmt.Sprintf("should be an empty frame table, but has %d bytes", len(is.data))
		}
		return ""
	case CutLocation:
		return v.unlikeLocation(was, is)
	case CutRows:
		return v.unlikeCallRows(was, is, cut)
	case CutOperands:
		return v.unlikeOperands(was, is)
	case CutMessage:
		return v.unlikeMessage(was, is)
	case CutHandOn:
		return v.unlikeHandOn(was, is)
	case CutEnds:
		return v.unlikeEnds(was, is)
	case CutTable:
		return v.unlikeTable(was, is)
	}
	return fmt.Sprintf("a cut of a kind that is not known: %d", kind)
}

// leftOut says that a section of an exception index is left out of the output, whatever it holds.
func (v *checker) leftOut(was, is *section) bool {
	flags := was.flags&^uint64(elf.SHF_ALLOC) | shfExclude
	return v.arch.exidx != 0 && was.typ == v.arch.exidx && strings.HasPrefix(was.name, ".ARM.exidx") && was.name == is.name && is.typ == was.typ &&
		is.flags == flags && is.align == was.align && is.link == was.link && is.size == was.size
}

// unlikeLocation says what makes a constant none that had the form of a Location and has now no name, line 1 and column
// 1; "" if it is one.
func (v *checker) unlikeLocation(was, is *section) string {
	word := v.out.word
	const name = "<redacted>\x00"
	if was.size != 2*word+8 || is.size != was.size+uint64(len(name)) || len(was.relocs) != 1 || len(is.relocs) != 1 || was.align != is.align {
		return "no Location has this form"
	}
	x, y := was.relocs[0], is.relocs[0]
	if x.off != 0 || y.off != 0 || x.typ != y.typ {
		return "no Location has these relocations"
	}
	want := make([]byte, 2*word+8)
	want[word], want[2*word], want[2*word+4] = byte(len(name)-1), 1, 1
	if want = append(want, name...); !bytes.Equal(is.data[word:], want[word:]) {
		return fmt.Sprintf("the length, line, column and name should be %x, but are %x", want[word:], is.data[word:])
	}
	to := &is.obj.symbols[y.sym]
	if to.shndx != uint32(is.index) || to.value+uint64(y.addend) != was.size {
		return "the name should be the one behind the Location"
	}
	// The name that was: of the length that is given, with a NUL behind it, and a Rust file's.
	// Code that was split into several objects may have it from another, by a name that no one else can give.
	from := &is.obj.targets[x.sym]
	if from.kind != toSection || from.sec.flags&uint64(elf.SHF_WRITE|elf.SHF_EXECINSTR) != 0 {
		return "the name is in no object"
	}
	n := binary.LittleEndian.Uint64(append(slices.Clone(was.data[word:2*word]), 0, 0, 0, 0)[:8])
	file := from.sec.data
	if at := from.value + uint64(x.addend); at > uint64(len(file)) || n >= uint64(len(file))-at {
		return "the name is outside its section"
	} else if file = file[at : at+n+1]; bytes.IndexByte(file, 0) != int(n) || !bytes.HasSuffix(file[:n], []byte(".rs")) {
		return fmt.Sprintf("the name %q is none of a Location", file)
	}
	return v.unlikePassed(was)
}

// unlikePassed says what refers to a constant but does not panic: a Location is there to be passed to a panic, and a
// constant of the program's own may have its form. The reference must be of the same object, for it has no name.
func (v *checker) unlikePassed(constant *section) string {
	if v.strangersOf != constant.obj {
		v.strangersOf, v.strangers = constant.obj, strangers(constant.obj)
	}
	if name := v.strangers[uint32(constant.index)]; name != "" {
		return name + " refers to it, and does not panic"
	}
	return ""
}

// strangers names, for each section of an object that something refers to that calls no panic, the last one that does.
func strangers(o *object) map[uint32]string {
	panics := make([]bool, len(o.symbols)) // by symbol: it is a panic entry point
	inside := map[uint32]bool{}            // sections with one
	for i := range o.symbols {
		if y := &o.symbols[i]; panicName().MatchString(y.name) {
			panics[i] = true
			inside[y.shndx] = inside[y.shndx] || y.defined()
		}
	}
	found := map[uint32]string{}
	for _, s := range o.sections {
		if !s.alloc() || s.name == ".eh_frame" {
			continue
		}
		calls := s.code() && (inside[uint32(s.index)] || slices.ContainsFunc(s.relocs, func(r reloc) bool {
			y := &o.symbols[r.sym]
			return panics[r.sym] || y.kind() == elf.STT_SECTION && inside[y.shndx]
		}))
		for _, r := range s.relocs {
			if to := o.symbols[r.sym].shndx; !calls && to != uint32(s.index) {
				found[to] = s.name
			}
		}
	}
	return found
}

// pattern is a regular expression that is made ready when it is first used: few links are checked, fewer trimmed.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// demanglerName is in the names of what the crate rustc_demangle defines: one that ends with it is of an instance, which
// other crates may share.
var demanglerName = pattern(`14rustc_demangle\w`)

// ownDemangler is what the names of the standard library's copy of rustc_demangle have in common where its object holds
// other crates, too: the crate with its number, somewhere before the end, where it would only say who made an instance.
// The number is known from what the symbolizer refers to; nil if it refers to none or to several.
func (v *checker) ownDemangler() *regexp.Regexp {
	if v.demanglerSought {
		return v.demangler
	}
	v.demanglerSought = true
	found := map[string]bool{}
	for _, o := range v.objects {
		for _, s := range o.sections {
			if !s.code() || !slices.ContainsFunc(s.syms, func(k uint32) bool { return symbolizeName().MatchString(o.symbols[k].name) }) {
				continue
			}
			was := v.originals[s] // what refers to it may be cut, too
			if was == nil {
				was = s
			}
			for _, r := range was.relocs {
				t := &o.targets[r.sym]
				if t.kind != toSection {
					continue
				}
				for _, k := range t.sec.syms {
					if m := demanglerItem().FindStringSubmatch(t.sec.obj.symbols[k].name); m != nil {
						found[m[1]] = true
					}
				}
			}
		}
	}
	if len(found) == 1 {
		for crate := range found {
			v.demangler = regexp.MustCompile(`^_R\w*` + crate + `\w`)
		}
	}
	return v.demangler
}

var (
	symbolizeName = pattern(`^_R\w*C(s\w+_)?3std12backtrace_rs9symbolize`)
	demanglerItem = pattern(`^_RNv\w*?(Cs[0-9A-Za-z]+_14rustc_demangle)`)
)

// symbolizerName is what the manglings have in common of the function that resolves a backtrace's addresses.
var symbolizerName = pattern(`backtrace_rs9symbolize5gimli5Cache\S*11with_global|backtrace_rs9symbolize5gimli\S*5Cache11with_global`)

// returnBodies are the bodies that return, by machine.
var returnBodies = map[elf.Machine][]string{
	elf.EM_X86_64:  {"\xc3"},
	elf.EM_AARCH64: {"\xc0\x03\x5f\xd6"},
	elf.EM_ARM:     {"\x70\x47", "\x1e\xff\x2f\xe1"},
	elf.EM_RISCV:   {"\x67\x80\x00\x00"},
}

// panicName is what the names of panic entry points have in common.
var panicName = pattern(`panic|_fail|rust_oom|handle_alloc_error|handle_error|capacity_overflow|rust_begin_unwind|alloc_error_handler|rust_(foreign_exception|drop_panic|start_panic)|resume_unwind|assert_failed`)

// trapBodies are the bodies that trap, by machine.
var trapBodies = map[elf.Machine][]string{
	elf.EM_X86_64:  {"\x0f\x0b"},
	elf.EM_AARCH64: {"\x20\x00\x20\xd4"},
	elf.EM_ARM:     {"\xfe\xde", "\xf0\x01\xf0\xe7"},
	elf.EM_RISCV:   {"\x73\x00\x10\x00"},
}

// unlikeBody says what makes a section none that has one of the bodies in place of a function whose name is like that;
// "" if it is one.
func (v *checker) unlikeBody(was, is *section, bodies map[elf.Machine][]string, like *regexp.Regexp, what string) string {
	if !slices.Contains(bodies[v.arch.machine], string(is.data)) || len(is.relocs) > 0 {
		return fmt.Sprintf("should be a %s, but holds %x with %d relocations", what, is.data, len(is.relocs))
	}
	if !was.code() || was.typ != uint32(elf.SHT_PROGBITS) {
		return "a " + what + " in the place of what is no code"
	}
	functions := 0
	for _, k := range was.syms {
		if y := &was.obj.symbols[k]; y.kind() == elf.STT_FUNC {
			functions++
			if y.value&v.arch.codeMask&^1 != 0 || !like.MatchString(y.name) {
				return "a " + what + " in the place of " + y.name
			}
		}
	}
	if functions == 0 {
		return "a " + what + " in the place of no function"
	}
	return ""
}

// unlikeCutFrames says how a frame table differs from the original's where nothing was cut; "" if it does not, and the
// entries of what was cut say nothing but the range of the trap.
func unlikeCutFrames(was, is *section, cut func(uint32) CutKind) string {
	if was.size != is.size {
		return fmt.Sprintf("the trim made %d bytes of frame table out of %d", is.size, was.size)
	}
	list, err := walkFrames(was.data)
	if err != nil {
		return err.Error()
	}
	pos := uint64(0)
	same := func(lo, hi uint64) bool {
		return bytes.Equal(was.data[lo:hi], is.data[lo:hi]) && slices.Equal(relocsWithin(was, lo, hi), relocsWithin(is, lo, hi))
	}
	for _, e := range list {
		if e.isCIE {
			continue
		}
		r := relocAt(was, e.body)
		if r == nil {
			continue
		}
		y := &was.obj.symbols[r.sym]
		if !y.defined() || !cut(y.shndx).body() {
			continue
		}
		if !same(pos, e.body) {
			return fmt.Sprintf("the trim changed frame entries before 0x%x", e.off)
		}
		pos = e.end
		if s := relocAt(is, e.body); s == nil || *s != *r {
			return fmt.Sprintf("the frame entry at 0x%x is no longer of its function", e.off)
		}
		for _, s := range relocsWithin(is, e.body, e.end) {
			if s.off != e.body && (s.typ != 0 || s.sym != 0) {
				return fmt.Sprintf("the frame entry at 0x%x of a trap refers to more than the trap", e.off)
			}
		}
		// The function's size follows its address; beside it all is zero but for the length of the augmentation.
		if what := unlikeTrapEntry(was.data[e.body:e.end], is.data[e.body:e.end], is.obj.sections[y.shndx].size); what != "" {
			return fmt.Sprintf("the frame entry at 0x%x %s", e.off, what)
		}
	}
	if !same(pos, was.size) {
		return fmt.Sprintf("the trim changed frame entries behind 0x%x", pos)
	}
	return ""
}

// unlikeTrapEntry compares the bodies of two frame entries, the second of a trap of size bytes.
func unlikeTrapEntry(was, is []byte, size uint64) string {
	for _, word := range []int{4, 8} { // of a relative or an absolute address
		if len(is) < 2*word || !bytes.Equal(was[:word], is[:word]) {
			continue
		}
		n := uint64(binary.LittleEndian.Uint32(is[word:]))
		if word == 8 {
			n = binary.LittleEndian.Uint64(is[word:])
		}
		if n != size {
			continue
		}
		r := reader{b: is, pos: uint64(2 * word)}
		length := r.uleb() // of the augmentation, if there is one; 0 is a nop as well
		if r.bad || length > uint64(len(is))-r.pos || length > 0 && was[2*word] != is[2*word] {
			continue
		}
		if len(bytes.Trim(is[r.pos:], "\x00")) == 0 {
			return ""
		}
	}
	return fmt.Sprintf("says more of a trap than its %d bytes", size)
}

// relocsWithin lists the relocations of a section from lo up to hi.
func relocsWithin(s *section, lo, hi uint64) []reloc {
	var list []reloc
	for _, r := range s.relocs {
		if r.off >= lo && r.off < hi {
			list = append(list, r)
		}
	}
	return list
}
