package merge

import (
	"sort"

	"leanlink/objfile"
)

// fdeRef is one frame entry of a function.
type fdeRef struct {
	section uint32 // of the function
	frame   uint32 // index into Object.frames
	fde     uint32 // index into EhFrame.FDEs
	// begin is the rank, in order of offsets, of the relocation of the
	// function's address among those of the .eh_frame section.
	begin uint32
	lsda  int32 // index of the LSDA's relocation there, −1 if none
}

// cieRef is what is relocated of common information.
type cieRef struct {
	personality int32 // index of the relocation of its personality, −1 if none
	more        bool  // something else is relocated, too
}

// attachFrames finds the function of each frame entry, by the relocation of
// its first address.
func (l *Link) attachFrames(o *Object) {
	f := o.File
	o.fdeStart = make([]uint32, len(f.Sections)+1)
	count := 0
	for _, eh := range o.frames {
		count += len(eh.FDEs)
	}
	o.fdes = make([]fdeRef, 0, count)
	for k, eh := range o.frames {
		rs := f.Relocs(eh.Section)
		at := relocIndex(rs)
		o.frameRelocs = append(o.frameRelocs, at)
		o.cies = append(o.cies, readCIEs(eh, at))
		n := 0
		for i := range eh.FDEs {
			fde := &eh.FDEs[i]
			n = at.from(n, fde.PCBegin())
			if !at.isAt(n, fde.PCBegin()) {
				continue // GNU as leaves an FDE of a discarded section like this
			}
			s := f.Symbol(rs.Sym(at.nth(n)))
			if !s.Defined() {
				o.leave("a frame entry for a function that is not in the object")
				continue
			}
			ref := fdeRef{section: s.Section, frame: uint32(k), fde: uint32(i), begin: uint32(n), lsda: -1}
			if fde.LSDA() != 0 {
				if n = at.from(n, fde.LSDA()); at.isAt(n, fde.LSDA()) {
					ref.lsda = int32(at.nth(n))
				}
			}
			o.fdes = append(o.fdes, ref)
		}
	}
	sort.SliceStable(o.fdes, func(a, b int) bool { return o.fdes[a].section < o.fdes[b].section })
	for _, r := range o.fdes {
		o.fdeStart[r.section+1]++
	}
	for i := 1; i < len(o.fdeStart); i++ {
		o.fdeStart[i] += o.fdeStart[i-1]
	}
}

// readCIEs finds what is relocated of a table's common information.
func readCIEs(eh *objfile.EhFrame, at relocsByOffset) []cieRef {
	refs := make([]cieRef, len(eh.CIEs))
	for i := range eh.CIEs {
		cie, ref := &eh.CIEs[i], &refs[i]
		ref.personality = -1
		for n := at.first(cie.Offset); n < at.rs.Len(); n++ {
			off := at.offset(n)
			if off >= cie.End {
				break
			}
			ref.more = ref.more || off != cie.Personality
		}
		if cie.Personality != 0 {
			if k, ok := at.find(cie.Personality); ok {
				ref.personality = int32(k)
			}
		}
	}
	return refs
}

// framesOf returns the frame entries of a section's functions.
func (o *Object) framesOf(section uint32) []fdeRef {
	return o.fdes[o.fdeStart[section]:o.fdeStart[section+1]]
}

// commonOf returns what is relocated of a frame entry's common information.
func (o *Object) commonOf(ref fdeRef) cieRef {
	return o.cies[ref.frame][o.frames[ref.frame].FDEs[ref.fde].CIE]
}

// innerRelocs lists the relocations of a frame entry but for those of the
// function's address and the LSDA: where linkers shorten code, the function's
// size and the places of its rows are differences between labels in it.
func (o *Object) innerRelocs(ref fdeRef) (list []int) {
	fde, x := &o.frames[ref.frame].FDEs[ref.fde], o.frameRelocs[ref.frame]
	n := int(ref.begin)
	for n > 0 && x.offset(n-1) >= fde.Offset() {
		n--
	}
	for ; n < x.rs.Len(); n++ {
		switch off := x.offset(n); {
		case off >= fde.End():
			return list
		case off != fde.PCBegin() && (off != fde.LSDA() || fde.LSDA() == 0):
			list = append(list, x.nth(n))
		}
	}
	return list
}

// relocsByOffset finds relocations by the place they change.
type relocsByOffset struct {
	rs    objfile.Relocs
	order []uint32 // nil where the table is sorted as it stands
}

func relocIndex(rs objfile.Relocs) relocsByOffset {
	x := relocsByOffset{rs: rs}
	last := uint64(0)
	sorted := true
	for i := range rs.Len() {
		if off := rs.Offset(i); off < last {
			sorted = false
			break
		} else {
			last = off
		}
	}
	if !sorted {
		x.order = make([]uint32, rs.Len())
		for i := range x.order {
			x.order[i] = uint32(i)
		}
		sort.SliceStable(x.order, func(a, b int) bool { return rs.Offset(int(x.order[a])) < rs.Offset(int(x.order[b])) })
	}
	return x
}

func (x relocsByOffset) nth(i int) int {
	if x.order != nil {
		return int(x.order[i])
	}
	return i
}

// first returns the rank, in order of offsets, of the first relocation at or
// behind off.
func (x relocsByOffset) first(off uint64) int {
	return sort.Search(x.rs.Len(), func(i int) bool { return x.offset(i) >= off })
}

// find returns the index of the relocation at off.
func (x relocsByOffset) find(off uint64) (int, bool) {
	i := x.first(off)
	if x.isAt(i, off) {
		return x.nth(i), true
	}
	return 0, false
}

// offset is the offset of the relocation of a rank.
func (x relocsByOffset) offset(i int) uint64 { return x.rs.Offset(x.nth(i)) }

// isAt reports whether the relocation of a rank, if there is one, is at off.
func (x relocsByOffset) isAt(i int, off uint64) bool { return i < x.rs.Len() && x.offset(i) == off }

// from is first for who goes through places in order: the one before was of
// rank i.
func (x relocsByOffset) from(i int, off uint64) int {
	for i < x.rs.Len() && x.offset(i) < off {
		i++
	}
	return i
}
