package verify

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"
)

// The relocation types that debug/elf has no names for in every version of Go.
const (
	rX86Code4GOTPCRELX = 43
)

func init() { archs = append(archs, x8664) }

var x8664 = &arch{
	name:    "x86-64",
	machine: elf.EM_X86_64,
	class:   elf.ELFCLASS64,
	dynamic: map[uint32]dynKind{
		uint32(elf.R_X86_64_RELATIVE): dynRelative, uint32(elf.R_X86_64_IRELATIVE): dynRelative,
		uint32(elf.R_X86_64_GLOB_DAT): dynSymbol, uint32(elf.R_X86_64_JMP_SLOT): dynSymbol, uint32(elf.R_X86_64_64): dynSymbol,
		uint32(elf.R_X86_64_TPOFF64): dynTPOff, uint32(elf.R_X86_64_DTPMOD64): dynDTPMod, uint32(elf.R_X86_64_DTPOFF64): dynDTPOff,
		uint32(elf.R_X86_64_TLSDESC): dynTLSDesc, uint32(elf.R_X86_64_COPY): dynCopy,
	},
	implicit: func(uint32, []byte) int64 { return 0 }, // the psABI has SHT_RELA only
	form:     x86Form,
	field:    func(typ uint32, b []byte) (int, uint64) { return int(x86Width(typ)), 0 },
	bias:     x86Bias,
	relative: func(typ uint32) bool {
		return elf.R_X86_64(typ) == elf.R_X86_64_PC32 || elf.R_X86_64(typ) == elf.R_X86_64_PC64
	},
	decode:   x86Decode,
	main:     x86Main,
	call:     x86Call,
	plt:      x86PLT,
	jump:     x86Jump,
	codeMask: ^uint64(0),
}

func x86Form(typ uint32) form {
	switch elf.R_X86_64(typ) {
	case elf.R_X86_64_NONE:
		return formNone
	case elf.R_X86_64_64, elf.R_X86_64_32, elf.R_X86_64_32S, elf.R_X86_64_16, elf.R_X86_64_8,
		elf.R_X86_64_PC64, elf.R_X86_64_PC32, elf.R_X86_64_PC16, elf.R_X86_64_PC8, elf.R_X86_64_PLT32,
		elf.R_X86_64_GOTOFF64, elf.R_X86_64_PLTOFF64,
		elf.R_X86_64_TPOFF32, elf.R_X86_64_TPOFF64, elf.R_X86_64_DTPOFF32, elf.R_X86_64_DTPOFF64:
		return formPlace
	case elf.R_X86_64_GOTPCREL, elf.R_X86_64_GOTPCRELX, elf.R_X86_64_REX_GOTPCRELX, elf.R_X86_64_GOTPCREL64,
		elf.R_X86_64_GOT32, elf.R_X86_64_GOT64, elf.R_X86_64_GOTPC32, elf.R_X86_64_GOTPC64,
		elf.R_X86_64_TLSGD, elf.R_X86_64_TLSLD, elf.R_X86_64_GOTTPOFF, elf.R_X86_64_GOTPC32_TLSDESC,
		elf.R_X86_64_TLSDESC_CALL, elf.R_X86_64_SIZE32, elf.R_X86_64_SIZE64, rX86Code4GOTPCRELX:
		return formSlot
	}
	return formUnknown
}

// ldForm says what the linker made of local-dynamic TLS sequences: a linker treats all of an output alike, and what a
// DTPOFF32 field holds depends on it.
type ldForm uint8

const (
	ldUnknown  ldForm = iota
	ldKept            // the module's block is found at run time, or %rax was made to point to its start
	ldToThread        // %rax is the thread pointer: DTPOFF became TPOFF
)

