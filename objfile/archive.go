package objfile

import (
	"bytes"
	"encoding/binary"
	"math"
	"path/filepath"
	"strconv"
	"strings"
)

// Archive is a parsed ar(1) archive: GNU, BSD or thin.
type Archive struct {
	Name    string
	Thin    bool
	Members []Member // in file order, without symbol and name tables
	// Symbols is the archive's index in its own order; nil if it has none.
	Symbols []ArchiveSymbol
}

// Member is one file of an archive.
type Member struct {
	Name string
	Data []byte // nil in a thin archive
	Path string // in a thin archive, the member's file; relative to the archive's folder as written
	at   uint64 // offset of its header, which the index refers to
}

// ArchiveSymbol is one entry of an archive's index.
type ArchiveSymbol struct {
	Name   string
	Member uint32 // index into Members
}

const (
	arMagic     = "!<arch>\n"
	arThinMagic = "!<thin>\n"
	arHeadSize  = 60
)

// IsArchive reports whether b begins like an archive.
func IsArchive(b []byte) bool {
	return len(b) >= 8 && (string(b[:8]) == arMagic || string(b[:8]) == arThinMagic)
}

// ParseArchive reads an archive's headers and index. Members borrow data.
// The errors it returns are *FormatError.
func ParseArchive(name string, data []byte) (*Archive, error) {
	fail := func(off uint64, what string) (*Archive, error) {
		return nil, &FormatError{File: name, Offset: off, What: what}
	}
	if !IsArchive(data) {
		return fail(0, "not an archive")
	}
	a := &Archive{Name: name, Thin: string(data[:8]) == arThinMagic}
	var index []byte
	var long longNames
	index64, bsdIndex := false, false
	paths := map[string]string{} // of a thin archive's members, by name
	size := uint64(len(data))
	for at := uint64(8); at < size; {
		if size-at < arHeadSize {
			if len(bytes.TrimRight(data[at:], "\n\x00")) == 0 {
				break // padding that some archivers leave at the end
			}
			return fail(at, "a member's header is truncated")
		}
		head := data[at : at+arHeadSize]
		if head[58] != '`' || head[59] != '\n' {
			return fail(at, "a member's header has no terminator")
		}
		n, err := strconv.ParseUint(strings.TrimRight(string(head[48:58]), " "), 10, 63)
		if err != nil {
			return fail(at+48, "a member's size is not a number")
		}
		raw := strings.TrimRight(string(head[:16]), " ")
		special := raw == "/" || raw == "//" || raw == "/SYM64/" || strings.HasPrefix(raw, "__.SYMDEF")
		body := at + arHeadSize
		stored := n
		if a.Thin && !special {
			stored = 0
		}
		if stored > size-body {
			return fail(at, "a member lies outside the archive")
		}
		content := data[body : body+stored : body+stored]
		next := body + stored + stored&1
		m := Member{at: at}
		switch {
		case raw == "/":
			index, index64, bsdIndex = content, false, false
		case raw == "/SYM64/":
			index, index64, bsdIndex = content, true, false
		case raw == "//":
			long = longNames{table: content, seen: map[uint64]string{}}
		case strings.HasPrefix(raw, "#1/"): // BSD: the name precedes the contents
			k, err := strconv.ParseUint(raw[3:], 10, 31)
			if err != nil || k > uint64(len(content)) {
				return fail(at, "a member's long name lies outside it")
			}
			m.Name = strings.TrimRight(borrow(content[:k]), "\x00")
			m.Data = content[k:]
			if strings.HasPrefix(m.Name, "__.SYMDEF") {
				index, index64, bsdIndex = m.Data, strings.Contains(m.Name, "_64"), true
				break
			}
			a.Members = append(a.Members, m)
		case strings.HasPrefix(raw, "__.SYMDEF"):
			index, index64, bsdIndex = content, strings.Contains(raw, "_64"), true
		default:
			if raw[0:min(1, len(raw))] == "/" { // GNU: an offset into the name table
				if a.Thin && strings.Contains(raw, ":") {
					return fail(at, "a member of an archive within a thin archive is not understood")
				}
				// GNU ar 2.40 leaves the slash of a name of 15 characters
				// at the field's end when it makes a thin archive.
				k, err := strconv.ParseUint(strings.TrimRight(raw[1:], " /"), 10, 63)
				if err != nil {
					return fail(at, "a member's name is not understood")
				}
				var ok bool
				if m.Name, ok = long.at(k); !ok {
					return fail(at, "a member's long name is not in the name table")
				}
			} else {
				m.Name = strings.TrimSuffix(raw, "/")
			}
			if a.Thin {
				// Members may share a name: its path is made once.
				var ok bool
				if m.Path, ok = paths[m.Name]; !ok {
					m.Path = m.Name
					if !filepath.IsAbs(m.Path) {
						m.Path = filepath.Join(filepath.Dir(name), m.Path)
					}
					paths[m.Name] = m.Path
				}
			} else {
				m.Data = content
			}
			a.Members = append(a.Members, m)
		}
		at = next
	}
	if index != nil {
		if err := a.readIndex(index, index64, bsdIndex); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// longNames is GNU ar's table of long names, which members refer to by
// offset. Each name ends in a slash and a newline.
type longNames struct {
	table []byte
	seen  map[uint64]string
}

// at returns the name at an offset. A name must begin where another ends,
// and is looked for once: members that all name one huge entry, or ever
// shorter ends of it, would cost the square of the archive's size otherwise.
func (l *longNames) at(off uint64) (string, bool) {
	if name, ok := l.seen[off]; ok {
		return name, true
	}
	if off >= uint64(len(l.table)) || off > 0 && l.table[off-1] != '\n' {
		return "", false
	}
	n := bytes.IndexByte(l.table[off:], '\n')
	if n < 0 {
		return "", false
	}
	name := strings.TrimSuffix(borrow(l.table[off:off+uint64(n)]), "/")
	l.seen[off] = name
	return name, true
}

// readIndex decodes the symbol table of an archive: the System V form (big-
// endian count, offsets, names) or the BSD form (little-endian ranlib
// records and a string table).
func (a *Archive) readIndex(b []byte, wide, bsd bool) error {
	bad := func(what string) error { return &FormatError{File: a.Name, Offset: 8, What: what} }
	byOffset := make(map[uint64]uint32, len(a.Members))
	for i := range a.Members {
		byOffset[a.Members[i].at] = uint32(i)
	}
	word := uint64(4)
	if wide {
		word = 8
	}
	read := func(at uint64) uint64 {
		switch {
		case bsd && wide:
			return le.Uint64(b[at:])
		case bsd:
			return uint64(le.Uint32(b[at:]))
		case wide:
			return binary.BigEndian.Uint64(b[at:])
		}
		return uint64(binary.BigEndian.Uint32(b[at:]))
	}
	size := uint64(len(b))
	if size < word {
		return bad("the archive's index is truncated")
	}
	add := func(name string, offset uint64) error {
		m, ok := byOffset[offset]
		if !ok {
			return bad("the archive's index names a member that does not exist")
		}
		a.Symbols = append(a.Symbols, ArchiveSymbol{Name: name, Member: m})
		return nil
	}
	if bsd {
		tableSize := read(0)
		if tableSize > size-word || size-word-tableSize < word {
			return bad("the archive's index is truncated")
		}
		names := b[word+tableSize+word:]
		a.Symbols = make([]ArchiveSymbol, 0, tableSize/(2*word))
		left := maxSharing * size
		for at := word; at+2*word <= word+tableSize; at += 2 * word {
			off := read(at)
			if off >= uint64(len(names)) || off > math.MaxUint32 {
				return bad("a name in the archive's index lies outside it")
			}
			s, ok := cString(names, uint32(off))
			if !ok {
				return bad("a name in the archive's index does not end")
			}
			if uint64(len(s)) > left {
				return bad("names in the archive's index are too long for so many")
			}
			left -= uint64(len(s))
			if err := add(s, read(at+word)); err != nil {
				return err
			}
		}
		return nil
	}
	count := read(0)
	if count > (size-word)/word {
		return bad("the archive's index is truncated")
	}
	names := b[word+count*word:]
	a.Symbols = make([]ArchiveSymbol, 0, count)
	for i := range count {
		end := bytes.IndexByte(names, 0)
		if end < 0 {
			return bad("a name in the archive's index does not end")
		}
		if err := add(borrow(names[:end]), read(word+i*word)); err != nil {
			return err
		}
		names = names[end+1:]
	}
	return nil
}
