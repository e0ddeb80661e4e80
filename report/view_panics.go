package report

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"strings"
)

// panicPart is a part of what panics cost.
type panicPart struct {
	key, title string
	crates     []string // whole crates
	prefixes   []string // of demangled names
}

// panicParts are functions of the standard library that are there for panics,
// or that panics are the usual reason for.
var panicParts = []panicPart{
	{"panicking", "raising a panic: core::panicking, unwrap and index failures", nil, []string{
		"core::panicking::", "core::option::unwrap_failed", "core::option::expect_failed", "core::result::unwrap_failed", "core::slice::index::slice_",
		"core::slice::copy_from_slice_impl::", "core::str::slice_error_fail", "core::cell::panic_already", "alloc::raw_vec::capacity_overflow", "alloc::alloc::handle_alloc_error",
		"core::slice::<impl [T]>::copy_from_slice::len_mismatch_fail", "alloc::vec::Vec<T,A>::remove::assert_failed", "alloc::vec::Vec<T,A>::swap_remove::assert_failed",
		"core::intrinsics::copy_nonoverlapping::precondition_check"}},
	{"handler", "handling it: std::panicking, the default hook", nil, []string{"std::panicking::", "std::panic::", "__rustc::rust_begin_unwind", "__rustc::rust_panic", "rust_begin_unwind", "rust_panic",
		"std::sys::backtrace::__rust_end_short_backtrace", "std::process::abort", "std::rt::abort"}},
	{"backtrace", "printing a backtrace: the symbolizer and its readers of debug information", []string{"gimli", "addr2line", "object", "miniz_oxide", "rustc_demangle", "adler2", "adler"}, []string{
		"std::backtrace", "std::sys::backtrace::", "std::backtrace_rs::"}},
	{"unwinding", "unwinding: the personality and _Unwind functions", []string{"panic_unwind", "unwind"}, []string{"rust_eh_personality", "_Unwind_", "__rustc::__rust_start_panic", "__rustc::__rust_panic_cleanup", "std::sys::personality::"}},
	{"formatting", "formatting: core::fmt (programs that print need it all the same)", nil, []string{"core::fmt::", "alloc::fmt::", "<&T as core::fmt::", "core::num::fmt::"}},
}

// Panics shows what panics cost: their functions, their locations and their
// landing pads, each exactly as the file has it.
func (z *Sizes) Panics(o *ViewOptions) []*Table {
	t := &Table{Key: "panics", Title: fmt.Sprintf("What panics cost in %s", z.File()),
		Columns: []Column{{"bytes", "bytes", ColumnBytes}, {"share", "% of loaded", ColumnShare}, {"count", "count", ColumnCount}, {"alone", "goes with it", ColumnBytes}, {"name", "what", ColumnProse}}, Spare: []string{"share"}}
	loaded := z.LoadSize
	if loaded == 0 {
		loaded = z.FileSize
	}
	var g *graph
	if z.Report != nil {
		g, _ = z.outputGraph() // without references the column stays empty
	}
	for _, p := range panicParts {
		var bytes, count uint64
		for i := range z.Items {
			it := &z.Items[i]
			if it.Symbol != "" && it.Bytes > 0 && it.Label != LabelSymtab && it.Label != LabelStrtab && p.has(it.Crate, z.Demangled(it.Symbol)) {
				bytes += it.Bytes
				if it.Label == LabelCode {
					count++
				}
			}
		}
		if bytes == 0 {
			continue
		}
		var alone any
		if g != nil {
			alone = z.retainedBy(g, &p)
		}
		t.add(bytes, share(bytes, loaded), count, alone, p.title)
	}
	var lsda, unwind uint64
	for i := range z.Items {
		switch it := &z.Items[i]; it.Label {
		case LabelLSDA:
			lsda += it.Bytes
		case LabelUnwind:
			unwind += it.Bytes
		}
	}
	if lsda > 0 {
		t.add(lsda, share(lsda, loaded), nil, nil, "landing-pad tables (.gcc_except_table); none with panic = \"abort\"")
	}
	if unwind > 0 {
		t.add(unwind, share(unwind, loaded), nil, nil, "unwind tables (.eh_frame, .ARM.exidx); backtraces need them, too")
	}
	z.findLocations()
	if l := z.locations; l != nil && l.Count > 0 {
		t.add(l.Bytes, share(l.Bytes, loaded), l.Count, nil, fmt.Sprintf("locations: file, line and column of each place that can panic, %d bytes each", l.Each))
		if l.Relocations > 0 {
			t.add(l.Relocations, share(l.Relocations, loaded), l.Count, nil, "dynamic relocations of these locations")
		}
		t.add(l.Names, share(l.Names, loaded), l.Files, nil, "names of source files in locations")
	}
	z.sort(t, o)
	t.note("Each line is exact; lines overlap where one needs another. \"goes with it\" is what nothing else would keep alive.")
	return []*Table{t}
}

