package report

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"slices"
)

// unwindTables are the exception-handling sections of a file, cut by the
// functions that they are for.
type unwindTables struct {
	spans map[int32][]span // by section
	lsda  []span           // begin of each landing-pad table; where it ends is not known yet
}

// of returns the spans of a section, nil if it is none of these.
func (t *unwindTables) of(section int32) []span { return t.spans[section] }

func (t *unwindTables) read(b *layoutBuilder) {
	t.spans = make(map[int32][]span)
	for i, s := range b.f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Type == elf.SHT_NOBITS || s.Addr+s.Size < s.Addr || s.Size > b.size {
			continue
		}
		switch {
		case s.Name == ".eh_frame":
			t.spans[int32(i)] = t.readFrames(b, s)
		case s.Name == ".ARM.exidx":
			t.spans[int32(i)] = readIndex(b, s, 0, 8, func(d []byte, at uint64) uint64 {
				return at + uint64(int64(int32(b.f.ByteOrder.Uint32(d)<<1)>>1))
			})
		case s.Name == ".eh_frame_hdr":
			t.spans[int32(i)] = readHeader(b, s)
		}
	}
	for i, s := range b.f.Sections {
		if s.Name == ".gcc_except_table" && s.Addr+s.Size >= s.Addr {
			t.spans[int32(i)] = t.tables(s, b.f.Class)
		}
	}
}

// tables returns the landing-pad tables in a section. What is between them no
// function uses: linkers keep some tables of functions that they dropped.
func (t *unwindTables) tables(s *elf.Section, class elf.Class) []span {
	spans := []span{}
	data, err := s.Data()
	if err != nil {
		return spans
	}
	slices.SortStableFunc(t.lsda, func(x, y span) int { return cmp.Compare(x.addr, y.addr) })
	end := s.Addr + uint64(len(data))
	for _, l := range t.lsda {
		if l.addr < s.Addr || l.addr >= end {
			continue
		}
		if n := len(spans); n > 0 {
			if spans[n-1].addr == l.addr {
				continue
			}
			spans[n-1].end = min(spans[n-1].end, l.addr)
		}
		l.end = end
		if size := tableSize(data[l.addr-s.Addr:], class); size > 0 {
			l.end = l.addr + size
		}
		spans = append(spans, l)
	}
	return spans
}

// tableSize returns the size of the landing-pad table that d begins with,
// filled to a multiple of 4, or 0 if it can't tell. A table is: call sites;
// actions, pairs of a type and what to try next; types, counted backwards from
// their end, where the lists of allowed types (negative in actions) begin.
func tableSize(d []byte, class elf.Class) uint64 {
	r := pointerReader{data: d}
	if r.byte() != dwOmit { // an own base for landing pads, which compilers do not use
		return 0
	}
	encoding := r.byte()
	typesEnd := uint64(0)
	if encoding != dwOmit {
		typesEnd = r.uleb()
		typesEnd += r.at
	}
	r.byte() // encoding of call sites
	sites := r.uleb()
	end := r.at + sites
	if encoding != dwOmit && end <= uint64(len(d)) && typesEnd >= end && typesEnd <= uint64(len(d)) {
		entry := uint64(4)
		if encoding&0x0f == 0 {
			entry = uint64(pointerSize(class))
		}
		r = pointerReader{data: d[end:typesEnd], at: end}
		var most, least int64
		for len(r.data) > 0 && r.at+uint64(most)*entry < typesEnd {
			kind := r.sleb()
			r.sleb()
			most, least = max(most, min(kind, 1<<20)), min(least, kind)
		}
		end = typesEnd
		if least < 0 && uint64(-least-1) < uint64(len(d))-end {
			r = pointerReader{data: d[end+uint64(-least-1):], at: end + uint64(-least-1)}
			for r.uleb() != 0 {
			}
			end = r.at
		}
	}
	end = (end + 3) &^ 3
	if end < sites || end > uint64(len(d)) {
		return 0
	}
	return end
}

// readIndex returns the owners of a table of equal entries, which begins at
// offset start of the section; function gives the address that an entry is for.
func readIndex(b *layoutBuilder, s *elf.Section, start, entry uint64, function func(d []byte, at uint64) uint64) []span {
	spans := []span{}
	data, err := s.Data()
	if err != nil {
		return spans
	}
	for off := start; off+entry <= uint64(len(data)); off += entry {
		at := s.Addr + off
		spans = append(spans, span{at, at + entry, b.owner(function(data[off:], at))})
	}
	return spans
}

// readHeader reads .eh_frame_hdr in the one shape that linkers write: a sorted
// table of two 4-byte offsets from the section's start.
func readHeader(b *layoutBuilder, s *elf.Section) []span {
	data, err := s.Data()
	if err != nil || len(data) < 12 || data[0] != 1 || data[2] != 0x03 || data[3] != 0x3b {
		return []span{}
	}
	return readIndex(b, s, 12, 8, func(d []byte, _ uint64) uint64 {
		return s.Addr + uint64(int64(int32(b.f.ByteOrder.Uint32(d))))
	})
}

