package report

import (
	"cmp"
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Advice is one way to make a program smaller.
type Advice struct {
	Bytes  uint64 // what it would save
	How    string // how well that is known: "exactly", "at most", "at least", "about", "measured"
	What   string // what is large
	Line   string // what to write, and where
	Loaded bool   // it makes what is loaded smaller, not only the file
	Key    string // the setting that it is about: "strip", "trim.relocations", …; "" if none
}

// AdviceState is what is known of a build beyond its file and its report.
type AdviceState struct {
	Profile  string            // Cargo's, "release"
	Set      map[string]string // what is set of it: "strip", "panic", …
	Versions map[string]string // of crates, by the names of their rlibs
}

// large is the size from which one constant is worth a thought, in bytes.
const large = 16 << 10

// Advise lists what would make the program smaller, as far as this build
// tells.
func (z *Sizes) Advise(state AdviceState) []Advice {
	var list []Advice
	profile := state.Profile
	if profile == "" {
		profile = "release"
	}
	add := func(a Advice) {
		if a.Bytes > 0 {
			list = append(list, a)
		}
	}
	inProfile := func(line string) string { return "Cargo.toml, [profile." + profile + "]: " + line }
	var labels [NumLabels]uint64
	for i := range z.Items {
		labels[z.Items[i].Label] += z.Items[i].Bytes
	}
	debug, symbols, known := z.strippable()
	how := "exactly"
	if !known {
		debug, symbols, how = labels[LabelDebug], labels[LabelDebug]+labels[LabelSymtab]+labels[LabelStrtab], "at most"
	}
	add(Advice{debug, how, "debug info in the file", inProfile(`strip = "debuginfo"`), false, "strip=debuginfo"})
	what := "symbol table"
	if debug > 0 {
		what = "debug info and symbol table"
	}
	add(Advice{symbols, how, what, inProfile(`strip = true (backtraces then have no names)`), false, "strip"})
	if state.Set["panic"] != "abort" {
		add(Advice{z.ownLandingPads(), "at least", "landing pads: their tables alone, their code comes on top", inProfile(`panic = "abort" (if nothing catches panics)`), true, "panic"})
	}
	if n, packed := z.packedRelocations(); n > packed {
		add(Advice{n - packed, "exactly", fmt.Sprintf("relative relocations: %s bytes that would take %s", thousands(n), thousands(packed)),
			`leanlink.toml: trim.relocations = "packed" (needs glibc 2.36 or musl 1.2.4 where it runs)`, true, "trim.relocations"})
	}
	add(Advice{z.relaxableCalls(), "at least", "calls of two instructions that reach with one", `.cargo/config.toml, [target.TRIPLE]: rustflags = ["-Ctarget-feature=+relax"] (the linker then shortens calls)`, true, "relax"})
	if z.Report != nil {
		list = append(list, z.adviseOfLink(state.Versions)...)
	}
	list = append(list, z.adviseOfPanics()...)
	for i := range z.Items {
		it := &z.Items[i]
		if it.Bytes >= large && (it.Label == LabelRodata || it.Label == LabelRelro || it.Label == LabelData) && it.What == "" {
			add(Advice{it.Bytes, "at most", fmt.Sprintf("%s of %s", z.Name(it), z.Owner(it)), "the source, or a feature of the crate: is all of this table needed?", true, ""})
		}
	}
	slices.SortStableFunc(list, func(a, b Advice) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return list
}

// adviseOfLink is what the report of the link tells.
func (z *Sizes) adviseOfLink(versions map[string]string) []Advice {
	var list []Advice
	o := &ViewOptions{SplitStd: true}
	switch z.Report.Modes.Fold {
	case "safe":
		var more uint64
		for _, g := range z.groupsOf(func(s *Section) uint32 { return s.Class }, o) {
			more += g.more() + g.jumps
		}
		if more > 0 {
			list = append(list, Advice{more, "about", "identical functions that keep an address of their own", `leanlink.toml: fold = "all"`, true, "fold"})
		}
	case "off":
		var more uint64
		for _, g := range z.groupsOf(func(s *Section) uint32 { return s.Class }, o) {
			more += g.more()
		}
		if more > 0 {
			list = append(list, Advice{more, "at most", "identical bodies", `leanlink.toml: fold = "safe"`, true, "fold"})
		}
	}
	list = append(list, z.adviseOfVersions(versions)...)
	for k, g := range z.nearGroups(o) {
		if k == 3 {
			break
		}
		if g.more() >= 2048 {
			list = append(list, Advice{g.more(), "at most", fmt.Sprintf("%d bodies of %s, the same but for a constant or a callee", g.kept, z.groupName(g, o)), "the source: take what differs as an argument (a dyn reference, an enum), or move what does not depend on the type into a function without it", true, ""})
		}
	}
	return list
}

// adviseOfVersions is what crates cost that are there twice: in two versions, or
// with two sets of features. A generic function of such a crate is compiled
// elsewhere, and only the crate's name is known of it, so it may be of either.
func (z *Sizes) adviseOfVersions(versions map[string]string) []Advice {
	files := make(map[string][]string) // by crate, the names of the rlibs that were linked
	for _, arg := range z.Report.Command {
		name := path.Base(arg)
		if crate := FileCrate(arg, ""); strings.HasSuffix(name, ".rlib") && !strings.HasPrefix(arg, "$SYSROOT/") && !slices.Contains(files[crate], name) {
			files[crate] = append(files[crate], name)
		}
	}
	own := make(map[string]uint64) // bytes by rlib
	sum := make(map[string]uint64) // bytes by crate
	for i := range z.Items {
		it := &z.Items[i]
		name := ""
		if it.Of != None {
			name = path.Base(z.Report.Inputs[z.Report.Sections[it.Of].Input].Path)
		}
		crate := it.Crate
		if slices.Contains(files[it.For], name) { // from the crate's own rlib, whatever it was made of
			crate = it.For
			own[name] += it.Bytes
		}
		if len(files[crate]) > 1 && it.Memory > 0 {
			sum[crate] += it.Bytes
		}
	}
	var list []Advice
	for _, crate := range sortedNames(sum) {
		var most uint64
		var known []string
		for _, name := range files[crate] {
			most = max(most, own[name])
			if v := versions[name]; v != "" && !slices.Contains(known, v) {
				known = append(known, v)
			}
		}
		if sum[crate] <= most {
			continue
		}
		slices.Sort(known)
		what, line := fmt.Sprintf("%d versions of the crate %s", len(files[crate]), crate), "Cargo.lock: cargo tree -d says who wants which; cargo update may make them one"
		switch {
		case len(known) > 1:
			what += ": " + strings.Join(known, ", ")
		case len(known) == 1:
			what = fmt.Sprintf("%s %s, compiled %d times", crate, known[0], len(files[crate]))
			line = "Cargo.toml: cargo tree -e features -i " + crate + " says who wants which of its features; let them want the same"
		}
		list = append(list, Advice{sum[crate] - most, "about", what, line, true, ""})
	}
	return list
}

// AllUnwinding and AllAborting name, in Modes.Could, all trims that a program
// can have whose panics unwind, and one whose panics abort; packed relocations
// come on top.
const (
	AllUnwinding = "trims where panics unwind"
	AllAborting  = "trims where panics abort"
)

// couldSave says what is written for what Modes.Could has, in its order.
var couldSave = []struct{ setting, key, what, line string }{
	{AllAborting, "trims", "all trims of what panics need, together", `panic = "trap", trim.backtrace = "addresses", trim.unwind-tables = "drop", trim.align = "size" (see each)`},
	{AllUnwinding, "trims", "all trims of what panics need, together", `panic = "location", trim.backtrace = "addresses", trim.unwind-tables = "calls", trim.align = "size" (see each)`},
	{"trim.panic=trap", "trim.panic=trap", "panics that say anything", `panic = "trap" (a panic then ends the program by a signal)`},
	{"trim.panic=message", "trim.panic=message", "messages of panics", `panic = "message" (panics then say only where)`},
	{"trim.panic=location", "trim.panic", "panic locations", `panic = "location" (panics then do not say where)`},
	{"trim.backtrace=addresses", "trim.backtrace", "the backtrace symbolizer, with all that nothing else needs", `backtrace = "addresses" (backtraces then have no names)`},
	{"trim.unwind-tables=drop", "trim.unwind-tables=drop", "unwind tables", `unwind-tables = "drop" (no backtraces then)`},
	{"trim.unwind-tables=calls", "trim.unwind-tables", "rows of unwind tables that no call returns to", `unwind-tables = "calls" (a profiler may lose a frame)`},
	{"trim.align=size", "trim.align", "alignment of functions that only serves speed", `align = "size" (such functions may be fetched a little slower)`},
}

// adviseOfTrims is what the link found out about trims by planning with them.
func (z *Sizes) adviseOfTrims() []Advice {
	var list []Advice
	could := z.Report.Modes.Could
	for _, c := range couldSave {
		if c.setting == AllUnwinding && could[AllAborting] > 0 {
			continue
		}
		if n := could[c.setting]; n > 0 {
			list = append(list, Advice{n, "about", c.what, "leanlink.toml: trim." + c.line, true, c.key})
		}
	}
	return list
}

// adviseOfPanics is what panics and backtraces could leave out.
func (z *Sizes) adviseOfPanics() []Advice {
	if z.Report != nil && z.Report.Modes.Could != nil {
		return z.adviseOfTrims()
	}
	var list []Advice
	z.findLocations()
	if l := z.locations; l != nil && l.Count > 0 {
		list = append(list, Advice{l.Bytes + l.Relocations + l.Names, "at most", fmt.Sprintf("%s panic locations", thousands(l.Count)), `leanlink.toml: trim.panic = "location" (panics then do not say where)`, true, "trim.panic"})
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
				list = append(list, Advice{n, "at most", "the backtrace symbolizer, with all that nothing else needs", `leanlink.toml: trim.backtrace = "addresses" (backtraces then have no names)`, true, "trim.backtrace"})
			}
		}
	}
	return list
}

