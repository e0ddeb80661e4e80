package merge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/zeebo/xxh3"

	"leanlink/objfile"
)

// Folding
//
// The problem. A Rust link has the same function many times: generic code
// is compiled in every crate and codegen unit that uses it, and different
// types give equal machine code. Two copies are equal if their bytes are,
// and if what their relocations refer to is equal in turn: copies call
// copies, and each codegen unit has its own copies of the constants.
//
//	f:  lea  a.str        g:  lea  b.str       a.str = b.str = "x"
//	    call p                call q           p calls f, q calls g
//
// f and g are the same function, if p and q are; p and q are, if f and g are.
//
// The method. Sections are the nodes of a graph, labelled with all that can
// be compared at once (bytes, flags, relocation types and offsets, targets
// that have an identity, call frames), and relocations are ordered edges to
// the nodes whose identity does not matter. We want the coarsest partition
// in which equal class means equal label and, edge by edge, equal class of
// the targets: the greatest bisimulation. Starting from the labels (as if
// all edges agreed) and splitting what disagrees finds it, mutual recursion
// included, for nothing is ever assumed different without a reason. Starting
// from "all differ" and joining, as gold does, never joins f and g above.
//
// Refinement follows Paige and Tarjan (Three Partition Refinement
// Algorithms, 1987) in that a class that splits leaves its old name to its
// largest part, so that a node is looked at again only when something that
// it points to went to a smaller part: O(n log n) looks at each edge.
//
// Why it ends: every round splits at least one class, and there are at most
// as many classes as nodes. In practice it takes 4 to 15 rounds.
//
// Hashes stand for labels and for edges' classes. A collision would join
// what is different, so the result is compared at the end, byte by byte and
// target by target, and thrown away as a whole if one pair disagrees.

// folder holds the state of the partition.
type folder struct {
	l     *Link
	nodes []SecID // candidates, ascending; what the slices below are indexed by
	index []int32 // indexed by SecID: the node, −1 if not a candidate
	// identity says that a function's address tells it apart from its
	// equals. Indexed by SecID.
	identity []bool
	class    []int32

	// Edges in compressed rows: node n follows succ[succAt[n]:succAt[n+1]].
	succ   []int32
	succAt []uint32
	pred   []int32
	predAt []uint32

	members [][]int32 // indexed by class: its nodes, ascending
}

// errCollision is what the final comparison finds when a hash lied.
var errCollision = errors.New("two different sections have the same hash")

// fold computes the partition of the eligible sections of l.
func (l *Link) fold(reasons []Reason) (*folder, error) {
	f := &folder{l: l, index: make([]int32, l.Sections()), identity: make([]bool, l.Sections())}
	for id := range f.index {
		f.index[id] = -1
		if l.live[id] && reasons[id] == Eligible {
			f.index[id] = int32(len(f.nodes))
			f.nodes = append(f.nodes, SecID(id))
		}
		f.identity[id] = l.significant(SecID(id))
	}
	f.label()
	f.refine()
	return f, f.check()
}

// significant reports whether a function's address tells it apart: whether
// folding it into another could be observed, in the mode of this link.
func (l *Link) significant(id SecID) bool {
	w := l.weight[id]
	if w < materialised || w == exported {
		return w == exported
	}
	o, i := l.Of(id)
	if l.opt.Mode != ModeAll {
		return true
	}
	if o.Rust {
		return false // rustc declares all its functions unnamed_addr
	}
	if o.significant == nil {
		return true
	}
	for _, k := range o.Symbols(i) {
		if o.significant[k] {
			return true
		}
	}
	for k := uint32(1); k < o.File.FirstGlobal; k++ {
		if s := o.File.Symbol(k); s.Type == objfile.STT_SECTION && s.Section == i && o.significant[k] {
			return true
		}
	}
	return false
}

// label gives every node its first class, by all that can be compared
// without knowing classes, and collects its edges.
func (f *folder) label() {
	keys := make([]xxh3.Uint128, len(f.nodes))
	f.succAt = make([]uint32, len(f.nodes)+1)
	rows := make([][]int32, (len(f.nodes)+chunk-1)/chunk) // the edges of each chunk's nodes
	var labelers sync.Pool
	inChunks(len(f.nodes), func(from, to int) {
		x, _ := labelers.Get().(*labeler)
		if x == nil {
			x = &labeler{folder: f, hash: xxh3.New()}
		}
		x.edges = x.edges[:0]
		for n := from; n < to; n++ {
			before := len(x.edges)
			x.hash.Reset()
			x.node(f.nodes[n])
			x.hash.Write(x.buf)
			o, i := f.l.Of(f.nodes[n])
			x.hash.Write(o.File.Bytes(i))
			keys[n] = x.hash.Sum128()
			f.succAt[n+1] = uint32(len(x.edges) - before)
		}
		rows[from/chunk] = slices.Clone(x.edges)
		labelers.Put(x)
	})
	for i := 1; i < len(f.succAt); i++ {
		f.succAt[i] += f.succAt[i-1]
	}
	f.succ = make([]int32, 0, f.succAt[len(f.nodes)])
	for _, row := range rows {
		f.succ = append(f.succ, row...)
	}
	f.classify(keys)
	f.reverse()
}

