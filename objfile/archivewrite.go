package objfile

import (
	"fmt"
	"strings"
)

// NewMember is a file of an archive to be written.
type NewMember struct {
	Name   string
	Pieces []Piece // as Edit.Pieces lays it out
	Size   uint64
}

// ArchivePieces lays out a GNU archive of the members, in the form of
// Edit.Pieces. It has no index: whoever links it takes all of it
// (--whole-archive), for an index would let the linker choose again.
func ArchivePieces(members []NewMember) (pieces []Piece, size uint64) {
	var long []byte
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.Name + "/"
		if len(names[i]) > 16 || strings.Contains(m.Name, "/") {
			names[i] = fmt.Sprintf("/%d", len(long))
			long = append(append(long, m.Name...), "/\n"...)
		}
	}
	put := func(b []byte) {
		pieces = append(pieces, Piece{At: size, Data: b})
		size += uint64(len(b))
	}
	pad := func() {
		if size&1 == 1 { // members begin at even offsets
			put([]byte("\n"))
		}
	}
	put([]byte(arMagic))
	if len(long) > 0 {
		put(fmt.Appendf(nil, "%-48s%-10d`\n", "//", len(long)))
		put(long)
		pad()
	}
	for i, m := range members {
		put(fmt.Appendf(nil, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", names[i], 0, 0, 0, 0o644, m.Size))
		for _, p := range m.Pieces {
			pieces = append(pieces, Piece{At: size + p.At, Data: p.Data})
		}
		size += m.Size
		pad()
	}
	return pieces, size
}