// ownLandingPads returns the bytes of landing-pad tables that a build with
// panic = "abort" would not have. The standard library is compiled already and
// keeps its own.
func (z *Sizes) ownLandingPads() uint64 {
	var sum uint64
	for i := range z.Items {
		if it := &z.Items[i]; it.Label == LabelLSDA && (it.Of != None || it.Crate != "") && !z.fromSysroot(it) {
			sum += it.Bytes
		}
	}
	return sum
}

// packedRelocations returns the bytes of relative relocations that could be
// packed (SHT_RELR), and what they would take: an address, then bitmaps of the
// words that follow it; three entries of the dynamic section, for that which
// counted them; and with glibc the version that says that it must know them.
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
	counted := uint64(16) // bytes of DT_RELACOUNT
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
			} else if f.ByteOrder.Uint64(data[8:])&0xffffffff == relative {
				counted = 0 // one remains
			}
		}
	}
	if len(places) == 0 {
		return 0, 0
	}
	packed = 3*16 - counted
	if ends, err := f.DynValue(elf.DT_NULL); err == nil && len(ends) > 1 && counted > 0 {
		packed += counted // GNU ld leaves room in the dynamic section
	}
	if needed, err := f.ImportedLibraries(); err == nil && slices.Contains(needed, "libc.so.6") {
		packed += 16 + uint64(len("GLIBC_ABI_DT_RELR\x00"))
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

// AdviceTable shows advice, the most valuable first; measured says that what
// only a build can tell is among it.
func AdviceTable(list []Advice, measured bool) *Table {
	t := &Table{Key: "advice", Title: "What would make it smaller", Columns: []Column{{"bytes", "bytes", ColumnBytes}, {"how", "", ColumnText}, {"loaded", "in", ColumnText}, {"what", "what", ColumnProse}, {"line", "how to", ColumnBelow}}}
	for _, a := range list {
		in := "file"
		if a.Loaded {
			in = "memory"
		}
		t.add(a.Bytes, a.How, in, a.What, a.Line)
	}
	t.note("Computed from this very build. Savings overlap.")
	if !measured {
		t.note("What only a build can tell (LTO, codegen-units, opt-level, panic) is measured by advise --measure.")
	}
	return t
}