// classify puts nodes with equal keys into one class. Classes are numbered in
// the order of their first nodes.
func (f *folder) classify(keys []xxh3.Uint128) {
	f.class = make([]int32, len(keys))
	room := 1
	for room < 2*len(keys) {
		room *= 2
	}
	first := make([]int32, room) // a class's first node + 1, where its key says or behind; 0 for none
	size := make([]int32, 0, len(keys))
	for n, key := range keys {
		at := int(key.Lo) & (room - 1)
		for first[at] != 0 && keys[first[at]-1] != key {
			at = (at + 1) & (room - 1)
		}
		if first[at] == 0 {
			first[at] = int32(n + 1)
			f.class[n] = int32(len(size))
			size = append(size, 1)
			continue
		}
		c := f.class[first[at]-1]
		f.class[n] = c
		size[c]++
	}
	all := make([]int32, len(keys))
	f.members = make([][]int32, len(size))
	for c, n := range size {
		f.members[c], all = all[:0:n], all[n:]
	}
	for n, c := range f.class {
		f.members[c] = append(f.members[c], int32(n))
	}
}

// labeler makes the labels of a run of nodes.
type labeler struct {
	*folder
	hash  *xxh3.Hasher
	buf   []byte
	edges []int32
}

// node makes the label of one node, its contents left out, and appends its
// edges.
func (f *labeler) node(id SecID) {
	o, i := f.l.Of(id)
	s := &o.File.Sections[i]
	buf := binary.LittleEndian.AppendUint32(f.buf[:0], f.l.class[id])
	buf = binary.LittleEndian.AppendUint64(buf, s.Flags)
	buf = f.labelRelocs(buf, o, i)
	if source, ok := f.l.source[id]; ok {
		buf = binary.LittleEndian.AppendUint32(append(buf, "copy"...), uint32(source))
	}
	buf = f.l.labelMapping(buf, o, i)
	buf = f.labelTied(buf, o, i)
	for _, ref := range o.framesOf(i) {
		buf = f.labelFrame(buf, o, ref)
	}
	f.buf = buf
}

// reverse makes the rows of predecessors from those of successors.
func (f *folder) reverse() {
	f.predAt = make([]uint32, len(f.nodes)+1)
	for _, s := range f.succ {
		f.predAt[s+1]++
	}
	for i := 1; i < len(f.predAt); i++ {
		f.predAt[i] += f.predAt[i-1]
	}
	f.pred = make([]int32, len(f.succ))
	at := append([]uint32(nil), f.predAt...)
	for n := range f.nodes {
		for _, s := range f.succ[f.succAt[n]:f.succAt[n+1]] {
			f.pred[at[s]] = int32(n)
			at[s]++
		}
	}
}

func (f *labeler) labelRelocs(buf []byte, o *Object, i uint32) []byte {
	rs := o.File.Relocs(i)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(rs.Len()))
	for k := range rs.Len() {
		r := rs.At(k)
		buf = binary.LittleEndian.AppendUint64(buf, r.Offset)
		buf = f.labelOperand(buf, r.Type, f.operandOf(o, i, rs, r))
	}
	return buf
}

// labelOperand appends an operand to a label, or an edge to the graph.
func (f *labeler) labelOperand(buf []byte, typ uint32, op operand) []byte {
	var b [29]byte
	binary.LittleEndian.PutUint32(b[:], typ)
	b[4] = byte(op.kind)
	binary.LittleEndian.PutUint64(b[5:], op.id)
	binary.LittleEndian.PutUint64(b[13:], uint64(op.off))
	binary.LittleEndian.PutUint64(b[21:], op.form)
	buf = append(buf, b[:]...)
	if op.kind == operandPiece {
		buf = binary.LittleEndian.AppendUint32(buf, op.class)
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(op.piece)))
		buf = append(buf, op.piece...)
	}
	if op.follows >= 0 {
		f.edges = append(f.edges, op.follows)
	}
	return buf
}

