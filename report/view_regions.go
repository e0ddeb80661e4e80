package report

import (
	"debug/elf"
	"errors"
	"fmt"
)

// Region is a part of a machine's memory, as a linker script's MEMORY command
// names it.
type Region struct {
	Name   string
	Origin uint64
	Length uint64 // bytes
	Used   uint64 // bytes of the file's segments in it; set by UseRegions
	// Loaded is what of Used runs elsewhere: first contents of variables, and
	// code that is copied to RAM.
	Loaded uint64
	// Stack is how far the stack can grow in it, bytes: from where it begins
	// (_stack_start, as cortex-m-rt, riscv-rt and flip-link have it) down to
	// the next thing below. 0 if it begins in another region or it is not
	// known where.
	Stack uint64
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
	stack, known, err := stackStart(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for i := range regions {
		r := &regions[i]
		r.Used, r.Loaded, r.Stack = 0, 0, 0
		end := r.Origin // of what lies below the stack
		for _, p := range f.Progs {
			if p.Type != elf.PT_LOAD {
				continue
			}
			r.Used += overlap(p.Vaddr, p.Memsz, r)
			if p.Paddr != p.Vaddr {
				r.Loaded += overlap(p.Paddr, p.Filesz, r)
			}
			if p.Vaddr < stack && overlap(p.Vaddr, p.Memsz, r) > 0 {
				end = max(end, min(p.Vaddr+p.Memsz, stack))
			}
		}
		r.Used += r.Loaded
		if known && stack > r.Origin && stack-r.Origin <= r.Length {
			r.Stack = stack - end
		}
	}
	return nil
}

// stackStart is the address at which the stack begins. A file without symbols
// does not tell.
func stackStart(f *elf.File) (addr uint64, known bool, err error) {
	symbols, err := f.Symbols()
	if errors.Is(err, elf.ErrNoSymbols) {
		return 0, false, nil
	}
	for _, s := range symbols {
		if s.Name == "_stack_start" && s.Section != elf.SHN_UNDEF {
			return s.Value, true, err
		}
	}
	return 0, false, err
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
		if r.Loaded > 0 {
			t.note("%s: %s bytes are stored here and run elsewhere, such as the first contents of variables.", r.Name, Thousands(r.Loaded))
		}
		if r.Stack > 0 {
			t.note("%s: the stack has %s bytes to grow.", r.Name, Thousands(r.Stack))
		}
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
