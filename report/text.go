package report

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Summary writes what a link did, in a dozen lines for people.
func Summary(w io.Writer, r *Report) error {
	b := bufio.NewWriter(w)
	m := &r.Modes
	var how []string
	for _, s := range []string{m.Triple, m.Profile, "fold " + m.Fold, m.Linker} {
		if s != "" {
			how = append(how, s)
		}
	}
	fmt.Fprintf(b, "%s: %s\n\n", r.Output.Name, strings.Join(how, ", "))
	for _, t := range m.Trims {
		fmt.Fprintf(b, "trim %s\n", t)
	}
	fmt.Fprintf(b, "%-8s %12s %12s %8s\n", "", "before", "after", "change")
	t := &r.Totals
	for k := range NumKinds {
		if t.Before[k] > 0 {
			summaryRow(b, k.String(), t.Before[k], t.After[k])
		}
	}
	summaryRow(b, "total", t.Before.Sum(), t.After.Sum())
	live := 0
	for i := range r.Sections {
		if r.Sections[i].Live() {
			live++
		}
	}
	fmt.Fprintf(b, "\n%s of %s live sections folded, %s more into a jump; %s dropped (%s bytes)\n",
		thousands(uint64(t.Folded)), thousands(uint64(live)), thousands(uint64(t.Thunks)), thousands(uint64(t.Dropped)), thousands(t.DroppedBytes))
	if r.Output.Size > 0 {
		fmt.Fprintf(b, "output: %s bytes on disk, %s of them allocated\n", thousands(r.Output.Size), thousands(r.Output.Alloc))
	}
	alone := 0
	for i := range r.Inputs {
		if r.Inputs[i].Fate == InputAlone {
			alone++
		}
	}
	if alone > 0 {
		fmt.Fprintf(b, "%d of %d inputs left alone\n", alone, len(r.Inputs))
	}
	return b.Flush()
}

func summaryRow(w io.Writer, name string, before, after uint64) {
	change := ""
	if before > 0 {
		change = fmt.Sprintf("%+.1f%%", (float64(after)-float64(before))*100/float64(before))
	}
	fmt.Fprintf(w, "%-8s %12s %12s %8s\n", name, thousands(before), thousands(after), change)
}

// thousands writes 1234567 as 1,234,567.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
