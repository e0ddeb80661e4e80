package report

import (
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// maxDemangled bounds a demangled name to 2^14 bytes: back references can make
// a short symbol of kilobytes into gigabytes of text.
const maxDemangled = 14

// Demangle returns the readable name of a symbol, without a Rust hash. A
// symbol that is not mangled, or not well, is returned as it is.
func Demangle(symbol string) string {
	return demangle.Filter(symbol, demangle.MaxLength(maxDemangled))
}

// Generic returns the readable name of a symbol without generic arguments, so
// that all instances of a generic function have one name:
//
//	core::ptr::drop_in_place<alloc::string::String>  →  core::ptr::drop_in_place
//	<alloc::vec::Vec<T> as core::ops::Drop>::drop    →  <alloc::vec::Vec as core::ops::Drop>::drop
func Generic(symbol string) string {
	if !isRust(symbol) {
		return demangle.Filter(symbol, demangle.NoTemplateParams, demangle.MaxLength(maxDemangled))
	}
	full := Demangle(symbol)
	var b strings.Builder
	depth := 0 // of generic arguments
	for i := 0; i < len(full); i++ {
		c := full[i]
		arrow := c == '>' && i > 0 && full[i-1] == '-'
		switch {
		case depth > 0 && c == '<':
			depth++
		case depth > 0 && c == '>' && !arrow:
			depth--
		case depth > 0:
		case c == '<' && i > 0 && isNameByte(full[i-1]):
			depth = 1
		case c == '<' && strings.HasSuffix(full[:i], "::") && !strings.HasPrefix(full[i:], "<impl "):
			depth = 1 // turbofish; a name in angle brackets begins a path, it does not continue one
			cut := strings.TrimSuffix(b.String(), "::")
			b.Reset()
			b.WriteString(cut)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isRust(symbol string) bool {
	if strings.HasPrefix(symbol, "_R") {
		return true
	}
	_, _, ok := cutLegacyHash(trimSymbol(symbol))
	return ok
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}
