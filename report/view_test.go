package report

import (
	"bytes"
	"debug/elf"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// legacy mangles a path as rustc's legacy mangling does; tag tells instances
// of one generic function apart.
func legacy(tag byte, path ...string) string {
	s := "_ZN"
	for _, p := range path {
		s += itoa(len(p)) + p
	}
	return s + "17h" + string(tag) + "0123456789abcdeE"
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// viewSample is a small link with something for every view, and the layout of
// its file.
func viewSample() *Sizes {
	main, run, parse := "main", legacy('1', "app", "run"), legacy('2', "json", "parse")
	dropA, dropB, dropC := legacy('a', "core", "ptr", "drop_in_place$LT$app..A$GT$"), legacy('b', "core", "ptr", "drop_in_place$LT$json..B$GT$"), legacy('c', "core", "ptr", "drop_in_place$LT$json..C$GT$")
	panicFmt, unwrap := legacy('d', "core", "panicking", "panic_fmt"), legacy('e', "core", "option", "unwrap_failed")
	nearA, nearB := legacy('f', "json", "get_a"), legacy('f', "json", "get_b")
	dead := legacy('0', "json", "dead")
	code := func(in InputIndex, index uint32, name string, size uint64, addr uint64) Section {
		return Section{Input: in, Index: index, Name: ".text." + name, Size: size, Align: 16, Kind: KindCode, Symbols: []Symbol{{name, 0, size}}, FDE: 24, Into: None, Addr: addr}
	}
	r := &Report{
		Tool: "leanlink 0.1.0", Stamp: "5f2a",
		Modes: Modes{Fold: "safe", GC: true, Linker: "lld", Style: "cc", Triple: "x86_64-unknown-linux-gnu", Machine: "x86_64", Profile: "release", Package: "app"},
		Inputs: []Input{
			{Path: "crt1.o", Size: 100},
			{Path: "app-0123456789abcdef.app.1a-cgu.0.rcgu.o", Crate: "app", Size: 9000, Fate: InputRewritten},
			{Path: "target/libjson-0123456789abcdef.rlib", Member: "json.1b-cgu.0.rcgu.o", Crate: "json", Size: 5000},
			{Path: "$SYSROOT/lib/rustlib/x86_64-unknown-linux-gnu/lib/libcore-0123456789abcdef.rlib", Member: "core.1c-cgu.0.rcgu.o", Crate: "core", Size: 5000},
		},
		Sections: []Section{
			0:  code(0, 1, "_start", 30, 0x1000),
			1:  code(1, 1, main, 40, 0x1020),
			2:  code(1, 2, run, 200, 0x1050),
			3:  code(1, 3, dropA, 60, 0x1120),
			4:  {Input: 1, Index: 4, Name: ".rodata..Lanon.00ff.1", Size: 50, Align: 1, Kind: KindRodata, Into: None},
			5:  {Input: 1, Index: 5, Name: ".rodata.str1.1", Size: 40, Align: 1, Kind: KindRodata, Fate: FateIneligible, Reason: ReasonMergeable, Into: None},
			6:  {Input: 1, Index: 6, Name: ".bss.COUNT", Size: 8, Align: 8, Kind: KindBSS, Symbols: []Symbol{{"COUNT", 0, 8}}, Fate: FateIneligible, Reason: ReasonWritable, Into: None, Addr: 0x3000},
			7:  code(2, 1, parse, 300, 0x1160),
			8:  code(2, 2, dropB, 60, 0),
			9:  code(2, 3, dropC, 60, 0x12a0),
			10: code(2, 4, nearA, 90, 0x12b0),
			11: code(2, 5, nearB, 90, 0x1310),
			12: code(2, 6, dead, 500, 0),
			13: {Input: 2, Index: 7, Name: ".rodata.TABLE", Size: 70, Align: 8, Kind: KindRodata, Symbols: []Symbol{{legacy('7', "json", "TABLE"), 0, 70}}, Fate: FateIneligible, Reason: ReasonNamedStatic, Into: None, Addr: 0x2000},
			14: code(3, 1, panicFmt, 80, 0x1370),
			15: code(3, 2, unwrap, 20, 0x13c0),
		},
		Roots: []Root{{0, "entry point"}},
		Output: Output{Name: "target/release/deps/app", Size: 2400, Alloc: 1264, Hash: "cd34", Sections: []OutputSection{
			{Name: ".rodata", Addr: 0x2000, Size: 160, File: 160, Alloc: true}, {Name: ".eh_frame", Addr: 0x20a0, Size: 264, File: 264, Alloc: true},
			{Name: ".text", Addr: 0x1000, Size: 840, File: 840, Alloc: true}, {Name: ".bss", Addr: 0x3000, Size: 8, Alloc: true},
			{Name: ".symtab", Size: 360, File: 360}, {Name: ".strtab", Size: 300, File: 300}, {Name: ".debug_info", Size: 100, File: 100}}},
	}
	s := r.Sections
	s[8].Fate, s[8].Into, s[8].Class, s[3].Class, s[8].Shape, s[3].Shape = FateFolded, 3, 1, 1, 1, 1
	s[9].Fate, s[9].Into, s[9].NewSize, s[9].NewFDE, s[9].Class, s[9].Shape = FateThunk, 3, 5, 20, 1, 1
	s[10].Shape, s[11].Shape = 2, 2
	s[12].Fate, s[12].Reason = FateDropped, ReasonUnreached
	edges := map[SectionIndex][]SectionIndex{0: {1}, 1: {2}, 2: {3, 4, 5, 6, 7}, 7: {8, 9, 10, 11, 13, 15}, 15: {14}}
	r.Edges.Start = make([]uint32, len(s)+1)
	for i := range s {
		r.Edges.To = append(r.Edges.To, edges[SectionIndex(i)]...)
		r.Edges.Start[i+1] = uint32(len(r.Edges.To))
	}
	r.Tally()

	l := &Layout{FileSize: 2400, VMSize: 1336, LoadSize: 1328, Sections: []string{"", ".rodata", ".eh_frame", ".text", ".bss", ".symtab", ".strtab", ".debug_info"}}
	at := uint64(0)
	put := func(label Label, section int32, addr, size uint64, symbol string) {
		g := Range{Label: label, Section: section, Offset: at, File: size, Addr: addr, VM: size, Symbol: symbol}
		if addr == 0 {
			g.VM = 0
		}
		at += size
		l.Ranges = append(l.Ranges, g)
	}
	put(LabelHeader, -1, 0x400, 64, "")
	put(LabelRodata, 1, 0x2000, 70, s[13].Symbols[0].Name)
	put(LabelRodata, 1, 0x2046, 90, "")
	for i := range s {
		if n := s[i].AfterFDE(); n > 0 && s[i].Live() && s[i].Kind == KindCode {
			put(LabelUnwind, 2, 0x20a0+at, n, s[i].Symbols[0].Name)
		}
	}
	put(LabelUnwind, 2, 0x2200, 264-(at-224), "")
	text := uint64(0x1000)
	for _, i := range []int{0, 1, 2, 3, 7, 9, 10, 11, 14, 15} {
		if s[i].Addr > text {
			put(LabelPadding, 3, text, s[i].Addr-text, "")
		}
		put(LabelCode, 3, s[i].Addr, s[i].After(), s[i].Symbols[0].Name)
		text = s[i].Addr + s[i].After()
	}
	put(LabelSymtab, 5, 0, 360, "")
	put(LabelStrtab, 6, 0, 300, "")
	put(LabelDebug, 7, 0, 100, "")
	put(LabelPadding, -1, 0, 2400-at, "")
	l.Ranges = append(l.Ranges, Range{Label: LabelBSS, Section: 4, Addr: 0x3000, VM: 8, Symbol: "COUNT"})
	return NewSizes("app", r, l)
}

// allViews are the views with the functions that make them.
func allViews(z *Sizes, o *ViewOptions) map[string]func() ([]*Table, error) {
	plain := func(f func(*ViewOptions) []*Table) func() ([]*Table, error) {
		return func() ([]*Table, error) { return f(o), nil }
	}
	data := *o
	data.Data = true
	return map[string]func() ([]*Table, error){
		"summary": plain(z.Summary), "top": plain(z.Top), "data": func() ([]*Table, error) { return z.Top(&data), nil }, "crates": plain(z.Crates), "sections": plain(z.SectionsView),
		"dup": plain(z.Dup), "near": plain(z.Near), "generics": plain(z.Generics), "dropped": plain(z.Dropped), "panics": plain(z.Panics),
		"why":      func() ([]*Table, error) { return z.Why("core::panicking::panic_fmt", o) },
		"retained": func() ([]*Table, error) { return z.Retained(o) },
		"diff": func() ([]*Table, error) {
			old := viewSample()
			old.Items[0].Bytes += 7
			old.FileSize += 7
			for i := range old.Items { // another hash is the same function
				if old.Items[i].Symbol == legacy('2', "json", "parse") && old.Items[i].Label == LabelCode {
					old.Items[i].Symbol = legacy('9', "json", "parse")
					old.Items[i].Bytes += 100
					old.FileSize += 100
				}
			}
			return Diff(old, z, o), nil
		},
		"advise": func() ([]*Table, error) { return []*Table{AdviceTable(z.Advise(AdviceState{}), false)}, nil },
		"regions": func() ([]*Table, error) {
			return []*Table{RegionsTable([]Region{{Name: "FLASH", Origin: 0x08000000, Length: 0x40000, Used: 38976, Loaded: 28}, {Name: "RAM", Origin: 0x20000000, Length: 0x1000, Stack: 2048}})}, nil
		},
	}
}

func TestViews(t *testing.T) {
	for name, make := range allViews(viewSample(), &ViewOptions{Rows: 20}) {
		t.Run(name, func(t *testing.T) {
			tables, err := make()
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			for _, w := range []func() error{
				func() error { return WriteText(&out, tables, TextStyle{Width: 100}) },
				func() error { return WriteMarkdown(&out, tables) },
				func() error { return WriteCSV(&out, tables) },
				func() error { return WriteJSON(&out, []View{{name, "app", tables}}) },
			} {
				if err := w(); err != nil {
					t.Fatal(err)
				}
				out.WriteString("--------\n")
			}
			golden := filepath.Join("testdata", "view", name+".golden")
			if *update {
				os.MkdirAll(filepath.Dir(golden), 0o755)
				if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("not what %s has (go test -run TestViews -update rewrites it):\n%s", golden, out.String())
			}
		})
	}
}

// checkSums fails unless a file's items add up to the file, and every view of
// the whole file says its size in the row that sums up all others.
func checkSums(t *testing.T, z *Sizes) {
	t.Helper()
	var sum uint64
	for i := range z.Items {
		sum += z.Items[i].Bytes
	}
	if sum != z.FileSize {
		t.Errorf("%s: items of %d bytes, the file has %d", z.Path, sum, z.FileSize)
	}
	for _, o := range []*ViewOptions{{}, {Rows: 2}, {Rows: 1, SplitStd: true}, {Asked: true}, {Rows: 3, Data: true}} {
		for name, view := range map[string]func(*ViewOptions) []*Table{"top": z.Top, "crates": z.Crates, "sections": z.SectionsView} {
			for _, table := range view(o) {
				c := table.column("bytes")
				var rows uint64
				for _, r := range table.Rows[:len(table.Rows)-1] {
					n, _ := r.Cells[c].(uint64)
					rows += n
				}
				if last := table.Rows[len(table.Rows)-1]; last.Kind != RowTotal || last.Cells[c] != any(z.FileSize) || rows != z.FileSize {
					t.Errorf("%s: %s with %+v: rows of %d bytes, total %v, the file has %d", z.Path, name, o, rows, last.Cells[c], z.FileSize)
				}
			}
		}
	}
}

func TestViewsAddUp(t *testing.T) {
	z := viewSample()
	checkSums(t, z)
	checkSums(t, NewSizes("app", z.Report, nil))
	f, err := NewFilter("json")
	if err != nil {
		t.Fatal(err)
	}
	table := z.Top(&ViewOptions{Filter: f})[0]
	if last := table.Rows[len(table.Rows)-1]; last.Cells[2] != any(z.FileSize) {
		t.Errorf("with a filter the total is %v, the file has %d", last.Cells[2], z.FileSize)
	}
	if name := table.Rows[0].Cells[5]; name != "json::parse" {
		t.Errorf("the filter's first function is %v, not json::parse", name)
	}
}

// TestPlainFile has views of a file that a C compiler makes, with symbols and
// stripped.
func TestPlainFile(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"a.c": "#include <stdio.h>\nint table[99] = {1};\nstatic int twice(int x) { return 2 * x; }\nint main(int n, char **v) { printf(\"%d\\n\", twice(n) + table[n]); return 0; }\n"})
	run(t, dir, "cc", "-g", "-O1", "-o", "a", "a.c")
	path := filepath.Join(dir, "a")
	z, err := Open(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if z.Report != nil || z.Stripped {
		t.Errorf("report %v, stripped %v of a plain file", z.Report, z.Stripped)
	}
	checkSums(t, z)
	var text bytes.Buffer
	if err := WriteText(&text, z.Top(&ViewOptions{}), TextStyle{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "main\n") {
		t.Errorf("top has no main:\n%s", text.String())
	}
	run(t, dir, "strip", "a")
	if z, err = Open(path, ""); err != nil {
		t.Fatal(err)
	}
	checkSums(t, z)
	text.Reset()
	if err := WriteText(&text, z.SectionsView(&ViewOptions{}), TextStyle{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), ".text\n") {
		t.Errorf("sections have no .text:\n%s", text.String())
	}
	if notes := z.Top(&ViewOptions{})[0].Notes; len(notes) != 1 || notes[0] != "a has no symbol table: only its sections can be told apart." {
		t.Errorf("notes of a stripped file: %q", notes)
	}
}

// TestCapturedViews checks a report of a real program with its file beside it,
// which LEANLINK_REPORT names: views add up.
func TestCapturedViews(t *testing.T) {
	path := os.Getenv("LEANLINK_REPORT")
	if path == "" {
		t.Skip("LEANLINK_REPORT names no report of a real link")
	}
	z, err := Open(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if z.Layout == nil {
		t.Fatalf("%s: its file is not beside it", path)
	}
	checkSums(t, z)
	checkSums(t, NewSizes(path, z.Report, nil))
}

func TestViewFormatsAreValid(t *testing.T) {
	z := viewSample()
	z.Items[0].Symbol = "=cmd|'/c calc'!A0\x1b[31m\xff"
	z.Items[0].Label = LabelCode
	tables := z.Top(&ViewOptions{})
	var out bytes.Buffer
	if err := WriteJSON(&out, []View{{"top", "a\"b", tables}}); err != nil {
		t.Fatal(err)
	}
	var v struct {
		Schema int
		Files  []struct {
			File   string
			Tables []struct{ Rows []map[string]any }
		}
	}
	if err := json.Unmarshal(out.Bytes(), &v); err != nil {
		t.Fatalf("%v:\n%s", err, out.String())
	}
	if v.Schema != ViewSchema || v.Files[0].File != `a"b` || len(v.Files[0].Tables[0].Rows) != len(tables[0].Rows) {
		t.Errorf("read back as %+v", v)
	}
	out.Reset()
	if err := WriteCSV(&out, tables); err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, r := range records {
		found = found || strings.HasPrefix(r[5], "'=cmd")
	}
	if !found {
		t.Errorf("a name that a spreadsheet would run is not quoted: %q", records)
	}
	out.Reset()
	if err := WriteText(&out, tables, TextStyle{}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b") || strings.Contains(out.String(), "\xff") {
		t.Errorf("a terminal would obey a name: %q", out.String())
	}
}

func TestSortBy(t *testing.T) {
	table := viewSample().Top(&ViewOptions{Sort: "name"})[0]
	var names []string
	for _, r := range table.Rows {
		if r.Kind == RowPlain {
			names = append(names, r.Cells[5].(string))
		}
	}
	for i := 1; i < len(names); i++ {
		if names[i] < names[i-1] {
			t.Errorf("not sorted by name: %q", names)
		}
	}
	if err := table.SortBy("nothing"); err == nil || err.Error() != `no column "nothing" to sort by; functions has share, of_code, bytes, crate, asked_by, name` {
		t.Errorf("sorting by no column: %v", err)
	}
}

// TestRetained checks dominators against their definition: what is not reached
// when a node is taken away.
func TestRetained(t *testing.T) {
	z := viewSample()
	g, err := z.outputGraph()
	if err != nil {
		t.Fatal(err)
	}
	idom, order := g.dominators()
	sizes := make(map[SectionIndex]uint64)
	for k := len(order) - 1; k >= 0; k-- {
		sizes[order[k]] += g.bytes(order[k])
		sizes[idom[order[k]]] += sizes[order[k]]
	}
	all := g.sum(g.reach(nil))
	for _, i := range order {
		without := g.sum(g.reach(func(k SectionIndex) bool { return k == i }))
		if sizes[i] != all-without {
			t.Errorf("%s retains %d bytes, without it %d of %d go", z.Report.SectionName(i, false), sizes[i], all-without, all)
		}
	}
}

func TestWhyErrors(t *testing.T) {
	z := viewSample()
	for symbol, want := range map[string]string{
		"json::dead": "json::dead is not in the output: nothing reaches it",
		"nonsense":   `no symbol in the output is called "nonsense" or has that in its name`,
	} {
		if _, err := z.Why(symbol, &ViewOptions{}); err == nil || err.Error() != want {
			t.Errorf("why %s: %v, want %s", symbol, err, want)
		}
	}
	z = viewSample()
	z.Report.Edges = Edges{}
	if _, err := z.Why("main", &ViewOptions{}); err != ErrNoEdges {
		t.Errorf("without references: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := mustWrite(t, sample())
	for path, want := range map[string]string{
		filepath.Join(dir, "nothing"):            "nothing: no such file or directory",
		dir:                                      ": is a folder",
		write("lib.a", []byte("!<arch>\nx")):     "lib.a: a static library is not linked yet and has no sizes; measure what it is linked into",
		write("empty", nil):                      "empty: the file is empty",
		write("text", []byte("hello")):           "text: neither an ELF file nor a report of leanlink",
		write("cut.gz", file[:len(file)/2]):      "cut.gz: truncated or damaged report: it ends too early",
		write("other", []byte(`{"format":"x"}`)): "other: not a leanlink report",
	} {
		_, err := Open(path, "")
		if err == nil || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want …%s", path, err, want)
		}
	}
}

// TestRegions links a small image as firmware is: its data lies in flash until
// the program has copied it.
func TestRegions(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"a.c": "int data[100] = {1};\nint zero[50];\nvoid _start(void) { data[0] = zero[0]; }\n",
		"a.ld": "MEMORY { FLASH : ORIGIN = 0x10000, LENGTH = 64K RAM : ORIGIN = 0x200000, LENGTH = 64K }\n" +
			"SECTIONS { .text : { *(.text*) } >FLASH .data : { *(.data*) } >RAM AT>FLASH .bss : { *(.bss*) *(COMMON) } >RAM /DISCARD/ : { *(*) } }\n"})
	run(t, dir, "cc", "-c", "-O1", "-fno-common", "-fno-asynchronous-unwind-tables", "-fno-pic", "a.c")
	run(t, dir, "ld", "-z", "max-page-size=16", "-z", "noseparate-code", "-T", "a.ld", "-o", "a", "a.o")
	f, err := elf.Open(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := f.Section(".text").Size
	regions := []Region{{Name: "FLASH", Origin: 0x10000, Length: 64 << 10}, {Name: "RAM", Origin: 0x200000, Length: 64 << 10}}
	if err := UseRegions(filepath.Join(dir, "a"), regions); err != nil {
		t.Fatal(err)
	}
	if got := regions[1].Used; got < 600 || got > 640 {
		t.Errorf("RAM: %d bytes, of 400 of data and 200 of zeros", got)
	}
	if got := regions[0].Used; got < text+400 || got > text+440 {
		t.Errorf("FLASH: %d bytes, of %d of code and 400 of data", got, text)
	}
}

// TestLoadedAddsUp checks that what the tree calls loaded is what the layout
// does.
func TestLoadedAddsUp(t *testing.T) {
	z := viewSample()
	z.LoadSize = 0
	for _, r := range z.Layout.Ranges {
		if r.VM > 0 {
			z.LoadSize += r.File
		}
	}
	tree := z.Tree(&ViewOptions{}, 10)
	if loaded := tree.After - tree.Unloaded; loaded != z.LoadSize {
		t.Errorf("the tree has %d loaded bytes, the layout %d", loaded, z.LoadSize)
	}
}
