package merge

import (
	"bytes"
	"fmt"

	"leanlink/objfile"
)

// trap is a byte that fills what a poisoned section held: int3 as code, an
// address that no process has as a pointer, no UTF-8 as a string.
const trap = 0xcc

// poison leaves folded sections where they are, at addresses of their own, with
// traps for contents; lld and mold are told to keep them even if nothing refers
// to them, GNU ld and gold keep them if something does. Whatever still gets to one,
// by a reference that was not redirected or was computed in a way that nobody
// saw, ends the program instead of finding, by luck, what it looked for.
//
// For tests only: nothing becomes smaller.
func (e *editor) poison() error {
	if !e.l.opt.Poison {
		return nil
	}
	f := e.o.File
	if f.Machine != objfile.EM_X86_64 {
		return fmt.Errorf("%s: poison: no byte is known that traps on this machine", f.Name)
	}
	for i := range f.Sections {
		if e.p.Fate[e.o.Base+SecID(i)] == FateFolded {
			e.edit.SetContents(uint32(i), bytes.Repeat([]byte{trap}, int(f.Sections[i].Size)), nil)
			e.edit.Retain(uint32(i))
		}
	}
	return nil
}
