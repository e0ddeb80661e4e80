package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// group is a set of live sections that are alike.
type group struct {
	members []SectionIndex // in the order of the link
	all     uint64         // bytes of all of them, as they came
	left    uint64         // bytes of those that are still in the output
	most    uint64         // bytes of the largest that is still there
	jumps   uint64         // bytes of those that are jumps now
	kept    int            // how many are still there
}

// saved returns the bytes that folding took away.
func (g *group) saved() uint64 { return g.all - g.left }

// more returns the bytes that one copy for all would take away besides.
func (g *group) more() uint64 { return g.left - g.most - g.jumps }

// groupsOf collects groups of live sections by a number each has.
func (z *Sizes) groupsOf(number func(*Section) uint32, o *ViewOptions) []*group {
	byNumber := make(map[uint32]*group)
	var list []*group
	for i := range z.Report.Sections {
		s := &z.Report.Sections[i]
		n := number(s)
		if n == 0 || !s.Live() || s.Size == 0 {
			continue
		}
		g := byNumber[n]
		if g == nil {
			g = &group{}
			byNumber[n] = g
			list = append(list, g)
		}
		g.members = append(g.members, SectionIndex(i))
		g.all += s.Size + s.FDE
		if s.InOutput() {
			left := s.After() + s.AfterFDE()
			g.left += left
			if s.Fate == FateThunk {
				g.jumps += left
			} else {
				g.most = max(g.most, left)
			}
			g.kept++
		}
	}
	out := list[:0]
	for _, g := range list {
		if len(g.members) > 1 && z.groupMatches(g, o) {
			out = append(out, g)
		}
	}
	return out
}

func (z *Sizes) groupMatches(g *group, o *ViewOptions) bool {
	if o.Filter == nil {
		return true
	}
	for _, i := range g.members {
		if o.Filter.matches(z.sectionTitle(i, o), false, z.sectionCrate(i, o)) {
			return true
		}
	}
	return false
}

// cratesOf lists the crates that asked for a group's members.
func (z *Sizes) cratesOf(g *group, o *ViewOptions) string {
	asked := *o
	asked.Asked = true
	seen := make(map[string]int)
	for _, i := range g.members {
		seen[z.sectionCrate(i, &asked)]++
	}
	names := sortedNames(seen)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(seen[b], seen[a]) })
	const most = 3
	if len(names) > most {
		names = append(names[:most:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}

// whyNot says why copies are still there: for each reason how many.
func (z *Sizes) whyNot(g *group) string {
	reasons := make(map[string]int)
	for _, i := range g.members {
		s := &z.Report.Sections[i]
		switch s.Fate {
		case FateIneligible:
			reasons[string(s.Reason)]++
		case FateThunk:
			reasons["has an address of its own: a jump"]++
		}
	}
	names := sortedNames(reasons)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(reasons[b], reasons[a]) })
	for i, n := range names {
		names[i] = fmt.Sprintf("%d %s", reasons[n], n)
	}
	switch {
	case len(names) > 0:
		return strings.Join(names, "; ")
	case g.kept > 1:
		return "in different kinds of sections, or addresses differ"
	}
	return "folded"
}

// groupName is what the members of a group are called: the name that they
// share without generic arguments, else the first one's.
func (z *Sizes) groupName(g *group, o *ViewOptions) string {
	return z.sectionTitle(g.members[0], o)
}

// Dup lists identical bodies: how many copies there were, what folding them
// saved, and why some are still there.
func (z *Sizes) Dup(o *ViewOptions) []*Table {
	t := &Table{Key: "duplicates", Title: "Identical bodies",
		Columns: []Column{{"copies", "copies", ColumnCount}, {"left", "left", ColumnCount}, {"each", "bytes each", ColumnBytes}, {"saved", "saved", ColumnBytes}, {"more", "still double", ColumnBytes},
			{"kind", "is", ColumnText}, {"fate", "folded or why not", ColumnName}, {"crates", "made for", ColumnName}, {"name", "name", ColumnName}},
		Spare: []string{"left", "more", "crates"}}
	groups := z.groupsOf(func(s *Section) uint32 { return s.Class }, o)
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Or(cmp.Compare(b.saved()+b.more(), a.saved()+a.more())) })
	var saved, more uint64
	for n, g := range groups {
		s := &z.Report.Sections[g.members[0]]
		saved += g.saved()
		more += g.more()
		name, crates, fate := "", "", ""
		if o.Rows == 0 || n <= o.Rows || o.Sort != "" {
			name, crates, fate = z.groupName(g, o), z.cratesOf(g, o), z.whyNot(g)
		}
		row := []any{uint64(len(g.members)), uint64(g.kept), s.Size, g.saved(), g.more(), s.Kind.String(), fate, crates, name}
		t.add(row...)
	}
	z.sort(t, o)
	t.Limit(o.Rows)
	fixEach(t, "each")
	t.total(countOf(len(groups), "group"))
	fixEach(t, "each")
	t.note("Folding them saved %s bytes; %s more are still there twice.", thousands(saved), thousands(more))
	return []*Table{t}
}

