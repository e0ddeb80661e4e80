package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"leanlink/linker/e2e/icf"
	"leanlink/report"
)

// comparison holds leanlink against lld's own folding at its boldest, all data
// included: what lld makes one must be one with leanlink, too, or there must be
// a reason. Those that are allowed are listed here, with how many pairs of
// ripgrep's they may explain; anything else fails.
func (g *ripgrep) comparison(t *testing.T, kept string) {
	need(t, "linker:lld")
	dir := t.TempDir()
	// lld's folds.
	args, err := caseArgs(kept, "lld", filepath.Join(dir, "icf"), []string{"-Wl,--icf=all", "-Wl,--ignore-data-address-equality", "-Wl,--print-icf-sections"})
	if err != nil {
		t.Fatal(err)
	}
	o, err := run(g.source, environ(), append([]string{"cc"}, args...)...)
	if err != nil || o.status != 0 {
		t.Fatalf("cc: %v %v", err, o)
	}
	for _, mode := range []string{"safe", "all"} {
		t.Run(mode, func(t *testing.T) {
			output := filepath.Join(dir, mode)
			args, err := caseArgs(kept, "lld", output, nil)
			if err != nil {
				t.Fatal(err)
			}
			if o, err := run(g.source, environ("LEANLINK_FOLD="+mode), append([]string{tools.leanlink}, args...)...); err != nil || o.status != 0 {
				t.Fatalf("leanlink: %v %v", err, o)
			}
			r, err := report.ReadFile(output + report.Suffix)
			if err != nil {
				t.Fatal(err)
			}
			pairs, same := 0, 0
			unexplained := map[string]int{}
			explained := map[string]int{}
			icf.EachPair(r, o.stdout, func(a, b report.SectionIndex) {
				pairs++
				if icf.Same(r, a, b) {
					same++
					return
				}
				why := icf.WhyApart(r, a, b, mode)
				if why == "" {
					x, y := &r.Sections[a], &r.Sections[b]
					unexplained[fmt.Sprintf("%s (%v %s) and %s (%v %s)", x.Name, x.Fate, x.Reason, y.Name, y.Fate, y.Reason)]++
					return
				}
				explained[why]++
			})
			t.Logf("%d of lld's %d folds are leanlink's, too; the others: %v", same, pairs, explained)
			if pairs < 4000 {
				t.Errorf("only %d folds of lld's were understood", pairs)
			}
			for what := range unexplained {
				t.Errorf("lld folds and leanlink does not, without a reason: %s", what)
			}
		})
	}
}