func (f *labeler) labelFrame(buf []byte, o *Object, ref fdeRef) []byte {
	eh := o.frames[ref.frame]
	fde := &eh.FDEs[ref.fde]
	cie := &eh.CIEs[fde.CIE]
	b, rs := o.File.Bytes(eh.Section), o.File.Relocs(eh.Section)
	buf = append(buf, "FDE"...)
	buf = binary.LittleEndian.AppendUint64(buf, fde.Range)
	buf = append(buf, b[cie.Offset+4:cie.End]...)
	buf = append(buf, trimNops(b[fde.InstrOff():fde.End()])...)
	for _, k := range o.innerRelocs(ref) {
		r := rs.At(k)
		buf = binary.LittleEndian.AppendUint64(buf, r.Offset-fde.Offset())
		buf = binary.LittleEndian.AppendUint32(buf, r.Type)
		buf = binary.LittleEndian.AppendUint64(buf, uint64(f.placeOf(o, r)))
	}
	if ref.lsda >= 0 {
		r := rs.At(int(ref.lsda))
		buf = f.labelOperand(buf, r.Type, f.operandOf(o, eh.Section, rs, r))
	}
	if k := o.commonOf(ref).personality; k >= 0 {
		r := rs.At(int(k))
		buf = f.labelOperand(buf, r.Type, f.operandOf(o, eh.Section, rs, r))
	}
	return buf
}

// refine splits classes until, edge by edge, members' targets are in equal
// classes.
func (f *folder) refine() {
	sig := make([]uint64, len(f.nodes))
	dirty := make([]bool, len(f.nodes))
	touched := make([]bool, len(f.members))
	var work []int32
	for n := range f.nodes {
		if len(f.members[f.class[n]]) > 1 && f.succAt[n] < f.succAt[n+1] {
			work, dirty[n] = append(work, int32(n)), true
		}
	}
	var buf []byte
	for len(work) > 0 {
		var classes []int32
		for _, n := range work {
			dirty[n] = false
			c := f.class[n]
			if len(f.members[c]) < 2 {
				continue
			}
			buf = buf[:0]
			for _, s := range f.succ[f.succAt[n]:f.succAt[n+1]] {
				buf = binary.LittleEndian.AppendUint32(buf, uint32(f.class[s]))
			}
			sig[n] = xxh3.Hash(buf)
			if !touched[c] {
				touched[c] = true
				classes = append(classes, c)
			}
		}
		var moved []int32
		for _, c := range classes {
			touched[c] = false
			moved = f.split(c, sig, moved)
		}
		for len(touched) < len(f.members) {
			touched = append(touched, false)
		}
		work = work[:0]
		for _, n := range moved {
			for _, p := range f.pred[f.predAt[n]:f.predAt[n+1]] {
				if !dirty[p] && len(f.members[f.class[p]]) > 1 {
					work, dirty[p] = append(work, p), true
				}
			}
		}
	}
}

// split divides a class by its members' signatures. The largest part keeps
// the name; the members of the others are appended to moved.
func (f *folder) split(c int32, sig []uint64, moved []int32) []int32 {
	all := f.members[c]
	if !slices.ContainsFunc(all[1:], func(n int32) bool { return sig[n] != sig[all[0]] }) {
		return moved
	}
	parts := map[uint64][]int32{}
	var order []uint64 // of first appearance, so that the result depends on no map
	for _, n := range all {
		if parts[sig[n]] == nil {
			order = append(order, sig[n])
		}
		parts[sig[n]] = append(parts[sig[n]], n)
	}
	if len(order) == 1 {
		return moved
	}
	best := order[0]
	for _, s := range order {
		if len(parts[s]) > len(parts[best]) {
			best = s
		}
	}
	f.members[c] = parts[best]
	for _, s := range order {
		if s == best {
			continue
		}
		id := int32(len(f.members))
		f.members = append(f.members, parts[s])
		for _, n := range parts[s] {
			f.class[n] = id
		}
		moved = append(moved, parts[s]...)
	}
	return moved
}

// check compares every member of every class with the first, directly.
func (f *folder) check() error {
	wrong := make([]error, (len(f.members)+chunk-1)/chunk)
	inChunks(len(f.members), func(from, to int) {
		for c := from; c < to && wrong[from/chunk] == nil; c++ {
			wrong[from/chunk] = f.checkClass(f.members[c])
		}
	})
	for _, err := range wrong {
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) checkClass(m []int32) error {
	for k := 1; k < len(m); k++ {
		if !f.same(f.nodes[m[0]], f.nodes[m[k]]) {
			a, i := f.l.Of(f.nodes[m[0]])
			b, k := f.l.Of(f.nodes[m[k]])
			return fmt.Errorf("%w: %s: %s and %s: %s", errCollision, a.File.Name, a.File.Sections[i].Name, b.File.Name, b.File.Sections[k].Name)
		}
	}
	return nil
}
