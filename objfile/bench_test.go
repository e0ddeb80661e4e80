package objfile_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"leanlink/objfile"
)

// benchmarkObjects are the members of Rust's standard library.
func benchmarkObjects(b *testing.B) []object {
	root, err := sysroot()
	if err != nil {
		b.Skip("no rustc")
	}
	all := libraryMembers(b, root, "x86_64-unknown-linux-gnu")
	if len(all) == 0 {
		b.Skip("no libraries for x86_64-unknown-linux-gnu")
	}
	return all
}

// parseAll parses objects.
func parseAll(b *testing.B, all []object) []*objfile.File {
	files := make([]*objfile.File, len(all))
	for i, o := range all {
		var err error
		if files[i], err = objfile.Parse(o.name, o.data); err != nil {
			b.Fatal(err)
		}
	}
	return files
}

// BenchmarkParse parses every object of Rust's standard library.
func BenchmarkParse(b *testing.B) {
	all := benchmarkObjects(b)
	sections, symbols, size := 0, 0, 0
	for _, f := range parseAll(b, all) {
		sections += len(f.Sections)
		symbols += int(f.NumSymbols)
		size += len(f.Data)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		parseAll(b, all)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(sections), "ns/section")
	b.ReportMetric(float64(sections), "sections")
	b.ReportMetric(float64(symbols), "symbols")
}

// eachRelocated calls f for every section with relocations, allocated ones
// only where alloc is set, and counts the relocations.
func eachRelocated(files []*objfile.File, alloc bool, each func(f *objfile.File, section uint32)) (n int) {
	for _, f := range files {
		for i := range uint32(len(f.Sections)) {
			if s := &f.Sections[i]; s.Rel != 0 && (!alloc || s.Flags&objfile.SHF_ALLOC != 0) {
				n += f.Relocs(i).Len()
				each(f, i)
			}
		}
	}
	return n
}

var sink uint64

// BenchmarkRelocs decodes every relocation of Rust's standard library.
func BenchmarkRelocs(b *testing.B) {
	files, n := parseAll(b, benchmarkObjects(b)), 0
	for b.Loop() {
		n = eachRelocated(files, false, func(f *objfile.File, section uint32) {
			rs := f.Relocs(section)
			for i := range rs.Len() {
				r := rs.At(i)
				sink += r.Offset + uint64(r.Sym) + uint64(r.Type) + uint64(r.Addend)
			}
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/reloc")
	b.ReportMetric(float64(n), "relocs")
}

// BenchmarkCheckRelocs checks those of what is loaded.
func BenchmarkCheckRelocs(b *testing.B) {
	files, n := parseAll(b, benchmarkObjects(b)), 0
	arch := objfile.ArchOf(objfile.EM_X86_64)
	for b.Loop() {
		n = eachRelocated(files, true, func(f *objfile.File, section uint32) {
			if err := f.CheckRelocs(section, arch); err != nil {
				b.Fatal(err)
			}
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/reloc")
	b.ReportMetric(float64(n), "relocs")
}

// BenchmarkSymbols decodes every symbol and its name.
func BenchmarkSymbols(b *testing.B) {
	files, n := parseAll(b, benchmarkObjects(b)), 0
	for b.Loop() {
		n = 0
		for _, f := range files {
			for i := range f.NumSymbols {
				s := f.Symbol(i)
				sink += s.Value + uint64(len(f.NameOf(&s)))
			}
			n += int(f.NumSymbols)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/symbol")
}

// BenchmarkEhFrame decodes the .eh_frame of every object.
func BenchmarkEhFrame(b *testing.B) {
	files, n := parseAll(b, benchmarkObjects(b)), 0
	b.ReportAllocs()
	for b.Loop() {
		n = 0
		for _, f := range files {
			for i := range uint32(len(f.Sections)) {
				if f.Sections[i].Name == ".eh_frame" {
					eh, err := f.ReadEhFrame(i)
					if err != nil {
						b.Fatal(err)
					}
					n += len(eh.CIEs) + len(eh.FDEs)
				}
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/entry")
	b.ReportMetric(float64(n), "entries")
}

// BenchmarkParseArchive reads the headers and indices of Rust's libraries.
func BenchmarkParseArchive(b *testing.B) {
	root, err := sysroot()
	if err != nil {
		b.Skip("no rustc")
	}
	libs, _ := filepath.Glob(filepath.Join(root, "lib/rustlib/x86_64-unknown-linux-gnu/lib/*.rlib"))
	var data [][]byte
	for _, lib := range libs {
		c, err := os.ReadFile(lib)
		if err != nil {
			b.Fatal(err)
		}
		data = append(data, c)
	}
	if len(data) == 0 {
		b.Skip("no libraries for x86_64-unknown-linux-gnu")
	}
	symbols := 0
	b.ReportAllocs()
	for b.Loop() {
		symbols = 0
		for i, c := range data {
			a, err := objfile.ParseArchive(libs[i], c)
			if err != nil {
				b.Fatal(err)
			}
			symbols += len(a.Symbols)
		}
	}
	b.ReportMetric(float64(symbols), "symbols")
}

// BenchmarkEdit adds a symbol to every object, changes the first relocation
// of each function and writes the result.
func BenchmarkEdit(b *testing.B) {
	files := parseAll(b, benchmarkObjects(b))
	written := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		written = 0
		for _, f := range files {
			if f.NumSymbols == 0 {
				continue
			}
			e := objfile.NewEdit(f)
			k, err := e.AddSymbol("leader", objfile.Symbol{Bind: objfile.STB_GLOBAL, Other: objfile.STV_HIDDEN})
			if err != nil {
				b.Fatal(err)
			}
			for i := range uint32(len(f.Sections)) {
				if s := &f.Sections[i]; s.Rel != 0 && strings.HasPrefix(s.Name, ".text.") {
					r := f.Relocs(i).At(0)
					r.Sym = k
					e.SetReloc(i, 0, r)
				}
			}
			n, err := e.Write(io.Discard)
			if err != nil {
				b.Fatal(err)
			}
			written += n
		}
	}
	b.SetBytes(written)
}
