package report

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What keeps what alive
//
// The report's edges are the references between sections as they came. In the
// output a folded section is its leader: who referred to it refers to the
// leader now. So the graph of the output has the leaders as nodes, an edge
// from a to b if any section that a stands for refers to any that b stands
// for, and a node above all that refers to the roots. (A jump refers to the
// leader that it jumps to and to nothing else, for the rest of its body is
// gone.)
//
// Node d dominates node n if every path from the top to n goes through d:
// without d, n would go as well. The dominators form a tree; what would go
// with d, its retained size, is the sum over d's subtree. The tree is computed
// by iteration to a fixed point in reverse postorder (Cooper, Harvey, Kennedy,
// "A Simple, Fast Dominance Algorithm", 2001); on graphs of links it settles
// in a few rounds, each linear in the number of edges.

// ErrNoEdges says that a report has no references between sections.
var ErrNoEdges = errors.New("the report has no references: they were left out to keep it small")

// graph is the graph of the output.
type graph struct {
	z     *Sizes
	rep   []SectionIndex // indexed by SectionIndex: what stands for it in the output, None if dropped
	start []uint32       // indexed by SectionIndex, and one more
	to    []SectionIndex
	via   []SectionIndex // as to: the section that was referred to, before folding
	roots []Root         // Section is what stands for it
}

// graph returns the graph of the output, made once.
func (z *Sizes) outputGraph() (*graph, error) {
	if z.graph != nil {
		return z.graph, nil
	}
	r := z.Report
	if len(r.Edges.Start) == 0 {
		return nil, ErrNoEdges
	}
	n := len(r.Sections)
	g := &graph{z: z, rep: make([]SectionIndex, n), start: make([]uint32, n+1)}
	members := make([][]SectionIndex, n) // what a leader stands for besides itself
	for i := range r.Sections {
		s := &r.Sections[i]
		switch s.Fate {
		case FateDropped:
			g.rep[i] = None
		case FateFolded:
			g.rep[i] = s.Into
			members[s.Into] = append(members[s.Into], SectionIndex(i))
		default:
			g.rep[i] = SectionIndex(i)
		}
	}
	seen := make([]SectionIndex, n)
	for i := range seen {
		seen[i] = None
	}
	for i := range r.Sections {
		from := SectionIndex(i)
		s := &r.Sections[i]
		add := func(t SectionIndex) {
			if to := g.rep[t]; to != None && to != from && seen[to] != from {
				seen[to] = from
				g.to = append(g.to, to)
				g.via = append(g.via, t)
			}
		}
		switch {
		case g.rep[i] != from:
		case s.Fate == FateThunk:
			add(s.Into)
		default:
			for _, t := range r.Edges.Of(from) {
				add(t)
			}
			for _, m := range members[i] {
				for _, t := range r.Edges.Of(m) {
					add(t)
				}
			}
		}
		g.start[i+1] = uint32(len(g.to))
	}
	have := make(map[SectionIndex]bool)
	for _, root := range r.Roots {
		if at := g.rep[root.Section]; at != None && !have[at] {
			have[at] = true
			g.roots = append(g.roots, Root{at, root.Why})
		}
	}
	z.graph = g
	return g, nil
}

func (g *graph) edges(i SectionIndex) []SectionIndex { return g.to[g.start[i]:g.start[i+1]] }

// bytes returns what a node takes in the file, with its frames.
func (g *graph) bytes(i SectionIndex) uint64 {
	s := &g.z.Report.Sections[i]
	if s.Kind == KindBSS || s.Kind == KindTBSS {
		return 0
	}
	return s.After() + s.AfterFDE()
}

// reach marks what the roots reach without going through blocked nodes.
func (g *graph) reach(blocked func(SectionIndex) bool) []bool {
	seen := make([]bool, len(g.rep))
	var queue []SectionIndex
	push := func(i SectionIndex) {
		if !seen[i] && (blocked == nil || !blocked(i)) {
			seen[i] = true
			queue = append(queue, i)
		}
	}
	for _, root := range g.roots {
		push(root.Section)
	}
	for len(queue) > 0 {
		i := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, t := range g.edges(i) {
			push(t)
		}
	}
	return seen
}

// step is one step of a path.
type step struct {
	section SectionIndex // what is reached
	as      SectionIndex // the section that the reference names; it was folded into section if it is another
	root    string       // why it is alive by itself: of a first step
}

