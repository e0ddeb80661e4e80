package objfile

import (
	"bytes"
	"strings"
	"testing"
)

// TestNoLonger compares with looking at every string.
func TestNoLonger(t *testing.T) {
	for _, table := range []string{"", "\x00", "a\x00", "\x00\x00\x00", "abc\x00", "a\x00bc\x00", "\x00abcdef\x00ab\x00", "ab\x00abcdef\x00", "abcdefgh\x00\x00a\x00"} {
		longest := 0
		for s := range strings.SplitSeq(table, "\x00") {
			longest = max(longest, len(s))
		}
		for n := range uint64(len(table) + 2) {
			if got, want := noLonger([]byte(table), n), uint64(longest) <= n; got != want {
				t.Errorf("%q has no string longer than %d: %v, want %v", table, n, got, want)
			}
		}
	}
	if table := bytes.Repeat([]byte("abc\x00"), 1<<12); !noLonger(table, 3) || noLonger(table, 2) {
		t.Error("many strings of three bytes")
	}
}
