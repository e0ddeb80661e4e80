package report

import (
	"fmt"
	"regexp"
	"strings"
)

// ViewOptions are what a user can ask of a view.
type ViewOptions struct {
	Rows     int       // rows to list before the others are summed up; 0 lists all
	Filter   *Filter   // what to list; nil lists all
	SplitStd bool      // the standard library's crates apart
	Names    NameStyle // how symbols are written
	Sort     string    // key of the column to sort by; "" is the view's own order
	Data     bool      // of top: constants and statics instead of functions
	Asked    bool      // crates are those that asked for a function, not those that define it
}

// NameStyle says how symbols are written.
type NameStyle uint8

// The ways to write a symbol.
const (
	NamesShort   NameStyle = iota // demangled
	NamesFull                     // demangled, with the hash that tells instances apart
	NamesMangled                  // as in the symbol table
)

// Filter selects by crate or by a pattern of names.
type Filter struct {
	text    string
	pattern *regexp.Regexp
}

// NewFilter makes a filter of a crate's name or a regular expression.
func NewFilter(text string) (*Filter, error) {
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", text, err)
	}
	return &Filter{text, re}, nil
}

// matches says whether the filter selects something; crates go before
// patterns, as in cargo-bloat.
func (f *Filter) matches(name string, isCrate bool, crates ...string) bool {
	if f == nil {
		return true
	}
	for _, c := range crates {
		if c == f.text {
			return true
		}
	}
	return !isCrate && f.pattern.MatchString(name)
}

// filterByCrate says whether the filter's text is the name of a crate of z.
func (z *Sizes) filterByCrate(o *ViewOptions) bool {
	if o.Filter == nil {
		return false
	}
	for i := range z.Items {
		it := &z.Items[i]
		if z.crate(it, o) == o.Filter.text || it.Crate == o.Filter.text {
			return true
		}
	}
	return false
}

// SymbolName writes a symbol in a style.
func (z *Sizes) SymbolName(symbol string, style NameStyle) string {
	switch style {
	case NamesMangled:
		return symbol
	case NamesFull:
		if _, hash, ok := cutLegacyHash(trimSymbol(symbol)); ok {
			return fmt.Sprintf("%s::h%016x", z.Demangled(symbol), hash)
		}
	}
	return z.Demangled(symbol)
}

// itemName writes the name of an item in the style that is asked for.
func (z *Sizes) itemName(it *Item, o *ViewOptions) string {
	if it.Symbol == "" {
		return z.Name(it)
	}
	return z.SymbolName(it.Symbol, o.Names)
}

// crate returns the crate that an item counts for: the standard library's
// count as std unless they are to be told apart.
func (z *Sizes) crate(it *Item, o *ViewOptions) string {
	c := it.Crate
	if o.Asked && it.For != "" {
		c = it.For
	}
	if c != "" && !o.SplitStd && z.isStd(c, it.Of) {
		return "std"
	}
	return owner(c, it)
}

// isStd says whether a crate is part of the standard library. Copies of some
// crates are in it, too (hashbrown, gimli): those that rustc brought along
// are, the same crate that the user depends on is not.
func (z *Sizes) isStd(crate string, of SectionIndex) bool {
	if standard[crate] != 0 || crate == "__rustc" {
		return true
	}
	if z.Report == nil {
		return false
	}
	if of != None {
		return strings.HasPrefix(z.Report.Inputs[z.Report.Sections[of].Input].Path, "$SYSROOT/")
	}
	if z.std == nil {
		z.std = make(map[string]bool)
		for _, in := range z.Report.Inputs {
			own := strings.HasPrefix(in.Path, "$SYSROOT/")
			if known, ok := z.std[in.Crate]; !ok || known {
				z.std[in.Crate] = own
			}
		}
	}
	return z.std[crate]
}

// sectionCrate is crate for a section of the report.
func (z *Sizes) sectionCrate(i SectionIndex, o *ViewOptions) string {
	s := &z.Report.Sections[i]
	asker := z.Report.Inputs[s.Input].Crate
	c := s.Defined
	if c == "" || o.Asked && asker != "" {
		c = asker
	}
	switch {
	case c == "":
		return "[C and assembly]"
	case !o.SplitStd && z.isStd(c, i):
		return "std"
	}
	return c
}

// sectionTitle is what a section of the report is best called.
func (z *Sizes) sectionTitle(i SectionIndex, o *ViewOptions) string {
	s := &z.Report.Sections[i]
	if len(s.Symbols) > 0 {
		return z.SymbolName(s.Symbols[0].Name, o.Names)
	}
	return s.Name
}

// CrateOf returns the crate that an item counts for: "std" for the standard
// library's unless they are to be told apart, in brackets what is no crate's.
func (z *Sizes) CrateOf(it *Item, o *ViewOptions) string { return z.crate(it, o) }
