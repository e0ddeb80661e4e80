package linker

import (
	"fmt"
	"strings"
)

// exportList is what a version script or dynamic list says of which names
// leave the output.
type exportList struct {
	global, local []string // patterns as in fnmatch
	// everything: a form that is not understood; every name may be exported.
	everything bool
}

// readExportList reads a version script (local: names stay inside, others
// leave) or a dynamic list (only its names leave).
//
//	{ global: a; b*; local: *; };   VERS_2 { … } VERS_1;   { a; b; };
func readExportList(file string, list *exportList) error {
	b, err := readRegular(file)
	if err != nil {
		return err
	}
	words := scriptWords(stripComments(stripLineComments(string(b))))
	depth, local := 0, false
	for i, w := range words {
		switch {
		case w == "{":
			depth++
			local = false
		case w == "}":
			depth--
		case w == "extern":
			list.everything = true // extern "C++" { demangled patterns }
		case depth == 0 || w == ";":
		case w == "global:" || w == "global" && i+1 < len(words) && words[i+1] == ":":
			local = false
		case w == "local:" || w == "local" && i+1 < len(words) && words[i+1] == ":":
			local = true
		case w == ":":
		case local:
			list.local = append(list.local, strings.Trim(w, `"`))
		default:
			list.global = append(list.global, strings.Trim(w, `"`))
		}
	}
	if depth != 0 {
		return fmt.Errorf("%s: braces do not match", file)
	}
	return nil
}

// stripLineComments removes # comments, which version scripts may have.
func stripLineComments(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if k := strings.IndexByte(l, '#'); k >= 0 {
			lines[i] = l[:k]
		}
	}
	return strings.Join(lines, "\n")
}

// scriptWords splits a linker script into words and single punctuation.
func scriptWords(s string) (words []string) {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '"':
			k := strings.IndexByte(s[i+1:], '"')
			if k < 0 {
				return append(words, s[i:])
			}
			words = append(words, s[i:i+k+2])
			i += k + 2
		case strings.IndexByte("{}();,=", c) >= 0:
			words = append(words, s[i:i+1])
			i++
		default:
			k := i
			for k < len(s) && strings.IndexByte(" \t\r\n\"{}();,=", s[k]) < 0 {
				k++
			}
			words = append(words, s[i:k])
			i = k
		}
	}
	return words
}

// exports decides which names leave the output, nil if none do but those
// that something outside wants.
func exports(cl *CommandLine) (func(name string) bool, error) {
	if cl.ExportDynamic {
		return func(string) bool { return true }, nil
	}
	var dynamic exportList
	dynamic.global = append(dynamic.global, cl.ExportDynamicSymbols...)
	for _, f := range cl.DynamicLists {
		if err := readExportList(resolve(cl.Dir, f), &dynamic); err != nil {
			return nil, err
		}
	}
	if !cl.Shared {
		if dynamic.everything {
			return func(string) bool { return true }, nil
		}
		m := newMatcher(dynamic.global)
		return m.match, nil
	}
	var versions exportList
	for _, f := range cl.VersionScripts {
		if err := readExportList(resolve(cl.Dir, f), &versions); err != nil {
			return nil, err
		}
	}
	if versions.everything {
		return func(string) bool { return true }, nil
	}
	global, local := newMatcher(append(versions.global, dynamic.global...)), newMatcher(versions.local)
	return func(name string) bool { return global.match(name) || !local.match(name) }, nil
}
