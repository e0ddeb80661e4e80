package linker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Config is what the configuration says for one link: for its package, its
// profile and its target. Every field is that of one key; see Keys.
type Config struct {
	Fold       string   // safe, all or off
	Keep       []string // globs of demangled names that are never folded
	Host       bool     // build scripts and proc-macros too
	RealLinker string   // a name to be found on PATH or a path; "" for the style's default
	Report     string   // "" beside the output, "off", or an absolute path; one with a final slash is a folder
	Verify     bool     // check the output against the inputs after each link
	Save       string   // absolute folder for saved cases of every link, "" for none
	Thunks     bool     // functions that keep an address of their own may become jumps
	DebugInfo  string   // join, or link: the real linker joins debug information

	TrimPanic        string // keep, location, message or trap
	TrimBacktrace    string // keep or addresses
	TrimUnwindTables string // keep, calls or drop
	TrimRelocations  string // keep or packed
	TrimAlign        string // keep or size

	Budget []Budget // size limits, in the order of their names

	// What decided which tables count, each "" if unknown.
	Profile   string   // Cargo's profile: dev, release, …
	Triple    string   // the target
	Workspace string   // the folder of the workspace's Cargo.toml
	Package   string   // the folder of the package's Cargo.toml, if it is of that workspace
	Files     []string // the files that were read, weakest first

	sources map[string]source // by key; keys without an entry have their default
}

// Trims says whether any key under trim asks for something to be left out.
func (c *Config) Trims() bool {
	for _, v := range []string{c.TrimPanic, c.TrimBacktrace, c.TrimUnwindTables, c.TrimRelocations, c.TrimAlign} {
		if v != "" && v != "keep" {
			return true
		}
	}
	return false
}

// Source says where a key's value comes from: "leanlink.toml:3" with the
// file's full path, the name of a variable, or "default".
func (c *Config) Source(key string) string {
	if s, ok := c.sources[key]; ok {
		return s.String()
	}
	return "default"
}

// source is the place of a value.
type source struct {
	file *configFile // nil for a variable
	path []string    // the keys that lead to it in the file, or the variable's name alone
}

func (s source) String() string {
	if s.file == nil {
		return s.path[0]
	}
	if line := s.file.line(s.path); line > 0 {
		return fmt.Sprintf("%s:%d", s.file.name, line)
	}
	return s.file.name
}

// dir is what a relative path given at s is relative to.
func (s source) dir(env *Environment) string {
	if s.file == nil {
		return env.Dir
	}
	return filepath.Dir(s.file.name)
}

// kind is what a key's value may be.
type kind uint8

const (
	kindChoice    kind = iota // one of Values
	kindBool                  // true or false
	kindGlobs                 // a list of strings
	kindDir                   // a folder
	kindReport                // a path or "off"
	kindLinker                // a program
	kindSizeLimit             // the table of budgets
)

// Key is one key of the configuration.
type Key struct {
	Name    string
	Values  string // what it may be, for the README
	Default string // for the README
	Doc     string // what it does, for the README

	kind    kind
	choices []string
	field   func(*Config) any // a pointer to the key's field
}