// fixEach empties a column that must not be added up, in the rows that add up.
func fixEach(t *Table, key string) {
	c := t.column(key)
	for i := range t.Rows {
		if t.Rows[i].Kind != RowPlain {
			t.Rows[i].Cells[c] = nil
		}
	}
}

// Near lists bodies that are the same but for a constant or a callee.
func (z *Sizes) Near(o *ViewOptions) []*Table {
	t := &Table{Key: "near", Title: "Bodies that are the same but for a constant or a callee",
		Columns: []Column{{"copies", "bodies", ColumnCount}, {"each", "bytes each", ColumnBytes}, {"bytes", "bytes in all", ColumnBytes}, {"more", "one would save", ColumnBytes},
			{"kind", "is", ColumnText}, {"crates", "made for", ColumnName}, {"name", "for example", ColumnName}}, Spare: []string{"bytes", "crates"}}
	near := z.nearGroups(o)
	var more uint64
	for n, g := range near {
		s := &z.Report.Sections[g.members[0]]
		more += g.more()
		name, crates := "", ""
		if o.Rows == 0 || n <= o.Rows || o.Sort != "" {
			name, crates = z.groupName(g, o), z.cratesOf(g, o)
		}
		t.add(uint64(g.kept), s.Size, g.left, g.more(), s.Kind.String(), crates, name)
	}
	z.sort(t, o)
	t.Limit(o.Rows)
	t.total(countOf(len(near), "group"))
	fixEach(t, "each")
	t.note("One body that takes what differs as an argument would save at most %s bytes, less what passing it costs.", thousands(more))
	return []*Table{t}
}

// Generics sums up functions by their name without generic arguments: what
// each generic function costs in machine code.
func (z *Sizes) Generics(o *ViewOptions) []*Table {
	t := &Table{Key: "generics", Title: fmt.Sprintf("Functions of %s without their generic arguments", z.File()),
		Columns: []Column{{"bytes", "bytes", ColumnBytes}, {"of_code", "% of code", ColumnShare}, {"cumulative", "% so far", ColumnShare}, {"copies", "copies", ColumnCount}},
		Spare:   []string{"of_code", "crates", "cumulative"}}
	if z.Report != nil {
		t.Columns = append(t.Columns, Column{"folded", "folded", ColumnCount}, Column{"saved", "saved", ColumnBytes}, Column{"crates", "asked for by", ColumnName})
	}
	t.Columns = append(t.Columns, Column{"name", "name", ColumnName})
	type sums struct {
		bytes, copies, folded, saved uint64
		askers                       map[string]int
	}
	by := make(map[string]*sums)
	names := make(map[string]string)
	get := func(symbol string) *sums {
		name, ok := names[symbol]
		if !ok {
			name = Generic(symbol)
			names[symbol] = name
		}
		s := by[name]
		if s == nil {
			s = &sums{askers: make(map[string]int)}
			by[name] = s
		}
		return s
	}
	var code, unnamed uint64
	for i := range z.Items {
		it := &z.Items[i]
		if it.Label != LabelCode {
			continue
		}
		code += it.Bytes
		if it.Symbol == "" {
			unnamed += it.Bytes
			continue
		}
		s := get(it.Symbol)
		s.bytes += it.Bytes
		s.copies++
		if it.For != "" {
			s.askers[it.For]++
		}
	}
	if z.Report != nil {
		for i := range z.Report.Sections {
			s := &z.Report.Sections[i]
			if s.Kind == KindCode && len(s.Symbols) > 0 && (s.Fate == FateFolded || s.Fate == FateThunk) {
				g := get(s.Symbols[0].Name)
				g.saved += s.Size - s.After()
				if s.Fate == FateFolded {
					g.folded++
				}
				g.askers[z.Report.Inputs[s.Input].Crate]++
			}
		}
	}
	var left uint64
	for _, name := range sortedNames(by) {
		s := by[name]
		if o.Filter != nil && !o.Filter.matches(name, false) {
			left += s.bytes
			continue
		}
		cells := []any{s.bytes, share(s.bytes, code), 0.0, s.copies}
		if z.Report != nil {
			askers := sortedNames(s.askers)
			slices.SortStableFunc(askers, func(a, b string) int { return cmp.Compare(s.askers[b], s.askers[a]) })
			if n := len(askers); n > 3 {
				askers = append(askers[:3:3], fmt.Sprintf("and %d more", n-3))
			}
			cells = append(cells, s.folded, s.saved, strings.Join(askers, ", "))
		}
		t.add(append(cells, name)...)
	}
	t.SortBy("bytes")
	z.sort(t, o)
	sum := 0.0
	for i := range t.Rows {
		sum += t.Rows[i].Cells[1].(float64)
		t.Rows[i].Cells[2] = sum
	}
	t.Limit(o.Rows)
	add := func(n uint64, what string) {
		if n > 0 {
			row := Row{make([]any, len(t.Columns)), RowRest}
			row.Cells[0], row.Cells[1], row.Cells[len(row.Cells)-1] = n, share(n, code), what
			t.Rows = append(t.Rows, row)
		}
	}
	add(left, "what the filter leaves out")
	add(unnamed, "code without a name")
	t.total("all code")
	fixEach(t, "cumulative")
	z.warnStripped(t)
	return []*Table{t}
}

