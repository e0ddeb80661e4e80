package objfile_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"leanlink/objfile"
)

// arMember writes one member as ar does: a header and contents, padded to an
// even size.
func arMember(name string, content []byte) []byte {
	b := fmt.Appendf(nil, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "644", len(content))
	b = append(b, content...)
	if len(content)%2 != 0 {
		b = append(b, '\n')
	}
	return b
}

// arFile joins members behind the magic of an archive.
func arFile(members ...[]byte) []byte {
	return append([]byte("!<arch>\n"), bytes.Join(members, nil)...)
}

// sysvIndex is the index in System V form, of 4 or 8 byte words; a symbol is
// a name and the offset of its member's header.
func sysvIndex(wide bool, symbols ...any) []byte {
	put := func(b []byte, v uint64) []byte {
		if wide {
			return binary.BigEndian.AppendUint64(b, v)
		}
		return binary.BigEndian.AppendUint32(b, uint32(v))
	}
	b := put(nil, uint64(len(symbols)/2))
	var names []byte
	for i := 0; i < len(symbols); i += 2 {
		names = append(append(names, symbols[i].(string)...), 0)
		b = put(b, uint64(symbols[i+1].(int)))
	}
	return append(b, names...)
}

// bsdIndex is the index in BSD form.
func bsdIndex(wide bool, symbols ...any) []byte {
	put := func(b []byte, v uint64) []byte {
		if wide {
			return binary.LittleEndian.AppendUint64(b, v)
		}
		return binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	var names, table []byte
	for i := 0; i < len(symbols); i += 2 {
		table = put(put(table, uint64(len(names))), uint64(symbols[i+1].(int)))
		names = append(append(names, symbols[i].(string)...), 0)
	}
	for len(names)%8 != 0 {
		names = append(names, 0)
	}
	b := append(put(nil, uint64(len(table))), table...)
	return append(put(b, uint64(len(names))), names...)
}

// describe lists an archive's members and index, one a line.
func describe(a *objfile.Archive) string {
	var b strings.Builder
	for _, m := range a.Members {
		fmt.Fprintf(&b, "%s %q\n", m.Name, m.Data)
	}
	if a.Symbols == nil {
		b.WriteString("no index\n")
	}
	for _, s := range a.Symbols {
		fmt.Fprintf(&b, "%s in %s\n", s.Name, a.Members[s.Member].Name)
	}
	return b.String()
}

// TestArchiveForms reads archives written by hand in each form.
func TestArchiveForms(t *testing.T) {
	const long = "a_name_that_is_longer_than_sixteen.o"
	one, two := []byte("odd"), []byte("even")
	bsdName := func(name string, pad int, content []byte) []byte {
		b := append([]byte(name), make([]byte, pad)...)
		return arMember(fmt.Sprintf("#1/%d", len(b)), append(b, content...))
	}
	at := func(parts ...[]byte) int { return 8 + len(bytes.Join(parts, nil)) }
	both := "f.o \"odd\"\n" + long + " \"even\"\n"

	names := arMember("//", []byte(long+"/\n"))
	sysv := func(wide bool, name string) []byte {
		// The size of the index does not depend on the offsets in it.
		head := arMember(name, sysvIndex(wide, "f", 0, "g", 0))
		a := at(head, names)
		head = arMember(name, sysvIndex(wide, "f", a, "g", a+len(arMember("f.o/", one))))
		return arFile(head, names, arMember("f.o/", one), arMember("/0", two))
	}
	bsd := func(wide bool, member func(content []byte) []byte) []byte {
		head := member(bsdIndex(wide, "f", 0, "g", 0))
		a := at(head)
		head = member(bsdIndex(wide, "f", a, "g", a+len(arMember("f.o", one))))
		return arFile(head, arMember("f.o", one), bsdName(long, 4, two))
	}
	tests := []struct {
		name string
		b    []byte
		want string
	}{
		{"no members", []byte("!<arch>\n"), "no index\n"},
		{"GNU without index", arFile(names, arMember("f.o/", one), arMember("/0", two)), both + "no index\n"},
		{"GNU", sysv(false, "/"), both + "f in f.o\ng in " + long + "\n"},
		{"GNU, 64 bits", sysv(true, "/SYM64/"), both + "f in f.o\ng in " + long + "\n"},
		{"GNU, empty index", arFile(arMember("/", make([]byte, 4)), arMember("f.o/", one)), "f.o \"odd\"\n"},
		{"GNU, spaces and slashes in names", arFile(arMember("//", []byte("dir/a b/c.o/\n")), arMember("a b.o/", one), arMember("/0", two)), "a b.o \"odd\"\ndir/a b/c.o \"even\"\nno index\n"},
		{"GNU, two of one name", arFile(arMember("f.o/", one), arMember("f.o/", two)), "f.o \"odd\"\nf.o \"even\"\nno index\n"},
		{"GNU, two by one long name", arFile(names, arMember("/0", one), arMember("/0", two)), long + " \"odd\"\n" + long + " \"even\"\nno index\n"},
		{"BSD without index", arFile(arMember("f.o", one), bsdName(long, 0, two)), both + "no index\n"},
		{"BSD", bsd(false, func(c []byte) []byte { return arMember("__.SYMDEF", c) }), both + "f in f.o\ng in " + long + "\n"},
		{"BSD, sorted", bsd(false, func(c []byte) []byte { return bsdName("__.SYMDEF SORTED", 4, c) }), both + "f in f.o\ng in " + long + "\n"},
		{"BSD, 64 bits", bsd(true, func(c []byte) []byte { return bsdName("__.SYMDEF_64", 8, c) }), both + "f in f.o\ng in " + long + "\n"},
		{"padding at the end", append(arFile(arMember("f.o/", one)), "\n\n\x00"...), "f.o \"odd\"\nno index\n"},
		{"last member not padded", bytes.TrimSuffix(arFile(arMember("f.o/", one)), []byte("\n")), "f.o \"odd\"\nno index\n"},
		{"member without a name", arFile(arMember("", one)), " \"odd\"\nno index\n"},
	}
	for _, test := range tests {
		a, err := objfile.ParseArchive("x.a", test.b)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := describe(a); got != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", test.name, got, test.want)
		}
	}
}

