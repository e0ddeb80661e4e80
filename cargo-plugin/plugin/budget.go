package plugin

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"leanlink/linker"
	"leanlink/report"
)

// verdict is a budget and how a file stands to it.
type verdict struct {
	budget linker.Budget
	size   uint64 // bytes
	limit  uint64 // bytes; of growth, with the baseline's size
	base   uint64 // the baseline's size; only of growth
}

func (v *verdict) broken() bool { return v.size > v.limit }

// judge compares a file with its budgets.
func (s *session) judge(sub *subject) ([]verdict, error) {
	cfg, err := s.configOf(sub)
	if err != nil {
		return nil, err
	}
	if len(cfg.Budget) == 0 {
		return nil, nil
	}
	var baseline *report.Sizes
	if s.opts.baseline != "" {
		if baseline, err = s.open(s.opts.baseline); err != nil {
			return nil, err
		}
	}
	var verdicts []verdict
	for _, b := range cfg.Budget {
		v := verdict{budget: b}
		if v.size, err = s.measured(sub.sizes, sub, b.What); err != nil {
			return nil, err
		}
		switch {
		case !b.Growth:
			v.limit = b.Bytes
		case baseline == nil:
			return nil, fmt.Errorf("%s: budget.%s limits growth: name what to compare with, --baseline FILE (a report or a linked file)", cfg.Source("budget"), b.What)
		default:
			if v.base, err = s.measured(baseline, nil, b.What); err != nil {
				return nil, err
			}
			v.limit = v.base + b.Bytes
			if b.Percent > 0 {
				v.limit = v.base + uint64(math.Floor(float64(v.base)*b.Percent/100))
			}
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

// configOf is the leanlink configuration of a file: that of its link, or of
// the folder that the user is in.
func (s *session) configOf(sub *subject) (*linker.Config, error) {
	if sub.built != nil {
		return sub.built.Config, nil
	}
	return linker.LoadConfig(&linker.CommandLine{Dir: s.dir}, &linker.Environment{Vars: s.env, Dir: s.dir})
}

// measured is the size that a budget is about.
func (s *session) measured(z *report.Sizes, sub *subject, what string) (uint64, error) {
	group, name, _ := strings.Cut(what, ".")
	var n uint64
	switch group {
	case "total":
		return z.FileSize, nil
	case "section":
		for i := range z.Items {
			if it := &z.Items[i]; it.Section >= 0 && z.Sections[it.Section] == name {
				n += max(it.Bytes, it.Memory) // of .bss, what it takes in memory
			}
		}
		return n, nil
	case "crate":
		for i := range z.Items {
			it := &z.Items[i]
			if strings.ReplaceAll(name, "-", "_") == it.Crate || name == "std" && z.CrateOf(it, &s.opts.view) == "std" {
				n += it.Bytes
			}
		}
		return n, nil
	}
	if z.Layout == nil {
		return 0, fmt.Errorf("budget.%s: %s is a report without its file, which tells nothing of memory regions", what, z.Path)
	}
	regions, from, err := s.regions(sub)
	if err != nil {
		return 0, err
	}
	if len(regions) == 0 {
		return 0, fmt.Errorf("budget.%s: no linker script with memory regions was found; name it with --memory FILE", what)
	}
	if err := report.UseRegions(z.Path, regions); err != nil {
		return 0, err
	}
	var names []string
	for _, r := range regions {
		if r.Name == name {
			return r.Used, nil
		}
		names = append(names, r.Name)
	}
	return 0, fmt.Errorf("budget.%s: %s has no such region, only %s", what, from, strings.Join(names, ", "))
}

// regions reads the memory regions of a linker script: of --memory, else of
// the memory.x that the linker would take.
func (s *session) regions(sub *subject) ([]report.Region, string, error) {
	path := s.opts.memory
	if path == "" && sub != nil && sub.built != nil {
		path = sub.built.Memory
	}
	if path == "" {
		return nil, "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, path, plainError(path, err)
	}
	regions, err := parseMemory(string(data))
	if err != nil {
		return nil, path, fmt.Errorf("%s: %w", path, err)
	}
	return regions, path, nil
}

// budgetTable shows verdicts.
func budgetTable(verdicts []verdict) *report.Table {
	t := &report.Table{Key: "budget", Title: "Budget",
		Columns: []report.Column{{Key: "size", Title: "bytes", Kind: report.ColumnBytes}, {Key: "limit", Title: "limit", Kind: report.ColumnBytes}, {Key: "left", Title: "left", Kind: report.ColumnBytes},
			{Key: "ok", Title: "", Kind: report.ColumnText}, {Key: "name", Title: "budget", Kind: report.ColumnName}}}
	for i := range verdicts {
		v := &verdicts[i]
		ok := "ok"
		if v.broken() {
			ok = "EXCEEDED"
		}
		var left any = v.limit - v.size
		if v.broken() {
			left = -int64(v.size - v.limit)
		}
		t.Rows = append(t.Rows, report.Row{Cells: []any{v.size, v.limit, left, ok, v.budget.What}})
	}
	return t
}

// checkBudgets says which budgets are broken and by how much. It is an error
// with exit status 1 if any is.
func (s *session) checkBudgets(subjects []*subject) error {
	broken, any := 0, false
	for _, sub := range subjects {
		cfg, err := s.configOf(sub)
		if err != nil {
			return err
		}
		verdicts, err := s.judge(sub)
		if err != nil {
			return err
		}
		any = any || len(verdicts) > 0
		for i := range verdicts {
			v := &verdicts[i]
			if !v.broken() {
				continue
			}
			broken++
			how := fmt.Sprintf("%s bytes, the limit is %s: %s too many", report.Thousands(v.size), report.Thousands(v.limit), report.Thousands(v.size-v.limit))
			if v.budget.Growth {
				how = fmt.Sprintf("%s bytes, grown by %s from %s; the limit is %s: %s too many", report.Thousands(v.size), report.Thousands(v.size-min(v.base, v.size)), report.Thousands(v.base), report.Thousands(v.limit), report.Thousands(v.size-v.limit))
			}
			fmt.Fprintf(s.stderr, "%s: budget.%s: %s: %s\n", s.relative(cfg.Source("budget")), v.budget.What, sub.title, how)
		}
	}
	switch {
	case broken > 0:
		return &exitError{exitBudget, nil}
	case !any:
		return fmt.Errorf("--check: no budget is set; put [budget] into leanlink.toml, such as total = \"1.5MB\"")
	}
	return nil
}

// memoryScript finds the memory.x that the linker takes: rustc's working
// folder goes before the folders that build scripts name.
func memoryScript(root string, linkedPaths []string, pkg string) string {
	for _, dir := range append(append([]string{root}, linkedPaths...), pkg) {
		if _, d, ok := strings.Cut(dir, "="); ok {
			dir = d // native=/…/out
		}
		if path := filepath.Join(dir, "memory.x"); fileExists(path) {
			return path
		}
	}
	return ""
}
