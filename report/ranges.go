package report

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
)

// Label says what a byte of an ELF file is.
type Label uint8

// The labels. LabelBSS and LabelTBSS occupy memory but no bytes of the file.
const (
	LabelHeader      Label = iota // ELF header
	LabelSegments                 // program headers
	LabelSections                 // section headers
	LabelCode                     // instructions
	LabelRodata                   // read-only data
	LabelRelro                    // data that is read-only once relocated
	LabelData                     // initialised statics
	LabelBSS                      // zeroed statics
	LabelTLS                      // initialised thread-local statics
	LabelTBSS                     // zeroed thread-local statics
	LabelLSDA                     // landing-pad tables
	LabelUnwind                   // .eh_frame and its index, .ARM.exidx
	LabelInit                     // .init, .fini and the arrays of initialisers
	LabelPLT                      // jumps to other modules
	LabelGOT                      // addresses of other modules' symbols
	LabelRelocations              // dynamic relocations
	LabelDynamic                  // dynamic symbols and their names, hashes, versions; the interpreter
	LabelNote                     // notes
	LabelSymtab                   // symbol table
	LabelStrtab                   // names of symbols and sections
	LabelDebug                    // debug information
	LabelOther                    // any other section
	LabelPadding                  // between what has a label
	NumLabels
)

var labelNames = [NumLabels]string{
	LabelHeader: "ELF header", LabelSegments: "program headers", LabelSections: "section headers", LabelCode: "code", LabelRodata: "rodata",
	LabelRelro: "relro", LabelData: "data", LabelBSS: "bss", LabelTLS: "tls", LabelTBSS: "tbss", LabelLSDA: "lsda", LabelUnwind: "unwind",
	LabelInit: "init", LabelPLT: "plt", LabelGOT: "got", LabelRelocations: "relocations", LabelDynamic: "dynamic linking", LabelNote: "note",
	LabelSymtab: "symbol table", LabelStrtab: "symbol names", LabelDebug: "debug info", LabelOther: "other", LabelPadding: "padding",
}

// String returns the label's name, "code" for LabelCode.
func (l Label) String() string {
	if l < NumLabels {
		return labelNames[l]
	}
	return fmt.Sprintf("label %d", uint8(l))
}

// Range is a run of bytes with one label.
type Range struct {
	Label   Label
	Section int32  // index into Layout.Sections, -1 outside all sections
	Offset  uint64 // of the first byte in the file; meaningless if File is 0
	File    uint64 // bytes in the file
	Addr    uint64 // of the first byte in memory; meaningless if VM is 0
	VM      uint64 // bytes in memory
	Symbol  string // the function or object that the bytes belong to, mangled; "" if the file names none
	Aliases []string
}

// Layout is an ELF file with a label on each byte. The File of all Ranges add
// up to FileSize, their VM to VMSize.
type Layout struct {
	FileSize uint64   // bytes
	VMSize   uint64   // bytes that the loadable segments occupy in memory
	LoadSize uint64   // bytes of the file that they hold: the size of a firmware's image
	Stripped bool     // there is no symbol table, so Ranges are whole sections
	Sections []string // names
	Ranges   []Range  // by Offset, those without bytes in the file after them by Addr
}

