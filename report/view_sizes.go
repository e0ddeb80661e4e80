package report

import (
	"cmp"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Sizes is a linked file with an owner for each of its bytes: what all views
// of a size are computed from.
//
// The file itself says which bytes a symbol has ([Layout]). The report knows
// of each section of the link which crate's compilation made it, and where it
// lies if it has a name. Constants without a name lie somewhere in their
// output section: how many bytes they are is exact all the same.
type Sizes struct {
	Path   string  // the file
	Title  string  // what views call it; "" is the file's name
	Report *Report // nil for a file without one
	Layout *Layout // nil for a report without its file
	Items  []Item  // their Bytes add up to FileSize

	FileSize uint64 // bytes of the file on disk
	LoadSize uint64 // bytes of it that are loaded into memory or flash
	VMSize   uint64 // bytes of memory that the program occupies, 0 if unknown
	Stripped bool   // there is no symbol table, so what is unnamed stays so
	Sections []string

	names     map[string]string // mangled to demangled
	graph     *graph            // made by outputGraph
	locations *panicLocations   // made by Panics
	std       map[string]bool   // crates that only rustc brought along; made by isStd
}

// Item is a run of bytes with one owner.
type Item struct {
	Bytes   uint64 // in the file
	Memory  uint64 // in memory
	Label   Label
	Section int32        // index into Sizes.Sections, -1 outside all sections
	Of      SectionIndex // the report's section that it is, or None
	Symbol  string       // mangled; "" if it has no name
	Crate   string       // whose source it comes from; "" for what is no crate's
	For     string       // the crate whose compilation made it: who asked for a generic function
	What    string       // for what has neither symbol nor crate: "merged strings", …
	Addr    uint64       // in memory; 0 if unknown. Of several runs without a name, where the first begins
}

// NewSizes joins a file and the report of its link. Either may be nil, not
// both.
func NewSizes(path string, r *Report, l *Layout) *Sizes {
	z := &Sizes{Path: path, Report: r, Layout: l, names: make(map[string]string)}
	if l == nil {
		z.fromReport()
	} else {
		z.fromLayout()
	}
	return z
}

// Open reads the file at path: an ELF file with the report at reportPath ("":
// without), or a report, with the file that it is about if that lies beside it
// and is still the same.
func Open(path, reportPath string) (*Sizes, error) {
	if reportPath == "" {
		switch isReport, err := looksLikeReport(path); {
		case err != nil:
			return nil, err
		case isReport:
			return openReport(path)
		}
	}
	l, err := ReadLayout(path)
	if err != nil {
		return nil, plainPathError(path, err)
	}
	var r *Report
	if reportPath != "" {
		if r, err = ReadFile(reportPath); err != nil {
			return nil, err
		}
		stale, err := Stale(r, path)
		if err != nil {
			return nil, plainPathError(path, err)
		}
		if stale {
			return nil, fmt.Errorf("%s: the report is about another build of %s", reportPath, path)
		}
	}
	z := NewSizes(path, r, l)
	return z, z.attributeTables(path)
}

// openReport reads a report and, if there is one beside it, its file.
func openReport(path string) (*Sizes, error) {
	r, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	binary := strings.TrimSuffix(path, Suffix)
	if binary != path {
		if stale, err := Stale(r, binary); err == nil && !stale {
			if l, err := ReadLayout(binary); err == nil {
				z := NewSizes(binary, r, l)
				return z, z.attributeTables(binary)
			}
		}
	}
	return NewSizes(path, r, nil), nil
}

// plainPathError makes "open x: no such file" of the system into "x: no such
// file", which other errors here look like.
func plainPathError(path string, err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return fmt.Errorf("%s: %w", path, pe.Err)
	}
	return err
}

func looksLikeReport(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, plainPathError(path, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return false, fmt.Errorf("%s: is a folder", path)
	}
	var head [4]byte
	n, err := f.Read(head[:])
	if n == 0 {
		return false, fmt.Errorf("%s: the file is empty", path)
	}
	if string(head[:n]) == "!<ar" {
		return false, fmt.Errorf("%s: a static library is not linked yet and has no sizes; measure what it is linked into", path)
	}
	if string(head[:n]) == "\x7fELF" {
		return false, nil
	}
	if head[0] == 0x1f || head[0] == '{' {
		return true, nil
	}
	return false, fmt.Errorf("%s: neither an ELF file nor a report of leanlink", path)
}

