package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A synthetic link has the shape of what rustc makes: each function in a
// section of its own, with a frame entry, a quarter of them with a constant,
// a quarter of them copies of others. Function i calls 2i+1 and 2i+2, so that
// all are reached but those of the last tenth, and what is a copy shows only
// after a dozen rounds. The program runs: it calls them all and exits with 0.

// perObject is how many functions an object has.
const perObject = 1000

// synthetic makes a case of n functions.
func synthetic(n int) func(options, string) (string, error) {
	return func(o options, work string) (string, error) {
		keep := saved(o, fmt.Sprintf("synthetic-%d", n))
		if dir := onlyFolder(keep); dir != "" {
			return dir, nil
		}
		// Made elsewhere and put in place whole.
		dir := filepath.Join(work, "synthetic")
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
		if err := os.MkdirAll(filepath.Join(dir, "in"), 0o777); err != nil {
			return "", err
		}
		args := []string{"-nostdlib", "-static", "-Wl,--gc-sections", "-Wl,--eh-frame-hdr", "-Wl,-O1"}
		for from := 0; from < n; from += perObject {
			name := fmt.Sprintf("in/%05d.o", from/perObject)
			if err := os.WriteFile(filepath.Join(dir, name), syntheticObject(from, min(from+perObject, n), n), 0o666); err != nil {
				return "", err
			}
			args = append(args, name)
		}
		for name, text := range map[string]string{
			"args":  strings.Join(args, "\n") + "\n",
			"about": fmt.Sprintf("leanlink: synthetic\nstyle: cc\nlinker: cc\noutput: %d functions\n", n),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
				return "", err
			}
		}
		if err := os.MkdirAll(keep, 0o777); err != nil {
			return "", err
		}
		to := filepath.Join(keep, fmt.Sprint(n))
		return to, os.Rename(dir, to)
	}
}

// syntheticObject is the object of the functions from, … to−1 of n.
func syntheticObject(from, to, n int) []byte {
	var w elfWriter
	frames := w.section(".eh_frame", 0x70000001, 2, 8, nil)
	w.contents[frames] = append(w.contents[frames],
		20, 0, 0, 0, 0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0)
	frame := func(section int, size int) {
		b := w.contents[frames]
		at := len(b)
		b = binary.LittleEndian.AppendUint32(b, 20)
		b = binary.LittleEndian.AppendUint32(b, uint32(at+4))
		w.reloc(frames, len(b), relPC32, w.sectionSymbol(section), 0)
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(size))
		w.contents[frames] = append(b, 0, 0x41, 0x0e, 16, 0, 0, 0, 0)
	}
	reached := n - n/10
	for i := from; i < to; i++ {
		code := []byte{0x53} // push %rbx
		type use struct {
			at   int
			name string
		}
		var uses []use
		if i%4 == 0 {
			code = append(code, 0x48, 0x8d, 0x3d, 0, 0, 0, 0) // lea constant(%rip), %rdi
			uses = append(uses, use{len(code) - 4, ""})
		}
		leaf := true
		for _, k := range []int{2*i + 1, 2*i + 2} {
			if k < reached {
				leaf = false
				code = append(code, 0xe8, 0, 0, 0, 0) // call
				uses = append(uses, use{len(code) - 4, fmt.Sprintf("f%d", k)})
			}
		}
		number := i
		if leaf {
			number = i % (n/4 + 1) // half of all functions, each twice
		}
		code = append(code, 0xb8) // mov $number, %eax
		code = binary.LittleEndian.AppendUint32(code, uint32(number))
		code = append(code, 0x5b, 0xc3) // pop %rbx; ret
		text := w.section(fmt.Sprintf(".text.f%d", i), 1, 6, 16, code)
		w.global(fmt.Sprintf("f%d", i), text, len(code))
		for _, u := range uses {
			if u.name != "" {
				w.reloc(text, u.at, relPLT32, w.undefined(u.name), -4)
				continue
			}
			value := fmt.Appendf(nil, "constant %7d", i%(n/8+1))
			constant := w.section(fmt.Sprintf(".rodata..Lanon.%d", i), 1, 2, 1, value)
			w.reloc(text, u.at, relPC32, w.sectionSymbol(constant), -4)
		}
		frame(text, len(code))
	}
	if from == 0 {
		code := []byte{0xe8, 0, 0, 0, 0, 0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05} // call f0; exit(0)
		text := w.section(".text._start", 1, 6, 16, code)
		w.global("_start", text, len(code))
		w.reloc(text, 1, relPLT32, w.undefined("f0"), -4)
		frame(text, len(code))
	}
	w.section(".comment", 1, 0, 1, []byte("\x00rustc version 1.0.0 (synthetic)\x00"))
	return w.bytes()
}

// Relocations of x86-64.
const (
	relPC32  = 2
	relPLT32 = 4
)

// elfWriter writes a 64-bit relocatable object. Sections count from 0; the
// file has null section before them, and tables behind.
type elfWriter struct {
	heads    []elfSection
	contents [][]byte
	relocs   [][]elfReloc

	names   bytes.Buffer // of sections and symbols, from offset 1
	globals []elfSymbol
	byName  map[string]int // of globals
}

