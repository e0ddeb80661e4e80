package plugin

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"leanlink/linker"
	"leanlink/report"
)

// How advise measures
//
// Each variant of the profile is built in a target folder of its own, so that
// the next time only what changed is built again. Variants of leanlink's
// settings need no compiling: the build as it is, is linked again with them.

// variant is a way to build.
type variant struct {
	key      string            // the setting it is about, as in report.Advice; "" for several or none
	name     string            // for people, and of its folder
	profile  map[string]string // keys of Cargo's profile
	settings map[string]string // keys of leanlink's config
	aborts   bool              // can only be had where panics abort
	unwinds  bool              // there is another one where panics abort
	machines []string          // can only be had for targets of these; nil for any
}

var variants = []variant{
	{name: "as it is"},
	{key: "lto=thin", name: "LTO, thin", profile: map[string]string{"lto": "thin"}},
	{key: "lto", name: "LTO", profile: map[string]string{"lto": "fat"}},
	{key: "codegen-units", name: "one codegen unit", profile: map[string]string{"codegen-units": "1"}},
	{key: "opt-level", name: "optimised for size", profile: map[string]string{"opt-level": "s"}},
	{key: "opt-level=z", name: "optimised for size before all", profile: map[string]string{"opt-level": "z"}},
	{key: "panic", name: "panics abort", profile: map[string]string{"panic": "abort"}},
	{name: "all of these", profile: map[string]string{"lto": "fat", "codegen-units": "1", "opt-level": "s", "panic": "abort"}},
	{key: "fold", name: "everything folded that compilers allow", settings: map[string]string{"fold": "all"}},
	{key: "trim.relocations", name: "relocations packed", settings: map[string]string{"trim.relocations": "packed"}},
	{key: "trim.unwind-tables", name: "unwind tables for calls only", settings: map[string]string{"trim.unwind-tables": "calls"}, machines: []string{"x86_64", "aarch64", "riscv"}},
	{key: "trim.panic", name: "panics without locations", settings: map[string]string{"trim.panic": "location"}},
	{key: "trim.backtrace", name: "backtraces of addresses", settings: map[string]string{"trim.backtrace": "addresses"}},
	{key: "trim.panic=message", name: "panics without messages", settings: map[string]string{"trim.panic": "message"}, machines: []string{"x86_64"}},
	{key: "trim.align", name: "functions aligned for size", settings: map[string]string{"trim.align": "size"}, machines: []string{"x86_64"}},
	{key: "trim.panic=trap", name: "panics that trap", settings: map[string]string{"trim.panic": "trap"}, aborts: true},
	{key: "trim.unwind-tables=drop", name: "no unwind tables", settings: map[string]string{"trim.unwind-tables": "drop"}, aborts: true},
	{name: "all of leanlink's", settings: map[string]string{"fold": "all", "trim.relocations": "packed", "trim.unwind-tables": "calls", "trim.panic": "location", "trim.backtrace": "addresses", "trim.align": "size"}, unwinds: true},
	{name: "all of leanlink's where panics abort", settings: map[string]string{"fold": "all", "trim.relocations": "packed", "trim.unwind-tables": "drop", "trim.panic": "trap", "trim.backtrace": "addresses", "trim.align": "size"}, aborts: true},
}

// settingOrder is the order in which lines name settings.
var settingOrder = []string{"opt-level", "lto", "codegen-units", "panic", "fold", "trim.relocations", "trim.unwind-tables", "trim.panic", "trim.backtrace", "trim.align"}

// trimOrder ranks a trim's values, which leave out more and more.
var trimOrder = map[string][]string{
	"trim.panic": {"keep", "location", "message", "trap"}, "trim.unwind-tables": {"keep", "calls", "drop"},
}