// Keys are all the keys there are, in the README's order. A key whose feature
// this version does not have is not in it, and so is refused.
var Keys = []Key{
	{Name: "fold", kind: kindChoice, choices: []string{"safe", "all", "off"},
		Default: "`safe`; `off` in Cargo's dev profile", field: func(c *Config) any { return &c.Fold },
		Doc: "What to fold: nothing that a program can tell apart, all that the compilers declare mergeable, or nothing."},
	{Name: "keep", kind: kindGlobs, Values: "list of globs", Default: "`[]`", field: func(c *Config) any { return &c.Keep },
		Doc: "Functions whose demangled names match (`*` any text, `?` one character) are never folded."},
	{Name: "host", kind: kindBool, Default: "`false`", field: func(c *Config) any { return &c.Host },
		Doc: "Also work on build scripts and proc-macros, which otherwise go straight to the real linker."},
	{Name: "real-linker", kind: kindLinker, Values: "name or path", Default: "`cc`; `rust-lld` on bare metal", field: func(c *Config) any { return &c.RealLinker },
		Doc: "The program that links. A name is looked up on `PATH`. Under `[target.TRIPLE]` it is for that target only."},
	{Name: "report", kind: kindReport, Values: "path or `\"off\"`", Default: "beside the output, `OUTPUT.leanlink.json.gz`", field: func(c *Config) any { return &c.Report },
		Doc: "Where the report goes. In a folder (a final slash, or one that exists) it is named after the output."},
	{Name: "verify", kind: kindBool, Default: "`false`", field: func(c *Config) any { return &c.Verify },
		Doc: "Check each output against the original objects, and fail the link if they differ."},
	{Name: "save", kind: kindDir, Values: "folder", Default: "none", field: func(c *Config) any { return &c.Save },
		Doc: "Keep all that each link reads there, with a script that replays it."},
	{Name: "thunks", kind: kindBool, Default: "`true`", field: func(c *Config) any { return &c.Thunks },
		Doc: "A function whose address is taken may become a jump to its twin where that is smaller; its address stays its own."},
	{Name: "debug-info", kind: kindChoice, choices: []string{"join", "link"}, Default: "`join`", field: func(c *Config) any { return &c.DebugInfo },
		Doc: "Join debug information in the linker's place, or leave that to the linker, which takes longer."},
	{Name: "trim.panic", kind: kindChoice, choices: []string{"keep", "location", "message", "trap"}, Default: "`keep`", field: func(c *Config) any { return &c.TrimPanic },
		Doc: "How much of a panic to leave out: where it was, what it says, or everything but a trap, which needs `panic = \"abort\"`."},
	{Name: "trim.backtrace", kind: kindChoice, choices: []string{"keep", "addresses"}, Default: "`keep`", field: func(c *Config) any { return &c.TrimBacktrace },
		Doc: "Backtraces print addresses only, with `RUST_BACKTRACE=full`, without the code that reads debug information."},
	{Name: "trim.unwind-tables", kind: kindChoice, choices: []string{"keep", "calls", "drop"}, Default: "`keep`", field: func(c *Config) any { return &c.TrimUnwindTables },
		Doc: "Keep the unwind rows that matter at calls only (a profiler that samples elsewhere may lose a frame), or none, which needs `panic = \"abort\"`."},
	{Name: "trim.relocations", kind: kindChoice, choices: []string{"keep", "packed"}, Default: "`keep`", field: func(c *Config) any { return &c.TrimRelocations },
		Doc: "Have the real linker pack relative relocations, which needs glibc 2.36 or musl 1.2.4 at run time."},
	{Name: "trim.align", kind: kindChoice, choices: []string{"keep", "size"}, Default: "`keep`", field: func(c *Config) any { return &c.TrimAlign },
		Doc: "Functions are aligned for speed only where that is wanted: not in programs optimised for size, nor in functions that are unlikely to run (x86-64)."},
	{Name: "budget", kind: kindSizeLimit, Values: "table", Default: "none", field: func(c *Config) any { return &c.Budget },
		Doc: "Size limits: `total`, `section.NAME`, `crate.NAME`, `region.NAME`, each in bytes, as `\"1.5MB\"` or `\"64KiB\"`, or as growth, `\"+2%\"` or `\"+10kB\"`."},
}

// values is what the key may be, for people.
func (k *Key) values() string {
	switch k.kind {
	case kindChoice:
		return "`" + strings.Join(k.choices, "`, `") + "`"
	case kindBool:
		return "`true`, `false`"
	}
	return k.Values
}

// variable is the environment variable that sets the key.
func (k *Key) variable() string {
	return "LEANLINK_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(k.Name))
}

// KeysTable is the README's table of all keys.
func KeysTable() string {
	var b strings.Builder
	b.WriteString("| key | values | default | what it does |\n|---|---|---|---|\n")
	for i := range Keys {
		k := &Keys[i]
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, k.values(), k.Default, k.Doc)
	}
	return b.String()
}

// keyNames lists the keys for an error.
func keyNames() string {
	names := make([]string, len(Keys))
	for i := range Keys {
		names[i] = Keys[i].Name
	}
	return strings.Join(names, ", ")
}

