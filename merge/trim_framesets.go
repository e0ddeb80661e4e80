package merge

import (
	"encoding/binary"
	"maps"
	"slices"

	"leanlink/objfile"
)

// frameSets counts what common information with a set of saved registers would
// save of the entries that have it, by the old common information's bytes and
// the set. It counts over all objects: an entry then has the same common
// information wherever else the same one stands, and folding finds them equal.
type frameSets map[frameSet]int

type frameSet struct{ common, set string }

// savedBy makes the instructions of common information that says where all of
// an entry's rows have registers saved; "" if the old one says it already.
func savedBy(rows []frameRow, initial *frameRow) string {
	saved := maps.Clone(rows[0].offsets)
	for i := range rows {
		maps.DeleteFunc(saved, func(reg, at uint64) bool {
			other, has := rows[i].offsets[reg]
			return !has || other != at
		})
	}
	for reg, at := range initial.offsets {
		if saved[reg] != at {
			return "" // a rule that only some rows change
		}
	}
	if len(saved) == len(initial.offsets) {
		return ""
	}
	b := binary.AppendUvarint([]byte{cfaDefCFA}, initial.reg)
	b = binary.AppendUvarint(b, initial.offset)
	for _, reg := range slices.Sorted(maps.Keys(saved)) {
		if reg < 0x40 {
			b = append(b, cfaOffset|byte(reg))
		} else {
			b = binary.AppendUvarint(append(b, cfaOffsetExt), reg)
		}
		b = binary.AppendUvarint(b, saved[reg])
	}
	return string(b)
}

// code makes the instructions of an entry under common information with a set
// of saved registers, "" for its own.
func (e *callEntry) code(set string) []byte {
	initial := e.initial
	if set != "" {
		empty := frameRow{offsets: map[uint64]uint64{}}
		rows, _ := frameRows([]byte(set), empty, empty, 1)
		initial = rows[0]
	}
	return rowsCode(e.rows, &initial, e.codeAlign)
}

// key names an entry's old common information, its personality aside, and its
// set.
func (t *callTable) key(i int) (frameSet, *objfile.CIE) {
	cie := &t.eh.CIEs[t.eh.FDEs[i].CIE]
	return frameSet{string(t.o.File.Bytes(t.eh.Section)[cie.Offset:cie.End]), t.entries[i].set}, cie
}

// count notes what the sets would save of a table's entries.
func (s frameSets) count(t *callTable) {
	for i := range t.entries {
		if e := &t.entries[i]; !e.stays && e.set != "" {
			key, _ := t.key(i)
			head := int(t.eh.FDEs[i].InstrOff() - t.eh.FDEs[i].Offset())
			s[key] += padded(head+len(e.code(""))) - padded(head+len(e.code(e.set)))
		}
	}
}

// use reports whether an entry is to have the common information of its set:
// if the entries that have it would save several times what that takes, for
// not all of them are live, and some will fold.
func (s frameSets) use(t *callTable, i int) bool {
	if t.entries[i].set == "" {
		return false
	}
	key, cie := t.key(i)
	return s[key] >= 4*padded(int(cie.InstrOff-cie.Offset)+len(key.set))
}

// padded is the size of an entry of n bytes.
func padded(n int) int { return (n + 3) &^ 3 }