// x86Width is the size of a relocation type's field.
func x86Width(typ uint32) uint64 {
	switch elf.R_X86_64(typ) {
	case elf.R_X86_64_NONE:
		return 0
	case elf.R_X86_64_64, elf.R_X86_64_PC64, elf.R_X86_64_GOTOFF64, elf.R_X86_64_PLTOFF64, elf.R_X86_64_GOTPC64, elf.R_X86_64_GOTPCREL64,
		elf.R_X86_64_GOT64, elf.R_X86_64_TPOFF64, elf.R_X86_64_DTPOFF64, elf.R_X86_64_SIZE64:
		return 8
	case elf.R_X86_64_16, elf.R_X86_64_PC16, elf.R_X86_64_TLSDESC_CALL:
		return 2
	case elf.R_X86_64_8, elf.R_X86_64_PC8:
		return 1
	}
	return 4
}

// x86Bias: a PC-relative field counts from the end of its four bytes.
func x86Bias(typ uint32) (int64, bool) {
	switch elf.R_X86_64(typ) {
	case elf.R_X86_64_PC32, elf.R_X86_64_PLT32, elf.R_X86_64_GOTPCREL, elf.R_X86_64_GOTPCRELX, elf.R_X86_64_REX_GOTPCRELX:
		return 4, true
	}
	return 0, x86Form(typ) != formUnknown
}

func sext32(b []byte) uint64 { return uint64(int64(int32(binary.LittleEndian.Uint32(b)))) }

func x86Decode(v *checker, c *site) decoded {
	r := c.reloc()
	off := int64(r.off)
	p := c.base + r.off
	a := uint64(r.addend)
	width := x86Width(r.typ)
	if width == 0 {
		return decoded{lo: off, hi: off}
	}
	d := decoded{lo: off, hi: off + int64(width), kind: leadPlace}
	f := c.output(off, width)
	if f == nil {
		d.kind, d.hi, d.bad = leadNowhere, off, "the relocation reaches beyond the end of the section"
		return d
	}
	var x uint64 // the field, sign-extended
	switch width {
	case 8:
		x = binary.LittleEndian.Uint64(f)
	case 4:
		x = sext32(f)
	case 2:
		x = uint64(int64(int16(binary.LittleEndian.Uint16(f))))
	case 1:
		x = uint64(int64(int8(f[0])))
	}
	switch elf.R_X86_64(r.typ) {
	case elf.R_X86_64_64:
		return v.wordLead(d, p, r.addend)
	case elf.R_X86_64_32:
		d.place.addr = uint64(uint32(x)) - a
	case elf.R_X86_64_32S:
		d.place.addr = x - a
	case elf.R_X86_64_16, elf.R_X86_64_8:
		d.kind, d.place.addr, d.mask = leadLow, x-a, 1<<(8*width)-1
	case elf.R_X86_64_PC64, elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
		d.place.addr = x + p - a
	case elf.R_X86_64_PC16, elf.R_X86_64_PC8:
		d.kind, d.place.addr, d.mask = leadLow, x+p-a, 1<<(8*width)-1
	case elf.R_X86_64_GOTPC32, elf.R_X86_64_GOTPC64:
		return v.gotLead(d, x+p-a)
	case elf.R_X86_64_GOTOFF64, elf.R_X86_64_PLTOFF64:
		if !v.haveGOT {
			d.kind = leadSkipped
		}
		d.place.addr = x + v.gotBase - a
	case elf.R_X86_64_GOT64, elf.R_X86_64_GOT32:
		if !v.haveGOT {
			d.kind = leadSkipped
			return d
		}
		return v.slotLead(d, x+v.gotBase-a)
	case elf.R_X86_64_GOTPCREL64:
		return v.slotLead(d, x+p-a)
	case elf.R_X86_64_SIZE32, elf.R_X86_64_SIZE64:
		d.kind = leadNowhere
		if t := &c.sec.obj.targets[r.sym]; t.def != nil && t.kind == toSection && x != t.def.size+a {
			d.bad = fmt.Sprintf("holds the size %d, the symbol's is %d", x-a, t.def.size)
		}
	case elf.R_X86_64_TPOFF32, elf.R_X86_64_TPOFF64:
		d.place.addr = x + v.out.threadPointer() - a
	case elf.R_X86_64_DTPOFF32, elf.R_X86_64_DTPOFF64:
		d.place.addr, d.alt = x+v.out.tlsStart-a, x+v.out.threadPointer()-a
		switch v.ldRelaxed {
		case ldUnknown:
			d.kind = leadEither
		case ldToThread:
			d.place.addr = d.alt
		}
	default:
		for i := range x86Rewrites {
			w := &x86Rewrites[i]
			if w.types[r.typ] {
				if d, ok := w.try(v, c); ok {
					return d
				}
			}
		}
		d.lo, d.hi, d.kind = max(off-4, 0), min(off+4, int64(len(c.out))), leadNowhere
		if x86Form(r.typ) == formUnknown {
			d.kind, d.hi = leadSkipped, min(off+12, int64(len(c.out)))
			return d
		}
		d.bad = fmt.Sprintf("is %x, no form that a linker may give the %x of the original", c.output(d.lo, uint64(d.hi-d.lo)), c.original(d.lo, uint64(d.hi-d.lo)))
	}
	return d
}

