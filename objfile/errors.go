package objfile

import "fmt"

// FormatError says where an input departs from its format.
type FormatError struct {
	File    string // path or path(member)
	Section string // section name, or "" for the file as a whole
	Offset  uint64 // byte offset within the section, or the file where Section is ""
	What    string
}

// Error gives one line: path(member): section .text.f: offset 0x10: what.
func (e *FormatError) Error() string {
	if e.Section == "" {
		return fmt.Sprintf("%s: offset %#x: %s", e.File, e.Offset, e.What)
	}
	return fmt.Sprintf("%s: section %s: offset %#x: %s", e.File, e.Section, e.Offset, e.What)
}
