package report

import (
	"debug/elf"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// mappedFile is a file in memory, as far as the system lets it be: a copy of a
// linked file's tables would take longer than what they are read for.
type mappedFile struct {
	io.ReaderAt
	bytes []byte // all of it; nil if it could not be mapped
}

// mapFile maps a file of some size.
func mapFile(f *os.File, size int64) *mappedFile {
	m := &mappedFile{ReaderAt: f}
	if size > 0 && size == int64(int(size)) {
		if b, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE); err == nil {
			m.bytes = b
		}
	}
	return m
}

// data returns the contents of a section, which are good until unmap.
func (m *mappedFile) data(s *elf.Section) ([]byte, error) {
	n := uint64(len(m.bytes))
	if s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 || s.Offset > n || s.FileSize > n-s.Offset {
		return s.Data()
	}
	return m.bytes[s.Offset : s.Offset+s.FileSize], nil
}

func (m *mappedFile) unmap() {
	if m.bytes != nil {
		unix.Munmap(m.bytes)
		m.bytes = nil
	}
}
