package examples

import (
	"debug/elf"
	"path/filepath"
	"testing"

	"leanlink/report"
)

// TestRegions: what a report says of the memory of a firmware is what the sections of the linked file say: contents in
// flash, with those of variables; variables in RAM; and beside them the stack, which flip-link moves below them.
func TestRegions(t *testing.T) {
	if testing.Short() {
		t.Skip("builds firmware")
	}
	f := firmwares[0]
	for _, c := range firmwares {
		if c.dir == "cortex-m0-pulse" {
			f = c
		}
	}
	config := readConfig(t, f.dir)
	f.require(t, config)
	link := compile(t, build{dir: f.dir, target: config.target})
	const ram, length = 0x20000000, 16 << 10 // of its memory.x
	for _, w := range f.linkers(t) {
		t.Run(w.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), f.dir)
			link.run(t, out, w.path, f.args(link, w, false))
			regions := []report.Region{{Name: "FLASH", Length: 256 << 10}, {Name: "RAM", Origin: ram, Length: length}}
			if err := report.UseRegions(out, regions); err != nil {
				t.Fatal(err)
			}
			file, err := elf.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			var data, variables, first, last uint64
			first, last = ram+length, ram
			for _, s := range file.Sections {
				if s.Flags&elf.SHF_ALLOC == 0 || s.Addr < ram || s.Size == 0 {
					continue
				}
				variables += s.Size
				if s.Type != elf.SHT_NOBITS {
					data += s.Size
				}
				first, last = min(first, s.Addr), max(last, s.Addr+s.Size)
			}
			if data == 0 || variables <= data {
				t.Fatalf("%d bytes of .data and %d of all variables show nothing", data, variables)
			}
			got, flash := regions[0], flash(t, out)
			if got.Loaded != data || got.Used < flash || got.Used > flash+16 { // gaps between sections count
				t.Errorf("FLASH: %d bytes, of these %d of variables; the sections have %d and %d", got.Used, got.Loaded, flash, data)
			}
			stack := ram + length - last
			if w.name == "flip-link" {
				stack = first - ram
			}
			if got := regions[1]; got.Used < variables || got.Used > variables+16 || got.Stack < stack-16 || got.Stack > stack {
				t.Errorf("RAM: %d bytes, and %d for the stack; the sections have %d and leave %d", got.Used, got.Stack, variables, stack)
			}
		})
	}
}