// line is what to write, and where.
func (v *variant) line(profile string) string {
	var words []string
	for _, key := range settingOrder {
		value, ok := v.profile[key]
		if !ok {
			value, ok = v.settings[key]
		}
		switch {
		case !ok:
		case key == "codegen-units":
			words = append(words, key+" = "+value)
		default:
			words = append(words, key+" = "+tomlString(value))
		}
	}
	switch {
	case len(words) == 0:
		return ""
	case v.settings != nil:
		return "leanlink.toml: " + strings.Join(words, ", ")
	}
	return "Cargo.toml, [profile." + profile + "]: " + strings.Join(words, ", ")
}

// isSet says whether the project is built like this already.
func (v *variant) isSet(set map[string]string, cfg *linker.Config) bool {
	if v.profile == nil && v.settings == nil {
		return false
	}
	for key, value := range v.profile {
		old := set[key]
		if key == "lto" && old == "true" {
			old = "fat"
		}
		if old != value && !(key == "opt-level" && old == "z") && !(key == "lto" && old == "fat") {
			return false
		}
	}
	now := map[string]string{"fold": cfg.Fold, "trim.relocations": cfg.TrimRelocations, "trim.unwind-tables": cfg.TrimUnwindTables, "trim.panic": cfg.TrimPanic, "trim.backtrace": cfg.TrimBacktrace, "trim.align": cfg.TrimAlign}
	for key, value := range v.settings {
		order := trimOrder[key]
		if old := now[key]; old != value && slices.Index(order, old) <= slices.Index(order, value) {
			return false
		}
	}
	return true
}

// possible says whether the project can be built like this for a target.
func (v *variant) possible(set map[string]string, triple string) bool {
	aborts := set["panic"] == "abort" || isBareMetal(triple)
	return (!v.aborts || aborts) && (!v.unwinds || !aborts) &&
		(v.machines == nil || slices.ContainsFunc(v.machines, func(m string) bool { return strings.HasPrefix(triple, m) }))
}

// measurement is what the variants of one program came to.
type measurement struct {
	Of           string // content hash of the program that was asked about
	File, Loaded uint64 // bytes, as it is
	Results      []measured
}

// measured is the size of one variant.
type measured struct {
	Key, Name, Line string
	File, Loaded    uint64 // bytes
	Seconds         float64
}

// measure builds each variant and returns what each program comes to.
func (s *session) measure(subjects []*subject) ([]*measurement, error) {
	if len(subjects) == 0 || subjects[0].built == nil {
		return nil, usageErrorf("--measure builds the project; it goes with no --file")
	}
	p, err := s.projectOnce()
	if err != nil {
		return nil, err
	}
	first := subjects[0].built
	set, err := s.profileSettings(p, first.Profile)
	if err != nil {
		return nil, err
	}
	var list []*variant
	for i := range variants {
		if v := &variants[i]; !v.isSet(set, first.Config) && v.possible(set, first.Config.Triple) {
			list = append(list, &variants[i])
		}
	}
	times := readTimes(s.variantsFolder(p))
	pace := newPace(list, times, first.Profile, readTimes(filepath.Join(p.TargetDir, ownFolder))[s.profileName()])
	if s.opts.quiet == 0 {
		fmt.Fprintln(s.stderr, pace.estimate())
	}
	results := make([]*measurement, len(subjects))
	for n, v := range list {
		if s.opts.quiet == 0 {
			fmt.Fprintln(s.stderr, pace.progress(n))
		}
		start := time.Now()
		built, err := s.buildVariant(p, v, first.Profile)
		took := time.Since(start)
		if err != nil {
			if n == 0 {
				return nil, err
			}
			why := "see above"
			if text := err.Error(); text != "" {
				why = text
			}
			s.warn("%s does not build: %s", v.name, why)
			pace.passed(n, 0)
			continue
		}
		pace.passed(n, took)
		if name := timeName(first.Profile, v); took > times[name] {
			times[name] = took
			writeTimes(s.variantsFolder(p), times)
		}
		for i, sub := range subjects {
			for _, other := range built {
				if other.built.Name != sub.built.Name || other.built.Kind != sub.built.Kind {
					continue
				}
				z := other.sizes
				if n == 0 {
					results[i] = &measurement{Of: sub.hash(), File: z.FileSize, Loaded: z.LoadSize}
				}
				if m := results[i]; m != nil {
					m.Results = append(m.Results, measured{v.key, v.name, v.line(first.Profile), z.FileSize, z.LoadSize, took.Seconds()})
				}
			}
		}
	}
	if s.opts.quiet == 0 {
		fmt.Fprintln(s.stderr, pace.progress(len(list)))
	}
	return results, s.remember(p, subjects, results)
}

