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
			Shared, Text, Tail, Number column
			Hashes                     []byte // base64 in the file
		}
		Forms    fileForms
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
	fileForms struct {
		Prefix, Reason                                     []string
		Name, Index, Align, Kind, Fate, FDE, LSDA, Symbols column
	}
	fileSections struct {
		Form, Size, FDE, LSDA, Into, Jump column
		JumpFDE                           column `json:"jump_fde"`
		Class, Shape, Addr                column
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
	names []string // those that are not yet used
	err   error
}

// next takes the next number of a column.
func (d *decoder) next(what string, c *column) int64 {
	if len(*c) == 0 {
		d.fail("%s: too few", what)
		return 0
	}
	v := (*c)[0]
	*c = (*c)[1:]
	return v
}

// nextIn takes the next number of a column that must lie in 0 … limit.
func (d *decoder) nextIn(what string, c *column, limit int64) int64 {
	return d.within(what, d.next(what, c), limit)
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

// readStrings puts the strings together again: what they share and what is their
// own.
func (d *decoder) readStrings() {
	strings, shared := d.f.Strings, d.f.Names.Shared
	if len(shared) != len(strings) {
		d.fail("names: %d strings, %d that share", len(strings), len(shared))
		return
	}
	total, last := int64(0), ""
	for i := range strings {
		n := d.within("names: shared", shared[i], int64(len(last)))
		strings[i] = last[:n] + strings[i]
		last = strings[i]
		if total += int64(len(last)); total > maxSize {
			d.fail("names: strings of more than %d bytes", maxSize)
		}
		if d.err != nil {
			return
		}
	}
}

// readNames puts the names together again: strings and their tails.
func (d *decoder) readNames() {
	if d.readStrings(); d.err != nil {
		return
	}
	f := &d.f.Names
	n := len(f.Text)
	if len(f.Tail) != n {
		d.fail("names: %d texts, %d tails", n, len(f.Tail))
		return
	}
	d.names = make([]string, n)
	var total, number, newest int64
	newest = -1
	hashes := f.Hashes
	for i := range n {
		at := newest + 1 - f.Text[i]
		if f.Text[i] == 0 {
			newest++
		}
		if at < 0 || at > newest || at >= int64(len(d.f.Strings)) {
			d.fail("names: no such string: %d", at)
			return
		}
		s := d.f.Strings[at]
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
			number += d.next("names: numbers", &f.Number)
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

// name takes the next name.
func (d *decoder) name() string {
	if len(d.names) == 0 {
		d.fail("names: too few")
		return ""
	}
	s := d.names[0]
	d.names = d.names[1:]
	return s
}

// within returns a value that must lie in 0 … limit.
func (d *decoder) within(what string, v, limit int64) int64 {
	if v < 0 || v > limit {
		d.fail("%s: %d is out of range", what, v)
		return 0
	}
	return v
}

// fileForm is one of the forms.
type fileForm struct {
	prefix             string
	name, index, align int64
	kind               Kind
	fate               Fate
	reason             Reason
	fde, lsda          bool
	symbols            int64
}

func (d *decoder) forms() []fileForm {
	f := &d.f.Forms
	f.Prefix, f.Reason = d.texts(f.Prefix), d.texts(f.Reason)
	n := len(f.Prefix)
	if len(f.Reason) != n {
		d.fail("forms: columns of %d and %d entries", n, len(f.Reason))
		return nil
	}
	for _, c := range [...]column{f.Name, f.Index, f.Align, f.Kind, f.Fate, f.FDE, f.LSDA, f.Symbols} {
		if len(c) != n {
			d.fail("forms: columns of %d and %d entries", n, len(c))
			return nil
		}
	}
	forms := make([]fileForm, n)
	for i := range forms {
		o := &forms[i]
		*o = fileForm{prefix: f.Prefix[i], name: d.within("name", f.Name[i], nameBefore), index: d.within("index", f.Index[i], math.MaxUint32),
			align: d.within("align", f.Align[i], math.MaxInt64), reason: Reason(f.Reason[i]),
			fde: d.within("fde", f.FDE[i], 1) == 1, lsda: d.within("lsda", f.LSDA[i], 1) == 1, symbols: f.Symbols[i]}
		if o.symbols != -1 {
			d.within("symbols", o.symbols, math.MaxInt32)
		} else if o.name == nameNone {
			d.fail("a symbol has the name of a section that has none")
		}
		if k := d.within("kind", f.Kind[i], int64(len(d.f.Kinds)-1)); d.err == nil {
			o.kind = kindOf(d.f.Kinds[k])
		}
		if k := d.within("fate", f.Fate[i], int64(len(d.f.Fates)-1)); d.err == nil {
			o.fate = d.fate(d.f.Fates[k])
		}
		if d.err != nil {
			d.err = fmt.Errorf("form %d: %w", i, d.err)
			return nil
		}
	}
	return forms
}

func (d *decoder) sections(r *Report) {
	f := &d.f.Sections
	n := 0
	for _, in := range d.f.Inputs {
		n += int(in.Sections)
	}
	if len(f.Form) != n || len(f.Size) != n {
		d.fail("sections: %d, columns of %d and %d entries", n, len(f.Form), len(f.Size))
		return
	}
	if d.err != nil {
		return
	}
	forms := d.forms()
	if d.err != nil {
		return
	}
	symbols, used := d.symbols(forms), int64(0)
	if d.err != nil {
		return
	}
	r.Sections = make([]Section, n)
	var place placer
	var total int64
	own := ""
	classes, shapes := groupReader{}, groupReader{}
	nextInput, last, index := InputIndex(0), 0, int64(0)
	for i := range r.Sections {
		for i >= last && int(nextInput) < len(d.f.Inputs) {
			last += int(d.f.Inputs[nextInput].Sections)
			nextInput++
			index = 0
		}
		o := &forms[f.Form[i]]
		s := &r.Sections[i]
		index += o.index
		*s = Section{Input: nextInput - 1, Index: uint32(d.within("index", index, math.MaxUint32)), Size: uint64(d.within("size", f.Size[i], math.MaxInt64)),
			Align: uint64(o.align), Kind: o.kind, Fate: o.fate, Reason: o.reason, Into: None}
		switch o.name {
		case nameNone:
			own = ""
		case nameNext:
			own = d.name()
		}
		s.Name = o.prefix + own
		if total += int64(len(s.Name)); total > maxSize {
			d.fail("sections: names of more than %d bytes", maxSize)
		}
		if o.fde {
			s.FDE = uint64(d.nextIn("fde", &f.FDE, math.MaxInt64))
		}
		if o.lsda {
			s.LSDA = uint64(d.nextIn("lsda", &f.LSDA, math.MaxInt64))
		}
		switch s.Fate {
		case FateThunk:
			s.NewSize = uint64(d.nextIn("jump", &f.Jump, math.MaxInt64))
			s.NewFDE = uint64(d.nextIn("jump_fde", &f.JumpFDE, math.MaxInt64))
			fallthrough
		case FateFolded:
			s.Into = SectionIndex(d.within("into", int64(i)-d.next("into", &f.Into), int64(n-1)))
		}
		switch count := o.symbols; {
		case count < 0:
			s.Symbols = symbols[used : used+1 : used+1]
			s.Symbols[0] = Symbol{own, 0, s.Size}
			used++
		case count > 0:
			s.Symbols = symbols[used : used+count : used+count]
			for k := range s.Symbols {
				d.symbol(&s.Symbols[k], s.Size, own)
			}
			used += count
		}
		if s.InOutput() {
			s.Class = classes.next(d, d.next("class", &f.Class))
			s.Shape = shapes.next(d, d.next("shape", &f.Shape))
			place.decode(s, d.next("addr", &f.Addr))
		}
		if d.err != nil {
			d.err = fmt.Errorf("section %d: %w", i, d.err)
			return
		}
	}
	for _, c := range [...]struct {
		what string
		left int
	}{{"names", len(d.names)}, {"fde", len(f.FDE)}, {"lsda", len(f.LSDA)}, {"into", len(f.Into)}, {"jump", len(f.Jump)}, {"jump_fde", len(f.JumpFDE)},
		{"class", len(f.Class)}, {"shape", len(f.Shape)}, {"addr", len(f.Addr)}, {"symbols", len(d.f.Symbols.Name)}} {
		if c.left > 0 {
			d.fail("%s: %d too many", c.what, c.left)
		}
	}
	for i := range r.Sections {
		if s := &r.Sections[i]; s.Fate == FateFolded && s.Into != None {
			s.Class, s.Shape = r.Sections[s.Into].Class, r.Sections[s.Into].Shape
		}
	}
}

// symbols makes room for the symbols of all sections, whose forms must be there.
func (d *decoder) symbols(forms []fileForm) []Symbol {
	f := &d.f.Symbols
	if len(f.Offset) != len(f.Name) || len(f.Size) != len(f.Name) {
		d.fail("symbols: columns of %d, %d and %d entries", len(f.Name), len(f.Offset), len(f.Size))
		return nil
	}
	listed, alone := int64(0), int64(0) // with numbers of their own, and without
	for i, n := range d.f.Sections.Form {
		if n < 0 || n >= int64(len(forms)) {
			d.fail("section %d: no such form: %d", i, n)
			return nil
		}
		if k := forms[n].symbols; k < 0 {
			alone++
		} else if listed += k; listed > int64(len(f.Name)) {
			break
		}
	}
	if listed != int64(len(f.Name)) {
		d.fail("symbols: %d, sections have %d", len(f.Name), listed)
		return nil
	}
	return make([]Symbol, listed+alone)
}

// symbol reads the next symbol, of a section of some size whose name ends in own.
func (d *decoder) symbol(y *Symbol, size uint64, own string) {
	f := &d.f.Symbols
	y.Name = own
	if d.nextIn("symbols", &f.Name, 1) == 1 {
		y.Name = d.name()
	}
	y.Offset = uint64(d.nextIn("symbols", &f.Offset, math.MaxInt64))
	if v := d.next("symbols", &f.Size); v == -1 {
		y.Size = size
	} else {
		y.Size = uint64(d.within("symbols", v, math.MaxInt64))
	}
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
	r.Edges.Start = make([]uint32, len(r.Sections)+1)
	r.Edges.To = make([]SectionIndex, len(f.To))
	used, counts := 0, f.Count
	for i := range r.Sections {
		count := int64(0)
		if r.Sections[i].Live() {
			count = d.nextIn("edges", &counts, int64(len(f.To)-used))
		}
		last := int64(i)
		for range count {
			last = d.within("edges", last+f.To[used], int64(len(r.Sections)-1))
			r.Edges.To[used] = SectionIndex(last)
			used++
		}
		r.Edges.Start[i+1] = uint32(used)
	}
	if used != len(f.To) || len(counts) > 0 {
		d.fail("edges: %d counts too many, %d targets, sections have %d", len(counts), len(f.To), used)
	}
}
