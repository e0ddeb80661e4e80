package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// allocSize is the size that counts: the sum of the sizes of all allocated
// sections that take room in the file.
func allocSize(path string) (uint64, error) {
	f, err := elf.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var sum uint64
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			sum += s.Size
		}
	}
	return sum, nil
}

func mustSize(ts *testscript.TestScript, path string) uint64 {
	size, err := allocSize(path)
	ts.Check(err)
	return size
}

func percent(before, after uint64) float64 {
	return (float64(after)/float64(before) - 1) * 100
}

// plainOf is the plain link's output beside a folded one: NAME.LINKER.plain.
func plainOf(path string) string {
	return strings.TrimSuffix(path, filepath.Ext(path)) + ".plain"
}

// symbols reads the defined symbols of a linked file.
func symbols(path string) ([]elf.Symbol, *elf.File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	all, err := f.Symbols()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	defined := all[:0]
	for _, s := range all {
		t := elf.ST_TYPE(s.Info)
		// mold names the GOT and PLT entries that it makes after their symbols.
		if strings.HasSuffix(s.Name, "$got") || strings.HasSuffix(s.Name, "$plt") || strings.HasSuffix(s.Name, "$pltgot") {
			continue
		}
		// And it leaves names of what it dropped in the table, at address 0.
		if s.Value == 0 && t != elf.STT_TLS {
			continue
		}
		if s.Section != elf.SHN_UNDEF && t != elf.STT_FILE && t != elf.STT_SECTION {
			defined = append(defined, s)
		}
	}
	return defined, f, nil
}

// find returns the addresses at which symbols match a pattern. The pattern is
// matched against the whole name and, for Rust's legacy mangling, against the
// name without its _ZN and hash: `demo::a` finds _ZN4demo1a17h0123456789abcdefE.
func find(syms []elf.Symbol, pattern string) ([]uint64, error) {
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, err
	}
	seen := map[uint64]bool{}
	for _, s := range syms {
		if re.MatchString(s.Name) || re.MatchString(legacyPath(s.Name)) {
			seen[s.Value] = true
		}
	}
	var at []uint64
	for a := range seen {
		at = append(at, a)
	}
	sort.Slice(at, func(i, j int) bool { return at[i] < at[j] })
	return at, nil
}

// legacyPath undoes Rust's legacy mangling as far as the tests need it: the
// parts joined by ::, without the hash. Other names give "".
func legacyPath(name string) string {
	rest, ok := strings.CutPrefix(name, "_ZN")
	if !ok {
		return ""
	}
	var parts []string
	for rest != "" && rest[0] != 'E' {
		i := 0
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		n, err := strconv.Atoi(rest[:i])
		if err != nil || n > len(rest)-i {
			return ""
		}
		parts = append(parts, rest[i:i+n])
		rest = rest[i+n:]
	}
	if len(parts) > 1 && len(parts[len(parts)-1]) == 17 && parts[len(parts)-1][0] == 'h' {
		parts = parts[:len(parts)-1]
	}
	return strings.Join(parts, "::")
}

// places resolves each pattern to its one address, or to none.
func places(path string, patterns []string) (map[string]uint64, error) {
	syms, _, err := symbols(path)
	if err != nil {
		return nil, err
	}
	at := map[string]uint64{}
	for _, p := range patterns {
		found, err := find(syms, p)
		if err != nil {
			return nil, err
		}
		if len(found) > 1 {
			return nil, fmt.Errorf("%s: %s is at %d addresses: %#x", path, p, len(found), found)
		}
		if len(found) == 1 {
			at[p] = found[0]
		}
	}
	return at, nil
}

// distinct counts the addresses in a map of places.
func distinct(at map[string]uint64) int {
	set := map[uint64]bool{}
	for _, a := range at {
		set[a] = true
	}
	return len(set)
}

// folded: a local symbol of a folded section goes away with it, so a missing
// name is a folded one here; but in the plain file each must be there, and at an
// address of its own, or there was nothing to fold.
func cmdFolded(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: folded GLOB SYMBOL SYMBOL…")
	}
	for _, path := range glob(ts, args[0]) {
		plain, err := places(plainOf(path), args[1:])
		ts.Check(err)
		if len(plain) != len(args)-1 || distinct(plain) != len(plain) {
			ts.Fatalf("%s: %v should each be at an address of their own: %#x", plainOf(path), args[1:], plain)
		}
		got, err := places(path, args[1:])
		ts.Check(err)
		if one := distinct(got) == 1; one == neg {
			ts.Fatalf("%s: %v are at %#x", path, args[1:], got)
		}
	}
}

