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

// Tally computes Totals, and the Defined of sections that have none. It is
// called when Inputs and Sections are complete.
func (r *Report) Tally() {
	r.define()
	r.Totals = Totals{}
	for i := range r.Inputs {
		r.Totals.Dropped += r.Inputs[i].Dropped
		r.Totals.DroppedBytes += r.Inputs[i].DroppedBytes
	}
	for i := range r.Sections {
		r.Totals.add(&r.Sections[i])
	}
}

// define finds out which crates the sections come from.
func (r *Report) define() {
	crates := r.Crates()
	for i := range r.Sections {
		if s := &r.Sections[i]; s.Defined == "" {
			s.Defined = crates.OfSection(s)
		}
	}
}

// add adds a section.
func (t *Totals) add(s *Section) {
	switch s.Fate {
	case FateDropped:
		t.Dropped++
		t.DroppedBytes += s.Size + s.FDE
		return
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

// Validate says whether the report is whole and agrees with itself: every
// index is in range, sections are in order, what is folded is folded into
// something that stays, the totals are the sums of the sections, and the
// output's sections add up. Its error names the first place where it is not.
func (r *Report) Validate() error {
	k := newSkeleton(len(r.Sections))
	for i := range r.Sections {
		if err := k.add(&r.Sections[i], len(r.Inputs), len(r.Sections)); err != nil {
			return err
		}
	}
	if err := k.end(r, r.Rows()); err != nil {
		return err
	}
	if err := r.validateEdges(k); err != nil {
		return err
	}
	if k.totals != r.Totals {
		return fmt.Errorf("report: totals are not the sum of the sections: %d bytes before and %d after, the sections have %d and %d",
			r.Totals.Before.Sum(), r.Totals.After.Sum(), k.totals.Before.Sum(), k.totals.After.Sum())
	}
	return r.Output.validate()
}

func (o *Output) validate() error {
	var alloc uint64
	for _, s := range o.Sections {
		if s.Alloc {
			alloc += s.File
		}
	}
	if alloc != o.Alloc {
		return fmt.Errorf("report: output: %d allocated bytes, its sections have %d", o.Alloc, alloc)
	}
	return nil
}

func (r *Report) validateEdges(k *skeleton) error {
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
		if err := k.checkTargets(SectionIndex(i), e.Of(SectionIndex(i))); err != nil {
			return err
		}
	}
	return nil
}