// fromLayout makes items of a file's ranges, with the report's help.
func (z *Sizes) fromLayout() {
	l := z.Layout
	z.FileSize, z.LoadSize, z.VMSize, z.Stripped, z.Sections = l.FileSize, l.LoadSize, l.VMSize, l.Stripped, l.Sections
	crates := Crates{}
	var place *placement
	if z.Report != nil {
		crates = z.Report.Crates()
		place = newPlacement(z.Report)
	}
	owners := make(map[string]SectionIndex) // sections by the names of their symbols, for tables about them
	if z.Report != nil {
		for i := range z.Report.Sections {
			s := &z.Report.Sections[i]
			for k := range s.Symbols {
				name := s.Symbols[k].Name
				if old, ok := owners[name]; !ok || !z.Report.Sections[old].InOutput() && s.InOutput() {
					owners[name] = SectionIndex(i)
				}
			}
		}
	}
	var loose []Item // of ranges without a name, filled by what the report has of their section
	for i := range l.Ranges {
		for _, it := range z.rangeItems(&l.Ranges[i], place) {
			z.describe(&it, crates, owners)
			if it.Symbol == "" && it.Of == None && it.Section >= 0 && it.Bytes > 0 && holdsContents(it.Label) && z.Report != nil {
				loose = append(loose, it)
				continue
			}
			z.Items = append(z.Items, it)
		}
	}
	if len(loose) > 0 {
		z.fillLoose(loose, place, crates)
	}
	z.mergeUnnamed()
}

// holdsContents says whether a label is of bytes that come from the sections
// of the link's inputs one to one.
func holdsContents(l Label) bool {
	switch l {
	case LabelCode, LabelRodata, LabelRelro, LabelData, LabelTLS, LabelLSDA, LabelInit:
		return true
	}
	return false
}

// rangeItems cuts a range at the report's sections.
func (z *Sizes) rangeItems(r *Range, place *placement) []Item {
	whole := Item{Bytes: r.File, Memory: r.VM, Label: r.Label, Section: r.Section, Of: None, Symbol: r.Symbol}
	if r.VM > 0 {
		whole.Addr = r.Addr
	}
	if place == nil || r.VM == 0 || r.File != 0 && r.File != r.VM {
		return []Item{whole}
	}
	if r.Symbol != "" {
		if holdsContents(r.Label) || r.Label == LabelBSS {
			whole.Of = place.of(r)
			whole.Symbol = place.ownName(whole.Of, r)
		}
		return []Item{whole}
	}
	if !holdsContents(r.Label) {
		return []Item{whole}
	}
	var items []Item
	for at, end := r.Addr, r.Addr+r.VM; at < end; {
		of, until := place.run(at)
		part := whole
		part.Memory = min(until, end) - at
		part.Bytes = min(part.Memory, whole.Bytes)
		part.Of = of
		part.Addr = at
		items = append(items, part)
		at += part.Memory
	}
	return items
}

// describe says whose an item is: by the report's section, else by its symbol.
func (z *Sizes) describe(it *Item, crates Crates, owners map[string]SectionIndex) {
	of := it.Of
	if of == None && it.Symbol != "" && z.Report != nil {
		if i, ok := owners[it.Symbol]; ok {
			of = i // an unwind or landing-pad table of that function
		}
	}
	if of != None {
		s := &z.Report.Sections[of]
		it.For = z.Report.Inputs[s.Input].Crate
		if it.Crate = s.Defined; it.Crate == "" {
			it.Crate = it.For
		}
		if it.Symbol == "" && len(s.Symbols) > 0 {
			it.Symbol = s.Symbols[0].Name
		}
		if it.Symbol != "" {
			if c, _ := crates.Of(it.Symbol); c != "" {
				it.Crate = c
			}
		}
		return
	}
	if it.Symbol != "" {
		it.Crate, it.For = crates.Of(it.Symbol)
		if it.For == "" && z.Report == nil {
			it.For = it.Crate
		}
	}
}

