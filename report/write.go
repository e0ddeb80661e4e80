package report

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/klauspost/compress/gzip"
)

// minLimit is the size, in bytes, that a report may have however small the
// output is.
const minLimit = 4 << 10

// Write stores a report as compressed JSON. Equal reports make equal bytes.
// The report is checked first ([Report.Validate]), so what is written can be
// read back; nothing is written if it is wrong.
//
// If the file were larger than a tenth of Output.Size, the hashes in the names
// of dropped sections are left out, then those sections, small ones first, then
// the edges; Report.Omitted tells a reader. (Where Output.Size is 0, unknown,
// nothing is.)
func Write(w io.Writer, r *Report) error {
	u, err := Begin(r, r.Output.Size)
	if err != nil {
		return err
	}
	return u.Write(w)
}

// Unfinished is a report of which all is written down, in memory, that can be
// before its output is there.
type Unfinished struct {
	r       *Report
	ahead   []ahead // up to the version that is expected to be small enough
	symbols *symbolIndex
}

// ahead is what is known of a version ahead of time.
type ahead struct {
	least   uint64   // bytes that it has at the least
	version *version // nil but for the last two: the guess may be somewhat off
}

// version is a report written down but for its tail, with something left out.
type version struct {
	omit   omission
	e      encoder
	packed bytes.Buffer
	packer *gzip.Writer
}

// Begin writes down what does not depend on Output and on the sections'
// addresses, and refuses what Write would. But for those nothing in r may
// change from then on. expected guesses the output's size in bytes, so that
// what may have to be left out for it is so ahead of time; Write knows better.
func Begin(r *Report, expected uint64) (*Unfinished, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	u := &Unfinished{r: r, symbols: r.indexSymbols()}
	for omit := (omission{}); ; {
		v := newVersion(r, omit)
		least := uint64(v.packed.Len())
		u.ahead = append(u.ahead, ahead{least, v})
		if k := len(u.ahead) - 3; k >= 0 {
			u.ahead[k].version = nil
		}
		if !tooLarge(least, expected+expected/2) || !omit.more() { // a smaller one made in vain costs as much as one made late
			return u, nil
		}
	}
}

// Finish is the function Finish for the report that u was begun with.
func (u *Unfinished) Finish(outputPath string) error { return u.r.finish(outputPath, u.symbols) }

// Write stores the report; see the function Write. It can be called once.
func (u *Unfinished) Write(w io.Writer) error {
	if err := u.r.Validate(); err != nil {
		return err
	}
	var b []byte
	omit := omission{}
	for k := 0; ; k++ {
		next := omit
		more := next.more()
		var known ahead
		if k < len(u.ahead) {
			known = u.ahead[k]
		}
		if !more || !tooLarge(known.least, u.r.Output.Size) {
			if known.version == nil {
				known.version = newVersion(u.r, omit)
			}
			if b = known.version.end(u.r); !more || !tooLarge(uint64(len(b)), u.r.Output.Size) {
				break
			}
		}
		omit = next
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("report: writing: %w", err)
	}
	return nil
}

// tooLarge reports whether a report of some bytes is more than an output
// should have beside it; 0 is an output of unknown size.
func tooLarge(report, output uint64) bool {
	return output > 0 && report > max(output/10, minLimit)
}

func newVersion(r *Report, omit omission) *version {
	v := &version{omit: omit}
	v.e = encodeHead(omit.apply(r), omit)
	v.packed.Grow(len(v.e.b)/6 + 1024)
	v.packer = newPacker(&v.packed)
	packInto(v.packer, v.e.b)
	return v
}

// end adds the tail and returns the file's bytes.
func (v *version) end(r *Report) []byte {
	head := len(v.e.b)
	v.e.tail(v.omit.apply(r))
	packInto(v.packer, v.e.b[head:])
	v.packer.Close()
	return v.packed.Bytes()
}

// omission says which parts of a report are left out.
type omission struct {
	hashes  bool   // in names of dropped sections
	dropped uint64 // dropped sections of fewer bytes than this
	edges   bool
}