// ReadLayout labels the bytes of the file at path.
func ReadLayout(path string) (*Layout, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	l, err := NewLayout(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// NewLayout labels the bytes of an ELF file of the given size.
//
// It works in three steps. Claims: each header and section claims its place in
// the file and in memory; where a malformed file makes two overlap, the first
// keeps the bytes. Gaps: what a segment covers but nothing claims is padding,
// or the segment itself in a file without section headers. Splits: sections of
// code and data are cut at symbols, unwind tables at the functions they are
// for.
func NewLayout(in io.ReaderAt, size int64) (*Layout, error) {
	f, err := elf.NewFile(in)
	if err != nil {
		return nil, fmt.Errorf("not a readable ELF file: %w", err)
	}
	b := layoutBuilder{f: f, in: in, size: uint64(size)}
	if err := b.readSymbols(); err != nil {
		return nil, err
	}
	if err := b.claimHeaders(); err != nil {
		return nil, err
	}
	b.claimSections()
	b.fillFile()
	b.fillMemory()
	b.split()
	for _, r := range b.ranges {
		if r.VM > 0 {
			b.loadSize += r.File
		}
	}
	l := &Layout{FileSize: b.size, VMSize: b.vmSize, LoadSize: b.loadSize, Stripped: b.stripped, Ranges: b.ranges}
	for _, s := range f.Sections {
		l.Sections = append(l.Sections, s.Name)
	}
	slices.SortStableFunc(l.Ranges, func(a, b Range) int {
		switch {
		case (a.File == 0) != (b.File == 0):
			return cmp.Compare(b.File, a.File)
		case a.File == 0:
			return cmp.Compare(a.Addr, b.Addr)
		}
		return cmp.Compare(a.Offset, b.Offset)
	})
	return l, nil
}

// Sum returns the bytes in the file and in memory by label.
func (l *Layout) Sum() (file, vm [NumLabels]uint64) {
	for i := range l.Ranges {
		r := &l.Ranges[i]
		file[r.Label] += r.File
		vm[r.Label] += r.VM
	}
	return file, vm
}

type layoutBuilder struct {
	f        *elf.File
	in       io.ReaderAt
	size     uint64
	stripped bool
	symbols  []span // disjoint, by address
	names    []names
	claims   []Range
	ranges   []Range
	vmSize   uint64
	loadSize uint64
}

// names are the symbols at one place: the one that stands for it first.
type names []string

// span is a run of addresses that belongs to names[name].
type span struct {
	addr, end uint64
	name      int
}

// claimHeaders claims the file's own tables.
func (b *layoutBuilder) claimHeaders() error {
	var raw [64]byte
	n, err := b.in.ReadAt(raw[:], 0)
	order := b.f.ByteOrder
	var header, phoff, shoff, phent, phnum, shent, shnum uint64
	if b.f.Class == elf.ELFCLASS64 {
		if n < 64 {
			return fmt.Errorf("reading the ELF header: %w", err)
		}
		header, phoff, shoff = 64, order.Uint64(raw[32:]), order.Uint64(raw[40:])
		phent, phnum, shent, shnum = uint64(order.Uint16(raw[54:])), uint64(order.Uint16(raw[56:])), uint64(order.Uint16(raw[58:])), uint64(order.Uint16(raw[60:]))
	} else {
		if n < 52 {
			return fmt.Errorf("reading the ELF header: %w", err)
		}
		header, phoff, shoff = 52, uint64(order.Uint32(raw[28:])), uint64(order.Uint32(raw[32:]))
		phent, phnum, shent, shnum = uint64(order.Uint16(raw[42:])), uint64(order.Uint16(raw[44:])), uint64(order.Uint16(raw[46:])), uint64(order.Uint16(raw[48:]))
	}
	shnum = max(shnum, uint64(len(b.f.Sections))) // 0 in the header: too many for it
	b.claim(Range{Label: LabelHeader, Section: -1, Offset: 0, File: header})
	if phnum > 0 {
		b.claim(Range{Label: LabelSegments, Section: -1, Offset: phoff, File: phent * phnum})
	}
	if shoff > 0 {
		b.claim(Range{Label: LabelSections, Section: -1, Offset: shoff, File: shent * shnum})
	}
	return nil
}

// claim adds a claim, cut to what the file has.
func (b *layoutBuilder) claim(r Range) {
	if r.Offset > b.size {
		r.Offset = b.size
	}
	r.File = min(r.File, b.size-r.Offset)
	if r.VM > math.MaxUint64-r.Addr {
		r.VM = math.MaxUint64 - r.Addr
	}
	if r.File > 0 || r.VM > 0 {
		b.claims = append(b.claims, r)
	}
}

func (b *layoutBuilder) claimSections() {
	for i, s := range b.f.Sections {
		if s.Type == elf.SHT_NULL {
			continue
		}
		r := Range{Label: sectionLabel(s), Section: int32(i), Offset: s.Offset, File: s.FileSize, Addr: s.Addr}
		if s.Type == elf.SHT_NOBITS {
			r.File = 0
		}
		// The zeros of thread-local storage are made for each thread; the
		// program itself does not have them.
		if s.Flags&elf.SHF_ALLOC != 0 && r.Label != LabelTBSS {
			r.VM = s.Size
		}
		b.claim(r)
	}
}

// sectionLabel returns the label of a section as a whole.
func sectionLabel(s *elf.Section) Label {
	name, flags := s.Name, s.Flags
	switch s.Type {
	case elf.SHT_SYMTAB, elf.SHT_SYMTAB_SHNDX:
		return LabelSymtab
	case elf.SHT_NOTE:
		return LabelNote
	case elf.SHT_REL, elf.SHT_RELA, elf.SectionType(19): // 19 is SHT_RELR
		return LabelRelocations
	case elf.SHT_DYNSYM, elf.SHT_DYNAMIC, elf.SHT_HASH, elf.SHT_GNU_HASH, elf.SHT_GNU_VERDEF, elf.SHT_GNU_VERNEED, elf.SHT_GNU_VERSYM:
		return LabelDynamic
	case elf.SHT_INIT_ARRAY, elf.SHT_FINI_ARRAY, elf.SHT_PREINIT_ARRAY:
		return LabelInit
	case elf.SHT_STRTAB:
		if flags&elf.SHF_ALLOC != 0 {
			return LabelDynamic
		}
		return LabelStrtab
	}
	if flags&elf.SHF_ALLOC == 0 {
		for _, p := range [...]string{".debug", ".zdebug", ".gdb_index", ".gnu_debug", ".stab"} {
			if strings.HasPrefix(name, p) {
				return LabelDebug
			}
		}
		return LabelOther
	}
	nobits := s.Type == elf.SHT_NOBITS
	switch {
	case flags&elf.SHF_TLS != 0 && nobits:
		return LabelTBSS
	case flags&elf.SHF_TLS != 0:
		return LabelTLS
	case name == ".relro_padding":
		return LabelPadding
	case nobits:
		return LabelBSS
	case strings.HasPrefix(name, ".gcc_except_table"), strings.HasPrefix(name, ".ARM.extab"):
		return LabelLSDA
	case strings.HasPrefix(name, ".eh_frame"), strings.HasPrefix(name, ".ARM.exidx"):
		return LabelUnwind
	case name == ".plt" || strings.HasPrefix(name, ".plt.") || name == ".iplt":
		return LabelPLT
	case name == ".got" || strings.HasPrefix(name, ".got."):
		return LabelGOT
	case name == ".interp":
		return LabelDynamic
	case name == ".init" || name == ".fini" || name == ".ctors" || name == ".dtors":
		return LabelInit
	case flags&elf.SHF_EXECINSTR != 0:
		return LabelCode
	case strings.HasPrefix(name, ".data.rel.ro"):
		return LabelRelro
	case flags&elf.SHF_WRITE != 0:
		return LabelData
	}
	return LabelRodata
}

// fillFile makes ranges of the claims, disjoint in the file, and labels what
// is between them.
func (b *layoutBuilder) fillFile() {
	slices.SortStableFunc(b.claims, func(x, y Range) int { return cmp.Compare(x.Offset, y.Offset) })
	at := uint64(0)
	for _, c := range b.claims {
		if c.File == 0 {
			continue
		}
		if c.Offset > at {
			b.gap(at, c.Offset)
			at = c.Offset
		}
		if cut := at - c.Offset; cut > 0 { // another claimed the beginning
			if cut >= c.File {
				c.File = 0
				if c.VM > 0 { // its memory stays its own
					b.ranges = append(b.ranges, c)
				}
				continue
			}
			c.Offset += cut
			c.File -= cut
			c.Addr += min(cut, c.VM)
			c.VM -= min(cut, c.VM)
		}
		b.ranges = append(b.ranges, c)
		at = c.Offset + c.File
	}
	b.gap(at, b.size)
	for _, c := range b.claims {
		if c.File == 0 {
			b.ranges = append(b.ranges, c)
		}
	}
}

// gap labels bytes of the file that nothing claims. In a file without section
// headers they are what the segments say, else padding.
func (b *layoutBuilder) gap(from, to uint64) {
	for from < to {
		r := Range{Label: LabelPadding, Section: -1, Offset: from, File: to - from}
		if len(b.f.Sections) == 0 {
			for _, p := range b.f.Progs {
				if p.Type != elf.PT_LOAD || p.Filesz > math.MaxUint64-p.Off {
					continue
				}
				switch end := p.Off + p.Filesz; {
				case from >= p.Off && from < end:
					r.File = min(r.File, end-from)
					r.Label = segmentLabel(p.Flags)
				case from < p.Off:
					r.File = min(r.File, p.Off-from)
				}
			}
		}
		b.ranges = append(b.ranges, r)
		from += r.File
	}
}

func segmentLabel(flags elf.ProgFlag) Label {
	switch {
	case flags&elf.PF_X != 0:
		return LabelCode
	case flags&elf.PF_W != 0:
		return LabelData
	}
	return LabelRodata
}

// fillMemory gives every range its memory, by the segment that maps it, and
// labels what the segments have beyond that. What a segment does not map has
// none: of a firmware image, sections for the debugger.
func (b *layoutBuilder) fillMemory() {
	type area struct {
		addr, end, off, file uint64
		flags                elf.ProgFlag
	}
	var areas []area
	for _, p := range b.f.Progs {
		if p.Type == elf.PT_LOAD && p.Memsz > 0 && p.Memsz <= math.MaxUint64-p.Vaddr {
			areas = append(areas, area{p.Vaddr, p.Vaddr + p.Memsz, p.Off, min(p.Filesz, p.Memsz), p.Flags})
		}
	}
	slices.SortStableFunc(areas, func(x, y area) int { return cmp.Compare(x.addr, y.addr) })
	for i := 1; i < len(areas); i++ { // overlapping segments are malformed: the first keeps its place
		if a := &areas[i]; a.addr < areas[i-1].end {
			cut := areas[i-1].end - a.addr
			a.addr += cut
			a.off += min(cut, a.file)
			a.file -= min(cut, a.file)
			a.end = max(a.end, a.addr)
		}
	}
	for _, a := range areas {
		b.vmSize += a.end - a.addr
	}

	// Ranges outside sections (headers, padding, bare segments) lie where the
	// segment that holds their offset puts them.
	var pieces []Range
	for _, r := range b.ranges {
		if r.Section >= 0 || r.File == 0 {
			pieces = append(pieces, r)
			continue
		}
		for r.File > 0 {
			part := r
			for _, a := range areas {
				switch {
				case a.file == 0:
				case part.Offset >= a.off && part.Offset-a.off < a.file:
					part.File = min(part.File, a.file-(part.Offset-a.off))
					part.Addr = a.addr + (part.Offset - a.off)
					part.VM = part.File
				case part.VM == 0 && part.Offset < a.off:
					part.File = min(part.File, a.off-part.Offset)
				}
			}
			part.VM = min(part.VM, part.File)
			pieces = append(pieces, part)
			r.Offset += part.File
			r.File -= part.File
		}
	}

	// Each address once, by whoever is first, and only within the segments.
	order := make([]int, 0, len(pieces))
	for i := range pieces {
		if pieces[i].VM > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(pieces[x].Addr, pieces[y].Addr) })
	b.ranges = b.ranges[:0:0]
	k := 0
	fill := func(from, to uint64, flags elf.ProgFlag) {
		if from < to {
			label := LabelPadding
			if len(b.f.Sections) == 0 {
				label = LabelBSS
			}
			b.ranges = append(b.ranges, Range{Label: label, Section: -1, Addr: from, VM: to - from})
		}
	}
	for _, a := range areas {
		at := a.addr
		for k < len(order) {
			p := &pieces[order[k]]
			if p.Addr >= a.end {
				break
			}
			end := p.Addr + p.VM
			if p.Addr < at { // before the segment, or another has it
				p.Addr = min(at, end)
			}
			end = min(end, a.end)
			if p.Addr < end {
				fill(at, p.Addr, a.flags)
				p.VM = end - p.Addr
				at = end
			} else {
				p.VM = 0
			}
			k++
		}
		fill(at, a.end, a.flags)
	}
	for ; k < len(order); k++ {
		pieces[order[k]].VM = 0
	}
	for _, p := range pieces {
		if p.File > 0 || p.VM > 0 {
			b.ranges = append(b.ranges, p)
		}
	}
}

// readSymbols makes a disjoint list of what the symbol table names: where
// symbols overlap, the one that begins first and reaches furthest has the
// bytes.
func (b *layoutBuilder) readSymbols() error {
	symbols, err := b.f.Symbols()
	if err != nil || len(symbols) == 0 {
		b.stripped = true
		return nil
	}
	type candidate struct {
		addr, size uint64
		rank       int
		name       string
	}
	var list []candidate
	for _, y := range symbols {
		t := elf.ST_TYPE(y.Info)
		if y.Section == elf.SHN_UNDEF || int(y.Section) >= len(b.f.Sections) || y.Name == "" || t == elf.STT_SECTION || t == elf.STT_FILE || t == elf.STT_TLS {
			continue
		}
		s := b.f.Sections[y.Section]
		if s.Flags&elf.SHF_ALLOC == 0 || s.Size > math.MaxUint64-s.Addr {
			continue
		}
		addr := y.Value
		if b.f.Machine == elf.EM_ARM && t == elf.STT_FUNC {
			addr &^= 1
		}
		if addr < s.Addr || addr >= s.Addr+s.Size {
			continue
		}
		c := candidate{addr: addr, size: min(y.Size, s.Addr+s.Size-addr), name: y.Name}
		switch {
		case y.Size > 0:
		case t == elf.STT_FUNC: // assembly often says no size: up to the next symbol
			c.rank = 4
		default:
			continue // a label within something, or a mapping symbol
		}
		if t == elf.STT_NOTYPE {
			c.rank += 2
		}
		if elf.ST_BIND(y.Info) == elf.STB_LOCAL {
			c.rank++
		}
		list = append(list, c)
	}
	slices.SortStableFunc(list, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(x.addr, y.addr), cmp.Compare(y.size, x.size), cmp.Compare(x.rank, y.rank), cmp.Compare(x.name, y.name))
	})
	for i := 0; i < len(list); {
		c := list[i]
		var at names
		for ; i < len(list) && list[i].addr == c.addr; i++ {
			if !slices.Contains(at, list[i].name) && len(at) < maxAliases {
				at = append(at, list[i].name)
			}
		}
		end := c.addr + c.size
		if c.size == 0 {
			if i < len(list) {
				end = list[i].addr
			} else {
				end = math.MaxUint64 // cut at the section's end
			}
		}
		if n := len(b.symbols); n > 0 && b.symbols[n-1].end > c.addr {
			if end <= b.symbols[n-1].end {
				continue // within another
			}
			c.addr = b.symbols[n-1].end
		}
		if c.addr < end {
			b.symbols = append(b.symbols, span{c.addr, end, len(b.names)})
			b.names = append(b.names, at)
		}
	}
	return nil
}

