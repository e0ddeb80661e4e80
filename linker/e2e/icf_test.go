package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"leanlink/report"
)

// icfLine is a line of --print-icf-sections: the section that stays, or one
// that goes.
var icfLine = regexp.MustCompile(`^\s*(selected|removing identical) section (.*?)(?:\(([^()]*)\))?:\((.*)\)$`)

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
			eachICFPair(r, o.stdout, func(a, b report.SectionIndex) {
				pairs++
				if leaderOf(r, a) == leaderOf(r, b) {
					same++
					return
				}
				why := whyApart(r, a, b, mode)
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

func leaderOf(r *report.Report, i report.SectionIndex) report.SectionIndex {
	if into := r.Sections[i].Into; into != report.None {
		return into
	}
	return i
}

// whyApart explains why two sections that lld makes one are two, "" if nothing
// does.
func whyApart(r *report.Report, a, b report.SectionIndex, mode string) string {
	x, y := &r.Sections[a], &r.Sections[b]
	const uninitialised = "zeros in it may stand for bytes that are not initialised"
	switch {
	case x.Fate == report.FateDropped || y.Fate == report.FateDropped:
		return "nothing reaches it, which lld does not see of exception tables"
	case x.Reason == uninitialised && y.Reason == uninitialised:
		return uninitialised
	case x.Class != 0 && x.Class == y.Class:
		return "an address of its own"
	case strings.HasPrefix(string(x.Reason)+string(y.Reason), "named data"):
		return "a named static"
	case x.Reason == "special section" && strings.Contains(x.Name, "personality"):
		return "gold keeps it by its name"
	case strings.HasPrefix(x.Name, ".rodata._") && strings.HasPrefix(y.Name, ".rodata._") && len(r.Edges.Of(b)) == 1 && r.Sections[r.Edges.Of(b)[0]].Kind == report.KindCode:
		return "the jump table of a function that stays"
	case dependsOn(r, a, b, func(s *report.Section) bool { return s.Reason == uninitialised }):
		return "refers to what " + uninitialised
	case mode == "safe" && dependsOn(r, a, b, func(s *report.Section) bool { return s.Class != 0 }):
		return "refers to functions that have addresses of their own"
	}
	return ""
}

// dependsOn reports whether two sections refer, at the same place in their
// lists, to different sections of a kind, directly or through others.
func dependsOn(r *report.Report, a, b report.SectionIndex, kind func(*report.Section) bool) bool {
	seen := map[[2]report.SectionIndex]bool{}
	var walk func(a, b report.SectionIndex, depth int) bool
	walk = func(a, b report.SectionIndex, depth int) bool {
		if depth > 8 || seen[[2]report.SectionIndex{a, b}] {
			return false
		}
		seen[[2]report.SectionIndex{a, b}] = true
		p, q := r.Edges.Of(a), r.Edges.Of(b)
		for _, i := range p {
			for _, k := range q {
				if i == k || leaderOf(r, i) == leaderOf(r, k) && r.Sections[i].Fate != report.FateThunk && r.Sections[k].Fate != report.FateThunk {
					continue
				}
				x, y := &r.Sections[i], &r.Sections[k]
				if x.Size != y.Size {
					continue
				}
				if kind(x) && kind(y) || walk(i, k, depth+1) {
					return true
				}
			}
		}
		return false
	}
	return walk(a, b, 0)
}

// eachICFPair calls f with each section that goes and the one that stays for it.
func eachICFPair(r *report.Report, printed string, f func(stays, goes report.SectionIndex)) {
	type key struct{ file, section string }
	index := map[key][]report.SectionIndex{}
	for i := range r.Sections {
		s := &r.Sections[i]
		in := &r.Inputs[s.Input]
		file := filepath.Base(in.Path)
		if in.Member != "" {
			file = in.Member
		}
		k := key{file, s.Name}
		index[k] = append(index[k], report.SectionIndex(i))
	}
	stays := report.None
	for _, line := range strings.Split(printed, "\n") {
		m := icfLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		file := m[3]
		if file == "" {
			file = filepath.Base(m[2])
		}
		found := report.None
		if list := index[key{file, m[4]}]; len(list) == 1 { // names are not unique in every object
			found = list[0]
		}
		if m[1] == "selected" {
			stays = found
		} else if stays != report.None && found != report.None {
			f(stays, found)
		}
	}
}
