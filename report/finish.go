package report

import (
	"bufio"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Finish completes a report with what is known only after the link: sizes,
// build ID and hash of the output and, by its symbol table, the address of
// every section that has a symbol. Output.Name is set if it is empty.
//
// A stripped output has no names: Addr stays 0, Output.Stripped tells why.
func Finish(r *Report, outputPath string) error {
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
	if o.SHA256, o.Size, err = hashFile(f); err != nil {
		return fmt.Errorf("report: %s: %w", outputPath, err)
	}
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
	symbols, err := e.Symbols()
	if err != nil || len(symbols) == 0 {
		o.Stripped = true
		return nil
	}
	r.placeBySymbols(e, symbols)
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

// placeBySymbols sets Addr of the sections in the output. A name that both the
// report and the output have once is a match. Names of local symbols can occur
// in several objects; then the output's STT_FILE symbols tell them apart.
func (r *Report) placeBySymbols(e *elf.File, symbols []elf.Symbol) {
	want := make(map[string][]named)
	for i := range r.Sections {
		s := &r.Sections[i]
		if !s.InOutput() || s.After() == 0 {
			continue
		}
		for k := range s.Symbols {
			want[s.Symbols[k].Name] = append(want[s.Symbols[k].Name], named{SectionIndex(i), k})
		}
	}
	have := make(map[string][]placed, len(want))
	file := ""
	for _, y := range symbols {
		t := elf.ST_TYPE(y.Info)
		if t == elf.STT_FILE {
			file = y.Name
			continue
		}
		if y.Section == elf.SHN_UNDEF || y.Section >= elf.SHN_LORESERVE && y.Section != elf.SHN_XINDEX || t == elf.STT_TLS || t == elf.STT_SECTION || y.Value == 0 {
			continue
		}
		if _, ok := want[y.Name]; !ok {
			continue
		}
		p := placed{addr: y.Value, size: y.Size}
		if e.Machine == elf.EM_ARM && t == elf.STT_FUNC {
			p.addr &^= 1 // bit 0 says Thumb
		}
		if elf.ST_BIND(y.Info) == elf.STB_LOCAL {
			p.file = file
		}
		have[y.Name] = append(have[y.Name], p)
	}
	for i := range r.Sections {
		s := &r.Sections[i]
		for k := 0; k < len(s.Symbols) && s.Addr == 0 && s.InOutput(); k++ {
			name := s.Symbols[k].Name
			if p, ok := r.match(SectionIndex(i), want[name], have[name]); ok && (s.Fate == FateThunk || sameSize(p.size, s.Symbols[k].Size)) {
				s.Addr = p.addr - s.Symbols[k].Offset
			}
		}
	}
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