// maxAliases bounds the names kept for one place.
const maxAliases = 1 << 12

// symbolAt returns the index into symbols of the first that ends after addr.
func (b *layoutBuilder) symbolAt(addr uint64) int {
	i, _ := slices.BinarySearchFunc(b.symbols, addr, func(s span, addr uint64) int {
		if s.end <= addr {
			return -1
		}
		return 1
	})
	return i
}

// owner returns the index into names of what lies at addr, or -1.
func (b *layoutBuilder) owner(addr uint64) int {
	if b.f.Machine == elf.EM_ARM {
		addr &^= 1
	}
	if i := b.symbolAt(addr); i < len(b.symbols) && b.symbols[i].addr <= addr {
		return b.symbols[i].name
	}
	return -1
}

// split cuts ranges at what they belong to.
func (b *layoutBuilder) split() {
	if b.stripped {
		return
	}
	var tables unwindTables
	tables.read(b)
	whole := b.ranges
	b.ranges = make([]Range, 0, len(whole)+2*len(b.symbols)+len(tables.spans))
	for _, r := range whole {
		if r.Section < 0 || r.VM == 0 || r.Label == LabelPadding {
			b.ranges = append(b.ranges, r)
			continue
		}
		spans := b.symbols
		if t := tables.of(r.Section); t != nil {
			spans = t
		}
		b.cut(r, spans)
	}
}