// TestThinArchive: members are files beside the archive, or absolute.
func TestThinArchive(t *testing.T) {
	head := func(name string, size int) []byte {
		return fmt.Appendf(nil, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "644", size)
	}
	names := []byte("sub/f.o/\n/abs/g.o/\n")
	b := append([]byte("!<thin>\n"), arMember("//", names)...)
	b = append(b, head("/0", 12345)...)
	b = append(b, head("/9", 1)...)
	b = append(b, head("h.o/", 7)...)
	a, err := objfile.ParseArchive("some/dir/x.a", b)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range a.Members {
		got = append(got, m.Name+" "+m.Path)
		if m.Data != nil {
			t.Errorf("%s has contents", m.Name)
		}
	}
	want := []string{"sub/f.o some/dir/sub/f.o", "/abs/g.o /abs/g.o", "h.o some/dir/h.o"}
	if !a.Thin || !slices.Equal(got, want) {
		t.Errorf("thin %v, members %q, want %q", a.Thin, got, want)
	}
}

// TestMalformedArchives compares whole errors.
func TestMalformedArchives(t *testing.T) {
	member := arMember("f.o/", []byte("even"))
	spoil := func(at int, with string) []byte {
		b := arFile(member)
		copy(b[at:], with)
		return b
	}
	thin := func(b []byte) []byte { return append([]byte("!<thin>\n"), b...) }
	index := func(name string, content []byte) []byte { return arFile(arMember(name, content), member) }
	tests := []struct {
		name string
		b    []byte
		want string
	}{
		{"empty", nil, "x.a: offset 0x0: not an archive"},
		{"no magic", []byte("!<arch>\r"), "x.a: offset 0x0: not an archive"},
		{"header truncated", arFile(member)[:67], "x.a: offset 0x8: a member's header is truncated"},
		{"second header truncated", append(arFile(member), 'x'), "x.a: offset 0x48: a member's header is truncated"},
		{"no terminator", spoil(8+58, "xx"), "x.a: offset 0x8: a member's header has no terminator"},
		{"size is no number", spoil(8+48, "x"), "x.a: offset 0x38: a member's size is not a number"},
		{"size is negative", spoil(8+48, "-1"), "x.a: offset 0x38: a member's size is not a number"},
		{"size is missing", spoil(8+48, "          "), "x.a: offset 0x38: a member's size is not a number"},
		{"size is one too large", spoil(8+48, "5"), "x.a: offset 0x8: a member lies outside the archive"},
		{"size lies", spoil(8+48, "9999999999"), "x.a: offset 0x8: a member lies outside the archive"},
		{"special member's size lies", thin(arMember("//", []byte("n/\n")))[:69], "x.a: offset 0x8: a member lies outside the archive"},

		{"long name without a table", arFile(arMember("/0", nil)), "x.a: offset 0x8: a member's long name is not in the name table"},
		{"long name beyond the table", arFile(arMember("//", []byte("abc/\n")), arMember("/5", nil)), "x.a: offset 0x4a: a member's long name is not in the name table"},
		{"long name far beyond", arFile(arMember("//", []byte("abc/\n")), arMember("/999999999999999", nil)), "x.a: offset 0x4a: a member's long name is not in the name table"},
		{"long name from the middle", arFile(arMember("//", []byte("abc/\n")), arMember("/1", nil)), "x.a: offset 0x4a: a member's long name is not in the name table"},
		{"long name without end", arFile(arMember("//", []byte("abc/")), arMember("/0", nil)), "x.a: offset 0x48: a member's long name is not in the name table"},
		{"table behind its use", arFile(arMember("/0", nil), arMember("//", []byte("abc/\n"))), "x.a: offset 0x8: a member's long name is not in the name table"},
		{"name is no offset", arFile(arMember("/x", nil)), "x.a: offset 0x8: a member's name is not understood"},
		{"archive in a thin archive", thin(append(arMember("//", []byte("i.a/\n")), arMember("/0:68", nil)...)), "x.a: offset 0x4a: a member of an archive within a thin archive is not understood"},
		{"BSD name too long", arFile(arMember("#1/5", []byte("abcd"))), "x.a: offset 0x8: a member's long name lies outside it"},
		{"BSD name is no number", arFile(arMember("#1/x", []byte("abcd"))), "x.a: offset 0x8: a member's long name lies outside it"},
		{"BSD name in a thin archive", thin(arMember("#1/4", []byte("abcd"))), "x.a: offset 0x8: a member's long name lies outside it"},

		{"index empty", index("/", nil), "x.a: offset 0x8: the archive's index is truncated"},
		{"index of three bytes", index("/", make([]byte, 3)), "x.a: offset 0x8: the archive's index is truncated"},
		{"index of four bytes, 64 bits", index("/SYM64/", make([]byte, 4)), "x.a: offset 0x8: the archive's index is truncated"},
		{"index's count lies", index("/", []byte("\xff\xff\xff\xff")), "x.a: offset 0x8: the archive's index is truncated"},
		{"index's count lies, 64 bits", index("/SYM64/", bytes.Repeat([]byte{0xff}, 64)), "x.a: offset 0x8: the archive's index is truncated"},
		{"index's count overflows", index("/SYM64/", append([]byte{0x20, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 16)...)), "x.a: offset 0x8: the archive's index is truncated"},
		{"index without names", index("/", sysvIndex(false, "f", 74)[:8]), "x.a: offset 0x8: a name in the archive's index does not end"},
		{"index's name does not end", index("/", sysvIndex(false, "f", 78)[:9]), "x.a: offset 0x8: a name in the archive's index does not end"},
		{"index to no member", index("/", sysvIndex(false, "f", 9)), "x.a: offset 0x8: the archive's index names a member that does not exist"},
		{"index to itself", index("/", sysvIndex(false, "f", 8)), "x.a: offset 0x8: the archive's index names a member that does not exist"},
		{"BSD index empty", index("__.SYMDEF", nil), "x.a: offset 0x8: the archive's index is truncated"},
		{"BSD index's size lies", index("__.SYMDEF", []byte("\xff\xff\xff\xff\x00\x00\x00\x00")), "x.a: offset 0x8: the archive's index is truncated"},
		{"BSD index's size overflows", index("__.SYMDEF_64", bytes.Repeat([]byte{0xff}, 16)), "x.a: offset 0x8: the archive's index is truncated"},
		{"BSD index without names", index("__.SYMDEF", []byte("\x00\x00\x00\x00")), "x.a: offset 0x8: the archive's index is truncated"},
		{"BSD index's name beyond", index("__.SYMDEF", []byte("\x08\x00\x00\x00\x08\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00abcdefg\x00")), "x.a: offset 0x8: a name in the archive's index lies outside it"},
		{"BSD index's name does not end", index("__.SYMDEF", []byte("\x08\x00\x00\x00\x07\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00abcdefgh")), "x.a: offset 0x8: a name in the archive's index does not end"},
		{"BSD index's names share bytes", arFile(arMember("f.o/", nil), arMember("__.SYMDEF", bsdSharing(1000, 2000))), "x.a: offset 0x8: names in the archive's index are too long for so many"},
		{"BSD index to no member", index("__.SYMDEF", bsdIndex(false, "f", 9)), "x.a: offset 0x8: the archive's index names a member that does not exist"},
	}
	for _, test := range tests {
		_, err := objfile.ParseArchive("x.a", test.b)
		if got := errString(err); got != test.want {
			t.Errorf("%s:\n got %q\nwant %q", test.name, got, test.want)
		}
	}
}

