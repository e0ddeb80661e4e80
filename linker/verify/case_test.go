package verify

import (
	"bytes"
	"debug/elf"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// caseFile is an input of a link: a file or a member of an archive.
type caseFile struct {
	name    string
	data    []byte
	archive bool
}

// members reads a GNU archive; what is no ELF object is left out.
func members(t testing.TB, path string, data []byte) []caseFile {
	t.Helper()
	if !bytes.HasPrefix(data, []byte("!<arch>\n")) {
		return []caseFile{{name: path, data: data}}
	}
	var list []caseFile
	var names []byte
	for at := 8; at+60 <= len(data); {
		head := data[at : at+60]
		size, err := strconv.Atoi(strings.TrimSpace(string(head[48:58])))
		if err != nil || at+60+size > len(data) {
			t.Fatalf("%s: bad archive member at %d", path, at)
		}
		body := data[at+60 : at+60+size]
		at += 60 + size + size&1
		name := strings.TrimRight(string(head[:16]), " ")
		switch {
		case name == "//":
			names = body
		case name == "/" || name == "/SYM64/":
		default:
			if n, err := strconv.Atoi(strings.TrimPrefix(name, "/")); err == nil && name[0] == '/' {
				end := bytes.Index(names[n:], []byte("/\n"))
				name = string(names[n : n+end])
			}
			name = strings.TrimSuffix(name, "/")
			if bytes.HasPrefix(body, []byte("\x7fELF")) && !strings.HasSuffix(name, ".rmeta") {
				list = append(list, caseFile{path + "(" + name + ")", body, true})
			}
		}
	}
	return list
}

// extract leaves out the archive members that no symbol needs, as linkers do; roots are needed from the start.
func extract(t testing.TB, files []caseFile, roots ...string) []Object {
	t.Helper()
	type symbols struct{ defined, undefined []string }
	all := make([]symbols, len(files))
	for i, f := range files {
		e, err := elf.NewFile(bytes.NewReader(f.data))
		if err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		list, err := e.Symbols()
		if err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		for _, y := range list {
			switch {
			case elf.ST_BIND(y.Info) == elf.STB_LOCAL:
			case y.Section != elf.SHN_UNDEF:
				all[i].defined = append(all[i].defined, y.Name)
			case elf.ST_BIND(y.Info) == elf.STB_GLOBAL:
				all[i].undefined = append(all[i].undefined, y.Name)
			}
		}
	}
	needed, defined := map[string]bool{"main": true, "_start": true}, map[string]bool{}
	for _, n := range roots {
		needed[n] = true
	}
	in := make([]bool, len(files))
	for changed := true; changed; {
		changed = false
		for i, f := range files {
			if in[i] {
				continue
			}
			take := !f.archive
			for _, n := range all[i].defined {
				take = take || needed[n] && !defined[n]
			}
			if !take {
				continue
			}
			in[i], changed = true, true
			for _, n := range all[i].defined {
				defined[n] = true
			}
			for _, n := range all[i].undefined {
				needed[n] = true
			}
		}
	}
	var list []Object
	for i, f := range files {
		if in[i] {
			list = append(list, Object{Name: f.name, Data: f.data})
		}
	}
	return list
}

// capturedClaim is the claim that nothing was folded in a captured link: a folder with the arguments one a line in the
// file args, and the inputs under in.
func capturedClaim(t testing.TB, dir, output string) *Claim {
	t.Helper()
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil {
		t.Fatal(err)
	}
	var files []caseFile
	for _, arg := range strings.Split(strings.TrimSuffix(string(args), "\n"), "\n") {
		if ext := filepath.Ext(arg); ext != ".o" && ext != ".rlib" && ext != ".a" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, "in", arg))
		if err != nil {
			if data, err = os.ReadFile(arg); err != nil {
				t.Fatal(err)
			}
		}
		files = append(files, members(t, filepath.Base(arg), data)...)
	}
	var roots []string // what a linker script asks for is not in the arguments, but it is in the output
	if e, err := elf.Open(output); err == nil {
		list, _ := e.Symbols()
		for _, y := range list {
			if elf.ST_BIND(y.Info) != elf.STB_LOCAL && y.Section != elf.SHN_UNDEF {
				roots = append(roots, y.Name)
			}
		}
		e.Close()
	}
	return &Claim{Output: output, Objects: extract(t, files, roots...), GC: true, Mode: "safe"}
}

