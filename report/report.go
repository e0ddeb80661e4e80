// Package report is the record of one link: what went in, what became of
// every section, and how big the result is.
//
// The linker begins a [Report] while the real linker runs ([Begin]), a section
// at a time ([Rows]), completes it with what the output tells
// ([Unfinished.Finish]) and stores it beside that ([Unfinished.Write]). [Read]
// gives it back, checked. In memory a report is rows (a [Section] each) that are
// pleasant to walk; on disk, and while it is being written, it is columns, which
// take a fraction of that. docs/report-schema.md describes the file for readers
// in other languages.
//
// The package also holds what every view of a size needs: which crate a file
// or a symbol belongs to ([FileCrate], [Crates]), a label for each byte
// of an ELF file ([Ranges]), and the names behind an address ([Symbolize]).
package report

// Schema is the version of the file format. Fields may be added without a new
// version, a reader ignores those it does not know; a field that changes its
// meaning or disappears raises it.
const Schema = 3

// Suffix ends the file name of a report: gzipped JSON, which `zcat FILE | jq`
// opens anywhere.
const Suffix = ".leanlink.json.gz"

// SectionIndex is an index into Report.Sections.
type SectionIndex int32

// InputIndex is an index into Report.Inputs.
type InputIndex int32

// None is the SectionIndex of no section.
const None SectionIndex = -1

// Report is everything known about one link. Paths in it are never absolute;
// see [Paths].
type Report struct {
	Tool    string   // name and version of the program that wrote it: "leanlink 0.1.0"
	Command []string // the linker's arguments as rustc gave them, response files expanded, paths shortened
	Stamp   string   // content hash of tool and effective config: another one now means the report is stale

	Modes Modes

	Inputs   []Input   // in link order: objects, extracted archive members, and files left alone
	Sections []Section // every allocated section of Inputs that was read, by input, then by Index
	Roots    []Root    // what is alive without being referenced, by Section
	Edges    Edges     // references between live sections; may be empty (Edges.Start == nil)

	Totals Totals // set by Begin and Tally; checked by Validate
	Output Output // set by Finish

	// Omitted names what Write left out to keep the file within a tenth of the
	// output: OmitHashes, OmitDropped, OmitEdges. Only Read sets it.
	Omitted []string
}

// What a report may lack; see Report.Omitted.
const (
	OmitHashes  = "dropped hashes"   // the hashes in names of dropped sections are zeros
	OmitDropped = "dropped sections" // dropped sections, the small ones or all, are only counted at their Input
	OmitEdges   = "edges"            // Edges is empty
)

// Modes says how the link was asked to behave.
type Modes struct {
	Fold    string   // "safe", "all" or "off"
	GC      bool     // --gc-sections was given, so dead sections are dropped
	Linker  string   // kind of the real linker: "lld", "bfd", "gold", "mold", …; "" if unknown
	Style   string   // style of the arguments: "cc" or "ld"
	Triple  string   // target triple as rustc spells it; "" if unknown
	Machine string   // ELF machine: "x86_64", "arm", "aarch64", "riscv32", "riscv64"
	Profile string   // Cargo's profile folder: "release", "debug", …; "" if unknown
	Package string   // CARGO_PKG_NAME or, without it, CARGO_CRATE_NAME; "" if unknown
	Keep    []string // the config's keep patterns
	Trims   []string // what the config's trims did, or why they did not apply; empty without any
	// Could is about what more trims would save, in bytes of memory, by the
	// setting that asks for them: see view_advise.go. It is nil if nobody asked.
	Could map[string]uint64
}

// InputFate says what was done with an input file.
type InputFate uint8

// The fates of an input.
const (
	InputUnchanged InputFate = iota // read and understood; handed on as it was
	InputRewritten                  // a changed copy was linked in its place
	InputAlone                      // not understood or not to be touched; Reason says why
	numInputFates
)