// path returns a shortest path from a root to a node that is wanted; nil if
// none is reached.
func (g *graph) path(wanted func(SectionIndex) bool) []step {
	from := make([]SectionIndex, len(g.rep)) // before it on the path; itself for a root
	as := make([]SectionIndex, len(g.rep))
	for i := range from {
		from[i] = None
	}
	var queue []SectionIndex
	why := make(map[SectionIndex]string)
	for _, root := range g.roots {
		from[root.Section], as[root.Section] = root.Section, root.Section
		why[root.Section] = root.Why
		queue = append(queue, root.Section)
	}
	for k := 0; k < len(queue); k++ {
		i := queue[k]
		if wanted(i) {
			var steps []step
			for {
				steps = append(steps, step{i, as[i], ""})
				if from[i] == i {
					steps[len(steps)-1].root = why[i]
					slices.Reverse(steps)
					return steps
				}
				i = from[i]
			}
		}
		for e := g.start[i]; e < g.start[i+1]; e++ {
			if t := g.to[e]; from[t] == None {
				from[t], as[t] = i, g.via[e]
				queue = append(queue, t)
			}
		}
	}
	return nil
}

// dominators returns the immediate dominator of each node that is reached and
// the nodes in reverse postorder. The top is node len(rep); what is not
// reached has None.
func (g *graph) dominators() (idom []SectionIndex, order []SectionIndex) {
	n := len(g.rep)
	top := SectionIndex(n)
	number := make([]int32, n+1) // in postorder, from 1; 0 is not reached
	type frame struct {
		node SectionIndex
		next uint32
	}
	visited := make([]bool, n)
	count := int32(0)
	for _, root := range g.roots {
		if visited[root.Section] {
			continue
		}
		visited[root.Section] = true
		stack := []frame{{root.Section, g.start[root.Section]}}
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			if f.next == g.start[f.node+1] {
				count++
				number[f.node] = count
				order = append(order, f.node)
				stack = stack[:len(stack)-1]
				continue
			}
			t := g.to[f.next]
			f.next++
			if !visited[t] {
				visited[t] = true
				stack = append(stack, frame{t, g.start[t]})
			}
		}
	}
	number[top] = count + 1
	slices.Reverse(order)

	// Predecessors, of reached nodes only.
	predStart := make([]uint32, n+1)
	for _, i := range order {
		for _, t := range g.edges(i) {
			predStart[t+1]++
		}
	}
	for i := range n {
		predStart[i+1] += predStart[i]
	}
	pred := make([]SectionIndex, predStart[n])
	fill := slices.Clone(predStart)
	for _, i := range order {
		for _, t := range g.edges(i) {
			pred[fill[t]] = i
			fill[t]++
		}
	}

	idom = make([]SectionIndex, n+1)
	for i := range idom {
		idom[i] = None
	}
	idom[top] = top
	isRoot := make([]bool, n)
	for _, root := range g.roots {
		isRoot[root.Section] = true
	}
	meet := func(a, b SectionIndex) SectionIndex {
		for a != b {
			for number[a] < number[b] {
				a = idom[a]
			}
			for number[b] < number[a] {
				b = idom[b]
			}
		}
		return a
	}
	for changed := true; changed; {
		changed = false
		for _, i := range order {
			best := None
			if isRoot[i] {
				best = top
			}
			for _, p := range pred[predStart[i]:predStart[i+1]] {
				switch {
				case idom[p] == None:
				case best == None:
					best = p
				default:
					best = meet(p, best)
				}
			}
			if best != idom[i] {
				idom[i], changed = best, true
			}
		}
	}
	return idom, order
}

// Why shows the shortest path of references that keeps a symbol in the output.
func (z *Sizes) Why(symbol string, o *ViewOptions) ([]*Table, error) {
	g, err := z.outputGraph()
	if err != nil {
		return nil, err
	}
	found, dropped := z.findSymbol(symbol)
	if len(found) == 0 {
		if dropped != None {
			s := &z.Report.Sections[dropped]
			return nil, fmt.Errorf("%s is not in the output: %s", z.sectionTitle(dropped, o), s.Reason)
		}
		return nil, fmt.Errorf("no symbol in the output is called %q or has that in its name", symbol)
	}
	wanted := make(map[SectionIndex]bool)
	for _, i := range found {
		wanted[g.rep[i]] = true
	}
	steps := g.path(func(i SectionIndex) bool { return wanted[i] })
	if steps == nil {
		return nil, fmt.Errorf("%s: the report has no path to it from what is alive by itself", z.sectionTitle(found[0], o))
	}
	last := steps[len(steps)-1]
	t := &Table{Key: "path", Title: "What keeps " + z.sectionTitle(last.as, o) + " alive",
		Columns: []Column{{"bytes", "bytes", ColumnBytes}, {"kind", "is", ColumnText}, {"crate", "crate", ColumnText}, {"how", "", ColumnProse}, {"name", "name", ColumnName}}, Spare: []string{"kind"}}
	for k, st := range steps {
		how := "refers to"
		if k == 0 {
			how = "alive by itself: " + st.root
		}
		name := z.sectionTitle(st.as, o)
		if st.as != st.section {
			name += " (folded into " + z.sectionTitle(st.section, o) + ")"
		}
		t.add(g.bytes(st.section), z.Report.Sections[st.section].Kind.String(), z.sectionCrate(st.as, o), how, name)
	}
	if n := len(wanted); n > 1 {
		t.note("%d places match %q; this is the one that is nearest. Give more of the name to choose.", n, symbol)
	}
	return []*Table{t}, nil
}

