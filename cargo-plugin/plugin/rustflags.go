package plugin

import (
	"slices"
	"strings"
)

// A linker can also be named by rustc's own flag, -Clinker, which goes before
// everything that Cargo has for it. Cargo takes rustc's flags from one kind of
// place only, the first of these that there is: CARGO_ENCODED_RUSTFLAGS,
// RUSTFLAGS, the targets' settings, the build's.

// rustFlags are rustc's flags for a target, and where they come from.
type rustFlags struct {
	flags []string
	from  string // "" if there are none
}

// linker returns the linker that the last -Clinker names; Path is "" without
// one.
func (f *rustFlags) linker() namedLinker {
	found := namedLinker{}
	for i, flag := range f.flags {
		if flag == "-C" || flag == "--codegen" {
			if i+1 == len(f.flags) {
				break
			}
			flag = f.flags[i+1]
		} else if rest, ok := strings.CutPrefix(flag, "-C"); ok {
			flag = rest
		} else if rest, ok := strings.CutPrefix(flag, "--codegen="); ok {
			flag = rest
		} else {
			continue
		}
		if path, ok := strings.CutPrefix(flag, "linker="); ok && path != "" {
			found = namedLinker{path, f.from}
		}
	}
	return found
}

// withLinker is the variable that gives rustc the same flags and another
// linker. It goes before all others.
func (f *rustFlags) withLinker(path string) (name, value string) {
	return "CARGO_ENCODED_RUSTFLAGS", strings.Join(append(slices.Clone(f.flags), "-Clinker="+path), "\x1f")
}

// rustFlags reads rustc's flags as Cargo does.
func (s *session) rustFlags(triple string) (*rustFlags, error) {
	if v := s.env.get("CARGO_ENCODED_RUSTFLAGS"); v != "" {
		return &rustFlags{strings.Split(v, "\x1f"), "CARGO_ENCODED_RUSTFLAGS"}, nil
	}
	if v := s.env.get("RUSTFLAGS"); v != "" {
		return &rustFlags{strings.Fields(v), "RUSTFLAGS"}, nil
	}
	configs, err := s.readCargoConfigs()
	if err != nil {
		return nil, err
	}
	found := &rustFlags{}
	add := func(value any, from string) {
		var list []string
		switch v := value.(type) {
		case string:
			list = strings.Fields(v)
		case []any:
			for _, item := range v {
				if text, ok := item.(string); ok {
					list = append(list, text)
				}
			}
		}
		if len(list) > 0 {
			found.flags, found.from = append(found.flags, list...), from
		}
	}
	// What is stronger comes later.
	for _, c := range slices.Backward(configs) {
		targets, _ := c.root["target"].(map[string]any)
		table, _ := targets[triple].(map[string]any)
		add(table["rustflags"], c.name)
	}
	variable := targetVariable(triple, "RUSTFLAGS")
	add(s.env.get(variable), variable)
	fitting, err := s.cfgTables(configs, triple, "rustflags")
	if err != nil {
		return nil, err
	}
	for _, c := range slices.Backward(fitting) {
		add(c.root["rustflags"], c.name)
	}
	if len(found.flags) > 0 {
		return found, nil
	}
	for _, c := range slices.Backward(configs) {
		build, _ := c.root["build"].(map[string]any)
		add(build["rustflags"], c.name)
	}
	add(s.env.get("CARGO_BUILD_RUSTFLAGS"), "CARGO_BUILD_RUSTFLAGS")
	return found, nil
}