// cut splits a range at spans, which are disjoint and sorted by address.
func (b *layoutBuilder) cut(r Range, spans []span) {
	i, _ := slices.BinarySearchFunc(spans, r.Addr, func(s span, addr uint64) int {
		if s.end <= addr {
			return -1
		}
		return 1
	})
	var code []byte
	if r.Label == LabelCode && r.File > 0 {
		code = make([]byte, r.File)
		if _, err := b.in.ReadAt(code, int64(r.Offset)); err != nil {
			code = nil
		}
	}
	take := func(n uint64) Range {
		part := r
		part.VM = n
		part.File = min(n, r.File)
		r.Addr += n
		r.VM -= n
		r.Offset += part.File
		r.File -= part.File
		return part
	}
	unnamed := func(n uint64) {
		at := len(code) - int(r.File)
		part := take(n)
		if code != nil && n < 64 && b.isFill(code[at:at+int(part.File)]) {
			part.Label = LabelPadding
		}
		b.ranges = append(b.ranges, part)
	}
	for ; i < len(spans) && r.VM > 0; i++ {
		s := spans[i]
		if s.addr >= r.Addr+r.VM {
			break
		}
		if s.addr > r.Addr {
			unnamed(s.addr - r.Addr)
		}
		part := take(min(s.end, r.Addr+r.VM) - r.Addr)
		if s.name >= 0 {
			part.Symbol, part.Aliases = b.names[s.name][0], b.names[s.name][1:]
		}
		b.ranges = append(b.ranges, part)
	}
	if r.VM > 0 {
		unnamed(r.VM)
	}
	if r.File > 0 { // a section with more bytes in the file than in memory
		b.ranges = append(b.ranges, r)
	}
}

