package report

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// simulate fills a Report from a captured link (a folder with the files args,
// cwd and in/…), as the linker would: it extracts archive members, marks what
// is live and folds what is equal, simply and with debug/elf alone. The
// partition is not the linker's; the amount and the shape of the data are.
func simulate(tb testing.TB, dir string) *Report {
	tb.Helper()
	s := &simulation{byName: map[string]simSymbol{}}
	s.load(tb, dir)
	s.mark()
	s.fold()
	s.report.Tally()
	return &s.report
}

type simulation struct {
	report  Report
	objects []*simObject
	byName  map[string]simSymbol // the chosen global definitions
	live    []bool               // indexed by SectionIndex
	targets [][]SectionIndex     // indexed by SectionIndex
	label   []string             // indexed by SectionIndex
}

type simObject struct {
	f        *elf.File
	syms     []elf.Symbol
	sections map[int]SectionIndex
	relocs   map[int][]byte // by target section
	fdes     map[int][]simFDE
}

type simSymbol struct {
	object  *simObject
	section int
}

type simFDE struct {
	size uint64
	lsda []SectionIndex
}

func (s *simulation) load(tb testing.TB, dir string) {
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil {
		tb.Fatal(err)
	}
	r := &s.report
	paths := Paths{Roots: []PathRoot{}}
	var lazy []simMember
	list := strings.Split(strings.TrimSuffix(string(args), "\n"), "\n")
	for i, arg := range list {
		if i > 0 && list[i-1] == "-o" {
			paths.Roots = append(paths.Roots, PathRoot{filepath.Dir(arg), ""})
		}
		if j := strings.Index(arg, "/lib/rustlib/"); j > 0 && strings.HasPrefix(arg, "/") {
			paths.Roots = append(paths.Roots, PathRoot{arg[:j], "$SYSROOT"})
		}
	}
	for _, arg := range list {
		r.Command = append(r.Command, paths.ShortenArg(arg))
		data, err := os.ReadFile(filepath.Join(dir, "in", arg))
		switch {
		case err != nil:
		case strings.HasSuffix(arg, ".rlib"):
			lazy = append(lazy, readArchive(tb, arg, data)...)
		case bytes.HasPrefix(data, []byte("\x7fELF")):
			s.add(tb, simMember{path: paths.Shorten(arg), data: data})
		}
	}
	for i := range lazy {
		lazy[i].path = paths.Shorten(lazy[i].path)
	}
	r.Tool, r.Stamp = "leanlink test", "0123456789abcdef"
	r.Modes = Modes{Fold: "safe", GC: true, Linker: "lld", Style: "cc", Triple: "x86_64-unknown-linux-gnu", Machine: "x86_64", Profile: "release", Package: "ripgrep"}
	// Archive members are pulled in while they define something undefined.
	files := make([]*elf.File, len(lazy))
	for i, m := range lazy {
		if files[i], err = elf.NewFile(bytes.NewReader(m.data)); err != nil {
			tb.Fatalf("%s(%s): %v", m.path, m.name, err)
		}
	}
	for again := true; again; {
		again = false
		undefined := map[string]bool{}
		for _, o := range s.objects {
			for _, sym := range o.syms {
				if _, ok := s.byName[sym.Name]; sym.Section == elf.SHN_UNDEF && !ok && elf.ST_BIND(sym.Info) == elf.STB_GLOBAL {
					undefined[sym.Name] = true
				}
			}
		}
		for i, f := range files {
			if f == nil {
				continue
			}
			syms, _ := f.Symbols()
			for _, sym := range syms {
				if sym.Section != elf.SHN_UNDEF && elf.ST_BIND(sym.Info) != elf.STB_LOCAL && undefined[sym.Name] {
					s.add(tb, lazy[i])
					files[i], again = nil, true
					break
				}
			}
		}
	}
}

type simMember struct {
	path, name string
	data       []byte
}

func readArchive(tb testing.TB, path string, data []byte) []simMember {
	var names string
	var out []simMember
	for data = data[8:]; len(data) >= 60; {
		var size int
		fmt.Sscan(string(data[48:58]), &size)
		name, body := strings.TrimRight(string(data[:16]), " "), data[60:60+size]
		data = data[min(len(data), 60+size+size%2):]
		if name == "//" {
			names = string(body)
		}
		if off := 0; strings.HasPrefix(name, "/") && len(name) > 1 {
			if n, _ := fmt.Sscan(name[1:], &off); n == 1 {
				name, _, _ = strings.Cut(names[off:], "/\n")
			}
		}
		name = strings.TrimSuffix(name, "/")
		if strings.HasSuffix(name, ".o") {
			out = append(out, simMember{path, name, body})
		}
	}
	return out
}

