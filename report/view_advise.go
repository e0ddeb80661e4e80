package report

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"strings"
)

// Advice is one way to make a program smaller.
type Advice struct {
	Bytes  uint64 // what it would save
	How    string // how well that is known: "exactly", "at most", "at least"
	What   string // what is large
	Line   string // what to write, and where
	Loaded bool   // it makes what is loaded smaller, not only the file
}

// large is the size from which one constant is worth a thought, in bytes.
const large = 16 << 10

// Advise lists what would make the program smaller, as far as this build
// tells. set says which settings of Cargo's profile are made already: "strip",
// "panic", …
func (z *Sizes) Advise(set map[string]string) []Advice {
	var list []Advice
	add := func(bytes uint64, how string, loaded bool, what, line string) {
		if bytes > 0 {
			list = append(list, Advice{bytes, how, what, line, loaded})
		}
	}
	var labels [NumLabels]uint64
	for i := range z.Items {
		labels[z.Items[i].Label] += z.Items[i].Bytes
	}
	if symbols := labels[LabelSymtab] + labels[LabelStrtab]; labels[LabelDebug] > 0 {
		add(labels[LabelDebug], "exactly", false, "debug info in the file", `Cargo.toml, [profile.release]: strip = "debuginfo"`)
		add(symbols, "at most", false, "symbol table, after the debug info", `Cargo.toml, [profile.release]: strip = true (backtraces then have no names)`)
	} else {
		add(symbols, "at most", false, "symbol table", `Cargo.toml, [profile.release]: strip = true (backtraces then have no names)`)
	}
	if set["panic"] != "abort" {
		add(labels[LabelLSDA], "at least", true, "landing pads: their tables alone, their code comes on top", `Cargo.toml, [profile.release]: panic = "abort" (if nothing catches panics)`)
	}
	if n, packed := z.packedRelocations(); n > packed {
		add(n-packed, "exactly", true, fmt.Sprintf("relative relocations: %s bytes that would take %s", thousands(n), thousands(packed)),
			`leanlink.toml: trim.relocations = "packed" (needs glibc 2.36 or musl 1.2.4 where it runs)`)
	}
	if z.Report != nil {
		list = append(list, z.adviseOfLink()...)
	}
	list = append(list, z.adviseOfPanics()...)
	for i := range z.Items {
		it := &z.Items[i]
		if it.Bytes >= large && (it.Label == LabelRodata || it.Label == LabelRelro || it.Label == LabelData) && it.What == "" {
			add(it.Bytes, "at most", true, fmt.Sprintf("%s of %s", z.Name(it), z.Owner(it)), "the source, or a feature of the crate: is all of this table needed?")
		}
	}
	slices.SortStableFunc(list, func(a, b Advice) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return list
}

// adviseOfLink is what the report of the link tells.
func (z *Sizes) adviseOfLink() []Advice {
	var list []Advice
	o := &ViewOptions{SplitStd: true}
	switch z.Report.Modes.Fold {
	case "safe":
		var more uint64
		for _, g := range z.groupsOf(func(s *Section) uint32 { return s.Class }, o) {
			more += g.more() + g.jumps
		}
		if more > 0 {
			list = append(list, Advice{more, "at most", "identical functions that keep an address of their own", `leanlink.toml: fold = "all"`, true})
		}
	case "off":
		var more uint64
		for _, g := range z.groupsOf(func(s *Section) uint32 { return s.Class }, o) {
			more += g.more()
		}
		if more > 0 {
			list = append(list, Advice{more, "at most", "identical bodies", `leanlink.toml: fold = "safe"`, true})
		}
	}
	// One crate in two files is there in two versions, or with two sets of
	// features.
	type file struct {
		path  string
		bytes uint64
	}
	byCrate := make(map[string][]file)
	for i := range z.Items {
		it := &z.Items[i]
		if it.Of == None {
			continue
		}
		in := &z.Report.Inputs[z.Report.Sections[it.Of].Input]
		if in.Member == "" || in.Crate == "" || strings.HasPrefix(in.Path, "$SYSROOT/") {
			continue
		}
		files := byCrate[in.Crate]
		k := slices.IndexFunc(files, func(f file) bool { return f.path == in.Path })
		if k < 0 {
			k = len(files)
			files = append(files, file{path: in.Path})
		}
		files[k].bytes += it.Bytes
		byCrate[in.Crate] = files
	}
	for _, crate := range sortedNames(byCrate) {
		files := byCrate[crate]
		if len(files) < 2 {
			continue
		}
		var sum, most uint64
		for _, f := range files {
			sum += f.bytes
			most = max(most, f.bytes)
		}
		if sum > most {
			list = append(list, Advice{sum - most, "at most", fmt.Sprintf("%d versions of the crate %s", len(files), crate), "Cargo.lock: cargo tree -d says who wants which; cargo update may make them one", true})
		}
	}
	for k, g := range z.nearGroups(o) {
		if k == 3 {
			break
		}
		if g.more() >= 2048 {
			list = append(list, Advice{g.more(), "at most", fmt.Sprintf("%d bodies of %s, the same but for a constant or a callee", g.kept, z.groupName(g, o)), "the source: take what differs as an argument (a dyn reference, an enum), or move what does not depend on the type into a function without it", true})
		}
	}
	return list
}

// adviseOfPanics is what panics and backtraces could leave out.
func (z *Sizes) adviseOfPanics() []Advice {
	var list []Advice
	z.findLocations()
	if l := z.locations; l != nil && l.Count > 0 {
		list = append(list, Advice{l.Bytes + l.Relocations + l.Names, "at most", fmt.Sprintf("%s panic locations", thousands(l.Count)), `leanlink.toml: trim.panic = "location" (panics then do not say where)`, true})
	}
	if z.Report == nil {
		return list
	}
	g, err := z.outputGraph()
	if err != nil {
		return list
	}
	for k := range panicParts {
		if p := &panicParts[k]; p.key == "backtrace" {
			if n := z.retainedBy(g, p); n > 0 {
				list = append(list, Advice{n, "at most", "the backtrace symbolizer, with all that nothing else needs", `leanlink.toml: trim.backtrace = "addresses" (backtraces then have no names)`, true})
			}
		}
	}
	return list
}

// packedRelocations returns the bytes of relative relocations that could be
// packed (SHT_RELR), and what they would take: an address, then bitmaps of the
// words that follow it.
func (z *Sizes) packedRelocations() (now, packed uint64) {
	if z.Layout == nil {
		return 0, 0
	}
	f, err := elf.Open(z.Path)
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	relative := map[elf.Machine]uint64{elf.EM_X86_64: 8, elf.EM_AARCH64: 1027, elf.EM_RISCV: 3}[f.Machine]
	if f.Class != elf.ELFCLASS64 || relative == 0 {
		return 0, 0
	}
	var places []uint64
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA || s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		data, err := s.Data()
		if err != nil {
			return 0, 0
		}
		for ; len(data) >= 24; data = data[24:] {
			place := f.ByteOrder.Uint64(data)
			if f.ByteOrder.Uint64(data[8:])&0xffffffff == relative && place%2 == 0 {
				places = append(places, place)
				now += 24
			}
		}
	}
	slices.Sort(places)
	const word, bits = 8, 63
	for i := 0; i < len(places); {
		packed += word
		base := places[i] + word
		i++
		for i < len(places) {
			from := i
			for i < len(places) && places[i]-base < bits*word && (places[i]-base)%word == 0 {
				i++
			}
			if i == from {
				break
			}
			packed += word
			base += bits * word
		}
	}
	return now, packed
}

// AdviceTable shows advice, the most valuable first.
func AdviceTable(list []Advice) *Table {
	t := &Table{Key: "advice", Title: "What would make it smaller", Columns: []Column{{"bytes", "bytes", ColumnBytes}, {"how", "", ColumnText}, {"loaded", "in", ColumnText}, {"what", "what", ColumnName}, {"line", "how to", ColumnName}}}
	for _, a := range list {
		in := "file"
		if a.Loaded {
			in = "memory"
		}
		t.add(a.Bytes, a.How, in, a.What, a.Line)
	}
	t.note("Computed from this very build. Savings overlap. What only a build can tell (LTO, codegen-units, opt-level) is measured by advise --measure.")
	return t
}
