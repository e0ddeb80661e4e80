package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Table is what every view is made of: rows of cells under columns. The same
// table is written for people ([WriteText], [WriteMarkdown]) and for programs
// ([WriteJSON], [WriteCSV]).
type Table struct {
	Key     string // its name for programs: "functions", "crates", …
	Title   string
	Columns []Column
	Rows    []Row
	Notes   []string // sentences below it
	Spare   []string // keys of columns that a narrow terminal does without, the first to go first
}

// Row is one row: its cells, indexed as Table.Columns.
type Row struct {
	Cells []any   // string, uint64 (bytes, counts), int64 (changes), float64 (a share, 0 … 1) or nil
	Kind  RowKind // what it is, for rows that are none of the view's own
}

// RowKind tells the rows of a table apart.
type RowKind uint8

// The kinds of rows.
const (
	RowPlain RowKind = iota
	RowRest          // sums up rows that were left out
	RowTotal         // sums up all before it
)

var rowKindNames = [...]string{RowPlain: "", RowRest: "rest", RowTotal: "total"}

// ColumnKind says what a column's cells are and how people read them.
type ColumnKind uint8

// The kinds of columns.
const (
	ColumnText   ColumnKind = iota // string
	ColumnName                     // string that may be long: shortened where the terminal is narrow
	ColumnBytes                    // uint64
	ColumnCount                    // uint64
	ColumnChange                   // int64, bytes more (or less)
	ColumnShare                    // float64, 1 is the whole
	ColumnHex                      // uint64, an address
	ColumnProse                    // string of words: goes on in the next line where the terminal is narrow
	ColumnBelow                    // string to be copied: for people, on a line of its own below the row
)

// Column is one column.
type Column struct {
	Key   string // its name for programs
	Title string // its name for people
	Kind  ColumnKind
}

func (t *Table) add(cells ...any) { t.Rows = append(t.Rows, Row{Cells: cells}) }

func (t *Table) note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}

// column returns the index of a column by its Key, or -1.
func (t *Table) column(key string) int {
	return slices.IndexFunc(t.Columns, func(c Column) bool { return c.Key == key })
}

// SortBy sorts the rows by a column: numbers with the largest first, texts in
// the order of the alphabet. Rows that are equal there stay as they were.
func (t *Table) SortBy(key string) error {
	c := t.column(key)
	if c < 0 {
		var keys []string
		for _, col := range t.Columns {
			keys = append(keys, col.Key)
		}
		return fmt.Errorf("no column %q to sort by; %s has %s", key, t.Key, strings.Join(keys, ", "))
	}
	slices.SortStableFunc(t.Rows, func(a, b Row) int {
		if a.Kind != b.Kind {
			return cmp.Compare(a.Kind, b.Kind)
		}
		switch x := a.Cells[c].(type) {
		case uint64:
			y, _ := b.Cells[c].(uint64)
			return cmp.Compare(y, x)
		case int64:
			y, _ := b.Cells[c].(int64)
			return cmp.Compare(max(y, -y), max(x, -x))
		case float64:
			y, _ := b.Cells[c].(float64)
			return cmp.Compare(y, x)
		case string:
			y, _ := b.Cells[c].(string)
			return cmp.Compare(x, y)
		}
		if b.Cells[c] == nil {
			return 0
		}
		return 1
	})
	return nil
}

// Limit keeps the first n plain rows and sums up the others in one row, so
// that totals stay what they are; 0 keeps all.
func (t *Table) Limit(n int) {
	plain := 0
	for plain < len(t.Rows) && t.Rows[plain].Kind == RowPlain {
		plain++
	}
	if n <= 0 || plain <= n+1 { // one row is as short as the row that sums it up
		return
	}
	rest := sumRows(t.Columns, t.Rows[n:plain], fmt.Sprintf("… and %s more", thousands(uint64(plain-n))))
	rest.Kind = RowRest
	t.Rows = slices.Concat(t.Rows[:n:n], []Row{rest}, t.Rows[plain:])
}

// total appends the row that sums up all others.
func (t *Table) total(name string) {
	row := sumRows(t.Columns, t.Rows, name)
	row.Kind = RowTotal
	t.Rows = append(t.Rows, row)
}

// sumRows adds up bytes, counts, changes and shares; the last name or text
// column gets the name.
func sumRows(columns []Column, rows []Row, name string) Row {
	sum := Row{Cells: make([]any, len(columns))}
	named := -1
	for c, col := range columns {
		switch col.Kind {
		case ColumnBytes, ColumnCount:
			var n uint64
			for _, r := range rows {
				v, _ := r.Cells[c].(uint64)
				n += v
			}
			sum.Cells[c] = n
		case ColumnChange:
			var n int64
			for _, r := range rows {
				v, _ := r.Cells[c].(int64)
				n += v
			}
			sum.Cells[c] = n
		case ColumnShare:
			var x float64
			for _, r := range rows {
				v, _ := r.Cells[c].(float64)
				x += v
			}
			sum.Cells[c] = x
		case ColumnName, ColumnProse:
			named = c
		case ColumnText:
			if named < 0 || columns[named].Kind == ColumnText {
				named = c
			}
		}
	}
	if named >= 0 {
		sum.Cells[named] = name
	}
	return sum
}

func share(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// Thousands writes 1234567 as 1,234,567.
func Thousands(n uint64) string { return thousands(n) }