// more leaves out one part more; it says whether there was one.
func (o *omission) more() bool {
	switch {
	case !o.hashes:
		o.hashes = true
	case o.dropped == 0:
		o.dropped = 64
	case o.dropped < 4096:
		o.dropped *= 4
	case o.dropped < math.MaxUint64:
		o.dropped = math.MaxUint64
	case !o.edges:
		o.edges = true
	default:
		return false
	}
	return true
}

func (o omission) list() []string {
	list := []string{}
	if o.hashes {
		list = append(list, OmitHashes)
	}
	if o.dropped > 0 {
		list = append(list, OmitDropped)
	}
	if o.edges {
		list = append(list, OmitEdges)
	}
	return list
}

// apply returns r without the dropped sections that o leaves out.
func (o omission) apply(r *Report) *Report {
	if o.dropped == 0 {
		return r
	}
	return withoutDropped(r, o.dropped)
}

// withoutDropped returns the report with dropped sections of fewer than min
// bytes counted at their inputs instead. r is not changed.
func withoutDropped(r *Report, min uint64) *Report {
	c := *r
	c.Inputs = slices.Clone(r.Inputs)
	c.Sections = make([]Section, 0, len(r.Sections))
	c.Roots = slices.Clone(r.Roots)
	c.Edges = Edges{}
	moved := make([]SectionIndex, len(r.Sections))
	for i := range r.Sections {
		s := &r.Sections[i]
		if s.Fate == FateDropped && s.Size < min {
			in := &c.Inputs[s.Input]
			in.Dropped++
			in.DroppedBytes += s.Size + s.FDE
			moved[i] = None
			continue
		}
		moved[i] = SectionIndex(len(c.Sections))
		c.Sections = append(c.Sections, *s)
	}
	for i := range c.Sections {
		if s := &c.Sections[i]; s.Into != None {
			s.Into = moved[s.Into]
		}
	}
	for i := range c.Roots {
		c.Roots[i].Section = moved[c.Roots[i].Section]
	}
	if len(r.Edges.Start) > 0 {
		c.Edges.Start = append(c.Edges.Start, 0)
		c.Edges.To = make([]SectionIndex, 0, len(r.Edges.To))
		for i := range r.Sections {
			for _, t := range r.Edges.Of(SectionIndex(i)) {
				c.Edges.To = append(c.Edges.To, moved[t])
			}
			if moved[i] != None {
				c.Edges.Start = append(c.Edges.Start, uint32(len(c.Edges.To)))
			}
		}
	}
	return &c
}

// newPacker is gzip at the level that takes 17 ms and 411 kB for ripgrep,
// where the standard library's takes 80 ms and 400 kB.
func newPacker(to *bytes.Buffer) *gzip.Writer {
	z, err := gzip.NewWriterLevel(to, 6)
	if err != nil {
		panic(err) // the level cannot be wrong
	}
	return z
}

func packInto(z *gzip.Writer, b []byte) {
	if _, err := z.Write(b); err != nil {
		panic(err) // nor can a buffer fail
	}
}

// encodeHead makes the file's JSON but for what tail adds, of a report to which
// omit was applied. docs/report-schema.md states what each field means; decode is
// its inverse.
func encodeHead(r *Report, omit omission) (e encoder) {
	e.b = append(make([]byte, 0, 128*len(r.Sections)+1<<16), '{')
	e.text("format", formatName)
	e.number("schema", Schema)
	e.text("tool", r.Tool)
	e.text("stamp", r.Stamp)
	e.texts("command", r.Command)
	e.object("modes", func() {
		m := &r.Modes
		e.text("fold", m.Fold)
		e.flag("gc", m.GC)
		e.text("linker", m.Linker)
		e.text("style", m.Style)
		e.text("triple", m.Triple)
		e.text("machine", m.Machine)
		e.text("profile", m.Profile)
		e.text("package", m.Package)
		e.texts("keep", m.Keep)
		if len(m.Trims) > 0 {
			e.texts("trims", m.Trims)
		}
	})
	e.object("totals", func() {
		t := &r.Totals
		e.object("before", func() { e.bytes(&t.Before) })
		e.object("after", func() { e.bytes(&t.After) })
		e.number("folded", uint64(t.Folded))
		e.number("thunks", uint64(t.Thunks))
		e.number("dropped", uint64(t.Dropped))
		e.number("dropped_bytes", t.DroppedBytes)
	})
	e.texts("omitted", omit.list())
	perInput := make([]uint64, len(r.Inputs))
	for i := range r.Sections {
		perInput[r.Sections[i].Input]++
	}
	e.list("inputs", len(r.Inputs), func(i int) {
		in := &r.Inputs[i]
		e.text("path", in.Path)
		e.text("member", in.Member)
		e.text("crate", in.Crate)
		e.number("size", in.Size)
		e.text("fate", in.Fate.String())
		e.text("reason", in.Reason)
		e.number("sections", perInput[i])
		e.number("dropped", uint64(in.Dropped))
		e.number("dropped_bytes", in.DroppedBytes)
	})
	e.roots(r.Roots)
	if !omit.edges && len(r.Edges.Start) > 0 {
		e.edges(r)
	}
	e.sections(r, omit)
	return e
}

