package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
)

var update = flag.Bool("update", false, "rewrite testdata")

const testHash = "17h0123456789abcdefE"

// sample is a small report with something of everything.
func sample() *Report {
	r := &Report{
		Tool:    "leanlink 0.1.0",
		Command: []string{"-m64", "app.rcgu.o", "-Wl,--as-needed", "-o", "target/release/deps/app"},
		Stamp:   "5f2a",
		Modes: Modes{Fold: "safe", GC: true, Linker: "lld", Style: "cc", Triple: "x86_64-unknown-linux-gnu", Machine: "x86_64",
			Profile: "release", Package: "app", Keep: []string{"app::*"}, Could: map[string]uint64{AllAborting: 7000, "trim.panic=trap": 5000}},
		Inputs: []Input{
			{Path: "app-0123456789abcdef.app.1a-cgu.0.rcgu.o", Crate: "app", Size: 9000, Fate: InputRewritten},
			{Path: "libz.so", Fate: InputAlone, Reason: "shared object", Size: 7},
			{Path: "target/libjson-0123456789abcdef.rlib", Member: "json.1b-cgu.0.rcgu.o", Crate: "json", Size: 5000},
		},
		Roots:  []Root{{0, "entry point"}, {7, "unwind tables"}},
		Output: Output{Name: "target/release/deps/app", Size: 20000, Alloc: 130, BuildID: "ab12", Hash: "cd34", Sections: []OutputSection{{Name: ".text", Addr: 0x1000, Size: 130, File: 130, Alloc: true}, {Name: ".bss", Addr: 0xffffffff80000000, Size: 8, Alloc: true}, {Name: ".symtab", Size: 90, File: 90}}},
		Sections: []Section{
			0: {Input: 0, Index: 3, Name: ".text.main", Size: 40, Align: 16, Kind: KindCode, Symbols: []Symbol{{"main", 0, 40}}, Fate: FateIneligible, Reason: ReasonExported, FDE: 24, LSDA: 12, Addr: 0x1000},
			1: {Input: 0, Index: 5, Name: ".text._ZN3app3run" + testHash, Size: 60, Align: 16, Kind: KindCode, Symbols: []Symbol{{"_ZN3app3run" + testHash, 0, 60}}, FDE: 32, Class: 90, Shape: 7, Addr: 0x1030},
			2: {Input: 0, Index: 6, Name: ".gcc_except_table._ZN3app3run" + testHash, Size: 12, Align: 4, Kind: KindLSDA, Symbols: []Symbol{{"GCC_except_table10", 0, 0}}},
			3: {Input: 0, Index: 9, Name: ".rodata..Lanon.00ff.10", Size: 8, Kind: KindRodata, Class: 4, Shape: 4},
			4: {Input: 2, Index: 1, Name: ".text._RNvCs1_4json3run", Size: 60, Align: 32, Kind: KindCode, Symbols: []Symbol{{"_RNvCs1_4json3run", 0, 60}}, Fate: FateFolded, FDE: 32, Class: 90, Shape: 7},
			5: {Input: 2, Index: 2, Name: ".text._RNvCs1_4json4walk", Size: 60, Align: 16, Kind: KindCode, Symbols: []Symbol{{"_RNvCs1_4json4walk", 0, 60}, {"\xff\xfe", 8, 3}}, Fate: FateThunk, NewSize: 5, FDE: 32, NewFDE: 20, Class: 90, Shape: 7, Addr: 0x2000},
			6: {Input: 2, Index: 4, Name: ".rodata..Lanon.00ff.11", Size: 8, Kind: KindRodata, Fate: FateFolded, Class: 4, Shape: 4},
			7: {Input: 2, Index: 8, Name: ".eh_frame", Size: 28, Align: 8, Kind: KindUnwind, Fate: FateIneligible, Reason: "bound to code"},
			8: {Input: 2, Index: 9, Name: ".text._ZN4json4dead" + testHash, Size: 100, Align: 16, Kind: KindCode, Symbols: []Symbol{{"_ZN4json4dead" + testHash, 0, 100}}, Fate: FateDropped, Reason: ReasonUnreached, FDE: 24},
			9: {Input: 2, Index: 12, Name: ".bss.COUNT", Size: 8, Align: 8, Kind: KindBSS, Symbols: []Symbol{{"COUNT", 0, 8}}, Fate: FateIneligible, Reason: ReasonWritable, Addr: 0xffffffff80000000},
		},
		Edges: Edges{Start: []uint32{0, 3, 5, 5, 5, 6, 7, 7, 7, 7, 7}, To: []SectionIndex{1, 4, 5, 2, 3, 6, 6}},
	}
	for i := range r.Sections {
		r.Sections[i].Into = None
	}
	r.Sections[4].Into, r.Sections[5].Into, r.Sections[6].Into = 1, 1, 3
	r.Tally()
	return r
}

