package verify

import (
	"debug/elf"
	"encoding/binary"
)

// checkLines: each kept function that has a line table in its object has one in the output that begins at its address.
func (v *checker) checkLines() {
	var data []byte
	for _, s := range v.out.file.Sections {
		if s.Name == ".debug_line" && s.Type == elf.SHT_PROGBITS {
			d, err := uncompressed(s)
			if err != nil {
				v.fail(nil, -1, ".debug_line: %v", err)
				return
			}
			data = d
		}
	}
	if data == nil {
		return
	}
	set, ok := lineAddresses(data, v.out.word)
	if !ok {
		v.fail(nil, -1, ".debug_line: not readable")
		return
	}
	for _, o := range v.objects {
		for _, l := range o.sections {
			if l.name != ".debug_line" || l.discarded {
				continue
			}
			for i := range l.relocs {
				t := &o.targets[l.relocs[i].sym]
				if n, _ := v.arch.field(l.relocs[i].typ, l.data[l.relocs[i].off:]); uint64(n) != v.out.word || v.arch.relative(l.relocs[i].typ) {
					continue // a distance, which is how RISC-V advances
				}
				if t.kind != toSection || !t.sec.code() || !t.sec.located || t.sec.doubtful || t.sec.fate == Thunk || t.sec.obj != o {
					continue
				}
				addr := t.sec.addr + t.value + uint64(l.relocs[i].addend)
				v.res.Lines++
				if !set[addr] {
					v.fail(t.sec, int64(addr-t.sec.addr), "no line table of the output begins at 0x%x", addr)
				}
			}
		}
	}
}

// lineAddresses is the set of addresses that the line programs set (DW_LNE_set_address; DWARF 2 to 5).
func lineAddresses(data []byte, word uint64) (map[uint64]bool, bool) {
	le := binary.LittleEndian
	set := map[uint64]bool{}
	for len(data) >= 4 {
		r := reader{b: data}
		wide := uint64(4)
		n := uint64(le.Uint32(r.take(4)))
		if n == 0xffffffff {
			wide, n = 8, le.Uint64(r.take(8))
		}
		unit := slice(data, r.pos, n)
		if unit == nil || r.bad {
			return nil, n == 0
		}
		data = data[r.pos+n:]
		if n == 0 {
			continue
		}
		r = reader{b: unit}
		version := le.Uint16(r.take(2))
		if version < 2 || version > 5 {
			continue
		}
		if version == 5 {
			r.take(2)
		}
		header := uint64(le.Uint32(r.take(4)))
		if wide == 8 {
			header |= uint64(le.Uint32(r.take(4))) << 32
		}
		start := r.pos + header
		r.take(1)
		if version >= 4 {
			r.take(1)
		}
		r.take(3)
		opcodes := uint64(r.u8())
		if opcodes == 0 || start < r.pos || start > uint64(len(unit)) {
			return nil, false
		}
		operands := r.take(opcodes - 1)
		r.pos = start
		for r.pos < uint64(len(unit)) && !r.bad {
			switch op := uint64(r.u8()); {
			case op >= opcodes:
			case op == 0:
				n := r.uleb()
				if n == 0 {
					continue
				}
				arg := r.take(n)
				if !r.bad && arg[0] == 2 {
					switch len(arg) {
					case 9:
						set[le.Uint64(arg[1:])] = true
					case 5:
						set[uint64(le.Uint32(arg[1:]))] = true
					}
				}
			case op == 9: // DW_LNS_fixed_advance_pc
				r.take(2)
			default:
				for range operands[op-1] {
					r.uleb()
				}
			}
		}
		if r.bad {
			return nil, false
		}
	}
	return set, true
}