// tail adds what only the output tells: the column of addresses, with which
// the sections end, and the output itself.
func (e *encoder) tail(r *Report) {
	addr := make(column, 0, len(r.Sections))
	var place placer
	for i := range r.Sections {
		addr.add(place.encode(&r.Sections[i]))
	}
	e.column("addr", addr)
	e.b = append(e.b, '}')
	e.object("output", func() {
		o := &r.Output
		e.text("name", o.Name)
		e.number("size", o.Size)
		e.number("alloc", o.Alloc)
		e.text("build_id", o.BuildID)
		e.text("sha256", o.SHA256)
		e.flag("stripped", o.Stripped)
		e.flag("mapped", o.Mapped)
		e.list("sections", len(o.Sections), func(i int) {
			s := &o.Sections[i]
			e.text("name", s.Name)
			e.number("addr", s.Addr)
			e.number("size", s.Size)
			e.number("file", s.File)
			e.flag("alloc", s.Alloc)
		})
	})
	e.b = append(e.b, "}\n"...)
}

// sections appends the columns of the sections and of their symbols, and the
// tables of names that they refer to.
func (e *encoder) sections(r *Report, omit omission) {
	n := len(r.Sections)
	var (
		names   = newNameTable(n)
		index   = make(column, 0, n)
		prefix  = make(column, 0, n)
		suffix  = make(column, 0, n)
		size    = make(column, 0, n)
		align   = make(column, 0, n)
		kind    = make(column, 0, n)
		fate    = make(column, 0, n)
		reason  = make(column, 0, n)
		into    = make(column, 0, n)
		jump    = make(column, 0, n)
		jumpFDE = make(column, 0, n)
		fde     = make(column, 0, n)
		lsda    = make(column, 0, n)
		class   = make(column, 0, n)
		shape   = make(column, 0, n)
		defined = make(column, 0, n)
		count   = make(column, 0, n)

		symName   = make(column, 0, n)
		symOffset = make(column, 0, n)
		symSize   = make(column, 0, n)
	)
	classes := newGroupWriter(r.Sections, func(s *Section) uint32 { return s.Class })
	shapes := newGroupWriter(r.Sections, func(s *Section) uint32 { return s.Shape })
	lastInput, lastIndex, lastSuffix := InputIndex(-1), uint32(0), int64(0)
	for i := range r.Sections {
		s := &r.Sections[i]
		if s.Input != lastInput {
			lastInput, lastIndex = s.Input, 0
		}
		index.add(int64(s.Index - lastIndex))
		lastIndex = s.Index

		names.unhashed = omit.hashes && s.Fate == FateDropped
		p, q := cutName(s.Name)
		prefix.add(names.add(p))
		suf := int64(0)
		if q != "" {
			suf = names.add(q)
			suffix.add(suf - lastSuffix)
			lastSuffix = suf
		} else {
			suffix.add(-lastSuffix)
			lastSuffix = 0
		}

		size.add(int64(s.Size))
		align.add(int64(s.Align))
		kind.add(int64(s.Kind))
		fate.add(int64(s.Fate))
		reason.add(names.text(string(s.Reason)))
		if s.Into == None {
			into.add(0)
		} else {
			into.add(int64(i) - int64(s.Into))
		}
		jump.add(int64(s.NewSize))
		jumpFDE.add(int64(s.NewFDE))
		fde.add(int64(s.FDE))
		lsda.add(int64(s.LSDA))
		class.add(classes.next(s))
		shape.add(shapes.next(s))
		defined.add(names.text(s.Defined))

		count.add(int64(len(s.Symbols)))
		last := suf
		for k := range s.Symbols {
			y := &s.Symbols[k]
			id := names.add(y.Name)
			symName.add(id - last)
			last = id
			symOffset.add(int64(y.Offset))
			if y.Offset == 0 && y.Size == s.Size {
				symSize.add(-1)
			} else {
				symSize.add(int64(y.Size))
			}
		}
	}
	e.texts("kinds", kindNames[:])
	e.texts("fates", fateNames[:])
	e.texts("strings", names.strings)
	e.object("names", func() {
		e.column("text", names.base)
		e.column("tail", names.tail)
		e.column("number", names.number)
		// Base64, of which deflate makes 6 bits a character; of hexadecimal
		// digits it makes more than 4.
		e.key("hashes")
		e.b = append(e.b, '"')
		e.b = base64.StdEncoding.AppendEncode(e.b, names.hashes)
		e.b = append(e.b, '"')
	})
	e.object("symbols", func() {
		e.column("name", symName)
		e.column("offset", symOffset)
		e.column("size", symSize)
	})
	e.key("sections") // to which tail adds
	e.b = append(e.b, '{')
	e.column("index", index)
	e.column("prefix", prefix)
	e.column("suffix", suffix)
	e.column("size", size)
	e.column("align", align)
	e.column("kind", kind)
	e.column("fate", fate)
	e.column("reason", reason)
	e.column("into", into)
	e.column("jump", jump)
	e.column("jump_fde", jumpFDE)
	e.column("fde", fde)
	e.column("lsda", lsda)
	e.column("class", class)
	e.column("shape", shape)
	e.column("defined", defined)
	e.column("symbols", count)
}

