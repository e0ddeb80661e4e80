package merge

import (
	"strings"
	"sync"
)

// outputClass tells apart sections that can end up in different output
// sections.
func (l *Link) outputClass(o *Object, name string) string {
	if l.opt.Class != nil {
		return l.opt.Class(int(o.index), name)
	}
	return defaultClass(name)
}

// defaultClass is the first component of a name (.text of .text.main), two
// for .data.rel.ro.
func defaultClass(name string) string {
	if strings.HasPrefix(name, ".data.rel.ro") {
		return ".data.rel.ro"
	}
	if len(name) > 1 {
		if k := strings.IndexByte(name[1:], '.'); k >= 0 {
			return name[:k+1]
		}
	}
	return name
}

// classTable numbers output classes from 1 on, in whichever order they turn
// up: a number says no more than that it is another.
type classTable struct {
	mu      sync.Mutex // several threads number
	classes map[string]uint32
}

func (t *classTable) number(class string) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok := t.classes[class]
	if !ok {
		if t.classes == nil {
			t.classes = map[string]uint32{}
		}
		n = uint32(len(t.classes) + 1)
		t.classes[class] = n
	}
	return n
}

// An objectClasses numbers the classes of one object's sections: most are of
// the same class as the one before.
type objectClasses struct {
	all  *classTable
	text string
	last uint32 // the number of text, 0 as long as there was none
}

func (c *objectClasses) number(class string) uint32 {
	if c.last == 0 || class != c.text {
		c.text, c.last = class, c.all.number(class)
	}
	return c.last
}
