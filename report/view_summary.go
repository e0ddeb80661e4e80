package report

import (
	"cmp"
	"fmt"
	"slices"
)

// Summary shows what the link did and where the file's bytes are.
func (z *Sizes) Summary(o *ViewOptions) []*Table {
	var tables []*Table
	if z.Report != nil {
		tables = append(tables, z.savings())
	}
	tables = append(tables, z.parts())
	few := *o
	if few.Rows == 0 || few.Rows > 12 {
		few.Rows = 12
	}
	crates := z.Crates(&few)
	return append(tables, crates...)
}

// savings is what leanlink left out, by what it is.
func (z *Sizes) savings() *Table {
	r := z.Report
	t := &Table{Key: "savings", Title: "What leanlink folded",
		Columns: []Column{{"part", "", ColumnText}, {"before", "before", ColumnBytes}, {"after", "after", ColumnBytes}, {"change", "change", ColumnChange}, {"share", "%", ColumnShare}}}
	b, a := &r.Totals.Before, &r.Totals.After
	var before, after uint64
	for k := range NumKinds {
		if b[k] == 0 || k == KindBSS || k == KindTBSS {
			continue
		}
		t.add(k.String(), b[k], a[k], int64(a[k])-int64(b[k]), share(a[k], b[k])-1)
		before += b[k]
		after += a[k]
	}
	t.Rows = append(t.Rows, Row{[]any{"total", before, after, int64(after) - int64(before), share(after, max(before, 1)) - 1}, RowTotal})
	live := uint64(0)
	for i := range r.Sections {
		if r.Sections[i].Live() {
			live++
		}
	}
	switch {
	case r.Modes.Fold == "off":
		t.note("Folding is off (fold = \"off\"): nothing was folded.")
	default:
		t.note("%s of %s live sections folded, %s more became a jump; %s that nothing reaches left out (%s bytes).",
			thousands(uint64(r.Totals.Folded)), thousands(live), thousands(uint64(r.Totals.Thunks)), thousands(uint64(r.Totals.Dropped)), thousands(r.Totals.DroppedBytes))
	}
	return t
}

// parts is the file by what its bytes are.
func (z *Sizes) parts() *Table {
	t := &Table{Key: "parts", Title: "Where the bytes of the file are",
		Columns: []Column{{"part", "", ColumnText}, {"bytes", "bytes", ColumnBytes}, {"share", "% of file", ColumnShare}, {"memory", "in memory", ColumnBytes}}}
	var file, vm [NumLabels]uint64
	for i := range z.Items {
		it := &z.Items[i]
		file[it.Label] += it.Bytes
		vm[it.Label] += it.Memory
	}
	for l := range NumLabels {
		if file[l] > 0 || vm[l] > 0 {
			t.add(l.String(), file[l], share(file[l], z.FileSize), vm[l])
		}
	}
	slices.SortStableFunc(t.Rows, func(a, b Row) int { return cmp.Compare(b.Cells[1].(uint64), a.Cells[1].(uint64)) })
	t.total("the file")
	if z.LoadSize > 0 {
		t.note("%s of the file's bytes are loaded into memory or flash.", thousands(z.LoadSize))
	}
	z.warnStripped(t)
	return t
}

// warnStripped says why a view of a stripped file shows little.
func (z *Sizes) warnStripped(t *Table) {
	switch {
	case z.Stripped && z.Report == nil:
		t.note("%s has no symbol table: only its sections can be told apart.", z.File())
	case z.Layout == nil:
		t.note("Computed from the report alone; beside the linked file it would show every byte of it.")
	}
}

