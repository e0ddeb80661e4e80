package linker

import (
	"regexp"
	"testing"
)

// TestScriptWords compares what reads a script's text with the expressions
// that define it.
func TestScriptWords(t *testing.T) {
	identifier := regexp.MustCompile(`^[A-Za-z_.$][A-Za-z0-9_.$]*$`)
	comment := regexp.MustCompile(`(?m)(^|\s)#.*$`)
	pieces := []string{"", "a", "Z", "_", ".", "$", "0", "9", "#", " ", "\t", "\n", "\r", "\f", "\v", "-", "é", "\xff", "ab", "x#y"}
	for _, a := range pieces {
		for _, b := range pieces {
			for _, c := range pieces {
				for _, d := range pieces {
					s := a + b + c + d
					if got, want := isIdentifier(s), identifier.MatchString(s); got != want {
						t.Fatalf("%q is an identifier: %v, want %v", s, got, want)
					}
					if got, want := stripHashes(s), comment.ReplaceAllString(s, "$1"); got != want {
						t.Fatalf("%q without comments is %q, want %q", s, got, want)
					}
				}
			}
		}
	}
}