// LoadConfig finds and reads the configuration of one link. The values of
// weaker places are replaced by those of stronger ones: leanlink.toml, the
// workspace's metadata, the package's, the environment; within one place the
// plain keys, [profile.NAME], [target.TRIPLE].
//
// The error names the file, the line and what is possible instead.
func LoadConfig(cl *CommandLine, env *Environment) (*Config, error) {
	place := cl.outputPlace()
	cfg := &Config{Fold: "safe", Thunks: true, DebugInfo: "join", sources: map[string]source{}}
	cfg.TrimPanic, cfg.TrimBacktrace, cfg.TrimUnwindTables, cfg.TrimRelocations, cfg.TrimAlign = "keep", "keep", "keep", "keep", "keep"
	if env.Get("CARGO_MANIFEST_DIR") != "" {
		cfg.Profile = place.Profile
	}
	if cfg.Profile == "dev" {
		cfg.Fold = "off"
	}
	cfg.Triple = cl.targetTriple(env, place)

	if err := cfg.findWorkspace(env, place); err != nil {
		return nil, err
	}
	if cfg.Workspace != "" {
		if err := cfg.readFile(filepath.Join(cfg.Workspace, "leanlink.toml"), nil, env); err != nil {
			return nil, err
		}
		manifest := filepath.Join(cfg.Workspace, "Cargo.toml")
		if err := cfg.readFile(manifest, []string{"workspace", "metadata", "leanlink"}, env); err != nil {
			return nil, err
		}
	}
	if cfg.Package != "" {
		manifest := filepath.Join(cfg.Package, "Cargo.toml")
		if err := cfg.readFile(manifest, []string{"package", "metadata", "leanlink"}, env); err != nil {
			return nil, err
		}
	}
	return cfg, cfg.readEnvironment(env)
}

// configFile is a file with configuration in it, as read.
type configFile struct {
	name string
	text string
}

// probe is a value that refuses to be decoded, so that the decoder says where
// in the file it stands.
type probe struct{}

func (*probe) UnmarshalTOML(any) error { return errors.New("here") }

// line is the number of the line on which the value at path stands, 0 if
// unknown. A table that is only named on the way to others, as trim is in
// "[profile.x.trim]", stands where the first of them does.
func (f *configFile) line(path []string) int {
	if line := f.lineOf(path); line > 0 {
		return line
	}
	var root any
	if _, err := toml.Decode(f.text, &root); err != nil {
		return 0
	}
	for _, key := range path {
		table, _ := root.(map[string]any)
		root = table[key]
	}
	first := 0
	table, _ := root.(map[string]any)
	for key := range table {
		if line := f.line(append(path[:len(path):len(path)], key)); line > 0 && (first == 0 || line < first) {
			first = line
		}
	}
	return first
}

// lineOf has the decoder complain about the value at path: it tells positions
// only in its errors.
func (f *configFile) lineOf(path []string) int {
	t := reflect.TypeFor[probe]()
	for i := len(path) - 1; i >= 0; i-- {
		tag := reflect.StructTag("toml:" + strconv.Quote(path[i]))
		t = reflect.StructOf([]reflect.StructField{{Name: "X", Type: t, Tag: tag}})
	}
	_, err := toml.Decode(f.text, reflect.New(t).Interface())
	var at toml.ParseError
	if errors.As(err, &at) {
		return at.Position.Line
	}
	return 0
}

// errorf is an error at the value at path.
func (f *configFile) errorf(path []string, format string, args ...any) error {
	return fmt.Errorf("%s: %w", source{f, path}, fmt.Errorf(format, args...))
}

// maxConfig and maxDepth are more than any configuration needs. The decoder is
// recursive, and takes its time for what is nested in vain.
const (
	maxConfig = 1 << 20 // bytes
	maxDepth  = 1000    // brackets and braces
)

// nestedTooDeeply counts brackets wherever they stand, in strings too.
func nestedTooDeeply(data []byte) bool {
	depth := 0
	for _, c := range data {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		if depth > maxDepth {
			return true
		}
	}
	return false
}

