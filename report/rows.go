package report

import (
	"fmt"
	"math/bits"
)

// Rows are the sections of a report one at a time, for a writer that need not
// have all of them in memory at once.
type Rows struct {
	Len int
	// Section sets s to section i. What s refers to is good until the next call.
	Section func(i SectionIndex, s *Section)
	// Targets appends the sections that section i refers to, ascending and each
	// once. It is nil if the report has no Edges.
	Targets func(i SectionIndex, to []SectionIndex) []SectionIndex
}

// Rows returns the sections of a report that has them in memory.
func (r *Report) Rows() Rows {
	rows := Rows{Len: len(r.Sections), Section: func(i SectionIndex, s *Section) { *s = r.Sections[i] }}
	if len(r.Edges.Start) > 0 {
		rows.Targets = func(i SectionIndex, to []SectionIndex) []SectionIndex { return append(to, r.Edges.Of(i)...) }
	}
	return rows
}

// skeleton is what is kept of every section that has gone by: what others are
// checked against, and what tells its address.
type skeleton struct {
	// Indexed by SectionIndex.
	fate  []Fate
	kind  []Kind
	align []uint8  // the power of two
	bytes []uint64 // that remain of it; of a dropped one, those that it had
	into  []SectionIndex
	class []uint32 // 0 of what folds or was dropped
	shape []uint32 // the same

	referred []bool   // some section refers to it; nil if none does
	dropped  []uint64 // bytes of the dropped sections

	astray bool       // something is wrong with what a section refers to
	input  InputIndex // of the last section
	last   uint32     // its Index
	totals Totals
	sums   Sums
}

// Sums are what can be said of an output before it is there.
type Sums struct {
	After  Bytes  // bytes of its sections, with what their alignment takes
	Framed uint64 // sections in it that have FDEs
	// Symbols and NameBytes count the symbols of live sections, folded or not,
	// and the bytes of their names.
	Symbols, NameBytes uint64
}

func newSkeleton(n int) *skeleton {
	return &skeleton{
		fate: make([]Fate, 0, n), kind: make([]Kind, 0, n), align: make([]uint8, 0, n), bytes: make([]uint64, 0, n),
		into: make([]SectionIndex, 0, n), class: make([]uint32, 0, n), shape: make([]uint32, 0, n),
	}
}

// add takes the next section of inputs inputs, or says what is wrong with it by
// itself.
func (k *skeleton) add(s *Section, inputs, sections int) error {
	n := len(k.fate)
	if err := k.check(s, inputs, sections); err != nil {
		return fmt.Errorf("report: section %d (%s): %w", n, s.Name, err)
	}
	k.input, k.last = s.Input, s.Index
	bytes, class, shape := s.After(), s.Class, s.Shape
	if s.Fate == FateDropped {
		bytes = s.Size
		k.dropped = append(k.dropped, bytes)
	}
	if s.Fate == FateDropped || s.Fate == FateFolded {
		class, shape = 0, 0
	}
	k.fate, k.kind, k.align, k.bytes, k.into = append(k.fate, s.Fate), append(k.kind, s.Kind), append(k.align, uint8(bits.TrailingZeros64(max(s.Align, 1)))), append(k.bytes, bytes), append(k.into, s.Into)
	k.class, k.shape = append(k.class, class), append(k.shape, shape)
	k.totals.add(s)
	k.sums.After[s.Kind] += roundUp(s.After(), max(s.Align, 1))
	k.sums.After[KindUnwind] += s.AfterFDE()
	if s.Live() {
		k.sums.Symbols += uint64(len(s.Symbols))
		for i := range s.Symbols {
			k.sums.NameBytes += uint64(len(s.Symbols[i].Name))
		}
	}
	if s.FDE > 0 && s.InOutput() {
		k.sums.Framed++
	}
	return nil
}

// check checks a section by itself and against the one before it.
func (k *skeleton) check(s *Section, inputs, sections int) error {
	switch {
	case s.Input < 0 || int(s.Input) >= inputs:
		return fmt.Errorf("no such input: %d", s.Input)
	case len(k.fate) > 0 && (s.Input < k.input || s.Input == k.input && s.Index <= k.last):
		return fmt.Errorf("out of order: input %d, index %d after input %d, index %d", s.Input, s.Index, k.input, k.last)
	case s.Kind >= NumKinds:
		return fmt.Errorf("no such kind: %d", s.Kind)
	case s.Fate >= numFates:
		return fmt.Errorf("no such fate: %d", s.Fate)
	case s.Size > maxSectionSize || s.FDE > maxSectionSize:
		return fmt.Errorf("size %d, FDEs %d: more than any file holds", s.Size, s.FDE)
	case s.Align&(s.Align-1) != 0:
		return fmt.Errorf("alignment %d is not a power of two", s.Align)
	}
	stands := s.Fate == FateFolded || s.Fate == FateThunk
	switch {
	case stands && (s.Into < 0 || int(s.Into) >= sections):
		return fmt.Errorf("%v into no such section: %d", s.Fate, s.Into)
	case !stands && s.Into != None:
		return fmt.Errorf("%v, yet stands for section %d", s.Fate, s.Into)
	case s.Fate == FateThunk && (s.NewSize == 0 || s.NewSize > s.Size || s.NewFDE > s.FDE):
		return fmt.Errorf("a jump of %d bytes and %d of FDEs for %d and %d", s.NewSize, s.NewFDE, s.Size, s.FDE)
	case s.Fate != FateThunk && (s.NewSize != 0 || s.NewFDE != 0):
		return fmt.Errorf("%v, yet has a new size", s.Fate)
	case (s.Reason != "") != (s.Fate == FateDropped || s.Fate == FateIneligible):
		return fmt.Errorf("%v with reason %q", s.Fate, s.Reason)
	}
	return nil
}