func mustWrite(tb testing.TB, r *Report) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := Write(&b, r); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func unpack(tb testing.TB, b []byte) []byte {
	tb.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func pack(text []byte) []byte {
	var b bytes.Buffer
	z := newPacker(&b, 6)
	z.Write(text)
	z.Close()
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	r := sample()
	file := mustWrite(t, r)
	if again := mustWrite(t, sample()); !bytes.Equal(file, again) {
		t.Error("equal reports make different files")
	}
	back, err := Read(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	// Write renumbers groups and forgets that section 3's shape is its class.
	want := sample()
	for i := range want.Sections {
		s := &want.Sections[i]
		s.Class = map[uint32]uint32{90: 1, 4: 2, 0: 0}[s.Class]
		s.Shape = map[uint32]uint32{7: 1, 4: 2, 0: 0}[s.Shape]
	}
	if d := cmp.Diff(want, back); d != "" {
		t.Errorf("what was read is not what was written (-written +read):\n%s", d)
	}
	if again := mustWrite(t, back); !bytes.Equal(file, again) {
		t.Error("a report read and written again is another file")
	}
	if plain, err := Read(bytes.NewReader(unpack(t, file))); err != nil || cmp.Diff(back, plain) != "" {
		t.Errorf("unpacked it reads differently: %v", err)
	}

	// What is begun before the output is there ends as what is written at once,
	// whatever was expected of the output.
	for _, expected := range []uint64{0, 1, r.Output.Size, 1 << 40} {
		r := sample()
		output := r.Output
		r.Output = Output{}
		for i := range r.Sections {
			r.Sections[i].Addr = 0
		}
		begun, err := Begin(r, r.Rows(), func(*Sums) uint64 { return expected })
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range sample().Sections {
			begun.addr[i] = s.Addr
		}
		r.Output = output
		var late bytes.Buffer
		if err := begun.Write(&late); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(late.Bytes(), file) {
			t.Errorf("a report that was begun early, for an output of %d bytes, is another file", expected)
		}
	}
}

func TestEmpty(t *testing.T) {
	back, err := Read(bytes.NewReader(mustWrite(t, &Report{})))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&Report{}, back, cmp.Comparer(func(a, b []Section) bool { return len(a) == len(b) })); d != "" {
		t.Error(d)
	}
}

// The file's text is the schema: a change here is a change of schema.
func TestGolden(t *testing.T) {
	golden := filepath.Join("testdata", "sample.json")
	got := unpack(t, mustWrite(t, sample()))
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("another text than %s (-want +got):\n%s", golden, d)
	}
}

