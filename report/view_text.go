package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// TextStyle is how [WriteText] writes.
type TextStyle struct {
	Width int  // columns of the terminal that long names are cut to; 0 cuts nothing
	Color bool // ANSI colours
}

const (
	ansiBold  = "\x1b[1m"
	ansiDim   = "\x1b[2m"
	ansiRed   = "\x1b[31m"
	ansiGreen = "\x1b[32m"
	ansiCyan  = "\x1b[36m"
	ansiReset = "\x1b[0m"
)

// WriteText writes tables for a terminal.
func WriteText(w io.Writer, tables []*Table, style TextStyle) error {
	b := bufio.NewWriter(w)
	for i, t := range tables {
		if i > 0 {
			b.WriteByte('\n')
		}
		t.writeText(b, style)
	}
	return b.Flush()
}

func (t *Table) writeText(b *bufio.Writer, style TextStyle) {
	paint := func(text, code string) string {
		if !style.Color || code == "" || text == "" {
			return text
		}
		return code + text + ansiReset
	}
	if t.Title != "" {
		fmt.Fprintf(b, "%s\n", paint(t.Title, ansiBold))
	}
	var spared []string
	if len(t.Rows) > 0 {
		spared = t.writeRows(b, style, paint)
	}
	notes := t.Notes
	if len(spared) > 0 {
		notes = append([]string{"Without " + strings.Join(spared, ", ") + " here; -w shows all."}, notes...)
	}
	for _, n := range notes {
		lines := []string{n}
		if style.Width > 0 {
			lines = wrap(n, style.Width)
		}
		for _, l := range lines {
			fmt.Fprintf(b, "%s\n", paint(l, ansiDim))
		}
	}
}

// writeRows writes the rows under their columns and returns the titles of the
// columns for which there was no room.
func (t *Table) writeRows(b *bufio.Writer, style TextStyle, paint func(text, code string) string) (spared []string) {
	cells := make([][]string, len(t.Rows))
	widths := make([]int, len(t.Columns))
	for i, row := range t.Rows {
		cells[i] = make([]string, len(t.Columns))
		for c, col := range t.Columns {
			cells[i][c] = cellText(row.Cells[c], col.Kind)
			widths[c] = max(widths[c], utf8.RuneCountInString(cells[i][c]))
		}
	}
	var columns []int // that are shown, indices into t.Columns
	for c, col := range t.Columns {
		if col.Kind == ColumnBelow || col.isText() && widths[c] == 0 {
			continue
		}
		columns = append(columns, c)
		widths[c] = max(widths[c], utf8.RuneCountInString(col.Title))
	}
	if style.Width > 0 {
		columns, spared = t.spare(columns, widths, style.Width)
		t.narrow(columns, widths, style.Width)
	}
	line := func(cell func(c int) (string, string)) {
		var s strings.Builder
		pad := 0 // blanks that are written only if something follows
		for k, c := range columns {
			text, code := cell(c)
			fill := widths[c] - utf8.RuneCountInString(text)
			if k > 0 {
				pad += 2
			}
			if !t.Columns[c].isText() {
				pad += fill
			}
			if text != "" {
				s.WriteString(strings.Repeat(" ", pad))
				s.WriteString(paint(text, code))
				pad = 0
			}
			if t.Columns[c].isText() {
				pad += fill
			}
		}
		b.WriteString(s.String())
		b.WriteByte('\n')
	}
	line(func(c int) (string, string) { return t.Columns[c].Title, ansiDim })
	for i, row := range t.Rows {
		code := ""
		switch row.Kind {
		case RowTotal:
			code = ansiBold
		case RowRest:
			code = ansiDim
		}
		lines := make([][]string, len(t.Columns))
		most := 1
		for _, c := range columns {
			lines[c] = []string{shorten(cells[i][c], widths[c])}
			if t.Columns[c].Kind == ColumnProse {
				lines[c] = wrap(cells[i][c], widths[c])
				most = max(most, len(lines[c]))
			}
		}
		for n := range most {
			line(func(c int) (string, string) {
				if n >= len(lines[c]) {
					return "", ""
				}
				if v, ok := row.Cells[c].(int64); ok && t.Columns[c].Kind == ColumnChange && v != 0 {
					if v < 0 {
						return lines[c][n], ansiGreen
					}
					return lines[c][n], ansiRed
				}
				return lines[c][n], code
			})
		}
		for c, col := range t.Columns {
			if col.Kind == ColumnBelow && cells[i][c] != "" {
				fmt.Fprintf(b, "%s%s\n", strings.Repeat(" ", t.indent(columns, widths)), paint("→ "+cells[i][c], ansiCyan))
			}
		}
	}
	return spared
}

