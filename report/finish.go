package report

import (
	"bufio"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"
)

// Finish completes a report with what is known only after the link: sizes,
// build ID and hash of the output and, by its symbol table, the address of
// every section that has a symbol. Output.Name is set if it is empty.
//
// A stripped output has no names: Addr stays 0, Output.Stripped tells why.
func Finish(r *Report, outputPath string) error {
	k := newSkeleton(len(r.Sections))
	p := &symbolPlaces{inputs: r.Inputs, skeleton: k}
	var keys []uint64
	for i := range r.Sections {
		s := &r.Sections[i]
		if err := k.add(s, len(r.Inputs), len(r.Sections)); err != nil {
			return err
		}
		keys = keys[:0]
		for n := range s.Symbols {
			keys = append(keys, keyOf(s.Symbols[n].Name))
		}
		p.add(SectionIndex(i), s, keys)
	}
	p.end()
	addr := make([]uint64, len(r.Sections))
	if err := r.Output.read(outputPath, p, addr); err != nil {
		return err
	}
	for i := range r.Sections {
		r.Sections[i].Addr = addr[i]
	}
	return nil
}

// Finish is the function Finish for the report that u was begun with; of its
// rows it knows the addresses.
func (u *Unfinished) Finish(outputPath string) error {
	return u.r.Output.read(outputPath, u.place, u.addr)
}

// read reads the linked file and has p find the sections' addresses in it.
func (o *Output) read(path string, p *symbolPlaces, addr []uint64) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	in := mapFile(f, info.Size())
	defer in.unmap()
	e, err := elf.NewFile(in)
	if err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	*o = Output{Name: o.Name, Size: uint64(info.Size())}
	if o.Name == "" {
		o.Name = filepath.Base(path)
	}
	// The file is hashed while its symbols are read: that takes as long.
	hashed := make(chan error, 1)
	go func() {
		var err error
		o.Hash, err = hashFile(in, o.Size, e)
		hashed <- err
	}()
	for _, s := range e.Sections {
		if s.Type == elf.SHT_NULL {
			continue
		}
		out := OutputSection{Name: s.Name, Addr: s.Addr, Size: s.Size, File: s.Size, Alloc: s.Flags&elf.SHF_ALLOC != 0}
		if s.Type == elf.SHT_NOBITS {
			out.File = 0
		}
		if out.Alloc {
			o.Alloc += out.File
		}
		o.Sections = append(o.Sections, out)
		if s.Type == elf.SHT_NOTE && o.BuildID == "" {
			if note, err := s.Data(); err == nil {
				o.BuildID = buildID(note, e.ByteOrder)
			}
		}
	}
	o.Stripped = !p.bySymbols(e, in, addr)
	if err := <-hashed; err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	return nil
}

// FinishWithMap is Finish for outputs that may be stripped: where the output
// has no symbol table, addresses come from the real linker's map (of GNU ld,
// gold, lld or mold) instead. input finds the input that a file of the map is;
// a member of an archive is "archive(member)".
func FinishWithMap(r *Report, outputPath string, linkMap io.Reader, input func(name string) (InputIndex, bool)) error {
	if err := Finish(r, outputPath); err != nil {
		return err
	}
	if !r.Output.Stripped {
		return nil
	}
	placed, err := r.placeByMap(linkMap, input)
	if err != nil {
		return fmt.Errorf("report: link map of %s: %w", outputPath, err)
	}
	r.Output.Mapped = placed > 0
	return nil
}

// Stale says whether the file at outputPath is another than the one that the
// report is about.
func Stale(r *Report, outputPath string) (bool, error) {
	f, err := os.Open(outputPath)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if uint64(info.Size()) != r.Output.Size {
		return true, nil
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return true, nil // whatever it is, no linker has made it
	}
	hash, err := hashFile(f, r.Output.Size, e)
	if err != nil {
		return false, fmt.Errorf("%s: %w", outputPath, err)
	}
	return hash != r.Output.Hash, nil
}

// hashFile returns the XXH3 hash, of 128 bits, hexadecimal, of all of a file of
// some size but the contents of its debug sections. They are most of it, and a
// report does not speak of them. The hash tells a file from another build of it;
// nobody is to be kept from making one of the same hash.
func hashFile(f io.ReaderAt, size uint64, e *elf.File) (hash string, err error) {
	var debug []*elf.Section // that lie in the file
	for _, s := range e.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 && s.Type != elf.SHT_NOBITS && strings.HasPrefix(s.Name, ".debug_") {
			debug = append(debug, s)
		}
	}
	slices.SortFunc(debug, func(a, b *elf.Section) int { return cmp.Compare(a.Offset, b.Offset) })
	h := xxh3.New()
	at := uint64(0)
	for _, s := range debug {
		if err := hashRange(h, f, at, s.Offset); err != nil {
			return "", err
		}
		at = max(at, s.Offset+s.FileSize)
	}
	if err := hashRange(h, f, at, size); err != nil {
		return "", err
	}
	sum := h.Sum128().Bytes()
	return hex.EncodeToString(sum[:]), nil
}

