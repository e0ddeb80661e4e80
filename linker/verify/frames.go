package verify

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// Pointer encodings of .eh_frame (LSB, 10.5.1).
const (
	encOmit     = 0xff
	encFormat   = 0x0f
	encApply    = 0x70
	encPCRel    = 0x10
	encDataRel  = 0x30
	encIndirect = 0x80
)

// cie is a common information entry, of an object or of the output.
type cie struct {
	sec         *section // nil in the output
	augment     string   // what the augmentation says beside the letters decoded below
	codeAlign   uint64
	dataAlign   int64
	returnReg   uint64
	fdeEnc      byte
	lsdaEnc     byte
	rows        []byte // the initial instructions without trailing nops
	padded      []byte // with them: some may be the operand of the last instruction
	hasLSDA     bool
	persEnc     byte
	persAt      uint64 // offset of the personality pointer, 0 without one
	personality *reloc // in an object
}

// fde is a frame description of an object.
type fde struct {
	cie   *cie
	code  *section
	start uint64 // offset in code
	size  uint64
	rows  []byte
	lsda  *reloc
}

// outFDE is a frame description of the output.
type outFDE struct {
	addr     uint64 // of the entry itself
	cie      *cie
	pc, size uint64
	lsda     uint64 // 0 without one
	rows     []byte
	matched  bool
}

// same says that two entries mean the same, however their pointers are encoded.
func (c *cie) same(d *cie) bool {
	return c.augment == d.augment && c.codeAlign == d.codeAlign && c.dataAlign == d.dataAlign && c.returnReg == d.returnReg &&
		bytes.Equal(c.rows, d.rows)
}

// reader walks over bytes; after a read beyond the end it stays there, and bad is set.
type reader struct {
	b   []byte
	pos uint64
	bad bool
}

func (r *reader) take(n uint64) []byte {
	b := slice(r.b, r.pos, n)
	if b == nil && n > 0 {
		r.bad, r.pos = true, uint64(len(r.b))
		return make([]byte, min(n, 8))
	}
	r.pos += n
	return b
}

func (r *reader) u8() byte { return r.take(1)[0] }
func (r *reader) uleb() uint64 {
	n, size := binary.Uvarint(r.b[r.pos:])
	if size <= 0 {
		r.bad, r.pos = true, uint64(len(r.b))
		return 0
	}
	r.pos += uint64(size)
	return n
}

func (r *reader) sleb() int64 {
	var n int64
	for shift := uint(0); shift < 64; shift += 7 {
		b := r.u8()
		n |= int64(b&0x7f) << shift
		if b&0x80 == 0 {
			if b&0x40 != 0 && shift < 57 {
				n |= -1 << (shift + 7)
			}
			return n
		}
	}
	r.bad = true
	return n
}

// pointer reads the bits of an encoded pointer, without what they are relative to.
func (r *reader) pointer(enc byte, word uint64) uint64 {
	le := binary.LittleEndian
	switch enc & encFormat {
	case 0:
		if word == 4 {
			return uint64(le.Uint32(r.take(4)))
		}
		return le.Uint64(r.take(8))
	case 1:
		return r.uleb()
	case 2:
		return uint64(le.Uint16(r.take(2)))
	case 3:
		return uint64(le.Uint32(r.take(4)))
	case 4, 12:
		return le.Uint64(r.take(8))
	case 9:
		return uint64(r.sleb())
	case 10:
		return uint64(int64(int16(le.Uint16(r.take(2)))))
	case 11:
		return sext32(r.take(4))
	}
	r.bad = true
	return 0
}

var errFrame = errors.New("not a readable frame table")

// record is one entry of a frame table.
type record struct {
	off, body, end uint64
	cie            uint64 // offset of its CIE
	isCIE          bool
}