// Top lists functions, the largest first.
func (z *Sizes) Top(o *ViewOptions) []*Table {
	t := &Table{Key: "functions", Title: fmt.Sprintf("Largest functions of %s", z.File()),
		Columns: []Column{{"share", "% of file", ColumnShare}, {"of_code", "% of code", ColumnShare}, {"bytes", "bytes", ColumnBytes}, {"crate", "crate", ColumnText}, {"asked_by", "asked by", ColumnText}, {"name", "name", ColumnName}},
		Spare:   []string{"asked_by", "share"}}
	wanted := func(l Label) bool { return l == LabelCode || l == LabelPLT }
	if o.Data {
		t.Key, t.Title = "data", fmt.Sprintf("Largest constants and statics of %s", z.File())
		t.Columns[1] = Column{"of_data", "% of data", ColumnShare}
		wanted = func(l Label) bool {
			return l == LabelRodata || l == LabelRelro || l == LabelData || l == LabelTLS
		}
	}
	var all, unfiltered, other uint64
	isCrate := z.filterByCrate(o)
	type entry struct {
		it   *Item
		name string
	}
	var entries []entry
	for i := range z.Items {
		it := &z.Items[i]
		if !wanted(it.Label) {
			other += it.Bytes
			continue
		}
		all += it.Bytes
		if it.Bytes == 0 {
			continue
		}
		if !o.Filter.selects(z, it, o, isCrate) {
			unfiltered += it.Bytes
			continue
		}
		entries = append(entries, entry{it: it})
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(b.it.Bytes, a.it.Bytes) })
	for n, e := range entries {
		// Names are read only as far as somebody sees them.
		name := ""
		if o.Rows == 0 || n <= o.Rows || o.Sort != "" {
			name = z.itemName(e.it, o)
		}
		crate, asker := z.crate(e.it, o), e.it.For
		if asker == e.it.Crate || asker == crate || o.Asked {
			asker = ""
		}
		t.add(share(e.it.Bytes, z.FileSize), share(e.it.Bytes, all), e.it.Bytes, crate, asker, name)
	}
	z.sort(t, o)
	t.Limit(o.Rows)
	if unfiltered > 0 {
		t.Rows = append(t.Rows, Row{[]any{share(unfiltered, z.FileSize), share(unfiltered, all), unfiltered, "", "", "what the filter leaves out"}, RowRest})
	}
	what := "not code"
	if o.Data {
		what = "neither constants nor statics"
	}
	t.Rows = append(t.Rows, Row{[]any{share(other, z.FileSize), nil, other, "", "", what}, RowRest})
	t.total("the file")
	z.warnStripped(t)
	return []*Table{t}
}

// selects says whether the filter selects an item.
func (f *Filter) selects(z *Sizes, it *Item, o *ViewOptions, isCrate bool) bool {
	if f == nil {
		return true
	}
	name := ""
	if !isCrate {
		name = z.itemName(it, o)
	}
	return f.matches(name, isCrate, z.crate(it, o), it.Crate)
}

// sort sorts a table as the user asked. A column that this table lacks is
// another table's.
func (z *Sizes) sort(t *Table, o *ViewOptions) {
	if o.Sort != "" && t.column(o.Sort) >= 0 {
		t.SortBy(o.Sort)
	}
}