type elfSection struct {
	name        uint32
	typ         uint32
	flags       uint64
	align       uint64
	link, info  uint32
	entry, size uint64
	at          uint64
}

type elfReloc struct {
	at     int
	typ    uint32
	symbol int // negative: the section symbol of section −1−symbol
	addend int64
}

type elfSymbol struct {
	name    uint32
	section int // −1: undefined
	size    int
}

func (w *elfWriter) string(s string) uint32 {
	at := w.names.Len() + 1
	w.names.WriteString(s)
	w.names.WriteByte(0)
	return uint32(at)
}

func (w *elfWriter) section(name string, typ uint32, flags uint64, align uint64, contents []byte) int {
	w.heads = append(w.heads, elfSection{name: w.string(name), typ: typ, flags: flags, align: align})
	w.contents = append(w.contents, contents)
	w.relocs = append(w.relocs, nil)
	return len(w.heads) - 1
}

func (w *elfWriter) sectionSymbol(section int) int { return -1 - section }

func (w *elfWriter) undefined(name string) int {
	if w.byName == nil {
		w.byName = map[string]int{}
	}
	k, ok := w.byName[name]
	if !ok {
		k = len(w.globals)
		w.byName[name] = k
		w.globals = append(w.globals, elfSymbol{name: w.string(name), section: -1})
	}
	return k
}

func (w *elfWriter) global(name string, section, size int) {
	s := &w.globals[w.undefined(name)]
	s.section, s.size = section, size
}

func (w *elfWriter) reloc(section, at int, typ uint32, symbol int, addend int64) {
	w.relocs[section] = append(w.relocs[section], elfReloc{at, typ, symbol, addend})
}

// bytes lays the object out: header, contents, tables, section headers.
func (w *elfWriter) bytes() []byte {
	le := binary.LittleEndian
	local := uint32(1 + len(w.heads)) // the null symbol and one a section
	symtab := uint32(1 + len(w.heads))
	for _, r := range w.relocs {
		if len(r) > 0 {
			symtab++
		}
	}
	out := make([]byte, 64, 1<<20)
	put := func(h *elfSection, b []byte) {
		for len(out)%8 != 0 {
			out = append(out, 0)
		}
		h.at, h.size = uint64(len(out)), uint64(len(b))
		out = append(out, b...)
	}
	heads := make([]elfSection, 1, len(w.heads)*2+4)
	for i := range w.heads {
		h := w.heads[i]
		put(&h, w.contents[i])
		heads = append(heads, h)
	}
	for i, relocs := range w.relocs {
		if len(relocs) == 0 {
			continue
		}
		var b []byte
		for _, r := range relocs {
			symbol := local + uint32(r.symbol)
			if r.symbol < 0 {
				symbol = uint32(-r.symbol)
			}
			b = le.AppendUint64(b, uint64(r.at))
			b = le.AppendUint64(b, uint64(symbol)<<32|uint64(r.typ))
			b = le.AppendUint64(b, uint64(r.addend))
		}
		h := elfSection{name: w.string(".rela"), typ: 4, flags: 0x40, align: 8, link: symtab, info: uint32(i + 1), entry: 24}
		put(&h, b)
		heads = append(heads, h)
	}
	symbols := make([]byte, 24)
	symbol := func(name uint32, info byte, section int, size int) {
		symbols = le.AppendUint32(symbols, name)
		symbols = append(symbols, info, 0)
		symbols = le.AppendUint16(symbols, uint16(section+1))
		symbols = le.AppendUint64(symbols, 0)
		symbols = le.AppendUint64(symbols, uint64(size))
	}
	for i := range w.heads {
		symbol(0, 3, i, 0)
	}
	for _, s := range w.globals {
		info := byte(1<<4 | 2)
		if s.section < 0 {
			info = 1 << 4
		}
		symbol(s.name, info, s.section, s.size)
	}
	h := elfSection{name: w.string(".symtab"), typ: 2, align: 8, link: symtab + 1, info: local, entry: 24}
	put(&h, symbols)
	heads = append(heads, h)
	h = elfSection{name: w.string(".strtab"), typ: 3, align: 1}
	put(&h, append([]byte{0}, w.names.Bytes()...))
	heads = append(heads, h)

	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	start := len(out)
	for i := range heads {
		h := &heads[i]
		out = le.AppendUint32(le.AppendUint32(out, h.name), h.typ)
		for _, v := range []uint64{h.flags, 0, h.at, h.size} {
			out = le.AppendUint64(out, v)
		}
		out = le.AppendUint32(le.AppendUint32(out, h.link), h.info)
		out = le.AppendUint64(le.AppendUint64(out, h.align), h.entry)
	}
	copy(out, "\x7fELF\x02\x01\x01")
	le.PutUint16(out[16:], 1)  // ET_REL
	le.PutUint16(out[18:], 62) // x86-64
	le.PutUint32(out[20:], 1)
	le.PutUint64(out[40:], uint64(start))
	le.PutUint16(out[52:], 64)
	le.PutUint16(out[58:], 64)
	le.PutUint16(out[60:], uint16(len(heads)))
	le.PutUint16(out[62:], uint16(len(heads)-1))
	return out
}