// walkFrames lists the entries of an .eh_frame section, up to its terminator.
func walkFrames(data []byte) ([]record, error) {
	var list []record
	r := reader{b: data}
	for r.pos+4 <= uint64(len(data)) {
		off := r.pos
		n := uint64(binary.LittleEndian.Uint32(r.take(4)))
		if n == 0 {
			continue // GNU ld and crtend put a terminator between what they then go on with
		}
		idSize := uint64(4)
		if n == 0xffffffff {
			n = binary.LittleEndian.Uint64(r.take(8))
			idSize = 4 // in .eh_frame the CIE pointer stays at four bytes
		}
		start := r.pos
		if r.bad || n < idSize || slice(data, start, n) == nil {
			return nil, fmt.Errorf("%w: the entry at 0x%x reaches beyond its end", errFrame, off)
		}
		id := uint64(binary.LittleEndian.Uint32(r.take(4)))
		e := record{off: off, body: r.pos, end: start + n, isCIE: id == 0}
		if !e.isCIE {
			if id > start {
				return nil, fmt.Errorf("%w: the entry at 0x%x has its CIE before the table", errFrame, off)
			}
			e.cie = start - id
		}
		list = append(list, e)
		r.pos = start + n
	}
	return list, nil
}

func parseCIE(data []byte, e record, word uint64) (*cie, error) {
	r := reader{b: data[:e.end], pos: e.body}
	c := &cie{fdeEnc: 0, lsdaEnc: encOmit, persEnc: encOmit}
	version := r.u8()
	augment := cstring(r.b, r.pos)
	r.take(uint64(len(augment)) + 1)
	if strings.HasPrefix(augment, "eh") {
		return nil, fmt.Errorf("%w: augmentation %q", errFrame, augment)
	}
	if version == 4 {
		r.take(2)
	}
	c.codeAlign, c.dataAlign = r.uleb(), r.sleb()
	if version == 1 {
		c.returnReg = uint64(r.u8())
	} else {
		c.returnReg = r.uleb()
	}
	if strings.HasPrefix(augment, "z") {
		n := r.uleb()
		end := r.pos + n
		for _, letter := range augment[1:] {
			switch letter {
			case 'R':
				c.fdeEnc = r.u8()
			case 'L':
				c.lsdaEnc = r.u8()
				c.hasLSDA = c.lsdaEnc != encOmit
			case 'P':
				c.persEnc = r.u8()
				if c.persEnc != encOmit {
					c.persAt = r.pos
					r.pointer(c.persEnc, word)
				}
			case 'S', 'B', 'G':
				c.augment += string(letter)
			default:
				return nil, fmt.Errorf("%w: augmentation %q", errFrame, augment)
			}
		}
		if end < r.pos || end > e.end {
			return nil, fmt.Errorf("%w: augmentation data of the entry at 0x%x", errFrame, e.off)
		}
		r.pos = end
	} else if augment != "" {
		return nil, fmt.Errorf("%w: augmentation %q", errFrame, augment)
	} else {
		c.augment = "-" // without augmentation data there is no LSDA field either
	}
	if r.bad {
		return nil, fmt.Errorf("%w: the entry at 0x%x is too short", errFrame, e.off)
	}
	c.padded = r.b[r.pos:]
	c.rows = bytes.TrimRight(c.padded, "\x00")
	return c, nil
}

// fdeFields is where the fields of an FDE lie and what the plain ones hold.
type fdeFields struct {
	pcAt, sizeAt uint64
	lsdaAt       uint64 // 0 without the field
	pc, size     uint64
	lsda         uint64
	rows         []byte // without trailing nops
	padded       []byte // with them
}

