package report

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"

	"github.com/klauspost/compress/gzip"
)

// Errors that Read returns, wrapped.
var (
	ErrNotReport = errors.New("not a leanlink report")
	ErrTruncated = errors.New("truncated or damaged report")
	ErrSchema    = errors.New("report of another schema version")
)

// maxSize bounds what a report may unfold to, in bytes: it is an input like
// any other and may lie. A report of a 30 MB program has about 15 MB. It is a
// variable for tests.
var maxSize int64 = 256 << 20

// ReadFile reads the report in a file. Its errors are one line that begins
// with the path.
func ReadFile(path string) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	r, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Read reads what Write wrote, or the same unpacked. The report it returns has
// passed Validate.
func Read(in io.Reader) (*Report, error) {
	b := bufio.NewReader(in)
	head, err := b.Peek(2)
	if err != nil && err != io.EOF {
		return nil, damaged(err)
	}
	var unpacked io.Reader = b
	switch {
	case len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b:
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, damaged(err)
		}
		unpacked = z
	case len(head) > 0 && head[0] == '{':
	case len(head) == 0:
		return nil, fmt.Errorf("%w: the file is empty", ErrTruncated)
	default:
		return nil, ErrNotReport
	}
	text, err := io.ReadAll(io.LimitReader(unpacked, maxSize+1))
	if err != nil {
		return nil, damaged(err)
	}
	if int64(len(text)) > maxSize {
		return nil, fmt.Errorf("%w: it unfolds to more than %d bytes", ErrNotReport, maxSize)
	}
	return decode(text)
}

func damaged(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) { // such as "is a directory"
		return fmt.Errorf("reading: %w", pe.Err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrTruncated)
	}
	return fmt.Errorf("%w: %v", ErrTruncated, err)
}

// The file's objects, field by field as encode writes them.
type (
	fileReport struct {
		Format  string
		Schema  int
		Tool    string
		Stamp   string
		Command []string
		Modes   Modes
		Output  fileOutput
		Totals  fileTotals
		Omitted []string
		Inputs  []fileInput
		Kinds   []string
		Fates   []string
		Strings []string
		Names   struct {
			Text, Tail, Number column
			Hashes             []byte // base64 in the file
		}
		Sections fileSections
		Symbols  struct{ Name, Offset, Size column }
		Roots    []fileRoot
		Edges    *struct{ Count, To column }
	}
	fileOutput struct {
		Name        string
		Size, Alloc uint64
		BuildID     string `json:"build_id"`
		XXH3        string
		Stripped    bool
		Mapped      bool
		Sections    []OutputSection
	}
	fileTotals struct {
		Before, After           map[string]uint64
		Folded, Thunks, Dropped uint32
		DroppedBytes            uint64 `json:"dropped_bytes"`
	}
	fileInput struct {
		Path, Member, Crate string
		Size                uint64
		Fate, Reason        string
		Sections, Dropped   uint32
		DroppedBytes        uint64 `json:"dropped_bytes"`
	}
	fileSections struct {
		Index, Prefix, Suffix, Size, Align, Kind, Fate, Reason, Into, Jump column
		JumpFDE                                                            column `json:"jump_fde"`
		FDE, LSDA, Class, Shape, Addr, Symbols                             column
	}
	fileRoot struct {
		Section SectionIndex
		Why     string
	}
)

// decode is the inverse of encode.
func decode(b []byte) (*Report, error) {
	var f fileReport
	err := json.Unmarshal(b, &f)
	if err != nil {
		// Which of the three errors it is depends on what can still be read.
		var head struct {
			Format string
			Schema int
		}
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("%w: %v at byte %d", ErrTruncated, err, syntax.Offset)
		}
		if json.Unmarshal(b, &head); head.Format == formatName && head.Schema == Schema {
			return nil, fmt.Errorf("%w: %v", ErrTruncated, err)
		}
		f.Format, f.Schema = head.Format, head.Schema
	}
	if f.Format != formatName {
		return nil, ErrNotReport
	}
	if f.Schema != Schema {
		return nil, fmt.Errorf("%w: it has version %d, this program reads version %d", ErrSchema, f.Schema, Schema)
	}
	d := decoder{f: &f}
	r := d.report()
	if d.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTruncated, d.err)
	}
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	r.define()
	return r, nil
}

