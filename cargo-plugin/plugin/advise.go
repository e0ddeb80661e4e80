package plugin

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"leanlink/report"
)

// advise lists what would make each program smaller; with --measure it builds
// variants and shows their real sizes.
func advise(s *session) error {
	subjects, err := s.subjects()
	if err != nil {
		return err
	}
	var views []report.View
	for _, sub := range subjects {
		tables := []*report.Table{heading(sub)}
		set := map[string]string{}
		if sub.built != nil {
			p, err := s.projectOnce()
			if err != nil {
				return err
			}
			set = profileSettings(filepath.Join(p.Root, "Cargo.toml"), sub.built.Profile)
		}
		list := sub.sizes.Advise(set)
		if n := s.opts.rows; n > 0 && len(list) > n {
			list = list[:n]
		}
		tables = append(tables, report.AdviceTable(list))
		views = append(views, report.View{Name: "advise", File: sub.title, Tables: tables})
	}
	if s.opts.measure {
		tables, err := s.measure(subjects)
		if err != nil {
			return err
		}
		for i := range views {
			views[i].Tables = append(views[i].Tables, tables[i])
		}
	}
	if err := s.show(views); err != nil {
		return err
	}
	return s.afterwards(subjects)
}

// profileSettings reads a profile of a Cargo.toml; what is not set, or in a
// file that can't be read, is not in the map.
func profileSettings(path, profile string) map[string]string {
	set := map[string]string{}
	data, err := os.ReadFile(path)
	if err != nil {
		return set
	}
	var root struct {
		Profile map[string]map[string]any `toml:"profile"`
	}
	if _, err := toml.Decode(string(data), &root); err != nil {
		return set
	}
	for key, v := range root.Profile[profile] {
		set[key] = fmt.Sprint(v)
	}
	return set
}

// variant is a way to build.
type variant struct {
	name string
	vars map[string]string // keys of the profile
	line string            // what to write into Cargo.toml
}

var variants = []variant{
	{"as it is", nil, ""},
	{"LTO, thin", map[string]string{"LTO": "thin"}, `lto = "thin"`},
	{"LTO", map[string]string{"LTO": "fat"}, `lto = "fat"`},
	{"one codegen unit", map[string]string{"CODEGEN_UNITS": "1"}, `codegen-units = 1`},
	{"optimised for size", map[string]string{"OPT_LEVEL": "s"}, `opt-level = "s"`},
	{"panics abort", map[string]string{"PANIC": "abort"}, `panic = "abort"`},
	{"all of these", map[string]string{"LTO": "fat", "CODEGEN_UNITS": "1", "OPT_LEVEL": "s", "PANIC": "abort"}, `lto = "fat", codegen-units = 1, opt-level = "s", panic = "abort"`},
}

// measure builds each variant in a target folder of its own and returns a
// table for each program.
func (s *session) measure(subjects []*subject) ([]*report.Table, error) {
	if len(subjects) == 0 || subjects[0].built == nil {
		return nil, usageErrorf("--measure builds the project; it goes with no --file")
	}
	p, err := s.projectOnce()
	if err != nil {
		return nil, err
	}
	profile := subjects[0].built.Profile
	prefix := "CARGO_PROFILE_" + strings.ToUpper(strings.ReplaceAll(profile, "-", "_")) + "_"
	folder := filepath.Join(p.TargetDir, ownFolder, "variants")
	times := readTimes(folder)
	s.estimate(times, profile)

	tables := make([]*report.Table, len(subjects))
	base := make([][2]uint64, len(subjects))
	for i := range subjects {
		tables[i] = &report.Table{Key: "measured", Title: "Measured: " + subjects[i].title, Columns: []report.Column{{Key: "file", Title: "file", Kind: report.ColumnBytes}, {Key: "loaded", Title: "loaded", Kind: report.ColumnBytes},
			{Key: "change", Title: "change", Kind: report.ColumnChange}, {Key: "relative", Title: "%", Kind: report.ColumnShare}, {Key: "seconds", Title: "seconds", Kind: report.ColumnCount}, {Key: "name", Title: "variant", Kind: report.ColumnText}, {Key: "line", Title: "Cargo.toml, [profile." + profile + "]", Kind: report.ColumnText}}}
	}
	for n, v := range variants {
		fmt.Fprintf(s.stderr, "%s %d of %d: %s\n", progress(n, len(variants)), n+1, len(variants), v.name)
		there := *s
		opts := *s.opts
		there.opts, there.project = &opts, nil
		opts.targetDir = filepath.Join(folder, strings.ReplaceAll(v.name, " ", "-"))
		for key, value := range v.vars {
			there.env = there.env.with(prefix+key, value)
		}
		start := time.Now()
		list, err := there.subjects()
		took := time.Since(start)
		if err != nil {
			s.warn("%s does not build: %v", v.name, err)
			continue
		}
		if took > times[profile+" "+v.name] {
			times[profile+" "+v.name] = took
		}
		writeTimes(folder, times)
		for i, sub := range subjects {
			for _, other := range list {
				if other.built.Name != sub.built.Name || other.built.Kind != sub.built.Kind {
					continue
				}
				z := other.sizes
				if v.vars == nil {
					base[i] = [2]uint64{z.FileSize, z.LoadSize}
				}
				var change, relative any
				if b := base[i][1]; b > 0 && v.vars != nil {
					change, relative = int64(z.LoadSize)-int64(b), float64(z.LoadSize)/float64(b)-1
				}
				tables[i].Rows = append(tables[i].Rows, report.Row{Cells: []any{z.FileSize, z.LoadSize, change, relative, uint64(took.Seconds() + 0.5), v.name, v.line}})
			}
		}
	}
	fmt.Fprintf(s.stderr, "%s done\n", progress(len(variants), len(variants)))
	for _, t := range tables {
		t.Notes = append(t.Notes, "The change is of what is loaded. Measured on this machine, by building; the variants lie in "+s.relative(folder)+".")
	}
	return tables, nil
}

// estimate says how long it will take: as long as it took the last time, at
// most.
func (s *session) estimate(times map[string]time.Duration, profile string) {
	var sum, known time.Duration
	count := 0
	for _, v := range variants {
		if t, ok := times[profile+" "+v.name]; ok {
			sum += t
			known = max(known, t)
			count++
		}
	}
	if count == 0 {
		fmt.Fprintf(s.stderr, "Building %d variants from nothing: each takes about as long as a first build of this project.\n", len(variants))
		return
	}
	sum += known * time.Duration(len(variants)-count)
	fmt.Fprintf(s.stderr, "Building %d variants: at most about %s, as the last time.\n", len(variants), sum.Round(time.Second))
}

// progress draws how much is done.
func progress(done, all int) string {
	const boxes = 20
	full := done * boxes / all
	return "[" + strings.Repeat("█", full) + strings.Repeat("░", boxes-full) + "]"
}

func readTimes(folder string) map[string]time.Duration {
	times := make(map[string]time.Duration)
	if data, err := os.ReadFile(filepath.Join(folder, "times.json")); err == nil {
		if json.Unmarshal(data, &times) != nil {
			times = make(map[string]time.Duration)
		}
	}
	return times
}

// writeTimes keeps how long builds took; without them there is only no
// estimate.
func writeTimes(folder string, times map[string]time.Duration) {
	if data, err := json.Marshal(times); err == nil {
		replaceFile(filepath.Join(folder, "times.json"), data, 0o644)
	}
}
