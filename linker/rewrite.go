package linker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"leanlink/merge"
	"leanlink/objfile"
)

// objectsFolder is where in a work folder the new objects lie.
const objectsFolder = "objects"

// rewrite carries a plan out: it writes the changed objects into dir and
// returns the command line that links them.
//
// An archive of which anything changes is replaced by one of just the members
// that the link extracts, all of which are linked (--whole-archive): its other
// members could be pulled in by names that moved. So could those of an unchanged
// archive; that is replaced, too, if it has one. One file is made, opened and
// removed faster than many, but where it would be an archive of one member, or
// names are not fit for one, they become plain objects. So does what was
// extracted of objects between --start-lib and --end-lib, and must be taken out
// from there, for nothing may want it by the same name any more.
//
// Where a linker script chooses by file names archives and members keep their
// names.
//
// The order of objects is that of constructors, and of whatever is collected
// in sections of its own. So a member goes where the linker came by it: where
// it extracted it, but mold takes the order of the command line.
func (p *preparation) rewrite(plan *merge.Plan, dir string) ([]string, error) {
	w := p.out
	p.debug = p.debug.wait()
	plan.Bare = p.debug != nil
	if err := p.findRewritten(plan); err != nil {
		return nil, err
	}
	w.edit = func(k int, s *objfile.Scratch) (*objfile.Edit, error) { return p.edit(plan, k, s) }
	aliases := plan.Aliases()
	changed := map[*Input]bool{}
	n := 0 // of the object in link order
	for i := range p.in.files {
		f := &p.in.files[i]
		changed[f.input] = changed[f.input] || offers(f, aliases)
		for range f.objects() {
			changed[f.input] = changed[f.input] || p.rewritten[n] || f.input.StartLib
			n++
		}
	}
	n = 0
	paths := make([][]string, len(p.in.files)) // what takes a file's place, nil to leave it
	for i := range p.in.files {
		f := &p.in.files[i]
		if changed[f.input] {
			paths[i] = []string{}
		}
		var objects []newObject
		for name, file := range f.objects() {
			if changed[f.input] {
				objects = append(objects, newObject{f.scriptFile(name), file, n, p.newSize(plan, n)})
			}
			n++
		}
		switch {
		case len(objects) == 0:
		case w.byName && f.archive != nil && f.archive.Thin:
			return nil, errFileNames
		case f.archive != nil && !f.input.StartLib && (w.byName || p.packs(f.archive, objects)):
			paths[i] = []string{w.add(f.input.Path, objects)}
			if !f.input.WholeArchive {
				paths[i] = []string{p.option("--whole-archive"), paths[i][0], p.option("--no-whole-archive")}
			}
		default:
			for _, o := range objects {
				paths[i] = append(paths[i], w.add("", []newObject{o}))
			}
		}
	}
	if w.byName && !p.sameFiles(w.files) {
		return nil, errFileNames
	}
	if err := w.keepNames(dir); err != nil {
		return nil, err
	}
	return p.splice(paths), w.write()
}

// packs reports whether the new objects of an archive's members are to be in an
// archive, too.
func (p *preparation) packs(a *objfile.Archive, objects []newObject) bool {
	if a.Thin || len(objects) == 1 || p.kind != KindLLD && p.kind != KindBFD && p.kind != KindGold && p.kind != KindMold {
		return false
	}
	return !slices.ContainsFunc(objects, func(o newObject) bool {
		return len(o.file.Data) > maxMember || strings.ContainsFunc(o.from.name, func(c rune) bool { return c < ' ' || c == '/' })
	})
}

// maxMember is less than what the size of an archive's member can say, ten
// digits, and leaves room for what grows.
const maxMember = 1e9

// findRewritten finds out which objects change. Edits are made where they are
// written: what is made of an object is in the processor's cache then, and its
// memory is that of the next one. Where nothing less tells they are made here, too.
func (p *preparation) findRewritten(plan *merge.Plan) error {
	p.rewritten = make([]bool, len(plan.Link.Objects))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range p.rewritten {
		if p.rewritten[i] = p.debug.edits(i) || p.trims.cutFrom(i) || plan.CertainlyEdits(i); p.rewritten[i] {
			continue
		}
		g.Go(func() error {
			e, err := p.edit(plan, i, new(objfile.Scratch))
			p.rewritten[i] = e != nil
			return err
		})
	}
	return g.Wait()
}

// edit makes the edit of an object; nil if nothing changes.
func (p *preparation) edit(plan *merge.Plan, k int, scratch *objfile.Scratch) (*objfile.Edit, error) {
	e, err := plan.Edit(k, scratch)
	if err != nil {
		return nil, err
	}
	return p.debug.edit(plan, k, e, scratch)
}