// x86Rewrite is one form that a linker may give the instruction at a relocation, the unchanged one included. The first
// that fits is taken; they exclude one another by their opcodes.
type x86Rewrite struct {
	what  string
	rule  string // where it is allowed
	types map[uint32]bool
	try   func(v *checker, c *site) (decoded, bool)
}

func types(list ...elf.R_X86_64) map[uint32]bool {
	m := map[uint32]bool{}
	for _, t := range list {
		m[uint32(t)] = true
	}
	return m
}

var (
	x86GOT  = types(elf.R_X86_64_GOTPCREL, elf.R_X86_64_GOTPCRELX, elf.R_X86_64_REX_GOTPCRELX, rX86Code4GOTPCRELX)
	x86GOTX = types(elf.R_X86_64_GOTPCRELX, elf.R_X86_64_REX_GOTPCRELX)
	x86GD   = types(elf.R_X86_64_TLSGD)
	x86LD   = types(elf.R_X86_64_TLSLD)
	x86IE   = types(elf.R_X86_64_GOTTPOFF)
	x86Desc = types(elf.R_X86_64_GOTPC32_TLSDESC)
	x86Tail = types(elf.R_X86_64_TLSDESC_CALL)
)

const (
	ruleGOT  = "psABI, appendix B.2, Optimize GOTPCRELX Relocations"
	ruleTLS  = "ELF Handling For Thread-Local Storage, 5.5; psABI, chapter 11.1"
	ruleDesc = "Thread-Local Storage Descriptors for IA32 and AMD64/EM64T, 3.2"
)

// x86Rewrites lists every rewriting that is accepted. GNU ld and gold do the first three to R_X86_64_GOTPCREL as well,
// where the opcode is that of mov.
var x86Rewrites = []x86Rewrite{
	{"load from the GOT, unchanged", "psABI, 4.4", x86GOT, x86GOTKept},
	{"mov foo@GOTPCREL(%rip), %reg -> lea foo(%rip), %reg", ruleGOT, x86GOT, x86MovLea},
	{"mov foo@GOTPCREL(%rip), %reg -> mov $foo, %reg", ruleGOT, x86GOT, x86MovImm},
	{"call *foo@GOTPCREL(%rip) -> addr32 call foo, or call foo; nop", ruleGOT, x86GOTX, x86CallDirect},
	{"jmp *foo@GOTPCREL(%rip) -> jmp foo; nop", ruleGOT, x86GOTX, x86JmpDirect},
	{"test %reg, foo@GOTPCREL(%rip) and binop foo@GOTPCREL(%rip), %reg -> with $foo", ruleGOT, x86GOTX, x86OpImm},
	{"general dynamic, unchanged", "psABI, 4.4", x86GD, x86GDKept},
	{"general dynamic -> local exec", ruleTLS, x86GD, x86GDToLE},
	{"general dynamic -> initial exec", ruleTLS, x86GD, x86GDToIE},
	{"local dynamic, unchanged", "psABI, 4.4", x86LD, x86LDKept},
	{"local dynamic -> local exec", ruleTLS, x86LD, x86LDToLE},
	{"initial exec, unchanged", "psABI, 4.4", x86IE, x86IEKept},
	{"initial exec -> local exec", ruleTLS, x86IE, x86IEToLE},
	{"TLS descriptor, unchanged", ruleDesc, x86Desc, x86DescKept},
	{"TLS descriptor -> initial exec", ruleDesc, x86Desc, x86DescToIE},
	{"TLS descriptor -> local exec", ruleDesc, x86Desc, x86DescToLE},
	{"call through a TLS descriptor, unchanged or a two-byte nop", ruleDesc, x86Tail, x86DescCall},
}