// findSymbol returns the live sections that define a symbol of a name: mangled
// or demangled, else one whose name ends in it, else one that has it in it.
// dropped is one that is not in the output, if there are only such.
func (z *Sizes) findSymbol(name string) (found []SectionIndex, dropped SectionIndex) {
	dropped = None
	best := 4
	for i := range z.Report.Sections {
		s := &z.Report.Sections[i]
		rank := 4
		for k := range s.Symbols {
			y := s.Symbols[k].Name
			if y == name {
				rank = 0
				break
			}
			rank = min(rank, matchRank(z.Demangled(y), name))
		}
		if s.Name == name {
			rank = min(rank, 1)
		}
		switch {
		case rank == 4 || rank > best:
		case !s.Live():
			if dropped == None && rank < 3 {
				dropped = SectionIndex(i)
			}
		case rank < best:
			best = rank
			found = append(found[:0], SectionIndex(i))
		default:
			found = append(found, SectionIndex(i))
		}
	}
	return found, dropped
}

// matchRank says how well a demangled name fits what the user typed: 1 is the
// name, 2 its last parts, 3 something within it, 4 not at all.
func matchRank(name, typed string) int {
	switch {
	case name == typed:
		return 1
	case strings.HasSuffix(name, "::"+typed):
		return 2
	case typed != "" && strings.Contains(name, typed):
		return 3
	}
	return 4
}

// Retained lists what would go if one thing went: dominator sizes.
func (z *Sizes) Retained(o *ViewOptions) ([]*Table, error) {
	g, err := z.outputGraph()
	if err != nil {
		return nil, err
	}
	idom, order := g.dominators()
	retained := make([]uint64, len(idom))
	count := make([]uint64, len(idom))
	var all uint64
	for k := len(order) - 1; k >= 0; k-- { // children come after their dominator in reverse postorder
		i := order[k]
		retained[i] += g.bytes(i)
		count[i]++
		all += g.bytes(i)
		retained[idom[i]] += retained[i]
		count[idom[i]] += count[i]
	}
	t := &Table{Key: "retained", Title: "What would go if this went",
		Columns: []Column{{"retained", "goes with it", ColumnBytes}, {"share", "% of all", ColumnShare}, {"bytes", "itself", ColumnBytes}, {"parts", "parts", ColumnCount}, {"kind", "is", ColumnText},
			{"crate", "crate", ColumnText}, {"name", "name", ColumnName}}, Spare: []string{"kind", "share", "parts"}}
	nodes := slices.Clone(order)
	slices.SortStableFunc(nodes, func(a, b SectionIndex) int {
		switch {
		case retained[a] != retained[b]:
			if retained[a] > retained[b] {
				return -1
			}
			return 1
		}
		return int(a) - int(b)
	})
	for _, i := range nodes {
		if retained[i] == 0 {
			continue
		}
		crate := z.sectionCrate(i, o)
		if o.Filter != nil && !o.Filter.matches(z.sectionTitle(i, o), false, crate) {
			continue
		}
		if o.Rows > 0 && len(t.Rows) == o.Rows && o.Sort == "" {
			break
		}
		s := &z.Report.Sections[i]
		t.add(retained[i], share(retained[i], all), g.bytes(i), count[i], s.Kind.String(), crate, z.sectionTitle(i, o))
	}
	z.sort(t, o)
	if o.Rows > 0 && len(t.Rows) > o.Rows {
		t.Rows = t.Rows[:o.Rows]
	}
	t.note("Code, constants and unwind data of the link's inputs, %s bytes in all. Sizes overlap: what goes with something goes with what that goes with, too.", thousands(all))
	return []*Table{t}, nil
}
