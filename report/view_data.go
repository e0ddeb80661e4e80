package report

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"strings"
)

// ViewSchema is the version of the JSON that [WriteJSON] writes. Keys may be
// added without a new version.
const ViewSchema = 1

// View is a view of one file, for [WriteJSON].
type View struct {
	Name   string // "top", "crates", …
	File   string // the file that it is about
	Tables []*Table
}

// WriteJSON writes views for programs:
//
//	{"format": "leanlink-view", "schema": 1, "files": [{"view": "top", "file": "target/release/app", "tables":
//	 [{"key": "functions", "title": "…", "rows": [{"bytes": 1234, "share": 0.12, "name": "app::main"}, …], "notes": []}]}]}
//
// A row has the keys of its table's columns, in their order; a cell without a
// value is null. Rows that sum up others have a key "row" too: "rest" or
// "total".
func WriteJSON(w io.Writer, views []View) error {
	var b bytes.Buffer
	b.WriteString(`{"format":"leanlink-view","schema":` + strconv.Itoa(ViewSchema) + `,"files":[`)
	for i, v := range views {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n{\"view\":" + jsonText(v.Name) + ",\"file\":" + jsonText(v.File) + ",\"tables\":[")
		for k, t := range v.Tables {
			if k > 0 {
				b.WriteByte(',')
			}
			t.writeJSON(&b)
		}
		b.WriteString("]}")
	}
	b.WriteString("]}\n")
	_, err := w.Write(b.Bytes())
	return err
}

func (t *Table) writeJSON(b *bytes.Buffer) {
	b.WriteString("\n{\"key\":" + jsonText(t.Key) + ",\"title\":" + jsonText(t.Title) + ",\"rows\":[")
	for i, row := range t.Rows {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n{")
		for c, col := range t.Columns {
			if c > 0 {
				b.WriteByte(',')
			}
			b.WriteString(jsonText(col.Key) + ":" + jsonCell(row.Cells[c]))
		}
		if row.Kind != RowPlain {
			b.WriteString(`,"row":` + jsonText(rowKindNames[row.Kind]))
		}
		b.WriteByte('}')
	}
	b.WriteString("],\"notes\":[")
	for i, n := range t.Notes {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(jsonText(n))
	}
	b.WriteString("]}")
}

func jsonCell(v any) string {
	switch v := v.(type) {
	case string:
		return jsonText(v)
	case uint64:
		return strconv.FormatUint(v, 10)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return "null"
}

// jsonText is a JSON string; bytes that are not UTF-8 become U+FFFD.
func jsonText(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(strings.ToValidUTF8(s, "\uFFFD")); err != nil {
		panic(err) // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// WriteCSV writes tables as comma-separated values (RFC 4180), each with a
// line of column keys, an empty line between two of them. Totals are left
// out: a program sums for itself.
func WriteCSV(w io.Writer, tables []*Table) error {
	b := bufio.NewWriter(w)
	for i, t := range tables {
		if i > 0 {
			b.WriteString("\n")
		}
		c := csv.NewWriter(b)
		var line []string
		for _, col := range t.Columns {
			line = append(line, col.Key)
		}
		if err := c.Write(line); err != nil {
			return err
		}
		for _, row := range t.Rows {
			if row.Kind == RowTotal {
				continue
			}
			line = line[:0]
			for _, v := range row.Cells {
				switch v := v.(type) {
				case string:
					line = append(line, csvText(v))
				case nil:
					line = append(line, "")
				default:
					line = append(line, jsonCell(v))
				}
			}
			if err := c.Write(line); err != nil {
				return err
			}
		}
		c.Flush()
		if err := c.Error(); err != nil {
			return err
		}
	}
	return b.Flush()
}

// csvText keeps spreadsheets from taking a name for a formula.
func csvText(s string) string {
	if s != "" && strings.ContainsRune("=+@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// WriteMarkdown writes tables as GitHub shows them, for a pull request's
// comment.
func WriteMarkdown(w io.Writer, tables []*Table) error {
	b := bufio.NewWriter(w)
	for i, t := range tables {
		if i > 0 {
			b.WriteByte('\n')
		}
		if t.Title != "" {
			b.WriteString("### " + markdownText(t.Title) + "\n\n")
		}
		if len(t.Rows) > 0 {
			for _, col := range t.Columns {
				b.WriteString("| " + markdownText(col.Title) + " ")
			}
			b.WriteString("|\n")
			for _, col := range t.Columns {
				if col.isText() {
					b.WriteString("|:--")
				} else {
					b.WriteString("|--:")
				}
			}
			b.WriteString("|\n")
			for _, row := range t.Rows {
				for c, col := range t.Columns {
					text := markdownText(cellText(row.Cells[c], col.Kind))
					switch {
					case text == "":
					case row.Kind == RowTotal:
						text = "**" + text + "**"
					case col.Key == "name" && row.Kind == RowPlain:
						text = "`" + strings.ReplaceAll(cellText(row.Cells[c], col.Kind), "`", "'") + "`"
						text = strings.ReplaceAll(text, "|", "\\|")
					}
					b.WriteString("| " + text + " ")
				}
				b.WriteString("|\n")
			}
		}
		for _, n := range t.Notes {
			b.WriteString("\n" + markdownText(n) + "\n")
		}
	}
	return b.Flush()
}

var markdownEscapes = strings.NewReplacer("|", "\\|", "<", "&lt;", ">", "&gt;", "*", "\\*", "_", "\\_", "`", "\\`", "\n", " ", "@", "@\u200b", "[", "\\[", "]", "\\]")

// markdownText escapes what Markdown, HTML and mentions would make of a text.
func markdownText(s string) string { return markdownEscapes.Replace(s) }