func parseFDE(data []byte, e record, c *cie, word uint64) (fdeFields, error) {
	r := reader{b: data[:e.end], pos: e.body}
	f := fdeFields{pcAt: r.pos}
	f.pc = r.pointer(c.fdeEnc, word)
	f.sizeAt = r.pos
	f.size = r.pointer(c.fdeEnc&encFormat, word)
	if c.fdeEnc&encFormat == 11 {
		f.size = uint64(uint32(f.size))
	}
	if c.augment != "-" {
		n := r.uleb()
		end := r.pos + n
		if c.hasLSDA && n > 0 {
			f.lsdaAt = r.pos
			f.lsda = r.pointer(c.lsdaEnc, word)
		}
		if end < r.pos || end > e.end {
			return f, fmt.Errorf("%w: augmentation data of the entry at 0x%x", errFrame, e.off)
		}
		r.pos = end
	}
	if r.bad {
		return f, fmt.Errorf("%w: the entry at 0x%x is too short", errFrame, e.off)
	}
	f.padded = r.b[r.pos:]
	f.rows = bytes.TrimRight(f.padded, "\x00")
	return f, nil
}

// relocAt is the relocation of s at off, or nil.
func relocAt(s *section, off uint64) *reloc {
	i := sort.Search(len(s.relocs), func(i int) bool { return s.relocs[i].off >= off })
	if i < len(s.relocs) && s.relocs[i].off == off {
		return &s.relocs[i]
	}
	return nil
}

// spot is a place in a section.
type spot struct {
	sec *section
	off uint64
}

func (f *fde) lsdaTarget() spot {
	t := &f.cie.sec.obj.targets[f.lsda.sym]
	if t.kind != toSection {
		return spot{}
	}
	return spot{t.sec, t.value + uint64(f.lsda.addend)}
}

// readFrames attaches each frame description of the objects to the code it is for, and reads the output's.
func (v *checker) readFrames() {
	for _, s := range v.sections {
		if s.name != ".eh_frame" || s.discarded || len(s.data) == 0 {
			continue
		}
		if err := v.readInputFrames(s); err != nil && !s.obj.opaque {
			v.fail(s, -1, "%v", err)
		}
	}
	for _, s := range v.sections {
		sort.SliceStable(s.fdes, func(i, j int) bool { return s.fdes[i].start < s.fdes[j].start })
	}
	v.outFDEs = map[uint64][]*outFDE{}
	for i := range v.out.sections {
		if s := &v.out.sections[i]; s.name == ".eh_frame" && s.data != nil {
			v.frames = s
			if err := v.readOutputFrames(s); err != nil {
				v.fail(nil, -1, ".eh_frame: %v", err)
			}
		}
	}
}

func (v *checker) readInputFrames(s *section) error {
	list, err := walkFrames(s.data)
	if err != nil {
		return err
	}
	word := v.out.word
	cies := map[uint64]*cie{}
	for _, e := range list {
		if e.isCIE {
			c, err := parseCIE(s.data, e, word)
			if err != nil {
				return err
			}
			c.sec = s
			if c.persAt != 0 {
				c.personality = relocAt(s, c.persAt)
			}
			cies[e.off] = c
		}
	}
	for _, e := range list {
		if e.isCIE {
			continue
		}
		c := cies[e.cie]
		if c == nil {
			return fmt.Errorf("%w: the entry at 0x%x has no CIE", errFrame, e.off)
		}
		x, err := parseFDE(s.data, e, c, word)
		if err != nil {
			return err
		}
		r := relocAt(s, x.pcAt)
		if r == nil {
			continue // an absolute address, or the function was discarded when the object was made
		}
		t := &s.obj.targets[r.sym]
		y := &s.obj.symbols[r.sym]
		if y.defined() && s.obj.sections[y.shndx].discarded || t.kind != toSection {
			continue
		}
		f := &fde{cie: c, code: t.sec, start: t.value + uint64(r.addend), size: x.size, rows: x.rows}
		if x.lsdaAt != 0 {
			if f.lsda = relocAt(s, x.lsdaAt); f.lsda != nil && f.lsda.sym == 0 {
				f.lsda = nil // a trim left the entry without a table
			}
		}
		if v.arch.range_ != nil {
			f.size = v.arch.range_(s, x, f.size)
		}
		t.sec.fdes = append(t.sec.fdes, f)
	}
	return nil
}

