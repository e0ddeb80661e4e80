package e2e

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os/exec"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// lines: addr2line must say the same of a kept function as in the plain file.
// Kept is what has an address of its own in both files and its whole body; a
// folded one answers with its leader, a jump to a leader has no line.
func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: lines GLOB")
	}
	for _, path := range glob(ts, args[0]) {
		n, err := compareLines(plainOf(path), path)
		ts.Check(err)
		ts.Logf("%s: %d functions resolve as in the plain link", path, n)
		if n < 100 {
			ts.Fatalf("%s: only %d functions to compare", path, n)
		}
	}
}

func compareLines(plain, path string) (int, error) {
	was, err := ownFunctions(plain)
	if err != nil {
		return 0, err
	}
	is, err := ownFunctions(path)
	if err != nil {
		return 0, err
	}
	var names []string
	var before, after []uint64
	for name, s := range is {
		if p, ok := was[name]; ok && p.Size == s.Size {
			names = append(names, name)
			before = append(before, p.Value)
			after = append(after, s.Value)
		}
	}
	want, err := addr2line(plain, before)
	if err != nil {
		return 0, err
	}
	got, err := addr2line(path, after)
	if err != nil {
		return 0, err
	}
	for i, name := range names {
		if got[i] != want[i] {
			return 0, fmt.Errorf("%s: addr2line of %s at %#x says %s, in the plain link %s", path, name, after[i], got[i], want[i])
		}
	}
	return len(names), nil
}

// ownFunctions are the functions that share their address and their name with no other.
func ownFunctions(path string) (map[string]elf.Symbol, error) {
	syms, _, err := symbols(path)
	if err != nil {
		return nil, err
	}
	at, named := map[uint64]int{}, map[string]int{}
	for _, s := range syms {
		at[s.Value]++
		named[s.Name]++
	}
	own := map[string]elf.Symbol{}
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Size > 0 && at[s.Value] == 1 && named[s.Name] == 1 {
			own[s.Name] = s
		}
	}
	return own, nil
}

// addr2line gives one FILE:LINE an address.
func addr2line(path string, addresses []uint64) ([]string, error) {
	var in bytes.Buffer
	for _, a := range addresses {
		fmt.Fprintf(&in, "%#x\n", a)
	}
	cmd := exec.Command("addr2line", "-e", path)
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("addr2line -e %s: %w", path, err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(addresses) {
		return nil, fmt.Errorf("addr2line -e %s: %d answers to %d addresses", path, len(lines), len(addresses))
	}
	return lines, nil
}

var frame = regexp.MustCompile(`(?m)^ +[0-9]+: (.*)\n(?: +at (.*)\n)?`)

// backtrace: a panic's backtrace has the same frames with the same lines, but
// that frames of functions that fold (REGEXP) go by any of their names.
func cmdBacktrace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: backtrace GLOB REGEXP")
	}
	folds := regexp.MustCompile("^(?:" + args[1] + ")$")
	frames := func(path string) [][]string {
		o, err := run(ts.MkAbs("."), scriptEnv(ts, "RUST_BACKTRACE=1"), path)
		ts.Check(err)
		all := frame.FindAllStringSubmatch(o.stderr, -1)
		if len(all) < 5 {
			ts.Fatalf("%s: no backtrace: %v", path, o)
		}
		return all
	}
	for _, path := range glob(ts, args[0]) {
		want, got := frames(plainOf(path)), frames(path)
		if len(got) != len(want) {
			ts.Fatalf("%s: %d frames, in the plain program %d:\n%q\n%q", path, len(got), len(want), got, want)
		}
		for i := range got {
			same := got[i][1] == want[i][1] && got[i][2] == want[i][2]
			leader := folds.MatchString(got[i][1]) && folds.MatchString(want[i][1])
			if !same && !leader {
				ts.Fatalf("%s: frame %d is %q, in the plain program %q", path, i, got[i][0], want[i][0])
			}
		}
	}
}
