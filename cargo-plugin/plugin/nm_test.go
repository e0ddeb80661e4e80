package plugin

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"leanlink/report"
)

// nmSpan is a run of bytes that nm -S names.
type nmSpan struct {
	addr, end uint64
	crates    []string // that its names can be of; sorted
	found     uint64   // bytes of it that items with a name have
}

// readNM lists what nm -S -C names of a file, in order and disjoint. Of bytes
// that several symbols cover, all of them say something: folded functions have
// all their names.
func readNM(t *testing.T, path string) []nmSpan {
	t.Helper()
	out, err := exec.Command("nm", "-S", "-C", "--defined-only", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The addresses of thread-local symbols are offsets, which lie nowhere.
	lies := func(addr uint64) bool {
		return slices.ContainsFunc(f.Sections, func(s *elf.Section) bool {
			return s.Flags&elf.SHF_ALLOC != 0 && s.Flags&elf.SHF_TLS == 0 && addr >= s.Addr && addr-s.Addr < s.Size
		})
	}
	var symbols []nmSpan
	var edges []uint64
	for _, line := range strings.Split(string(out), "\n") {
		fields := strings.SplitN(line, " ", 4)
		if len(fields) != 4 || len(fields[2]) != 1 {
			continue // without a size
		}
		addr, size := hexNumber(t, fields[0]), hexNumber(t, fields[1])
		crates := cratesNamed(fields[3])
		if size == 0 || len(crates) == 0 || !lies(addr) {
			continue
		}
		symbols = append(symbols, nmSpan{addr: addr, end: addr + size, crates: crates})
		edges = append(edges, addr, addr+size)
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	slices.SortFunc(symbols, func(a, b nmSpan) int { return int(int64(a.addr) - int64(b.addr)) })
	spans := make([]nmSpan, 0, len(edges))
	for i := 1; i < len(edges); i++ {
		spans = append(spans, nmSpan{addr: edges[i-1], end: edges[i]})
	}
	for _, y := range symbols {
		i, _ := slices.BinarySearchFunc(spans, y.addr, func(s nmSpan, addr uint64) int { return int(int64(s.addr) - int64(addr)) })
		for ; i < len(spans) && spans[i].addr < y.end; i++ {
			for _, c := range y.crates {
				if k, found := slices.BinarySearch(spans[i].crates, c); !found {
					spans[i].crates = slices.Insert(spans[i].crates, k, c)
				}
			}
		}
	}
	return spans
}

var pathHead = regexp.MustCompile(`(?:^|[^\w:>])([A-Za-z_]\w*)(?:\[[0-9a-f]+\])?::`)

// cratesNamed returns the crates that a demangled name can be of: of a path,
// its first word; of <Type as Trait>::name, one of those that its types and
// traits are from, for no other may implement it.
func cratesNamed(name string) []string {
	if !strings.HasPrefix(name, "<") {
		if m := pathHead.FindStringSubmatchIndex(name); m != nil && m[0] == 0 {
			return []string{name[m[2]:m[3]]}
		}
		return nil
	}
	depth, end := 0, 0
	for i, c := range name {
		switch {
		case c == '<':
			depth++
		case c == '>' && name[i-1] != '-':
			depth--
		}
		if depth == 0 {
			end = i
			break
		}
	}
	var crates []string
	for _, m := range pathHead.FindAllStringSubmatch(name[1:end], -1) {
		if !slices.Contains(crates, m[1]) {
			crates = append(crates, m[1])
		}
	}
	slices.Sort(crates)
	return crates
}

func hexNumber(t *testing.T, s string) uint64 {
	t.Helper()
	var v uint64
	for _, c := range s {
		d := strings.IndexRune("0123456789abcdef", c)
		if d < 0 {
			t.Fatalf("%q is not hexadecimal", s)
		}
		v = v<<4 | uint64(d)
	}
	return v
}

func TestCratesNamed(t *testing.T) {
	for name, want := range map[string]string{
		"core::fmt::Write::write_fmt":                             "core",
		"<alloc::vec::Vec<u8> as std::io::Write>::write":          "alloc std",
		"<F as regex::Replacer>::replace_append":                  "regex",
		"<&(dyn app::Shape + 'a) as core::fmt::Debug>::fmt":       "app core",
		"<fn(&json::Value) -> app::X as core::ops::FnOnce>::call": "app core json",
		"__rustc[1234]::rust_begin_unwind":                        "__rustc",
		"core::ptr::drop_in_place<json::Value>":                   "core",
		"main":                                                    "", "memcpy": "",
	} {
		if got := strings.Join(cratesNamed(name), " "); got != want {
			t.Errorf("%s: %q, wanted %q", name, got, want)
		}
	}
}

// TestCratesAgreeWithNM compares crates with an independent sum, on a small
// program and on the one that LEANLINK_REPORT names.
func TestCratesAgreeWithNM(t *testing.T) {
	c := newCrate(t)
	if _, err := exec.LookPath("nm"); err != nil {
		t.Skip("nm is not installed")
	}
	c.run(0, "--release", "-q")
	found, err := filepath.Glob(filepath.Join(c.dir, "target/size-report/release/deps/my_hello-*"+report.Suffix))
	if err != nil || len(found) != 1 {
		t.Fatalf("reports: %v, %v", found, err)
	}
	if path := os.Getenv("LEANLINK_REPORT"); path != "" {
		found = append(found, path)
	}
	for _, path := range found {
		z, err := report.Open(path, "")
		if err != nil {
			t.Fatal(err)
		}
		checkAgainstNM(t, z)
	}
}

// checkAgainstNM holds the table of crates against what nm -S tells of the
// same file: each byte that nm names is counted for a crate that nm's names
// allow, and so each row of the table lies between the bytes that only its
// crate's names cover and those that they cover among others, plus what nm
// has no name for.
func checkAgainstNM(t *testing.T, z *report.Sizes) {
	t.Helper()
	spans := readNM(t, z.Path)
	only, any, ours, unnamed := make(map[string]uint64), make(map[string]uint64), make(map[string]uint64), make(map[string]uint64)
	var wrong, named, all uint64
	for _, s := range spans {
		for _, c := range s.crates {
			any[c] += s.end - s.addr
		}
		if len(s.crates) == 1 {
			only[s.crates[0]] += s.end - s.addr
		}
	}
	for i := range z.Items {
		it := &z.Items[i]
		switch it.Label {
		case report.LabelCode, report.LabelRodata, report.LabelRelro, report.LabelData, report.LabelBSS, report.LabelTLS, report.LabelInit:
		default:
			continue // nm knows nothing of tables
		}
		crate := z.CrateOf(it, &report.ViewOptions{SplitStd: true})
		ours[crate] += it.Memory
		all += it.Memory
		left := it.Memory
		if it.Addr != 0 && (it.Symbol != "" || it.Of != report.None) {
			k, _ := slices.BinarySearchFunc(spans, it.Addr, func(s nmSpan, addr uint64) int {
				if s.end <= addr {
					return -1
				}
				return 1
			})
			for ; k < len(spans) && spans[k].addr < it.Addr+it.Memory; k++ {
				n := min(spans[k].end, it.Addr+it.Memory) - max(spans[k].addr, it.Addr)
				if len(spans[k].crates) == 0 {
					continue // between two symbols
				}
				left -= n
				named += n
				spans[k].found += n
				if !slices.Contains(spans[k].crates, crate) {
					wrong += n
					t.Errorf("%#x: %d bytes of %s count for %s, nm names %v", it.Addr, n, z.Name(it), crate, spans[k].crates)
				}
			}
		}
		unnamed[crate] += left
	}
	var nmNamed uint64
	for _, s := range spans {
		if len(s.crates) > 0 {
			nmNamed += s.end - s.addr
			if s.found != s.end-s.addr {
				t.Errorf("%#x: nm names %d bytes of %v, of which %d have a name here", s.addr, s.end-s.addr, s.crates, s.found)
			}
		}
	}
	if named != nmNamed {
		t.Errorf("nm names %d bytes, of which %d were found", nmNamed, named)
	}
	for crate, n := range ours {
		if strings.HasPrefix(crate, "[") {
			continue
		}
		if n < only[crate] || n > any[crate]+unnamed[crate] {
			t.Errorf("%s: %d bytes, nm has between %d and %d, and %d have no name", crate, n, only[crate], any[crate], unnamed[crate])
		}
	}
	for crate, n := range only {
		if ours[crate] < n {
			t.Errorf("%s: %d bytes, nm has %d", crate, ours[crate], n)
		}
	}
	t.Logf("%s: nm names %d of %d bytes; %d of them count for another crate", z.File(), nmNamed, all, wrong)
}