// resolvePointer turns the bits of an encoded pointer of the output at addr into an address.
func (v *checker) resolvePointer(enc byte, bits, addr uint64) uint64 {
	if bits == 0 {
		return 0
	}
	switch enc & encApply {
	case encPCRel:
		bits += addr
	}
	if v.out.word == 4 {
		bits = uint64(uint32(bits))
	}
	return bits
}

func (v *checker) readOutputFrames(s *outSection) error {
	list, err := walkFrames(s.data)
	if err != nil {
		return err
	}
	cies := map[uint64]*cie{}
	for _, e := range list {
		if e.isCIE {
			c, err := parseCIE(s.data, e, v.out.word)
			if err != nil {
				return err
			}
			cies[e.off] = c
		}
	}
	for _, e := range list {
		if e.isCIE {
			continue
		}
		c := cies[e.cie]
		if c == nil {
			return fmt.Errorf("%w: the entry at 0x%x has no CIE", errFrame, e.off)
		}
		x, err := parseFDE(s.data, e, c, v.out.word)
		if err != nil {
			return err
		}
		f := &outFDE{addr: s.addr + e.off, cie: c, size: x.size, rows: x.rows}
		f.pc = v.framePointer(c.fdeEnc, x.pc, s.addr+x.pcAt)
		if x.lsdaAt != 0 {
			f.lsda = v.framePointer(c.lsdaEnc, x.lsda, s.addr+x.lsdaAt)
		}
		v.outFDEs[f.pc] = append(v.outFDEs[f.pc], f)
		v.outFDEList = append(v.outFDEList, f)
	}
	return nil
}

// framePointer is an encoded pointer of the output; an absolute one may be the dynamic linker's to fill in.
func (v *checker) framePointer(enc byte, bits, addr uint64) uint64 {
	if enc&encApply == 0 {
		if d, ok := v.out.relocs[addr]; ok && d.kind == dynRelative {
			return d.addend
		}
	}
	return v.resolvePointer(enc, bits, addr)
}

// checkFDE: the output must have one frame description for the function, with the same rows, personality and table.
func (v *checker) checkFDE(f *fde) {
	if v.frames == nil {
		return
	}
	s, at := f.code, int64(f.start)
	pc := s.addr + f.start
	list := v.outFDEs[pc]
	if len(list) != 1 {
		if f.size == 0 {
			return // covers nothing: linkers may leave it out
		}
		v.fail(s, at, "has %d frame descriptions at 0x%x, the original one", len(list), pc)
		for _, g := range list {
			g.matched = true
		}
		return
	}
	g := list[0]
	g.matched = true
	v.res.FDEs++
	if g.size != f.size {
		v.fail(s, at, "the frame description covers %d bytes, the original's %d", g.size, f.size)
	}
	if !bytes.Equal(g.rows, f.rows) {
		v.fail(s, at, "the frame description's rows are %x, the original's %x", g.rows, f.rows)
	}
	if !g.cie.same(f.cie) {
		v.fail(s, at, "the frame's common information is not the original's")
	}
	if p := f.cie.personality; (p != nil) != (g.cie.persAt != 0) {
		v.fail(s, at, "the original has a personality routine: %v, the output: %v", p != nil, g.cie.persAt != 0)
	} else if p != nil {
		r := reader{b: v.frames.data, pos: g.cie.persAt}
		bits := r.pointer(g.cie.persEnc, v.out.word)
		addr := v.framePointer(g.cie.persEnc, bits, v.frames.addr+g.cie.persAt)
		v.frameUse(f, p, addr, "the personality routine ", g.cie.persEnc, f.cie.persEnc)
	}
	switch {
	case f.lsda == nil && g.lsda != 0:
		v.fail(s, at, "has a landing-pad table at 0x%x, the original none", g.lsda)
	case f.lsda != nil && g.lsda == 0:
		v.fail(s, at, "has no landing-pad table, the original one")
	case f.lsda != nil:
		v.res.LSDAs++
		v.frameUse(f, f.lsda, g.lsda, "the landing-pad table ", g.cie.lsdaEnc, f.cie.lsdaEnc)
	}
}

