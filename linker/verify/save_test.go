package verify

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// foldedByHand is a claim with a fold and its output, and the folder of the output.
func foldedByHand(t testing.TB) *Claim {
	t.Helper()
	original, rewritten := t.TempDir(), t.TempDir()
	const start = ".section .text._start,\"ax\",@progbits\n.globl _start\n_start: call f\ncall g\nlea word(%rip), %rax\nhlt\n.section .rodata.str1.1,\"aMS\",@progbits,1\nword: .string \"word\"\n"
	f, g := framed("f", "nop\nret"), framed("g", "nop\nret")
	var objects []string
	for _, o := range [][3]string{{"start", start, start}, {"f", f, f + ".globl g\n.set g, f\n"}, {"g", g, ""}} {
		objects = append(objects, assemble(t, original, o[0], o[1]))
		assemble(t, rewritten, o[0], o[2])
	}
	run(t, rewritten, "gcc", append([]string{"-nostdlib", "-static", "-Wl,-Map=map", "-o", "out"}, objects...)...)
	c := claimOf(t, original, "out", objects...)
	c.Output, c.Map, c.Linker = filepath.Join(rewritten, "out"), filepath.Join(rewritten, "map"), "bfd"
	claimFold(t, c, Folded, "g.o .text.g", "f.o .text.f")
	return c
}

func TestSave(t *testing.T) {
	c := foldedByHand(t)
	c.Provided, c.Objects[0].Opaque = []string{"somewhere"}, true
	want := mustAgree(t, c)
	dir := filepath.Join(t.TempDir(), "a case")
	if err := Save(c, dir); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if res := mustAgree(t, got); !reflect.DeepEqual(res, want) {
		t.Errorf("the saved case gives %v, the claim itself %v", res, want)
	}
	got.Output, got.Map = c.Output, c.Map
	if !reflect.DeepEqual(got, c) {
		t.Error("the claim does not come back as it was")
	}
	text, err := os.ReadFile(filepath.Join(dir, "claim.json"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), filepath.Dir(dir)) || strings.Contains(string(text), filepath.Dir(c.Output)) {
		t.Errorf("a path of this machine is in %s", text)
	}
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	if err := Save(foldedByHand(t), dir); err != nil {
		t.Fatal(err)
	}
	change := func(file string, f func([]byte) []byte) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), f(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := func(want int, text string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		if got := Command(args, &out, &out); got != want || !strings.Contains(out.String(), text) {
			t.Errorf("verify %q exits with %d, want %d, and says\n%s", args, got, want, out.String())
		}
	}
	command(2, "usage: leanlink verify CASE")
	command(2, "usage: leanlink verify CASE", "--help")
	command(2, "claim.json: no such file", filepath.Join(dir, "nowhere"))
	command(0, "x86-64: 0 mismatches; compared 2 sections (2 of code, 20 bytes), 3 relocations", dir)
	change("output", func(b []byte) []byte { return bytes.Replace(b, []byte("word\x00"), []byte("sword"), 1) })
	command(1, "mismatch: start.o: section .text._start: offset 0xd: leads to 0x", dir)
	change("output", func(b []byte) []byte { return b[:40] })
	command(2, "output: ", dir)
	change("claim.json", func(b []byte) []byte { return bytes.Replace(b, []byte("objects/0.o"), []byte("../outside.o"), 1) })
	command(2, `"../outside.o" is outside the case`, dir)
	change("claim.json", func(b []byte) []byte { return bytes.Replace(b, []byte(`"version":1`), []byte(`"version":9`), 1) })
	command(2, "version 9, this program reads 1", dir)
}

// TestDamagedFiles: whatever is in the files, the check ends with a result or an error.
func TestDamagedFiles(t *testing.T) {
	c := foldedByHand(t)
	output, err := os.ReadFile(c.Output)
	if err != nil {
		t.Fatal(err)
	}
	linkMap, err := os.ReadFile(c.Map)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	unread, wrong := 0, 0
	for range 3000 {
		d := *c
		d.Objects = append([]Object(nil), c.Objects...)
		out := bytes.Clone(output)
		files := []*[]byte{&out}
		for i := range d.Objects {
			d.Objects[i].Data = bytes.Clone(d.Objects[i].Data)
			files = append(files, &d.Objects[i].Data)
		}
		f := files[random.IntN(len(files))]
		for range 1 + random.IntN(4) {
			b := *f
			switch random.IntN(8) {
			case 0:
				*f = b[:random.IntN(len(b))+1]
			case 1:
				b[random.IntN(len(b))] = 0xff
			default:
				b[random.IntN(len(b))] ^= 1 << random.IntN(8)
			}
		}
		res, err := check(&d, out, linkMap)
		switch {
		case err != nil:
			unread++
		case len(res.Mismatches) > 0:
			wrong++
		}
	}
	if unread < 50 || wrong < 100 {
		t.Errorf("of the damaged files %d were not readable and %d not right: too few for damage to have been done", unread, wrong)
	}
}

func TestMachine(t *testing.T) {
	c := foldedByHand(t)
	data, err := os.ReadFile(c.Output)
	if err != nil {
		t.Fatal(err)
	}
	data[18] = 21 // EM_PPC64
	if _, err := check(c, data, nil); err == nil || !strings.HasSuffix(err.Error(), "no check for this machine: EM_PPC64 ELFCLASS64") {
		t.Errorf("got %v", err)
	}
}
