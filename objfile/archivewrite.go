package objfile

import (
	"fmt"
	"strings"
)

// ArchiveLayout lays out a GNU archive, one member after the other. It has no index:
// whoever links it takes all of it (--whole-archive), for an index would let the
// linker choose again.
type ArchiveLayout struct {
	names []string // as the headers of the members that are still to come have them
	size  uint64   // of what is laid out, bytes
}

// Begin lays out the beginning of an archive that will have members of some names,
// as Edit.Pieces does an object.
func (a *ArchiveLayout) Begin(names []string) (pieces []Piece) {
	var long []byte
	a.names = make([]string, len(names))
	for i, name := range names {
		a.names[i] = name + "/"
		if len(a.names[i]) > 16 || strings.Contains(name, "/") {
			a.names[i] = fmt.Sprintf("/%d", len(long))
			long = append(append(long, name...), "/\n"...)
		}
	}
	pieces = a.put(pieces, []byte(arMagic))
	if len(long) > 0 {
		pieces = a.put(pieces, fmt.Appendf(nil, "%-48s%-10d`\n", "//", len(long)))
		pieces = a.pad(a.put(pieces, long))
	}
	return pieces
}

// Add lays out the next member, of which contents are what Edit.Pieces has
// made: they move to their places in the archive.
func (a *ArchiveLayout) Add(contents []Piece, size uint64) (pieces []Piece) {
	pieces = a.put(make([]Piece, 0, len(contents)+2), fmt.Appendf(nil, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", a.names[0], 0, 0, 0, 0o644, size))
	a.names = a.names[1:]
	for _, p := range contents {
		pieces = append(pieces, Piece{At: a.size + p.At, Data: p.Data})
	}
	a.size += size
	return a.pad(pieces)
}

// Size is the size of what is laid out, bytes.
func (a *ArchiveLayout) Size() uint64 { return a.size }

func (a *ArchiveLayout) put(pieces []Piece, b []byte) []Piece {
	pieces = append(pieces, Piece{At: a.size, Data: b})
	a.size += uint64(len(b))
	return pieces
}

func (a *ArchiveLayout) pad(pieces []Piece) []Piece {
	if a.size&1 == 1 { // members begin at even offsets
		pieces = a.put(pieces, []byte("\n"))
	}
	return pieces
}
