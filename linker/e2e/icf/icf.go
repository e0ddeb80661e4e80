// Package icf holds a link of leanlink's against lld's own folding at its
// boldest: what lld makes one (--print-icf-sections) must be one with leanlink,
// too, or there must be a reason.
package icf

import (
	"path/filepath"
	"regexp"
	"strings"

	"leanlink/report"
)

// line is one of --print-icf-sections: the section that stays, or one that
// goes.
var line = regexp.MustCompile(`^\s*(selected|removing identical) section (.*?)(?:\(([^()]*)\))?:\((.*)\)$`)

func leader(r *report.Report, i report.SectionIndex) report.SectionIndex {
	if into := r.Sections[i].Into; into != report.None {
		return into
	}
	return i
}

// Same reports whether leanlink made the two one, too.
func Same(r *report.Report, a, b report.SectionIndex) bool { return leader(r, a) == leader(r, b) }

// WhyApart explains why two sections that lld makes one are two in a link whose
// folding is safe or all, "" if nothing does.
func WhyApart(r *report.Report, a, b report.SectionIndex, mode string) string {
	x, y := &r.Sections[a], &r.Sections[b]
	const uninitialised = "zeros in it may stand for bytes that are not initialised"
	switch {
	case x.Fate == report.FateDropped || y.Fate == report.FateDropped:
		return "nothing reaches it, which lld does not see of exception tables"
	case x.Reason == uninitialised || y.Reason == uninitialised:
		return uninitialised // the other may be proved a copy, but of another
	case x.Kind == report.KindCode && y.Kind == report.KindCode && x.FDE != y.FDE:
		return "other call frames"
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
				if i == k || leader(r, i) == leader(r, k) && r.Sections[i].Fate != report.FateThunk && r.Sections[k].Fate != report.FateThunk {
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

// EachPair calls f with each section that goes and the one that stays for it.
// printed is what lld said of the link that r reports.
func EachPair(r *report.Report, printed string, f func(stays, goes report.SectionIndex)) {
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
	for text := range strings.SplitSeq(printed, "\n") {
		m := line.FindStringSubmatch(text)
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
