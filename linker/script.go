package linker

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A script is what must be known of the linker scripts of a link (-T). The
// real linker alone carries them out. Here they are only read for words:
// every name that they could mean is pinned, whatever they do with it, and
// sections are told apart by which of the scripts' patterns match their names
// and their files'.
type script struct {
	names    map[string]bool // every identifier of the scripts
	roots    []string        // of EXTERN and ENTRY: they pull members out of archives
	patterns []string        // section name patterns, in order of appearance
	keep     []string        // patterns inside KEEP( … )
	files    []string        // file patterns other than *, those of EXCLUDE_FILE among them
	discard  map[int]bool    // which patterns stand for sections of all files in /DISCARD/
	// unread says what the scripts do that is not understood, "" for nothing.
	unread string
}

// isIdentifier reports whether a word can be a symbol's name in a script.
func isIdentifier(w string) bool {
	for i := range len(w) {
		switch c := w[i]; {
		case c == '_', c == '.', c == '$', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return w != ""
}

// readScripts reads the scripts of a command line and what they include.
// The error is that of a script that can't be found: then nothing is known
// of the link.
func readScripts(cl *CommandLine) (*script, error) {
	if len(cl.Scripts) == 0 {
		return nil, nil
	}
	s := &script{names: map[string]bool{}, discard: map[int]bool{}}
	for _, name := range cl.Scripts {
		r := scriptReader{script: s, cl: cl}
		if err := r.read(name, 0); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// scriptReader is the state in which one word of a script is read. It goes on
// in the files that the script includes, which can stand anywhere.
type scriptReader struct {
	*script
	cl     *CommandLine
	braces int
	calls  []string // the word before each open parenthesis
	value  bool     // behind = up to the end of the statement
	before string   // the word before
	gone   bool     // in or before the braces of /DISCARD/
	except bool     // EXCLUDE_FILE makes exceptions to what comes next
}

// read reads one script. Linkers look for it in the working folder, then in
// the folders of -L.
func (r *scriptReader) read(name string, depth int) error {
	if depth > 16 {
		return fmt.Errorf("%s: linker scripts include each other without end", name)
	}
	b, err := readRegular(resolve(r.cl.Dir, name))
	for _, dir := range r.cl.LibraryPaths {
		if err == nil || filepath.IsAbs(name) {
			break
		}
		b, err = readRegular(filepath.Join(resolve(r.cl.Dir, dir), name))
	}
	if err != nil {
		return fmt.Errorf("linker script %s is not found", name)
	}
	words := scriptWords(stripHashes(stripComments(string(b))))
	for i, w := range words {
		if r.before == "INCLUDE" {
			r.before = ""
			if err := r.read(strings.Trim(w, `"`), depth+1); err != nil {
				return err
			}
			continue
		}
		r.word(w, i+1 < len(words) && words[i+1] == "(")
		r.before = w
	}
	return nil
}

// word reads one word; opens says that a parenthesis follows.
func (r *scriptReader) word(w string, opens bool) {
	switch w {
	case "{":
		r.braces++
	case "}":
		r.braces--
		r.gone = false
	case "/DISCARD/":
		r.gone = true
	case "(":
		if r.before == ")" && r.inDescription() {
			r.unread = "a linker script sorts files"
		}
		r.calls = append(r.calls, r.before)
		return
	case ")":
		if n := len(r.calls); n > 0 {
			r.except = r.except && scriptCalls[r.calls[n-1]]
			r.calls = r.calls[:n-1]
		}
		return
	case "=":
		r.value = r.value || len(r.calls) == 0
		return
	}
	if len(r.calls) == 0 && len(w) == 1 && strings.Contains("{};,", w) {
		r.value = false
		return
	}
	switch {
	case opens && r.inDescription() && !scriptCalls[w]:
		r.file(w)
		return
	case opens && addsInputs[w]:
		r.unread = "a linker script adds inputs (" + w + ")"
	case r.in("EXCLUDE_FILE"):
		r.file(w)
		r.except = true
	case !opens && (strings.HasPrefix(w, ".") || strings.ContainsAny(w, "*?[") || r.inSections()):
		if r.gone && r.in("*") && !r.except {
			r.discard[len(r.patterns)] = true
		}
		r.patterns = append(r.patterns, w)
		if r.in("KEEP") {
			r.keep = append(r.keep, w)
		}
	}
	if isIdentifier(w) {
		r.names[w] = true
		if r.in("EXTERN") || r.in("ENTRY") {
			r.roots = append(r.roots, w)
		}
	}
}

// in reports whether the word stands within the parentheses of a command.
func (r *scriptReader) in(call string) bool { return slices.Contains(r.calls, call) }

// inDescription reports whether the word stands where a description of input
// sections can begin: among the statements of an output section, as in
// SECTIONS { .text : { KEEP(*(.init)) *(.text) } }.
func (r *scriptReader) inDescription() bool {
	return r.braces >= 2 && !r.value && !slices.ContainsFunc(r.calls, func(c string) bool { return c != "KEEP" })
}

// inSections reports whether the word stands in the list of sections of such
// a description.
func (r *scriptReader) inSections() bool {
	return r.braces >= 2 && !r.value && slices.ContainsFunc(r.calls, func(c string) bool { return !scriptCalls[c] })
}

// file notes a file pattern.
func (r *scriptReader) file(w string) {
	switch {
	case !r.in("EXCLUDE_FILE") && isIdentifier(w):
		r.unread = "a linker script names a file" // GNU ld makes it an input
	case strings.HasPrefix(w, `"`), r.before != "" && strings.HasPrefix(r.before, `"`) && strings.HasPrefix(w, ":"):
		r.unread = "a linker script has a file's name in quotes"
	case w != "*" && w != "," && !slices.Contains(r.files, w):
		r.files = append(r.files, w)
	}
}

// addsInputs are the commands of a script that bring files into the link.
var addsInputs = map[string]bool{"INPUT": true, "GROUP": true, "STARTUP": true}

// scriptCalls are the words that can stand before a parenthesis within an
// output section and are no file pattern.
var scriptCalls = func() map[string]bool {
	m := map[string]bool{"": true}
	for _, w := range strings.Fields(`
		KEEP EXCLUDE_FILE INPUT_SECTION_FLAGS SORT SORT_NONE SORT_BY_NAME SORT_BY_ALIGNMENT SORT_BY_INIT_PRIORITY REVERSE
		ABSOLUTE ADDR ALIGN ALIGNOF ALIGN_WITH_INPUT ASCIZ ASSERT AT BLOCK BYTE CLASS CONSTANT DATA_SEGMENT_ALIGN DATA_SEGMENT_END
		DATA_SEGMENT_RELRO_END DEFINED ENTRY EXTERN FILL HIDDEN LENGTH LOADADDR LOG2CEIL LONG MAX MIN NEXT NOLOAD ONLY_IF_RO
		ONLY_IF_RW ORIGIN PROVIDE PROVIDE_HIDDEN QUAD REGION_ALIAS SECTION_CLASS SEGMENT_START SHORT SIZEOF SIZEOF_HEADERS SQUAD SUBALIGN TYPE`) {
		m[w] = true
	}
	return m
}()

// stripHashes removes lld's other kind of comments, from # at the beginning of
// a word to the line's end.
func stripHashes(s string) string {
	kept := make([]byte, 0, len(s))
	for len(s) > 0 {
		k := strings.IndexByte(s, '#')
		if k < 0 {
			break
		}
		kept = append(kept, s[:k]...)
		s = s[k:]
		if n := len(kept); n > 0 && strings.IndexByte(" \t\n\f\r", kept[n-1]) < 0 {
			kept, s = append(kept, '#'), s[1:]
			continue
		}
		if k = strings.IndexByte(s, '\n'); k < 0 {
			k = len(s)
		}
		s = s[k:]
	}
	return string(append(kept, s...))
}

// class tells section names apart by the patterns that they match.
func (s *script) class() func(name string) string {
	var mu sync.RWMutex // several threads ask
	classes := map[string]string{}
	set := newGlobSet(s.patterns)
	return func(name string) string {
		var space [8]int32
		matches := set.matches(space[:0], name)
		slices.Sort(matches)
		// What no pattern tells apart is told apart by its first component.
		first := name
		if len(name) > 1 {
			if k := strings.IndexByte(name[1:], '.'); k >= 0 {
				first = name[:k+1]
			}
		}
		var text [128]byte
		class := append(append(text[:0], first...), ' ')
		for _, i := range matches {
			if s.patterns[i] != "*" {
				class = append(strconv.AppendInt(class, int64(i), 10), ' ')
			}
		}
		mu.RLock()
		c, ok := classes[string(class)]
		mu.RUnlock()
		if !ok {
			c = string(class)
			mu.Lock()
			classes[c] = c
			mu.Unlock()
		}
		return c
	}
}

// discards matches what the scripts throw away, and give no other place.
func (s *script) discards() func(name string) bool {
	set := newGlobSet(s.patterns)
	return func(name string) bool {
		var space [8]int32
		matches := set.matches(space[:0], name)
		return len(matches) > 0 && !slices.ContainsFunc(matches, func(i int32) bool { return !s.discard[int(i)] })
	}
}

// keeps matches what the scripts keep whatever refers to it.
func (s *script) keeps() func(name string) bool { return newGlobSet(s.keep).match }