// Input is an object file, an archive member or another file of the link.
type Input struct {
	Path   string // shortened path of the file: relative, $SYSROOT/…, $CARGO_HOME/…
	Member string // name of the archive member, "" for a plain file
	Crate  string // crate whose compilation made it (FileCrate); "" for the C runtime and libraries
	Size   uint64 // bytes of the file or member
	Fate   InputFate
	Reason string // why it was left alone: "bitcode", "shared object", "linker script", …; else ""

	// Dropped sections that are not in Sections, and their bytes with FDEs.
	Dropped      uint32
	DroppedBytes uint64
}

// Kind is what a section holds.
type Kind uint8

// The kinds of allocated sections. Only KindBSS and KindTBSS occupy no bytes
// in the file.
const (
	KindCode   Kind = iota // instructions
	KindRodata             // constants, strings, jump tables
	KindRelro              // constants with addresses (vtables, locations): read-only after relocation
	KindData               // initialised statics
	KindBSS                // zeroed statics
	KindTLS                // initialised thread-local statics
	KindTBSS               // zeroed thread-local statics
	KindLSDA               // landing-pad tables: .gcc_except_table, .ARM.extab
	KindUnwind             // .eh_frame, .ARM.exidx
	KindInit               // .init, .fini and the arrays of initialisers
	KindNote               // SHT_NOTE
	KindOther              // any other allocated section
	NumKinds
)

// Fate is what became of a section.
type Fate uint8

// The fates of a section.
const (
	FateKept       Fate = iota // in the output; it could have been folded, but is the leader or the only one of its class
	FateFolded                 // gone: Into stands for it
	FateThunk                  // its body is now a jump to Into, NewSize bytes long, at an address of its own
	FateDropped                // gone: nothing reaches it, or another definition was chosen (Reason)
	FateIneligible             // in the output, folding was not considered; Reason says why
	numFates
)

// Reason says why a section was dropped or not considered for folding. The
// constants are the vocabulary of views and tests; another text is allowed
// where none of them fits.
type Reason string

// Why sections are dropped.
const (
	ReasonUnreached Reason = "nothing reaches it"
	ReasonComdat    Reason = "another object's copy of its group was chosen"
	ReasonExcluded  Reason = "the linker leaves such sections out"
)

// Why live sections are not considered for folding.
const (
	ReasonFoldOff       Reason = "folding is off"
	ReasonWritable      Reason = "writable"
	ReasonNamedStatic   Reason = "a named static has an address of its own"
	ReasonDataIdentity  Reason = "nothing shows that its address does not matter"
	ReasonKeep          Reason = "a keep pattern of the config"
	ReasonExported      Reason = "exported from the output"
	ReasonPreemptible   Reason = "another module may replace it at run time"
	ReasonIFunc         Reason = "an indirect function"
	ReasonTLS           Reason = "thread-local"
	ReasonInit          Reason = "runs at start or exit, in order"
	ReasonRetain        Reason = "marked to be retained"
	ReasonCIdentifier   Reason = "collected by __start_ and __stop_ symbols"
	ReasonLinkOrder     Reason = "bound to another section's place"
	ReasonLinkSection   Reason = "placed in a section by name"
	ReasonScript        Reason = "placed by the linker script"
	ReasonManyFunctions Reason = "several functions in one section"
	ReasonRelocation    Reason = "a relocation that is not understood"
	ReasonAddend        Reason = "an addend that the instruction cannot hold"
	ReasonUnwind        Reason = "unwind data that is not understood"
	ReasonInputAlone    Reason = "its file was left alone"
	ReasonBitcode       Reason = "bitcode may refer to it"
	ReasonMergeable     Reason = "the linker merges it piece by piece"
	ReasonNote          Reason = "a note"
	ReasonEmpty         Reason = "empty"
)

