package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

const symbolizeUsage = `usage: leanlink symbolize [--mangled] REPORT ADDRESS…

Prints every name behind each address of a linked program: folding makes one
body of several functions, and a backtrace shows only one of their names.

ADDRESS is hexadecimal, with or without 0x, as nm, addr2line and the program's
link-time layout have it: of a position-independent program, subtract where it
was loaded.

Example:
    leanlink symbolize target/release/deps/app-0123456789abcdef` + Suffix + ` 0x1c0410
`

// Symbolize is the command `leanlink symbolize`. It returns the exit status: 0
// if every address has a name, 1 if one has none or the report can't be used,
// 2 for wrong arguments.
func Symbolize(args []string, stdout, stderr io.Writer) int {
	mangled := false
	var plain []string
	for i, arg := range args {
		switch {
		case arg == "-h" || arg == "--help":
			fmt.Fprint(stdout, symbolizeUsage)
			return 0
		case arg == "--mangled":
			mangled = true
		case arg == "--":
			plain = append(plain, args[i+1:]...)
		case strings.HasPrefix(arg, "-"):
			fmt.Fprintf(stderr, "leanlink symbolize: no such option: %s\n%s", arg, symbolizeUsage)
			return 2
		default:
			plain = append(plain, arg)
			continue
		}
		if arg == "--" {
			break
		}
	}
	if len(plain) < 2 {
		fmt.Fprint(stderr, symbolizeUsage)
		return 2
	}
	var addrs []uint64
	for _, arg := range plain[1:] {
		digits := strings.TrimPrefix(strings.TrimPrefix(arg, "0x"), "0X")
		addr, err := strconv.ParseUint(digits, 16, 64)
		if err != nil {
			fmt.Fprintf(stderr, "leanlink symbolize: %s is not a hexadecimal address\n", arg)
			return 2
		}
		addrs = append(addrs, addr)
	}
	r, err := ReadFile(plain[0])
	if err != nil {
		fmt.Fprintf(stderr, "leanlink symbolize: %v\n", err)
		return 1
	}
	t := r.AddressTable()
	if t.Len() == 0 {
		why := "it has no addresses"
		if r.Output.Stripped {
			why = "the output is stripped and was linked without a map, so no addresses are known"
		}
		fmt.Fprintf(stderr, "leanlink symbolize: %s: %s\n", plain[0], why)
		return 1
	}
	out := bufio.NewWriter(stdout)
	status := 0
	for _, addr := range addrs {
		names := t.Names(addr)
		if len(names) == 0 {
			fmt.Fprintf(out, "%#x: ??\n", addr)
			status = 1
		}
		for _, n := range names {
			fmt.Fprintf(out, "%#x: %s\n", addr, n.describe(r, mangled))
		}
	}
	if err := out.Flush(); err != nil {
		fmt.Fprintf(stderr, "leanlink symbolize: %v\n", err)
		return 1
	}
	return status
}

// AddressTable finds sections by their address in the output.
type AddressTable struct {
	r      *Report
	order  []SectionIndex                  // of the sections with an address, by Addr
	folded map[SectionIndex][]SectionIndex // by leader
}

// AddressTable returns the table of the report's sections.
func (r *Report) AddressTable() *AddressTable {
	t := &AddressTable{r: r, folded: make(map[SectionIndex][]SectionIndex)}
	for i := range r.Sections {
		s := &r.Sections[i]
		if s.Addr != 0 && s.InOutput() && s.After() > 0 && s.Kind != KindTLS && s.Kind != KindTBSS {
			t.order = append(t.order, SectionIndex(i))
		}
		if s.Fate == FateFolded {
			t.folded[s.Into] = append(t.folded[s.Into], SectionIndex(i))
		}
	}
	slices.SortStableFunc(t.order, func(a, b SectionIndex) int { return cmp.Compare(r.Sections[a].Addr, r.Sections[b].Addr) })
	return t
}

// Len returns the number of sections that have an address.
func (t *AddressTable) Len() int { return len(t.order) }

// Find returns the section of the output that an address lies in, or None.
func (t *AddressTable) Find(addr uint64) SectionIndex {
	if t.r.Modes.Machine == "arm" {
		addr &^= 1 // a Thumb function's address as a pointer has it
	}
	n, found := slices.BinarySearchFunc(t.order, addr, func(i SectionIndex, addr uint64) int { return cmp.Compare(t.r.Sections[i].Addr, addr) })
	if !found {
		n--
	}
	if n < 0 {
		return None
	}
	i := t.order[n]
	if s := &t.r.Sections[i]; addr-s.Addr >= s.After() {
		return None
	}
	return i
}

// Name is one of the names behind an address.
type Name struct {
	Section SectionIndex // where the symbol was defined
	Symbol  string       // mangled; "" if the section has no symbol there
	Offset  uint64       // bytes from the symbol, or without one from the section's start
}

// Names returns all names behind an address: of the section that lies there
// first, then of those folded into it, in the order of the link. It is empty
// if the report knows of nothing there.
func (t *AddressTable) Names(addr uint64) []Name {
	i := t.Find(addr)
	if i == None {
		return nil
	}
	if t.r.Modes.Machine == "arm" {
		addr &^= 1
	}
	off := addr - t.r.Sections[i].Addr
	names := t.r.namesAt(nil, i, off)
	for _, f := range t.folded[i] {
		names = t.r.namesAt(names, f, off)
	}
	return names
}

// namesAt appends the symbols of a section that are nearest before an offset.
func (r *Report) namesAt(names []Name, i SectionIndex, off uint64) []Name {
	s := &r.Sections[i]
	best := -1
	for k := range s.Symbols {
		if y := &s.Symbols[k]; y.Offset <= off && (best < 0 || y.Offset > s.Symbols[best].Offset) {
			best = k
		}
	}
	if best < 0 {
		return append(names, Name{Section: i, Offset: off})
	}
	at := s.Symbols[best].Offset
	for k := range s.Symbols {
		if s.Symbols[k].Offset == at {
			names = append(names, Name{Section: i, Symbol: s.Symbols[k].Name, Offset: off - at})
		}
	}
	return names
}

// describe writes a name with where it comes from:
//
//	alloc::raw_vec::finish_grow+0x1c (alloc for grep_cli), folded into it
func (n Name) describe(r *Report, mangled bool) string {
	s := &r.Sections[n.Section]
	name := n.Symbol
	switch {
	case name == "":
		name = s.Name
	case !mangled:
		name = Demangle(name)
	}
	if n.Offset > 0 {
		name = fmt.Sprintf("%s+%#x", name, n.Offset)
	}
	in := &r.Inputs[s.Input]
	from := in.Crate
	switch {
	case from == "" && in.Member != "":
		from = fmt.Sprintf("%s(%s)", in.Path, in.Member)
	case from == "":
		from = in.Path
	case s.Defined != "" && s.Defined != from:
		from = s.Defined + " for " + from
	}
	switch s.Fate {
	case FateFolded:
		return fmt.Sprintf("%s (%s), folded into it", name, from)
	case FateThunk:
		return fmt.Sprintf("%s (%s), a jump to %s", name, from, r.SectionName(s.Into, mangled))
	}
	return fmt.Sprintf("%s (%s)", name, from)
}

// SectionName returns what a section is best called: its first symbol, else
// its own name; demangled unless mangled is wanted.
func (r *Report) SectionName(i SectionIndex, mangled bool) string {
	s := &r.Sections[i]
	switch {
	case len(s.Symbols) == 0:
		return s.Name
	case mangled:
		return s.Symbols[0].Name
	}
	return Demangle(s.Symbols[0].Name)
}
