package report

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
)

// attributeTables shares out the tables that linkers make among the crates
// that they are for: a dynamic relocation belongs to whoever owns the place
// that it writes to, an entry and a name of the symbol table to whoever owns
// the symbol.
func (z *Sizes) attributeTables(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	crates := Crates{}
	if z.Report != nil {
		crates = z.Report.Crates()
	}
	t := tableOwners{z: z, crates: crates}
	for i := range z.Items {
		if it := &z.Items[i]; it.Addr != 0 && it.Memory > 0 && it.Crate != "" {
			t.places = append(t.places, it)
		}
	}
	slices.SortStableFunc(t.places, func(a, b *Item) int { return cmp.Compare(a.Addr, b.Addr) })
	shares := make(map[int32]map[crateShare]uint64)
	for i, s := range f.Sections {
		switch {
		case s.Flags&elf.SHF_ALLOC != 0 && (s.Type == elf.SHT_RELA || s.Type == elf.SHT_REL):
			shares[int32(i)] = t.relocations(f, s)
		case s.Type == elf.SHT_SYMTAB:
			shares[int32(i)] = t.symbols(f, s)
			if int(s.Link) < len(f.Sections) {
				shares[int32(s.Link)] = t.symbolNames(f, s, f.Sections[s.Link])
			}
		}
	}
	items := make([]Item, 0, len(z.Items))
	for _, it := range z.Items {
		byCrate := shares[it.Section]
		if it.Section < 0 || byCrate == nil || it.Symbol != "" {
			items = append(items, it)
			continue
		}
		var sum uint64
		for _, n := range byCrate {
			sum += n
		}
		if sum > it.Bytes { // entries that overlap: a malformed file
			items = append(items, it)
			continue
		}
		keys := make([]crateShare, 0, len(byCrate))
		for k := range byCrate {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, func(a, b crateShare) int { return cmp.Or(cmp.Compare(a.crate, b.crate), cmp.Compare(a.asker, b.asker)) })
		inMemory := it.Memory > 0
		for _, k := range keys {
			part := it
			part.Bytes, part.Memory, part.Crate, part.For = byCrate[k], 0, k.crate, k.asker
			if inMemory {
				part.Memory = part.Bytes
			}
			items = append(items, part)
			it.Bytes -= part.Bytes
		}
		if inMemory {
			it.Memory = it.Bytes
		}
		if it.Bytes > 0 {
			items = append(items, it)
		}
	}
	z.Items = items
	return nil
}

// crateShare is one that a part of a table is for.
type crateShare struct{ crate, asker string }

// tableOwners finds whom entries of tables belong to.
type tableOwners struct {
	z      *Sizes
	crates Crates
	places []*Item // items with an address and a crate, by address
}

func (t *tableOwners) at(addr uint64) (crateShare, bool) {
	n, found := slices.BinarySearchFunc(t.places, addr, func(it *Item, addr uint64) int { return cmp.Compare(it.Addr, addr) })
	if !found {
		n--
	}
	if n < 0 || addr-t.places[n].Addr >= t.places[n].Memory {
		return crateShare{}, false
	}
	return crateShare{t.places[n].Crate, t.places[n].For}, true
}

func (t *tableOwners) relocations(f *elf.File, s *elf.Section) map[crateShare]uint64 {
	size := uint64(12)
	switch {
	case f.Class == elf.ELFCLASS64 && s.Type == elf.SHT_RELA:
		size = 24
	case f.Class == elf.ELFCLASS64:
		size = 16
	case s.Type == elf.SHT_REL:
		size = 8
	}
	data, err := s.Data()
	if err != nil {
		return nil
	}
	sum := make(map[crateShare]uint64)
	for ; uint64(len(data)) >= size; data = data[size:] {
		var addr uint64
		if f.Class == elf.ELFCLASS64 {
			addr = f.ByteOrder.Uint64(data)
		} else {
			addr = uint64(f.ByteOrder.Uint32(data))
		}
		if k, ok := t.at(addr); ok {
			sum[k] += size
		}
	}
	return sum
}

// of returns whom a symbol belongs to.
func (t *tableOwners) of(name string, addr uint64, section elf.SectionIndex) (crateShare, bool) {
	if section != elf.SHN_UNDEF && section < elf.SHN_LORESERVE {
		if k, ok := t.at(addr); ok {
			return k, true
		}
	}
	defined, asker := t.crates.Of(name)
	return crateShare{defined, asker}, defined != ""
}

func (t *tableOwners) symbols(f *elf.File, s *elf.Section) map[crateShare]uint64 {
	size := uint64(16)
	if f.Class == elf.ELFCLASS64 {
		size = 24
	}
	symbols, err := f.Symbols()
	if err != nil {
		return nil
	}
	sum := make(map[crateShare]uint64)
	for _, y := range symbols {
		if k, ok := t.of(y.Name, y.Value, y.Section); ok {
			sum[k] += size
		}
	}
	return sum
}

// symbolNames shares out a string table. Names that are one text in the file
// belong to the first symbol that has it.
func (t *tableOwners) symbolNames(f *elf.File, s, names *elf.Section) map[crateShare]uint64 {
	data, err := s.Data()
	if err != nil {
		return nil
	}
	size := 16
	if f.Class == elf.ELFCLASS64 {
		size = 24
	}
	symbols, err := f.Symbols()
	if err != nil || len(data) < size*(len(symbols)+1) {
		return nil
	}
	type text struct {
		from, to uint64
		of       crateShare
		known    bool
	}
	texts := make([]text, 0, len(symbols))
	for i, y := range symbols {
		from := uint64(f.ByteOrder.Uint32(data[size*(i+1):]))
		if y.Name == "" || from >= names.Size {
			continue
		}
		k, ok := t.of(y.Name, y.Value, y.Section)
		texts = append(texts, text{from, min(from+uint64(len(y.Name))+1, names.Size), k, ok})
	}
	slices.SortStableFunc(texts, func(a, b text) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	sum := make(map[crateShare]uint64)
	end := uint64(0)
	for _, x := range texts {
		if from := max(x.from, end); from < x.to {
			if x.known {
				sum[x.of] += x.to - from
			}
			end = x.to
		}
	}
	return sum
}
