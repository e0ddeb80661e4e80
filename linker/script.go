package linker

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// A script is what must be known of the linker scripts of a link (-T). The
// real linker alone carries them out. Here they are only read for words:
// every name that they could mean is pinned, whatever they do with it, and
// section names are told apart by which of the scripts' patterns they match.
type script struct {
	names    map[string]bool // every identifier of the scripts
	roots    []string        // of EXTERN and ENTRY: they pull members out of archives
	patterns []string        // section name patterns, in order of appearance
	keep     []string        // patterns inside KEEP( … )
	byFile   bool            // some pattern chooses by file name
}

// identifier is a symbol's name in a script.
var identifier = regexp.MustCompile(`^[A-Za-z_.$][A-Za-z0-9_.$]*$`)

// readScripts reads the scripts of a command line and what they include.
// The error is that of a script that can't be found: then nothing is known
// of the link.
func readScripts(cl *CommandLine) (*script, error) {
	if len(cl.Scripts) == 0 {
		return nil, nil
	}
	s := &script{names: map[string]bool{}}
	for _, name := range cl.Scripts {
		if err := s.read(cl, name, 0); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// read adds one script. Linkers look for it in the working folder, then in
// the folders of -L.
func (s *script) read(cl *CommandLine, name string, depth int) error {
	if depth > 16 {
		return fmt.Errorf("%s: linker scripts include each other without end", name)
	}
	b, err := readRegular(resolve(cl.Dir, name))
	for _, dir := range cl.LibraryPaths {
		if err == nil || filepath.IsAbs(name) {
			break
		}
		b, err = readRegular(filepath.Join(resolve(cl.Dir, dir), name))
	}
	if err != nil {
		return fmt.Errorf("linker script %s is not found", name)
	}
	words := scriptWords(stripComments(string(b)))
	var calls []string // the word before each open parenthesis
	for i, w := range words {
		in := func(call string) bool {
			for _, c := range calls {
				if c == call {
					return true
				}
			}
			return false
		}
		switch w {
		case "(":
			before := ""
			if i > 0 {
				before = words[i-1]
			}
			calls = append(calls, before)
			if i > 1 && isFilePattern(before) && in("") == false {
				s.byFile = s.byFile || chooses(before)
			}
			continue
		case ")":
			if len(calls) > 0 {
				calls = calls[:len(calls)-1]
			}
			continue
		}
		if i > 0 && words[i-1] == "INCLUDE" {
			if err := s.read(cl, strings.Trim(w, `"`), depth+1); err != nil {
				return err
			}
			continue
		}
		file := i+1 < len(words) && words[i+1] == "(" // what precedes the sections is a file
		if !file && (strings.HasPrefix(w, ".") || strings.ContainsAny(w, "*?[")) {
			s.patterns = append(s.patterns, w)
			if in("KEEP") {
				s.keep = append(s.keep, w)
			}
			if in("EXCLUDE_FILE") {
				s.byFile = s.byFile || chooses(w)
			}
		}
		if identifier.MatchString(w) {
			s.names[w] = true
			if in("EXTERN") || in("ENTRY") {
				s.roots = append(s.roots, w)
			}
		}
	}
	return nil
}

// isFilePattern: what stands before the sections of an input description.
func isFilePattern(w string) bool {
	return strings.ContainsAny(w, "*?[:") && !strings.HasPrefix(w, ".")
}

// chooses reports whether a file pattern tells this link's files apart. C
// start files do not count: they are never changed.
func chooses(w string) bool {
	return w != "*" && !regexp.MustCompile(`^\*?crt[a-z0-9]*[?*]?\.o$`).MatchString(w)
}

// class tells section names apart by the patterns that they match.
func (s *script) class() func(name string) string {
	cache := map[string]string{}
	return func(name string) string {
		if c, ok := cache[name]; ok {
			return c
		}
		var b strings.Builder
		for i, p := range s.patterns {
			if p == "*" {
				continue
			}
			if ok, err := path.Match(p, name); ok || err != nil {
				fmt.Fprintf(&b, "%d ", i)
			}
		}
		// What no pattern tells apart is told apart by its first component.
		first := name
		if len(name) > 1 {
			if k := strings.IndexByte(name[1:], '.'); k >= 0 {
				first = name[:k+1]
			}
		}
		c := first + " " + b.String()
		cache[name] = c
		return c
	}
}

// keeps matches what the scripts keep whatever refers to it.
func (s *script) keeps() func(name string) bool {
	m := newMatcher(s.keep)
	return m.match
}