func cmdApart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: apart GLOB SYMBOL SYMBOL…")
	}
	for _, path := range glob(ts, args[0]) {
		got, err := places(path, args[1:])
		ts.Check(err)
		if len(got) != len(args)-1 || distinct(got) != len(got) {
			ts.Fatalf("%s: %v should each be at an address of their own: %#x", path, args[1:], got)
		}
	}
}

func cmdSmaller(ts *testscript.TestScript, neg bool, args []string) {
	fs := flag.NewFlagSet("smaller", flag.ContinueOnError)
	by := fs.Float64("by", 0, "")
	ts.Check(fs.Parse(args))
	if neg || fs.NArg() != 1 {
		ts.Fatalf("usage: smaller [-by=PERCENT] GLOB")
	}
	for _, path := range glob(ts, fs.Arg(0)) {
		before, after := mustSize(ts, plainOf(path)), mustSize(ts, path)
		if after >= before || percent(before, after) > -*by {
			ts.Fatalf("%s: %d allocated bytes, %+.2f%% of the plain link's %d; wanted at least %.2f%% less",
				path, after, percent(before, after), before, *by)
		}
	}
}

// smaller-than: the same for two files by name.
func cmdSmallerThan(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: smaller-than FILE OTHER PERCENT")
	}
	by, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	after, before := mustSize(ts, ts.MkAbs(args[0])), mustSize(ts, ts.MkAbs(args[1]))
	ts.Logf("%d allocated bytes, %+.2f%% of %d", after, percent(before, after), before)
	if percent(before, after) > -by {
		ts.Fatalf("%s: %d allocated bytes, %+.2f%% of the %d of %s; wanted at least %v%% less",
			args[0], after, percent(before, after), before, args[1], by)
	}
}

func cmdDynSame(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: dynsame GLOB")
	}
	for _, path := range glob(ts, args[0]) {
		want, err := dynamic(plainOf(path))
		ts.Check(err)
		got, err := dynamic(path)
		ts.Check(err)
		if got != want {
			ts.Fatalf("%s: dynamic symbols differ from the plain link's\n%s--- plain\n%s", path, got, want)
		}
	}
}

// dynamic lists the dynamic symbols by what a loader sees of them, but for
// addresses and sizes.
func dynamic(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	syms, err := f.DynamicSymbols()
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	var lines []string
	for _, s := range syms {
		state := "defined"
		if s.Section == elf.SHN_UNDEF {
			state = "wanted"
		}
		lines = append(lines, fmt.Sprintf("%s %s@%s %v %v\n", state, s.Name, s.Version, elf.ST_BIND(s.Info), elf.ST_TYPE(s.Info)))
	}
	sort.Strings(lines)
	return strings.Join(lines, ""), nil
}

func cmdFrames(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: frames GLOB")
	}
	for _, path := range glob(ts, args[0]) {
		ts.Check(checkFrames(path))
	}
}

// checkFrames reads the binary search table of .eh_frame_hdr, as an unwinder
// would: sorted, no address twice, each in executable code, one for each FDE of
// .eh_frame that covers any.
func checkFrames(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	hdr, frame := f.Section(".eh_frame_hdr"), f.Section(".eh_frame")
	if hdr == nil || frame == nil {
		return fmt.Errorf("%s: no .eh_frame or .eh_frame_hdr", path)
	}
	table, err := hdr.Data()
	if err != nil {
		return err
	}
	const wanted = "\x01\x1b\x03\x3b" // version 1, pcrel sdata4, udata4, datarel sdata4
	if len(table) < 12 || string(table[:4]) != wanted {
		return fmt.Errorf("%s: .eh_frame_hdr: unexpected header % x", path, table[:min(len(table), 12)])
	}
	count := int(binary.LittleEndian.Uint32(table[8:]))
	if 12+8*count > len(table) {
		return fmt.Errorf("%s: .eh_frame_hdr: %d entries do not fit into %d bytes", path, count, len(table))
	}
	last := int64(-1 << 62)
	for i := range count {
		pc := int64(int32(binary.LittleEndian.Uint32(table[12+8*i:]))) + int64(hdr.Addr)
		if pc <= last {
			return fmt.Errorf("%s: .eh_frame_hdr: entry %d: %#x comes after %#x", path, i, pc, last)
		}
		last = pc
		if !inCode(f, uint64(pc)) {
			return fmt.Errorf("%s: .eh_frame_hdr: entry %d: %#x is not in code", path, i, pc)
		}
	}
	data, err := frame.Data()
	if err != nil {
		return err
	}
	n, err := countFDEs(data)
	if err != nil {
		return fmt.Errorf("%s: .eh_frame: %w", path, err)
	}
	if n != count {
		return fmt.Errorf("%s: .eh_frame has %d FDEs, .eh_frame_hdr %d", path, n, count)
	}
	return nil
}