// hashRange adds the bytes from one offset to another, of which there may be
// none.
func hashRange(h *xxh3.Hasher, f io.ReaderAt, from, to uint64) error {
	if m, ok := f.(*mappedFile); ok && from < to && to <= uint64(len(m.bytes)) {
		h.Write(m.bytes[from:to])
		return nil
	}
	buf := make([]byte, min(1<<18, max(from, to)-from))
	for from < to {
		n, err := f.ReadAt(buf[:min(uint64(len(buf)), to-from)], int64(from))
		h.Write(buf[:n])
		if from += uint64(n); err != nil && (err != io.EOF || from < to) {
			return err
		}
	}
	return nil
}

// buildID returns the NT_GNU_BUILD_ID of a note section.
func buildID(note []byte, order binary.ByteOrder) string {
	for len(note) >= 12 {
		name, desc := uint64(order.Uint32(note)), uint64(order.Uint32(note[4:]))
		kind := order.Uint32(note[8:])
		rest := uint64(len(note) - 12)
		at := (name + 3) &^ 3
		if at > rest || desc > rest-at {
			return ""
		}
		body := note[12:]
		if kind == 3 && string(body[:min(name, 4)]) == "GNU\x00" {
			return hex.EncodeToString(body[at : at+desc])
		}
		note = body[min(at+(desc+3)&^3, rest):]
	}
	return ""
}

// placeByMap sets Addr from a link map; it returns how many sections it placed.
//
// All maps name an input section, its address and its file, in two shapes.
// lld and mold have columns, GNU ld and gold a name and what follows it,
// perhaps on a line of its own:
//
//	1c0410   1bf410   2e   16         path(member):(.text.name)
//	.text.name     0x00000000001c0410       0x2e path(member)
func (r *Report) placeByMap(linkMap io.Reader, input func(string) (InputIndex, bool)) (int, error) {
	type key struct {
		input InputIndex
		name  string
	}
	waiting := make(map[key][]SectionIndex)
	for i := range r.Sections {
		s := &r.Sections[i]
		if s.InOutput() && s.After() > 0 {
			k := key{s.Input, s.Name}
			waiting[k] = append(waiting[k], SectionIndex(i))
		}
	}
	placed := 0
	place := func(name, file string, addr, size uint64) {
		in, ok := input(file)
		if !ok || addr == 0 {
			return
		}
		k := key{in, name}
		for n, i := range waiting[k] {
			if s := &r.Sections[i]; s.After() == size {
				s.Addr = addr
				waiting[k] = append(waiting[k][:n:n], waiting[k][n+1:]...)
				placed++
				return
			}
		}
	}
	lines := bufio.NewScanner(linkMap)
	lines.Buffer(make([]byte, 1<<16), 1<<24)
	name := "" // of GNU ld, when the rest is on the next line
	for lines.Scan() {
		line := lines.Text()
		if strings.HasSuffix(line, ")") && strings.Contains(line, ":(") {
			at := strings.LastIndex(line, ":(")
			var addr, size uint64
			if file, ok := mapColumns(line[:at], &addr, &size); ok {
				place(line[at+2:len(line)-1], file, addr, size)
			}
			continue
		}
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && strings.HasPrefix(line, " ."):
			name = fields[0]
			continue
		case len(fields) >= 4 && strings.HasPrefix(line, " ."):
			name = fields[0]
			fields = fields[1:]
		}
		if name != "" && len(fields) >= 3 && strings.HasPrefix(fields[0], "0x") && strings.HasPrefix(fields[1], "0x") {
			addr, err := strconv.ParseUint(fields[0][2:], 16, 64)
			size, err2 := strconv.ParseUint(fields[1][2:], 16, 64)
			if err == nil && err2 == nil {
				// The file is the rest of the line: a path may have spaces.
				_, rest, _ := strings.Cut(line, fields[0])
				_, rest, _ = strings.Cut(rest, fields[1])
				place(name, strings.TrimSpace(rest), addr, size)
			}
		}
		name = ""
	}
	return placed, lines.Err()
}

// mapColumns reads the start of a line of lld's map (VMA LMA Size Align file, the
// first three hexadecimal) or of mold's (VMA with 0x, decimal Size, Align, file).
func mapColumns(line string, addr, size *uint64) (file string, ok bool) {
	bases := []int{16, 16, 16, 10}
	if strings.HasPrefix(strings.TrimLeft(line, " "), "0x") {
		bases = []int{0, 10, 10}
	}
	numbers := make([]uint64, len(bases))
	for i, base := range bases {
		word, after, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
		v, err := strconv.ParseUint(word, base, 64)
		if err != nil {
			return "", false
		}
		numbers[i], line = v, after
	}
	*addr, *size = numbers[0], numbers[len(numbers)-2]
	return strings.TrimLeft(line, " "), true
}