func (s *simulation) add(tb testing.TB, m simMember) {
	f, err := elf.NewFile(bytes.NewReader(m.data))
	if err != nil {
		tb.Fatalf("%s(%s): %v", m.path, m.name, err)
	}
	r := &s.report
	o := &simObject{f: f, sections: map[int]SectionIndex{}, relocs: map[int][]byte{}, fdes: map[int][]simFDE{}}
	o.syms, _ = f.Symbols()
	s.objects = append(s.objects, o)
	in := InputIndex(len(r.Inputs))
	r.Inputs = append(r.Inputs, Input{Path: m.path, Member: m.name, Crate: FileCrate(m.path, m.name), Size: uint64(len(m.data)), Fate: InputRewritten})
	defined := map[int][]Symbol{}
	for _, sym := range o.syms {
		n := int(sym.Section)
		if n == 0 || n >= int(elf.SHN_LORESERVE) {
			continue
		}
		if t := elf.ST_TYPE(sym.Info); t == elf.STT_SECTION || t == elf.STT_FILE {
			continue
		}
		defined[n] = append(defined[n], Symbol{sym.Name, sym.Value, sym.Size})
		if _, ok := s.byName[sym.Name]; !ok && elf.ST_BIND(sym.Info) != elf.STB_LOCAL {
			s.byName[sym.Name] = simSymbol{o, n}
		}
	}
	for n, sec := range f.Sections {
		if sec.Flags&elf.SHF_ALLOC == 0 {
			if sec.Type == elf.SHT_RELA {
				o.relocs[int(sec.Info)], _ = sec.Data()
			}
			continue
		}
		kind := KindOther
		switch {
		case sec.Name == ".eh_frame":
			kind = KindUnwind
		case strings.HasPrefix(sec.Name, ".gcc_except_table"):
			kind = KindLSDA
		case sec.Flags&elf.SHF_EXECINSTR != 0:
			kind = KindCode
		case sec.Flags&elf.SHF_TLS != 0 && sec.Type == elf.SHT_NOBITS:
			kind = KindTBSS
		case sec.Flags&elf.SHF_TLS != 0:
			kind = KindTLS
		case sec.Type == elf.SHT_NOBITS:
			kind = KindBSS
		case strings.HasPrefix(sec.Name, ".data.rel.ro"):
			kind = KindRelro
		case strings.HasPrefix(sec.Name, ".init") || strings.HasPrefix(sec.Name, ".fini"):
			kind = KindInit
		case sec.Flags&elf.SHF_WRITE != 0:
			kind = KindData
		case strings.HasPrefix(sec.Name, ".rodata"):
			kind = KindRodata
		}
		o.sections[n] = SectionIndex(len(r.Sections))
		syms := defined[n]
		sort.SliceStable(syms, func(a, b int) bool { return syms[a].Offset < syms[b].Offset })
		r.Sections = append(r.Sections, Section{Input: in, Index: uint32(n), Name: sec.Name, Size: sec.Size, Align: sec.Addralign, Kind: kind,
			Symbols: syms, Fate: FateDropped, Reason: ReasonUnreached, Into: None})
	}
}

// reloc is one Elf64_Rela.
type simReloc struct {
	off    uint64
	typ    uint32
	sym    uint32
	addend int64
}

func (o *simObject) relas(n int) []simReloc {
	b := o.relocs[n]
	out := make([]simReloc, 0, len(b)/24)
	for ; len(b) >= 24; b = b[24:] {
		info := binary.LittleEndian.Uint64(b[8:])
		out = append(out, simReloc{binary.LittleEndian.Uint64(b), uint32(info), uint32(info >> 32), int64(binary.LittleEndian.Uint64(b[16:]))})
	}
	return out
}

// target returns the section that a symbol index lies in, or None.
func (s *simulation) target(o *simObject, sym uint32) (SectionIndex, string) {
	if sym == 0 || int(sym) > len(o.syms) {
		return None, ""
	}
	y := o.syms[sym-1]
	if elf.ST_BIND(y.Info) != elf.STB_LOCAL {
		d, ok := s.byName[y.Name]
		if !ok {
			return None, y.Name
		}
		if i, ok := d.object.sections[d.section]; ok {
			return i, ""
		}
		return None, y.Name
	}
	if i, ok := o.sections[int(y.Section)]; ok {
		return i, ""
	}
	return None, y.Name
}

