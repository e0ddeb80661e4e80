package report

import (
	"path"
	"strings"
)

// FileCrate returns the crate whose compilation made a file of the link: of an
// rlib or Rust dylib by its name, of a codegen unit's object by its own.
// It is "" where neither says: the C runtime, C libraries, rustc's symbols.o.
// An object that a build script bundled into an rlib belongs to that rlib's
// crate. member is "" for a plain file.
func FileCrate(file, member string) string {
	base := path.Base(file)
	switch name, hasLib := strings.CutPrefix(base, "lib"); {
	case hasLib && strings.HasSuffix(base, ".rlib"):
		// The part after the last dash is -Cextra-filename's hash; crate names
		// have no dash.
		name = strings.TrimSuffix(name, ".rlib")
		name, _, _ = strings.Cut(name, "-")
		return name
	case hasLib && strings.HasSuffix(base, ".so"):
		if stem, hash, ok := strings.Cut(strings.TrimSuffix(name, ".so"), "-"); ok && isHash(hash) {
			return stem
		}
		return ""
	}
	if member != "" {
		base = path.Base(member)
	}
	return unitCrate(base)
}

// unitCrate returns the crate of a codegen unit's object:
//
//	rg-b78c7a89dbbd9a51.rg.4c4f285ca0232937-cgu.03.rcgu.o    (rg)
//	my-tool.main.4c4f285ca0232937-cgu.0.rcgu.o               (main)
//	rg-b78c7a89dbbd9a51.du294b73nj4xkzz4gqqmhtguo.rcgu.o     (rg; allocator shim, incremental units)
func unitCrate(base string) string {
	stem, ok := strings.CutSuffix(base, ".rcgu.o")
	if !ok {
		return ""
	}
	stem = strings.TrimSuffix(stem, ".rcgu.o") // ThinLTO's units have it twice
	parts := strings.Split(stem, ".")
	if n := len(parts); n >= 4 && strings.HasSuffix(parts[n-2], "-cgu") {
		return parts[n-3]
	}
	name := parts[0]
	if i := strings.LastIndexByte(name, '-'); i > 0 && isHash(name[i+1:]) {
		name = name[:i]
	}
	return strings.ReplaceAll(name, "-", "_")
}

// isHash says whether s looks like the hash that Cargo puts into file names.
func isHash(s string) bool {
	_, ok := parseHash(s)
	return ok
}

// Crates tells the crates of symbols. The legacy mangling does not say where
// an `impl Trait for Type` stands when it is in the module of one of the two;
// then it is in the crate that depends on the other's, and the order of the
// link, in which a crate comes before those that it depends on, says which
// that is. The zero Crates knows this of the standard library only.
type Crates struct {
	rank map[string]int // position of a crate in the link, from 1
}

// Crates returns the Crates of a link.
func (r *Report) Crates() Crates {
	c := Crates{rank: make(map[string]int)}
	for _, in := range r.Inputs {
		if _, ok := c.rank[in.Crate]; !ok {
			c.rank[in.Crate] = len(c.rank) + 1
		}
	}
	return c
}

// standard lists crates of the standard library, those that depend on others
// before them.
var standard = map[string]int{"test": 1, "proc_macro": 2, "std": 3, "panic_unwind": 4, "panic_abort": 4, "unwind": 5, "alloc": 6, "core": 7, "compiler_builtins": 8}

// Of returns the crate that defines a symbol and, where the mangling says it
// (v0, generic functions), the crate that asked for the instance. Both are ""
// for a symbol that is not Rust's.
func (c Crates) Of(symbol string) (defined, instantiated string) {
	symbol = trimSymbol(symbol)
	if strings.HasPrefix(symbol, "_R") {
		return v0Crates(symbol)
	}
	of, trait := legacyCrates(symbol)
	switch {
	case of == "":
		return trait, ""
	case trait == "" || of == trait || !c.dependsOn(trait, of):
		return of, ""
	}
	return trait, ""
}

// OfSection returns the crate whose source a section comes from: by its
// symbols, or by the function that its name ends in (jump tables and
// landing-pad tables are named after theirs).
func (c Crates) OfSection(s *Section) string {
	for i := range s.Symbols {
		if defined, _ := c.Of(s.Symbols[i].Name); defined != "" {
			return defined
		}
	}
	if i := strings.Index(s.Name, "._"); i >= 0 {
		defined, _ := c.Of(s.Name[i+1:])
		return defined
	}
	return ""
}

// dependsOn says whether crate a depends on crate b, given that one of them
// depends on the other.
func (c Crates) dependsOn(a, b string) bool {
	sa, sb := standard[a], standard[b]
	switch {
	case sa != 0 && sb != 0:
		return sa < sb
	case sa != 0 || sb != 0:
		return sb != 0
	}
	ra, rb := c.rank[a], c.rank[b]
	return ra != 0 && rb != 0 && ra < rb
}

