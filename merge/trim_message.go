package merge

import (
	"bytes"
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"leanlink/objfile"
)

// All panics of core, alloc and std that have a message hand it, as two words
// of fmt::Arguments, and their Location to one function, panic_fmt, which puts
// both into a PanicInfo. It is changed, in place, to put the Arguments of an
// empty text there: hooks, handlers and payloads then see an empty message.
//
// The entry points before it, such as that of a failed index, only put a
// message together and hand their Location on. Those whose code goes straight
// there become a jump, with the Location moved to where it is expected; which
// register has it is read from the code itself. What callers load for the
// others is cut (trim_operands.go).

// panicFmt is the path of the function that all messages go through.
const panicFmt = "core::panicking::panic_fmt"

// The first and the last release, minor versions of Rust 1, with which the code
// and the form of Arguments below were checked.
const panicFmtSince, panicFmtUntil = 95, 97

// panicFmtCode is its code for x86-64, up to its call of the panic handler: rdi
// and rsi are the Arguments, rdx is the Location. No other code is changed.
var panicFmtCode = []byte{
	0x55,             // push %rbp
	0x48, 0x89, 0xe5, // mov %rsp,%rbp
	0x48, 0x83, 0xec, 0x30, // sub $0x30,%rsp
	0x48, 0x89, 0x7d, 0xf0, // mov %rdi,-0x10(%rbp)
	0x48, 0x89, 0x75, 0xf8, // mov %rsi,-8(%rbp)
	0x48, 0x8d, 0x45, 0xf0, // lea -0x10(%rbp),%rax
	0x48, 0x89, 0x45, 0xd8, // mov %rax,-0x28(%rbp)
	0x48, 0x89, 0x55, 0xe0, // mov %rdx,-0x20(%rbp)
	0x66, 0xc7, 0x45, 0xe8, 0x01, 0x00, // movw $1,-0x18(%rbp)
	0x48, 0x8d, 0x7d, 0xd8, // lea -0x28(%rbp),%rdi
}

// emptyMessage is what takes the place of the three instructions from
// emptyMessageAt on. The words that Arguments has of a text without arguments
// are its address, any but 0, and twice its length and 1.
var emptyMessage = []byte{
	0x6a, 0x01, // push $1
	0x54,                   // push %rsp
	0x48, 0x83, 0xec, 0x20, // sub $0x20,%rsp
	0x0f, 0x1f, 0x44, 0x00, 0x00, // nop
}

const emptyMessageAt = 4

// regRDX is rdx by its number: panic_fmt's third argument.
const regRDX = 2

// messages empties the messages of panics.
func (x *trimmer) messages() error {
	l := x.l
	const key = "trim.panic"
	if l.Arch.Machine != objfile.EM_X86_64 {
		return &TrimError{key, "the panic entry points of " + l.Arch.Name + " code are not known so well: only those of x86-64 are"}
	}
	if l.dynamicStd() {
		return &TrimError{key, "the panic runtime is in a shared object (prefer-dynamic), which is not trimmed"}
	}
	found := x.locationRegisters()
	for id, h := range found {
		o, i := l.Of(id)
		if h.code == nil {
			x.edit(o).Patch(i, emptyMessageAt, emptyMessage)
			x.out.Cuts[o.index][i] = CutMessage
		} else {
			x.cutBody(o, i, h.code, []objfile.Reloc{h.reloc}, 1)
			x.out.Cuts[o.index][i] = CutHandOn
		}
		x.ignored[id] = callerSaved &^ (1 << h.register)
	}
	x.out.Messages = len(found)
	if len(found) == 0 {
		x.missing(key, []string{panicFmt})
	}
	return nil
}

// handOn says in which register a function is given the Location of a panic,
// and how it would hand that on and do nothing else; code is nil for panic_fmt
// itself.
type handOn struct {
	register int
	code     []byte
	reloc    objfile.Reloc // of code
}

