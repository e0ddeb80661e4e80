package debuginfo

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"leanlink/objfile"
)

// assemble makes an object of GNU assembler's text.
func assemble(t testing.TB, name, text string) *objfile.File {
	t.Helper()
	if _, err := exec.LookPath("as"); err != nil {
		if os.Getenv("LEANLINK_REQUIRE_TOOLS") == "1" {
			t.Fatal("as is missing")
		}
		t.Skip("as is missing")
	}
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("as", "--64", "-o", path)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("as: %v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := objfile.Parse(name, b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// begun is a join up to where only the addresses are missing.
func begun(files ...*objfile.File) (*Join, error) {
	r := NewReader()
	for _, f := range files[:len(files)/2] { // the others are read when they are asked for
		r.Add(f)
	}
	defer r.Stop()
	j, err := r.Join(files, func([]byte) {})
	if err != nil || j == nil {
		return j, err
	}
	return j, j.Merge()
}

// memoryFile is a file in memory; it does not grow.
type memoryFile []byte

func (f memoryFile) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at > int64(len(f)) || len(b) > len(f)-int(at) {
		return 0, io.ErrShortWrite
	}
	return copy(f[at:], b), nil
}

// contents makes the joined sections: what they have by name, and the build ID.
// Whatever none of them covers would be stale.
func (j *Join) contents(zero bool, id []byte) (map[string]string, []byte, error) {
	const apart = 3
	size := uint64(0)
	var places []uint64
	for _, s := range j.sections {
		places = append(places, size+apart)
		size += apart + s.base + s.size
	}
	file := memoryFile(bytes.Repeat([]byte("?"), int(size)))
	id, err := j.write(file, places, zero, id)
	all := map[string]string{}
	for k, s := range j.sections {
		all[s.name] = string(file[places[k]:][s.base : s.base+s.size])
		if got := string(file[places[k]-apart : places[k]+s.base]); got != strings.Repeat("?", int(apart+s.base)) {
			return nil, nil, fmt.Errorf("%s is written to before it begins", s.name)
		}
	}
	return all, id, err
}

func TestStrings(t *testing.T) {
	var many strings.Builder
	for k := range 9000 { // so that the table grows
		fmt.Fprintf(&many, "%d\x00", k%7000)
	}
	sections := []string{"", "\x00", "one\x00two\x00one\x00\x00three\x00", "two\x00\x00e\x00four\x00", many.String(), strings.Repeat("long", 100) + "\x00one\x00"}
	size, distinct := uint64(0), map[string]bool{}
	for _, s := range sections {
		size += uint64(len(s))
		for part := range strings.SplitAfterSeq(s, "\x00") {
			if part != "" {
				distinct[part] = true
			}
		}
	}
	var table stringTable
	if err := table.reserve(size); err != nil {
		t.Fatal(err)
	}
	defer release(table.data)
	var maps []*stringMap
	for _, s := range sections {
		m, err := split([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		if err := table.merge(m, []byte(s)); err != nil {
			t.Fatal(err)
		}
		maps = append(maps, m)
	}
	table.done()
	if got := strings.Count(string(table.data), "\x00"); got != len(distinct) {
		t.Errorf("%d strings, want %d", got, len(distinct))
	}
	var index stringIndex
	for k, s := range sections {
		index = maps[k].index(index.first)
		for at := range len(s) {
			to, ok := index.find(uint64(at), uint64(len(s)))
			if !ok || to >= uint64(len(table.data)) {
				t.Fatalf("section %d: byte %d is nowhere", k, at)
			}
			want := s[at : at+strings.IndexByte(s[at:], 0)+1]
			if got := string(table.data[to:][:min(uint64(len(want)), uint64(len(table.data))-to)]); got != want {
				t.Fatalf("section %d: byte %d begins %q, want %q", k, at, got, want)
			}
		}
		for _, at := range []uint64{uint64(len(s)), uint64(len(s)) + 1, 1 << 40} {
			if to, ok := index.find(at, uint64(len(s))); ok {
				t.Errorf("section %d: byte %d, behind the last, is at %d", k, at, to)
			}
		}
	}
	if _, err := split([]byte("one\x00two")); err == nil || err.Error() != "the last string has no end" {
		t.Errorf("no end: %v", err)
	}
}

func TestPut(t *testing.T) {
	tests := []struct {
		size uint8
		v    uint64
		want string
		ok   bool
	}{
		{8, 0x123456789abcdef0, "f0debc9a78563412", true},
		{4, 0xffffffff, "ffffffff", true},
		{4, 0x100000000, "00000000", false},
		{4, 1<<64 - 1, "ffffffff", true},
		{4, 1<<64 - 1<<31, "00000080", true},
		{4, 1<<64 - 1<<31 - 1, "ffffff7f", false},
	}
	for _, tt := range tests {
		b := make([]byte, tt.size)
		if ok := put(b, tt.size, tt.v); ok != tt.ok || fmt.Sprintf("%x", b) != tt.want {
			t.Errorf("%#x in %d bytes: %x, %v", tt.v, tt.size, b, ok)
		}
	}
}

func TestFindBuildID(t *testing.T) {
	note := func(typ byte, name, id string) string {
		pad := func(s string) string { return s + "\x00\x00\x00"[:(4-len(s)%4)%4] }
		return string([]byte{byte(len(name)), 0, 0, 0, byte(len(id)), 0, 0, 0, typ, 0, 0, 0}) + pad(name) + pad(id)
	}
	id := note(3, "GNU\x00", "12345678")
	tests := []struct {
		what, section string
		at, n         uint64
	}{
		{"alone", id, 16, 8},
		{"behind others", note(1, "GNU\x00", "abc") + note(3, "stapsdt\x00", "x") + id, 60, 8},
		{"of another owner", note(3, "XYZ\x00", "12345678"), 0, 0},
		{"of another type", note(1, "GNU\x00", "12345678"), 0, 0},
		{"cut off", id[:len(id)-1], 0, 0},
		{"only a head", id[:12], 0, 0},
		{"less than a head", id[:11], 0, 0},
		{"sizes that overflow", "\xff\xff\xff\xff\xff\xff\xff\xff\x03\x00\x00\x00GNU\x00", 0, 0},
		{"none", "", 0, 0},
	}
	for _, tt := range tests {
		if at, n := findBuildID([]byte(tt.section)); at != tt.at || n != tt.n {
			t.Errorf("%s: %d bytes at %d, want %d at %d", tt.what, n, at, tt.n, tt.at)
		}
	}
}

// two objects that refer to each section of their own in each way there is.
const joinedText = `
	.section .text.f, "ax", @progbits
f:	ret
	.section .text.dead, "ax", @progbits
dead:	ret
	.section .debug_str, "MS", @progbits, 1
	.string "NAME"
	.string "both"
label:	.string "of NAME"
	.section .debug_abbrev, "", @progbits
	.byte 1, 2, SIZE
abbrev:	.byte 3
	.section .debug_info, "", @progbits
	.balign 4
	.long .debug_abbrev
	.long abbrev
	.quad abbrev + 2
	.long .debug_str
	.long .debug_str + LENGTH + 1
	.long label - 1
	.reloc ., R_X86_64_NONE, f
	.quad f + 1
	.quad outside - 1
	.quad dead + 3
	.section .debug_ranges, "", @progbits
	.quad f, f + 1, dead, dead + 1, 0, 0
`

func joinedFiles(t testing.TB) []*objfile.File {
	text := func(name string, size int) string {
		return strings.NewReplacer("NAME", name, "SIZE", fmt.Sprint(size), "LENGTH", fmt.Sprint(len(name))).Replace(joinedText)
	}
	return []*objfile.File{assemble(t, "one.o", text("one", 1)), assemble(t, "none.o", "nop\n"), assemble(t, "two.o", text("twice", 2))}
}

// words writes numbers, of 4 bytes each but for those after a −1, of 8.
func words(numbers ...int64) string {
	var b []byte
	wide := false
	for _, n := range numbers {
		switch {
		case n == -1:
			wide = true
			continue
		case wide:
			b = le.AppendUint64(b, uint64(n))
		default:
			b = le.AppendUint32(b, uint32(n))
		}
		wide = false
	}
	return string(b)
}

// tableOf is what a linker makes of the tables: addresses by symbol name, 0 for
// those that are not in the output.
func tableOf(t testing.TB, j *Join, files []*objfile.File, addresses map[string]uint64) []byte {
	t.Helper()
	var table []byte
	for k, f := range files {
		if !j.Has(k) {
			continue
		}
		e := objfile.NewEdit(f)
		if err := j.Edit(k, e, func(symbol, section uint32) bool { return f.Sections[section].Name == ".text.dead" }); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := e.Write(&out); err != nil {
			t.Fatal(err)
		}
		again, err := objfile.Parse(f.Name, out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		n := slices.IndexFunc(again.Sections, func(s objfile.Section) bool { return s.Name == tableName })
		if n < 0 {
			continue
		}
		if s := again.Sections[n]; s.Flags != 0 || s.Type != objfile.SHT_PROGBITS || s.Align != uint64(j.word) {
			t.Errorf("%s: the table is %+v", f.Name, s)
		}
		for _, s := range again.Sections {
			if s.IsDebug() && s.Name != tableName && s.Flags&objfile.SHF_EXCLUDE == 0 {
				t.Errorf("%s: %s is still there", f.Name, s.Name)
			}
		}
		b := bytes.Clone(again.Bytes(uint32(n)))
		rs := again.Relocs(uint32(n))
		for k := range rs.Len() {
			r := rs.At(k)
			s := again.Symbol(r.Sym)
			name := again.NameOf(&s)
			if s.Type == objfile.STT_SECTION {
				name = again.Sections[s.Section].Name
			}
			if a, ok := addresses[name]; !ok {
				t.Errorf("%s: an address of %s is asked for", f.Name, name)
			} else if a != 0 {
				le.PutUint64(b[r.Offset:], a+s.Value+uint64(r.Addend))
			}
		}
		table = append(table, b...)
	}
	return table
}

func TestJoin(t *testing.T) {
	files := joinedFiles(t)
	j, err := begun(files...)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		what       string
		f, outside uint64
		zero       bool
		// What the output has for f + 1, outside − 1 and in the list for f.
		f1, outside1, low, high int64
	}{
		{"somewhere", 0x1000, 0x2000, false, 0x1001, 0x1fff, 0x1000, 0x1001},
		{"not there", 0, 0x2000, false, 0, 0x1fff, 1, 1},
		{"nothing lies at 0", 1 << 63, 16 - bias, false, -1<<63 + 1, 0, -1 << 63, -1<<63 + 1},
	}
	for _, tt := range tests {
		table := tableOf(t, j, files, map[string]uint64{".text.f": tt.f, "outside": tt.outside})
		if err := j.read(table, false); err != nil {
			t.Fatalf("%s: %v", tt.what, err)
		}
		got, _, err := j.contents(tt.zero, nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.what, err)
		}
		info := func(abbrev, str1, str2, str3 int64) string {
			return words(abbrev, abbrev+3, -1, abbrev+5, str1, str2, str3, -1, tt.f1, -1, tt.outside1, -1, 0)
		}
		ranges := words(-1, tt.low, -1, tt.high, -1, 1, -1, 1, -1, 0, -1, 0)
		want := map[string]string{
			".debug_str":    "one\x00both\x00of one\x00twice\x00of twice\x00",
			".debug_abbrev": "\x01\x02\x01\x03\x01\x02\x02\x03",
			".debug_info":   info(0, 0, 4, 8) + info(4, 16, 4, 21),
			".debug_ranges": ranges + ranges,
		}
		for _, name := range j.Names() {
			if got[name] != want[name] && name != ".debug_line" { // the assembler adds an empty one
				t.Errorf("%s: %s is\n%x, want\n%x", tt.what, name, got[name], want[name])
			}
		}
	}
}

// TestStretches: sections of several stretches come out as if they were one,
// with zeros between the parts.
func TestStretches(t *testing.T) {
	var files []*objfile.File
	var want strings.Builder
	for k := range 40 {
		size := 50_001 + 1000*k
		files = append(files, assemble(t, fmt.Sprintf("%d.o", k), fmt.Sprintf("\t.section .debug_x, \"\", @progbits\n.balign 64\n.fill %d, 1, %d\n.long .debug_x\n"+
			"\t.section .debug_empty, \"\", @progbits\n\t.section .debug_str, \"MS\", @progbits, 1\n.rept %d\n.ascii \"x\"\n.endr\n.string \"%d\"\n", size, 200+k, size, k)))
		want.WriteString(strings.Repeat("\x00", -want.Len()&63))
		at := want.Len()
		want.WriteString(strings.Repeat(string([]byte{byte(200 + k)}), size) + words(int64(at)))
	}
	j, err := begun(files...)
	if err != nil {
		t.Fatal(err)
	}
	at := map[int]uint64{}
	for _, s := range j.stretches() {
		if s.at != at[s.section] || s.end <= s.at {
			t.Fatalf("a stretch of %s from %d to %d, the one before ends at %d", j.sections[s.section].name, s.at, s.end, at[s.section])
		}
		at[s.section] = s.end
	}
	for k, s := range j.sections {
		if at[k] != s.size {
			t.Errorf("the stretches of %s end at %d, not at %d", s.name, at[k], s.size)
		}
	}
	if n := len(j.stretches()); n < 8 {
		t.Errorf("%d stretches are too few for a test", n)
	}
	id := []byte("a build ID, 20 bytes")
	got, one, err := j.contents(false, id)
	if err != nil || got[".debug_x"] != want.String() {
		t.Errorf("%v; .debug_x has %d bytes, want %d, or others", err, len(got[".debug_x"]), want.Len())
	}
	if n := strings.Count(got[".debug_str"], "\x00"); n != len(files) {
		t.Errorf("%d strings, want %d", n, len(files))
	}
	// The build ID goes by all that is there.
	_, again, _ := j.contents(false, id)
	for k := range j.sections {
		if j.sections[k].name == ".debug_x" {
			j.sections[k].base = 64 // all offsets are others
		}
	}
	_, other, _ := j.contents(false, id)
	if len(one) != len(id) || bytes.Equal(one, id) || !bytes.Equal(one, again) || bytes.Equal(one, other) {
		t.Errorf("build ID %q becomes %x, then %x, and of other contents %x", id, one, again, other)
	}
}

// TestAddressZero: an address of 0 is one if something lies there, and is that of
// what does not exist if not.
func TestAddressZero(t *testing.T) {
	for _, tt := range []struct {
		word    uint64
		zero    bool
		section string
		want    uint64
	}{
		{bias, true, ".debug_info", 3}, {bias, false, ".debug_info", 0}, {bias, false, ".debug_ranges", 1}, {bias, false, ".debug_loc", 1},
		{0, true, ".debug_info", 0}, {0, true, ".debug_loc", 1}, {bias + 1, false, ".debug_info", 4}, {bias + 1, true, ".debug_ranges", 4},
	} {
		f := assemble(t, "one.o", "\t.section .text.f, \"ax\", @progbits\nf: ret\n\t.section "+tt.section+", \"\", @progbits\n.quad f + 3\n")
		j, err := begun(f)
		if err != nil {
			t.Fatal(err)
		}
		j.objects[0].words[0].value = tt.word
		got, _, err := j.contents(tt.zero, nil)
		if want := words(-1, int64(tt.want)); err != nil || got[tt.section] != want {
			t.Errorf("%+v: %q, %v", tt, got[tt.section], err)
		}
	}
}

func TestTables(t *testing.T) {
	files := joinedFiles(t)
	j, err := begun(files...)
	if err != nil {
		t.Fatal(err)
	}
	table := tableOf(t, j, files, map[string]uint64{".text.f": 0x1000, "outside": 0x2000})
	half := len(table) / 2
	one, two := table[:half], table[half:]
	changed := func(at int) []byte {
		b := bytes.Clone(table)
		b[at]++
		return b
	}
	const other = "the linker has made something else of .debug_leanlink"
	for _, tt := range []struct {
		what  string
		table []byte
		err   string
	}{
		{"as they are", table, ""},
		{"in another order", slices.Concat(two, one), ""},
		{"one is missing", one, other + ": that of two.o is missing"},
		{"all are missing", nil, other + ": that of one.o is missing"},
		{"one is there twice", slices.Concat(one, two, one), other},
		{"cut off", table[:len(table)-1], other},
		{"cut off in a head", table[:half+tableHead-1], other},
		{"bytes between them", slices.Concat(one, make([]byte, 8), two), other},
		{"no magic", changed(0), other},
		{"of no object", changed(tableIndex + 1), other},
		{"more words", changed(tableCount), other},
	} {
		if err := j.read(tt.table, false); tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
			t.Errorf("%s: %v, want %q", tt.what, err, tt.err)
		}
	}
	if err := j.read(one, true); err != nil {
		t.Errorf("one is left out by a linker that may: %v", err)
	}
}

func TestRefused(t *testing.T) {
	const text = "\t.section .debug_info, \"\", @progbits\n"
	tests := []struct{ what, one, two, err string }{
		{"nothing", "nop\n", "", ""},
		{"an old form", "\t.section .zdebug_info, \"\", @progbits\n.long 1\n", "", "section .zdebug_info: offset 0x0: debug information in an old form"},
		{"another kind", text + "\t.section .debug_str, \"MS\", @progbits, 1\n.string \"x\"\n", "\t.section .debug_str, \"\", @progbits\n.string \"x\"\n",
			"section .debug_str: offset 0x0: the section is of another kind than in other objects"},
		{"a string without an end", "\t.section .debug_str, \"MS\", @progbits, 1\n.ascii \"x\"\n", "", "section .debug_str: offset 0x0: the last string has no end"},
		{"merged otherwise", "\t.section .debug_str, \"MS\", @progbits, 2\n.string16 \"x\"\n", "", "section .debug_str: offset 0x0: the section is merged otherwise than strings are"},
		{"merged constants", "\t.section .debug_x, \"M\", @progbits, 8\n.quad 1\n", "", "section .debug_x: offset 0x0: the section is merged otherwise than strings are"},
		{"a group with code in it", "\t.section .text.f, \"axG\", @progbits, f, comdat\nf: ret\n\t.section .debug_x, \"G\", @progbits, f, comdat\n.quad f\n", "",
			"section .group: offset 0x0: debug information is in a group with what is none, or of an unusual kind"},
		{"its own name", "\t.section .debug_leanlink, \"\", @progbits\n.quad 1\n", "", "section .debug_leanlink: offset 0x0: the section's name is leanlink's own"},
		{"relative to itself", text + ".long f - .\n", "", "section .debug_info: offset 0x0: a relocation is none that debug information has"},
		{"a global name", text + ".globl g\ng: .long g\n", "", "section .debug_info: offset 0x0: debug information has a global name"},
		{"what is neither", text + ".quad x\n\t.section .other, \"\", @progbits\nx: .long 1\n", "", "section .debug_info: offset 0x0: a relocation refers to .other, which is neither loaded nor debug information"},
		{"what is none refers to it", text + "d: .long 1\n\t.section .other, \"\", @progbits\n.long 1, d\n", "", "section .other: offset 0x4: a relocation refers to debug information"},
		{"a string that is none", text + ".long .debug_str + 2\n\t.section .debug_str, \"MS\", @progbits, 1\n.string \"x\"\n", "",
			"section .debug_info: offset 0x0: a relocation refers to a string outside .debug_str"},
		{"an offset that does not fit", text + ".long .debug_abbrev - 0x7fffffff - 0x7fffffff\n\t.section .debug_abbrev, \"\", @progbits\n.long 1\n", "",
			"section .debug_info: offset 0x0: an offset does not fit into its field"},
	}
	for _, tt := range tests {
		files := []*objfile.File{assemble(t, "one.o", tt.one)}
		name := "one.o: "
		if tt.two != "" {
			files, name = append(files, assemble(t, "two.o", tt.two)), "two.o: "
		}
		j, err := begun(files...)
		if j != nil && err == nil {
			_, _, err = j.contents(false, nil)
		}
		switch {
		case tt.err == "" && (err != nil || j != nil):
			t.Errorf("%s: %v, %v", tt.what, j, err)
		case tt.err != "" && (err == nil || err.Error() != name+tt.err):
			t.Errorf("%s: %v, want %s%s", tt.what, err, name, tt.err)
		}
	}
}

// TestRelaxed: where the linker moves code nobody else knows what lies where.
func TestRelaxed(t *testing.T) {
	_, err := read(joinedFiles(t)[0], &machine{arch: objfile.ArchOf(objfile.EM_RISCV)})
	if err == nil || !strings.Contains(err.Error(), "only it knows what lies where") {
		t.Errorf("%v", err)
	}
}
