package objfile

// RelKind is what a relocation does to its field, as far as folding and
// reachability need to know.
type RelKind uint8

// Kinds of relocations. Everything that an architecture's table does not
// name is RelUnknown, and a section that has one is left alone.
const (
	RelUnknown RelKind = iota
	RelNone            // does nothing, but keeps its target alive
	RelAbs             // S + A in a data word
	RelPC              // S + A − P
	RelBranch          // a direct call or jump to S, through a PLT entry where needed
	RelGOT             // the place of S's address in the global offset table
	RelTLS             // any form of thread-local access
	RelSize            // the size of S
	RelHint            // says something of the code at its place, names no target
	RelLow             // the low part of an address whose high part stands at S, in the same code
	RelDiff            // one half of a difference between two places: S + A is added or taken away
)

// RelocType is one relocation type.
type RelocType struct {
	Kind RelKind
	Size uint8 // bytes of the field that it changes
	Name string
}

// Arch is what must be known of an architecture: one literal for each.
type Arch struct {
	Machine uint16
	Name    string
	// Reloc describes a relocation type; the zero RelocType if unknown.
	Reloc func(typ uint32) RelocType
	// IsCall reports whether a relocation in code is the target of a call
	// or jump and nothing else: the address itself never reaches a
	// register. r.Offset is within code.
	IsCall func(code []byte, r Reloc) bool
	// Bias is what a reference to the start of its target adds to the
	// addend: −4 in most x86 fields, which count from the next instruction.
	// It is exact for calls only.
	Bias func(r Reloc) int64
	// Addend decodes the addend that a SHT_REL relocation keeps in its
	// field; ok is false where the type has no known form.
	Addend func(field []byte, typ uint32) (addend int64, ok bool)
	// OwnAddress reports whether code computes the address of its own start
	// without a relocation, or might.
	OwnAddress func(f *File, section uint32) bool
	// Thunk makes a body that only jumps to another function for the one in
	// a section: code that begins with what that must begin with (endbr64,
	// bti), and its relocations. reach is the farthest that it may have to
	// jump, bytes. nil if the function can't have one.
	Thunk func(f *File, section uint32, reach uint64) *Thunk
	// Half says which family of pairs a relocation type belongs to, of which
	// each instruction makes half of an address; 0 for none. High is the half
	// that comes first. nil where no address comes in such halves.
	Half func(typ uint32) (family uint8, high bool)
	// None is the relocation type that does nothing, Address that of an address
	// in a data word.
	None, Address uint32
	// Mapping: symbols whose names begin with $ say where code and data
	// begin within a section, and of what kind they are.
	Mapping bool
	// Relaxes: linkers shorten code, so that only a symbol can name a place
	// behind the start of a function.
	Relaxes bool
}

// Thunk is a function body that jumps to another function.
type Thunk struct {
	Code []byte
	// Relocs are those of Code. The first is the jump's: its Sym is to be
	// set. Addends are complete, and encoded in Code as well.
	Relocs []Reloc
	Align  uint64
}

// archs has one entry for each machine that is understood.
var archs = []*Arch{&x86_64, &aarch64, &arm, &riscv}

// ArchOf returns the architecture of a machine number (EM_…), nil if it is
// not understood.
func ArchOf(machine uint16) *Arch {
	for _, a := range archs {
		if a.Machine == machine {
			return a
		}
	}
	return nil
}
