package report

import (
	"bufio"
	"fmt"
	"io"
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
	if len(t.Rows) > 0 {
		cells := make([][]string, len(t.Rows))
		widths := make([]int, len(t.Columns))
		for c, col := range t.Columns {
			widths[c] = utf8.RuneCountInString(col.Title)
		}
		for i, row := range t.Rows {
			cells[i] = make([]string, len(t.Columns))
			for c, col := range t.Columns {
				cells[i][c] = cellText(row.Cells[c], col.Kind)
				widths[c] = max(widths[c], utf8.RuneCountInString(cells[i][c]))
			}
		}
		t.narrow(widths, style.Width)
		line := func(cell func(c int) (string, string)) {
			var s strings.Builder
			pad := 0 // blanks that are written only if something follows
			for c, col := range t.Columns {
				text, code := cell(c)
				text = shorten(text, widths[c])
				fill := widths[c] - utf8.RuneCountInString(text)
				if c > 0 {
					pad += 2
				}
				if !col.isText() {
					pad += fill
				}
				if text != "" {
					s.WriteString(strings.Repeat(" ", pad))
					s.WriteString(paint(text, code))
					pad = 0
				}
				if col.isText() {
					pad += fill
				}
			}
			b.WriteString(s.String())
			b.WriteByte('\n')
		}
		line(func(c int) (string, string) { return t.Columns[c].Title, ansiDim })
		for i, row := range t.Rows {
			line(func(c int) (string, string) {
				code := ""
				switch {
				case row.Kind == RowTotal:
					code = ansiBold
				case row.Kind == RowRest:
					code = ansiDim
				}
				if v, ok := row.Cells[c].(int64); ok && t.Columns[c].Kind == ColumnChange && v != 0 {
					code = ansiRed
					if v < 0 {
						code = ansiGreen
					}
				}
				return cells[i][c], code
			})
		}
	}
	for _, n := range t.Notes {
		fmt.Fprintf(b, "%s\n", paint(n, ansiDim))
	}
}

func (c *Column) isText() bool { return c.Kind == ColumnText || c.Kind == ColumnName }

// narrow takes from the columns of long texts what the lines are wider than the
// terminal, from the name last, but leaves them enough to be told apart.
func (t *Table) narrow(widths []int, width int) {
	if width <= 0 {
		return
	}
	over := 2 * (len(widths) - 1)
	for _, w := range widths {
		over += w
	}
	over -= width
	const least = 16
	for over > 0 {
		widest := -1
		for c := range t.Columns {
			if t.Columns[c].Kind != ColumnName || widths[c] <= least {
				continue
			}
			isName := t.Columns[c].Key == "name"
			if widest < 0 || t.Columns[widest].Key == "name" && !isName || !isName && widths[c] > widths[widest] {
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

// shorten cuts a text to a width, in the middle: a Rust path begins with its
// crate and ends with its function.
func shorten(s string, width int) string {
	n := utf8.RuneCountInString(s)
	if n <= width {
		return s
	}
	runes := []rune(s)
	keep := width - 1
	head := keep / 2
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