// TestArchiveBounded: members that share one huge name, or name ever shorter
// ends of it, and an index as large as can be, cost neither much memory nor
// the square of the size in time.
func TestArchiveBounded(t *testing.T) {
	huge := append(bytes.Repeat([]byte("n"), 4<<20), "/\n"...)
	same, ends, thin := [][]byte{arMember("//", huge)}, [][]byte{arMember("//", huge)}, [][]byte{arMember("//", huge)}
	for i := range 20000 {
		same = append(same, arMember("/0", nil))
		ends = append(ends, arMember(fmt.Sprintf("/%d", i), nil))
		thin = append(thin, arMember("/0", nil))
	}
	symbols := make([]any, 0, 200000)
	for range 100000 {
		symbols = append(symbols, "", 8)
	}
	for name, b := range map[string][]byte{
		"one name":    arFile(same...),
		"ends":        arFile(ends...),
		"thin":        append([]byte("!<thin>\n"), bytes.Join(thin, nil)...),
		"index":       arFile(arMember("f.o/", nil), arMember("/", sysvIndex(false, symbols...))),
		"BSD index":   arFile(arMember("f.o/", nil), arMember("__.SYMDEF", bsdIndex(false, symbols...))),
		"long names":  arFile(arMember("f.o/", nil), arMember("__.SYMDEF", bsdSharing(100000, 4<<20))),
		"empty names": arFile(arMember("//", bytes.Repeat([]byte("\n"), 1<<20))),
	} {
		start := time.Now()
		if n := allocated(func() { objfile.ParseArchive("x.a", b) }); n > 24*uint64(len(b)) {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, n, len(b))
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: %v for a file of %d", name, d, len(b))
		}
	}
}

