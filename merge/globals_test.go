package merge

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"leanlink/objfile"
)

// TestSearchNumbers links objects with and without what the search of archives
// has read of them: names get the same numbers, and stand for the same.
func TestSearchNumbers(t *testing.T) {
	sources := []string{
		callers("x", "weakly") + ".weak weakly\n.comm shared,8,8\n",
		"!" + fn("unwanted", "call nobody\nret"),
		"!" + fn("x", "call y\nret") + ".globl versioned\nversioned: ret\n.symver versioned,old@V1\n",
		"!" + fn("y", "call z\ncall x\nret") + ".hidden z\n.comm shared,8,8\n",
		callers("y") + fn("z", "ret"),
	}
	in := inputs(t, sources...)
	x, err := Extract(in, []string{"main"}, true)
	if err != nil {
		t.Fatal(err)
	}
	var files []*objfile.File
	for i := range in {
		if in[i].File != nil {
			files = append(files, in[i].File)
		}
		for _, m := range in[i].Members {
			if f := m.File(); f != nil {
				files = append(files, f)
			}
		}
	}
	if len(files) != 4 {
		t.Fatalf("%d objects take part, want 4", len(files))
	}
	opt := Options{Wanted: map[string]bool{"x": true, "unwanted": true}, Pinned: map[string]bool{"y": true}}
	alone, err := NewLink(files, opt)
	if err != nil {
		t.Fatal(err)
	}
	opt.Search = x
	l, err := NewLink(files, opt)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(l.symName, alone.symName) || !slices.Equal(l.defs, alone.defs) || !slices.Equal(l.stands, alone.stands) {
		t.Errorf("after a search:\n%q\n%v\n%v\nwithout:\n%q\n%v\n%v", l.symName, l.defs, l.stands, alone.symName, alone.defs, alone.stands)
	}
	for id, name := range l.symName {
		if got, ok := l.names.lookUp(name); !ok || got != SymID(id) {
			t.Errorf("%s has number %d, %v, want %d", name, got, ok, id)
		}
	}
	for _, name := range []string{"unwanted", "nobody", "never heard of"} {
		if id, ok := l.names.lookUp(name); ok {
			t.Errorf("%s has number %d, want none", name, id)
		}
	}
	if d, ok := l.names.lookUp("old"); ok && !l.defs[d].exported {
		t.Error("the name without its version is not exported")
	}
}

// TestLikelyMembers reads members before the search: what it comes to is the
// same, and a fault of one that is not extracted is nobody's.
func TestLikelyMembers(t *testing.T) {
	sources := []string{callers("x"), "!" + fn("unwanted", "ret"), "!" + fn("x", "call y\nret"), "!" + fn("y", "ret"), "!" + fn("z", "ret")}
	damaged := errors.New("damaged")
	for _, eager := range []bool{true, false} {
		for _, wanted := range []bool{false, true} {
			in := inputs(t, sources...)
			reads := map[string]int{}
			var mu sync.Mutex
			var taken []string
			for k, m := range in[1].Members {
				parse := m.Parse
				m.Likely = true
				m.Parse = func() (*objfile.File, error) {
					mu.Lock()
					defer mu.Unlock()
					reads[m.Name]++
					if k == 3 {
						return nil, damaged
					}
					return parse()
				}
				m.Taken = func(f *objfile.File) { taken = append(taken, m.Name) }
			}
			var roots []string
			if wanted {
				roots = []string{"z"}
			}
			_, err := Extract(in, roots, eager)
			if (err == damaged) != wanted || err != nil && err != damaged {
				t.Errorf("eager %v, the damaged member wanted %v: error %v", eager, wanted, err)
			}
			for _, m := range in[1].Members {
				if reads[m.Name] != 1 {
					t.Errorf("eager %v: %s was read %d times, want once", eager, m.Name, reads[m.Name])
				}
			}
			if want := []string{"c.o", "d.o"}; !wanted && !slices.Equal(taken, want) {
				t.Errorf("eager %v: %q are extracted, want %q", eager, taken, want)
			}
		}
	}
}