// same says that n bytes from off on, relative to the field, are the original's.
func (c *site) same(off int64, n uint64) bool {
	at := int64(c.reloc().off) + off
	o := c.output(at, n)
	return o != nil && bytes.Equal(o, c.original(at, n))
}

// x86Head is how many bytes of the instruction before the field are compared: the opcode and ModRM, and the REX prefix
// where the relocation type says that there is one.
func x86Head(c *site) int64 {
	switch elf.R_X86_64(c.reloc().typ) {
	case elf.R_X86_64_REX_GOTPCRELX:
		return 3
	case rX86Code4GOTPCRELX:
		return 4
	}
	return 2
}

func x86GOTKept(v *checker, c *site) (decoded, bool) {
	r := c.reloc()
	head := x86Head(c)
	if !c.sec.code() || int64(r.off) < head {
		head = 0 // a word of data, not an instruction
	}
	if !c.same(-head, uint64(head)) {
		return decoded{}, false
	}
	d := decoded{lo: int64(r.off) - head, hi: int64(r.off) + 4, kind: leadPlace}
	return v.slotLead(d, sext32(c.out[r.off:])+c.base+r.off-uint64(r.addend)), true
}

func x86MovLea(v *checker, c *site) (decoded, bool) {
	r := c.reloc()
	off := int64(r.off)
	was, is := c.original(off-2, 6), c.output(off-2, 6)
	if was == nil || was[0] != 0x8b || is[0] != 0x8d || is[1] != was[1] || r.addend != -4 {
		return decoded{}, false
	}
	return decoded{lo: off - 2, hi: off + 4, kind: leadPlace, relaxed: true, place: place{addr: sext32(is[2:]) + c.base + r.off + 4}}, true
}

func x86MovImm(v *checker, c *site) (decoded, bool) {
	r := c.reloc()
	off := int64(r.off)
	was, is := c.original(off-2, 6), c.output(off-2, 6)
	if was == nil || was[0] != 0x8b || is[0] != 0xc7 || was[1]&0xc7 != 0x05 || is[1] != 0xc0|was[1]>>3&7 || r.addend != -4 {
		return decoded{}, false
	}
	d := decoded{lo: off - 2, hi: off + 4, kind: leadPlace, relaxed: true}
	d.place.addr = uint64(binary.LittleEndian.Uint32(is[2:]))
	return x86MovedREX(c, d, &d.place.addr)
}

// x86MovedREX checks the REX prefix of an instruction whose register moved from ModRM.reg to ModRM.rm: REX.R becomes
// REX.B. With REX.W the immediate is sign-extended.
func x86MovedREX(c *site, d decoded, addr *uint64) (decoded, bool) {
	off := int64(c.reloc().off)
	if elf.R_X86_64(c.reloc().typ) == elf.R_X86_64_GOTPCRELX {
		return d, true // says that there is no REX prefix
	}
	was, is := c.original(off-3, 1), c.output(off-3, 1)
	if was == nil || was[0]&0xf0 != 0x40 {
		return d, false
	}
	if is[0] != was[0]&^4|was[0]&4>>2 {
		return d, false
	}
	if was[0]&8 != 0 {
		*addr = uint64(int64(int32(*addr)))
	}
	d.lo = off - 3
	return d, true
}