// Symbol is a name defined in a section.
type Symbol struct {
	Name   string // as in the symbol table, mangled
	Offset uint64 // bytes from the section's start
	Size   uint64 // bytes (st_size); 0 where the object does not say
}

// Section is one allocated section of an input and what became of it.
//
// The bytes of .eh_frame are counted where they belong: an FDE at the section
// whose code it covers (FDE), and what remains (CIEs, the terminator) as the
// Size of the .eh_frame section itself. So each byte is counted once.
type Section struct {
	Input   InputIndex
	Index   uint32 // number of the section in its ELF file, from 1
	Name    string
	Size    uint64 // bytes; of an .eh_frame section only those that are no FDE
	Align   uint64 // bytes, a power of two; 0 and 1 mean none
	Kind    Kind
	Symbols []Symbol // defined in it, by Offset; no section, file or mapping symbols

	Fate    Fate
	Reason  Reason       // of FateDropped and FateIneligible, else ""
	Into    SectionIndex // of FateFolded and FateThunk: the leader, itself kept; else None
	NewSize uint64       // of FateThunk: bytes that the jump takes, with what stays before it

	FDE    uint64 // bytes of its FDEs, length fields included
	NewFDE uint64 // of FateThunk: bytes of the jump's own FDE
	LSDA   uint64 // bytes of the landing-pad table it uses, for display: a table is a Section of its own and is counted there

	// Class and Shape group live sections; 0 is no group, and a folded section
	// is in its leader's groups. Any numbers will do: Write renumbers them from
	// 1 in order of appearance and forgets groups of one.
	Class uint32 // equal content and equal targets: identical bodies, whether folded or not
	Shape uint32 // equal content where relocated fields are left out: the same but for a constant or a callee

	// Defined is the crate whose source the section comes from, by mangling
	// (Crates.OfSection); the crate that asked for it is the Input's. Empty
	// where no name says. The file does not have it: Read finds it out again,
	// as Tally does where it is empty.
	Defined string

	Addr uint64 // address in the output, set by Finish; 0 if unknown
}

// Root is a section that is alive by itself.
type Root struct {
	Section SectionIndex
	Why     string // "entry point", "exported: NAME", "retained", "init array", …
}

// Edges are the references between live sections, before folding. The targets
// of section i are To[Start[i]:Start[i+1]], ascending and each once; sections
// that were dropped have none. A function refers to its landing-pad table.
type Edges struct {
	Start []uint32 // indexed by SectionIndex, one more than there are sections
	To    []SectionIndex
}

// Of returns the sections that section i refers to.
func (e *Edges) Of(i SectionIndex) []SectionIndex {
	if len(e.Start) == 0 {
		return nil
	}
	return e.To[e.Start[i]:e.Start[i+1]:e.Start[i+1]]
}

// Bytes counts bytes by kind.
type Bytes [NumKinds]uint64 // indexed by Kind

// Totals are the sums over Sections.
type Totals struct {
	Before Bytes // live sections as they came, with their FDEs
	After  Bytes // the same after folding
	// Folded, Thunks and Dropped count sections of these fates.
	Folded, Thunks, Dropped uint32
	DroppedBytes            uint64 // bytes of dropped sections, with their FDEs
}

// Output is the linked file as it lies on disk.
type Output struct {
	Name     string // shortened path
	Size     uint64 // bytes of the file
	Alloc    uint64 // bytes of all allocated sections that are not NOBITS
	BuildID  string // hexadecimal; "" if there is none
	Hash     string // XXH3 of the file without its debug information, 128 bits, hexadecimal: tells whether this report is the file's
	Stripped bool   // it has no symbol table
	Mapped   bool   // addresses come from a link map
	Sections []OutputSection
}

// OutputSection is a section of the linked file, in the file's order.
type OutputSection struct {
	Name  string
	Addr  uint64
	Size  uint64 // bytes in memory
	File  uint64 // bytes in the file: 0 for NOBITS
	Alloc bool
}
