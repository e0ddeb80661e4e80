package report

import (
	"debug/elf"
	"fmt"
)

// Region is a part of a machine's memory, as a linker script's MEMORY command
// names it.
type Region struct {
	Name   string
	Origin uint64
	Length uint64 // bytes
	Used   uint64 // bytes of the file's segments in it; set by UseRegions
}

// UseRegions computes how much of each region an ELF file uses: where its
// segments lie when the program runs, and where what initialises them is
// stored, which of .data in RAM is flash.
func UseRegions(path string, regions []Region) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	for i := range regions {
		r := &regions[i]
		r.Used = 0
		for _, p := range f.Progs {
			if p.Type != elf.PT_LOAD {
				continue
			}
			r.Used += overlap(p.Vaddr, p.Memsz, r)
			if p.Paddr != p.Vaddr {
				r.Used += overlap(p.Paddr, p.Filesz, r)
			}
		}
	}
	return nil
}

// overlap returns how many of size bytes from addr lie in a region.
func overlap(addr, size uint64, r *Region) uint64 {
	from, to := max(addr, r.Origin), min(addr+size, r.Origin+r.Length)
	if addr+size < addr || from >= to {
		return 0
	}
	return to - from
}

// RegionsTable shows the use of regions.
func RegionsTable(regions []Region) *Table {
	t := &Table{Key: "regions", Title: "Memory regions of the linker script",
		Columns: []Column{{"used", "used", ColumnBytes}, {"share", "% of it", ColumnShare}, {"free", "free", ColumnBytes}, {"length", "size", ColumnBytes}, {"origin", "from", ColumnHex}, {"bar", "", ColumnText}, {"name", "region", ColumnName}}}
	for _, r := range regions {
		t.add(r.Used, share(r.Used, r.Length), r.Length-min(r.Used, r.Length), r.Length, r.Origin, bar(share(r.Used, r.Length)), r.Name)
	}
	return t
}

// bar draws a share in ten boxes.
func bar(x float64) string {
	const boxes = 10
	full := min(max(int(x*boxes+0.5), 0), boxes)
	out := ""
	for i := range boxes {
		if i < full {
			out += "█"
		} else {
			out += "░"
		}
	}
	return out
}
