package plugin

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	results := make([]*measurement, len(subjects))
	if s.opts.measure {
		if results, err = s.measure(subjects); err != nil {
			return err
		}
	}
	var views []report.View
	for i, sub := range subjects {
		advice, err := s.advice(sub, results[i])
		if err != nil {
			return err
		}
		tables := []*report.Table{heading(sub), advice}
		if s.opts.measure {
			tables = append(tables, results[i].table(s, sub))
		}
		views = append(views, report.View{Name: "advise", File: sub.title, Tables: tables})
	}
	if err := s.show(views); err != nil {
		return err
	}
	return s.afterwards(subjects)
}

// advice is the table of advice for a program. m is what was measured of it, or
// nil; then what is remembered counts.
func (s *session) advice(sub *subject, m *measurement) (*report.Table, error) {
	var state report.AdviceState
	if sub.built != nil {
		p, err := s.projectOnce()
		if err != nil {
			return nil, err
		}
		if state.Set, err = s.profileSettings(p, sub.built.Profile); err != nil {
			return nil, err
		}
		state.Profile, state.Versions = sub.built.Profile, sub.built.versions
		if m == nil {
			m = s.remembered(p, sub)
		}
	}
	list := m.join(sub.sizes.Advise(state))
	if n := s.opts.rows; n > 0 && len(list) > n {
		list = list[:n]
	}
	return report.AdviceTable(list, m != nil), nil
}

// join puts what was measured among what was computed, in whose place it goes
// where both are about one setting. m may be nil.
func (m *measurement) join(list []report.Advice) []report.Advice {
	if m == nil {
		return list
	}
	computed := make(map[string]report.Advice)
	for _, a := range list {
		computed[a.Key] = a
	}
	measured := make(map[string]bool)
	var joined []report.Advice
	for _, r := range m.Results {
		if r.Key == "" {
			continue
		}
		measured[r.Key] = true
		loaded, file := int64(m.Loaded)-int64(r.Loaded), int64(m.File)-int64(r.File)
		a := report.Advice{How: "measured", Key: r.Key, What: r.Name, Line: r.Line}
		if c, ok := computed[r.Key]; ok {
			a.Line = c.Line // with what to mind
		}
		switch {
		case loaded > 0:
			a.Bytes, a.Loaded = uint64(loaded), true
			joined = append(joined, a)
		case file > 0:
			a.Bytes = uint64(file)
			joined = append(joined, a)
		}
	}
	for _, a := range list {
		if !measured[a.Key] {
			joined = append(joined, a)
		}
	}
	slices.SortStableFunc(joined, func(a, b report.Advice) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return joined
}

// profileSettings returns what is set of a profile, as Cargo finds it: in the
// profile that it inherits from, the workspace's Cargo.toml, Cargo's
// configuration, the environment. What is not set is not in the map.
func (s *session) profileSettings(p *project, profile string) (map[string]string, error) {
	manifest := filepath.Join(p.Root, "Cargo.toml")
	data, err := os.ReadFile(manifest)
	if err != nil {
		return nil, plainError(manifest, err)
	}
	var root map[string]any
	if _, err := toml.Decode(string(data), &root); err != nil {
		return nil, fmt.Errorf("%s: %w", manifest, tomlError(err))
	}
	configs, err := s.readCargoConfigs()
	if err != nil {
		return nil, err
	}
	set := make(map[string]string)
	places := []map[string]any{root}
	for _, c := range slices.Backward(configs) {
		places = append(places, c.root)
	}
	for name, depth := profile, 0; name != "" && depth < 16; depth++ {
		var inherits string
		own := make(map[string]string)
		for _, place := range places {
			profiles, _ := place["profile"].(map[string]any)
			table, _ := profiles[name].(map[string]any)
			for key, v := range table {
				switch v.(type) {
				case string, bool, int64:
					own[key] = fmt.Sprint(v)
				}
			}
		}
		inherits = own["inherits"]
		prefix := profileVariable(name, "")
		for _, v := range s.env {
			if rest, ok := strings.CutPrefix(v, prefix); ok {
				key, value, _ := strings.Cut(rest, "=")
				own[strings.ToLower(strings.ReplaceAll(key, "_", "-"))] = value
			}
		}
		for key, value := range own {
			if _, ok := set[key]; !ok {
				set[key] = value
			}
		}
		name = inherits
	}
	return set, nil
}

// profileVariable is the variable that stands for profile.NAME.KEY.
func profileVariable(profile, key string) string {
	return "CARGO_PROFILE_" + strings.ToUpper(strings.ReplaceAll(profile+"_"+key, "-", "_"))
}
