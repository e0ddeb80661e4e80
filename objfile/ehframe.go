package objfile

import "math"

// CIE is a common information entry of .eh_frame (LSB Core, chapter 10.6).
// Offsets are from the start of the section.
type CIE struct {
	Offset, End uint64
	// Personality is where the pointer to the personality routine lies,
	// 0 if there is none.
	Personality uint64
	Encoding    uint8 // of the FDEs' addresses (DW_EH_PE_…)
	LSDA        uint8 // encoding of the FDEs' LSDA pointers, DW_EH_PE_omit if none
	Augmented   bool  // the augmentation begins with 'z'
	// InstrOff is where the initial instructions begin.
	InstrOff uint64
	// CodeAlign and DataAlign are the factors of the call-frame rows.
	CodeAlign uint64
	DataAlign int64
	ReturnReg uint64
	Signal    bool // 'S': a signal frame
}

// FDE is a frame description entry of .eh_frame. There are as many as functions,
// so it is small. Offsets are from the start of the section.
type FDE struct {
	Range uint64 // the function's size, bytes
	CIE   uint32 // index into EhFrame.CIEs

	offset, length uint32 // length is that of the whole entry
	instr          uint32 // from offset
	lsda           uint8  // from offset, 0 if there is none

	FieldSize uint8 // bytes of the function's address and of its size
	LSDASize  uint8 // bytes of the LSDA pointer
}

// fdeHead is where the function's address lies in an entry: behind its length
// and the place of its common information.
const fdeHead = 8

// Offset is where the entry begins.
func (f *FDE) Offset() uint64 { return uint64(f.offset) }

// End is where the entry ends.
func (f *FDE) End() uint64 { return uint64(f.offset) + uint64(f.length) }

// PCBegin is where the function's address lies.
func (f *FDE) PCBegin() uint64 { return uint64(f.offset) + fdeHead }

// PCRange is where the function's size lies.
func (f *FDE) PCRange() uint64 { return f.PCBegin() + uint64(f.FieldSize) }

// LSDA is where the LSDA pointer lies, 0 if there is none.
func (f *FDE) LSDA() uint64 {
	if f.lsda == 0 {
		return 0
	}
	return uint64(f.offset) + uint64(f.lsda)
}

// InstrOff is where the call-frame instructions begin.
func (f *FDE) InstrOff() uint64 { return uint64(f.offset) + uint64(f.instr) }

// EhFrame is a decoded .eh_frame section.
type EhFrame struct {
	Section    uint32
	CIEs       []CIE
	FDEs       []FDE
	Terminator bool // it ends in a zero length, as crtend.o's does
}

// DW_EH_PE_omit: a pointer that is not there. DW_EH_PE_aligned: one that
// padding precedes.
const (
	peOmit    = 0xff
	peAligned = 0x50
)

// cursor reads the primitives of .eh_frame; it goes bad at the end of its
// bytes and stays so.
type cursor struct {
	b   []byte
	at  uint64
	bad bool
}

func (c *cursor) need(n uint64) bool {
	if c.bad || n > uint64(len(c.b))-c.at {
		c.bad = true
		return false
	}
	return true
}

func (c *cursor) u8() uint8 {
	if !c.need(1) {
		return 0
	}
	c.at++
	return c.b[c.at-1]
}

func (c *cursor) fixed(n uint8) (v uint64) {
	if !c.need(uint64(n)) {
		return 0
	}
	for i := range uint64(n) {
		v |= uint64(c.b[c.at+i]) << (8 * i)
	}
	c.at += uint64(n)
	return v
}

func (c *cursor) uleb() (v uint64) {
	for shift := uint(0); ; shift += 7 {
		b := c.u8()
		if c.bad || shift > 63 {
			c.bad = true
			return 0
		}
		if shift == 63 && b > 1 {
			c.bad = true // does not fit into 64 bits
			return 0
		}
		v |= uint64(b&0x7f) << shift
		if b&0x80 == 0 {
			return v
		}
	}
}