// readTOML reads a file; nil without error if it does not exist or cannot
// hold any of the words, which spares decoding a Cargo.toml that has nothing
// for leanlink. If it cannot be decoded the file comes with the error.
func readTOML(name string, words ...string) (*configFile, map[string]any, error) {
	st, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err == nil && st.Size() > maxConfig {
		err = fmt.Errorf("%s: larger than %d kB", name, maxConfig>>10)
	}
	if err != nil {
		return nil, nil, err
	}
	data, err := readRegular(name)
	if err == nil && nestedTooDeeply(data) {
		err = fmt.Errorf("%s: nested more than %d levels deep", name, maxDepth)
	}
	if err != nil {
		return nil, nil, err
	}
	f := &configFile{name: name, text: string(data)}
	wanted := len(words) == 0
	for _, word := range words {
		wanted = wanted || strings.Contains(f.text, word)
	}
	if !wanted {
		return nil, nil, nil
	}
	var root map[string]any
	if _, err := toml.Decode(f.text, &root); err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			return f, nil, fmt.Errorf("%s:%d: %s", name, at.Position.Line, at.Message)
		}
		return f, nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, root, nil
}

// readFile applies the table at path of a file.
func (c *Config) readFile(name string, path []string, env *Environment) error {
	var words []string
	if path != nil {
		words = []string{"leanlink"}
	}
	f, table, err := readTOML(name, words...)
	if f == nil || err != nil {
		return err
	}
	for i, key := range path {
		switch next := table[key].(type) {
		case nil:
			return nil
		case map[string]any:
			table = next
		default:
			if i < len(path)-1 {
				return nil // not ours to complain about
			}
			return f.errorf(path, "%s must be a table", strings.Join(path, "."))
		}
	}
	if n := len(c.Files); n == 0 || c.Files[n-1] != name {
		c.Files = append(c.Files, name)
	}

	// What is wrong in a table that this link does not use is still wrong.
	if err := c.applyTable(f, path, table, true, env); err != nil {
		return err
	}
	for _, selector := range [...]struct{ name, chosen, unit string }{{"profile", c.Profile, "profile"}, {"target", c.Triple, "target"}} {
		at := append(path[:len(path):len(path)], selector.name)
		sub, err := subTable(f, at, table[selector.name])
		if err != nil {
			return err
		}
		for _, name := range sortedKeys(sub) {
			at := append(at[:len(at):len(at)], name)
			keys, err := subTable(f, at, sub[name])
			if err != nil {
				return err
			}
			into := c
			if name != selector.chosen || name == "" {
				into = &Config{sources: map[string]source{}}
			}
			if err := into.applyTable(f, at, keys, false, env); err != nil {
				return err
			}
		}
	}
	return nil
}

func subTable(f *configFile, path []string, v any) (map[string]any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return v, nil
	}
	return nil, f.errorf(path, "%s must be a table", path[len(path)-1])
}

// applyTable sets every key of a table. selectors says that it may have
// profile and target tables, which are the caller's.
func (c *Config) applyTable(f *configFile, path []string, table map[string]any, selectors bool, env *Environment) error {
	for _, name := range sortedKeys(table) {
		if selectors && (name == "profile" || name == "target") {
			continue
		}
		at := append(path[:len(path):len(path)], name)
		if key := findKey(name); key != nil {
			if err := c.set(key, table[name], source{f, at}, env); err != nil {
				return f.errorf(at, "%w", err)
			}
			continue
		}
		// trim is not a key but the beginning of some.
		group, ok := table[name].(map[string]any)
		if !ok || !isKeyGroup(name) {
			return f.errorf(at, "unknown key %q; the keys are %s", name, keyNames())
		}
		for _, inner := range sortedKeys(group) {
			at := append(at[:len(at):len(at)], inner)
			key := findKey(name + "." + inner)
			if key == nil {
				return f.errorf(at, "unknown key %q; the keys are %s", name+"."+inner, keyNames())
			}
			if err := c.set(key, group[inner], source{f, at}, env); err != nil {
				return f.errorf(at, "%w", err)
			}
		}
	}
	return nil
}

func findKey(name string) *Key {
	for i := range Keys {
		if Keys[i].Name == name {
			return &Keys[i]
		}
	}
	return nil
}