func (s *simulation) mark() {
	r := &s.report
	n := len(r.Sections)
	s.live, s.targets, s.label = make([]bool, n), make([][]SectionIndex, n), make([]string, n)
	for _, o := range s.objects {
		for k, sec := range o.f.Sections {
			i, ok := o.sections[k]
			if !ok {
				continue
			}
			rels := o.relas(k)
			if sec.Name == ".eh_frame" {
				s.unwind(o, i, sec, rels)
				continue
			}
			var data []byte
			if sec.Type != elf.SHT_NOBITS {
				data, _ = sec.Data()
			}
			h := fnv.New64a()
			h.Write(data)
			for _, rel := range rels {
				t, name := s.target(o, rel.sym)
				fmt.Fprint(h, rel.off, rel.typ, rel.addend, name)
				if t != None {
					s.targets[i] = append(s.targets[i], t)
				}
			}
			s.label[i] = fmt.Sprint(r.Sections[i].Kind, h.Sum64(), len(data))
		}
	}
	for _, o := range s.objects {
		for k, fdes := range o.fdes {
			i := o.sections[k]
			for _, f := range fdes {
				r.Sections[i].FDE += f.size
				for _, l := range f.lsda {
					s.targets[i] = append(s.targets[i], l)
					r.Sections[i].LSDA += r.Sections[l].Size
				}
			}
		}
	}
	var queue []SectionIndex
	push := func(i SectionIndex) {
		if !s.live[i] {
			s.live[i] = true
			r.Sections[i].Fate, r.Sections[i].Reason = FateKept, ""
			queue = append(queue, i)
		}
	}
	for i := range r.Sections {
		sec := &r.Sections[i]
		why := ""
		switch {
		case sec.Kind == KindInit:
			why = "init array"
		case sec.Kind == KindUnwind:
			why = "unwind tables"
		case len(sec.Symbols) > 0 && sec.Symbols[0].Name == "main":
			why = "entry point"
		}
		if why != "" {
			r.Roots = append(r.Roots, Root{SectionIndex(i), why})
			push(SectionIndex(i))
		}
	}
	for len(queue) > 0 {
		i := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, t := range s.targets[i] {
			push(t)
		}
	}
	r.Edges.Start = make([]uint32, n+1)
	for i := range r.Sections {
		if s.live[i] {
			to := append([]SectionIndex(nil), s.targets[i]...)
			sort.Slice(to, func(a, b int) bool { return to[a] < to[b] })
			for k, t := range to {
				if k == 0 || t != to[k-1] {
					r.Edges.To = append(r.Edges.To, t)
				}
			}
		}
		r.Edges.Start[i+1] = uint32(len(r.Edges.To))
	}
}

// unwind attributes the FDEs of an .eh_frame section to the sections they cover.
func (s *simulation) unwind(o *simObject, eh SectionIndex, sec *elf.Section, rels []simReloc) {
	data, _ := sec.Data()
	for off := 0; off+8 <= len(data); {
		size := 4 + int(binary.LittleEndian.Uint32(data[off:]))
		if size > 4 && binary.LittleEndian.Uint32(data[off+4:]) != 0 {
			fde, code := simFDE{size: uint64(size)}, -1
			for _, rel := range rels {
				if rel.off >= uint64(off) && rel.off < uint64(off+size) {
					if t, _ := s.target(o, rel.sym); t != None {
						if code < 0 {
							code = int(s.report.Sections[t].Index)
						} else {
							fde.lsda = append(fde.lsda, t)
						}
					}
				}
			}
			if code > 0 {
				o.fdes[code] = append(o.fdes[code], fde)
				s.report.Sections[eh].Size -= uint64(size)
			}
		}
		off += size
	}
}

// fold refines equal labels by the classes of the targets until it is stable.
func (s *simulation) fold() {
	r := &s.report
	class := make([]uint32, len(r.Sections))
	number := func(key func(i int) string) int {
		seen := map[string]uint32{}
		next := make([]uint32, len(class))
		for i := range r.Sections {
			if !s.live[i] {
				continue
			}
			k := key(i)
			if seen[k] == 0 {
				seen[k] = uint32(len(seen) + 1)
			}
			next[i] = seen[k]
		}
		copy(class, next)
		return len(seen)
	}
	count := number(func(i int) string { return s.label[i] })
	for i := range r.Sections {
		r.Sections[i].Shape = class[i]
	}
	for {
		n := number(func(i int) string {
			k := fmt.Sprint(class[i])
			for _, t := range s.targets[i] {
				k += fmt.Sprint(",", class[t])
			}
			return k
		})
		if n == count {
			break
		}
		count = n
	}
	leader := map[uint32]SectionIndex{}
	for i := range r.Sections {
		sec := &r.Sections[i]
		if !s.live[i] {
			sec.Shape = 0
			continue
		}
		sec.Class = class[i]
		switch sec.Kind {
		case KindCode, KindRodata, KindRelro, KindLSDA:
		default:
			sec.Fate, sec.Reason = FateIneligible, ReasonWritable
			continue
		}
		if sec.Size == 0 {
			sec.Fate, sec.Reason = FateIneligible, ReasonEmpty
			continue
		}
		if l, ok := leader[class[i]]; ok {
			sec.Fate, sec.Into = FateFolded, l
			if sec.Kind == KindCode && i%17 == 0 && sec.Size > 5 && r.Sections[l].Fate == FateKept {
				sec.Fate, sec.NewSize, sec.NewFDE = FateThunk, 5, min(sec.FDE, 24)
			}
		} else {
			leader[class[i]] = SectionIndex(i)
		}
	}
}
