package merge

// Where an address takes two instructions, a compiler that moves common code
// into functions of its own (LLVM's outliner, at opt-level = z) may part them:
// one function has the page, another what is left. Each half alone says nothing
// of which whole it belongs to, and two names of one place have a slot each in
// the global offset table. So of the halves, none or both may fold, and that is
// sure only where both stand in one function (llvm-project 129122).

// splitAddress reports whether a section has one half of an address without the
// other.
func (l *Link) splitAddress(o *Object, i uint32) bool {
	if l.Arch.Half == nil {
		return false
	}
	type address struct {
		family uint8
		sym    uint32
		addend int64
	}
	const high, low, both = 1, 2, 3
	var found map[address]uint8
	rs := o.File.Relocs(i)
	for k := range rs.Len() {
		r := rs.At(k)
		family, isHigh := l.Arch.Half(r.Type)
		if family == 0 {
			continue
		}
		if found == nil {
			found = map[address]uint8{}
		}
		half := uint8(low)
		if isHigh {
			half = high
		}
		found[address{family, r.Sym, r.Addend}] |= half
	}
	for _, halves := range found {
		if halves != both {
			return true
		}
	}
	return false
}