// trimSymbol removes what LLVM appends to a Rust name that it splits, copies or
// promotes: ".llvm.1234", ".0", ".cold". Other names stay as they are.
func trimSymbol(s string) string {
	if strings.HasPrefix(s, "_R") {
		s, _, _ = strings.Cut(s, ".")
		return s
	}
	const hash = len("17h0123456789abcdefE")
	if i := strings.LastIndex(s, "17h"); i > 0 && len(s)-i > hash && s[i+hash] == '.' {
		return s[:i+hash]
	}
	return s
}

// cutLegacyHash splits a symbol of the legacy mangling, _ZN…17h<16 digits>E,
// into what comes before "17h" and what the digits say.
func cutLegacyHash(symbol string) (before string, hash uint64, ok bool) {
	const tail = len("17h0123456789abcdefE")
	n := len(symbol) - tail
	if n < len("_ZN") || symbol[n:n+3] != "17h" || symbol[len(symbol)-1] != 'E' || symbol[:3] != "_ZN" {
		return "", 0, false
	}
	if hash, ok = parseHash(symbol[n+3 : n+19]); !ok {
		return "", 0, false
	}
	return symbol[:n], hash, true
}

// parseHash reads a hash of 16 hexadecimal digits.
func parseHash(digits string) (hash uint64, ok bool) {
	if len(digits) != 16 {
		return 0, false
	}
	bad := uint8(0)
	for i := range 16 {
		d := hexDigits[digits[i]]
		hash = hash<<4 | uint64(d&0xf)
		bad |= d
	}
	return hash, bad < 0x10
}

// hexDigits is the value of each hexadecimal digit, in lower case; 0x10 of what
// is none.
var hexDigits = func() (of [256]uint8) {
	for c := range of {
		of[c] = 0x10
	}
	for v, c := range []byte("0123456789abcdef") {
		of[c] = uint8(v)
	}
	return of
}()

// legacyCrates returns the crates named by a symbol of the legacy mangling.
// For a path that is one name, trait is "". For `<Type as Trait>::name`, of is
// Type's crate ("" for primitive types and type parameters).
func legacyCrates(symbol string) (of, trait string) {
	body, _, ok := cutLegacyHash(symbol)
	if !ok {
		return "", ""
	}
	body = body[len("_ZN"):]
	n, digits := 0, 0
	for digits < len(body) && body[digits] >= '0' && body[digits] <= '9' && n < len(body) {
		n = n*10 + int(body[digits]-'0')
		digits++
	}
	if digits == 0 || n == 0 || n > len(body)-digits {
		return "", ""
	}
	first := body[digits : digits+n]
	if !strings.Contains(first, "$") {
		return first, ""
	}
	text := legacyText(strings.TrimPrefix(first, "_"))
	inner, ok := strings.CutPrefix(text, "<")
	if !ok {
		return "", ""
	}
	self, rest := cutAs(strings.TrimSuffix(inner, ">"))
	return typeCrate(self), typeCrate(rest)
}

var legacyEscapes = strings.NewReplacer("..", "::", "$u20$.$GT$", " ->", "$SP$", "@", "$BP$", "*", "$RF$", "&", "$LT$", "<", "$GT$", ">", "$LP$", "(", "$RP$", ")", "$C$", ",",
	"$u7e$", "~", "$u20$", " ", "$u27$", "'", "$u5b$", "[", "$u5d$", "]", "$u7b$", "{", "$u7d$", "}", "$u3b$", ";", "$u2b$", "+", "$u22$", "\"")

func legacyText(s string) string { return legacyEscapes.Replace(s) }

// cutAs cuts "Type as Trait" at its " as ", not at one within angle brackets.
func cutAs(s string) (self, trait string) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '<':
			depth++
		case '>':
			if i == 0 || s[i-1] != '-' {
				depth--
			}
		case ' ':
			if depth == 0 && strings.HasPrefix(s[i:], " as ") {
				return s[:i], s[i+len(" as "):]
			}
		}
	}
	return s, ""
}

// typeCrate returns the crate that a type's own name begins with, looking
// through references, pointers, slices and tuples; "" if it has none.
func typeCrate(s string) string {
	for {
		t := strings.TrimLeft(s, "&*[( ")
		for _, word := range [...]string{"mut ", "const ", "dyn ", "unsafe ", "impl "} {
			t = strings.TrimPrefix(t, word)
		}
		if t == s {
			break
		}
		s = t
	}
	i := 0
	for i < len(s) && isNameByte(s[i]) {
		i++
	}
	if i > 0 && strings.HasPrefix(s[i:], "::") {
		return s[:i]
	}
	if strings.HasPrefix(s, "<") { // <A as B>::C
		self, trait := cutAs(s[1:])
		if c := typeCrate(self); c != "" {
			return c
		}
		return typeCrate(trait)
	}
	return ""
}