// TestCaptured checks a captured link that the environment names, for finding false alarms in real programs:
// VERIFY_CASE is the folder, VERIFY_OUTPUT the plain outputs of any linkers, separated by colons.
func TestCaptured(t *testing.T) {
	dir, outputs := os.Getenv("VERIFY_CASE"), os.Getenv("VERIFY_OUTPUT")
	if dir == "" || outputs == "" {
		t.Skip("VERIFY_CASE and VERIFY_OUTPUT name no captured link")
	}
	for _, out := range strings.Split(outputs, ":") {
		t.Run(filepath.Base(out), func(t *testing.T) {
			c := capturedClaim(t, dir, out)
			if os.Getenv("VERIFY_INFER") != "" {
				t.Logf("%d sections seen to be folded", inferFates(t, c))
			}
			start := time.Now()
			res, err := Check(c)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v: %v", time.Since(start), res)
			for i, m := range res.Mismatches {
				if n, _ := strconv.Atoi(os.Getenv("VERIFY_LINES")); i < max(n, 40) {
					t.Error(m)
				}
			}
		})
	}
}

// located reads a link's output and finds where its sections lie in it.
func located(t testing.TB, c *Claim) (v *checker, data []byte) {
	t.Helper()
	data, err := os.ReadFile(c.Output)
	if err != nil {
		t.Fatal(err)
	}
	if v, err = begin(c, data); err != nil {
		t.Fatal(err)
	}
	v.seed(nil)
	v.follow()
	return v, data
}

// inferFates claims what an output shows: sections at one address were folded into the first of them in link order. It
// is how the work of another folder, without a claim of its own, is put to the check.
func inferFates(t testing.TB, c *Claim) int {
	t.Helper()
	v, _ := located(t, c)
	v.checkArrays()
	v.follow()
	first := map[uint64]*section{}
	n := 0
	for _, s := range v.sections {
		if !s.located || s.size == 0 || s.tls() || s.typ == uint32(elf.SHT_NOBITS) {
			continue
		}
		l := first[s.addr]
		if l == nil {
			first[s.addr] = s
			continue
		}
		o := &c.Objects[s.obj.index]
		for len(o.Fates) <= s.index {
			o.Fates = append(o.Fates, Fate{})
		}
		o.Fates[s.index] = Fate{Folded, uint32(l.obj.index), uint32(l.index)}
		n++
	}
	return n
}

// TestCapturedMutated flips bytes of a captured link's output, VERIFY_MUTATE of them, and lists which go unseen.
func TestCapturedMutated(t *testing.T) {
	dir, out := os.Getenv("VERIFY_CASE"), os.Getenv("VERIFY_OUTPUT")
	n, _ := strconv.Atoi(os.Getenv("VERIFY_MUTATE"))
	if dir == "" || out == "" || n == 0 {
		t.Skip("VERIFY_CASE, VERIFY_OUTPUT and VERIFY_MUTATE name no captured link")
	}
	c := capturedClaim(t, dir, out)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	o, err := readOutput(out, data)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	seen, all := map[string]int{}, map[string]int{}
	for range n {
		s := &o.sections[random.IntN(len(o.sections))]
		if s.data == nil {
			continue
		}
		at := random.IntN(len(s.data))
		was := s.data[at]
		s.data[at] ^= 1 << random.IntN(8)
		res, err := check(c, data, nil)
		s.data[at] = was
		all[s.name]++
		switch {
		case err != nil || len(res.Mismatches) > 0:
			seen[s.name]++
			if err == nil && all[s.name] < 4 {
				t.Logf("%s 0x%x: %d mismatches: %v", s.name, s.addr+uint64(at), len(res.Mismatches), res.Mismatches[0])
			}
		default:
			t.Logf("%s 0x%x: unseen", s.name, s.addr+uint64(at))
		}
	}
	for name, n := range all {
		t.Logf("%s: %d of %d seen", name, seen[name], n)
	}
}
