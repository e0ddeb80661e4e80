package linker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSplitResponse(t *testing.T) {
	tests := []struct {
		name, text string
		rustc, gnu []string // rustc nil: not that format
		err        string
	}{
		{name: "empty", text: ""},
		{name: "one a line", text: "-o\nout\n", rustc: []string{"-o", "out"}, gnu: []string{"-o", "out"}},
		{name: "no final newline", text: "-o\nout", rustc: []string{"-o", "out"}, gnu: []string{"-o", "out"}},
		{name: "backslashes", text: `/a\ b/c\\d` + "\n", rustc: []string{`/a b/c\d`}, gnu: []string{`/a b/c\d`}},
		{name: "quotes literal for rustc", text: `-DX="y"` + "\n", rustc: []string{`-DX="y"`}, gnu: []string{`-DX=y`}},
		{name: "white space", text: " a\tb\r\nc\v\fd ", gnu: []string{"a", "b", "c", "d"}},
		{name: "quoted white space", text: `"a b" 'c d'e "f'g" 'h"i'`, gnu: []string{"a b", "c de", "f'g", `h"i`}},
		{name: "empty arguments", text: `"" '' x`, gnu: []string{"", "", "x"}},
		{name: "backslash in quotes", text: `"a\"b" 'c\'d'`, gnu: []string{`a"b`, `c'd`}},
		{name: "escaped newline", text: "a\\\nb", gnu: []string{"a\nb"}},
		{name: "lone final backslash", text: `a\`, gnu: []string{`a\`}},
		{name: "open quote", text: `"a b`, err: `response file: no closing "`},
		{name: "not UTF-8", text: "\xff\xfe\n", rustc: []string{"\xff\xfe"}, gnu: []string{"\xff\xfe"}},
	}
	for _, tt := range tests {
		if tt.rustc != nil {
			if got := splitRustcResponse([]byte(tt.text)); !slices.Equal(got, tt.rustc) {
				t.Errorf("%s: rustc: %q, want %q", tt.name, got, tt.rustc)
			}
		}
		got, err := splitGNUResponse([]byte(tt.text))
		if !slices.Equal(got, tt.gnu) || errText(err) != tt.err {
			t.Errorf("%s: GNU: %q, %q, want %q, %q", tt.name, got, errText(err), tt.gnu, tt.err)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestExpandResponseFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		putFile(t, filepath.Join(dir, name), text)
	}
	write("outer", "a @inner 'b c'")
	write("inner", "x\n@"+filepath.Join(dir, "linker-arguments"))
	write("linker-arguments", `it's\ one`+"\n@nowhere\n")
	write("loop", "@loop")
	write("bad", `'`)

	tests := []struct {
		args, want []string
		used       bool
		err        string
	}{
		{args: []string{"-o", "out", "@"}, want: []string{"-o", "out", "@"}},
		{args: []string{"-flavor", "gnu", "@outer", "z"}, want: []string{"-flavor", "gnu", "a", "x", "it's one", "@nowhere", "b c", "z"}, used: true},
		{args: []string{"@missing"}, want: []string{"@missing"}},
		{args: []string{"@loop"}, err: "@loop: more than 2000 response files"},
		{args: []string{"@bad"}, err: "@bad: response file: no closing '"},
		{args: []string{"@."}, err: "response file: " + dir + ": not a regular file"},
	}
	for _, tt := range tests {
		got, used, err := expandResponseFiles(tt.args, dir)
		if !slices.Equal(got, tt.want) || used != tt.used || errText(err) != tt.err {
			t.Errorf("%q: %q, %v, %q, want %q, %v, %q", tt.args, got, used, errText(err), tt.want, tt.used, tt.err)
		}
	}
}

// What formatResponse writes must come back from the rules of GNU's programs
// for any argument, and from rustc's for any without a newline.
func FuzzFormatResponse(f *testing.F) {
	f.Add("-o\x00out")
	f.Add("\x00a b\x00c\\d\x00'\"\x00\t\n")
	f.Add("-Wl,-rpath,/x y\x00\xff")
	f.Fuzz(func(t *testing.T, joined string) {
		args := strings.Split(joined, "\x00")
		text := formatResponse(args)
		got, err := splitGNUResponse(text)
		if err != nil || !slices.Equal(got, args) {
			t.Fatalf("GNU: %q came back as %q, %v", args, got, err)
		}
		if strings.Contains(joined, "\n") || slices.Contains(args, "") {
			return
		}
		if got := splitRustcResponse(text); !slices.Equal(got, args) {
			t.Fatalf("rustc: %q came back as %q", args, got)
		}
	})
}

func FuzzSplitGNUResponse(f *testing.F) {
	f.Add([]byte(`a "b c" 'd' \e @f`))
	f.Fuzz(func(t *testing.T, text []byte) {
		args, err := splitGNUResponse(text)
		size := 0
		for _, arg := range args {
			size += len(arg)
		}
		if err != nil && args != nil || size > len(text) {
			t.Fatalf("%q: %q, %v", text, args, err)
		}
	})
}

func putFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}
