package merge

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"leanlink/objfile"
)

// libraryFiles are the objects of Rust's standard library.
func libraryFiles(b *testing.B) (files []*objfile.File) {
	root, err := exec.Command("rustc", "--print", "sysroot").Output()
	if err != nil {
		b.Skip("no rustc")
	}
	libs, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "lib/rustlib/x86_64-unknown-linux-gnu/lib/*.rlib"))
	for _, path := range libs {
		data, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		a, err := objfile.ParseArchive(path, data)
		if err != nil {
			b.Fatal(err)
		}
		for _, m := range a.Members {
			if objfile.FileType(m.Data) != objfile.ET_REL || m.Name == "lib.rmeta" {
				continue
			}
			f, err := objfile.Parse(m.Name, m.Data)
			if err != nil {
				b.Fatal(err)
			}
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		b.Skip("no libraries for x86_64-unknown-linux-gnu")
	}
	return files
}

// BenchmarkPhases makes a plan for the whole of Rust's standard library, all of
// it live, and reports what each phase takes of it.
func BenchmarkPhases(b *testing.B) {
	files := libraryFiles(b)
	opt := Options{Mode: ModeSafe, KeepAll: true, Exclude: ExcludeSections}
	link := func(b *testing.B) *Link {
		l, err := NewLink(files, opt)
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	live := func(b *testing.B) *Link {
		l := link(b)
		l.mark()
		return l
	}
	weighed := func(b *testing.B) *Link {
		l := live(b)
		l.weigh()
		l.readNotes()
		return l
	}
	phase := func(name string, before func(*testing.B) *Link, run func(*testing.B, *Link)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			l := before(b)
			for b.Loop() {
				run(b, l)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(l.Sections()), "ns/section")
		})
	}
	phase("resolve", link, func(b *testing.B, _ *Link) { link(b) })
	phase("mark", link, func(_ *testing.B, l *Link) { l.mark() })
	phase("weigh", live, func(_ *testing.B, l *Link) { l.weigh() })
	phase("trace", weighed, func(_ *testing.B, l *Link) { l.trace() })
	phase("plan", link, func(b *testing.B, l *Link) {
		if _, err := l.Make(); err != nil {
			b.Fatal(err)
		}
	})
	phase("edit", link, func(b *testing.B, l *Link) {
		p, err := l.Make()
		if err != nil {
			b.Fatal(err)
		}
		changed := 0
		for i := range l.Objects {
			e, err := p.Edit(i, new(objfile.Scratch))
			if err != nil {
				b.Fatal(err)
			}
			if e != nil {
				changed++
			}
		}
		if changed == 0 {
			b.Fatal("nothing changed")
		}
	})
}

// BenchmarkFold computes the partition alone.
func BenchmarkFold(b *testing.B) {
	l, err := NewLink(libraryFiles(b), Options{Mode: ModeSafe, KeepAll: true, Exclude: ExcludeSections})
	if err != nil {
		b.Fatal(err)
	}
	p, err := l.Make()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	nodes := 0
	for b.Loop() {
		f, err := l.fold(p.Reason)
		if err != nil {
			b.Fatal(err)
		}
		nodes = len(f.nodes)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(nodes), "ns/section")
	b.ReportMetric(float64(nodes), "sections")
}