// fillLoose puts the report's sections without a place into the unnamed bytes
// of their output sections. What remains there is padding and, where the
// linker merges equal strings, what it made of them.
func (z *Sizes) fillLoose(loose []Item, place *placement, crates Crates) {
	room := make(map[int32]uint64)
	label := make(map[int32]Label)
	for _, it := range loose {
		room[it.Section] += it.Bytes
		label[it.Section] = it.Label
	}
	own := make(map[int32][]Item)
	var sum, merged map[int32]uint64 = make(map[int32]uint64), make(map[int32]uint64)
	for i := range z.Report.Sections {
		s := &z.Report.Sections[i]
		if !s.InOutput() || s.After() == 0 || place.used[i] || s.Kind == KindBSS || s.Kind == KindTBSS || s.Kind == KindUnwind {
			continue
		}
		out := place.section(SectionIndex(i), z.Sections, label)
		if out < 0 {
			continue
		}
		if isMerged(s.Reason) {
			merged[out] += s.After()
			continue
		}
		it := Item{Bytes: s.After(), Memory: s.After(), Label: label[out], Section: out, Of: SectionIndex(i)}
		z.describe(&it, crates, nil)
		own[out] = append(own[out], it)
		sum[out] += it.Bytes
	}
	var outs []int32
	for out := range room {
		outs = append(outs, out)
	}
	slices.Sort(outs)
	for _, out := range outs {
		rest := Item{Bytes: room[out], Label: label[out], Section: out, Of: None, What: "without a name"}
		if sum[out] <= room[out] {
			z.Items = append(z.Items, own[out]...)
			rest.Bytes -= sum[out]
			switch {
			case merged[out] > 0:
				rest.What = "strings and constants that the linker merged"
			default:
				rest.Label, rest.What = LabelPadding, ""
			}
		}
		rest.Memory = rest.Bytes
		if rest.Bytes > 0 {
			z.Items = append(z.Items, rest)
		}
	}
}

// isMerged says whether a section's bytes are not all in the output because
// the linker merges equal strings and constants.
func isMerged(why Reason) bool {
	return why == ReasonMergeable || strings.HasPrefix(string(why), "mergeable")
}

// mergeUnnamed puts items that nothing tells apart into one.
func (z *Sizes) mergeUnnamed() {
	type key struct {
		label       Label
		section     int32
		crate, for_ string
		what        string
		loaded      bool
	}
	at := make(map[key]int)
	out := z.Items[:0]
	for _, it := range z.Items {
		if it.Symbol != "" || it.Of != None {
			out = append(out, it)
			continue
		}
		k := key{it.Label, it.Section, it.Crate, it.For, it.What, it.Memory > 0}
		if i, ok := at[k]; ok {
			out[i].Bytes += it.Bytes
			out[i].Memory += it.Memory
			continue
		}
		at[k] = len(out)
		out = append(out, it)
	}
	z.Items = out
}

// fromReport makes items of a report alone. Its output's sections tell the
// size of the file; what the inputs' sections do not account for, such as
// merged strings, relocations and symbol tables, is an item for each section.
func (z *Sizes) fromReport() {
	r := z.Report
	z.FileSize, z.LoadSize, z.Stripped = r.Output.Size, r.Output.Alloc, r.Output.Stripped
	crates := r.Crates()
	place := newPlacement(r)
	labels := make(map[int32]Label)
	for i, o := range r.Output.Sections {
		z.Sections = append(z.Sections, o.Name)
		labels[int32(i)] = outputLabel(&o)
	}
	left := make([]uint64, len(r.Output.Sections))
	var sum uint64
	for i, o := range r.Output.Sections {
		left[i] = o.File
		sum += o.File
		if o.File == 0 && o.Alloc && o.Size > 0 {
			z.Items = append(z.Items, Item{Memory: o.Size, Label: labels[int32(i)], Section: int32(i), Of: None})
		}
	}
	var mine [][]Item = make([][]Item, len(left))
	total := make([]uint64, len(left))
	put := func(of SectionIndex, out int32, n uint64, label Label) {
		it := Item{Bytes: n, Memory: n, Label: label, Section: out, Of: of}
		z.describe(&it, crates, nil)
		mine[out] = append(mine[out], it)
		total[out] += n
	}
	frames := int32(slices.IndexFunc(r.Output.Sections, func(o OutputSection) bool { return o.Name == ".eh_frame" || o.Name == ".ARM.exidx" }))
	for i := range r.Sections {
		s := &r.Sections[i]
		if n := s.AfterFDE(); n > 0 && frames >= 0 {
			put(SectionIndex(i), frames, n, LabelUnwind)
		}
		if !s.InOutput() || s.After() == 0 || s.Kind == KindBSS || s.Kind == KindTBSS || s.Kind == KindUnwind || isMerged(s.Reason) {
			continue
		}
		if out := place.section(SectionIndex(i), z.Sections, labels); out >= 0 {
			put(SectionIndex(i), out, s.After(), labels[out])
		}
	}
	for i := range left {
		if total[i] <= left[i] {
			z.Items = append(z.Items, mine[i]...)
			left[i] -= total[i]
		}
		if left[i] > 0 {
			it := Item{Bytes: left[i], Label: labels[int32(i)], Section: int32(i), Of: None, What: "made by the linker"}
			if r.Output.Sections[i].Alloc {
				it.Memory = it.Bytes
			}
			z.Items = append(z.Items, it)
		}
	}
	if sum < z.FileSize {
		z.Items = append(z.Items, Item{Bytes: z.FileSize - sum, Label: LabelHeader, Section: -1, Of: None, What: "headers and padding"})
	}
	z.mergeUnnamed()
}

