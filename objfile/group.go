package objfile

// Group is a section group (gABI chapter 4, "Section Groups").
type Group struct {
	// Comdat: of all groups of one signature a link keeps the first.
	Comdat    bool
	Signature string
	Members   []uint32 // sections, those of relocations among them
}

// Group decodes a section of type SHT_GROUP; ok is false if it is none that
// makes sense. What it says of sections that do not exist is left out.
func (f *File) Group(section uint32) (g Group, ok bool) {
	s, b := &f.Sections[section], f.Bytes(section)
	if s.Type != SHT_GROUP || len(b) < 4 || len(b)%4 != 0 || s.Info >= f.NumSymbols {
		return g, false
	}
	g.Comdat = le.Uint32(b)&GRP_COMDAT != 0
	sym := f.Symbol(s.Info)
	g.Signature = f.NameOf(&sym)
	if sym.Type == STT_SECTION && sym.Defined() {
		g.Signature = f.Sections[sym.Section].Name
	}
	for k := 4; k < len(b); k += 4 {
		if m := le.Uint32(b[k:]); m < uint32(len(f.Sections)) {
			g.Members = append(g.Members, m)
		}
	}
	return g, true
}