// maxSectionSize keeps sums of sizes from overflowing: 2^24 sections of 2^39
// bytes are still in range.
const maxSectionSize = 1 << 39

// end is called when all sections have been added. It checks what they say of
// each other.
func (k *skeleton) end(r *Report, rows Rows) error {
	for i, into := range k.into {
		if into == None {
			continue
		}
		var err error
		switch {
		case k.fate[into] != FateKept && k.fate[into] != FateIneligible:
			err = fmt.Errorf("%v into section %d, which is %v", k.fate[i], into, k.fate[into])
		case k.kind[into] != k.kind[i]:
			err = fmt.Errorf("%v section %v into %v", k.kind[i], k.fate[i], k.kind[into])
		default:
			continue
		}
		var s Section
		rows.Section(SectionIndex(i), &s)
		return fmt.Errorf("report: section %d (%s): %w", i, s.Name, err)
	}
	if err := k.endEdges(rows); err != nil {
		return err
	}
	for i := range r.Inputs {
		in := &r.Inputs[i]
		if in.Fate >= numInputFates {
			return fmt.Errorf("report: input %d (%s): no such fate: %d", i, in.Path, in.Fate)
		}
		if in.DroppedBytes > maxSectionSize {
			return fmt.Errorf("report: input %d (%s): %d bytes dropped: more than any file holds", i, in.Path, in.DroppedBytes)
		}
		k.totals.Dropped += in.Dropped
		k.totals.DroppedBytes += in.DroppedBytes
	}
	for i, root := range r.Roots {
		if !k.live(root.Section) {
			return fmt.Errorf("report: root %d: section %d is not live", i, root.Section)
		}
	}
	if t := &k.totals; t.Before.Sum() < t.After.Sum() {
		return fmt.Errorf("report: %d bytes before, more after: %d", t.Before.Sum(), t.After.Sum())
	}
	return nil
}

func (k *skeleton) live(i SectionIndex) bool {
	return i >= 0 && int(i) < len(k.fate) && k.fate[i] != FateDropped
}

// stays says whether a section or what stands in its place is in the output, if
// only with no bytes.
func (k *skeleton) stays(i SectionIndex) bool {
	f := k.fate[i]
	return f == FateKept || f == FateIneligible || f == FateThunk
}

// inOutput says whether a section or what stands in its place has bytes in the
// output.
func (k *skeleton) inOutput(i SectionIndex) bool {
	return k.stays(i) && k.bytes[i] > 0
}

// refer takes what the section that was last added refers to.
func (k *skeleton) refer(to []SectionIndex) {
	if len(to) == 0 {
		return
	}
	i := SectionIndex(len(k.fate) - 1)
	if k.referred == nil {
		k.referred = make([]bool, cap(k.fate))
	}
	k.astray = k.astray || k.fate[i] == FateDropped
	last := None
	for _, t := range to {
		if t <= last || int(t) >= len(k.referred) {
			k.astray = true
			break
		}
		k.referred[t], last = true, t
	}
}

// endEdges checks what refer was told, once all sections have been added.
func (k *skeleton) endEdges(rows Rows) error {
	for i, is := range k.referred {
		k.astray = k.astray || is && !k.live(SectionIndex(i))
	}
	if !k.astray {
		return nil
	}
	var to []SectionIndex
	for i := range SectionIndex(rows.Len) {
		to = rows.Targets(i, to[:0])
		if err := k.checkTargets(i, to); err != nil {
			return err
		}
	}
	return nil
}

// checkTargets checks what section i refers to.
func (k *skeleton) checkTargets(i SectionIndex, to []SectionIndex) error {
	if len(to) > 0 && !k.live(i) {
		return fmt.Errorf("report: edges: section %d was dropped, yet refers to others", i)
	}
	for n, t := range to {
		if !k.live(t) {
			return fmt.Errorf("report: edges: section %d refers to %d, which is not live", i, t)
		}
		if n > 0 && t <= to[n-1] {
			return fmt.Errorf("report: edges: targets of section %d are not ascending", i)
		}
	}
	return nil
}