func x86CallDirect(v *checker, c *site) (decoded, bool) {
	r := c.reloc()
	off := int64(r.off)
	was, is := c.original(off-2, 6), c.output(off-2, 6)
	if was == nil || was[0] != 0xff || was[1] != 0x15 || r.addend != -4 {
		return decoded{}, false
	}
	d := decoded{lo: off - 2, hi: off + 4, kind: leadPlace, relaxed: true}
	switch {
	case (is[0] == 0x67 || is[0] == 0x40 || is[0] == 0x48 || is[0] == 0x90) && is[1] == 0xe8: // a prefix that means nothing here, or nop
		d.place.addr = sext32(is[2:]) + c.base + r.off + 4
	case is[0] == 0xe8 && is[5] == 0x90:
		d.place.addr = sext32(is[1:]) + c.base + r.off + 3
	default:
		return d, false
	}
	return d, true
}

func x86JmpDirect(v *checker, c *site) (decoded, bool) {
	r := c.reloc()
	off := int64(r.off)
	was, is := c.original(off-2, 6), c.output(off-2, 6)
	if was == nil || was[0] != 0xff || was[1] != 0x25 || r.addend != -4 {
		return decoded{}, false
	}
	d := decoded{lo: off - 2, hi: off + 4, kind: leadPlace, relaxed: true}
	switch {
	case is[0] == 0xe9 && is[5] == 0x90:
		d.place.addr = sext32(is[1:]) + c.base + r.off + 3
	case (is[0] == 0x67 || is[0] == 0x40 || is[0] == 0x48 || is[0] == 0x90) && is[1] == 0xe9:
		d.place.addr = sext32(is[2:]) + c.base + r.off + 4
	default:
		return d, false
	}
	return d, true
}

func x86OpImm(v *checker, c *site) (decoded, bool) {
	r := c.reloc()
	off := int64(r.off)
	was, is := c.original(off-2, 6), c.output(off-2, 6)
	if was == nil || was[1]&0xc7 != 0x05 || r.addend != -4 {
		return decoded{}, false
	}
	op, reg := was[0], was[1]>>3&7
	switch {
	case op == 0x85 && is[0] == 0xf7 && is[1] == 0xc0|reg:
	case op&0xc7 == 0x03 && is[0] == 0x81 && is[1] == 0xc0|op&0x38|reg:
	default:
		return decoded{}, false
	}
	d := decoded{lo: off - 2, hi: off + 4, kind: leadPlace, relaxed: true}
	d.place.addr = uint64(binary.LittleEndian.Uint32(is[2:]))
	return x86MovedREX(c, d, &d.place.addr)
}

// x86TLSCall says how long the call to __tls_get_addr is that follows the field of a TLSGD or TLSLD, and whether it is
// that of the large code model; 0 where there is no such call with a relocation of its own.
func x86TLSCall(c *site, forms []x86CallForm) (n int64, large bool) {
	if c.i+1 >= len(c.sec.relocs) {
		return 0, false
	}
	off := int64(c.reloc().off) + 4
	for _, f := range forms {
		at := off + int64(len(f.head))
		if string(c.original(off, uint64(len(f.head)))) == f.head && c.sec.relocs[c.i+1].off == uint64(at) &&
			string(c.original(at+f.width, uint64(len(f.tail)))) == f.tail {
			return int64(len(f.head)) + f.width + int64(len(f.tail)), f.width == 8
		}
	}
	return 0, false
}

// x86CallForm is a call to __tls_get_addr: its bytes around the relocated field.
type x86CallForm struct {
	head  string
	width int64
	tail  string
}

var (
	x86LargeCalls = []x86CallForm{
		{"\x48\xb8", 8, "\x48\x01\xd8\xff\xd0"}, // movabs $__tls_get_addr@PLTOFF, %rax; add %rbx, %rax; call *%rax
		{"\x48\xb8", 8, "\x4c\x01\xf8\xff\xd0"}, // the same with %r15
	}
	x86GDCalls = append([]x86CallForm{{"\x66\x66\x48\xe8", 4, ""}, {"\x66\x48\xff\x15", 4, ""}, {"\x66\x48\x67\xe8", 4, ""}}, x86LargeCalls...)
	x86LDCalls = append([]x86CallForm{{"\xe8", 4, ""}, {"\xff\x15", 4, ""}}, x86LargeCalls...)
)

