package linker

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"leanlink/linker/debuginfo"
	"leanlink/merge"
	"leanlink/objfile"
)

// inputs holds what a link reads, in command line order.
type inputs struct {
	cl     *CommandLine
	files  []inputFile
	mapped mappings
	start  []*objfile.File // what the driver adds before them
	wanted map[string]bool // names that something outside the objects refers to
	// pinAll: some input could name anything.
	pinAll bool
	// bytecode: some object has GCC's, which only lld does not compile.
	bytecode bool
	// scripted is the path of a linker script that does more than name files,
	// "" if there is none.
	scripted string
	// unknown: some library of the link is not to be seen from here.
	unknown bool
	dirs    func() []string   // where libraries are looked for
	libs    map[string]bool   // files of scripts seen, by path
	debug   *debuginfo.Reader // is told of objects that take part; nil if the linker joins debug information
	// fileOf is the place in files of each input of resolverInputs, those of
	// start left out.
	fileOf []int
}

// arrange puts the files and members into the order in which the linker comes
// by them: a member belongs behind what was being read when it was extracted.
func (in *inputs) arrange() {
	type arrival struct{ file, rank int }
	came := make([][]*merge.Member, len(in.files)) // by the place in files of what was being read
	from := map[*merge.Member]arrival{}
	for i := range in.files {
		for _, m := range in.files[i].members {
			if m.File() == nil {
				continue
			}
			during, rank := m.Extracted()
			at := in.fileOf[max(during-len(in.start), 0)]
			came[at] = append(came[at], m)
			from[m] = arrival{i, rank}
		}
	}
	var files []inputFile
	for i := range in.files {
		f := in.files[i]
		rest := slices.DeleteFunc(slices.Clone(f.members), func(m *merge.Member) bool { return m.File() != nil })
		f.members = nil
		own := len(files)
		files = append(files, f)
		slices.SortFunc(came[i], func(a, b *merge.Member) int { return cmp.Compare(from[a].rank, from[b].rank) })
		for _, m := range came[i] {
			if a := &in.files[from[m].file]; files[len(files)-1].input != a.input {
				files = append(files, inputFile{input: a.input, archive: a.archive, moved: true})
			}
			last := &files[len(files)-1]
			last.members = append(last.members, m)
		}
		files[own].members = append(files[own].members, rest...)
	}
	in.files = files
}

// inputFile is one input of the command line, opened.
type inputFile struct {
	input   *Input
	object  *objfile.File    // a relocatable object
	archive *objfile.Archive // an archive
	members []*merge.Member  // of the archive
	shared  *objfile.File
	nested  []inputFile // what a linker script among the inputs names
	// moved: more members of an archive, which were extracted while the file
	// before was being read. See arrange.
	moved  bool
	reason string // why it is left alone, "" otherwise
}

// readInputs finds and opens every input of the link; dirs are where the real
// linker looks for libraries by itself. What is not an object, archive or
// shared object is left alone.
func readInputs(cl *CommandLine, dirs func() []string, debug *debuginfo.Reader) (*inputs, error) {
	in := &inputs{cl: cl, debug: debug, wanted: map[string]bool{}, libs: map[string]bool{}}
	in.dirs = func() []string { return slices.Concat(cl.LibraryPaths, dirs()) }
	// What does not depend on the other inputs is done for several at once,
	// while the driver says where libraries are.
	opened := make([]openedFile, len(cl.Inputs))
	var g errgroup.Group
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	begun := make([]bool, len(cl.Inputs))
	begin := func() {
		for k := range opened {
			if path := cl.Inputs[k].Path; path != "" && !begun[k] {
				begun[k] = true
				g.Go(func() error {
					opened[k] = in.mapped.read(resolve(cl.Dir, path), path)
					return nil // faults count in the order of the inputs
				})
			}
		}
	}
	begin()
	cl.findLibraries(dirs)
	begin()
	start, err := startFiles(cl, in.dirs(), &in.mapped)
	g.Wait()
	if err != nil {
		return nil, err
	}
	in.start = start
	for _, f := range in.start {
		in.want(f)
	}
	for k := range cl.Inputs {
		file := inputFile{input: &cl.Inputs[k]}
		if err := in.open(&file, &opened[k]); err != nil {
			return nil, err
		}
		in.files = append(in.files, file)
	}
	return in, nil
}

