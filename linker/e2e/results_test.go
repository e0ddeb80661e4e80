package e2e

import (
	"fmt"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// results is what a run of cargo test came to: "program: test" → ok, FAILED or
// ignored; a program that ended without a summary has "program" → how, which is
// noHarness if it is one that prints none and all was well.
type results map[string]string

const (
	noHarness = "no harness"
	noSummary = "no summary"
)

var (
	// The hash in the program's name changes with its path.
	runningLine = regexp.MustCompile(`^ +Running (?:unittests )?(\S+) \(`)
	testLine    = regexp.MustCompile(`^test (.+?) \.\.\. (ok|FAILED|ignored)`)
	harnessLine = regexp.MustCompile(`^running \d+ tests?$`)
	summaryLine = regexp.MustCompile(`^test result: (?:ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored; \d+ measured; (\d+) filtered out`)
	// Printed behind the summary of failed tests, too.
	failedLine = regexp.MustCompile(`^error: test failed, to rerun pass `)
	endLine    = regexp.MustCompile(`^  process didn't exit successfully: .* \((.*)\)`)
)

// parseResults reads what cargo test printed.
func parseResults(out string) (results, error) {
	r := results{}
	program, counted := "", map[string]int{}
	harness, summed := false, true
	finish := func() {
		switch {
		case summed:
		case harness:
			r[program] = noSummary
		default:
			r[program] = noHarness
		}
	}
	for line := range strings.SplitSeq(out, "\n") {
		if m := runningLine.FindStringSubmatch(line); m != nil {
			finish()
			program, counted, harness, summed = m[1], map[string]int{}, false, false
		} else if harnessLine.MatchString(line) {
			harness = true
		} else if m := testLine.FindStringSubmatch(line); m != nil && !summed {
			name := program + ": " + m[1]
			if _, twice := r[name]; twice {
				return nil, fmt.Errorf("%s: printed twice", name)
			}
			r[name] = m[2]
			counted[m[2]]++
		} else if m := summaryLine.FindStringSubmatch(line); m != nil && !summed {
			summed = true
			for i, kind := range []string{"ok", "FAILED", "ignored"} {
				if want := fmt.Sprint(counted[kind]); m[i+1] != want {
					return nil, fmt.Errorf("%s: %s tests are %s by its summary, but %s by its lines", program, m[i+1], kind, want)
				}
			}
		} else if failedLine.MatchString(line) && !summed {
			r[program], summed = noSummary, true
		} else if m := endLine.FindStringSubmatch(line); m != nil && r[program] == noSummary {
			r[program] = m[1]
		}
	}
	finish()
	return r, nil
}

// count is how many tests ended in a way.
func (r results) count(how string) (n int) {
	for _, v := range r {
		if v == how {
			n++
		}
	}
	return n
}

// failed lists, sorted, what failed, tests and programs.
func (r results) failed() []string {
	var list []string
	for name, how := range r {
		if how != "ok" && how != "ignored" && how != noHarness {
			list = append(list, name)
		}
	}
	sort.Strings(list)
	return list
}

// difference lists, sorted, the tests that came out otherwise than in want.
func (r results) difference(want results) []string {
	var list []string
	for name, how := range r {
		if want[name] != how {
			list = append(list, fmt.Sprintf("%s: %s, not %q", name, how, want[name]))
		}
	}
	for name, how := range want {
		if _, ok := r[name]; !ok {
			list = append(list, fmt.Sprintf("%s: missing, not %q", name, how))
		}
	}
	sort.Strings(list)
	return list
}

func TestResults(t *testing.T) {
	const first = `   Compiling x v1.0.0 (/x)
     Running unittests src/lib.rs (target/debug/deps/x-0123456789abcdef)

running 3 tests
test a::one ... ok
test b ... ignored, for a reason
test two - should panic ... ok

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/other.rs (target/debug/deps/other-0123456789abcdef)

running 1 test
`
	const passes = "test a::one ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n"
	const src, other = "src/lib.rs: ", "tests/other.rs: "
	plain := results{src + "a::one": "ok", src + "b": "ignored", src + "two - should panic": "ok", other + "a::one": "ok"}
	for _, tt := range []struct {
		name, out, err string
		want           results
		difference     []string // from plain
	}{
		{name: "the same", out: first + passes, want: plain},
		{name: "fails", out: first + strings.NewReplacer("... ok", "... FAILED", "1 passed; 0", "0 passed; 1", ": ok", ": FAILED").Replace(passes),
			want:       results{src + "a::one": "ok", src + "b": "ignored", src + "two - should panic": "ok", other + "a::one": "FAILED"},
			difference: []string{`tests/other.rs: a::one: FAILED, not "ok"`}},
		{name: "killed", out: first + "error: test failed, to rerun pass `--test other`\n\nCaused by:\n  process didn't exit successfully: `/x/other` (signal: 5, SIGTRAP: trace/breakpoint trap)\n",
			want:       results{src + "a::one": "ok", src + "b": "ignored", src + "two - should panic": "ok", "tests/other.rs": "signal: 5, SIGTRAP: trace/breakpoint trap"},
			difference: []string{`tests/other.rs: a::one: missing, not "ok"`, `tests/other.rs: signal: 5, SIGTRAP: trace/breakpoint trap, not ""`}},
		{name: "cut short", out: first + "test a::one ... ok\n",
			want:       results{src + "a::one": "ok", src + "b": "ignored", src + "two - should panic": "ok", other + "a::one": "ok", "tests/other.rs": "no summary"},
			difference: []string{`tests/other.rs: no summary, not ""`}},
		{name: "ended early", out: first[:strings.LastIndex(first, "running")] + "panicked\nerror: test failed, to rerun pass `--test other`\n",
			want:       results{src + "a::one": "ok", src + "b": "ignored", src + "two - should panic": "ok", "tests/other.rs": "no summary"},
			difference: []string{`tests/other.rs: a::one: missing, not "ok"`, `tests/other.rs: no summary, not ""`}},
		{name: "no harness", out: first + passes + "     Running tests/own.rs (target/debug/deps/own-0123456789abcdef)\nfine\n",
			want:       results{src + "a::one": "ok", src + "b": "ignored", src + "two - should panic": "ok", other + "a::one": "ok", "tests/own.rs": "no harness"},
			difference: []string{`tests/own.rs: no harness, not ""`}},
		{name: "not understood", out: first + strings.Replace(passes, "test a::one", "tes", 1),
			err: "tests/other.rs: 1 tests are ok by its summary, but 0 by its lines"},
		{name: "twice", out: first + "test x ... ok\ntest x ... ok\n", err: "tests/other.rs: x: printed twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseResults(tt.out)
			if err != nil || tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.difference, got.difference(plain)); diff != "" {
				t.Errorf("difference (-want +got):\n%s", diff)
			}
		})
	}
}
