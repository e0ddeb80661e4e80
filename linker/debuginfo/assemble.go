package debuginfo

// assembler makes the contents of parts, one after the other.
type assembler struct {
	zero    bool        // something lies at the address 0
	strings stringIndex // of the part of strings that was last asked for
	indexed *part       // that part
	data    []byte      // for what is made, with room for the largest stretch
}

// make makes a stretch of a section. The result is good until the next one is
// made.
func (a *assembler) make(t *stretch, s *section) ([]byte, error) {
	if s.strings != nil {
		return s.strings.data[t.at:t.end], nil
	}
	data := a.data[:t.end-t.at]
	behind := t.at // the part before
	for _, p := range t.parts {
		f := p.object.file
		end := p.at + f.Sections[p.from].Size
		clear(data[behind-t.at : p.at-t.at])
		if err := a.part(p, data[p.at-t.at:end-t.at]); err != nil {
			return nil, err
		}
		behind = end
	}
	return data, nil
}

// part writes a part's contents to data, which has its size.
func (a *assembler) part(p *part, data []byte) error {
	o, f := p.object, p.object.file
	contents := f.Bytes(p.from)
	willRead(contents)
	copy(data, contents)
	rs := f.Relocs(p.from)
	narrow, tombstone := f.WordSize() == 4, p.to.tombstone()
	for k := range rs.Len() {
		r := rs.At(k)
		field := o.machine.fields[r.Type] // scan has seen that it is one of these
		if field.size == 0 {
			continue
		}
		to, addend := &o.targets[r.Sym], r.Addend
		if !rs.Rela {
			addend, _ = o.addend(rs, r, contents) // scan has seen to exact ones, all others are words
		}
		value, what := uint64(0), "an offset"
		switch to.kind {
		case toWord, toExactly:
			if what = "an address"; to.kind == toExactly || field.other {
				value = o.words[o.exact[exactly{r.Type, r.Sym, addend}]].value
			} else if value = o.words[to.k].value; value == 0 || value == bias && !a.zero {
				value = tombstone
			} else {
				value += uint64(addend) - bias
			}
			if narrow {
				value = uint64(uint32(value)) // addresses wrap
			}
		case toPart:
			q := o.parts[to.k]
			value = to.value + uint64(addend) + q.at + q.to.base
		default:
			q := o.parts[to.k]
			if q != a.indexed {
				a.strings, a.indexed = q.strings.index(a.strings.first), q
			}
			at, rest := to.value+uint64(addend), uint64(0)
			if to.kind == toLabel {
				at, rest = to.value, uint64(addend)
			}
			was, ok := a.strings.find(at, f.Sections[q.from].Size)
			if !ok {
				return f.ErrorAt(p.from, r.Offset, "a relocation refers to a string outside "+q.to.name)
			}
			value = was + rest + q.to.base
		}
		if !put(data[r.Offset:], field.size, value) {
			return f.ErrorAt(p.from, r.Offset, what+" does not fit into its field")
		}
	}
	return nil
}