// openedFile is a file that was mapped and, if it is an archive or an ELF file
// that links know, parsed.
type openedFile struct {
	image   []byte
	archive *objfile.Archive
	elf     *objfile.File
	// err is why it could not be mapped, bad what is wrong with it.
	err, bad error
}

// read maps and parses the file at path; name is what errors call it.
func (m *mappings) read(path, name string) (f openedFile) {
	if f.image, f.err = m.open(path); f.err != nil {
		return f
	}
	switch {
	case objfile.IsArchive(f.image):
		f.archive, f.bad = objfile.ParseArchive(name, f.image)
	case objfile.FileType(f.image) == objfile.ET_REL || objfile.FileType(f.image) == objfile.ET_DYN:
		f.elf, f.bad = objfile.Parse(name, f.image)
	}
	return f
}

func (in *inputs) open(file *inputFile, opened *openedFile) (err error) {
	path := file.input.Path
	if path == "" {
		file.reason, in.unknown = "library not found", true
		return nil
	}
	if opened.err != nil {
		return opened.err
	}
	b := opened.image
	switch {
	case file.input.Format != "":
		file.reason = "not in an object format (-b " + file.input.Format + ")"
	case file.input.JustSymbols:
		file.reason = "only its symbols are used"
		return in.pinNames(path, b)
	case objfile.FileType(b) == objfile.ET_REL && file.input.StartLib:
		// Between --start-lib and --end-lib an object is extracted as if it
		// were an archive's member.
		a := &objfile.Archive{Name: path, Members: []objfile.Member{{Name: filepath.Base(path), Data: b}}}
		file.archive = a
		return in.readMembers(file)
	case opened.bad != nil:
		return opened.bad
	case opened.archive != nil:
		file.archive = opened.archive
		return in.readMembers(file)
	case objfile.IsBitcode(b):
		file.reason, in.pinAll = "bitcode", true
	case objfile.FileType(b) == objfile.ET_REL:
		file.object = opened.elf
		in.noteBytecode(file.object)
		in.debug.Add(file.object)
	case objfile.FileType(b) == objfile.ET_DYN:
		in.readShared(file, opened.elf)
	case objfile.IsELF(b):
		file.reason = "an ELF file of another kind"
		in.pinAll = true
	default:
		file.reason = "a linker script"
		return in.readScript(file, path, b)
	}
	return nil
}

// noteBytecode notes whether an object has GCC's bytecode.
func (in *inputs) noteBytecode(f *objfile.File) {
	for i := range f.Sections {
		in.bytecode = in.bytecode || strings.HasPrefix(f.Sections[i].Name, ".gnu.lto_")
	}
}

// pinNames takes every symbol of an object as wanted.
func (in *inputs) pinNames(path string, b []byte) error {
	f, err := objfile.Parse(path, b)
	if err != nil {
		return err
	}
	in.want(f)
	return nil
}

// want takes the names that a file defines or refers to as wanted.
func (in *inputs) want(f *objfile.File) {
	if len(in.wanted) == 0 {
		in.wanted = make(map[string]bool, f.NumSymbols) // a C library has thousands
	}
	for i := f.FirstGlobal; i < f.NumSymbols; i++ {
		in.wanted[f.SymbolName(i)] = true
	}
}

func (in *inputs) readShared(file *inputFile, f *objfile.File) {
	file.shared = f
	// Names that it defines are wanted as well: the program's definition of such
	// a name takes the library's place at run time.
	in.want(f)
}

