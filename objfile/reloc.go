package objfile

// Reloc is a decoded relocation. For SHT_REL the addend lies in the
// relocated field: Addend is then 0, and File.Addend decodes it.
type Reloc struct {
	Offset uint64 // within the section that is relocated, bytes
	Type   uint32 // R_<machine>_…
	Sym    uint32 // symbol index, 0 for none
	Addend int64
}

// Relocs is a view of a relocation section: records are decoded on access.
type Relocs struct {
	data []byte
	size uint32
	cls  class
	Rela bool
}

// Len is the number of relocations.
func (r Relocs) Len() int {
	if r.size == 0 {
		return 0
	}
	return len(r.data) / int(r.size)
}

// At decodes relocation i, which must be below Len.
func (r Relocs) At(i int) Reloc {
	return r.cls.reloc(r.data[i*int(r.size):], r.Rela)
}

// Sym decodes the symbol index of relocation i alone.
func (r Relocs) Sym(i int) uint32 {
	at := i*int(r.size) + 4
	if r.cls == class64 {
		return le.Uint32(r.data[at+8:]) // the upper half of r_info
	}
	return le.Uint32(r.data[at:]) >> 8
}

// Offset decodes the offset of relocation i alone.
func (r Relocs) Offset(i int) uint64 {
	if r.cls == class64 {
		return le.Uint64(r.data[i*int(r.size):])
	}
	return uint64(le.Uint32(r.data[i*int(r.size):]))
}

// Relocs returns the relocations of a section (of the section they apply
// to, not the one that holds them); empty if it has none.
func (f *File) Relocs(section uint32) Relocs {
	at := f.Sections[section].Rel
	if at == 0 {
		return Relocs{}
	}
	rela := f.Sections[at].Type == SHT_RELA
	return Relocs{data: f.Bytes(at), size: uint32(f.class.relocSize(rela)), cls: f.class, Rela: rela}
}

// CheckRelocs checks that the relocations of a section name symbols that
// exist and fields inside it, in the order of their offsets or not. It is
// apart from Parse so that relocations of sections that nobody reads, those
// of debug information above all, are never touched.
func (f *File) CheckRelocs(section uint32, arch *Arch) error {
	// The contents count, not Sections[section].Size: SHT_NOBITS has none.
	rs, size := f.Relocs(section), uint64(len(f.Bytes(section)))
	for i := range rs.Len() {
		r := rs.At(i)
		if r.Sym >= f.NumSymbols && r.Sym != 0 {
			return f.fail(section, r.Offset, "a relocation names a symbol that does not exist")
		}
		n := uint64(arch.Reloc(r.Type).Size)
		if r.Offset > size || n > size-r.Offset {
			return f.fail(section, r.Offset, "a relocation lies outside its section")
		}
	}
	return nil
}