// frameUse settles a pointer of a frame description.
func (v *checker) frameUse(f *fde, r *reloc, addr uint64, as string, is, was byte) {
	if (is^was)&encIndirect != 0 {
		v.fail(f.code, int64(f.start), "%sis found by another indirection than in the original", as)
		return
	}
	v.settle(use{from: f.code, off: int64(f.start), index: -1, as: as, target: &f.cie.sec.obj.targets[r.sym], addend: r.addend,
		lead: decoded{kind: leadPlace, place: place{addr: addr - uint64(r.addend)}}})
}

// checkThunkFrames: a jump needs no frame rows of its own, so none may say anything but the initial state.
func (v *checker) checkThunkFrames(s *section, size uint64) {
	for _, f := range v.outFDEs[s.addr] {
		f.matched = true
		initial := len(s.fdes) == 0 || f.cie.same(s.fdes[0].cie)
		if f.size != size || len(f.rows) != 0 || f.lsda != 0 || !initial {
			v.fail(s, 0, "the jump at 0x%x has a frame description of more than a jump", s.addr)
		}
	}
	if len(v.outFDEs[s.addr]) > 1 {
		v.fail(s, 0, "has %d frame descriptions at 0x%x", len(v.outFDEs[s.addr]), s.addr)
	}
}

// checkFrameHeader: no frame description is for anything that is not there, none overlaps another, and the sorted table
// that the unwinder searches has them all.
func (v *checker) checkFrameHeader() {
	if v.frames == nil {
		return
	}
	list := append([]*outFDE(nil), v.outFDEList...)
	sort.SliceStable(list, func(i, j int) bool { return list[i].pc < list[j].pc })
	code := v.placed(func(s *section) bool { return s.code() && !s.tls() && v.extent(s) > 0 })
	for i, f := range list {
		if s := v.out.section(f.pc); f.size > 0 && (s == nil || s.flags&elf.SHF_EXECINSTR == 0) {
			v.fail(nil, -1, ".eh_frame: the entry at 0x%x is for 0x%x, where there is no code", f.addr, f.pc)
			continue
		}
		if i+1 < len(list) && f.size > 0 && f.pc+f.size > list[i+1].pc && list[i+1].size > 0 {
			v.fail(nil, -1, ".eh_frame: the entries for 0x%x and 0x%x overlap", f.pc, list[i+1].pc)
		}
		if f.matched || f.size == 0 {
			continue
		}
		j := sort.Search(len(code), func(j int) bool { return code[j].addr > f.pc })
		if j > 0 && f.pc < code[j-1].addr+v.extent(code[j-1]) && !v.shared[code[j-1]] {
			v.fail(code[j-1], int64(f.pc-code[j-1].addr), "the output has a frame description for 0x%x, the original none", f.pc)
		}
	}
	for i := range v.out.sections {
		if s := &v.out.sections[i]; s.name == ".eh_frame_hdr" && s.data != nil {
			if err := v.checkSearchTable(s, list); err != nil {
				v.fail(nil, -1, ".eh_frame_hdr: %v", err)
			}
		}
	}
}

