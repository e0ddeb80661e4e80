package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Cargo tells no tool which linker it would use (cargo config get is not
// stable), so its config is read here as Cargo reads it: the files from the
// working folder upwards and then Cargo's home, the nearest first; before them
// the environment, before that --config. Of one target, the table of the
// triple goes before a table of a cfg expression that fits.

// cargoConfig is one place of Cargo's configuration.
type cargoConfig struct {
	name string         // path, or "--config"
	base string         // what paths in it are relative to
	root map[string]any // the whole of it
}

// readCargoConfigs reads all places, the strongest first.
func (s *session) readCargoConfigs() ([]cargoConfig, error) {
	var list []cargoConfig
	for i := len(s.opts.configs) - 1; i >= 0; i-- {
		text := s.opts.configs[i]
		if path := s.absolute(text); !strings.Contains(text, "=") || fileExists(path) {
			found, err := readCargoConfig(path, 0)
			if err != nil {
				return nil, err
			}
			list = append(list, found...)
			continue
		}
		var root map[string]any
		if _, err := toml.Decode(text, &root); err != nil {
			return nil, fmt.Errorf("--config %s: %w", text, err)
		}
		list = append(list, cargoConfig{"--config", s.dir, root})
	}
	for _, path := range s.cargoConfigFiles() {
		found, err := readCargoConfig(path, 0)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

// cargoConfigFiles lists Cargo's config files that exist, the strongest first.
func (s *session) cargoConfigFiles() []string {
	var files []string
	add := func(dir string) {
		for _, name := range [...]string{"config", "config.toml"} { // Cargo prefers the old name
			if path := filepath.Join(dir, name); fileExists(path) {
				if !slices.Contains(files, path) {
					files = append(files, path)
				}
				return
			}
		}
	}
	for dir := s.dir; ; dir = filepath.Dir(dir) {
		add(filepath.Join(dir, ".cargo"))
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if home := s.cargoHome(); home != "" {
		add(home)
	}
	return files
}

func (s *session) cargoHome() string {
	if home := s.env.get("CARGO_HOME"); home != "" {
		return s.absolute(home)
	}
	if home := s.env.get("HOME"); home != "" {
		return filepath.Join(home, ".cargo")
	}
	return ""
}

func fileExists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// readCargoConfig reads a file and what it includes; the file goes before
// those, a later one before an earlier one.
func readCargoConfig(path string, depth int) ([]cargoConfig, error) {
	if depth > 16 {
		return nil, fmt.Errorf("%s: includes itself", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var root map[string]any
	if _, err := toml.Decode(string(data), &root); err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("%s:%d: %s", path, at.Position.Line, at.Message)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	list := []cargoConfig{{path, filepath.Dir(filepath.Dir(path)), root}}
	var includes []any
	switch v := root["include"].(type) {
	case string:
		includes = []any{v}
	case []any:
		includes = v
	}
	for i := len(includes) - 1; i >= 0; i-- {
		name, optional := "", false
		switch v := includes[i].(type) {
		case string:
			name = v
		case map[string]any:
			name, _ = v["path"].(string)
			optional, _ = v["optional"].(bool)
		}
		if name == "" {
			continue
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(path), name)
		}
		more, err := readCargoConfig(name, depth+1)
		if optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// namedLinker is a linker that Cargo's configuration names.
type namedLinker struct {
	Path string // as a program is run: a bare name, or absolute
	From string // where it is named
}

// userLinker returns the linker that Cargo would use for a target; Path is ""
// if the choice is rustc's.
func (s *session) userLinker(triple string) (namedLinker, error) {
	configs, err := s.readCargoConfigs()
	if err != nil {
		return namedLinker{}, err
	}
	resolve := func(c cargoConfig, v string) namedLinker {
		if strings.Contains(v, "/") && !filepath.IsAbs(v) {
			v = filepath.Join(c.base, v)
		}
		return namedLinker{v, c.name}
	}
	for _, c := range configs {
		if c.name == "--config" {
			if v := linkerOf(c, triple); v != "" {
				return resolve(c, v), nil
			}
		}
	}
	variable := targetVariable(triple, "LINKER")
	if v := s.env.get(variable); v != "" {
		return resolve(cargoConfig{name: variable, base: s.dir}, v), nil
	}
	for _, c := range configs {
		if v := linkerOf(c, triple); v != "" {
			return resolve(c, v), nil
		}
	}
	fitting, err := s.cfgTables(configs, triple, "linker")
	if err != nil || len(fitting) == 0 {
		return namedLinker{}, err
	}
	v, _ := fitting[0].root["linker"].(string)
	return resolve(fitting[0], v), nil
}

// cfgTables returns the tables target.'cfg(…)' that fit a target and have a
// key, the strongest first.
func (s *session) cfgTables(configs []cargoConfig, triple, key string) ([]cargoConfig, error) {
	var fitting []cargoConfig
	var facts []string // rustc --print cfg, asked for when needed
	for _, c := range configs {
		targets, _ := c.root["target"].(map[string]any)
		for _, expr := range slices.Sorted(maps.Keys(targets)) {
			table, _ := targets[expr].(map[string]any)
			if table[key] == nil || !strings.HasPrefix(expr, "cfg(") {
				continue
			}
			if facts == nil {
				out, err := s.rustc("--print", "cfg", "--target", triple)
				if err != nil {
					return nil, err
				}
				facts = strings.Split(strings.TrimSpace(out), "\n")
			}
			if cfgHolds(expr, facts) {
				fitting = append(fitting, cargoConfig{c.name, c.base, table})
			}
		}
	}
	return fitting, nil
}

// targetVariable is the variable that stands for target.TRIPLE.KEY.
func targetVariable(triple, key string) string {
	return "CARGO_TARGET_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(triple)) + "_" + key
}

// linkerOf returns target.TRIPLE.linker of one place.
func linkerOf(c cargoConfig, triple string) string {
	targets, _ := c.root["target"].(map[string]any)
	table, _ := targets[triple].(map[string]any)
	v, _ := table["linker"].(string)
	return v
}

// buildTargets returns the triples that Cargo would build for: of --target, of
// the configuration, or the host's. explicit says that it is not just the
// host's by default, so Cargo puts the output into a folder of the triple.
func (s *session) buildTargets() (triples []string, explicit bool, err error) {
	list := s.opts.targets
	if len(list) == 0 {
		if v := s.env.get("CARGO_BUILD_TARGET"); v != "" {
			list = []string{v}
		}
	}
	if len(list) == 0 {
		configs, err := s.readCargoConfigs()
		if err != nil {
			return nil, false, err
		}
		for _, c := range configs {
			build, _ := c.root["build"].(map[string]any)
			switch v := build["target"].(type) {
			case string:
				list = []string{v}
			case []any:
				for _, item := range v {
					if t, ok := item.(string); ok {
						list = append(list, t)
					}
				}
			}
			if len(list) > 0 {
				break
			}
		}
	}
	if len(list) > 0 && !slices.Contains(list, "host-tuple") {
		return list, true, nil
	}
	host, err := s.hostTriple()
	if err != nil {
		return nil, false, err
	}
	if len(list) == 0 {
		return []string{host}, false, nil
	}
	for i := range list {
		if list[i] == "host-tuple" {
			list[i] = host
		}
	}
	return list, true, nil
}

// tripleName is the triple of a --target argument, which may be the path of a
// target's description.
func tripleName(target string) string {
	if strings.HasSuffix(target, ".json") {
		return strings.TrimSuffix(filepath.Base(target), ".json")
	}
	return target
}

// cfgHolds evaluates a cfg expression: facts are the lines of rustc --print cfg.
// One that it does not understand does not hold.
func cfgHolds(expr string, facts []string) bool {
	p := cfgParser{text: expr, facts: facts}
	holds := p.call()
	return holds && p.ok()
}

type cfgParser struct {
	text  string
	facts []string
	bad   bool
}

func (p *cfgParser) ok() bool { return !p.bad && strings.TrimSpace(p.text) == "" }

func (p *cfgParser) accept(s string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(p.text, " \t\n"), s)
	if ok {
		p.text = rest
	}
	return ok
}

// call reads NAME, NAME = "VALUE" or NAME(…, …).
func (p *cfgParser) call() bool {
	p.text = strings.TrimLeft(p.text, " \t\n")
	n := 0
	for n < len(p.text) && (p.text[n] == '_' || p.text[n] >= '0' && p.text[n] <= '9' || p.text[n]|0x20 >= 'a' && p.text[n]|0x20 <= 'z') {
		n++
	}
	name := p.text[:n]
	p.text = p.text[n:]
	if name == "" {
		p.bad = true
		return false
	}
	switch {
	case p.accept("("):
		var args []bool
		for !p.bad && !p.accept(")") {
			args = append(args, p.call())
			if !p.accept(",") && !strings.HasPrefix(strings.TrimLeft(p.text, " \t\n"), ")") {
				p.bad = true
			}
		}
		switch name {
		case "all":
			return !slices.Contains(args, false)
		case "any":
			return slices.Contains(args, true)
		case "not", "cfg":
			if len(args) == 1 {
				return args[0] == (name == "cfg")
			}
		}
		p.bad = true
		return false
	case p.accept("="):
		if !p.accept(`"`) {
			p.bad = true
			return false
		}
		value, rest, ok := strings.Cut(p.text, `"`)
		p.text, p.bad = rest, p.bad || !ok
		return slices.Contains(p.facts, name+`="`+value+`"`)
	case name == "true" || name == "false":
		return name == "true"
	}
	return slices.Contains(p.facts, name)
}