func TestTally(t *testing.T) {
	r := sample()
	want := Totals{
		Before:       Bytes{KindCode: 220, KindLSDA: 12, KindRodata: 16, KindBSS: 8, KindUnwind: 24 + 32 + 32 + 32 + 28},
		After:        Bytes{KindCode: 105, KindLSDA: 12, KindRodata: 8, KindBSS: 8, KindUnwind: 24 + 32 + 20 + 28},
		Folded:       2,
		Thunks:       1,
		Dropped:      1,
		DroppedBytes: 124,
	}
	if d := cmp.Diff(want, r.Totals); d != "" {
		t.Error(d)
	}
	if got := r.Totals.After.InFile(); got != r.Totals.After.Sum()-8 {
		t.Errorf("InFile = %d", got)
	}
	for i, want := range []string{"", "app", "app", "", "json", "json", "", "", "json", ""} {
		if got := r.Sections[i].Defined; got != want {
			t.Errorf("section %d is defined by %q, want %q", i, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := sample().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*Report)
		want   string
	}{
		{func(r *Report) { r.Sections[1].Input = 3 }, "report: section 1 (.text._ZN3app3run" + testHash + "): no such input: 3"},
		{func(r *Report) { r.Sections[1].Input = -1 }, "report: section 1 (.text._ZN3app3run" + testHash + "): no such input: -1"},
		{func(r *Report) { r.Sections[3].Index = 6 }, "report: section 3 (.rodata..Lanon.00ff.10): out of order: input 0, index 6 after input 0, index 6"},
		{func(r *Report) { r.Sections[0].Kind = NumKinds }, "report: section 0 (.text.main): no such kind: 12"},
		{func(r *Report) { r.Sections[0].Fate = 9 }, "report: section 0 (.text.main): no such fate: 9"},
		{func(r *Report) { r.Sections[0].Size = 1 << 60 }, "report: section 0 (.text.main): size 1152921504606846976, FDEs 24: more than any file holds"},
		{func(r *Report) { r.Sections[0].Align = 12 }, "report: section 0 (.text.main): alignment 12 is not a power of two"},
		{func(r *Report) { r.Sections[6].Into = 99 }, "report: section 6 (.rodata..Lanon.00ff.11): folded into no such section: 99"},
		{func(r *Report) { r.Sections[4].Into = 5 }, "report: section 4 (.text._RNvCs1_4json3run): folded into section 5, which is thunk"},
		{func(r *Report) { r.Sections[4].Into = 8 }, "report: section 4 (.text._RNvCs1_4json3run): folded into section 8, which is dropped"},
		{func(r *Report) { r.Sections[6].Into = 1 }, "report: section 6 (.rodata..Lanon.00ff.11): rodata section folded into code"},
		{func(r *Report) { r.Sections[1].Into = 0 }, "report: section 1 (.text._ZN3app3run" + testHash + "): kept, yet stands for section 0"},
		{func(r *Report) { r.Sections[5].NewSize = 61 }, "report: section 5 (.text._RNvCs1_4json4walk): a jump of 61 bytes and 20 of FDEs for 60 and 32"},
		{func(r *Report) { r.Sections[1].NewSize = 1 }, "report: section 1 (.text._ZN3app3run" + testHash + "): kept, yet has a new size"},
		{func(r *Report) { r.Sections[8].Reason = "" }, `report: section 8 (.text._ZN4json4dead` + testHash + `): dropped with reason ""`},
		{func(r *Report) { r.Sections[1].Reason = "x" }, `report: section 1 (.text._ZN3app3run` + testHash + `): kept with reason "x"`},
		{func(r *Report) { r.Inputs[1].Fate = 7 }, "report: input 1 (libz.so): no such fate: 7"},
		{func(r *Report) { r.Roots[1].Section = 8 }, "report: root 1: section 8 is not live"},
		{func(r *Report) { r.Roots[1].Section = 10 }, "report: root 1: section 10 is not live"},
		{func(r *Report) { r.Edges.To[0] = 8 }, "report: edges: section 0 refers to 8, which is not live"},
		{func(r *Report) { r.Edges.To[0] = 4 }, "report: edges: targets of section 0 are not ascending"},
		{func(r *Report) { r.Edges.Start[8] = 6; r.Edges.Start[7] = 6; r.Edges.Start[6] = 6 }, "report: edges: section 8 was dropped, yet refers to others"},
		{func(r *Report) { r.Edges.Start[3] = 4 }, "report: edges: Start is not ascending at section 2"},
		{func(r *Report) { r.Edges.Start = r.Edges.Start[:9] }, "report: edges: Start does not fit 10 sections and 7 targets"},
		{func(r *Report) { r.Edges.Start = nil }, "report: edges without Start"},
		{func(r *Report) { r.Sections[0].Size++ }, "report: totals are not the sum of the sections: 404 bytes before and 237 after, the sections have 405 and 238"},
		{func(r *Report) { r.Output.Alloc++ }, "report: output: 131 allocated bytes, its sections have 130"},
	} {
		r := sample()
		c.change(r)
		err := r.Validate()
		if fmt.Sprint(err) != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
		var b bytes.Buffer
		if err := Write(&b, r); err == nil || b.Len() > 0 {
			t.Errorf("%s: was written", c.want)
		}
	}
}

func TestReadErrors(t *testing.T) {
	file := mustWrite(t, sample())
	text := string(unpack(t, file))
	edit := func(old, new string) []byte {
		if !strings.Contains(text, old) {
			t.Fatalf("the sample has no %s", old)
		}
		return pack([]byte(strings.Replace(text, old, new, 1)))
	}
	for _, c := range []struct {
		name string
		data []byte
		is   error
		want string
	}{
		{"nothing", nil, ErrTruncated, "truncated or damaged report: the file is empty"},
		{"an ELF file", []byte("\x7fELF\x02\x01\x01"), ErrNotReport, "not a leanlink report"},
		{"half of it", file[:len(file)/2], ErrTruncated, "truncated or damaged report: it ends too early"},
		{"one byte short", file[:len(file)-1], ErrTruncated, "truncated or damaged report: it ends too early"},
		{"only gzip's first bytes", file[:2], ErrTruncated, "truncated or damaged report: it ends too early"},
		{"a bit flipped", append(append([]byte(nil), file[:len(file)-6]...), append([]byte{file[len(file)-6] ^ 1}, file[len(file)-5:]...)...), ErrTruncated, "truncated or damaged report: gzip: invalid checksum"},
		{"other JSON", pack([]byte(`{"a":1}`)), ErrNotReport, "not a leanlink report"},
		{"JSON that is no object", pack([]byte(`[1]`)), ErrNotReport, "not a leanlink report"},
		{"no JSON", pack([]byte(`{"format":`)), ErrTruncated, "truncated or damaged report: unexpected end of JSON input at byte 10"},
		{"a later schema", edit(`"schema":3`, `"schema":4`), ErrSchema, "report of another schema version: it has version 4, this program reads version 3"},
		{"an earlier schema", edit(`"schema":3`, `"schema":2`), ErrSchema, "report of another schema version: it has version 2, this program reads version 3"},
		{"a later schema with other types", pack([]byte(`{"format":"leanlink-report","schema":7,"tool":[1]}`)), ErrSchema, "report of another schema version: it has version 7, this program reads version 3"},
		{"a text for a column", edit(`"size":[40`, `"size":["x"`), ErrTruncated, `truncated or damaged report: a column has something else than a whole number: "\"x\",60,12,8,60,60,8,"`},
		{"a fraction in a column", edit(`"size":[40`, `"size":[40.5`), ErrTruncated, `truncated or damaged report: a column has something else than a whole number: ".5,60,12,8,60,60,8,2"`},
		{"a short column", edit(`"size":[40,`, `"size":[`), ErrTruncated, "truncated or damaged report: sections: 10, columns of 10 and 9 entries"},
		{"wrong totals", edit(`"folded":2`, `"folded":3`), ErrTruncated, "truncated or damaged report: report: totals are not the sum of the sections: 404 bytes before and 237 after, the sections have 404 and 237"},
		{"a negative size", edit(`"size":[40`, `"size":[-40`), ErrTruncated, "truncated or damaged report: section 0: size: -40 is out of range"},
		{"an unknown fate", edit(`"fates":["kept"`, `"fates":["lost"`), ErrTruncated, `truncated or damaged report: form 1: no such fate: "lost"`},
		{"a string too far", edit(`"text":[0`, `"text":[99`), ErrTruncated, "truncated or damaged report: names: no such string: -99"},
		{"a string before there is one", edit(`"text":[0`, `"text":[1`), ErrTruncated, "truncated or damaged report: names: no such string: -1"},
		{"a string too few", edit(`,"COUNT"]`, `]`), ErrTruncated, "truncated or damaged report: names: 8 strings, 9 that share"},
		{"more shared than there is", edit(`"shared":[0,0`, `"shared":[0,5`), ErrTruncated, "truncated or damaged report: names: shared: 5 is out of range"},
		{"a name too few", edit(`"text":[0,0,0,0,0,0,0,4,0,0],`+"\n"+`"tail":[0,1,2,2,0,0,0,2,1,0]`, `"text":[0,0,0,0,0,0,0,4,0],`+"\n"+`"tail":[0,1,2,2,0,0,0,2,1]`), ErrTruncated, "truncated or damaged report: section 9: names: too few"},
		{"a name too many", edit(`"text":[0,`, `"text":[0,1,`), ErrTruncated, "truncated or damaged report: names: 11 texts, 10 tails"},
		{"no such tail", edit(`"tail":[0`, `"tail":[3`), ErrTruncated, "truncated or damaged report: names: no such tail: 3"},
		{"hashes too few", edit(`8BI0VniavN7w==`, `8=`), ErrTruncated, "truncated or damaged report: names: too few hashes"},
		{"numbers too few", edit(`"number":[10,0,1]`, `"number":[10,0]`), ErrTruncated, "truncated or damaged report: names: numbers: too few"},
		{"a form too far", edit(`"form":[0,1`, `"form":[0,10`), ErrTruncated, "truncated or damaged report: section 1: no such form: 10"},
		{"a form short", edit(`"kind":[0,0,7`, `"kind":[0,7`), ErrTruncated, "truncated or damaged report: forms: columns of 10 and 9 entries"},
		{"no such place of a name", edit(`"name":[1,1,2,1,1,1,1,0`, `"name":[3,1,2,1,1,1,1,0`), ErrTruncated, "truncated or damaged report: form 0: name: 3 is out of range"},
		{"a symbol without a name", edit(`"name":[1,1,2,1,1,1,1,0`, `"name":[0,1,2,1,1,1,1,0`), ErrTruncated, "truncated or damaged report: form 0: a symbol has the name of a section that has none"},
		{"FDEs too few", edit(`"fde":[24,32,32,32,24]`, `"fde":[24,32,32,32]`), ErrTruncated, "truncated or damaged report: section 8: fde: too few"},
		{"FDEs too many", edit(`"fde":[24,32,32,32,24]`, `"fde":[24,32,32,32,24,1]`), ErrTruncated, "truncated or damaged report: fde: 1 too many"},
		{"leaders too few", edit(`"into":[3,4,3]`, `"into":[3,4]`), ErrTruncated, "truncated or damaged report: section 6: into: too few"},
		{"jumps too few", edit(`"jump":[5]`, `"jump":[]`), ErrTruncated, "truncated or damaged report: section 5: jump: too few"},
		{"addresses too few", edit(`3985,0,-2147483648]`, `3985,0]`), ErrTruncated, "truncated or damaged report: section 9: addr: too few"},
		{"symbols too many", edit(`"symbols":{"name":[1,0,1],`+"\n"+`"offset":[0,0,8],`+"\n"+`"size":[0,-1,3]`, `"symbols":{"name":[1,0,1,0],`+"\n"+`"offset":[0,0,8,0],`+"\n"+`"size":[0,-1,3,0]`), ErrTruncated, "truncated or damaged report: symbols: 4, sections have 3"},
		{"symbols without end", edit(`"symbols":[-1,-1,1`, `"symbols":[-1,-1,2147483647`), ErrTruncated, "truncated or damaged report: symbols: 3, sections have 2147483647"},
		{"targets too few", edit(`"to":[1,3,1,1,1,2,1]`, `"to":[1,3,1,1,1,2]`), ErrTruncated, "truncated or damaged report: edges: 1 is out of range"},
		{"counts too few", edit(`"count":[3,2,0,0,1,1,0,0,0]`, `"count":[3,2,0,0,1,1,0,0]`), ErrTruncated, "truncated or damaged report: edges: too few"},
	} {
		_, err := Read(bytes.NewReader(c.data))
		if !errors.Is(err, c.is) || fmt.Sprint(err) != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
		}
	}
}