// newSize is about how many bytes of an object will be written: contents that are
// left out are holes.
func (p *preparation) newSize(plan *merge.Plan, k int) (size uint64) {
	o := plan.Link.Objects[k]
	if !p.rewritten[k] || o.Reason != "" {
		return uint64(len(o.File.Data))
	}
	remains := func(i uint32) bool {
		s := &o.File.Sections[i]
		if s.Flags&objfile.SHF_ALLOC != 0 {
			fate := plan.Fate[o.Base+merge.SecID(i)]
			return fate == merge.FateKept || fate == merge.FateThunk
		}
		return s.Flags&objfile.SHF_EXCLUDE == 0 && !(s.IsDebug() && p.debug.edits(k))
	}
	for i := range o.File.Sections {
		switch s := &o.File.Sections[i]; s.Type {
		case objfile.SHT_NOBITS, objfile.SHT_NULL:
		case objfile.SHT_REL, objfile.SHT_RELA:
			if int(s.Info) < len(o.File.Sections) && remains(s.Info) {
				size += s.Size
			}
		case objfile.SHT_SYMTAB:
			size += s.Size + s.Size/4 // with those that are new
		default:
			if remains(uint32(i)) {
				size += s.Size
			}
		}
	}
	const header = 64
	return size + header*uint64(len(o.File.Sections))
}

// offers reports whether an archive has a member that the link does not
// extract and that defines one of the names: where the definition that the
// link did choose now comes later on the command line, it would be extracted.
func offers(f *inputFile, names map[string]bool) bool {
	for _, m := range f.members {
		if m.File() != nil {
			continue
		}
		for _, d := range m.Defines {
			if names[d] {
				return true
			}
		}
	}
	return false
}

// splice puts the new inputs into the command line, where the old ones were;
// members that came late, behind what was being read then.
func (p *preparation) splice(paths [][]string) []string {
	var args []string
	next := 0        // the first argument not yet dealt with
	var place *Input // what stands in the command line here
	for i := range p.in.files {
		f := &p.in.files[i]
		if !f.moved {
			place = f.input
			args = append(args, p.cl.Args[next:place.Arg]...)
			next = place.Arg + place.NArgs
			if paths[i] == nil {
				args = append(args, p.cl.Args[place.Arg:next]...)
			}
		}
		if place.StartLib && len(paths[i]) > 0 {
			args = append(append(append(args, p.option("--end-lib")), paths[i]...), p.option("--start-lib"))
		} else {
			args = append(args, paths[i]...)
		}
	}
	return append(args, p.cl.Args[next:]...)
}

// option spells an option of the linker.
func (p *preparation) option(name string) string {
	if p.cl.Style == StyleCC {
		return "-Wl," + name
	}
	return name
}

// writer writes objects into a folder of the link's own.
type writer struct {
	dir string
	// edit makes the edit of an object, by its number; nil if nothing changes.
	edit    func(k int, scratch *objfile.Scratch) (*objfile.Edit, error)
	scratch sync.Pool // of *objfile.Scratch
	// byName: files keep their names and archives stay archives, for a
	// linker script tells them apart.
	byName bool
	files  []newFile
	paths  int // how many path has made
}

// newWriter prepares to write into a link's work folder.
func (p *preparation) newWriter(dir string) *writer {
	return &writer{dir: filepath.Join(dir, objectsFolder), byName: p.script != nil && len(p.script.files) > 0}
}

// newFile is a file to be written: an object or an archive.
type newFile struct {
	path    string
	archive string      // of an archive, the path of the original
	objects []newObject // one, or the members
}

// newObject is an object as it is to be written.
type newObject struct {
	from   scriptFile // the original
	file   *objfile.File
	number int    // in link order
	size   uint64 // about what will be written, bytes
}

// add plans an object, or with the path of one an archive, and returns its
// path.
func (w *writer) add(archive string, objects []newObject) string {
	name := archive
	if name == "" {
		name = objects[0].from.name
	}
	n := newFile{archive: archive, objects: objects}
	if archive != "" {
		n.path = w.path(filepath.Base(name), ".a")
	} else {
		n.path = w.path(filepath.Base(name), ".o")
	}
	w.files = append(w.files, n)
	return n.path
}

