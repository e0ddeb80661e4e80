package linker

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"leanlink/objfile"
)

func TestWithout(t *testing.T) {
	data := []byte("0123456789abcdefghij")
	same := func(at, end uint64) objfile.Piece {
		return objfile.Piece{At: at, Data: data[at:end], Same: true}
	}
	changed := objfile.Piece{At: 8, Data: []byte("XY")}
	for _, tt := range []struct {
		name   string
		pieces []objfile.Piece
		runs   []span
		want   []objfile.Piece
	}{
		{"nothing ahead", []objfile.Piece{same(0, 20)}, nil, []objfile.Piece{same(0, 20)}},
		{"a run in the middle", []objfile.Piece{same(0, 20)}, []span{{5, 9}}, []objfile.Piece{same(0, 5), same(9, 20)}},
		{"two runs", []objfile.Piece{same(0, 20)}, []span{{5, 9}, {12, 14}}, []objfile.Piece{same(0, 5), same(9, 12), same(14, 20)}},
		{"the whole piece", []objfile.Piece{same(4, 10), same(12, 20)}, []span{{2, 11}}, []objfile.Piece{same(12, 20)}},
		{"over a hole", []objfile.Piece{same(0, 8), same(12, 20)}, []span{{6, 14}}, []objfile.Piece{same(0, 6), same(14, 20)}},
		{"a change in a run stays", []objfile.Piece{same(0, 8), changed, same(10, 20)}, []span{{4, 16}}, []objfile.Piece{same(0, 4), changed, same(16, 20)}},
		{"a run before the first piece", []objfile.Piece{same(10, 20)}, []span{{0, 4}, {12, 13}}, []objfile.Piece{same(10, 12), same(13, 20)}},
		{"appended bytes stay", []objfile.Piece{same(0, 8), {At: 20, Data: []byte("new")}}, []span{{0, 8}}, []objfile.Piece{{At: 20, Data: []byte("new")}}},
	} {
		got := without(tt.pieces, tt.runs)
		if len(got) == 0 && len(tt.want) == 0 {
			continue
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestAhead copies the debug information of an object that gcc made, alone and
// as an archive's member, and compares what the new file then has.
func TestAhead(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "a.c")
	text := []byte("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint f(FILE *s) { return fgetc(s) + abs(ferror(s)); }\n")
	if err := os.WriteFile(source, text, 0o600); err != nil {
		t.Fatal(err)
	}
	// Macros make debug information large.
	object, archive := filepath.Join(dir, "a.o"), filepath.Join(dir, "a.a")
	for _, argv := range [][]string{{"gcc", "-g3", "-c", source, "-o", object}, {"ar", "rcs", archive, object}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %s\n%s", argv[0], err, out)
		}
	}
	for _, path := range []string{object, archive} {
		image, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data := image
		if objfile.IsArchive(image) {
			a, err := objfile.ParseArchive(path, image)
			if err != nil {
				t.Fatal(err)
			}
			data = a.Members[0].Data
		}
		f, err := objfile.Parse(path, data)
		if err != nil {
			t.Fatal(err)
		}
		w := &writer{dir: t.TempDir()}
		a := newAhead(w)
		a.started = true // that there is room in memory is not asked here
		a.add("a.o", f, path, image)
		n := a.take(f)
		if n == nil {
			t.Fatalf("%s: nothing is copied: %d bytes", path, len(data))
		}
		a.all.Wait()
		if n.err != nil {
			t.Fatal(n.err)
		}
		got, err := os.ReadFile(n.path)
		if err != nil {
			t.Fatal(err)
		}
		copied := 0
		for _, r := range n.runs {
			if !bytes.Equal(got[r.at:r.end], data[r.at:r.end]) {
				t.Errorf("%s: bytes %d to %d are others", path, r.at, r.end)
			}
			copied += int(r.end - r.at)
		}
		for i := range f.Sections {
			if s := &f.Sections[i]; s.Flags&objfile.SHF_ALLOC != 0 && len(f.Bytes(uint32(i))) > 0 {
				for _, r := range n.runs {
					if s.Offset < r.end && s.Offset+s.Size > r.at {
						t.Errorf("%s: %s is copied before anything is decided", path, s.Name)
					}
				}
			}
		}
		if copied < minAhead || copied >= len(data) {
			t.Errorf("%s: %d of %d bytes are copied", path, copied, len(data))
		}
		a.clear()
		// What the object was taken for is the caller's.
		if _, err := os.Stat(n.path); err != nil {
			t.Error(err)
		}
	}
}
