package report

import (
	"cmp"
	"slices"
	"strings"
)

// TreeNode is a node of the tree that a treemap draws: the file, its crates,
// their modules, and functions or constants as leaves.
type TreeNode struct {
	Name     string      `json:"n"`
	After    uint64      `json:"a"`           // bytes in the file
	Before   uint64      `json:"b"`           // bytes without folding
	Label    Label       `json:"k"`           // what most of it is
	Unloaded uint64      `json:"u,omitempty"` // bytes of After (and of Before) that are not loaded
	Small    uint64      `json:"s,omitempty"` // how many small ones a leaf sums up
	Children []*TreeNode `json:"c,omitempty"`

	byName map[string]*TreeNode
	labels map[Label]uint64
}

// Tree returns the file as a tree of at most about most nodes: the smallest
// leaves of a module are summed up in one, totals stay what they are.
func (z *Sizes) Tree(o *ViewOptions, most int) *TreeNode {
	root := &TreeNode{Name: z.File()}
	for i := range z.Items {
		it := &z.Items[i]
		if it.Bytes == 0 {
			continue
		}
		path := z.treePath(it, o)
		unloaded := it.Bytes
		if it.Memory > 0 {
			unloaded = 0
		}
		root.put(path, it.Bytes, it.Bytes, unloaded, it.Label)
	}
	if z.Report != nil {
		for i := range z.Report.Sections {
			s := &z.Report.Sections[i]
			saved := s.Size + s.FDE - s.After() - s.AfterFDE()
			if !s.Live() || saved == 0 || s.Kind == KindBSS || s.Kind == KindTBSS {
				continue
			}
			it := Item{Label: kindLabel(s.Kind), Of: SectionIndex(i), Crate: s.Defined, For: z.Report.Inputs[s.Input].Crate}
			if it.Crate == "" {
				it.Crate = it.For
			}
			if len(s.Symbols) > 0 {
				it.Symbol = s.Symbols[0].Name
			}
			root.put(z.treePath(&it, o), 0, saved, 0, it.Label)
		}
	}
	limit := uint64(0)
	for root.finish(limit) > most && limit <= root.Before { // modules alone may be more
		limit = max(2*limit, 16)
	}
	return root
}

func kindLabel(k Kind) Label {
	switch k {
	case KindCode:
		return LabelCode
	case KindRelro:
		return LabelRelro
	case KindLSDA:
		return LabelLSDA
	case KindUnwind:
		return LabelUnwind
	case KindData:
		return LabelData
	}
	return LabelRodata
}

// treePath is the path of an item in the tree: std and its crate, or the
// crate; modules; the name.
func (z *Sizes) treePath(it *Item, o *ViewOptions) []string {
	split := *o
	split.SplitStd = true
	crate := z.crate(it, &split)
	var path []string
	if it.Crate != "" && z.isStd(it.Crate, it.Of) {
		path = append(path, "std")
	}
	path = append(path, crate)
	switch {
	case it.Crate == "":
		name := z.Name(it)
		if name != crate {
			path = append(path, name)
		}
		return path
	case it.Symbol == "" && it.Of == None:
		return append(path, "["+it.Label.String()+"]")
	case it.Symbol == "" || strings.HasPrefix(it.Symbol, "anon.") || strings.HasPrefix(it.Symbol, ".Lanon."):
		return append(path, "[constants without a name]")
	}
	name := z.Demangled(it.Symbol)
	return append(append(path, modules(name, crate)...), name)
}

// modules returns the modules that a readable name lies in, without the crate:
// of a method in angle brackets, those of its type.
func modules(name, crate string) []string {
	name = strings.TrimLeft(name, "<&*[( ")
	for _, word := range [...]string{"mut ", "const ", "dyn "} {
		name = strings.TrimPrefix(name, word)
	}
	end := strings.IndexAny(name, "<> ([,;{")
	if end >= 0 {
		name = name[:end]
	}
	parts := strings.Split(strings.Trim(name, ":"), "::")
	if len(parts) < 2 || parts[0] != crate {
		return nil
	}
	var out []string
	for _, p := range parts[1 : len(parts)-1] {
		if p == "" || p[0] >= 'A' && p[0] <= 'Z' { // a type, not a module
			break
		}
		out = append(out, p)
	}
	const deepest = 3
	return out[:min(len(out), deepest)]
}

// put adds bytes at a path.
func (n *TreeNode) put(path []string, after, before, unloaded uint64, label Label) {
	for {
		n.After += after
		n.Before += before
		n.Unloaded += unloaded
		if n.labels == nil {
			n.labels = make(map[Label]uint64)
		}
		n.labels[label] += before
		if len(path) == 0 {
			return
		}
		child := n.byName[path[0]]
		if child == nil {
			child = &TreeNode{Name: path[0]}
			if n.byName == nil {
				n.byName = make(map[string]*TreeNode)
			}
			n.byName[path[0]] = child
		}
		n, path = child, path[1:]
	}
}

// finish makes Children, the largest first, sums up leaves smaller than limit
// and returns how many nodes there are.
func (n *TreeNode) finish(limit uint64) int {
	var most uint64
	for l, b := range n.labels {
		if b > most || b == most && l < n.Label {
			n.Label, most = l, b
		}
	}
	n.Children = nil
	rest := &TreeNode{labels: make(map[Label]uint64)}
	count := 1
	names := sortedNames(n.byName)
	for _, name := range names {
		child := n.byName[name]
		if len(child.byName) == 0 && child.Before < limit {
			rest.Small++
			rest.After += child.After
			rest.Before += child.Before
			rest.Unloaded += child.Unloaded
			for l, b := range child.labels {
				rest.labels[l] += b
			}
			continue
		}
		count += child.finish(limit)
		n.Children = append(n.Children, child)
	}
	if rest.Small > 0 {
		rest.Name = "… " + countOf(int(rest.Small), "small one")
		rest.finish(0)
		n.Children = append(n.Children, rest)
		count++
	}
	slices.SortStableFunc(n.Children, func(a, b *TreeNode) int { return cmp.Compare(b.Before, a.Before) })
	return count
}