// Each prefix of a file is refused, with one line.
func TestReadTruncated(t *testing.T) {
	file := mustWrite(t, sample())
	for n := range file {
		_, err := Read(bytes.NewReader(file[:n]))
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
}

// A small file can unfold to a huge one; reading stops.
func TestReadBomb(t *testing.T) {
	defer func(old int64) { maxSize = old }(maxSize)
	maxSize = 1 << 20
	_, err := Read(bytes.NewReader(pack(make([]byte, maxSize+1))))
	if want := "not a leanlink report: it unfolds to more than 1048576 bytes"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	// A long string that is part of many names is the other way.
	text := `{"format":"leanlink-report","schema":3,"strings":["","` + strings.Repeat("a", 1<<12) + `"],"names":{"shared":[0,0],"text":[0,0` + strings.Repeat(",1", 600) + `],"tail":[0,2` + strings.Repeat(",2", 600) +
		`],"number":[1` + strings.Repeat(",1", 600) + `]}}`
	_, err = Read(strings.NewReader(text))
	if want := "truncated or damaged report: names: more than 1048576 bytes"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	// And strings that share all of it.
	text = `{"format":"leanlink-report","schema":3,"strings":["` + strings.Repeat("a", 1<<12) + `"` + strings.Repeat(`,""`, 600) + `],"names":{"shared":[0` + strings.Repeat(",4096", 600) + `]}}`
	_, err = Read(strings.NewReader(text))
	if want := "truncated or damaged report: names: strings of more than 1048576 bytes"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing"+Suffix)
	if _, err := ReadFile(missing); fmt.Sprint(err) != missing+": no such file or directory" {
		t.Error(err)
	}
	if _, err := ReadFile(dir); fmt.Sprint(err) != dir+": reading: is a directory" {
		t.Error(err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(text); fmt.Sprint(err) != text+": not a leanlink report" {
		t.Error(err)
	}
}

// A small output makes the report shrink in steps, and say so.
func TestLimit(t *testing.T) {
	r := &Report{Inputs: []Input{{Path: "a.o"}}, Edges: Edges{Start: []uint32{0}}}
	seed := uint64(1)
	random := func() uint64 { seed = seed*6364136223846793005 + 1442695040888963407; return seed }
	const n = 3000
	for i := range n {
		s := Section{Index: uint32(i + 1), Size: uint64(16 + i%4*1000), Into: None, Kind: KindCode}
		name := fmt.Sprintf("_ZN3app16%016x17h%016xE", random(), random())
		s.Name, s.Symbols = ".text."+name, []Symbol{{name, 0, s.Size}}
		if i%2 == 1 {
			s.Fate, s.Reason = FateDropped, ReasonUnreached
		} else {
			from := int(random() % 1000 * 2)
			for k := range 3 {
				r.Edges.To = append(r.Edges.To, SectionIndex(from+k*2))
			}
		}
		r.Edges.Start = append(r.Edges.Start, uint32(len(r.Edges.To)))
		r.Sections = append(r.Sections, s)
	}
	r.Tally()
	// Sizes of the output for which the report of each step just fits; its
	// size is in the report and takes some bytes itself.
	fits := func(o omission) int {
		u, err := Begin(r, r.Rows(), func(*Sums) uint64 { return 0 })
		if err != nil {
			t.Fatal(err)
		}
		c, err := u.columns(o)
		if err != nil {
			t.Fatal(err)
		}
		return 10 * (len(u.newVersion(o, c).end(u)) + 50)
	}
	for _, c := range []struct {
		size    int
		large   bool // of the dropped sections, the large ones remain
		omitted []string
	}{
		{0, false, nil},
		{fits(omission{hard: true}), false, nil},
		{fits(omission{hard: true, hashes: true}), false, []string{OmitHashes}},
		{fits(omission{hard: true, hashes: true, dropped: 1024}), true, []string{OmitHashes, OmitDropped}},
		{fits(omission{hard: true, hashes: true, dropped: math.MaxUint64}), false, []string{OmitHashes, OmitDropped}},
		{fits(omission{hard: true, hashes: true, dropped: math.MaxUint64, edges: true}), false, []string{OmitHashes, OmitDropped, OmitEdges}},
		{1, false, []string{OmitHashes, OmitDropped, OmitEdges}},
	} {
		r.Output.Size = uint64(c.size)
		file := mustWrite(t, r)
		// A wrong guess of the output's size changes nothing but how hard it is
		// compressed.
		for _, expected := range []uint64{0, 1, uint64(c.size)/2 + 1, uint64(c.size) * 3, 1 << 40} {
			var b bytes.Buffer
			if begun, err := Begin(r, r.Rows(), func(*Sums) uint64 { return expected }); err != nil {
				t.Fatal(err)
			} else if err := begun.Write(&b); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(unpack(t, b.Bytes()), unpack(t, file)) {
				t.Errorf("output of %d bytes where %d were expected: another report", c.size, expected)
			}
			if tooLarge(uint64(b.Len()), uint64(c.size)) && !tooLarge(uint64(len(file)), uint64(c.size)) {
				t.Errorf("output of %d bytes where %d were expected: a report of %d bytes", c.size, expected, b.Len())
			}
		}
		back, err := Read(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.omitted, back.Omitted); d != "" {
			t.Errorf("output of %d bytes, report of %d: %s", c.size, len(file), d)
		}
		// Section 1 was dropped and has 1016 bytes, section 3 has 3016.
		var names []string
		for i := range back.Sections[:4] {
			names = append(names, back.Sections[i].Name)
		}
		want := []string{r.Sections[0].Name, r.Sections[1].Name, r.Sections[2].Name, r.Sections[3].Name}
		unhashed := func(s string) string { return s[:len(s)-len(testHash)] + "17h0000000000000000E" }
		switch {
		case c.large:
			want = []string{want[0], want[2], unhashed(want[3]), r.Sections[4].Name}
		case len(c.omitted) == 1:
			want = []string{want[0], unhashed(want[1]), want[2], unhashed(want[3])}
		case len(c.omitted) > 1:
			want = []string{want[0], want[2], r.Sections[4].Name, r.Sections[6].Name}
		}
		if d := cmp.Diff(want, names); d != "" {
			t.Errorf("omitting %v: %s", c.omitted, d)
		}
		if back.Edges.Start != nil {
			last := SectionIndex(len(back.Sections) - 1)
			for !back.Sections[last].Live() {
				last--
			}
			var to []string
			for _, e := range back.Edges.Of(last) {
				to = append(to, back.Sections[e].Name)
			}
			var wantTo []string
			for _, e := range r.Edges.Of(n - 2) {
				wantTo = append(wantTo, r.Sections[e].Name)
			}
			if d := cmp.Diff(wantTo, to); d != "" {
				t.Errorf("omitting %v: the last section refers to: %s", c.omitted, d)
			}
		}
		if (back.Edges.Start == nil) != (len(c.omitted) == 3) {
			t.Errorf("omitting %v, edges are there: %v", c.omitted, back.Edges.Start != nil)
		}
		if back.Totals != r.Totals {
			t.Error("totals changed")
		}
	}
}

func TestWriteFails(t *testing.T) {
	if err := Write(failingWriter{}, sample()); fmt.Sprint(err) != "report: writing: disk full" {
		t.Error(err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// What cannot be said in JSON must come back as it was.
func TestText(t *testing.T) {
	for _, s := range []string{"", "plain", `quo"te\`, "ünï", "<&>", "\x00", "\x00a", "\xff", "a\xffü", "\u2028", "new\nline", "\x7f"} {
		j := appendText(nil, s)
		text := `{"format":"leanlink-report","schema":3,"tool":` + string(j) + "}"
		r, err := Read(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%q as %s: %v", s, j, err)
		}
		if r.Tool != s {
			t.Errorf("%q became %s and then %q", s, j, r.Tool)
		}
	}
	if _, err := Read(strings.NewReader(`{"format":"leanlink-report","schema":3,"tool":"\u0000\u0100"}`)); fmt.Sprint(err) != "truncated or damaged report: a string of bytes has a character that is none: 'Ā'" {
		t.Error(err)
	}
}

// Any byte at any place of a word is looked at.
func TestIsPlain(t *testing.T) {
	for at := range 19 {
		for c := range 256 {
			s := []byte("_ZN4core3fmt5WriteE!")
			s[at] = byte(c)
			want := c >= ' ' && c < 0x7f && c != '"' && c != '\\'
			if got := isPlain(string(s)); got != want {
				t.Errorf("%q: %v", s, got)
			}
		}
	}
}

// A name is its base and its tail, and no two names have one key.
func TestTails(t *testing.T) {
	keys := map[uint64]string{}
	for _, c := range []struct {
		name, base string
		tail       nameTail
	}{
		{"", "", nameTail{}},
		{"main", "main", nameTail{}},
		{"main0", "main0", nameTail{}},
		{"main1", "main", nameTail{tailNumber, 1}},
		{"main01", "main0", nameTail{tailNumber, 1}},
		{"main00", "main00", nameTail{}},
		{"1", "", nameTail{tailNumber, 1}},
		{"a1234567890", "a1", nameTail{tailNumber, 234567890}},
		{"_ZN1a17h0000000000000000E", "_ZN1a", nameTail{tailHash, 0}},
		{"_ZN1a17h0000000000000001E", "_ZN1a", nameTail{tailHash, 1}},
		{"_ZN1a17hfedcba9876543210E", "_ZN1a", nameTail{tailHash, 0xfedcba9876543210}},
		{"_ZN1a17hFEDCBA9876543210E", "_ZN1a17hFEDCBA9876543210E", nameTail{}},
		{"_ZN1a17h00000000000000g0E", "_ZN1a17h00000000000000g0E", nameTail{}},
		{"_ZN1a17h0000000000000001", "_ZN1a17h000000000000000", nameTail{tailNumber, 1}},
		{"_ZN1a", "_ZN1a", nameTail{}},
		{"_ZN1a1", "_ZN1a", nameTail{tailNumber, 1}},
		{"xZN1a17h0000000000000001E", "xZN1a17h0000000000000001E", nameTail{}},
	} {
		base, tail := cutTail(c.name)
		if base != c.base || tail != c.tail {
			t.Errorf("%q: %q and %v", c.name, base, tail)
		}
		key := keyOf(c.name)
		if other, ok := keys[key]; ok {
			t.Errorf("%q and %q have one key", other, c.name)
		}
		keys[key] = c.name
	}
}

func FuzzRead(f *testing.F) {
	file := mustWrite(f, sample())
	text := unpack(f, file)
	f.Add(file)
	f.Add(text)
	f.Add([]byte(`{"format":"leanlink-report","schema":3,"inputs":[{"fate":"alone","sections":4294967295}]}`))
	f.Add([]byte(`{"format":"leanlink-report","schema":3,"sections":null,"edges":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Read(bytes.NewReader(data))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of several lines: %q", err)
			}
			return
		}
		r.Output.Size = 0 // keep everything
		first := mustWrite(t, r)
		back, err := Read(bytes.NewReader(first))
		if err != nil {
			t.Fatalf("what was written can't be read: %v", err)
		}
		if second := mustWrite(t, back); !bytes.Equal(first, second) {
			t.Error("a report read and written again is another file")
		}
		back.AddressTable().Names(0x1000)
		if err := Summary(io.Discard, back); err != nil {
			t.Error(err)
		}
	})
}

// Each field of the file is on the page that documents it.
func TestSchemaPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "report-schema.md"))
	if err != nil {
		t.Fatal(err)
	}
	var file any
	if err := json.Unmarshal(unpack(t, mustWrite(t, sample())), &file); err != nil {
		t.Fatal(err)
	}
	var check func(v any)
	check = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, inner := range v {
				if !bytes.Contains(page, []byte("`"+key+"`")) && !bytes.Contains(page, []byte("`edges."+key+"`")) {
					t.Errorf("docs/report-schema.md does not name `%s`", key)
				}
				check(inner)
			}
		case []any:
			for _, inner := range v {
				check(inner)
			}
		}
	}
	check(file)
	for _, s := range []string{OmitHashes, OmitDropped, OmitEdges, Suffix, formatName} {
		if !bytes.Contains(page, []byte(s)) {
			t.Errorf("docs/report-schema.md does not name %s", s)
		}
	}
}