func x86GDKept(v *checker, c *site) (decoded, bool) {
	r := c.reloc()
	head := min(int64(4), int64(r.off))
	if !c.same(-head, uint64(head)) {
		return decoded{}, false
	}
	d := decoded{lo: int64(r.off) - head, hi: int64(r.off) + 4, kind: leadPlace}
	return v.tlsPairLead(d, sext32(c.out[r.off:])+c.base+r.off-uint64(r.addend)), true
}

const x86LoadFS = "\x64\x48\x8b\x04\x25\x00\x00\x00\x00" // mov %fs:0, %rax

// x86GDWindow is the output's bytes where the original has a general dynamic sequence and the output starts with loading
// the thread pointer. The large code model's is six bytes longer, which become a nop.
func x86GDWindow(c *site) (is []byte, d decoded, ok bool) {
	off := int64(c.reloc().off)
	n, large := x86TLSCall(c, x86GDCalls)
	head := "\x66\x48\x8d\x3d"
	if large {
		head = head[1:]
	}
	lo := off - int64(len(head))
	if string(c.original(lo, uint64(len(head)))) != head || n == 0 {
		return nil, d, false
	}
	d = decoded{lo: lo, hi: off + 4 + n, kind: leadPlace, relaxed: true, more: 1}
	is = c.output(lo, uint64(d.hi-d.lo))
	if is == nil || string(is[:9]) != x86LoadFS || large && string(is[16:]) != "\x66\x0f\x1f\x44\x00\x00" {
		return nil, d, false
	}
	return is, d, true
}

func x86GDToLE(v *checker, c *site) (decoded, bool) {
	is, d, ok := x86GDWindow(c)
	if !ok || string(is[9:12]) != "\x48\x8d\x80" && string(is[9:12]) != "\x48\x81\xc0" {
		return d, false
	}
	d.place.addr = sext32(is[12:]) + v.out.threadPointer()
	return d, true
}

func x86GDToIE(v *checker, c *site) (decoded, bool) {
	is, d, ok := x86GDWindow(c)
	if !ok || string(is[9:12]) != "\x48\x03\x05" {
		return d, false
	}
	return v.tlsSlotLead(d, sext32(is[12:])+c.base+uint64(d.lo)+16), true
}

func x86LDKept(v *checker, c *site) (decoded, bool) {
	r := c.reloc()
	head := min(int64(3), int64(r.off))
	if !c.same(-head, uint64(head)) {
		return decoded{}, false
	}
	v.ldRelaxed = ldKept
	d := decoded{lo: int64(r.off) - head, hi: int64(r.off) + 4}
	slot := sext32(c.out[r.off:]) + c.base + r.off - uint64(r.addend)
	if rel, ok := v.out.relocs[slot]; ok && rel.kind != dynDTPMod {
		d.bad = fmt.Sprintf("the module slot at 0x%x has another kind of dynamic relocation", slot)
	}
	return d, true
}

func x86LDToLE(v *checker, c *site) (decoded, bool) {
	off := int64(c.reloc().off)
	n, _ := x86TLSCall(c, x86LDCalls)
	if string(c.original(off-3, 3)) != "\x48\x8d\x3d" || n == 0 {
		return decoded{}, false
	}
	d := decoded{lo: off - 3, hi: off + 4 + n, relaxed: true, more: 1}
	is := c.output(d.lo, uint64(d.hi-d.lo))
	if is == nil {
		return d, false
	}
	for _, f := range x86LDForms {
		if len(is) != len(f.head)+len(f.tail) && len(is) != len(f.head)+4+len(f.tail) ||
			!strings.HasPrefix(string(is), f.head) || !strings.HasSuffix(string(is), f.tail) {
			continue
		}
		if len(is) == len(f.head)+len(f.tail) {
			v.ldRelaxed = ldToThread
			return d, true
		}
		if sext32(is[len(f.head):]) == v.out.threadPointer()-v.out.tlsStart {
			v.ldRelaxed = ldKept
			return d, true
		}
	}
	return d, false
}