func (c *cursor) sleb() int64 {
	var v int64
	for shift := uint(0); ; shift += 7 {
		b := c.u8()
		if c.bad || shift > 63 {
			c.bad = true
			return 0
		}
		v |= int64(b&0x7f) << shift
		if b&0x80 == 0 {
			if shift < 57 && b&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
}

// encodedSize is the size in bytes of a pointer encoded as enc
// (DW_EH_PE_…), 0 if the encoding has no fixed size or place.
func (f *File) encodedSize(enc uint8) uint8 {
	if enc&0x70 >= peAligned {
		return 0 // padded to an address's alignment, or not defined
	}
	switch enc & 0x0f {
	case 0x00:
		return uint8(f.WordSize())
	case 0x02, 0x0a:
		return 2
	case 0x03, 0x0b:
		return 4
	case 0x04, 0x0c:
		return 8
	}
	return 0
}

// ReadEhFrame decodes an .eh_frame section. The errors it returns are
// *FormatError; a form that it does not know is one, too, for a caller must
// then leave the object alone.
func (f *File) ReadEhFrame(section uint32) (*EhFrame, error) {
	b := f.Bytes(section)
	eh := &EhFrame{Section: section, FDEs: make([]FDE, 0, min(len(b)/32, 1<<16))} // most take that much
	fail := func(at uint64, what string) (*EhFrame, error) { return nil, f.fail(section, at, what) }
	cies := map[uint64]uint32{}
	if uint64(len(b)) > math.MaxUint32 {
		return fail(0, "frame entries of more than 4 GB")
	}
	for at := uint64(0); at < uint64(len(b)); {
		if uint64(len(b))-at < 4 {
			return fail(at, "a frame entry is truncated")
		}
		length := uint64(le.Uint32(b[at:]))
		if length == 0 {
			if at+4 != uint64(len(b)) {
				return fail(at, "frame entries follow the terminator")
			}
			eh.Terminator = true
			break
		}
		if length == 0xffffffff {
			return fail(at, "64-bit frame entries are not understood")
		}
		if length < 4 || length > uint64(len(b))-at-4 {
			return fail(at, "a frame entry lies outside the section")
		}
		end := at + 4 + length
		c := &cursor{b: b[:end], at: at + 4}
		ident := c.fixed(4)
		if ident == 0 {
			cie, ok := f.readCIE(c, at)
			if !ok {
				return fail(at, "a common information entry is not understood")
			}
			cies[at] = uint32(len(eh.CIEs))
			eh.CIEs = append(eh.CIEs, cie)
			at = end
			continue
		}
		k, ok := cies[at+4-ident]
		if !ok || ident > at+4 {
			return fail(at, "a frame entry without its common information")
		}
		cie := &eh.CIEs[k]
		n := f.encodedSize(cie.Encoding)
		fde := FDE{offset: uint32(at), length: uint32(end - at), CIE: k, FieldSize: n}
		c.fixed(n)
		fde.Range = c.fixed(n)
		if cie.Augmented {
			size := c.uleb()
			body := c.at
			if !c.need(size) {
				return fail(at, "a frame entry is truncated")
			}
			if cie.LSDA != peOmit {
				if fde.LSDASize = f.encodedSize(cie.LSDA); fde.LSDASize == 0 || uint64(fde.LSDASize) > size {
					return fail(at, "an LSDA pointer is not understood")
				}
				fde.lsda = uint8(body - at) // behind two fields and a number of at most ten bytes
			}
			c.at = body + size
		}
		if c.bad {
			return fail(at, "a frame entry is truncated")
		}
		fde.instr = uint32(c.at - at)
		eh.FDEs = append(eh.FDEs, fde)
		at = end
	}
	return eh, nil
}

// readCIE decodes a common information entry whose identifier is behind the
// cursor; at is the entry's offset.
func (f *File) readCIE(c *cursor, at uint64) (CIE, bool) {
	cie := CIE{Offset: at, End: uint64(len(c.b)), LSDA: peOmit}
	version := c.u8()
	if version != 1 && version != 3 {
		return cie, false
	}
	var aug []byte
	for {
		ch := c.u8()
		if c.bad {
			return cie, false
		}
		if ch == 0 {
			break
		}
		aug = append(aug, ch)
	}
	cie.CodeAlign, cie.DataAlign = c.uleb(), c.sleb()
	if version == 1 {
		cie.ReturnReg = uint64(c.u8())
	} else {
		cie.ReturnReg = c.uleb()
	}
	if len(aug) > 0 {
		if aug[0] != 'z' {
			return cie, false // "eh" of GCC 2, and forms unknown
		}
		cie.Augmented = true
		size := c.uleb()
		body := c.at
		for _, ch := range aug[1:] {
			switch ch {
			case 'R':
				cie.Encoding = c.u8()
			case 'L':
				cie.LSDA = c.u8()
			case 'P':
				n := f.encodedSize(c.u8())
				if n == 0 {
					return cie, false
				}
				cie.Personality = c.at
				c.fixed(n)
			case 'S':
				cie.Signal = true
			case 'B': // AArch64: return addresses are signed with the B key
			default:
				return cie, false
			}
		}
		if c.bad || size > uint64(len(c.b))-body || c.at > body+size {
			return cie, false
		}
		c.at = body + size
	}
	if f.encodedSize(cie.Encoding) == 0 {
		return cie, false
	}
	cie.InstrOff = c.at
	return cie, !c.bad
}