// path makes up a path for a file. Its name keeps what tells its crate, and ends
// in .o or .a, for some drivers go by that.
func (w *writer) path(base, suffix string) string {
	w.paths++
	if w.byName {
		return filepath.Join(w.dir, strconv.Itoa(w.paths), base)
	}
	base = strings.TrimSuffix(base, suffix)
	for c := range byte(' ') { // a NUL is in no file's name, and what are not letters no tool expects
		base = strings.ReplaceAll(base, string(rune(c)), "_")
	}
	// The number makes names unique and may make them too long.
	if len(base) > 200 {
		base = base[len(base)-200:]
	}
	return filepath.Join(w.dir, fmt.Sprintf("%04d-%s%s", w.paths, base, suffix))
}

// keepNames notes what each new object is in place of.
func (w *writer) keepNames(dir string) error {
	names := make([]string, 0, 2*len(w.files))
	for _, n := range w.files {
		name := n.archive
		if name == "" {
			name = n.objects[0].file.Name
		}
		name, _, _ = strings.Cut(name, "\x00")
		names = append(names, n.path, name)
	}
	return writeArgs(filepath.Join(dir, namesFile), names)
}

// write writes all of them.
func (w *writer) write() error {
	size := uint64(0)
	for i := range w.files {
		for k := range w.files[i].objects {
			size += w.files[i].objects[k].size
		}
	}
	if inMemory(w.dir, size) {
		if err := w.each(w.put); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.ENOMEM) {
			return err
		}
		// Somebody else has taken the room.
	}
	for i := range w.files {
		n := &w.files[i]
		os.Remove(n.path)
		if w.byName {
			os.Remove(filepath.Dir(n.path))
		}
	}
	os.Remove(w.dir) // a link, or nothing
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		return err
	}
	return w.each(w.put)
}

// put writes one.
func (w *writer) put(n *newFile) error {
	if w.byName {
		if err := os.Mkdir(filepath.Dir(n.path), 0o700); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(n.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	size, err := w.putObjects(f, n)
	if err == nil {
		err = f.Truncate(int64(size)) // it may end in a hole
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// putObjects writes what a file consists of, one object after the other. The
// result is the file's size.
func (w *writer) putObjects(f *os.File, n *newFile) (uint64, error) {
	scratch, _ := w.scratch.Get().(*objfile.Scratch)
	if scratch == nil {
		scratch = &objfile.Scratch{}
	}
	defer w.scratch.Put(scratch)
	if n.archive == "" {
		pieces, size, err := w.pieces(&n.objects[0], scratch)
		if err != nil {
			return 0, err
		}
		return size, writePieces(f, pieces)
	}
	var archive objfile.ArchiveLayout
	names := make([]string, len(n.objects))
	for i := range n.objects {
		names[i] = n.objects[i].from.name
	}
	if err := writePieces(f, archive.Begin(names)); err != nil {
		return 0, err
	}
	for i := range n.objects {
		pieces, size, err := w.pieces(&n.objects[i], scratch)
		if err != nil {
			return 0, err
		}
		if err := writePieces(f, archive.Add(pieces, size)); err != nil {
			return 0, err
		}
	}
	return archive.Size(), nil
}

// each calls f for all files, several at once.
func (w *writer) each(f func(*newFile) error) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range w.files {
		g.Go(func() error { return f(&w.files[i]) })
	}
	return g.Wait()
}

// pieces lays out an object. What no piece covers stays a hole. They are good until
// scratch is used for another object.
func (w *writer) pieces(o *newObject, scratch *objfile.Scratch) ([]objfile.Piece, uint64, error) {
	scratch.Reset()
	e, err := w.edit(o.number, scratch)
	switch {
	case err != nil:
		return nil, 0, err
	case e == nil:
		return []objfile.Piece{{Data: o.file.Data}}, uint64(len(o.file.Data)), nil
	}
	return e.Pieces()
}

// maxVectors is Linux's limit for one call (IOV_MAX).
const maxVectors = 1024

// writePieces writes runs of adjacent pieces with one call each.
func writePieces(f *os.File, pieces []objfile.Piece) error {
	for len(pieces) > 0 {
		at := pieces[0].At
		end := at
		var vectors [][]byte
		for len(pieces) > 0 && pieces[0].At == end && len(vectors) < maxVectors {
			if len(pieces[0].Data) > 0 {
				vectors = append(vectors, pieces[0].Data)
			}
			end += uint64(len(pieces[0].Data))
			pieces = pieces[1:]
		}
		for at < end {
			k, err := unix.Pwritev(int(f.Fd()), vectors, int64(at))
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return &os.PathError{Op: "write", Path: f.Name(), Err: err}
			}
			at += uint64(k)
			for k > 0 && k >= len(vectors[0]) {
				k -= len(vectors[0])
				vectors = vectors[1:]
			}
			if k > 0 {
				vectors[0] = vectors[0][k:]
			}
		}
	}
	return nil
}
