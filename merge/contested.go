package merge

import (
	"fmt"
	"strings"
)

// Taken names the extracted members, by their places, to compare two ways of
// extracting.
func (x *Search) Taken() string {
	var b strings.Builder
	for i := range x.inputs {
		for k, m := range x.inputs[i].Members {
			if m.taken {
				fmt.Fprintf(&b, "%d.%d ", i, k)
			}
		}
	}
	return b.String()
}

// Contested returns a name over which linkers that search archives in one way
// otherwise come to different members, "" if there is none: an object has a
// common symbol that a member not extracted may define, or refers to what both
// a shared object and such a member offer.
func (x *Search) Contested() string {
	const (
		common  = 1 << iota // an object has it as a common symbol
		wanted              // an object refers to it
		shared              // a shared object offers it
		offered             // a member that was not extracted defines it
		defined             // an object does
	)
	for i := range x.inputs {
		for _, m := range x.inputs[i].Members {
			x.defines(m)
		}
	}
	said := make([]uint8, len(x.names.names)) // indexed by SymID
	look := func(g *globals) {
		for k, id := range g.ids {
			switch kind := g.kinds[k]; {
			case kind.rank() == rankCommon:
				said[id] |= common
			case kind.rank() == rankNone && !kind.is(globalWeak):
				said[id] |= wanted
			}
		}
	}
	for i := range x.inputs {
		in := &x.inputs[i]
		if in.File != nil {
			g := x.files[in.File]
			look(g)
			for k, id := range g.ids {
				if g.kinds[k].rank() != rankNone {
					said[id] |= defined
				}
			}
		}
		if in.Shared != nil {
			g := x.files[in.Shared]
			for k, id := range g.ids {
				if kind := g.kinds[k]; kind.rank() != rankNone && !kind.is(globalOld) {
					said[id] |= shared
				}
			}
		}
		for _, m := range in.Members {
			does := uint8(offered)
			if m.taken {
				does = defined
			}
			for _, id := range x.defines(m) {
				said[id] |= does
			}
			if m.File() != nil {
				look(m.globals)
			}
		}
	}
	first := ""
	for id, s := range said {
		// What is defined is not looked for.
		contested := s&common != 0 || s&(wanted|shared|defined) == wanted|shared
		if name := x.names.names[id]; s&offered != 0 && contested && (first == "" || name < first) {
			first = name
		}
	}
	return first
}