// readScript reads a linker script given as an input, as libc.so and
// libgcc_s.so are on Linux: the files that INPUT and GROUP name take part in
// the link. The real linker reads it again; here its files only count as
// definers and users of names.
func (in *inputs) readScript(file *inputFile, path string, b []byte) error {
	if bytes.IndexByte(b[:min(len(b), 4096)], 0) >= 0 {
		return fmt.Errorf("%s: neither an object, an archive, a shared object nor a script", path)
	}
	var calls []string
	words := scriptWords(stripComments(string(b)))
	for i, w := range words {
		switch {
		case w == "(":
			calls = append(calls, words[max(i-1, 0)])
		case w == ")":
			calls = calls[:max(len(calls)-1, 0)]
		case len(calls) == 0 && w != ";" && (!namesFiles[w] || i+1 == len(words) || words[i+1] != "("):
			in.scripted = path // it defines symbols or places sections
		case w == "," || i+1 < len(words) && words[i+1] == "(":
		case slices.ContainsFunc(calls, func(c string) bool { return c == "INPUT" || c == "GROUP" }):
			if err := in.readNested(file, filepath.Dir(path), strings.Trim(w, `"`)); err != nil {
				return err
			}
		}
	}
	return nil
}

// namesFiles are the commands of a script that does nothing but name files.
var namesFiles = map[string]bool{"INPUT": true, "GROUP": true, "OUTPUT_FORMAT": true, "OUTPUT_ARCH": true, "TARGET": true, "SEARCH_DIR": true}

// readNested opens one file that a script names, looked for in the script's
// folder and where libraries are.
func (in *inputs) readNested(file *inputFile, dir, name string) error {
	path := ""
	if lib, ok := strings.CutPrefix(name, "-l"); ok {
		path = in.cl.findLibrary(&Input{Library: lib}, in.dirs())
	} else if filepath.IsAbs(name) {
		for _, p := range []string{in.cl.Sysroot + name, name} {
			if path == "" && exists(p) {
				path = p
			}
		}
	} else {
		path = in.cl.findLibrary(&Input{Library: ":" + name}, append([]string{dir}, in.dirs()...))
	}
	if path == "" {
		in.unknown = true
		return nil
	}
	if in.libs[path] {
		return nil
	}
	in.libs[path] = true
	opened := in.mapped.read(resolve(in.cl.Dir, path), path)
	if opened.err != nil {
		return opened.err
	}
	if opened.bad != nil {
		return opened.bad
	}
	nested := inputFile{input: &Input{Path: path, Group: file.input.Group}}
	switch {
	case objfile.FileType(opened.image) == objfile.ET_DYN:
		in.readShared(&nested, opened.elf)
	case opened.archive != nil:
		nested.archive = opened.archive
		if err := in.readMembers(&nested); err != nil {
			return err
		}
		for _, m := range nested.archive.Members {
			if objfile.FileType(m.Data) == objfile.ET_REL {
				if err := in.pinNames(path, m.Data); err != nil {
					return err
				}
			}
		}
	case opened.elf != nil:
		in.want(opened.elf)
	default:
		in.unknown = true
	}
	file.nested = append(file.nested, nested)
	return nil
}

// stripComments removes the comments of a linker script.
func stripComments(s string) string {
	kept := make([]byte, 0, len(s))
	for {
		a := strings.Index(s, "/*")
		if a < 0 {
			return string(append(kept, s...))
		}
		kept = append(kept, s[:a]...)
		b := strings.Index(s[a+2:], "*/")
		if b < 0 {
			return string(kept)
		}
		kept, s = append(kept, ' '), s[a+2+b+2:]
	}
}