// outputLabel guesses a section's label by its name, where its type is not
// known.
func outputLabel(o *OutputSection) Label {
	s := elf.Section{SectionHeader: elf.SectionHeader{Name: o.Name, Type: elf.SHT_PROGBITS}}
	if o.Alloc {
		s.Flags = elf.SHF_ALLOC
	}
	name := o.Name
	switch {
	case name == ".symtab" || name == ".symtab_shndx":
		return LabelSymtab
	case name == ".strtab" || name == ".shstrtab":
		return LabelStrtab
	case strings.HasPrefix(name, ".note"):
		return LabelNote
	case strings.HasPrefix(name, ".rela.") || strings.HasPrefix(name, ".rel.") || name == ".relr.dyn":
		return LabelRelocations
	case slices.Contains([]string{".dynsym", ".dynstr", ".dynamic", ".hash", ".gnu.hash", ".gnu.version", ".gnu.version_r", ".gnu.version_d"}, name):
		return LabelDynamic
	case strings.HasSuffix(name, "_array"):
		return LabelInit
	case strings.HasPrefix(name, ".tdata"):
		s.Flags |= elf.SHF_TLS
	case strings.HasPrefix(name, ".tbss"):
		s.Flags |= elf.SHF_TLS
		s.Type = elf.SHT_NOBITS
	case strings.HasPrefix(name, ".text"):
		s.Flags |= elf.SHF_EXECINSTR
	case strings.HasPrefix(name, ".data"):
		s.Flags |= elf.SHF_WRITE
	}
	if o.File == 0 && o.Size > 0 {
		s.Type = elf.SHT_NOBITS
	}
	return sectionLabel(&s)
}

// placement finds the report's sections in the output.
type placement struct {
	r      *Report
	table  *AddressTable
	used   []bool                     // indexed by SectionIndex: it has a place
	byName map[string][]SectionIndex  // without an address, by the symbols at their beginning
	kinds  map[Kind]map[string]uint64 // bytes of placed sections, by the output section they are in
}

func newPlacement(r *Report) *placement {
	p := &placement{r: r, table: r.AddressTable(), used: make([]bool, len(r.Sections)), byName: make(map[string][]SectionIndex), kinds: make(map[Kind]map[string]uint64)}
	for _, i := range p.table.order {
		p.used[i] = true
		s := &r.Sections[i]
		for _, o := range r.Output.Sections {
			if o.Alloc && s.Addr >= o.Addr && s.Addr-o.Addr < o.Size {
				if p.kinds[s.Kind] == nil {
					p.kinds[s.Kind] = make(map[string]uint64)
				}
				p.kinds[s.Kind][o.Name] += s.After()
				break
			}
		}
	}
	for i := range r.Sections {
		s := &r.Sections[i]
		at := SectionIndex(i)
		if s.Fate == FateFolded {
			at = s.Into // which has this name now, too
		}
		if p.used[at] || !r.Sections[at].InOutput() || r.Sections[at].After() == 0 {
			continue
		}
		for k := range s.Symbols {
			if y := &s.Symbols[k]; y.Offset == 0 {
				p.byName[y.Name] = append(p.byName[y.Name], at)
			}
		}
	}
	return p
}

// of returns the section that a named range lies in. One whose name is not
// unique has no address; then any of that name and size will do.
func (p *placement) of(r *Range) SectionIndex {
	if i := p.table.Find(r.Addr); i != None {
		return i
	}
	for _, i := range p.byName[r.Symbol] {
		if !p.used[i] && p.r.Sections[i].After() == r.VM {
			p.used[i] = true
			return i
		}
	}
	return None
}

