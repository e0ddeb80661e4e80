package verify

import "debug/elf"

// arch is what the check must know of a machine; one value of it per architecture, in a file of its own.
type arch struct {
	name    string
	machine elf.Machine
	class   elf.Class
	dynamic map[uint32]dynKind // dynamic relocation types

	// implicit reads the addend that a SHT_REL relocation keeps in its field.
	implicit func(typ uint32, field []byte) int64
	// form says how the relocation types compare; types that are not in it are not understood.
	form func(typ uint32) form
	// field is how many bytes a relocation of the type covers, and which of their bits it leaves alone, read from b.
	field func(typ uint32, b []byte) (n int, rest uint64)
	// bias is what the addend of a relocation in code falls short of the place that the instruction means; not ok where
	// the relocation does not say what that is.
	bias func(typ uint32) (n int64, ok bool)
	// relative says that a relocation of the type in data holds a distance, as in jump tables.
	relative func(typ uint32) bool
	// range_ is the length of code that a frame description covers, where relocations say it; nil where they never do.
	range_ func(s *section, f fdeFields, size uint64) uint64
	// internal says that a relocation of the type names another instruction of its section, not a target; nil where none
	// does.
	internal func(typ uint32) bool
	// decode says where the field of a relocation leads in the output.
	decode func(v *checker, c *site) decoded
	// call says that a relocation in code does nothing but call or jump to its target.
	call func(s *section, r *reloc) bool
	// plt says which word the procedure linkage table entry at addr jumps through.
	plt func(o *output, addr uint64) (slot uint64, ok bool)
	// main lists where the start-up code at the entry may say that main is; nil where that is not known.
	main func(o *output) []uint64
	// jump decodes the body of a thunk: nothing but a branch to target, after the prefix the original had.
	jump func(o *output, addr uint64, original []byte) (target uint64, size uint64, ok bool)
	// veneer follows a range extension that the linker put between a branch and its target; nil where there are none.
	veneer func(o *output, addr uint64) (target uint64, ok bool)
	// exidx is the type of sections with ARM unwind entries, 0 where there are none.
	exidx uint32
	// elastic says that a relocation of the type lets the linker shorten the section; nil where none does.
	elastic func(typ uint32) bool
	// relaxed compares such a section with what the linker made of it at base, and says how long that is; known is false
	// where it cannot be followed.
	relaxed func(v *checker, s *section, base uint64) (size uint64, known bool, d *difference)
	// half says which kind of address a relocation of the type has half of, "" for none, and whether it is the upper
	// half; nil where no two instructions make one address.
	half func(typ uint32) (kind string, upper bool)
	// codeMask clears what a code address holds beside the address (bit 0 on Thumb).
	codeMask uint64
}

// archs are the machines that can be checked.
var archs []*arch

// form says what two relocations of a type must have in common to mean the same.
type form uint8

const (
	formUnknown form = iota // not understood: nothing is proved of it
	formNone                // no field (R_*_NONE and markers)
	formPlace               // symbol value + addend is the place; how it splits does not matter
	formSlot                // the symbol's own table slot: symbol and addend are compared apart
)

// site is one relocation in a section of which both the original and the output bytes are at hand.
type site struct {
	sec  *section
	out  []byte // the section's bytes in the output
	base uint64 // their address
	i    int    // index into sec.relocs
}

func (c *site) reloc() *reloc { return &c.sec.relocs[c.i] }

// original and output are the n bytes at off in the section before and after the link; nil outside it.
func (c *site) original(off int64, n uint64) []byte { return window(c.sec.data, off, n) }
func (c *site) output(off int64, n uint64) []byte   { return window(c.out, off, n) }

func window(b []byte, off int64, n uint64) []byte {
	if off < 0 {
		return nil
	}
	return slice(b, uint64(off), n)
}

// leadKind says what a decoded field leads to.
type leadKind uint8

const (
	leadNowhere leadKind = iota // there is nothing to follow
	leadPlace                   // place is the symbol (without the addend)
	leadLow                     // only the bits in mask of the place are known
	leadEither                  // place.addr or alt is the symbol
	leadSkipped                 // the field was not understood
)

// decoded is what the field of one relocation says in the output.
type decoded struct {
	lo, hi  int64 // the bytes of the section that the relocation may change
	kind    leadKind
	place   place
	alt     uint64
	mask    uint64
	more    int    // how many of the following relocations were consumed
	bare    bool   // read from a word that the dynamic linker leaves alone
	relaxed bool   // the linker rewrote the instruction
	bad     string // why the bytes are not what any linker may make of the original
}

// partner is the nearest relocation of the section, within what one function needs, that is the other half of the one
// at hand, or nil.
func partner(c *site, other func(*reloc) bool) *reloc {
	const far = 64
	for n := 1; n <= far; n++ {
		for _, i := range [2]int{c.i + n, c.i - n} {
			if i >= 0 && i < len(c.sec.relocs) && other(&c.sec.relocs[i]) {
				return &c.sec.relocs[i]
			}
		}
	}
	return nil
}
