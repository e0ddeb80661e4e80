// Package html writes a report as one file that a browser shows without a
// network: a treemap to zoom into, the other views as tables, and the history.
package html

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"leanlink/report"
)

//go:embed page.html
var page string

//go:embed page.css
var style string

//go:embed page.js
var script string

// Point is one build of the past.
type Point struct {
	When   string `json:"when"`   // date
	Commit string `json:"commit"` // short, "" if unknown
	File   uint64 `json:"file"`   // bytes of the file
	Loaded uint64 `json:"loaded"` // bytes of it that are loaded
}

// mostNodes keeps the page small and quick: what is smaller is summed up.
const mostNodes = 9000

// data is what the page's script reads.
type data struct {
	Title    string           `json:"title"`
	Subtitle string           `json:"subtitle"`
	Size     uint64           `json:"size"`
	Loaded   uint64           `json:"loaded"`
	Folded   bool             `json:"folded"` // there is a before and an after
	Labels   []string         `json:"labels"`
	Tree     *report.TreeNode `json:"tree"`
	Views    []view           `json:"views"`
	History  []Point          `json:"history"`
}

type view struct {
	Name   string  `json:"name"`
	Title  string  `json:"title"`
	Tables []table `json:"tables"`
}

// Write writes the page of a file. advice may be nil, history empty; of that
// the newest comes last.
func Write(w io.Writer, z *report.Sizes, advice *report.Table, history []Point) error {
	d := data{Title: z.File(), Size: z.FileSize, Loaded: z.LoadSize, Tree: z.Tree(&report.ViewOptions{}, mostNodes), History: history}
	for l := range report.NumLabels {
		d.Labels = append(d.Labels, l.String())
	}
	if r := z.Report; r != nil {
		d.Folded = true
		d.Subtitle = strings.Join(notEmpty("fold "+r.Modes.Fold, r.Modes.Profile, r.Modes.Triple, r.Modes.Linker), ", ")
	}
	if err := d.addViews(z); err != nil {
		return err
	}
	if advice != nil {
		d.add("advice", "Advice", []*report.Table{advice})
	}
	text, err := json.Marshal(d) // escapes <, > and &, so that no name ends the script
	if err != nil {
		return err
	}
	for _, part := range [...]string{"{{style}}", "{{script}}", "{{data}}"} {
		if strings.Count(page, part) != 1 {
			return fmt.Errorf("page.html: %s must stand in it once", part)
		}
	}
	_, err = io.WriteString(w, strings.NewReplacer("{{style}}", style, "{{script}}", script, "{{data}}", string(text)).Replace(page))
	return err
}

func notEmpty(words ...string) []string {
	var out []string
	for _, s := range words {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

// addViews adds the tables, each with as many rows as one looks at.
func (d *data) addViews(z *report.Sizes) error {
	plain := func(f func(*report.ViewOptions) []*report.Table) func(*report.ViewOptions) ([]*report.Table, error) {
		return func(o *report.ViewOptions) ([]*report.Table, error) { return f(o), nil }
	}
	for _, v := range []struct {
		name, title string
		rows        int
		needsReport bool
		tables      func(*report.ViewOptions) ([]*report.Table, error)
	}{
		{"summary", "Summary", 40, false, plain(z.Summary)},
		{"functions", "Functions", 500, false, plain(z.Top)},
		{"constants", "Constants", 300, false, plain(func(o *report.ViewOptions) []*report.Table {
			data := *o
			data.Data = true
			return z.Top(&data)
		})},
		{"duplicates", "Duplicates", 300, true, plain(z.Dup)},
		{"near", "Near", 150, true, plain(z.Near)},
		{"generics", "Generics", 300, false, plain(z.Generics)},
		{"retained", "Retained", 200, true, z.Retained},
		{"dropped", "Dropped", 100, true, plain(z.Dropped)},
		{"panics", "Panics", 0, false, plain(z.Panics)},
		{"sections", "Sections", 0, false, plain(z.SectionsView)},
	} {
		if v.needsReport && z.Report == nil {
			continue
		}
		tables, err := v.tables(&report.ViewOptions{Rows: v.rows})
		if errors.Is(err, report.ErrNoEdges) {
			continue // the report had to stay small
		}
		if err != nil {
			return err
		}
		d.add(v.name, v.title, tables)
	}
	return nil
}

// add adds a view of some tables.
func (d *data) add(name, title string, tables []*report.Table) {
	list := make([]table, len(tables))
	for i, t := range tables {
		list[i] = pageTable(t)
	}
	d.Views = append(d.Views, view{name, title, list})
}

// table is a report.Table as the page has it.
type table struct {
	Title   string   `json:"title"`
	Columns []column `json:"columns"`
	Rows    [][]any  `json:"rows"`
	Kinds   []int    `json:"kinds"` // report.RowKind of each row; not bytes, which JSON has as text
	Notes   []string `json:"notes"`
}

type column struct {
	Title string `json:"title"`
	Kind  uint8  `json:"kind"` // report.ColumnKind
}

func pageTable(t *report.Table) table {
	out := table{Title: t.Title, Notes: t.Notes, Rows: [][]any{}, Kinds: []int{}}
	for _, c := range t.Columns {
		out.Columns = append(out.Columns, column{c.Title, uint8(c.Kind)})
	}
	for _, r := range t.Rows {
		out.Rows = append(out.Rows, r.Cells)
		out.Kinds = append(out.Kinds, int(r.Kind))
	}
	return out
}