// isKeyGroup says whether some key is called name.SOMETHING.
func isKeyGroup(name string) bool {
	for i := range Keys {
		if strings.HasPrefix(Keys[i].Name, name+".") {
			return true
		}
	}
	return false
}

func sortedKeys(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// set gives a key its value, as decoded from TOML.
func (c *Config) set(k *Key, v any, from source, env *Environment) error {
	field := k.field(c)
	text, isText := v.(string)
	wrong := func(must string) error { return fmt.Errorf("%s = %s: must be %s", k.Name, showValue(v), must) }
	switch k.kind {
	case kindChoice:
		ok := false
		for _, choice := range k.choices {
			ok = ok || isText && text == choice
		}
		if !ok {
			return wrong(orList(k.choices))
		}
		*field.(*string) = text

	case kindBool:
		b, ok := v.(bool)
		if !ok {
			return wrong("true or false")
		}
		*field.(*bool) = b

	case kindGlobs:
		list, ok := v.([]any)
		globs := make([]string, 0, len(list))
		for _, item := range list {
			glob, isGlob := item.(string)
			ok = ok && isGlob && glob != ""
			globs = append(globs, glob)
		}
		if !ok {
			return wrong("a list of globs that are not empty")
		}
		*field.(*[]string) = globs

	case kindDir:
		if !isText || text == "" {
			return wrong("a folder")
		}
		*field.(*string) = resolve(from.dir(env), text)

	case kindReport:
		switch {
		case !isText || text == "":
			return wrong(`a path or "off"`)
		case text == "off":
		case strings.HasSuffix(text, "/"):
			text = resolve(from.dir(env), text) + "/"
		default:
			text = resolve(from.dir(env), text)
		}
		*field.(*string) = text

	case kindLinker:
		if !isText || text == "" {
			return wrong("a program's name or path")
		}
		if strings.Contains(text, "/") {
			text = resolve(from.dir(env), text)
		}
		*field.(*string) = text

	case kindSizeLimit:
		table, ok := v.(map[string]any)
		if !ok {
			return wrong("a table")
		}
		budget, err := parseBudget(table)
		if err != nil {
			return err
		}
		*field.(*[]Budget) = budget
	}
	c.sources[k.Name] = from
	return nil
}

func showValue(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case map[string]any:
		return "{…}"
	case []any, []map[string]any:
		return "[…]"
	default:
		return fmt.Sprint(v)
	}
}

// orList is "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// readEnvironment applies the LEANLINK_… variables. Lists are separated by
// semicolons or newlines, because demangled names hold commas and spaces.
func (c *Config) readEnvironment(env *Environment) error {
	for _, v := range env.Vars {
		name, value, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "LEANLINK_") {
			continue
		}
		switch {
		case name == "LEANLINK_DISABLE", name == timingsVariable, name == profileVariable, name == adviceVariable, name == markWorker, name == markNested,
			// leanlink's own tests
			name == "LEANLINK_REQUIRE_TOOLS", strings.HasPrefix(name, "LEANLINK_TEST_"), strings.HasPrefix(name, "LEANLINK_E2E_"):
			continue
		}
		var key *Key
		names := []string{"LEANLINK_DISABLE", timingsVariable, profileVariable, adviceVariable}
		for i := range Keys {
			if Keys[i].kind == kindSizeLimit {
				continue // a table does not fit into a variable
			}
			names = append(names, Keys[i].variable())
			if Keys[i].variable() == name {
				key = &Keys[i]
			}
		}
		if key == nil {
			return fmt.Errorf("%s: unknown variable; there are %s", name, strings.Join(names, ", "))
		}
		if value == "" {
			continue // set to nothing is not set, as everywhere in shells
		}
		var typed any = value
		switch key.kind {
		case kindBool:
			switch value {
			case "1", "true":
				typed = true
			case "0", "false":
				typed = false
			}
		case kindGlobs:
			list := []any{}
			for _, glob := range strings.FieldsFunc(value, func(r rune) bool { return r == ';' || r == '\n' }) {
				list = append(list, strings.TrimSpace(glob))
			}
			typed = list
		}
		if err := c.set(key, typed, source{path: []string{name}}, env); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
