package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Diff compares two files: what each part, crate and function has more or
// less. Functions are matched by their readable names, which stay the same
// when hashes change; several of one name are added up.
func Diff(old, z *Sizes, o *ViewOptions) []*Table {
	title := fmt.Sprintf("%s: %s → %s bytes", z.File(), thousands(old.FileSize), thousands(z.FileSize))
	if old.FileSize > 0 {
		title += fmt.Sprintf(" (%s)", signed(share(z.FileSize, old.FileSize)-1))
	}
	head := &Table{Key: "file", Title: title}
	if old.LoadSize > 0 && z.LoadSize > 0 {
		head.note("Of these are loaded: %s → %s bytes.", thousands(old.LoadSize), thousands(z.LoadSize))
	}
	if (old.Report == nil) != (z.Report == nil) {
		head.note("Only one of the two has the report of its link; the other's crates are those that its symbols name.")
	}

	parts := diffTable("parts", "By part", Column{"name", "part", ColumnName}, false)
	crates := diffTable("crates", "By crate", Column{"name", "crate", ColumnName}, false)
	functions := diffTable("functions", "By function and constant", Column{"name", "name", ColumnName}, true)
	tables := []*Table{head, parts, crates, functions}
	type key struct{ table, crate, name string }
	type sizes struct{ old, new, oldCopies, newCopies uint64 }
	all := make(map[key]*sizes)
	collect := func(z *Sizes, isNew bool) {
		stable := make(map[string]string)
		for i := range z.Items {
			it := &z.Items[i]
			if it.Bytes == 0 {
				continue
			}
			crate := z.crate(it, o)
			name := z.stableName(it, stable)
			keys := []key{{"parts", "", it.Label.String()}, {"crates", "", crate}, {"functions", crate, name}}
			if o.Filter != nil {
				keys = keys[:0]
				if o.Filter.matches(name, false, crate) {
					keys = append(keys, key{"functions", crate, name})
				}
			}
			for _, k := range keys {
				s := all[k]
				if s == nil {
					s = &sizes{}
					all[k] = s
				}
				if isNew {
					s.new += it.Bytes
					s.newCopies++
				} else {
					s.old += it.Bytes
					s.oldCopies++
				}
			}
		}
	}
	collect(old, false)
	collect(z, true)
	keys := make([]key, 0, len(all))
	for k := range all {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Or(cmp.Compare(a.crate, b.crate), cmp.Compare(a.name, b.name)) })
	var same [4]uint64
	for _, k := range keys {
		s := all[k]
		n := slices.IndexFunc(tables, func(t *Table) bool { return t.Key == k.table })
		t := tables[n]
		if s.old == s.new && s.oldCopies == s.newCopies {
			same[n] += s.new
			continue
		}
		change := int64(s.new) - int64(s.old)
		var relative any
		switch {
		case s.old > 0:
			relative = share(s.new, s.old) - 1
		}
		if k.table == "functions" {
			copies := ""
			switch {
			case s.oldCopies == 0:
				copies = "new"
			case s.newCopies == 0:
				copies = "gone"
			case s.oldCopies != s.newCopies:
				copies = fmt.Sprintf("%d → %d copies", s.oldCopies, s.newCopies)
			}
			t.add(change, relative, s.old, s.new, copies, k.crate, k.name)
			continue
		}
		t.add(change, relative, s.old, s.new, k.name)
	}
	for n, t := range tables[1:] {
		t.SortBy("change")
		z.sort(t, o)
		t.Limit(o.Rows)
		row := Row{make([]any, len(t.Columns)), RowRest}
		row.Cells[0], row.Cells[2], row.Cells[3], row.Cells[len(row.Cells)-1] = int64(0), same[n+1], same[n+1], "what is as it was"
		if same[n+1] > 0 {
			t.Rows = append(t.Rows, row)
		}
		t.total("the file")
		for i := range t.Rows {
			if r := &t.Rows[i]; r.Kind != RowPlain {
				r.Cells[1] = nil
				if a, b := r.Cells[2].(uint64), r.Cells[3].(uint64); a > 0 {
					r.Cells[1] = share(b, a) - 1
				}
			}
		}
	}
	if o.Filter != nil {
		functions.Rows[len(functions.Rows)-1].Cells[len(functions.Columns)-1] = "what the filter selects"
		return []*Table{head, functions}
	}
	return tables
}

func diffTable(key, title string, name Column, isFunction bool) *Table {
	t := &Table{Key: key, Title: title, Columns: []Column{{"change", "change", ColumnChange}, {"relative", "%", ColumnShare}, {"old", "old", ColumnBytes}, {"new", "new", ColumnBytes}}, Spare: []string{"old"}}
	if isFunction {
		t.Columns = append(t.Columns, Column{"copies", "", ColumnText}, Column{"crate", "crate", ColumnText})
	}
	t.Columns = append(t.Columns, name)
	return t
}

// signed writes a share with its sign.
func signed(x float64) string {
	if x > 0 {
		return "+" + percent(x)
	}
	return percent(x)
}

// stableName is an item's name without what changes from build to build.
// Constants whose only name is a hash are one per crate.
func (z *Sizes) stableName(it *Item, known map[string]string) string {
	if it.Symbol == "" {
		if it.Of != None {
			return "[constants without a name]"
		}
		return z.Name(it)
	}
	if s, ok := known[it.Symbol]; ok {
		return s
	}
	name := z.Demangled(trimSymbol(it.Symbol))
	name, _, _ = strings.Cut(name, ".llvm.")
	name, _, _ = strings.Cut(name, " [clone ")
	switch base, digits, ok := strings.Cut(name, "."); {
	case strings.HasPrefix(name, "anon.") || strings.HasPrefix(name, ".Lanon."):
		name = "[constants without a name]"
	case ok && base == "vtable" && strings.Trim(digits, "0123456789") == "":
		name = "[vtables without a name]"
	case strings.HasPrefix(name, "GCC_except_table"):
		name = "[landing pads]"
	}
	known[it.Symbol] = name
	return name
}