// retainedBy returns the bytes that only the functions of a part keep alive,
// their own with them.
func (z *Sizes) retainedBy(g *graph, p *panicPart) uint64 {
	isPart := make([]bool, len(z.Report.Sections))
	for i := range z.Report.Sections {
		s := &z.Report.Sections[i]
		isPart[i] = s.Kind == KindCode && s.InOutput() && len(s.Symbols) > 0 && p.has(s.Defined, z.Demangled(s.Symbols[0].Name))
	}
	return g.sum(g.reach(nil)) - g.sum(g.reach(func(i SectionIndex) bool { return isPart[i] }))
}

// findLocations sets locations, once.
func (z *Sizes) findLocations() {
	if z.Layout != nil && z.locations == nil {
		z.locations = z.readLocations()
	}
}

// carriers are functions of the same modules that run the program itself; what
// only they keep alive is not there for panics.
var carriers = []string{"__rust_begin_short_backtrace", "catch_unwind", "std::panicking::try", "std::panic::resume_unwind"}

func (p *panicPart) has(crate, name string) bool {
	for _, c := range carriers {
		if strings.Contains(name, c) {
			return false
		}
	}
	if p.key == "backtrace" && strings.Contains(name, "__rust_end_short_backtrace") {
		return false // it handles the panic
	}
	if slices.Contains(p.crates, crate) {
		return true
	}
	for _, x := range p.prefixes {
		if strings.HasPrefix(name, x) {
			return true
		}
	}
	return false
}

// sum adds up the bytes of marked nodes.
func (g *graph) sum(seen []bool) uint64 {
	var n uint64
	for i, ok := range seen {
		if ok {
			n += g.bytes(SectionIndex(i))
		}
	}
	return n
}

// panicLocations are the core::panic::Location constants of a file.
type panicLocations struct {
	Count       uint64
	Each        uint64 // bytes of one
	Bytes       uint64 // of all
	Relocations uint64 // bytes of the dynamic relocations in them
	Files       uint64 // different source files
	Names       uint64 // bytes of their names
}

// readLocations finds the locations in the file's constants: a pointer to a
// text that ends in ".rs", its length, a line and a column. The pointer is
// what a relative relocation puts there, or in a file without relocations what
// is there. Where the file can't be read there are none.
func (z *Sizes) readLocations() *panicLocations {
	out := &panicLocations{}
	f, err := elf.Open(z.Path)
	if err != nil {
		return out
	}
	defer f.Close()
	wide := f.Class == elf.ELFCLASS64
	word, each := uint64(4), uint64(16)
	if wide {
		word, each = 8, 24
	}
	out.Each = each
	read := func(b []byte) uint64 {
		if wide {
			return f.ByteOrder.Uint64(b)
		}
		return uint64(f.ByteOrder.Uint32(b))
	}
	type area struct {
		addr uint64
		data []byte
	}
	var areas []area
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Type != elf.SHT_PROGBITS || s.Flags&elf.SHF_EXECINSTR != 0 || strings.HasPrefix(s.Name, ".eh_frame") || s.Addr+s.Size < s.Addr {
			continue
		}
		if data, err := s.Data(); err == nil {
			areas = append(areas, area{s.Addr, data})
		}
	}
	slices.SortFunc(areas, func(a, b area) int { return cmp.Compare(a.addr, b.addr) })
	text := func(addr, size uint64) (string, bool) {
		for _, a := range areas {
			if addr >= a.addr && addr-a.addr < uint64(len(a.data)) && size <= uint64(len(a.data))-(addr-a.addr) {
				return string(a.data[addr-a.addr:][:size]), true
			}
		}
		return "", false
	}
	relocated := make(map[uint64]uint64) // places to what is put there
	entry := uint64(0)
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA || s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		data, err := s.Data()
		if err != nil {
			continue
		}
		for entry = 3 * word; uint64(len(data)) >= entry; data = data[entry:] {
			if addend := read(data[2*word:]); addend != 0 {
				relocated[read(data)] = addend
			}
		}
	}
	names := make(map[string]bool)
	for _, a := range areas {
		for at := -a.addr & (word - 1); uint64(len(a.data)) >= each && at <= uint64(len(a.data))-each; at += word {
			d := a.data[at:]
			pointer, isRelocated := relocated[a.addr+at]
			if !isRelocated {
				pointer = read(d)
			}
			size := read(d[word:])
			line, column := f.ByteOrder.Uint32(d[2*word:]), f.ByteOrder.Uint32(d[2*word+4:])
			if pointer == 0 || size < 4 || size > 4096 || line == 0 || line > 1<<24 || column == 0 || column > 1<<16 {
				continue
			}
			name, ok := text(pointer, size)
			if !ok || !strings.HasSuffix(name, ".rs") || strings.ContainsAny(name, "\x00\n") {
				continue
			}
			out.Count++
			out.Bytes += each
			if isRelocated {
				out.Relocations += entry
			}
			if !names[name] {
				names[name] = true
				out.Files++
				out.Names += size
			}
			at += each - word
		}
	}
	return out
}