// x86LDForms is what replaces a local dynamic sequence: the thread pointer in %rax, or, from mold, the block's start,
// which takes subtracting the block's size (the four bytes between head and tail).
var x86LDForms = []struct{ head, tail string }{
	{"\x66\x66\x66" + x86LoadFS, ""},
	{"\x66\x66\x66\x66" + x86LoadFS, ""},
	{"\x66\x66\x66\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00" + x86LoadFS, ""},
	{"\x31\xc0\x64\x48\x8b\x00\x48\x2d", ""},
	{"\x48\x31\xc0\x64\x48\x8b\x00\x48\x2d", ""},
	{"\x31\xc0\x64\x48\x8b\x00\x48\x2d", "\x0f\x1f\x44\x00\x00\x0f\x1f\x44\x00\x00"},
	{x86LoadFS + "\x48\x2d", "\x0f\x1f\x80\x00\x00\x00\x00"},
}

func x86IEKept(v *checker, c *site) (decoded, bool) {
	r := c.reloc()
	head := min(int64(3), int64(r.off))
	if !c.same(-head, uint64(head)) {
		return decoded{}, false
	}
	d := decoded{lo: int64(r.off) - head, hi: int64(r.off) + 4, kind: leadPlace}
	return v.tlsSlotLead(d, sext32(c.out[r.off:])+c.base+r.off-uint64(r.addend)), true
}

// x86ToTP finishes a rewriting to an offset from the thread pointer in the field.
func x86ToTP(v *checker, c *site) decoded {
	off := int64(c.reloc().off)
	d := decoded{lo: off - 3, hi: off + 4, kind: leadPlace, relaxed: true}
	d.place.addr = sext32(c.out[off:]) + v.out.threadPointer() - uint64(c.reloc().addend) - 4
	return d
}

func x86IEToLE(v *checker, c *site) (decoded, bool) {
	off := int64(c.reloc().off)
	was, is := c.original(off-3, 7), c.output(off-3, 7)
	if was == nil || was[0]&^4 != 0x48 || was[2]&0xc7 != 0x05 {
		return decoded{}, false
	}
	high, reg := was[0]&4>>2, was[2]>>3&7 // the register's fourth bit was REX.R
	switch {
	case was[1] == 0x8b && is[0] == 0x48|high && is[1] == 0xc7 && is[2] == 0xc0|reg: // mov $x, %reg
	case was[1] == 0x03 && is[0] == 0x48|high && is[1] == 0x81 && is[2] == 0xc0|reg: // add $x, %reg
	case was[1] == 0x03 && is[0] == 0x48|high|high<<2 && is[1] == 0x8d && is[2] == 0x80|reg<<3|reg && reg != 4: // lea x(%reg), %reg
	default:
		return decoded{}, false
	}
	return x86ToTP(v, c), true
}

func x86DescKept(v *checker, c *site) (decoded, bool) {
	r := c.reloc()
	head := min(int64(3), int64(r.off))
	if !c.same(-head, uint64(head)) {
		return decoded{}, false
	}
	d := decoded{lo: int64(r.off) - head, hi: int64(r.off) + 4, kind: leadPlace}
	slot := sext32(c.out[r.off:]) + c.base + r.off - uint64(r.addend)
	rel, ok := v.out.relocs[slot]
	if !ok || rel.kind != dynTLSDesc {
		d.kind, d.bad = leadNowhere, fmt.Sprintf("there is no TLS descriptor at 0x%x", slot)
		return d, true
	}
	return v.tlsLead(d, rel), true
}

func x86DescToIE(v *checker, c *site) (decoded, bool) {
	off := int64(c.reloc().off)
	was, is := c.original(off-3, 7), c.output(off-3, 7)
	if was == nil || was[1] != 0x8d || is[0] != was[0] || is[1] != 0x8b || is[2] != was[2] {
		return decoded{}, false
	}
	d := decoded{lo: off - 3, hi: off + 4, kind: leadPlace, relaxed: true}
	return v.tlsSlotLead(d, sext32(is[3:])+c.base+uint64(off)+4), true
}

func x86DescToLE(v *checker, c *site) (decoded, bool) {
	off := int64(c.reloc().off)
	was, is := c.original(off-3, 7), c.output(off-3, 7)
	if was == nil || was[0]&^4 != 0x48 || was[1] != 0x8d || was[2]&0xc7 != 0x05 ||
		is[0] != 0x48|was[0]&4>>2 || is[1] != 0xc7 || is[2] != 0xc0|was[2]>>3&7 {
		return decoded{}, false
	}
	return x86ToTP(v, c), true
}