// readFrames returns the FDEs of .eh_frame, and notes their landing-pad tables.
// It stops at what it does not understand: the rest has no owner.
func (t *unwindTables) readFrames(b *layoutBuilder, s *elf.Section) []span {
	spans := []span{}
	data, err := s.Data()
	if err != nil {
		return spans
	}
	order := b.f.ByteOrder
	cies := make(map[uint64]cie)
	for off := uint64(0); off+4 <= uint64(len(data)); {
		size := uint64(order.Uint32(data[off:]))
		if size == 0 { // a terminator; linkers may leave one between
			off += 4
			continue
		}
		if size == 0xffffffff || size < 4 || size > uint64(len(data))-off-4 {
			break
		}
		body := data[off+4 : off+4+size]
		end := off + 4 + size
		id := uint64(order.Uint32(body))
		if id == 0 {
			cies[off] = readCIE(body[4:], b.f.Class)
			off = end
			continue
		}
		owner := -1
		if c, ok := cies[off+4-id]; ok && id <= off+4 {
			r := pointerReader{b: b, data: body[4:], at: s.Addr + off + 8}
			begin, ok := r.pointer(c.pointers)
			_, ok2 := r.pointer(c.pointers & 0x0f) // the length has the format, not the base
			if ok && ok2 {
				owner = b.owner(begin)
				if c.augmented && c.lsda != dwOmit {
					r.uleb()
					if addr, ok := r.pointer(c.lsda); ok && addr != 0 {
						t.lsda = append(t.lsda, span{addr: addr, name: owner})
					}
				}
			}
		}
		spans = append(spans, span{s.Addr + off, s.Addr + end, owner})
		off = end
	}
	return spans
}

func pointerSize(class elf.Class) int {
	if class == elf.ELFCLASS32 {
		return 4
	}
	return 8
}

// dwOmit is DW_EH_PE_omit: there is no such pointer.
const dwOmit = 0xff

// cie is what an FDE needs of its CIE.
type cie struct {
	augmented      bool
	pointers, lsda byte // DW_EH_PE encodings
}

// readCIE reads a CIE after its id.
func readCIE(d []byte, class elf.Class) cie {
	c := cie{lsda: dwOmit}
	if len(d) < 2 {
		return c
	}
	d = d[1:] // version
	n := slices.Index(d, 0)
	if n < 0 {
		return c
	}
	augmentation := string(d[:n])
	r := pointerReader{data: d[n+1:]}
	r.uleb() // code alignment
	r.uleb() // data alignment
	r.uleb() // return address register
	if len(augmentation) == 0 || augmentation[0] != 'z' {
		return c
	}
	c.augmented = true
	r.uleb()
	for _, a := range augmentation[1:] {
		switch a {
		case 'R':
			c.pointers = r.byte()
		case 'L':
			c.lsda = r.byte()
		case 'P':
			switch r.byte() & 0x0f {
			case 0x00:
				r.skip(pointerSize(class))
			case 0x02, 0x0a:
				r.skip(2)
			case 0x03, 0x0b:
				r.skip(4)
			case 0x04, 0x0c:
				r.skip(8)
			default:
				return c
			}
		case 'S', 'B':
		default:
			return c
		}
	}
	return c
}

// pointerReader reads encoded pointers (LSB Core Specification, 10.5).
type pointerReader struct {
	b    *layoutBuilder
	data []byte
	at   uint64 // address of data
}

func (r *pointerReader) skip(n int) {
	n = min(n, len(r.data))
	r.data = r.data[n:]
	r.at += uint64(n)
}

func (r *pointerReader) byte() byte {
	if len(r.data) == 0 {
		return 0
	}
	c := r.data[0]
	r.skip(1)
	return c
}

func (r *pointerReader) uleb() uint64 {
	var v uint64
	for shift := 0; len(r.data) > 0; shift += 7 {
		c := r.byte()
		if shift < 64 {
			v |= uint64(c&0x7f) << shift
		}
		if c < 0x80 {
			break
		}
	}
	return v
}

func (r *pointerReader) sleb() int64 {
	var v int64
	for shift := 0; len(r.data) > 0; shift += 7 {
		c := r.byte()
		if shift < 64 {
			v |= int64(c&0x7f) << shift
		}
		if c < 0x80 {
			if shift+7 < 64 && c&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			break
		}
	}
	return v
}

// pointer reads a pointer of the given encoding; it is 0 if it holds 0.
func (r *pointerReader) pointer(encoding byte) (uint64, bool) {
	at := r.at
	order := r.b.f.ByteOrder
	size := 0
	switch encoding & 0x0f {
	case 0x00:
		size = pointerSize(r.b.f.Class)
	case 0x02, 0x0a:
		size = 2
	case 0x03, 0x0b:
		size = 4
	case 0x04, 0x0c:
		size = 8
	default:
		return 0, false
	}
	if len(r.data) < size {
		return 0, false
	}
	v := fixed(order, r.data[:size], encoding&0x08 != 0)
	r.skip(size)
	if v == 0 {
		return 0, true
	}
	switch encoding & 0xf0 {
	case 0x00:
	case 0x10:
		v += at
	default:
		return 0, false
	}
	if r.b.f.Class == elf.ELFCLASS32 {
		v = uint64(uint32(v))
	}
	return v, true
}

// fixed reads 2, 4 or 8 bytes, sign-extended if signed.
func fixed(order binary.ByteOrder, d []byte, signed bool) uint64 {
	switch {
	case len(d) == 8:
		return order.Uint64(d)
	case len(d) == 4 && signed:
		return uint64(int64(int32(order.Uint32(d))))
	case len(d) == 4:
		return uint64(order.Uint32(d))
	case signed:
		return uint64(int64(int16(order.Uint16(d))))
	}
	return uint64(order.Uint16(d))
}