func (s *session) variantsFolder(p *project) string {
	return filepath.Join(p.TargetDir, ownFolder, "variants")
}

// buildVariant builds the project in one way.
func (s *session) buildVariant(p *project, v *variant, profile string) ([]*subject, error) {
	there := *s
	opts := *s.opts
	there.opts, there.project = &opts, nil
	folder := v.name
	if v.settings != nil {
		folder = variants[0].name // linked again there
	}
	opts.targetDir = filepath.Join(s.variantsFolder(p), strings.NewReplacer(" ", "-", ",", "").Replace(folder))
	for key, value := range v.profile {
		there.env = there.env.with(profileVariable(profile, key), value)
	}
	for key, value := range v.settings {
		there.env = there.env.with("LEANLINK_"+strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(key)), value)
	}
	return there.subjects()
}

// table shows the variants of a program side by side. m may be nil.
func (m *measurement) table(s *session, sub *subject) *report.Table {
	t := &report.Table{Key: "measured", Title: "Measured: " + sub.title, Columns: []report.Column{{Key: "file", Title: "file", Kind: report.ColumnBytes}, {Key: "loaded", Title: "loaded", Kind: report.ColumnBytes},
		{Key: "change", Title: "change", Kind: report.ColumnChange}, {Key: "relative", Title: "%", Kind: report.ColumnShare}, {Key: "seconds", Title: "seconds", Kind: report.ColumnCount},
		{Key: "name", Title: "variant", Kind: report.ColumnProse}, {Key: "line", Title: "the line", Kind: report.ColumnBelow}}, Spare: []string{"seconds"}}
	if m == nil {
		t.Notes = append(t.Notes, "It was not among what the variants built.")
		return t
	}
	for i, r := range m.Results {
		var change, relative any
		if i > 0 && m.Loaded > 0 {
			change, relative = int64(r.Loaded)-int64(m.Loaded), float64(r.Loaded)/float64(m.Loaded)-1
		}
		t.Rows = append(t.Rows, report.Row{Cells: []any{r.File, r.Loaded, change, relative, uint64(r.Seconds + 0.5), r.Name, r.Line}})
	}
	t.Notes = append(t.Notes, "The change is of what is loaded. Measured on this machine, by building; what was built is in "+s.relative(filepath.Join(filepath.Dir(filepath.Dir(sub.built.Path)), "variants"))+".")
	return t
}

// program names a built program in what is remembered.
func (b *built) program() string {
	return strings.Join([]string{b.Name, b.Kind, b.Profile, b.Config.Triple}, " ")
}

// remember keeps what was measured, for advise without --measure.
func (s *session) remember(p *project, subjects []*subject, results []*measurement) error {
	path := filepath.Join(s.variantsFolder(p), "measured.json")
	kept := readMeasured(path)
	for i, sub := range subjects {
		if results[i] != nil {
			kept[sub.built.program()] = results[i]
		}
	}
	data, err := json.MarshalIndent(kept, "", "\t")
	if err != nil {
		return err
	}
	return replaceFile(path, data, 0o644)
}

// hash tells whether a program is still the same; "" if that is unknown.
func (sub *subject) hash() string {
	if r := sub.sizes.Report; r != nil {
		return r.Output.Hash
	}
	return ""
}

// remembered is what was measured of a program, or nil if it has changed since.
func (s *session) remembered(p *project, sub *subject) *measurement {
	m := readMeasured(filepath.Join(s.variantsFolder(p), "measured.json"))[sub.built.program()]
	if m == nil || m.Of == "" || m.Of != sub.hash() {
		return nil
	}
	return m
}

