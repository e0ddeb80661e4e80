package objfile

// Scratch is the memory of an edit and then of the next. Fresh memory costs more
// than most of what is done with it: the system has to clear it, and it is in no
// cache. It is not for several at once.
type Scratch struct {
	bytes    slab[byte]
	flags    slab[bool]
	numbers  slab[uint32]
	runs     slab[[]byte]
	overlays slab[overlay]
	extents  slab[extent]
	changes  slab[change]
	pieces   slab[Piece]
}

// Reset has another edit use the memory. The one before and its Pieces must not be
// looked at again.
func (s *Scratch) Reset() {
	s.bytes.reset()
	s.flags.reset()
	s.numbers.reset()
	s.runs.reset()
	s.overlays.reset()
	s.extents.reset()
	s.changes.reset()
	s.pieces.reset()
}

// NewEdit begins an edit of f with this memory.
func (s *Scratch) NewEdit(f *File) *Edit {
	return &Edit{f: f, scratch: s, moved: map[uint32][]byte{}}
}

// clone copies bytes.
func (s *Scratch) clone(b []byte) []byte {
	to := s.bytes.take(len(b))
	copy(to, b)
	return to
}

// room makes room for n bytes more behind some that grow.
func (s *Scratch) room(b []byte, n int) []byte {
	const least = 4096
	if len(b)+n <= cap(b) {
		return b
	}
	return append(s.bytes.take(max(2*cap(b), len(b)+n, least))[:0], b...)
}

// slab hands out slices, one after the other.
type slab[T any] struct {
	block []T // that slices are cut from
	free  []T // the rest of it
	used  int // elements that were handed out since the reset, of this block and those before
}

// take hands out n elements, whose values are any.
func (s *slab[T]) take(n int) []T {
	if n > len(s.free) {
		s.block = make([]T, max(n, s.used))
		s.free = s.block
	}
	s.used += n
	taken := s.free[:n:n]
	s.free = s.free[n:]
	return taken
}

// cleared hands out n elements that are zero.
func (s *slab[T]) cleared(n int) []T {
	taken := s.take(n)
	clear(taken)
	return taken
}

// reset takes all of them back.
func (s *slab[T]) reset() {
	if s.used > len(s.block) {
		s.block = make([]T, s.used)
	}
	s.free, s.used = s.block, 0
}
