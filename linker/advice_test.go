package linker

import (
	"testing"

	"leanlink/merge"
)

// What is in force stays in force, and what it takes in is not tried.
func TestCouldTrims(t *testing.T) {
	for _, tt := range []struct {
		name      string
		now, more merge.Trim
		want      merge.Trim
		ok        bool
	}{
		{"nothing yet", merge.Trim{}, merge.Trim{Align: true}, merge.Trim{Align: true}, true},
		{"in force", merge.Trim{Align: true}, merge.Trim{Align: true}, merge.Trim{Align: true}, false},
		{"on top", merge.Trim{Symbolizer: true}, merge.Trim{Align: true}, merge.Trim{Symbolizer: true, Align: true}, true},
		{"trap takes messages in", merge.Trim{Messages: true}, merge.Trim{Trap: true, Locations: true}, merge.Trim{Trap: true, Locations: true}, true},
		{"messages where panics trap", merge.Trim{Trap: true, Locations: true}, merge.Trim{Messages: true}, merge.Trim{Trap: true, Locations: true}, false},
		{"locations where messages go", merge.Trim{Messages: true}, merge.Trim{Locations: true}, merge.Trim{Messages: true, Locations: true}, false},
		{"drop takes calls in", merge.Trim{Calls: true}, merge.Trim{Frames: true}, merge.Trim{Frames: true}, true},
		{"calls where all goes", merge.Trim{Frames: true}, merge.Trim{Calls: true}, merge.Trim{Frames: true}, false},
	} {
		got, ok := with(tt.now, tt.more)
		if ok != tt.ok || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, got, ok)
		}
	}
}
