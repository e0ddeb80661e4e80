package verify

import (
	"bytes"
	"debug/elf"
	"fmt"
	"sort"
)

// pieceKey is a piece of a mergeable section as it was found at an address.
type pieceKey struct {
	sec      *section
	at, addr uint64
}

// difference says where a section's bytes are not what they should be.
type difference struct {
	off  int64
	what string
}

// compare holds the section's bytes at base against the original's, field by field, and calls visit with what each
// relocated field leads to. It returns the first difference, or nil.
func (v *checker) compare(s *section, base uint64, visit func(i int, d *decoded)) *difference {
	if s.outside {
		return nil
	}
	if s.typ == uint32(elf.SHT_NOBITS) {
		return v.compareZero(s, base)
	}
	if s.elastic {
		if v.out.section(base) == nil {
			return &difference{-1, fmt.Sprintf("should be at 0x%x, which is not in the output", base)}
		}
		return nil
	}
	out, zero, ok := v.out.at(base, s.size)
	if zero && allZero(s.data) && len(s.relocs) == 0 {
		return nil // a script put it where nothing is loaded
	}
	if s.size > 0 && (!ok || zero) {
		return &difference{-1, fmt.Sprintf("should be at 0x%x, where the output has no %d bytes", base, s.size)}
	}
	var first *difference
	note := func(off int64, format string, args ...any) {
		if first == nil {
			first = &difference{off, fmt.Sprintf(format, args...)}
		}
	}
	gap := func(lo, hi int64) {
		if first != nil || lo >= hi {
			return
		}
		was, is := s.data[lo:hi], out[lo:hi]
		if bytes.Equal(was, is) {
			return
		}
		i := 0
		for was[i] == is[i] {
			i++
		}
		end := min(i+8, len(was))
		note(lo+int64(i), "holds %x at 0x%x, the original %x", is[i:end], base+uint64(lo)+uint64(i), was[i:end])
	}
	pos := int64(0)
	c := site{sec: s, out: out, base: base}
	for i := 0; i < len(s.relocs); i++ {
		c.i = i
		d := v.arch.decode(v, &c)
		gap(pos, d.lo)
		pos = max(pos, d.hi)
		if d.bad != "" {
			note(int64(s.relocs[i].off), "%s", d.bad)
		}
		if visit != nil {
			visit(i, &d)
		} else if first != nil {
			return first
		}
		i += d.more
	}
	gap(pos, int64(len(s.data)))
	return first
}

func (v *checker) compareZero(s *section, base uint64) *difference {
	if s.tls() {
		if s.size > 0 && (base < v.out.tlsStart || base+s.size > v.out.tlsEnd) {
			return &difference{-1, fmt.Sprintf("should be at 0x%x, outside the thread-local block", base)}
		}
		return nil
	}
	if s.size == 0 {
		return nil
	}
	out, zero, ok := v.out.at(base, s.size)
	if !ok {
		return &difference{-1, fmt.Sprintf("should be at 0x%x, where the output has no %d bytes", base, s.size)}
	}
	if !zero {
		for i, b := range out {
			if b != 0 {
				return &difference{int64(i), fmt.Sprintf("holds %x at 0x%x, where the original is zero", b, base+uint64(i))}
			}
		}
	}
	return nil
}

// holds says that the output at base may well be the section: cheap enough to ask of every candidate address.
func (v *checker) holds(s *section, base uint64) bool {
	if s.fate == Thunk {
		_, _, ok := v.arch.jump(v.out, base, s.data)
		return ok
	}
	form, got, have := v.ldRelaxed, v.gotBase, v.haveGOT
	d := v.compare(s, base, nil)
	v.ldRelaxed, v.gotBase, v.haveGOT = form, got, have // a candidate teaches nothing
	return d == nil
}

// process compares a located section and follows what its fields lead to.
func (v *checker) process(s *section) {
	if s.done {
		return
	}
	s.done = true
	if s.doubtful {
		d := &difference{-1, "is not what it should be"}
		if s.fate == Thunk {
			b := v.out.tail(s.addr)
			d = &difference{0, fmt.Sprintf("should be a jump to %s, but 0x%x holds %x", s.leader.where(), s.addr, b[:min(9, len(b))])}
		} else if e := v.compare(s, s.addr, nil); e != nil {
			d = e
		}
		v.fail(s, d.off, "%s (placed by %s)", d.what, s.why)
		return
	}
	if s.fate == Thunk {
		v.processThunk(s)
		return
	}
	if s.outside {
		return
	}
	if s.elastic {
		v.res.Elastic++
		return
	}
	v.res.Sections++
	v.res.Bytes += s.size
	if s.code() {
		v.res.Functions++
	}
	d := v.compare(s, s.addr, func(i int, d *decoded) {
		r := &s.relocs[i]
		v.res.Relocs++
		if d.relaxed {
			v.res.Relaxed++
		}
		switch {
		case d.kind == leadSkipped:
			v.res.Skipped++
		case d.kind != leadNowhere && d.bad == "":
			v.settle(use{from: s, off: int64(r.off), index: i, target: &s.obj.targets[r.sym], addend: r.addend, lead: *d,
				call: s.code() && v.arch.call(s, r)})
		}
	})
	if d != nil {
		v.fail(s, d.off, "%s (placed by %s)", d.what, s.why)
	}
	v.checkDynamic(s)
	for _, f := range s.fdes {
		v.checkFDE(f)
	}
	v.checkExidx(s)
}

// checkDynamic: a dynamic relocation where the original has none would change bytes after the fact.
func (v *checker) checkDynamic(s *section) {
	at := v.out.relocAt
	i := sort.Search(len(at), func(i int) bool { return at[i] >= s.addr })
	for ; i < len(at) && at[i] < s.addr+s.size; i++ {
		if s.tls() && s.typ == uint32(elf.SHT_NOBITS) {
			return
		}
		off := at[i] - s.addr
		j := sort.Search(len(s.relocs), func(j int) bool { return s.relocs[j].off >= off })
		if j == len(s.relocs) || s.relocs[j].off != off {
			v.fail(s, int64(off), "the output has a dynamic relocation here, the original none")
		}
	}
}

func (v *checker) processThunk(s *section) {
	to, size, ok := v.arch.jump(v.out, s.addr, s.data)
	if !ok {
		return // placed by something that it does not look like: reported
	}
	v.res.Thunks++
	v.settle(use{from: s, off: int64(size) - 4, index: -1, target: &target{kind: toSection, sec: s.leader, local: true}, call: true,
		lead: decoded{kind: leadPlace, place: place{addr: to}}})
	v.checkThunkFrames(s, size)
}
