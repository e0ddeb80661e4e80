// Package verify proves, after the real linker ran, that its output says what the original objects say.
//
// It knows nothing of how leanlink folds. It takes the original bytes, the linked file and a claim of what became of
// each section, and proves every part of the claim again by other means:
//
//   - each folded section is compared with its leader byte by byte and reference by reference (pairs.go);
//   - each fold is one that the language and the mode allow (legal.go);
//   - starting from what the output names, the relocated fields of the output are decoded and followed until every
//     reachable section has an address, and the bytes there are the original's (locate.go, compare.go);
//   - unwind tables, landing pads, init arrays, exports, alignments and line tables agree with that (frames.go,
//     arrays.go, lines.go).
//
// Nothing here is shared with the folding: what both got wrong in one place, no test would find.
package verify

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"sort"
)

// Claim says what leanlink did to a link; it is all that the check believes about the folding, and it proves each part.
type Claim struct {
	Output  string   // the linked file
	Map     string   // link map (lld, GNU, mold or gold format), or ""
	Objects []Object // in link order, those that take part (extracted)
	Linker  string   // "lld", "bfd", "gold", "mold", "wild" or ""
	GC      bool     // unreachable sections were collected
	Shared  bool     // the output is a shared object
	Mode    string   // "safe" or "all"
	Exports []string // symbols that must be in .dynsym

	// LinkerFolds says that the linker was itself asked to fold: then two sections may share an address unclaimed.
	LinkerFolds bool
	// Provided are symbols that options or scripts define or redirect (--defsym, --wrap): what the objects say of them
	// is not checked.
	Provided []string
}

// Object is one original input.
type Object struct {
	Name   string // path or path(member), for messages
	Data   []byte // the original bytes, an ELF relocatable
	Fates  []Fate // indexed by ELF section index; where shorter, nothing is claimed of the rest
	Opaque bool   // left alone because it was not understood

	// Of an object from which something was cut before, Data is what was left; Untrimmed are the original bytes, and Cuts
	// says what was cut, indexed by ELF section index.
	Untrimmed []byte
	Cuts      []CutKind
}

// FateKind says what became of a section.
type FateKind uint8

// The fates of a section.
const (
	Unknown FateKind = iota // nothing is claimed
	Kept                    // in the output as it was
	Folded                  // replaced by its leader
	Thunk                   // replaced by a jump to its leader, at an address of its own
	Dropped                 // nothing reaches it
)

// Fate is what became of one section; Object and Section name the leader of a folded one.
type Fate struct {
	Kind            FateKind
	Object, Section uint32
}

// Result says what was checked and what was wrong.
type Result struct {
	Machine    string // the architecture's name
	Sections   int    // sections found in the output and compared
	Functions  int    // those of them that hold code
	Bytes      uint64 // bytes compared
	Relocs     int    // relocated fields decoded and resolved
	Relaxed    int    // instructions that the linker relaxed
	Pieces     int    // references into mergeable strings and constants compared by content
	Cuts       int    // sections proved to be what a trim may leave
	Folds      int    // folded sections proved equal to their leaders
	Thunks     int    // jumps to leaders proved
	Symbols    int    // symbols of the output compared
	FDEs       int    // frame descriptions compared
	LSDAs      int    // landing-pad tables compared
	Arrays     int    // entries of init and fini arrays compared
	Lines      int    // addresses of line tables compared
	Exports    int    // exported symbols found
	Unlocated  int    // allocated sections that no reference led to; those are not compared
	Elastic    int    // sections that the linker may have shortened
	Followed   int    // of these, those that were compared; of the others only the symbols
	Skipped    int    // relocated fields that this architecture's table does not know
	Mismatches []Mismatch
}

// Mismatch is one thing that is not as the original objects say.
type Mismatch struct {
	Object  string // path or path(member); "" where no object is concerned
	Section string // name of the section, or ""
	Offset  int64  // in the section; negative where none is meant
	What    string
}

// String is the mismatch on one line.
func (m Mismatch) String() string {
	s := m.Object
	if s == "" {
		s = "output"
	}
	if m.Section != "" {
		s += ": section " + m.Section
	}
	if m.Offset >= 0 {
		s += fmt.Sprintf(": offset 0x%x", m.Offset)
	}
	return s + ": " + m.What
}

// ErrMachine says that the output is for a machine that this check has no table for.
var ErrMachine = errors.New("no check for this machine")

