package report

import "fmt"

var kindNames = [NumKinds]string{
	KindCode: "code", KindRodata: "rodata", KindRelro: "relro", KindData: "data", KindBSS: "bss", KindTLS: "tls",
	KindTBSS: "tbss", KindLSDA: "lsda", KindUnwind: "unwind", KindInit: "init", KindNote: "note", KindOther: "other",
}

var fateNames = [numFates]string{
	FateKept: "kept", FateFolded: "folded", FateThunk: "thunk", FateDropped: "dropped", FateIneligible: "ineligible",
}

var inputFateNames = [numInputFates]string{
	InputUnchanged: "unchanged", InputRewritten: "rewritten", InputAlone: "alone",
}

// String returns the kind's name in the file, "code" for KindCode.
func (k Kind) String() string {
	if k < NumKinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// String returns the fate's name in the file, "kept" for FateKept.
func (f Fate) String() string {
	if f < numFates {
		return fateNames[f]
	}
	return fmt.Sprintf("fate %d", uint8(f))
}

// String returns the fate's name in the file, "rewritten" for InputRewritten.
func (f InputFate) String() string {
	if f < numInputFates {
		return inputFateNames[f]
	}
	return fmt.Sprintf("input fate %d", uint8(f))
}

// Live says whether something reaches the section, folded or not.
func (s *Section) Live() bool { return s.Fate != FateDropped }

// InOutput says whether the section, or a jump in its place, is in the output.
func (s *Section) InOutput() bool {
	return s.Fate == FateKept || s.Fate == FateIneligible || s.Fate == FateThunk
}

// After returns the bytes that remain of the section itself.
func (s *Section) After() uint64 {
	switch s.Fate {
	case FateKept, FateIneligible:
		return s.Size
	case FateThunk:
		return s.NewSize
	}
	return 0
}

// AfterFDE returns the bytes that remain of the section's FDEs.
func (s *Section) AfterFDE() uint64 {
	switch s.Fate {
	case FateKept, FateIneligible:
		return s.FDE
	case FateThunk:
		return s.NewFDE
	}
	return 0
}

// Sum returns the bytes of all kinds.
func (b *Bytes) Sum() uint64 {
	var n uint64
	for _, v := range b {
		n += v
	}
	return n
}

// InFile returns the bytes of all kinds that occupy space in the file.
func (b *Bytes) InFile() uint64 { return b.Sum() - b[KindBSS] - b[KindTBSS] }

// Tally computes Totals and the Defined of sections that have none. It is
// called when Inputs and Sections are complete.
func (r *Report) Tally() {
	crates := r.Crates()
	for i := range r.Sections {
		if s := &r.Sections[i]; s.Defined == "" {
			s.Defined = crates.OfSection(s)
		}
	}
	r.Totals = r.sum()
}

// sum adds up Sections and what Inputs count apart from them.
func (r *Report) sum() Totals {
	var t Totals
	for i := range r.Inputs {
		t.Dropped += r.Inputs[i].Dropped
		t.DroppedBytes += r.Inputs[i].DroppedBytes
	}
	for i := range r.Sections {
		s := &r.Sections[i]
		switch s.Fate {
		case FateDropped:
			t.Dropped++
			t.DroppedBytes += s.Size + s.FDE
			continue
		case FateFolded:
			t.Folded++
		case FateThunk:
			t.Thunks++
		}
		t.Before[s.Kind] += s.Size
		t.Before[KindUnwind] += s.FDE
		t.After[s.Kind] += s.After()
		t.After[KindUnwind] += s.AfterFDE()
	}
	return t
}

// Validate says whether the report is whole and agrees with itself: every
// index is in range, sections are in order, what is folded is folded into
// something that stays, the totals are the sums of the sections, and the
// output's sections add up. Its error names the first place where it is not.
func (r *Report) Validate() error {
	var last *Section
	for i := range r.Sections {
		s := &r.Sections[i]
		if err := r.validateSection(s, last); err != nil {
			return fmt.Errorf("report: section %d (%s): %w", i, s.Name, err)
		}
		last = s
	}
	for i, in := range r.Inputs {
		if in.Fate >= numInputFates {
			return fmt.Errorf("report: input %d (%s): no such fate: %d", i, in.Path, in.Fate)
		}
		if in.DroppedBytes > maxSectionSize {
			return fmt.Errorf("report: input %d (%s): %d bytes dropped: more than any file holds", i, in.Path, in.DroppedBytes)
		}
	}
	for i, root := range r.Roots {
		if !r.live(root.Section) {
			return fmt.Errorf("report: root %d: section %d is not live", i, root.Section)
		}
	}
	if err := r.validateEdges(); err != nil {
		return err
	}
	if t := r.sum(); t != r.Totals {
		return fmt.Errorf("report: totals are not the sum of the sections: %d bytes before and %d after, the sections have %d and %d",
			r.Totals.Before.Sum(), r.Totals.After.Sum(), t.Before.Sum(), t.After.Sum())
	}
	if t := &r.Totals; t.Before.Sum() < t.After.Sum() {
		return fmt.Errorf("report: %d bytes before, more after: %d", t.Before.Sum(), t.After.Sum())
	}
	var alloc uint64
	for _, s := range r.Output.Sections {
		if s.Alloc {
			alloc += s.File
		}
	}
	if alloc != r.Output.Alloc {
		return fmt.Errorf("report: output: %d allocated bytes, its sections have %d", r.Output.Alloc, alloc)
	}
	return nil
}

// validateSection checks one section; last is the one before it or nil.
func (r *Report) validateSection(s, last *Section) error {
	switch {
	case s.Input < 0 || int(s.Input) >= len(r.Inputs):
		return fmt.Errorf("no such input: %d", s.Input)
	case last != nil && (s.Input < last.Input || s.Input == last.Input && s.Index <= last.Index):
		return fmt.Errorf("out of order: input %d, index %d after input %d, index %d", s.Input, s.Index, last.Input, last.Index)
	case s.Kind >= NumKinds:
		return fmt.Errorf("no such kind: %d", s.Kind)
	case s.Fate >= numFates:
		return fmt.Errorf("no such fate: %d", s.Fate)
	case s.Size > maxSectionSize || s.FDE > maxSectionSize:
		return fmt.Errorf("size %d, FDEs %d: more than any file holds", s.Size, s.FDE)
	case s.Align&(s.Align-1) != 0:
		return fmt.Errorf("alignment %d is not a power of two", s.Align)
	}
	if s.Fate == FateFolded || s.Fate == FateThunk {
		if s.Into < 0 || int(s.Into) >= len(r.Sections) {
			return fmt.Errorf("%v into no such section: %d", s.Fate, s.Into)
		}
		into := &r.Sections[s.Into]
		if into.Fate != FateKept && into.Fate != FateIneligible {
			return fmt.Errorf("%v into section %d, which is %v", s.Fate, s.Into, into.Fate)
		}
		if into.Kind != s.Kind {
			return fmt.Errorf("%v section %v into %v", s.Kind, s.Fate, into.Kind)
		}
	} else if s.Into != None {
		return fmt.Errorf("%v, yet stands for section %d", s.Fate, s.Into)
	}
	if s.Fate == FateThunk {
		if s.NewSize == 0 || s.NewSize > s.Size || s.NewFDE > s.FDE {
			return fmt.Errorf("a jump of %d bytes and %d of FDEs for %d and %d", s.NewSize, s.NewFDE, s.Size, s.FDE)
		}
	} else if s.NewSize != 0 || s.NewFDE != 0 {
		return fmt.Errorf("%v, yet has a new size", s.Fate)
	}
	if (s.Reason != "") != (s.Fate == FateDropped || s.Fate == FateIneligible) {
		return fmt.Errorf("%v with reason %q", s.Fate, s.Reason)
	}
	return nil
}

// maxSectionSize keeps sums of sizes from overflowing: 2^24 sections of 2^39
// bytes are still in range.
const maxSectionSize = 1 << 39

func (r *Report) live(i SectionIndex) bool {
	return i >= 0 && int(i) < len(r.Sections) && r.Sections[i].Live()
}

func (r *Report) validateEdges() error {
	e := &r.Edges
	if len(e.Start) == 0 {
		if len(e.To) != 0 {
			return fmt.Errorf("report: edges without Start")
		}
		return nil
	}
	if len(e.Start) != len(r.Sections)+1 || e.Start[0] != 0 || int(e.Start[len(r.Sections)]) != len(e.To) {
		return fmt.Errorf("report: edges: Start does not fit %d sections and %d targets", len(r.Sections), len(e.To))
	}
	for i := range r.Sections {
		if e.Start[i] > e.Start[i+1] {
			return fmt.Errorf("report: edges: Start is not ascending at section %d", i)
		}
	}
	for i := range r.Sections {
		to := e.Of(SectionIndex(i))
		if len(to) > 0 && !r.Sections[i].Live() {
			return fmt.Errorf("report: edges: section %d was dropped, yet refers to others", i)
		}
		for k, t := range to {
			if !r.live(t) {
				return fmt.Errorf("report: edges: section %d refers to %d, which is not live", i, t)
			}
			if k > 0 && t <= to[k-1] {
				return fmt.Errorf("report: edges: targets of section %d are not ascending", i)
			}
		}
	}
	return nil
}
