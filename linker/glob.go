package linker

import (
	"path"
	"strings"
)

// glob is a pattern of a linker's, or of the config's, made ready: * is any
// run of characters, : and / too, ? any one, [!…] what is not listed. What
// can't be read as one matches everything, for more is kept then.
type glob struct {
	prefix  string // the plain text that it begins with
	pattern string // all of it, in the spelling of path.Match
	rest    bool   // there is more than the prefix
	all     bool   // it matches everything
	run     bool   // the rest is one *
}

// globSpelling gives / no meaning, which path.Match would.
var globSpelling = strings.NewReplacer("/", "\x01", "[!", "[^")

func newGlob(p string) glob {
	g := glob{prefix: p, pattern: globSpelling.Replace(p)}
	if k := strings.IndexAny(p, `*?[\`); k >= 0 {
		g.prefix, g.rest, g.run = p[:k], true, p[k:] == "*"
	}
	_, err := path.Match(g.pattern, "")
	g.all = err != nil || p == "*"
	return g
}

func (g *glob) match(name string) bool {
	switch {
	case g.all:
		return true
	case !strings.HasPrefix(name, g.prefix):
		return false
	case !g.rest:
		return name == g.prefix
	case g.run:
		return true
	}
	ok, err := path.Match(g.pattern, strings.ReplaceAll(name, "/", "\x01"))
	return ok || err != nil
}

// globs makes patterns ready.
func globs(patterns []string) []glob {
	list := make([]glob, len(patterns))
	for i, p := range patterns {
		list[i] = newGlob(p)
	}
	return list
}

// globMatch matches one name with one pattern.
func globMatch(p, name string) bool {
	g := newGlob(p)
	return g.match(name)
}

// matcher is a set of globs.
type matcher struct {
	plain map[string]bool // those without anything special
	globs []glob          // the others
}

func newMatcher(patterns []string) matcher {
	m := matcher{plain: map[string]bool{}}
	for _, p := range patterns {
		if g := newGlob(p); g.rest {
			m.globs = append(m.globs, g)
		} else {
			m.plain[p] = true
		}
	}
	return m
}

func (m *matcher) match(name string) bool {
	if m.plain[name] {
		return true
	}
	for i := range m.globs {
		if m.globs[i].match(name) {
			return true
		}
	}
	return false
}