// indent is the column in which lines below a row begin: under the first of
// its long texts.
func (t *Table) indent(columns, widths []int) int {
	n := 0
	for _, c := range columns {
		if k := t.Columns[c].Kind; k == ColumnProse || k == ColumnName {
			break
		}
		n += widths[c] + 2
	}
	return n
}

func (c *Column) isText() bool {
	return c.Kind == ColumnText || c.Kind == ColumnName || c.Kind == ColumnProse || c.Kind == ColumnBelow
}

// roomForName is the width below which a name says too little, so that other
// columns go first.
const roomForName = 40

// spare leaves columns out until there is room for the name.
func (t *Table) spare(columns, widths []int, width int) (left []int, titles []string) {
	for _, key := range t.Spare {
		need := 2 * (len(columns) - 1)
		for _, c := range columns {
			switch t.Columns[c].Kind {
			case ColumnName, ColumnProse:
				if t.isName(c) {
					need += min(widths[c], roomForName)
				} else {
					need += min(widths[c], leastText)
				}
			default:
				need += widths[c]
			}
		}
		if need <= width {
			break
		}
		c := t.column(key)
		if k := slices.Index(columns, c); k >= 0 {
			columns = slices.Delete(slices.Clone(columns), k, k+1)
			titles = append(titles, "\""+t.Columns[c].Title+"\"")
		}
	}
	return columns, titles
}

// isName says whether a column is the one that rows are known by.
func (t *Table) isName(c int) bool { return t.Columns[c].Key == "name" || t.Columns[c].Key == "what" }

// leastText is the width that a column of texts keeps.
const leastText = 16

// narrow takes from the columns of long texts what the lines are wider than the
// terminal, from the name last, but leaves them enough to be told apart.
func (t *Table) narrow(columns, widths []int, width int) {
	over := 2*(len(columns)-1) - width
	for _, c := range columns {
		over += widths[c]
	}
	for over > 0 {
		widest := -1
		for _, c := range columns {
			if k := t.Columns[c].Kind; k != ColumnName && k != ColumnProse || widths[c] <= leastText {
				continue
			}
			if widest < 0 || t.isName(widest) && !t.isName(c) || t.isName(c) == t.isName(widest) && widths[c] > widths[widest] {
				widest = c
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
		over--
	}
}

// wrap breaks a text into lines between words. A word that is longer than a
// line has one of its own.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// shorten cuts a text to a width, in the middle: a Rust path begins with its
// crate, which often stands beside it, and ends with its function.
func shorten(s string, width int) string {
	n := utf8.RuneCountInString(s)
	if n <= width {
		return s
	}
	runes := []rune(s)
	keep := width - 1
	head := keep / 3
	return string(runes[:head]) + "…" + string(runes[n-(keep-head):])
}

// cellText writes a cell for people.
func cellText(v any, kind ColumnKind) string {
	switch v := v.(type) {
	case string:
		return printable(v)
	case uint64:
		if kind == ColumnHex {
			return "0x" + strconv.FormatUint(v, 16)
		}
		return thousands(v)
	case int64:
		switch {
		case v > 0:
			return "+" + thousands(uint64(v))
		case v < 0:
			return "−" + thousands(uint64(-v))
		}
		return "0"
	case float64:
		if kind == ColumnShare {
			return percent(v)
		}
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return ""
}

// percent writes a share with one digit, and shows that a small one is not 0.
func percent(x float64) string {
	switch {
	case x > 0 && x < 0.0005:
		return "<0.1%"
	case x < 0 && x > -0.0005:
		return "−0.0%"
	case x < 0:
		return "−" + strconv.FormatFloat(-x*100, 'f', 1, 64) + "%"
	}
	return strconv.FormatFloat(x*100, 'f', 1, 64) + "%"
}

// printable replaces control characters: names come from files that may lie,
// and a terminal obeys what it is sent.
func printable(s string) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f
	}
	if clean {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\uFFFD'
		}
		return r
	}, s)
}