// isFill says whether bytes of code are what assemblers and linkers put
// between functions: no-operations, traps or zeros.
func (b *layoutBuilder) isFill(code []byte) bool {
	switch b.f.Machine {
	case elf.EM_X86_64, elf.EM_386:
		return isX86Fill(code)
	case elf.EM_ARM:
		return isFillOf(code, 2, 0, 0xbf00, 0x46c0, 0xe320, 0xf000, 0xdefe, 0xd4d4)
	case elf.EM_AARCH64:
		return isFillOf(code, 4, 0, 0xd503201f, 0xd4200000)
	case elf.EM_RISCV:
		return isFillOf(code, 2, 0, 0x0001, 0x0013)
	}
	return isFillOf(code, 1, 0)
}

// isFillOf says whether code consists of the given units of size bytes.
func isFillOf(code []byte, size int, units ...uint32) bool {
	for ; len(code) >= size; code = code[size:] {
		var v uint32
		switch size {
		case 4:
			v = binary.LittleEndian.Uint32(code)
		case 2:
			v = uint32(binary.LittleEndian.Uint16(code))
		default:
			v = uint32(code[0])
		}
		if !slices.Contains(units, v) {
			return false
		}
	}
	return true
}

// isX86Fill knows int3, zeros, nop with any number of 66 prefixes, and the long
// nops 0F 1F with their operands.
func isX86Fill(code []byte) bool {
	for len(code) > 0 {
		i := 0
		for i < len(code) && (code[i] == 0x66 || code[i] == 0x2e) {
			i++
		}
		rest := code[i:]
		switch {
		case i == 0 && (rest[0] == 0 || rest[0] == 0xcc || rest[0] == 0xf4):
			code = rest[1:]
		case len(rest) >= 1 && rest[0] == 0x90:
			code = rest[1:]
		case len(rest) >= 3 && rest[0] == 0x0f && rest[1] == 0x1f:
			n := 3
			if rest[2]&7 == 4 && rest[2] < 0xc0 {
				n++ // SIB
			}
			switch rest[2] >> 6 {
			case 1:
				n++
			case 2:
				n += 4
			}
			if n > len(rest) {
				return false
			}
			code = rest[n:]
		default:
			return false
		}
	}
	return true
}