// Dropped lists what the link left out because nothing reaches it.
func (z *Sizes) Dropped(o *ViewOptions) []*Table {
	r := z.Report
	t := &Table{Key: "dropped", Title: "What nothing reaches",
		Columns: []Column{{"bytes", "bytes", ColumnBytes}, {"kind", "is", ColumnText}, {"crate", "crate", ColumnText}, {"reason", "why", ColumnName}, {"name", "name", ColumnName}}, Spare: []string{"kind"}}
	byCrate := &Table{Key: "dropped_crates", Title: "What nothing reaches, by crate",
		Columns: []Column{{"bytes", "bytes", ColumnBytes}, {"sections", "sections", ColumnCount}, {"name", "crate", ColumnName}}}
	type sums struct{ bytes, count uint64 }
	crates := make(map[string]*sums)
	for i := range r.Sections {
		s := &r.Sections[i]
		if s.Live() {
			continue
		}
		crate := z.sectionCrate(SectionIndex(i), o)
		if o.Filter != nil && !o.Filter.matches(z.sectionTitle(SectionIndex(i), o), false, crate) {
			continue
		}
		c := crates[crate]
		if c == nil {
			c = &sums{}
			crates[crate] = c
		}
		c.bytes += s.Size + s.FDE
		c.count++
		t.add(s.Size+s.FDE, s.Kind.String(), crate, string(s.Reason), SectionIndex(i))
	}
	t.SortBy("bytes")
	for i := range t.Rows {
		c := &t.Rows[i].Cells[4]
		if o.Rows == 0 || i <= o.Rows || o.Sort != "" {
			*c = z.sectionTitle((*c).(SectionIndex), o)
		} else {
			*c = ""
		}
	}
	z.sort(t, o)
	t.Limit(o.Rows)
	var listed uint64
	for _, c := range crates {
		listed += c.bytes
	}
	if o.Filter == nil && listed < r.Totals.DroppedBytes {
		t.Rows = append(t.Rows, Row{[]any{r.Totals.DroppedBytes - listed, nil, nil, nil, "small ones that the report leaves out to stay small itself"}, RowRest})
	}
	t.total("all")
	for _, name := range sortedNames(crates) {
		byCrate.add(crates[name].bytes, crates[name].count, name)
	}
	byCrate.SortBy("bytes")
	byCrate.Limit(o.Rows)
	byCrate.total("all")
	byCrate.note("Any linker that collects unused sections (--gc-sections, which rustc passes) leaves them out; they cost time, not size.")
	return []*Table{t, byCrate}
}

// countOf is "1 group", "2 groups".
func countOf(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return thousands(uint64(n)) + " " + what
}

// nearGroups returns groups of bodies of one shape but different classes, those
// first that one body for all would make smallest.
func (z *Sizes) nearGroups(o *ViewOptions) []*group {
	groups := z.groupsOf(func(s *Section) uint32 {
		if s.Kind != KindCode && s.Kind != KindRelro && s.Kind != KindRodata || !s.InOutput() || s.Fate == FateThunk {
			return 0
		}
		return s.Shape
	}, o)
	near := groups[:0]
	for _, g := range groups {
		// Constants without references are alike whenever they are equal; only
		// what differs in where it points is of this view.
		classes := make(map[uint32]bool)
		for _, i := range g.members {
			s := &z.Report.Sections[i]
			if s.Class == 0 {
				classes[uint32(i)|1<<31] = true
			} else {
				classes[s.Class] = true
			}
		}
		if len(classes) > 1 {
			near = append(near, g)
		}
	}
	slices.SortStableFunc(near, func(a, b *group) int { return cmp.Compare(b.more(), a.more()) })
	return near
}