// readMeasured reads what is remembered; what can't be read was not measured.
func readMeasured(path string) map[string]*measurement {
	kept := make(map[string]*measurement)
	if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &kept) != nil {
		return make(map[string]*measurement)
	}
	return kept
}

// pace estimates how long what is left will take.
type pace struct {
	list     []*variant
	expected []time.Duration // of each variant; 0 if unknown
	done     []bool
}

// newPace expects of each variant what it took the last time, else what a
// whole build took, and more where whole programs are optimised; a link only
// takes the time of a link.
func newPace(list []*variant, times map[string]time.Duration, profile string, whole time.Duration) *pace {
	p := &pace{list, make([]time.Duration, len(list)), make([]bool, len(list))}
	for i, v := range list {
		p.expected[i] = times[timeName(profile, v)]
		if p.expected[i] == 0 && v.settings == nil {
			p.expected[i] = whole * v.effort()
		}
	}
	return p
}

// passed notes that a variant is done, and how long it took; those that were
// never built are expected to take as long.
func (p *pace) passed(n int, took time.Duration) {
	p.done[n] = true
	for i := range p.list {
		if !p.done[i] && p.expected[i] == 0 && (p.list[i].settings == nil) == (p.list[n].settings == nil) {
			p.expected[i] = took / p.list[n].effort() * p.list[i].effort()
		}
	}
}

// effort is how many times as long a variant takes to build, roughly, as the
// project does as it is.
func (v *variant) effort() time.Duration {
	switch v.profile["lto"] {
	case "fat":
		return 3
	case "thin":
		return 2
	}
	return 1
}

// left is the sum of what is not done; known says that all of it is known but
// for links, which are short.
func (p *pace) left() (sum time.Duration, known bool) {
	for i := range p.list {
		if !p.done[i] {
			sum += p.expected[i]
			if p.expected[i] == 0 && p.list[i].settings == nil {
				return 0, false
			}
		}
	}
	return sum, true
}

func (p *pace) estimate() string {
	builds := 0
	for _, v := range p.list {
		if v.settings == nil {
			builds++
		}
	}
	what := fmt.Sprintf("Building %d variants and linking %d more", builds, len(p.list)-builds)
	if sum, known := p.left(); known {
		return fmt.Sprintf("%s: about %s.", what, roughly(sum))
	}
	return what + ": each build takes about as long as a first build of this project."
}

// progress draws how much is done.
func (p *pace) progress(n int) string {
	const boxes = 20
	full := n * boxes / len(p.list)
	bar := "[" + strings.Repeat("█", full) + strings.Repeat("░", boxes-full) + "]"
	if n == len(p.list) {
		return bar + " done"
	}
	text := fmt.Sprintf("%s %d of %d: %s", bar, n+1, len(p.list), p.list[n].name)
	if sum, known := p.left(); known && sum > 0 {
		text += ", about " + roughly(sum) + " left"
	}
	return text
}

// roughly writes a time as one says it.
func roughly(d time.Duration) string {
	switch {
	case d < 2*time.Second:
		return "a second"
	case d < 100*time.Second:
		return fmt.Sprintf("%d seconds", int(d.Seconds()+0.5))
	case d < 100*time.Minute:
		return fmt.Sprintf("%d minutes", int(d.Minutes()+0.5))
	}
	return fmt.Sprintf("%.1f hours", d.Hours())
}

// profileName is the profile that Cargo's options ask for.
func (s *session) profileName() string {
	switch {
	case s.opts.profile != "":
		return s.opts.profile
	case s.opts.release:
		return "release"
	}
	return "dev"
}

func timeName(profile string, v *variant) string { return profile + " " + v.name }

func readTimes(folder string) map[string]time.Duration {
	times := make(map[string]time.Duration)
	if data, err := os.ReadFile(filepath.Join(folder, "times.json")); err == nil && json.Unmarshal(data, &times) != nil {
		return make(map[string]time.Duration)
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
