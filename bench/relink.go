package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"leanlink/linker"
	"leanlink/objfile"
)

// A relink is what a programmer waits for: one crate was compiled anew, the
// others are what they were. Before each run all objects that are no archive's,
// those of the crate itself, are written again, and in one of them a constant
// is another than ever before.

// relink makes a case of another: the same link, of files that can be changed.
func relink(build func(options, string) (string, error)) func(options, string) (string, error) {
	return func(o options, work string) (string, error) {
		from, err := build(o, work)
		if err != nil {
			return "", err
		}
		to := filepath.Join(work, "relink")
		if err := os.RemoveAll(to); err != nil {
			return "", err
		}
		return to, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name := filepath.Join(to, strings.TrimPrefix(path, from))
			if d.IsDir() {
				return os.MkdirAll(name, 0o777)
			}
			return os.Link(path, name) // what is changed is replaced
		})
	}
}

// crate is what changes from link to link.
type crate struct {
	objects []string // paths of the crate's objects
	changed string   // the one of them with the constant
	offset  int      // of the constant in that, bytes
	count   int      // of changes
}

// constantDigits is how many bytes of a constant are changed.
const constantDigits = 6

// openCrate finds the objects of a link's own crate and the largest constant in
// them that is text.
func openCrate(dir string) (*crate, error) {
	cl, err := linker.OpenCase(dir)
	if err != nil {
		return nil, err
	}
	c := &crate{}
	longest := constantDigits - 1
	for i := range cl.Inputs {
		path := filepath.Join(dir, cl.Inputs[i].Path)
		data, err := os.ReadFile(path)
		if err != nil || objfile.FileType(data) != objfile.ET_REL {
			continue // an archive, or a library of the system's
		}
		f, err := objfile.Parse(path, data)
		if err != nil {
			return nil, err
		}
		c.objects = append(c.objects, path)
		for k := range f.Sections {
			s := &f.Sections[k]
			text := f.Bytes(uint32(k))
			if s.Flags == objfile.SHF_ALLOC && s.Type == objfile.SHT_PROGBITS && s.Rel == 0 && len(text) > longest && isText(text) {
				c.changed, c.offset, longest = path, int(s.Offset), len(text)
			}
		}
	}
	if c.changed == "" {
		return nil, fmt.Errorf("%s: no object of its own has a constant to be changed", dir)
	}
	return c, nil
}

func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\n' || c > '~' {
			return false
		}
	}
	return true
}

// change compiles the crate anew, as far as a linker can see.
func (c *crate) change() error {
	c.count++
	for _, path := range c.objects {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if path == c.changed {
			copy(data[c.offset:], fmt.Sprintf("%0*d", constantDigits, c.count))
		}
		if err := os.Remove(path); err != nil { // another name of the saved case's file
			return err
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			return err
		}
	}
	return nil
}