// checker is the state of one check; each pass below fills what the next ones read.
type checker struct {
	claim   *Claim
	arch    *arch
	objects []*object
	out     *output
	res     *Result

	sections []*section // every section of every object, indexed by id
	globals  map[string]*global
	provided map[string]bool

	// What locate.go works out: the address of each section, and of each name that no object defines.
	names    map[string]uint64
	work     []*section
	suspects map[*section][]suspect
	uses     []use
	oblige   map[obligation]uint64 // a leader's references whose pieces must have a larger alignment

	frames     *outSection // .eh_frame of the output, or nil
	outFDEs    map[uint64][]*outFDE
	outFDEList []*outFDE

	exidx []exidxEntry // of the output, by address

	pairsSeen map[pair]bool
	ldRelaxed ldForm
	sigNames  map[string]bool
	gotBase   uint64
	haveGOT   bool
	shared    map[*section]bool // sections that the linker itself put at an address of another
	over      int

	originals map[*section]*section  // by trimmed section: as it was
	entered   map[*section][]entered // by section of code: what enteredAt found
	doomed    map[codeSpot]bool      // true: notDoomed has proved it; false: it is about to
	// strangers is what unlikePassed needs of the object strangersOf.
	strangersOf *object
	strangers   map[uint32]string

	// moved are the functions in which code was moved, tableEntries the entries of their jump tables; tables and users
	// are what tablesOf and usersOf say of the object related.
	moved         map[*section]bool
	tableEntries  map[entry]bool
	related       *object
	tables, users map[*section][]*section

	demangler       *regexp.Regexp // of ownDemangler
	demanglerSought bool
}

// maxMismatches bounds what is kept: a link that went wrong as a whole needs no list of it all.
const maxMismatches = 1000

func (v *checker) fail(s *section, off int64, format string, args ...any) {
	if len(v.res.Mismatches) >= maxMismatches {
		v.over++
		return
	}
	m := Mismatch{Offset: off, What: fmt.Sprintf(format, args...)}
	if s != nil {
		m.Object, m.Section = s.obj.name, s.name
	}
	v.res.Mismatches = append(v.res.Mismatches, m)
}

// Check proves the claim. The error says that the check itself could not be done: the output or an object that is not
// opaque cannot be read, or the machine has no table here. What is wrong with the link is in the result's Mismatches.
func Check(c *Claim) (*Result, error) {
	data, err := os.ReadFile(c.Output)
	if err != nil {
		return nil, err
	}
	var linkMap []byte
	if c.Map != "" {
		if linkMap, err = os.ReadFile(c.Map); err != nil {
			return nil, err
		}
	}
	return check(c, data, linkMap)
}

// begin reads everything and proves what of the claim does not concern the output.
func begin(c *Claim, data []byte) (*checker, error) {
	v := &checker{
		claim: c, res: &Result{}, names: map[string]uint64{}, suspects: map[*section][]suspect{},
		oblige: map[obligation]uint64{}, pairsSeen: map[pair]bool{}, provided: map[string]bool{}, shared: map[*section]bool{},
	}
	for _, n := range c.Provided {
		v.provided[n] = true
	}
	var err error
	if v.out, err = readOutput(c.Output, data); err != nil {
		return nil, err
	}
	for _, a := range archs {
		if a.machine == v.out.machine && a.class == v.out.class {
			v.arch = a
		}
	}
	if v.arch == nil {
		return nil, fmt.Errorf("%s: %w: %v %v", c.Output, ErrMachine, v.out.machine, v.out.class)
	}
	v.res.Machine = v.arch.name
	v.out.readDynamic(v.arch)
	if err := v.readObjects(); err != nil {
		return nil, err
	}

	// From here every section has an id, and nothing of an object is read that was not checked to lie inside it.
	v.resolve()
	v.readFrames()
	v.readExidx()
	v.applyFates()
	if err := v.proveCuts(); err != nil {
		return nil, err
	}
	v.provePairs()
	return v, nil
}

func check(c *Claim, data, linkMap []byte) (*Result, error) {
	v, err := begin(c, data)
	if err != nil {
		return nil, err
	}

	// From here each claimed fold is either proved equal or reported; the rest is about the output.
	v.seed(linkMap)
	v.follow()
	v.checkArrays()
	v.follow()
	v.settleUses()
	v.checkSymbols()
	v.checkLayout()
	v.checkFrameHeader()
	v.checkExidxOrder()
	v.checkLines()
	v.checkExports()

	// What is in the output is known now, so what refers to what is, too.
	v.checkLegality()
	v.count()

	sort.SliceStable(v.res.Mismatches, func(i, j int) bool {
		a, b := &v.res.Mismatches[i], &v.res.Mismatches[j]
		if a.Object != b.Object {
			return a.Object < b.Object
		}
		if a.Section != b.Section {
			return a.Section < b.Section
		}
		return a.Offset < b.Offset
	})
	if v.over > 0 {
		v.res.Mismatches = append(v.res.Mismatches, Mismatch{Offset: -1, What: fmt.Sprintf("and %d more mismatches", v.over)})
	}
	return v.res, nil
}
