package plugin

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Files of settings are edited as text, so that comments and order stay. What
// init writes carries a mark, by which --undo finds it again; and each edit is
// decoded and compared with what was meant before anything is written.

// mark ends each line that init writes; a replaced value stands behind it.
const mark = "# cargo size-report init"

// tomlProbe is a value that refuses to be decoded, so that the decoder says on
// which line it stands.
type tomlProbe struct{}

func (*tomlProbe) UnmarshalTOML(any) error { return errors.New("here") }

// tomlLine returns the line, from 0, that the value of a key is on, or -1.
func tomlLine(text string, path []string) int {
	t := reflect.TypeFor[tomlProbe]()
	for i := len(path) - 1; i >= 0; i-- {
		t = reflect.StructOf([]reflect.StructField{{Name: "X", Type: t, Tag: reflect.StructTag("toml:" + strconv.Quote(path[i]))}})
	}
	_, err := toml.Decode(text, reflect.New(t).Interface())
	var at toml.ParseError
	if errors.As(err, &at) {
		return at.Position.Line - 1
	}
	return -1
}

// tomlGet returns the string at a path; ok says that it is there.
func tomlGet(text string, path []string) (value string, ok bool, err error) {
	var root map[string]any
	if _, err := toml.Decode(text, &root); err != nil {
		return "", false, tomlError(err)
	}
	for i, key := range path {
		if i == len(path)-1 {
			value, ok = root[key].(string)
			if root[key] != nil && !ok {
				return "", false, fmt.Errorf("%s is not a string", strings.Join(path, "."))
			}
			return value, ok, nil
		}
		root, _ = root[key].(map[string]any)
	}
	return "", false, nil
}

func tomlError(err error) error {
	var at toml.ParseError
	if errors.As(err, &at) {
		return fmt.Errorf("line %d: %s", at.Position.Line, at.Message)
	}
	return err
}

// tomlSet sets target.TRIPLE.KEY, keeping all else as it is.
func tomlSet(text, triple, key, value string) (string, error) {
	path := []string{"target", triple, key}
	old, ok, err := tomlGet(text, path)
	switch {
	case err != nil:
		return "", err
	case ok && old == value:
		return text, nil
	}
	lines := strings.SplitAfter(text, "\n")
	var edits [][]string
	if ok {
		// The key may have several namesakes on its line; only one edit will
		// turn out to be what was meant.
		n := tomlLine(text, path)
		if n < 0 || n >= len(lines) {
			return "", fmt.Errorf("cannot find the line of %s", strings.Join(path, "."))
		}
		assignment := regexp.MustCompile(`\b` + regexp.QuoteMeta(key) + `\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*')`)
		for _, m := range assignment.FindAllStringSubmatchIndex(lines[n], -1) {
			body, end := strings.TrimRight(lines[n], "\r\n"), lines[n][len(strings.TrimRight(lines[n], "\r\n")):]
			edit := slices.Clone(lines)
			edit[n] = body[:m[2]] + tomlString(value) + body[m[3]:] + " " + mark + ", was " + body[m[2]:m[3]] + end
			edits = append(edits, edit)
		}
	} else {
		line := key + " = " + tomlString(value) + " " + mark + "\n"
		header := regexp.MustCompile(`^\s*\[\s*target\s*\.\s*(?:` + regexp.QuoteMeta(triple) + `|"` + regexp.QuoteMeta(triple) + `"|'` + regexp.QuoteMeta(triple) + `')\s*\]\s*(?:#.*)?\r?\n?$`)
		for n, l := range lines {
			if header.MatchString(l) {
				edit := slices.Clone(lines)
				if !strings.HasSuffix(l, "\n") {
					edit[n] = l + "\n"
				}
				edits = append(edits, slices.Insert(edit, n+1, line))
			}
		}
		end := slices.Clone(lines)
		if last := len(end) - 1; end[last] != "" {
			end[last] += "\n"
		}
		name := triple
		if strings.ContainsRune(triple, '.') {
			name = tomlString(triple)
		}
		edits = append(edits, append(end, "[target."+name+"] "+mark+"\n", line))
	}
	for _, edit := range edits {
		out := strings.Join(edit, "")
		if tomlDiffersOnly(text, out, path, value) {
			return out, nil
		}
	}
	return "", fmt.Errorf("%s stands in a form that is not edited here; set it to %s by hand", strings.Join(path, "."), tomlString(value))
}

// tomlDiffersOnly says whether two texts decode to the same but for the value
// at a path, which is value in the second.
func tomlDiffersOnly(before, after string, path []string, value string) bool {
	var a, b map[string]any
	if _, err := toml.Decode(before, &a); err != nil {
		return false
	}
	if _, err := toml.Decode(after, &b); err != nil {
		return false
	}
	at := a
	for _, key := range path[:len(path)-1] {
		next, ok := at[key].(map[string]any)
		if !ok {
			if at[key] != nil {
				return false
			}
			next = make(map[string]any)
			at[key] = next
		}
		at = next
	}
	at[path[len(path)-1]] = value
	return reflect.DeepEqual(a, b)
}

// tomlUndo takes back what tomlSet did to a text.
func tomlUndo(text string) string {
	var out []string
	for _, l := range strings.SplitAfter(text, "\n") {
		body := strings.TrimRight(l, "\r\n")
		at := strings.LastIndex(body, " "+mark)
		if at < 0 {
			out = append(out, l)
			continue
		}
		was, replaced := strings.CutPrefix(body[at+1+len(mark):], ", was ")
		if !replaced {
			continue // added: a line or a table's header
		}
		assignment := regexp.MustCompile(`\b((?:real-)?linker\s*=\s*)"(?:[^"\\]|\\.)*"`)
		if m := assignment.FindStringSubmatchIndex(body[:at]); m != nil {
			out = append(out, body[:m[3]]+was+body[m[1]:at]+l[len(body):])
			continue
		}
		out = append(out, l)
	}
	return strings.Join(out, "")
}