func (v *checker) checkSearchTable(s *outSection, list []*outFDE) error {
	r := reader{b: s.data}
	version, ptrEnc, countEnc, tableEnc := r.u8(), r.u8(), r.u8(), r.u8()
	if version != 1 {
		return fmt.Errorf("version %d", version)
	}
	at := s.addr + r.pos
	if p := v.framePointer(ptrEnc, r.pointer(ptrEnc, v.out.word), at); p != v.frames.addr {
		return fmt.Errorf("it is for a table at 0x%x, .eh_frame is at 0x%x", p, v.frames.addr)
	}
	if countEnc == encOmit || tableEnc == encOmit {
		return nil
	}
	n := r.pointer(countEnc, v.out.word)
	if tableEnc&encApply != encDataRel {
		return fmt.Errorf("encoding 0x%x", tableEnc)
	}
	byAddr := map[uint64]*outFDE{}
	covered := 0
	for _, f := range list {
		byAddr[f.addr] = f
		if f.size > 0 {
			covered++
		}
	}
	last := uint64(0)
	for i := uint64(0); i < n; i++ {
		pc, entry := r.pointer(tableEnc, v.out.word)+s.addr, r.pointer(tableEnc, v.out.word)+s.addr
		if v.out.word == 4 {
			pc, entry = uint64(uint32(pc)), uint64(uint32(entry))
		}
		if r.bad {
			return fmt.Errorf("it says %d entries and ends after %d", n, i)
		}
		f := byAddr[entry]
		switch {
		case f == nil:
			return fmt.Errorf("entry %d leads to 0x%x, where there is no frame description", i, entry)
		case f.pc != pc:
			return fmt.Errorf("entry %d says 0x%x, its frame description 0x%x", i, pc, f.pc)
		case i > 0 && pc <= last:
			return fmt.Errorf("entry %d for 0x%x is not in order", i, pc)
		}
		last = pc
		if f.size > 0 {
			covered--
		}
	}
	if covered > 0 {
		return fmt.Errorf("%d frame descriptions are missing from it", covered)
	}
	return nil
}

// lsdaSize is the number of bytes that a landing-pad table occupies (Itanium C++ ABI, exception handling tables).
func lsdaSize(s *section, off, word uint64) (uint64, error) {
	errLSDA := fmt.Errorf("%s: offset 0x%x: not a readable landing-pad table", s.where(), off)
	if off >= uint64(len(s.data)) {
		return 0, errLSDA
	}
	r := reader{b: s.data, pos: off}
	if enc := r.u8(); enc != encOmit {
		r.pointer(enc, word)
	}
	types := uint64(0)
	if enc := r.u8(); enc != encOmit {
		n := r.uleb()
		types = r.pos + n
	}
	enc := r.u8()
	n := r.uleb()
	sites := r.pos
	if r.bad || n > uint64(len(s.data))-sites || types > uint64(len(s.data)) {
		return 0, errLSDA
	}
	actions := sites + n
	end := max(actions, types)
	seen := map[uint64]bool{}
	// Lists of types may share their ends, but not so often that reading all
	// of them takes the square of the table's size.
	budget := 8 * uint64(len(s.data))
	for r.pos < actions && !r.bad {
		for range 3 {
			r.pointer(enc, word)
		}
		next := r.uleb()
		for next != 0 {
			a := reader{b: s.data, pos: actions + next - 1}
			if a.pos >= uint64(len(s.data)) {
				return 0, errLSDA
			}
			if seen[a.pos] {
				break
			}
			seen[a.pos] = true
			filter := a.sleb()
			from := a.pos
			step := a.sleb()
			end = max(end, a.pos)
			if filter < 0 && types != 0 {
				l := reader{b: s.data, pos: min(types+uint64(-filter)-1, uint64(len(s.data)))}
				first := l.pos
				for !l.bad && l.uleb() != 0 {
				}
				if l.pos-first > budget {
					return 0, errLSDA
				}
				budget -= l.pos - first
				end = max(end, l.pos)
			}
			if a.bad {
				return 0, errLSDA
			}
			if next = 0; step != 0 {
				next = from + uint64(step) - actions + 1
			}
		}
	}
	if r.bad || end > uint64(len(s.data)) {
		return 0, errLSDA
	}
	return end - off, nil
}