func (e *encoder) roots(roots []Root) {
	e.list("roots", len(roots), func(i int) {
		e.number("section", uint64(roots[i].Section))
		e.text("why", roots[i].Why)
	})
}

func (e *encoder) edges(r *Report) {
	count := make(column, 0, len(r.Sections))
	to := make(column, 0, len(r.Edges.To))
	for i := range r.Sections {
		targets := r.Edges.Of(SectionIndex(i))
		count.add(int64(len(targets)))
		last := SectionIndex(i)
		for _, t := range targets {
			to.add(int64(t - last))
			last = t
		}
	}
	e.object("edges", func() {
		e.column("count", count)
		e.column("to", to)
	})
}

// cutName splits a section's name into the part that many sections share and
// the part that is its own, most often a symbol: ".text." and "_ZN…",
// ".rodata.." and "Lanon.…". The second part may be empty.
func cutName(name string) (prefix, suffix string) {
	for i := 1; i < len(name)-1; i++ {
		if name[i] != '.' {
			continue
		}
		if c := name[i+1]; c == '_' || c == 'L' || c == 'a' || c >= '0' && c <= '9' {
			return name[:i+1], name[i+1:]
		}
	}
	return name, ""
}

// nameTable numbers the names of sections and symbols. A name is a string of
// its own and a tail, because tails are what differs between names: a Rust
// hash (legacy mangling), which would be two thirds of the file if compressed
// together with the rest, or a number.
type nameTable struct {
	index   map[string]int64
	known   map[string]int64 // of strings
	strings []string
	base    column // by name: index into strings, as difference from the name before
	tail    column // by name: one of the tail constants
	number  column // the numbers of the names with tailNumber, as differences
	hashes  []byte // the hashes of the names with tailHash, 8 bytes each

	unhashed bool // hashes are left out of the names being added

	lastBase, lastNumber int64
}

// noHash ends a name whose hash was left out.
const noHash = "17h0000000000000000E"

// What follows a name's string.
const (
	tailNone   = iota
	tailHash   // "17h", the next of hashes as 16 digits, "E"
	tailNumber // a decimal number without leading zeros
)

