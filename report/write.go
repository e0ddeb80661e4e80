package report

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/klauspost/compress/gzip"
)

// minLimit is the size, in bytes, that a report may have however small the
// output is.
const minLimit = 4 << 10

// manySections are so many that columns are not kept in memory until the output
// is there, for the case that they are to be compressed harder.
const manySections = 1 << 16

// Write stores a report as compressed JSON. Equal reports make equal bytes.
// The report is checked first ([Report.Validate]), so what is written can be
// read back; nothing is written if it is wrong.
//
// If the file were larger than a tenth of Output.Size, the hashes in the names
// of dropped sections are left out, then those sections, small ones first, then
// the edges; Report.Omitted tells a reader. (Where Output.Size is 0, unknown,
// nothing is.)
func Write(w io.Writer, r *Report) error {
	if err := r.Validate(); err != nil {
		return err
	}
	u, err := Begin(r, r.Rows(), func(*Sums) uint64 { return r.Output.Size })
	if err != nil {
		return err
	}
	for i := range r.Sections {
		u.addr[i] = r.Sections[i].Addr
	}
	return u.Write(w)
}

// Unfinished is a report of which all is written down, in memory, that can be
// before its output is there.
type Unfinished struct {
	r        *Report // without Sections and Edges
	rows     Rows
	skeleton *skeleton
	place    *symbolPlaces
	addr     []uint64 // by SectionIndex: in the output, 0 if unknown
	ahead    []ahead  // up to the version that is expected to be small enough
	last     *columns // of the last version that was made; nil if they are of no more use
	plain    bool     // that are those of a version with nothing left out
	// Of a version with nothing left out: bytes of text, of hashes, and of those
	// in names of dropped sections.
	text, hashes, droppedHashes int
}

// ahead is what is known of a version ahead of time.
type ahead struct {
	least   uint64   // bytes that it has at the least
	same    bool     // it has what the one before has
	version *version // nil but for the last three that were made: the guess may be somewhat off
}

// version is a report written down but for its tail, with something left out.
type version struct {
	e      encoder
	packed *bytes.Buffer
	packer *gzip.Writer
}

// Begin writes down what does not depend on Output and on the sections'
// addresses, and refuses what Write would. The sections and edges are those of
// rows, not of r, and r.Totals becomes their sum. But for r.Output nothing may
// change from then on. expected guesses the output's size in bytes, 0 for
// unknown, so that what may have to be left out for it is so ahead of time;
// Write knows better.
func Begin(r *Report, rows Rows, expected func(*Sums) uint64) (*Unfinished, error) {
	u := &Unfinished{r: r, rows: rows, addr: make([]uint64, rows.Len)}
	defer func() {
		if rows.Len > manySections {
			u.last, u.plain = nil, false
		}
	}()
	tail := uint64(rows.Len)/6 + 1000 // about what it takes
	var size uint64
	for was, omit := (omission{}), (omission{}); ; {
		a := u.next(was, omit)
		if last := len(u.ahead) - 1; last < 0 || !a.same && !u.hopeless(omit, size) && !tooLarge(a.least+tail, size) {
			c, err := u.columns(omit)
			if err != nil {
				return nil, err
			}
			if last < 0 {
				size = expected(&u.skeleton.sums)
			}
			if omit.hard || !tooLarge(u.packed(omit), size) {
				a.version = u.newVersion(omit, c)
				a.least = uint64(a.version.packed.Len())
			}
		}
		u.ahead = append(u.ahead, a)
		if was = omit; a.version != nil && !tooLarge(a.least+tail, size) || !omit.more() {
			return u, nil
		}
		u.forget()
	}
}

// next says what is known of a version by the one before it, was.
func (u *Unfinished) next(was, omit omission) (a ahead) {
	if len(u.ahead) == 0 {
		return a
	}
	least := u.ahead[len(u.ahead)-1].least
	switch {
	case omit.hard != was.hard || omit.edges != was.edges:
	case omit.hashes != was.hashes: // they do not compress
		a.least, a.same = least-min(least, uint64(u.droppedHashes)*9/8), u.droppedHashes == 0
	case !slices.ContainsFunc(u.skeleton.dropped, func(bytes uint64) bool { return bytes >= was.dropped && bytes < omit.dropped }):
		a.least, a.same = least, true
	}
	return a
}

// packed guesses what a version with all sections becomes if it is not compressed
// hard, in bytes: a little more than what was seen of programs.
func (u *Unfinished) packed(omit omission) uint64 {
	hashes := u.hashes // these do not compress
	if omit.hashes {
		hashes -= u.droppedHashes
	}
	return uint64(u.text/4 + hashes)
}