func inCode(f *elf.File, addr uint64) bool {
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_EXECINSTR != 0 && addr >= s.Addr && addr < s.Addr+s.Size {
			return true
		}
	}
	return false
}

// countFDEs walks the records of a linked .eh_frame. A zero length that is not
// the last record would hide the rest from an unwinder without a search table.
func countFDEs(data []byte) (int, error) {
	n := 0
	for off := 0; off < len(data); {
		if off+4 > len(data) {
			return 0, io.ErrUnexpectedEOF
		}
		size := int(binary.LittleEndian.Uint32(data[off:]))
		if size == 0 {
			for _, b := range data[off:] {
				if b != 0 {
					return 0, fmt.Errorf("offset %#x: a terminator before the end", off)
				}
			}
			return n, nil
		}
		if size < 4 || off+4+size > len(data) {
			return 0, fmt.Errorf("offset %#x: length %#x", off, size)
		}
		if binary.LittleEndian.Uint32(data[off+4:]) != 0 {
			n++
		}
		off += 4 + size
	}
	return n, nil
}

// dwarf: what the compilers wrote may already displease the verifier, so only
// complaints that the plain link's output does not get count.
func cmdDwarf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: dwarf GLOB")
	}
	tool, ok := toolPath("llvm-dwarfdump")
	if !ok {
		ts.Fatalf("llvm-dwarfdump is missing")
	}
	for _, path := range glob(ts, args[0]) {
		want, got := complaints(ts, tool, plainOf(path)), complaints(ts, tool, path)
		for kind, n := range got {
			// What is dead lies at address 0 or at the end of the address space
			// (by linker), overlaps there and outside of what its parents cover:
			// the more is dead, the more of it.
			if n > want[kind] && !strings.Contains(kind, " ranges") {
				ts.Fatalf("%s: %s --verify says %d times %q, of the plain link's output %d times", path, tool, n, kind, want[kind])
			}
		}
	}
}

// complaints counts the verifier's errors by their text without numbers.
func complaints(ts *testscript.TestScript, tool, path string) map[string]int {
	o, err := run(ts.MkAbs("."), scriptEnv(ts), tool, "--verify", path)
	ts.Check(err)
	number := regexp.MustCompile(`0x[0-9a-f]+|[0-9]+`)
	counts := map[string]int{}
	for _, line := range strings.Split(o.stdout+o.stderr, "\n") {
		if strings.HasPrefix(line, "error:") {
			counts[number.ReplaceAllString(line, "N")]++
		}
	}
	return counts
}

func cmdAligned(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: aligned GLOB N SYMBOL…")
	}
	n, err := strconv.ParseUint(args[1], 10, 32)
	ts.Check(err)
	for _, path := range glob(ts, args[0]) {
		at, err := places(path, args[2:])
		ts.Check(err)
		if len(at) != len(args)-2 {
			ts.Fatalf("%s: of %v only %#x are there", path, args[2:], at)
		}
		for name, a := range at {
			if a%n != 0 {
				ts.Fatalf("%s: %s at %#x is not aligned to %d", path, name, a, n)
			}
		}
	}
}

func cmdSection(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: section GLOB SYMBOL NAME")
	}
	for _, path := range glob(ts, args[0]) {
		syms, f, err := symbols(path)
		ts.Check(err)
		found := false
		for _, s := range syms {
			if s.Name == args[1] {
				found = true
				if name := f.Sections[s.Section].Name; name != args[2] {
					ts.Fatalf("%s: %s lies in %s, not in %s", path, args[1], name, args[2])
				}
			}
		}
		if !found {
			ts.Fatalf("%s: no symbol %s", path, args[1])
		}
	}
}

func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: same FILE FILE…")
	}
	for _, other := range args[1:] {
		err := sameFiles(ts.MkAbs(args[0]), ts.MkAbs(other))
		if (err != nil) != neg {
			ts.Fatalf("same %s %s: %v", args[0], other, err)
		}
	}
}

// sameFiles says where two files first differ.
func sameFiles(a, b string) error {
	x, err := os.ReadFile(a)
	if err != nil {
		return err
	}
	y, err := os.ReadFile(b)
	if err != nil {
		return err
	}
	if bytes.Equal(x, y) {
		return nil
	}
	i := 0
	for i < len(x) && i < len(y) && x[i] == y[i] {
		i++
	}
	return fmt.Errorf("%s (%d bytes) and %s (%d bytes) differ from offset %#x on", a, len(x), b, len(y), i)
}
