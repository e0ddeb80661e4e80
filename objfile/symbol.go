package objfile

import "unsafe"

// Bind is a symbol's binding.
type Bind uint8

// SymType is a symbol's type.
type SymType uint8

// Bindings, types and visibilities of symbols (gABI chapter 4).
const (
	STB_LOCAL      Bind = 0
	STB_GLOBAL     Bind = 1
	STB_WEAK       Bind = 2
	STB_GNU_UNIQUE Bind = 10

	STT_NOTYPE    SymType = 0
	STT_OBJECT    SymType = 1
	STT_FUNC      SymType = 2
	STT_SECTION   SymType = 3
	STT_FILE      SymType = 4
	STT_COMMON    SymType = 5
	STT_TLS       SymType = 6
	STT_GNU_IFUNC SymType = 10

	STV_DEFAULT   = 0
	STV_INTERNAL  = 1
	STV_HIDDEN    = 2
	STV_PROTECTED = 3
)

// Symbol is a decoded symbol table entry.
type Symbol struct {
	Bind    Bind
	Type    SymType
	Other   uint8  // st_other; the visibility is its low two bits
	Section uint32 // ELF section index, or SecUndef, SecAbs, SecCommon, ≥ SecReserved
	Value   uint64 // offset within the section; bit 0 set for Thumb functions
	Size    uint64 // bytes

	nameOff uint32
}

// Visibility is the low two bits of st_other.
func (s *Symbol) Visibility() uint8 { return s.Other & 3 }

// Defined reports whether the symbol lies in a section of its file.
func (s *Symbol) Defined() bool { return s.Section != SecUndef && s.Section < SecReserved }

// NameOf returns a symbol's name, borrowed from the file.
func (f *File) NameOf(s *Symbol) string {
	n, _ := cString(f.strs, s.nameOff)
	return n
}

// NameWithin is NameOf for a name that most often is the end of another that the
// file has lent: then its end is known.
func (f *File) NameWithin(s *Symbol, whole string) string {
	if uint64(s.nameOff) < uint64(len(f.strs)) && whole != "" {
		at := uintptr(unsafe.Pointer(&f.strs[s.nameOff])) - uintptr(unsafe.Pointer(unsafe.StringData(whole)))
		if at < uintptr(len(whole)) {
			return whole[at:]
		}
	}
	return f.NameOf(s)
}

// SymbolName returns the name of symbol i, borrowed from the file.
func (f *File) SymbolName(i uint32) string {
	n, _ := cString(f.strs, le.Uint32(f.syms[uint64(i)*f.class.symbolSize():]))
	return n
}

// Offers reports whether symbol i of a shared object, which must be below
// NumSymbols, is what a reference by its name can mean: it is defined, and not
// only kept for programs that were linked to an older version of the object
// (VERSYM_HIDDEN; such is glibc's pthread_atfork).
func (f *File) Offers(i uint32) bool {
	const (
		hidden  = 0x8000
		local   = 0 // VER_NDX_LOCAL
		version = 0x7fff
	)
	if s := f.Symbol(i); s.Section == SecUndef {
		return false
	}
	if f.versions == nil {
		return true
	}
	v := le.Uint16(f.versions[uint64(i)*2:])
	return v&hidden == 0 && v&version != local
}