// decoder turns columns back into rows. The first thing that is wrong is kept
// in err, and what follows is not looked at.
type decoder struct {
	f     *fileReport
	names []string
	err   error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *decoder) report() *Report {
	f := d.f
	r := &Report{Tool: d.text(f.Tool), Command: d.texts(f.Command), Stamp: d.text(f.Stamp), Modes: f.Modes, Omitted: d.texts(f.Omitted)}
	m := &r.Modes
	for _, s := range []*string{&m.Fold, &m.Linker, &m.Style, &m.Triple, &m.Machine, &m.Profile, &m.Package} {
		*s = d.text(*s)
	}
	m.Keep = d.texts(m.Keep)
	m.Trims = d.texts(m.Trims)
	o := &f.Output
	r.Output = Output{Name: d.text(o.Name), Size: o.Size, Alloc: o.Alloc, BuildID: d.text(o.BuildID), Hash: d.text(o.XXH3),
		Stripped: o.Stripped, Mapped: o.Mapped, Sections: o.Sections}
	for i := range o.Sections {
		o.Sections[i].Name = d.text(o.Sections[i].Name)
	}
	if len(r.Output.Sections) == 0 {
		r.Output.Sections = nil
	}
	r.Totals = Totals{Before: d.bytes(f.Totals.Before), After: d.bytes(f.Totals.After), Folded: f.Totals.Folded,
		Thunks: f.Totals.Thunks, Dropped: f.Totals.Dropped, DroppedBytes: f.Totals.DroppedBytes}
	d.inputs(r)
	f.Strings = d.texts(f.Strings)
	d.readNames()
	d.sections(r)
	for _, root := range f.Roots {
		r.Roots = append(r.Roots, Root{root.Section, d.text(root.Why)})
	}
	d.edges(r)
	return r
}

func (d *decoder) text(s string) string {
	s, err := plainText(s)
	if err != nil {
		d.fail("%w", err)
	}
	return s
}

func (d *decoder) texts(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	for i, s := range list {
		list[i] = d.text(s)
	}
	return list
}

// kind returns the Kind of a name; one that a later version added is other.
func kindOf(name string) Kind {
	for k, s := range kindNames {
		if s == name {
			return Kind(k)
		}
	}
	return KindOther
}

func (d *decoder) bytes(m map[string]uint64) Bytes {
	var b Bytes
	for name, v := range m {
		b[kindOf(name)] += v
	}
	return b
}

func (d *decoder) inputs(r *Report) {
	for i := range d.f.Inputs {
		in := &d.f.Inputs[i]
		fate := numInputFates
		for k, s := range inputFateNames {
			if s == in.Fate {
				fate = InputFate(k)
			}
		}
		if fate == numInputFates {
			d.fail("input %d: no such fate: %q", i, in.Fate)
		}
		r.Inputs = append(r.Inputs, Input{Path: d.text(in.Path), Member: d.text(in.Member), Crate: d.text(in.Crate), Size: in.Size, Fate: fate, Reason: d.text(in.Reason),
			Dropped: in.Dropped, DroppedBytes: in.DroppedBytes})
	}
}

// readNames puts the names together again: strings and their tails.
func (d *decoder) readNames() {
	f := &d.f.Names
	n := len(f.Text)
	if len(f.Tail) != n {
		d.fail("names: %d texts, %d tails", n, len(f.Tail))
		return
	}
	d.names = make([]string, n)
	var total, base, number int64
	hashes := f.Hashes
	for i := range n {
		base += f.Text[i]
		s := d.str("names", base)
		switch f.Tail[i] {
		case tailNone:
		case tailHash:
			if len(hashes) < 8 {
				d.fail("names: too few hashes")
				return
			}
			s += "17h" + hex.EncodeToString(hashes[:8]) + "E"
			hashes = hashes[8:]
		case tailNumber:
			if len(f.Number) == 0 {
				d.fail("names: too few numbers")
				return
			}
			number += f.Number[0]
			f.Number = f.Number[1:]
			s += strconv.FormatInt(number, 10)
		default:
			d.fail("names: no such tail: %d", f.Tail[i])
			return
		}
		d.names[i] = s
		if total += int64(len(s)); total > maxSize {
			d.fail("names: more than %d bytes", maxSize)
		}
		if d.err != nil {
			return
		}
	}
}

func (d *decoder) str(what string, i int64) string {
	if i < 0 || i >= int64(len(d.f.Strings)) {
		d.fail("%s: no such string: %d", what, i)
		return ""
	}
	return d.f.Strings[i]
}

func (d *decoder) name(what string, i int64) string {
	if i < 0 || i >= int64(len(d.names)) {
		d.fail("%s: no such name: %d", what, i)
		return ""
	}
	return d.names[i]
}

// within returns a value that must lie in 0 … limit.
func (d *decoder) within(what string, v, limit int64) int64 {
	if v < 0 || v > limit {
		d.fail("%s: %d is out of range", what, v)
		return 0
	}
	return v
}