// bsdSharing is an index whose names are each as long as they can be.
func bsdSharing(count, length int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(8*count))
	for i := range count {
		b = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, uint32(i)), 8)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(length))
	return append(append(b, bytes.Repeat([]byte("n"), length-1)...), 0)
}

// tool finds a program, or skips the test by its name.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("no %s", name)
	}
	return path
}

// command runs a program in dir and returns what it prints.
func command(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(tool(t, name), args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%.2000s%.2000s", name, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// write writes a file of the test's folder.
func write(t testing.TB, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestArchivesOfAr compares what ar and nm say of archives that ar makes.
func TestArchivesOfAr(t *testing.T) {
	dir := t.TempDir()
	files := []string{"f.o", "fifteen_chars.o", "sixteen_chars_.o", "seventeen_chars.o", "one with spaces and a long name.o", "sub/folder/deep.o"}
	for i, name := range files {
		src := write(t, dir, fmt.Sprintf("%d.c", i), fmt.Appendf(nil, "int d%d; int f%d(void) { return d%d; } int w%d(void) { return 1; }", i, i, i, i))
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		command(t, dir, "gcc", "-c", "-o", name, src)
	}
	write(t, dir, "odd.txt", []byte("odd"))
	tests := []struct {
		name string
		args []string
		tool string
		env  string
	}{
		{"index", []string{"rcs"}, "ar", ""},
		{"no-index", []string{"rcS"}, "ar", ""},
		{"thin", []string{"rcsT"}, "ar", ""},
		{"thin-no-index", []string{"rcST"}, "ar", ""},
		{"full-paths", []string{"rcsP"}, "ar", ""},
		{"llvm-gnu", []string{"--format=gnu", "rcs"}, "llvm-ar", ""},
		{"llvm-bsd", []string{"--format=bsd", "rcs"}, "llvm-ar", ""},
		{"llvm-darwin", []string{"--format=darwin", "rcs"}, "llvm-ar", ""},
		{"llvm-thin", []string{"rcsT"}, "llvm-ar", ""},
		{"llvm-sym64", []string{"--format=gnu", "rcs"}, "llvm-ar", "SYM64_THRESHOLD=1"},
		{"llvm-darwin64", []string{"--format=darwin", "rcs"}, "llvm-ar", "SYM64_THRESHOLD=1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if kv := strings.SplitN(test.env, "=", 2); len(kv) == 2 {
				t.Setenv(kv[0], kv[1])
			}
			lib := "lib-" + test.name + ".a"
			members := append([]string{"odd.txt"}, files...)
			command(t, dir, test.tool, append(append(test.args, lib), members...)...)
			path := filepath.Join(dir, lib)
			a, err := objfile.ParseArchive(path, read(t, path))
			if err != nil {
				t.Fatal(err)
			}

			want := strings.Split(strings.TrimSuffix(command(t, dir, test.tool, "t", lib), "\n"), "\n")
			for i, m := range a.Members {
				if i >= len(want) || m.Name != want[i] {
					t.Fatalf("member %d is %q; ar t says %q", i, m.Name, want)
				}
				data := m.Data
				if a.Thin {
					data = read(t, m.Path)
				}
				if content := read(t, filepath.Join(dir, members[i])); !bytes.HasPrefix(data, content) || len(data) > len(content)+8 {
					t.Errorf("member %s differs from its file", m.Name)
				}
			}
			if len(a.Members) != len(want) {
				t.Errorf("%d members, ar t lists %d", len(a.Members), len(want))
			}

			var symbols []string
			for _, s := range a.Symbols {
				symbols = append(symbols, s.Name+" in "+filepath.Base(a.Members[s.Member].Name))
			}
			nm := "nm"
			if test.tool == "llvm-ar" {
				nm = "llvm-nm" // GNU nm does not know all these forms
			}
			index := archiveMap(command(t, dir, nm, "--print-armap", lib))
			for i := range index {
				name, file, _ := strings.Cut(index[i], " in ")
				index[i] = name + " in " + filepath.Base(file)
			}
			if !slices.Equal(symbols, index) {
				t.Errorf("index %q\n%s says %q", symbols, nm, index)
			}
			if none := strings.Contains(test.name, "no-index"); none != (a.Symbols == nil) || !none && len(index) != 3*len(files) {
				t.Errorf("index has %d symbols, %s says %d", len(symbols), nm, len(index))
			}
		})
	}
}

// archiveMap reads the index that nm -s prints.
func archiveMap(out string) (lines []string) {
	for head := true; out != ""; {
		var line string
		line, out, _ = strings.Cut(out, "\n")
		switch {
		case strings.HasPrefix(line, "Archive index:"), line == "Archive map":
			head = false
		case line == "" && !head:
			return lines
		case !head:
			lines = append(lines, line)
		}
	}
	return lines
}

// TestArchiveNamesAreNotPaths: outside thin archives a member's name leads
// nowhere.
func TestArchiveNamesAreNotPaths(t *testing.T) {
	b := arFile(arMember("//", []byte("../../etc/passwd/\n")), arMember("/0", []byte("even")))
	a, err := objfile.ParseArchive("dir/x.a", b)
	if err != nil {
		t.Fatal(err)
	}
	if m := a.Members[0]; m.Path != "" || string(m.Data) != "even" {
		t.Errorf("member %q has path %q, contents %q", m.Name, m.Path, m.Data)
	}
}
