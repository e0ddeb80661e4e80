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
	// Thunk makes the body of a function that only jumps to another: code
	// that begins with what the function must begin with (endbr64, bti), and
	// the jump's relocation. nil if the function can't have one.
	Thunk func(body []byte) *Thunk
	// None is the relocation type that does nothing.
	None uint32
}

// Thunk is a function body that jumps to another function.
type Thunk struct {
	Code  []byte
	Reloc Reloc // of the jump; Sym is to be set, Addend is complete
	Align uint64
}

// archs has one entry for each machine that is understood.
var archs = []*Arch{&x86_64}

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