func x86DescCall(v *checker, c *site) (decoded, bool) {
	off := int64(c.reloc().off)
	d := decoded{lo: off, hi: off + 2, relaxed: !c.same(0, 2)}
	return d, !d.relaxed || string(c.output(off, 2)) == "\x66\x90"
}

// x86Call: E8, E9 and 0F 8x before a PC-relative field are call, jmp and jcc (a RIP-relative ModRM byte is none of
// them); FF 15 and FF 25 before a GOT field are the same through the GOT.
func x86Call(s *section, r *reloc) bool {
	at := func(back uint64) byte {
		if r.off < back || r.off-back >= uint64(len(s.data)) {
			return 0
		}
		return s.data[r.off-back]
	}
	switch elf.R_X86_64(r.typ) {
	case elf.R_X86_64_PLT32, elf.R_X86_64_PC32:
		return at(1) == 0xe8 || at(1) == 0xe9 || at(1)&0xf0 == 0x80 && at(2) == 0x0f
	case elf.R_X86_64_GOTPCREL, elf.R_X86_64_GOTPCRELX, elf.R_X86_64_REX_GOTPCRELX:
		return at(2) == 0xff && (at(1) == 0x15 || at(1) == 0x25)
	}
	return false
}

const endbr64 = "\xf3\x0f\x1e\xfa"

// x86PLT knows the entries of GNU ld, gold, lld and mold, with and without IBT, and lld's retpolines.
func x86PLT(o *output, addr uint64) (uint64, bool) {
	b := o.tail(addr)
	skip := func(n int) {
		b, addr = b[n:], addr+uint64(n)
	}
	if len(b) >= 4 && string(b[:4]) == endbr64 {
		skip(4)
	}
	if len(b) >= 6 && b[0] == 0x41 && b[1] == 0xbb { // mov $index, %r11d
		skip(6)
	}
	if len(b) >= 1 && b[0] == 0xf2 { // bnd
		skip(1)
	}
	if len(b) >= 6 && b[0] == 0xff && b[1] == 0x25 { // jmp *slot(%rip)
		return sext32(b[2:]) + addr + 6, true
	}
	if len(b) >= 7 && b[0] == 0x4c && b[1] == 0x8b && b[2] == 0x1d { // mov slot(%rip), %r11
		return sext32(b[3:]) + addr + 7, true
	}
	return 0, false
}

func x86Jump(o *output, addr uint64, original []byte) (target, size uint64, ok bool) {
	b := o.tail(addr)
	if len(original) >= 4 && string(original[:4]) == endbr64 {
		if len(b) < 4 || string(b[:4]) != endbr64 {
			return 0, 0, false
		}
		b, size = b[4:], 4
	}
	switch {
	case len(b) >= 5 && b[0] == 0xe9:
		return sext32(b[1:]) + addr + size + 5, size + 5, true
	case len(b) >= 2 && b[0] == 0xeb:
		return uint64(int64(int8(b[1]))) + addr + size + 2, size + 2, true
	}
	return 0, 0, false
}

// x86Main: _start puts main into %rdi, the first argument of __libc_start_main.
func x86Main(o *output) []uint64 {
	b := o.tail(o.entry)
	var list []uint64
	for i := 0; i+7 <= len(b) && i < 64; i++ {
		next := o.entry + uint64(i) + 7
		switch string(b[i : i+3]) {
		case "\x48\x8d\x3d": // lea main(%rip), %rdi
			list = append(list, sext32(b[i+3:])+next)
		case "\x48\x8b\x3d": // mov main@GOTPCREL(%rip), %rdi
			if p, err := o.wordAt(sext32(b[i+3:]) + next); err == nil {
				list = append(list, p.addr)
			}
		case "\x48\xc7\xc7": // mov $main, %rdi
			list = append(list, sext32(b[i+3:]))
		}
	}
	return list
}
