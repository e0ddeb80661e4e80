package linker

import (
	"errors"
	"strings"
)

// Scripts choose sections by their files, too: *libfoo.a:(.text) is what lies
// in that archive, EXCLUDE_FILE(*bar.o) what does not lie in such a file. Which
// patterns match a file is part of what tells its sections apart, and the file
// that takes its place must match the same.

// scriptFile is a file of the link as a script's patterns see it.
type scriptFile struct {
	archive string // its path, "" of a plain object
	name    string // the member's name, or the object's path
}

// fileClass tells files apart by the patterns that match them, with whichever
// linker, be it in a description of sections or in EXCLUDE_FILE.
func (s *script) fileClass(f scriptFile) string {
	if s == nil || len(s.files) == 0 {
		return ""
	}
	b := make([]byte, 0, 4*len(s.files))
	for _, p := range s.files {
		for _, ok := range [...]bool{matchLLD(p, f), matchGNU(p, f), globMatch(p, f.word()), f.archive != "" && globMatch(p, f.archive)} {
			if ok {
				b = append(b, '+')
			} else {
				b = append(b, '-')
			}
		}
	}
	return string(b)
}

// word is the name that lld matches: the path, or ARCHIVE:MEMBER.
func (f scriptFile) word() string {
	if f.archive != "" {
		return f.archive + ":" + f.name
	}
	return f.name
}

// matchLLD: ARCHIVE: is all of an archive, :FILE no member of any. In
// EXCLUDE_FILE these are words like any other.
func matchLLD(p string, f scriptFile) bool {
	if archive, whole := strings.CutSuffix(p, ":"); whole {
		return f.archive != "" && globMatch(archive, f.archive)
	}
	if file, plain := strings.CutPrefix(p, ":"); plain {
		return f.archive == "" && globMatch(file, f.name)
	}
	return globMatch(p, f.word())
}

// matchGNU: the two sides of a colon are an archive and a member; without one
// a pattern is matched against a path or a member's name, in EXCLUDE_FILE also
// against an archive's path.
func matchGNU(p string, f scriptFile) bool {
	archive, file, parted := strings.Cut(p, ":")
	if !parted {
		return globMatch(p, f.name)
	}
	return (file == "" || globMatch(file, f.name)) && (archive != "") == (f.archive != "") && (archive == "" || globMatch(archive, f.archive))
}

// fileClasses tells the objects of the link apart; indexed in link order.
func (p *preparation) fileClasses() []string {
	var classes []string
	for i := range p.in.files {
		f := &p.in.files[i]
		for name := range f.objects() {
			classes = append(classes, p.script.fileClass(f.scriptFile(name)))
		}
	}
	return classes
}

// scriptFile is one of the objects of a file as scripts see it. An object
// between --start-lib and --end-lib is no archive's member to them.
func (f *inputFile) scriptFile(name string) scriptFile {
	switch {
	case f.object != nil, f.input.StartLib:
		return scriptFile{name: f.input.Path}
	}
	return scriptFile{f.input.Path, name}
}

// errFileNames: what takes a file's place would match other patterns.
var errFileNames = errors.New("a linker script chooses by file names that would change")

// sameFiles reports whether the scripts take the new files for the ones that
// they replace.
func (p *preparation) sameFiles(files []newFile) bool {
	for i := range files {
		n := &files[i]
		for k := range n.objects {
			was, is := n.objects[k].from, scriptFile{name: n.path}
			if n.archive != "" {
				is = scriptFile{n.path, was.name}
			}
			if p.script.fileClass(was) != p.script.fileClass(is) {
				return false
			}
		}
	}
	return true
}