func (d *decoder) sections(r *Report) {
	f := &d.f.Sections
	n := 0
	for _, in := range d.f.Inputs {
		n += int(in.Sections)
	}
	columns := [...]*column{&f.Index, &f.Prefix, &f.Suffix, &f.Size, &f.Align, &f.Kind, &f.Fate, &f.Reason, &f.Into, &f.Jump, &f.JumpFDE,
		&f.FDE, &f.LSDA, &f.Class, &f.Shape, &f.Addr, &f.Symbols}
	for _, c := range columns {
		if len(*c) != n {
			d.fail("sections: columns of %d and %d entries", n, len(*c))
			return
		}
	}
	symbols := d.symbols()
	r.Sections = make([]Section, n)
	var place placer
	var suffix, used, total int64
	classes, shapes := groupReader{}, groupReader{}
	nextInput, last, index := InputIndex(0), 0, int64(0)
	for i := range r.Sections {
		for i >= last && int(nextInput) < len(d.f.Inputs) {
			last += int(d.f.Inputs[nextInput].Sections)
			nextInput++
			index = 0
		}
		s := &r.Sections[i]
		s.Input = nextInput - 1
		index += f.Index[i]
		s.Index = uint32(d.within("index", index, math.MaxUint32))
		suffix += f.Suffix[i]
		s.Name = d.name("prefix", f.Prefix[i])
		if suffix != 0 {
			s.Name += d.name("suffix", suffix)
		}
		if total += int64(len(s.Name)); total > maxSize {
			d.fail("sections: names of more than %d bytes", maxSize)
		}
		s.Size = uint64(d.within("size", f.Size[i], math.MaxInt64))
		s.Align = uint64(d.within("align", f.Align[i], math.MaxInt64))
		if k := d.within("kind", f.Kind[i], int64(len(d.f.Kinds)-1)); d.err == nil {
			s.Kind = kindOf(d.f.Kinds[k])
		}
		if k := d.within("fate", f.Fate[i], int64(len(d.f.Fates)-1)); d.err == nil {
			s.Fate = d.fate(d.f.Fates[k])
		}
		s.Reason = Reason(d.str("reason", f.Reason[i]))
		s.Into = None
		if f.Into[i] != 0 {
			s.Into = SectionIndex(d.within("into", int64(i)-f.Into[i], int64(n-1)))
		}
		s.NewSize = uint64(d.within("jump", f.Jump[i], math.MaxInt64))
		s.NewFDE = uint64(d.within("jump_fde", f.JumpFDE[i], math.MaxInt64))
		s.FDE = uint64(d.within("fde", f.FDE[i], math.MaxInt64))
		s.LSDA = uint64(d.within("lsda", f.LSDA[i], math.MaxInt64))
		s.Class = classes.next(d, f.Class[i])
		s.Shape = shapes.next(d, f.Shape[i])
		if count := d.within("symbols", f.Symbols[i], int64(len(symbols))-used); count > 0 {
			s.Symbols = symbols[used : used+count : used+count]
			used += count
		}
		last := suffix
		for k := range s.Symbols {
			y := &s.Symbols[k]
			at := int(used) - len(s.Symbols) + k
			last += d.f.Symbols.Name[at]
			y.Name = d.name("symbols", last)
			y.Offset = uint64(d.within("symbols", d.f.Symbols.Offset[at], math.MaxInt64))
			if size := d.f.Symbols.Size[at]; size == -1 {
				y.Size = s.Size
			} else {
				y.Size = uint64(d.within("symbols", size, math.MaxInt64))
			}
		}
		place.decode(s, f.Addr[i])
		if d.err != nil {
			d.err = fmt.Errorf("section %d: %w", i, d.err)
			return
		}
	}
	if used != int64(len(symbols)) {
		d.fail("symbols: %d, sections have %d", len(symbols), used)
	}
	for i := range r.Sections {
		if s := &r.Sections[i]; s.Fate == FateFolded && s.Into != None {
			s.Class, s.Shape = r.Sections[s.Into].Class, r.Sections[s.Into].Shape
		}
	}
}

func (d *decoder) symbols() []Symbol {
	f := &d.f.Symbols
	if len(f.Offset) != len(f.Name) || len(f.Size) != len(f.Name) {
		d.fail("symbols: columns of %d, %d and %d entries", len(f.Name), len(f.Offset), len(f.Size))
		return nil
	}
	return make([]Symbol, len(f.Name))
}

func (d *decoder) fate(name string) Fate {
	for k, s := range fateNames {
		if s == name {
			return Fate(k)
		}
	}
	d.fail("no such fate: %q", name)
	return FateKept
}

// groupReader is the inverse of groupWriter.
type groupReader struct{ newest int64 }

func (g *groupReader) next(d *decoder, v int64) uint32 {
	switch {
	case v == 0:
		return 0
	case v == 1:
		g.newest++
		return uint32(g.newest)
	}
	return uint32(d.within("class or shape", g.newest-(v-2), g.newest))
}

func (d *decoder) edges(r *Report) {
	f := d.f.Edges
	if f == nil || d.err != nil {
		return
	}
	if len(f.Count) != len(r.Sections) {
		d.fail("edges: %d counts for %d sections", len(f.Count), len(r.Sections))
		return
	}
	r.Edges.Start = make([]uint32, len(r.Sections)+1)
	r.Edges.To = make([]SectionIndex, len(f.To))
	used := 0
	for i, count := range f.Count {
		count = d.within("edges", count, int64(len(f.To)-used))
		last := int64(i)
		for range count {
			last = d.within("edges", last+f.To[used], int64(len(r.Sections)-1))
			r.Edges.To[used] = SectionIndex(last)
			used++
		}
		r.Edges.Start[i+1] = uint32(used)
	}
	if used != len(f.To) {
		d.fail("edges: %d targets, sections have %d", len(f.To), used)
	}
}
