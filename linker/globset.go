package linker

import "bytes"

// globSet is a list of globs that is asked which of them match a name, for
// each of many thousand names. It doesn't try them one by one: most begin with
// plain text, so they hang in a tree of that, and what doesn't begin like the
// name is never looked at.
type globSet struct {
	globs []glob
	nodes []globNode // the first is the root
}

// globNode stands for some plain text.
type globNode struct {
	ends []int32 // the globs that are that text and no more
	here []int32 // the globs that go on from there
	byte []byte  // what can follow
	next []int32 // the nodes of the text with one of those behind it
}

func newGlobSet(patterns []string) *globSet {
	s := &globSet{globs: globs(patterns), nodes: make([]globNode, 1)}
	for i := range s.globs {
		n, g := int32(0), &s.globs[i]
		if !g.all {
			for k := range len(g.prefix) {
				n = s.follow(n, g.prefix[k])
			}
		}
		if node := &s.nodes[n]; g.all || g.rest {
			node.here = append(node.here, int32(i))
		} else {
			node.ends = append(node.ends, int32(i))
		}
	}
	return s
}

// follow is the node behind a byte after a node's text, a new one if need be.
func (s *globSet) follow(n int32, b byte) int32 {
	if k := bytes.IndexByte(s.nodes[n].byte, b); k >= 0 {
		return s.nodes[n].next[k]
	}
	next := int32(len(s.nodes))
	s.nodes[n].byte = append(s.nodes[n].byte, b)
	s.nodes[n].next = append(s.nodes[n].next, next)
	s.nodes = append(s.nodes, globNode{})
	return next
}

// matches appends the indices of the globs that match a name, in no order.
func (s *globSet) matches(list []int32, name string) []int32 {
	n := &s.nodes[0]
	for k := 0; ; k++ {
		for _, i := range n.here {
			if g := &s.globs[i]; g.all || g.run || g.match(name) {
				list = append(list, i)
			}
		}
		if k == len(name) {
			return append(list, n.ends...)
		}
		next := bytes.IndexByte(n.byte, name[k])
		if next < 0 {
			return list
		}
		n = &s.nodes[n.next[next]]
	}
}

// match reports whether any of the globs matches a name.
func (s *globSet) match(name string) bool {
	var list [8]int32
	return len(s.matches(list[:0], name)) > 0
}
