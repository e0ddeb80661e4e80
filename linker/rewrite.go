package linker

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"leanlink/merge"
	"leanlink/objfile"
)

// rewrite carries a plan out: it writes the changed objects into dir and
// returns the command line that links them.
//
// An archive of which anything changes is replaced by the members that the
// link extracts, as plain objects, in its place: an archive would need a new
// index, and its other members could be pulled in by names that moved. So
// could those of an unchanged archive; that is replaced, too, if it has one.
func (p *preparation) rewrite(plan *merge.Plan, dir string) ([]string, error) {
	w := &writer{dir: filepath.Join(dir, "objects")}
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		return nil, err
	}
	moved := plan.Aliases()
	replace := map[int][]string{} // by index into cl.Args
	n := 0                        // of the object in link order
	for i := range p.in.files {
		f := &p.in.files[i]
		if f.object != nil {
			edit, err := plan.Edit(n)
			if err != nil {
				return nil, err
			}
			n++
			p.rewritten = append(p.rewritten, edit != nil)
			if edit != nil {
				path, err := w.object(filepath.Base(f.input.Path), edit.Write)
				if err != nil {
					return nil, err
				}
				replace[f.input.Arg] = []string{path}
			}
			continue
		}
		var taken []*merge.Member
		var edits []*objfile.Edit
		changed := false
		for _, m := range f.members {
			if m.File() == nil {
				continue
			}
			edit, err := plan.Edit(n)
			if err != nil {
				return nil, err
			}
			n++
			p.rewritten = append(p.rewritten, edit != nil)
			changed = changed || edit != nil
			taken, edits = append(taken, m), append(edits, edit)
		}
		if !changed && !offers(f, moved) {
			continue
		}
		paths := []string{}
		for k, m := range taken {
			write := func(out io.Writer) (int64, error) {
				size, err := out.Write(m.File().Data)
				return int64(size), err
			}
			if edits[k] != nil {
				write = edits[k].Write
			}
			path, err := w.object(m.Name, write)
			if err != nil {
				return nil, err
			}
			paths = append(paths, path)
		}
		replace[f.input.Arg] = paths
	}
	return splice(p.cl, replace), nil
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

// splice puts the new inputs into the command line, where the old ones were.
func splice(cl *CommandLine, replace map[int][]string) []string {
	skip := map[int]bool{}
	for i := range cl.Inputs {
		if in := &cl.Inputs[i]; replace[in.Arg] != nil {
			for k := 1; k < in.NArgs; k++ {
				skip[in.Arg+k] = true
			}
		}
	}
	var args []string
	for i, a := range cl.Args {
		switch paths, ok := replace[i]; {
		case ok:
			args = append(args, paths...)
		case !skip[i]:
			args = append(args, a)
		}
	}
	return args
}

// writer writes objects into a folder of the link's own.
type writer struct {
	dir string
	n   int
}

// object writes one object. Its name keeps what tells its crate, and ends in
// .o, for some drivers go by that.
func (w *writer) object(base string, write func(io.Writer) (int64, error)) (string, error) {
	base = strings.TrimSuffix(filepath.Base(base), ".o")
	path := filepath.Join(w.dir, fmt.Sprintf("%04d-%s.o", w.n, base))
	w.n++
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	b := bufio.NewWriterSize(f, 1<<20)
	if _, err = write(b); err == nil {
		err = b.Flush()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return path, err
}