// readMembers lists the members of an archive with the symbols that extract
// them: by its index, or by the members' own symbol tables where it has
// none.
func (in *inputs) readMembers(file *inputFile) error {
	a := file.archive
	file.members = make([]*merge.Member, len(a.Members))
	members := make([]merge.Member, len(a.Members))
	for i := range a.Members {
		m := &a.Members[i]
		data := m.Data
		if a.Thin {
			var err error
			if data, err = in.mapped.open(resolve(in.cl.Dir, m.Path)); err != nil {
				return err
			}
		}
		parse := func() (*objfile.File, error) {
			if objfile.FileType(data) != objfile.ET_REL || isMetadata(m.Name) {
				return nil, nil
			}
			return objfile.Parse(a.Name+"("+m.Name+")", data)
		}
		note := func(f *objfile.File) {
			if f != nil {
				in.noteBytecode(f)
			} else if objfile.IsBitcode(data) {
				in.pinAll = true
			}
		}
		taken := func(f *objfile.File) {
			if note(f); f != nil {
				in.debug.Add(f)
			}
		}
		file.members[i] = &members[i]
		members[i].Name, members[i].Parse, members[i].Taken = m.Name, parse, taken
		members[i].Likely = isLikely(m.Name, len(data)) && a.Symbols != nil
		if a.Symbols == nil {
			f, err := parse()
			if err != nil {
				return err
			}
			note(f)
			members[i].Defines = definedNames(f)
		}
	}
	count := make([]int32, len(members))
	for _, s := range a.Symbols {
		count[s.Member]++
	}
	names := make([]string, len(a.Symbols))
	for i, n := range count {
		if n > 0 {
			members[i].Defines, names = names[:0:n], names[n:]
		}
	}
	for _, s := range a.Symbols {
		m := &members[s.Member]
		m.Defines = append(m.Defines, s.Name)
	}
	return nil
}

// isLikely reports whether a member of an archive is read before anything is
// known to want it: a large one that rustc compiled. Of 808 such in four links
// (hello world, ripgrep, a server and a firmware) 773 take part, of all other
// members 165 of 1,547. A library of another language can be of any size, and
// little of it in use.
func isLikely(name string, size int) bool {
	return size >= 64<<10 && strings.HasSuffix(name, ".rcgu.o")
}

// definedNames lists the names that an object defines for others.
func definedNames(f *objfile.File) (names []string) {
	if f == nil {
		return nil
	}
	for k := f.FirstGlobal; k < f.NumSymbols; k++ {
		if s := f.Symbol(k); s.Section != objfile.SecUndef {
			names = append(names, f.NameOf(&s))
		}
	}
	return names
}

// objects goes through the objects of a file that take part in the link, with
// the names of their files.
func (f *inputFile) objects() iter.Seq2[string, *objfile.File] {
	return func(yield func(string, *objfile.File) bool) {
		if f.object != nil {
			yield(f.input.Path, f.object)
			return
		}
		for _, m := range f.members {
			if o := m.File(); o != nil && !yield(m.Name, o) {
				return
			}
		}
	}
}

// isMetadata recognises the member of an rlib that only rustc reads; it is
// an ELF file, too.
func isMetadata(member string) bool { return filepath.Base(member) == "lib.rmeta" }

// resolverInputs is the form in which symbol resolution wants the inputs.
func (in *inputs) resolverInputs() []merge.Input {
	out := make([]merge.Input, 0, len(in.start)+len(in.files))
	in.fileOf = in.fileOf[:0]
	for _, f := range in.start {
		out = append(out, merge.Input{File: f})
	}
	lib := 1 << 30 // numbers --start-lib … --end-lib: all in it is searched as one archive is
	for i := range in.files {
		f := &in.files[i]
		for range 1 + len(f.nested) {
			in.fileOf = append(in.fileOf, i)
		}
		group := f.input.Group
		if f.input.StartLib {
			if i == 0 || in.files[i-1].input.Arg+in.files[i-1].input.NArgs != f.input.Arg {
				lib++
			}
			group = lib
		}
		out = append(out, merge.Input{File: f.object, Members: f.members, Whole: f.input.WholeArchive, Group: group, Shared: f.shared})
		for k := range f.nested {
			n := &f.nested[k]
			out = append(out, merge.Input{Members: n.members, Group: n.input.Group, Shared: n.shared})
		}
	}
	return out
}