// hopeless reports whether a version is not worth making, beside an output of
// some size: what is compressed hard has at least three quarters of the guess.
func (u *Unfinished) hopeless(omit omission, size uint64) bool {
	return omit.dropped == 0 && tooLarge(u.packed(omit)*3/4, size)
}

// forget keeps the latest of the versions that were made.
func (u *Unfinished) forget() {
	kept := 0
	for k := len(u.ahead) - 1; k >= 0; k-- {
		if kept == 3 {
			u.ahead[k].version = nil
		} else if u.ahead[k].version != nil {
			kept++
		}
	}
}

// Write stores the report; see the function Write. It can be called once.
func (u *Unfinished) Write(w io.Writer) error {
	if err := u.r.Output.validate(); err != nil {
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
		late := omit.hard || known.version != nil // it is not worth making another one only to have it sooner
		if !more || late && !known.same && !u.hopeless(omit, u.r.Output.Size) && !tooLarge(known.least, u.r.Output.Size) {
			v := known.version
			if v == nil {
				c, err := u.columns(omit)
				if err != nil {
					return err
				}
				v = u.newVersion(omit, c)
			}
			if b = v.end(u); !more || !tooLarge(uint64(len(b)), u.r.Output.Size) {
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

// columns goes through the sections; the first time it checks them and notes
// what is to be known of them later.
func (u *Unfinished) columns(omit omission) (*columns, error) {
	if u.plain && !omit.hashes {
		return u.last, nil
	}
	c := newColumns(len(u.r.Inputs), u.rows.Len, u.last)
	first := u.skeleton == nil
	k, place := u.skeleton, u.place
	if first {
		k = newSkeleton(u.rows.Len)
		place = &symbolPlaces{inputs: u.r.Inputs, skeleton: k, wanted: make([]wanted, 0, u.rows.Len)}
	}
	moved := u.moved(omit)
	var s Section
	var keys []uint64
	var targets []SectionIndex
	for i := range SectionIndex(u.rows.Len) {
		u.rows.Section(i, &s)
		if first {
			if err := k.add(&s, len(u.r.Inputs), u.rows.Len); err != nil {
				return nil, err
			}
		} else if omit.leavesOut(k, i) {
			c.leaveOut(&s)
			continue
		}
		back := int64(0)
		switch {
		case s.Into == None:
		case moved == nil:
			back = int64(i - s.Into)
		default:
			back = int64(moved[i] - moved[s.Into])
		}
		hashes := len(c.names.hashes)
		keys = c.add(&s, back, omit.hashes && s.Fate == FateDropped, keys[:0])
		if first {
			place.add(i, &s, keys)
			if s.Fate == FateDropped {
				u.droppedHashes += len(c.names.hashes) - hashes
			}
		}
		if !omit.edges && u.rows.Targets != nil {
			targets = u.rows.Targets(i, targets[:0])
			if first {
				k.refer(targets)
			}
			if s.Fate != FateDropped {
				c.refer(i, targets, moved)
			}
		}
	}
	if first {
		if err := k.end(u.r, u.rows); err != nil {
			return nil, err
		}
		u.r.Totals = k.totals
		u.text, u.hashes = c.text(), len(c.names.hashes)
		place.end()
		u.skeleton, u.place = k, place
	}
	u.last, u.plain = c, !omit.hashes
	return c, nil
}

// moved is the place in the file of each section, nil if nothing is left out.
// One that is left out has that of the next.
func (u *Unfinished) moved(omit omission) []SectionIndex {
	if omit.dropped == 0 {
		return nil
	}
	moved := make([]SectionIndex, u.rows.Len)
	n := SectionIndex(0)
	for i := range moved {
		moved[i] = n
		if !omit.leavesOut(u.skeleton, SectionIndex(i)) {
			n++
		}
	}
	return moved
}

// newVersion writes down a version.
func (u *Unfinished) newVersion(omit omission, c *columns) *version {
	v := &version{packed: &bytes.Buffer{}}
	level := 1
	if omit.hard {
		level = 6
	}
	v.packed.Grow(c.text()/4 + len(c.names.hashes))
	v.packer = newPacker(v.packed, level)
	v.e = encoder{b: append(make([]byte, 0, 1<<16), '{'), w: v.packer}
	u.head(&v.e, omit, c)
	if !omit.edges && u.rows.Targets != nil {
		v.e.object("edges", func() {
			v.e.array("count", c.edgeCount)
			v.e.array("to", c.edgeTo)
		})
	}
	c.write(&v.e, u.skeleton.groups(u.skeleton.class), u.skeleton.groups(u.skeleton.shape))
	v.e.flush()
	v.packer.Flush() // to a buffer, which cannot fail; its size is now known
	return v
}

// end adds the tail and returns the file's bytes.
func (v *version) end(u *Unfinished) []byte {
	v.e.tail(u)
	v.e.flush()
	v.e.write(v.e.b)
	v.packer.Close()
	return v.packed.Bytes()
}

// omission says which parts of a report are left out.
type omission struct {
	// hard: nothing, but it is compressed hard. Of ripgrep's 1.9 MB of text the
	// first level makes 410 kB in 5 ms, the sixth 365 kB in 12 ms.
	hard    bool
	hashes  bool   // in names of dropped sections
	dropped uint64 // dropped sections of fewer bytes than this
	edges   bool
}

// more leaves out one part more; it says whether there was one.
func (o *omission) more() bool {
	switch {
	case !o.hard:
		o.hard = true
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

// leavesOut says whether a section is only counted, at its input.
func (o omission) leavesOut(k *skeleton, i SectionIndex) bool {
	return o.dropped > 0 && k.fate[i] == FateDropped && k.bytes[i] < o.dropped
}

// newPacker is gzip that takes a quarter of the time of the standard library's.
func newPacker(to *bytes.Buffer, level int) *gzip.Writer {
	z, err := gzip.NewWriterLevel(to, level)
	if err != nil {
		panic(err) // the level cannot be wrong
	}
	return z
}

// head writes what comes before the columns of sections. docs/report-schema.md
// states what each field means; decode is its inverse.
func (u *Unfinished) head(e *encoder, omit omission, c *columns) {
	r, moved := u.r, u.moved(omit)
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
		if m.Could != nil {
			e.object("could", func() {
				for _, setting := range slices.Sorted(maps.Keys(m.Could)) {
					e.number(setting, m.Could[setting])
				}
			})
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
	e.list("inputs", len(r.Inputs), func(i int) {
		in, has := &r.Inputs[i], &c.inputs[i]
		e.text("path", in.Path)
		e.text("member", in.Member)
		e.text("crate", in.Crate)
		e.number("size", in.Size)
		e.text("fate", in.Fate.String())
		e.text("reason", in.Reason)
		e.number("sections", uint64(has.sections))
		e.number("dropped", uint64(in.Dropped+has.dropped))
		e.number("dropped_bytes", in.DroppedBytes+has.droppedBytes)
	})
	e.list("roots", len(r.Roots), func(i int) {
		at := r.Roots[i].Section
		if moved != nil {
			at = moved[at]
		}
		e.number("section", uint64(at))
		e.text("why", r.Roots[i].Why)
	})
}

// tail adds what only the output tells: the column of addresses, with which
// the sections end, and the output itself.
func (e *encoder) tail(u *Unfinished) {
	k := u.skeleton
	addr := make(numbers, 0, len(u.addr)*3/2)
	var place placer
	for i, at := range u.addr {
		if k.stays(SectionIndex(i)) {
			addr.add(place.encode(at, k.kind[i], 1<<k.align[i], k.bytes[i]))
		}
	}
	e.array("addr", addr)
	e.b = append(e.b, '}')
	e.object("output", func() {
		o := &u.r.Output
		e.text("name", o.Name)
		e.number("size", o.Size)
		e.number("alloc", o.Alloc)
		e.text("build_id", o.BuildID)
		e.text("xxh3", o.Hash)
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

// placer predicts a section's address: after the section of its kind before
// it, aligned. Linkers place sections so, so most differences are 0.
type placer [NumKinds]uint64

func (p *placer) guess(kind Kind, align uint64) uint64 {
	at := p[kind]
	if align > 1 {
		at = (at + align - 1) &^ (align - 1)
	}
	return at
}

// encode returns 0 for an unknown address, else the difference from the guess,
// one more where it is not negative. left are the bytes that are there.
func (p *placer) encode(addr uint64, kind Kind, align, left uint64) int64 {
	if addr == 0 {
		return 0
	}
	d := int64(addr - p.guess(kind, align))
	p[kind] = addr + left
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
	s.Addr = p.guess(s.Kind, s.Align) + uint64(d)
	p[s.Kind] = s.Addr + s.After()
}
