package verify

import (
	"os"
	"testing"
)

// FuzzObject: whatever bytes an original object has, the check ends with a result or an error.
func FuzzObject(f *testing.F) {
	c := foldedByHand(f)
	output, err := os.ReadFile(c.Output)
	if err != nil {
		f.Fatal(err)
	}
	for i := range c.Objects {
		f.Add(c.Objects[i].Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := *c
		d.Objects = append([]Object(nil), c.Objects...)
		d.Objects[1].Data = data
		if _, err := check(&d, output, nil); err != nil && len(err.Error()) == 0 {
			t.Error("an error without a message")
		}
	})
}

// FuzzOutput: the same for the linked file and the link map.
func FuzzOutput(f *testing.F) {
	c := foldedByHand(f)
	output, err := os.ReadFile(c.Output)
	if err != nil {
		f.Fatal(err)
	}
	linkMap, err := os.ReadFile(c.Map)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(output, linkMap)
	f.Fuzz(func(t *testing.T, output, linkMap []byte) {
		if _, err := check(c, output, linkMap); err != nil && len(err.Error()) == 0 {
			t.Error("an error without a message")
		}
	})
}