// locationRegisters reads the code of panic entry points: of panic_fmt, and of
// those that go straight to it.
func (x *trimmer) locationRegisters() map[SecID]handOn {
	l := x.l
	found := map[SecID]handOn{}
	var entries []SecID
	for _, o := range l.Objects {
		if !o.Rust || o.Reason != "" || o.File.Machine != objfile.EM_X86_64 {
			continue
		}
		for i := range o.File.Sections {
			paths, alone := l.panicEntryOf(o, uint32(i))
			switch {
			case len(paths) == 0 || !alone:
			case paths[0] != panicFmt:
				if strings.HasPrefix(paths[0], "core::") || strings.HasPrefix(paths[0], "alloc::") {
					entries = append(entries, o.Base+SecID(i))
				}
			case isPanicFmt(o.File, uint32(i)):
				found[o.Base+SecID(i)] = handOn{register: regRDX}
			}
		}
	}
	// Entry points call each other: until no more is found.
	for again := true; again; {
		again = false
		for _, id := range entries {
			if _, done := found[id]; done {
				continue
			}
			o, i := l.Of(id)
			if h, ok := x.handsOn(o, i, found); ok {
				found[id] = h
				again = true
			}
		}
	}
	return found
}

// isPanicFmt reports whether a section's code is that of panic_fmt.
func isPanicFmt(f *objfile.File, section uint32) bool {
	release := rustMinor(f)
	rest, ok := bytes.CutPrefix(f.Bytes(section), panicFmtCode)
	direct := len(rest) == 5 && rest[0] == 0xe8
	byTable := len(rest) == 6 && rest[0] == 0xff && rest[1] == 0x15
	return ok && (direct || byTable) && release >= panicFmtSince && release <= panicFmtUntil
}

// handsOn follows the code of an entry point straight to the call of a function
// that is known.
func (x *trimmer) handsOn(o *Object, i uint32, known map[SecID]handOn) (h handOn, ok bool) {
	w := walk{x: x, o: o, code: o.File.Bytes(i), relocs: o.File.Relocs(i)}
	w.fields = relocIndex(w.relocs)
	var holds [16]int // by register: the one that had its value at the start, −1 if none
	for k := range holds {
		holds[k] = k
	}
	for at := uint64(0); at < uint64(len(w.code)); {
		inst, err := x86asm.Decode(w.code[at:], 64)
		if err != nil {
			return
		}
		end := at + uint64(inst.Len)
		switch inst.Op {
		case x86asm.CALL, x86asm.JMP:
			sec, relocated := w.callee(at, end)
			next, there := known[sec]
			register := next.register
			if !relocated || !there || holds[register] < 0 || callerSaved>>holds[register]&1 == 0 {
				return
			}
			k, _ := w.fields.find(end - 4)
			r, from := w.relocs.At(k), holds[register]
			var code []byte
			if from != register {
				code = append(code, 0x48|byte(from>>3)<<2|byte(register>>3), 0x89, 0xc0|byte(from&7)<<3|byte(register&7)) // mov
			}
			if l := end - at; l == 6 {
				code = append(code, 0xff, 0x25) // jmp through the GOT
			} else {
				code = append(code, 0xe9) // jmp
			}
			r.Offset = uint64(len(code))
			code = append(code, 0, 0, 0, 0)
			return handOn{from, code, r}, len(code) <= len(w.code)
		case x86asm.PUSH, x86asm.NOP:
		case x86asm.MOV, x86asm.LEA, x86asm.SUB, x86asm.MOVZX, x86asm.XOR:
			if d, isReg := inst.Args[0].(x86asm.Reg); isReg {
				to := number(d)
				if to < 0 {
					return
				}
				s, isReg := inst.Args[1].(x86asm.Reg)
				switch {
				case inst.Op == x86asm.MOV && isReg && d >= x86asm.RAX && d <= x86asm.R15 && s >= x86asm.RAX && s <= x86asm.R15:
					holds[to] = holds[number(s)]
				default:
					holds[to] = -1
				}
			}
		default:
			return
		}
		at = end
	}
	return
}
