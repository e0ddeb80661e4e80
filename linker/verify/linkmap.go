package verify

import (
	"bytes"
	"strconv"
	"strings"
)

// mapped is what a link map says of input sections, by their names.
type mapped struct {
	addr  map[string]uint64 // 0 for a name that occurs more than once
	order []string
}

// readMap reads the input sections of a link map. lld and mold write "VMA LMA size align file:(.text.f)" on a line;
// GNU ld and gold write " .text.f 0xaddr 0xsize file", breaking the line after a long name.
func readMap(data []byte) mapped {
	m := mapped{addr: map[string]uint64{}}
	add := func(name string, addr uint64) {
		if _, twice := m.addr[name]; twice {
			addr = 0
		} else {
			m.order = append(m.order, name)
		}
		m.addr[name] = addr
	}
	name := "" // of a section whose address is on the next line
	for line := range bytes.Lines(data) {
		fields := strings.Fields(string(line))
		if len(fields) == 0 {
			name = ""
			continue
		}
		if last := fields[len(fields)-1]; strings.HasSuffix(last, ")") && len(fields) >= 4 {
			if i := strings.LastIndex(last, ":("); i >= 0 {
				if addr, err := strconv.ParseUint(fields[0], 16, 64); err == nil {
					add(last[i+2:len(last)-1], addr)
					continue
				}
			}
		}
		if line[0] == ' ' && strings.HasPrefix(fields[0], ".") {
			name, fields = fields[0], fields[1:]
		}
		if name == "" || len(fields) == 0 {
			continue
		}
		if len(fields) >= 3 && strings.HasPrefix(fields[0], "0x") && strings.HasPrefix(fields[1], "0x") {
			if addr, err := strconv.ParseUint(fields[0][2:], 16, 64); err == nil {
				add(name, addr)
			}
		}
		name = ""
	}
	return m
}
