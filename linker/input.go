package linker

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"leanlink/merge"
	"leanlink/objfile"
)

// inputs holds what a link reads, in command line order.
type inputs struct {
	cl     *CommandLine
	files  []inputFile
	wanted map[string]bool // names that something outside the objects refers to
	// pinAll: some input could name anything.
	pinAll bool
	// unknown: some library of the link is not to be seen from here.
	unknown bool
	libs    map[string]bool // shared objects seen, by path
}

// inputFile is one input of the command line, opened.
type inputFile struct {
	input   *Input
	object  *objfile.File    // a relocatable object
	archive *objfile.Archive // an archive
	members []*merge.Member  // of the archive
	shared  *objfile.File
	reason  string // why it is left alone, "" otherwise
}

// mapFile maps a file for reading. An empty file gives an empty slice.
func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	if info.Size() == 0 {
		return nil, nil
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be mapped: %w", path, err)
	}
	return b, nil
}

// readInputs opens every input of the link. What is not an object, archive
// or shared object is left alone.
func readInputs(cl *CommandLine) (*inputs, error) {
	in := &inputs{cl: cl, wanted: map[string]bool{}, libs: map[string]bool{}}
	for k := range cl.Inputs {
		file := inputFile{input: &cl.Inputs[k]}
		if err := in.open(&file); err != nil {
			return nil, err
		}
		in.files = append(in.files, file)
	}
	return in, nil
}

func (in *inputs) open(file *inputFile) error {
	path := file.input.Path
	if path == "" {
		file.reason, in.unknown = "library not found", true
		return nil
	}
	b, err := mapFile(path)
	if err != nil {
		return err
	}
	switch {
	case file.input.Format != "":
		file.reason = "not in an object format (-b " + file.input.Format + ")"
	case file.input.JustSymbols:
		file.reason = "only its symbols are used"
		return in.pinNames(path, b)
	case objfile.IsArchive(b):
		file.archive, err = objfile.ParseArchive(path, b)
		if err != nil {
			return err
		}
		return in.readMembers(file)
	case objfile.IsBitcode(b):
		file.reason, in.pinAll = "bitcode", true
	case objfile.FileType(b) == objfile.ET_REL && file.input.StartLib:
		// Between --start-lib and --end-lib an object is extracted as if it
		// were an archive's member.
		a := &objfile.Archive{Name: path, Members: []objfile.Member{{Name: filepath.Base(path), Data: b}}}
		file.archive = a
		return in.readMembers(file)
	case objfile.FileType(b) == objfile.ET_REL:
		file.object, err = objfile.Parse(path, b)
		return err
	case objfile.FileType(b) == objfile.ET_DYN:
		return in.readShared(file, path, b)
	case objfile.IsELF(b):
		file.reason = "an ELF file of another kind"
		in.pinAll = true
	default:
		file.reason = "a linker script"
		return in.readScript(path, b)
	}
	return nil
}

// pinNames takes every symbol of an object as wanted.
func (in *inputs) pinNames(path string, b []byte) error {
	f, err := objfile.Parse(path, b)
	if err != nil {
		return err
	}
	for i := f.FirstGlobal; i < f.NumSymbols; i++ {
		in.wanted[f.SymbolName(i)] = true
	}
	return nil
}

func (in *inputs) readShared(file *inputFile, path string, b []byte) error {
	f, err := objfile.Parse(path, b)
	if err != nil {
		return err
	}
	file.shared = f
	in.libs[path] = true
	for i := f.FirstGlobal; i < f.NumSymbols; i++ {
		// Names that it defines are wanted as well: the program's definition
		// of such a name takes the library's place at run time.
		in.wanted[f.SymbolName(i)] = true
	}
	return nil
}

// scriptFile finds what a GNU ld script such as libc.so names in GROUP and
// INPUT: words that are paths.
var scriptFile = regexp.MustCompile(`[^\s()]*/[^\s()]+\.(?:so|a)[^\s()]*`)

// readScript reads a linker script given as an input, as libc.so is on
// Linux. The real linker reads it again; here only the names that its files
// refer to count.
func (in *inputs) readScript(path string, b []byte) error {
	if bytes.IndexByte(b[:min(len(b), 4096)], 0) >= 0 {
		return fmt.Errorf("%s: neither an object, an archive, a shared object nor a script", path)
	}
	for _, name := range scriptFile.FindAllString(stripComments(string(b)), -1) {
		data, err := mapFile(name)
		if err != nil {
			in.unknown = true // relative to a folder that only the linker knows
			continue
		}
		switch {
		case objfile.FileType(data) == objfile.ET_DYN && !in.libs[name]:
			f := inputFile{}
			if err := in.readShared(&f, name, data); err != nil {
				return err
			}
		case objfile.IsArchive(data):
			a, err := objfile.ParseArchive(name, data)
			if err != nil {
				return err
			}
			for _, m := range a.Members {
				if objfile.FileType(m.Data) == objfile.ET_REL {
					if err := in.pinNames(name, m.Data); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// stripComments removes the comments of a linker script.
func stripComments(s string) string {
	for {
		a := strings.Index(s, "/*")
		if a < 0 {
			return s
		}
		b := strings.Index(s[a+2:], "*/")
		if b < 0 {
			return s[:a]
		}
		s = s[:a] + " " + s[a+2+b+2:]
	}
}

// readMembers lists the members of an archive with the symbols that extract
// them: by its index, or by the members' own symbol tables where it has
// none.
func (in *inputs) readMembers(file *inputFile) error {
	a := file.archive
	file.members = make([]*merge.Member, len(a.Members))
	for i := range a.Members {
		m := &a.Members[i]
		name := fmt.Sprintf("%s(%s)", a.Name, m.Name)
		data := m.Data
		if a.Thin {
			var err error
			if data, err = mapFile(m.Path); err != nil {
				return err
			}
		}
		file.members[i] = &merge.Member{Name: m.Name, Parse: func() (*objfile.File, error) {
			switch {
			case objfile.IsBitcode(data):
				in.pinAll = true
				return nil, nil
			case objfile.FileType(data) != objfile.ET_REL || isMetadata(m.Name):
				return nil, nil
			}
			return objfile.Parse(name, data)
		}}
	}
	if a.Symbols != nil {
		for _, s := range a.Symbols {
			m := file.members[s.Member]
			m.Defines = append(m.Defines, s.Name)
		}
		return nil
	}
	for i := range a.Members {
		m := file.members[i]
		f, err := m.Parse()
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		for k := f.FirstGlobal; k < f.NumSymbols; k++ {
			if s := f.Symbol(k); s.Section != objfile.SecUndef {
				m.Defines = append(m.Defines, f.NameOf(&s))
			}
		}
	}
	return nil
}

// isMetadata recognises the member of an rlib that only rustc reads; it is
// an ELF file, too.
func isMetadata(member string) bool { return filepath.Base(member) == "lib.rmeta" }

// resolverInputs is the form in which symbol resolution wants the inputs.
func (in *inputs) resolverInputs() []merge.Input {
	out := make([]merge.Input, 0, len(in.files))
	for i := range in.files {
		f := &in.files[i]
		out = append(out, merge.Input{File: f.object, Members: f.members, Whole: f.input.WholeArchive, Group: f.input.Group, Shared: f.shared})
	}
	return out
}