func newNameTable(n int) *nameTable {
	t := &nameTable{index: make(map[string]int64, 2*n), known: make(map[string]int64, 2*n)}
	t.add("")
	return t
}

// text numbers a string; the empty one is 0.
func (t *nameTable) text(s string) int64 {
	i, ok := t.known[s]
	if !ok {
		i = int64(len(t.strings))
		t.known[s] = i
		t.strings = append(t.strings, s)
	}
	return i
}

// add numbers a name; the empty one is 0.
func (t *nameTable) add(s string) int64 {
	if t.unhashed {
		if base, _, ok := cutLegacyHash(s); ok {
			s = base + noHash
		}
	}
	if i, ok := t.index[s]; ok {
		return i
	}
	i := int64(len(t.base))
	t.index[s] = i
	base, hash, ok := cutLegacyHash(s)
	switch {
	case ok:
		t.tail.add(tailHash)
		t.hashes, _ = hex.AppendDecode(t.hashes, []byte(hash)) // cutLegacyHash saw that it is hexadecimal
	default:
		var n int64
		if base, n, ok = cutNumber(s); ok {
			t.tail.add(tailNumber)
			t.number.add(n - t.lastNumber)
			t.lastNumber = n
		} else {
			base = s
			t.tail.add(tailNone)
		}
	}
	b := t.text(base)
	t.base.add(b - t.lastBase)
	t.lastBase = b
	return i
}

// cutNumber cuts a decimal number of at most nine digits off the end of s.
func cutNumber(s string) (before string, n int64, ok bool) {
	i := len(s)
	for i > 0 && len(s)-i < 9 && s[i-1] >= '0' && s[i-1] <= '9' {
		i--
	}
	for i < len(s) && s[i] == '0' {
		i++
	}
	for _, c := range s[i:] {
		n = n*10 + int64(c-'0')
	}
	return s[:i], n, i < len(s)
}

// groupWriter numbers the groups of sections that share a Class or a Shape.
type groupWriter struct {
	of     func(*Section) uint32
	size   map[uint32]int
	number map[uint32]int64
}

func newGroupWriter(sections []Section, of func(*Section) uint32) *groupWriter {
	g := &groupWriter{of: of, size: make(map[uint32]int), number: make(map[uint32]int64)}
	for i := range sections {
		if s := &sections[i]; s.Live() && s.Fate != FateFolded && of(s) != 0 {
			g.size[of(s)]++
		}
	}
	for i := range sections {
		if s := &sections[i]; s.Fate == FateFolded {
			if id := of(&sections[s.Into]); id != 0 {
				g.size[id]++
			}
		}
	}
	return g
}

// next returns what the file says of the next section: 0 is no group, or its
// leader's where it is folded; 1 begins a group; more is the group that many
// begun ago, 2 the newest.
func (g *groupWriter) next(s *Section) int64 {
	id := g.of(s)
	if id == 0 || !s.Live() || s.Fate == FateFolded || g.size[id] < 2 {
		return 0
	}
	n, ok := g.number[id]
	if !ok {
		g.number[id] = int64(len(g.number) + 1)
		return 1
	}
	return int64(len(g.number)) - n + 2
}

// placer predicts a section's address: after the section of its kind before
// it, aligned. Linkers place sections so, so most differences are 0.
type placer [NumKinds]uint64

func (p *placer) guess(s *Section) uint64 {
	at := p[s.Kind]
	if s.Align > 1 {
		at = (at + s.Align - 1) &^ (s.Align - 1)
	}
	return at
}

// encode returns 0 for an unknown address, else the difference from the guess,
// one more where it is not negative.
func (p *placer) encode(s *Section) int64 {
	if s.Addr == 0 {
		return 0
	}
	d := int64(s.Addr - p.guess(s))
	p[s.Kind] = s.Addr + s.After()
	if d >= 0 {
		d++
	}
	return d
}

// decode sets Addr to what encode was given.
func (p *placer) decode(s *Section, d int64) {
	if d == 0 {
		return
	}
	if d > 0 {
		d--
	}
	s.Addr = p.guess(s) + uint64(d)
	p[s.Kind] = s.Addr + s.After()
}