// Crates sums up the file by crate.
func (z *Sizes) Crates(o *ViewOptions) []*Table {
	t := &Table{Key: "crates", Title: fmt.Sprintf("Crates of %s", z.File()),
		Columns: []Column{{"share", "% of file", ColumnShare}, {"bytes", "bytes", ColumnBytes}, {"code", "code", ColumnBytes}, {"data", "data", ColumnBytes},
			{"unwind", "unwind", ColumnBytes}, {"tables", "tables", ColumnBytes}}, Spare: []string{"share", "unwind", "tables"}}
	if z.Report != nil {
		t.Columns = append(t.Columns, Column{"folded", "folded", ColumnBytes})
	}
	t.Columns = append(t.Columns, Column{"name", "crate", ColumnName})
	type sums struct{ all, code, data, unwind, tables, folded uint64 }
	by := make(map[string]*sums)
	get := func(name string) *sums {
		s := by[name]
		if s == nil {
			s = &sums{}
			by[name] = s
		}
		return s
	}
	var left uint64
	for i := range z.Items {
		it := &z.Items[i]
		if it.Bytes == 0 {
			continue
		}
		name := z.crate(it, o)
		if o.Filter != nil && !o.Filter.matches(name, false, name) {
			left += it.Bytes
			continue
		}
		s := get(name)
		s.all += it.Bytes
		switch it.Label {
		case LabelCode, LabelInit, LabelPLT:
			s.code += it.Bytes
		case LabelRodata, LabelRelro, LabelData, LabelTLS:
			s.data += it.Bytes
		case LabelLSDA, LabelUnwind:
			s.unwind += it.Bytes
		default:
			s.tables += it.Bytes
		}
	}
	if z.Report != nil {
		for i := range z.Report.Sections {
			s := &z.Report.Sections[i]
			if !s.Live() || s.Kind == KindBSS || s.Kind == KindTBSS {
				continue
			}
			if saved := s.Size + s.FDE - s.After() - s.AfterFDE(); saved > 0 {
				name := z.sectionCrate(SectionIndex(i), o)
				if o.Filter == nil || o.Filter.matches(name, false, name) {
					get(name).folded += saved
				}
			}
		}
	}
	for _, name := range sortedNames(by) {
		s := by[name]
		cells := []any{share(s.all, z.FileSize), s.all, s.code, s.data, s.unwind, s.tables}
		if z.Report != nil {
			cells = append(cells, s.folded)
		}
		t.add(append(cells, name)...)
	}
	t.SortBy("bytes")
	z.sort(t, o)
	t.Limit(o.Rows)
	if left > 0 {
		row := Row{make([]any, len(t.Columns)), RowRest}
		row.Cells[0], row.Cells[1], row.Cells[len(row.Cells)-1] = share(left, z.FileSize), left, "what the filter leaves out"
		t.Rows = append(t.Rows, row)
	}
	t.total("the file")
	if o.Asked {
		t.note("A generic function counts for the crate that asked for it; without --asked, for the crate that defines it.")
	} else if z.Report != nil {
		t.note("A function counts for the crate whose source it is; with --asked, for the crate that it was compiled for.")
	}
	z.warnStripped(t)
	return []*Table{t}
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// SectionsView lists the file's sections, and what lies outside of them.
func (z *Sizes) SectionsView(o *ViewOptions) []*Table {
	t := &Table{Key: "sections", Title: fmt.Sprintf("Sections of %s", z.File()),
		Columns: []Column{{"share", "% of file", ColumnShare}, {"bytes", "bytes", ColumnBytes}, {"memory", "in memory", ColumnBytes}, {"address", "address", ColumnHex}, {"is", "is", ColumnText}, {"name", "section", ColumnName}}, Spare: []string{"address"}}
	type sums struct {
		file, vm, addr uint64
		label          Label
		most           uint64
		parts          map[Label]uint64
	}
	by := make([]sums, len(z.Sections))
	var outside [NumLabels]sums
	for i := range z.Items {
		it := &z.Items[i]
		s := &outside[it.Label]
		if it.Section >= 0 {
			s = &by[it.Section]
		}
		s.file += it.Bytes
		s.vm += it.Memory
		if it.Addr != 0 && (s.addr == 0 || it.Addr < s.addr) {
			s.addr = it.Addr
		}
		if s.parts == nil {
			s.parts = make(map[Label]uint64)
		}
		s.parts[it.Label] += it.Bytes + it.Memory
		if s.parts[it.Label] > s.most {
			s.most, s.label = s.parts[it.Label], it.Label
		}
	}
	if z.Layout == nil {
		for i, out := range z.Report.Output.Sections {
			by[i].addr = out.Addr
		}
	}
	var left sums
	add := func(s *sums, is, name string) {
		if s.file == 0 && s.vm == 0 {
			return
		}
		if !o.Filter.matches(name, false) {
			left.file += s.file
			left.vm += s.vm
			return
		}
		var addr any
		if s.addr != 0 {
			addr = s.addr
		}
		t.add(share(s.file, z.FileSize), s.file, s.vm, addr, is, name)
	}
	for i := range by {
		add(&by[i], by[i].label.String(), z.Sections[i])
	}
	for l := range outside {
		add(&outside[l], Label(l).String(), "["+Label(l).String()+"]")
	}
	z.sort(t, o)
	if left.file > 0 || left.vm > 0 {
		t.Rows = append(t.Rows, Row{[]any{share(left.file, z.FileSize), left.file, left.vm, nil, "", "what the filter leaves out"}, RowRest})
	}
	t.total("the file")
	if z.LoadSize > 0 {
		t.note("%s of the file's bytes are loaded into memory or flash.", thousands(z.LoadSize))
	}
	return []*Table{t}
}