// ownName returns the name that section i itself has for a range in it. The
// file has the names of all that was folded into it there, too.
func (p *placement) ownName(i SectionIndex, r *Range) string {
	if i == None {
		return r.Symbol
	}
	s := &p.r.Sections[i]
	for k := range s.Symbols {
		if y := &s.Symbols[k]; s.Addr != 0 && y.Offset == r.Addr-s.Addr && y.Size > 0 {
			return y.Name
		}
	}
	return r.Symbol
}

// run returns the section at an address, or None, and the address up to which
// that is so.
func (p *placement) run(addr uint64) (SectionIndex, uint64) {
	if i := p.table.Find(addr); i != None {
		s := &p.r.Sections[i]
		return i, s.Addr + s.After()
	}
	n, _ := slices.BinarySearchFunc(p.table.order, addr, func(i SectionIndex, addr uint64) int { return cmp.Compare(p.r.Sections[i].Addr, addr) })
	if n < len(p.table.order) {
		return None, max(p.r.Sections[p.table.order[n]].Addr, addr+1)
	}
	return None, ^uint64(0)
}

// section returns the output section that a section without an address lies
// in, among those that have a label: the one that its name begins with, else
// the one with most of its kind. It is -1 if there is none.
func (p *placement) section(i SectionIndex, names []string, labels map[int32]Label) int32 {
	s := &p.r.Sections[i]
	best, bytes := "", uint64(0)
	for name, n := range p.kinds[s.Kind] {
		if n > bytes || n == bytes && name < best {
			best, bytes = name, n
		}
	}
	find := func(want string) int32 {
		for k, name := range names {
			if _, ok := labels[int32(k)]; ok && name == want {
				return int32(k)
			}
		}
		return -1
	}
	if s.Addr != 0 {
		for _, o := range p.r.Output.Sections {
			if o.Alloc && s.Addr >= o.Addr && s.Addr-o.Addr < o.Size {
				return find(o.Name)
			}
		}
	}
	// Firmware puts some sections of a kind elsewhere, into RAM say; their
	// names do not say so, but most of a kind go one way.
	for name := s.Name; name != ""; {
		if k := find(name); k >= 0 && (best == "" || name == best || p.kinds[s.Kind][name] > 0 || name == s.Name) {
			return k
		}
		dot := strings.LastIndexByte(name, '.')
		if dot <= 0 {
			break
		}
		name = strings.TrimRight(name[:dot], ".")
	}
	return find(best)
}

// File returns the name of the file for titles.
func (z *Sizes) File() string {
	if z.Title != "" {
		return z.Title
	}
	if z.Layout == nil && z.Report != nil && z.Report.Output.Name != "" {
		return z.Report.Output.Name
	}
	return filepath.Base(z.Path)
}

// Name returns an item's name for people.
func (z *Sizes) Name(it *Item) string {
	switch {
	case it.Symbol != "":
		return z.Demangled(it.Symbol)
	case it.Of != None:
		return z.Report.Sections[it.Of].Name
	case it.What != "":
		return "[" + it.What + "]"
	case it.Label == LabelHeader || it.Label == LabelSegments || it.Label == LabelSections || it.Label == LabelPadding || it.Section < 0:
		return "[" + it.Label.String() + "]"
	}
	return "[" + z.Sections[it.Section] + "]"
}

// Demangled is Demangle with a memory.
func (z *Sizes) Demangled(symbol string) string {
	if s, ok := z.names[symbol]; ok {
		return s
	}
	s := Demangle(symbol)
	z.names[symbol] = s
	return s
}

// Owner returns the crate of an item, or in brackets what it is instead.
func (z *Sizes) Owner(it *Item) string { return owner(it.Crate, it) }

// Asker returns the crate whose compilation made an item, or in brackets what
// it is instead.
func (z *Sizes) Asker(it *Item) string { return owner(it.For, it) }

func owner(crate string, it *Item) string {
	if crate != "" {
		return crate
	}
	switch it.Label {
	case LabelHeader, LabelSegments, LabelSections:
		return "[headers]"
	case LabelCode, LabelRodata, LabelRelro, LabelData, LabelTLS, LabelBSS, LabelTBSS, LabelInit, LabelLSDA, LabelUnwind:
		if it.What != "" {
			return "[" + it.What + "]"
		}
		if it.Symbol != "" || it.Of != None {
			return "[C and assembly]"
		}
		return "[" + it.Label.String() + " without a name]"
	case LabelStrtab, LabelSymtab:
		return "[symbol table]"
	}
	return "[" + it.Label.String() + "]"
}
