package report

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Finish completes a report with what is known only after the link: sizes,
// build ID and hash of the output and, by its symbol table, the address of
// every section that has a symbol. Output.Name is set if it is empty.
//
// A stripped output has no names: Addr stays 0, Output.Stripped tells why.
func Finish(r *Report, outputPath string) error {
	return r.finish(outputPath, r.indexSymbols())
}

func (r *Report) finish(outputPath string, index *symbolIndex) error {
	f, err := os.Open(outputPath)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		return fmt.Errorf("report: %s: %w", outputPath, err)
	}
	o := &r.Output
	*o = Output{Name: o.Name}
	for i := range r.Sections {
		r.Sections[i].Addr = 0
	}
	if o.Name == "" {
		o.Name = filepath.Base(outputPath)
	}
	// The file is hashed while its symbols are read: that takes as long.
	hashed := make(chan error, 1)
	go func() {
		var err error
		o.SHA256, o.Size, err = hashFile(f)
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
	o.Stripped = !r.placeBySymbols(e, index)
	if err := <-hashed; err != nil {
		return fmt.Errorf("report: %s: %w", outputPath, err)
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
	hash, _, err := hashFile(f)
	if err != nil {
		return false, fmt.Errorf("%s: %w", outputPath, err)
	}
	return hash != r.Output.SHA256, nil
}

func hashFile(f io.ReadSeeker) (hash string, size uint64, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	h := sha256.New()
	n, err := io.CopyBuffer(h, f, make([]byte, 1<<18))
	if err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), uint64(n), nil
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

// placed is a symbol of the output.
type placed struct {
	addr, size uint64
	file       string // the STT_FILE symbol before it, of a local symbol
}

// named is a symbol of the report.
type named struct {
	section SectionIndex
	symbol  int
}

// symbolIndex finds the report's symbols by name.
type symbolIndex struct {
	number map[string]int32 // of each name
	of     []int32          // the numbers of all symbols, section by section
	wanted rows[named]      // by number
}

// rows are lists in one array, by number.
type rows[T any] struct {
	start []uint32
	items []T
}

func (r *rows[T]) at(n int32) []T { return r.items[r.start[n]:r.start[n+1]] }

// newRows makes n rows; number says to which an item belongs, below 0 to none.
func newRows[T any](n int, items []T, number []int32) (r rows[T]) {
	r.start = make([]uint32, n+1)
	total := 0
	for _, k := range number {
		if k >= 0 {
			r.start[k+1]++
			total++
		}
	}
	for i := 1; i < len(r.start); i++ {
		r.start[i] += r.start[i-1]
	}
	r.items = make([]T, total)
	next := slices.Clone(r.start)
	for i, k := range number {
		if k >= 0 {
			r.items[next[k]] = items[i]
			next[k]++
		}
	}
	return r
}

// indexSymbols lists the symbols of sections that can be in the output.
func (r *Report) indexSymbols() *symbolIndex {
	total := 0
	for i := range r.Sections {
		total += len(r.Sections[i].Symbols)
	}
	x := &symbolIndex{number: make(map[string]int32, total), of: make([]int32, 0, total)}
	all, wanted := make([]named, 0, total), make([]int32, 0, total)
	for i := range r.Sections {
		s := &r.Sections[i]
		counts := s.InOutput() && s.After() > 0
		for k := range s.Symbols {
			n, ok := x.number[s.Symbols[k].Name]
			if !ok && counts {
				n, ok = int32(len(x.number)), true
				x.number[s.Symbols[k].Name] = n
			}
			if !ok {
				n = -1
			}
			x.of = append(x.of, n)
			all = append(all, named{SectionIndex(i), k})
			if !counts {
				n = -1
			}
			wanted = append(wanted, n)
		}
	}
	x.wanted = newRows(len(x.number), all, wanted)
	return x
}

// placeBySymbols sets Addr of the sections in the output. A name that both the
// report and the output have once is a match. Names of local symbols can occur
// in several objects; then the output's STT_FILE symbols tell them apart. It
// says whether the output has symbols.
func (r *Report) placeBySymbols(e *elf.File, index *symbolIndex) bool {
	var all []placed
	var number []int32
	file := ""
	some := eachSymbol(e, func(name []byte, info byte, section elf.SectionIndex, value, size uint64) {
		t := elf.ST_TYPE(info)
		if t == elf.STT_FILE {
			file = string(name)
			return
		}
		if section == elf.SHN_UNDEF || section >= elf.SHN_LORESERVE && section != elf.SHN_XINDEX || t == elf.STT_TLS || t == elf.STT_SECTION || value == 0 {
			return
		}
		n, ok := index.number[string(name)]
		if !ok {
			return
		}
		p := placed{addr: value, size: size}
		if e.Machine == elf.EM_ARM && t == elf.STT_FUNC {
			p.addr &^= 1 // bit 0 says Thumb
		}
		if elf.ST_BIND(info) == elf.STB_LOCAL {
			p.file = file
		}
		all, number = append(all, p), append(number, n)
	})
	have := newRows(len(index.number), all, number)
	next := 0
	for i := range r.Sections {
		s := &r.Sections[i]
		of := index.of[next : next+len(s.Symbols)]
		next += len(s.Symbols)
		for k := 0; k < len(s.Symbols) && s.Addr == 0 && s.InOutput(); k++ {
			if of[k] < 0 {
				continue
			}
			if p, ok := r.match(SectionIndex(i), index.wanted.at(of[k]), have.at(of[k])); ok && (s.Fate == FateThunk || sameSize(p.size, s.Symbols[k].Size)) {
				s.Addr = p.addr - s.Symbols[k].Offset
			}
		}
	}
	return some
}

// eachSymbol calls f for the symbols of a file but for the first. It says
// whether there are any. (elf.File.Symbols makes a string of each name.)
func eachSymbol(e *elf.File, f func(name []byte, info byte, section elf.SectionIndex, value, size uint64)) bool {
	table := e.SectionByType(elf.SHT_SYMTAB)
	if table == nil || table.Link >= uint32(len(e.Sections)) {
		return false
	}
	data, err := table.Data()
	if err != nil {
		return false
	}
	names, err := e.Sections[table.Link].Data()
	if err != nil {
		return false
	}
	entry := elf.Sym64Size
	if e.Class == elf.ELFCLASS32 {
		entry = elf.Sym32Size
	}
	if len(data)%entry != 0 || len(data) < 2*entry {
		return false
	}
	for b := data[entry:]; len(b) > 0; b = b[entry:] {
		var name []byte
		if at := e.ByteOrder.Uint32(b); uint64(at) < uint64(len(names)) {
			name = names[at:]
			if end := bytes.IndexByte(name, 0); end >= 0 {
				name = name[:end]
			}
		}
		if entry == elf.Sym64Size {
			f(name, b[4], elf.SectionIndex(e.ByteOrder.Uint16(b[6:])), e.ByteOrder.Uint64(b[8:]), e.ByteOrder.Uint64(b[16:]))
		} else {
			f(name, b[12], elf.SectionIndex(e.ByteOrder.Uint16(b[14:])), uint64(e.ByteOrder.Uint32(b[4:])), uint64(e.ByteOrder.Uint32(b[8:])))
		}
	}
	return true
}

// sameSize compares sizes of a symbol before and after; 0 is unknown.
func sameSize(a, b uint64) bool { return a == b || a == 0 || b == 0 }

// match returns the output's symbol that stands for section i's symbol of the
// same name.
func (r *Report) match(i SectionIndex, want []named, have []placed) (placed, bool) {
	if len(want) == 1 && len(have) == 1 {
		return have[0], true
	}
	var found []placed
	for _, p := range have {
		if p.file != "" && r.fromFile(i, p.file) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		return placed{}, false
	}
	for _, w := range want {
		if w.section != i && r.fromFile(w.section, found[0].file) {
			return placed{}, false
		}
	}
	return found[0], true
}

// fromFile says whether a section's input was compiled from what an STT_FILE
// symbol names: "rg.4c4f285ca0232937-cgu.03" is in
// "rg-b78c7a89dbbd9a51.rg.4c4f285ca0232937-cgu.03.rcgu.o", "zstd.c" in "zstd.o".
func (r *Report) fromFile(i SectionIndex, file string) bool {
	in := &r.Inputs[r.Sections[i].Input]
	name := in.Member
	if name == "" {
		name = in.Path
	}
	name = path.Base(name)
	if stem, ok := strings.CutSuffix(name, ".rcgu.o"); ok {
		return stem == file || strings.HasSuffix(stem, "."+file)
	}
	file = path.Base(file)
	return strings.TrimSuffix(file, path.Ext(file)) == strings.TrimSuffix(name, path.Ext(name))
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
			if file, ok := columns(line[:at], &addr, &size); ok {
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

// columns reads the start of a line of lld's map (VMA LMA Size Align file, the
// first three hexadecimal) or of mold's (VMA with 0x, decimal Size, Align, file).
func columns(line string, addr, size *uint64) (file string, ok bool) {
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
