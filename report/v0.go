package report

// The v0 mangling (rustc book, "Symbol Mangling"; RFC 2603) says exactly which
// crate defines a path, where an impl stands, and which crate asked for a
// generic instance. Only those three are wanted here, so this reads over the
// rest of the grammar without building text.

// v0Crates returns the crate that defines a v0 symbol's item, and the crate
// that instantiated it ("" if the symbol does not say). Both are "" for a
// symbol that is malformed.
func v0Crates(symbol string) (defined, instantiated string) {
	p := v0Parser{s: symbol[len("_R"):]}
	if p.peek() >= '0' && p.peek() <= '9' {
		return "", "" // a later version of the mangling
	}
	defined = p.path()
	if p.bad || defined == "" {
		return "", ""
	}
	if c := p.peek(); c >= 'A' && c <= 'Z' {
		if instantiated = p.path(); p.bad {
			instantiated = ""
		}
	}
	return defined, instantiated
}

// maxV0Depth bounds recursion; rustc's own demangler allows 500.
const maxV0Depth = 500

type v0Parser struct {
	s     string // the symbol after "_R"; back references count from here
	i     int
	depth int
	steps int // paths and types read: back references must not make them explode
	bad   bool
}

func (p *v0Parser) peek() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

func (p *v0Parser) next() byte {
	c := p.peek()
	if c == 0 {
		p.bad = true
		return 0
	}
	p.i++
	return c
}

func (p *v0Parser) eat(c byte) bool {
	if p.peek() == c {
		p.i++
		return true
	}
	return false
}

// enter counts a level of the grammar; it says whether to go on.
func (p *v0Parser) enter() bool {
	p.depth++
	p.steps++
	if p.depth > maxV0Depth || p.steps > 1<<14 {
		p.bad = true
	}
	return !p.bad
}

// base62 reads a number that ends in '_': "_" is 0, "0_" is 1. Crates'
// disambiguators need all 64 bits and may wrap around; nothing looks at them.
func (p *v0Parser) base62() uint64 {
	if p.eat('_') {
		return 0
	}
	var n uint64
	for !p.bad {
		c := p.next()
		switch {
		case c == '_':
			return n + 1
		case c >= '0' && c <= '9':
			n = n*62 + uint64(c-'0')
		case c >= 'a' && c <= 'z':
			n = n*62 + uint64(c-'a') + 10
		case c >= 'A' && c <= 'Z':
			n = n*62 + uint64(c-'A') + 36
		default:
			p.bad = true
		}
	}
	return 0
}

func (p *v0Parser) disambiguator() {
	if p.eat('s') {
		p.base62()
	}
}

// identifier reads [disambiguator] ["u"] length ["_"] bytes.
func (p *v0Parser) identifier() string {
	p.disambiguator()
	p.eat('u')
	n := 0
	if c := p.next(); c < '0' || c > '9' {
		p.bad = true
	} else if n = int(c - '0'); n > 0 {
		for p.peek() >= '0' && p.peek() <= '9' && n < len(p.s) {
			n = n*10 + int(p.next()-'0')
		}
	}
	p.eat('_')
	if p.bad || n > len(p.s)-p.i {
		p.bad = true
		return ""
	}
	id := p.s[p.i : p.i+n]
	p.i += n
	return id
}

// backref reads what an earlier place holds with f.
func (p *v0Parser) backref(f func(*v0Parser) string) string {
	start := p.i - 1
	to := p.base62()
	if p.bad || to >= uint64(start) {
		p.bad = true
		return ""
	}
	after := p.i
	p.i = int(to)
	crate := f(p)
	p.i = after
	return crate
}

// path reads a path and returns the crate that it stands in.
func (p *v0Parser) path() (crate string) {
	if !p.enter() {
		return ""
	}
	defer func() { p.depth-- }()
	switch p.next() {
	case 'C':
		return p.identifier()
	case 'N':
		p.next() // namespace
		crate = p.path()
		p.identifier()
	case 'M': // inherent impl
		p.disambiguator()
		crate = p.path()
		p.typ()
	case 'X': // impl of a trait: the first path is where the impl stands
		p.disambiguator()
		crate = p.path()
		p.typ()
		p.path()
	case 'Y': // a trait's own item
		p.typ()
		crate = p.path()
	case 'I':
		crate = p.path()
		for !p.bad && !p.eat('E') {
			p.genericArg()
		}
	case 'B':
		crate = p.backref((*v0Parser).path)
	default:
		p.bad = true
	}
	return crate
}

func (p *v0Parser) genericArg() {
	switch p.peek() {
	case 'L':
		p.i++
		p.base62()
	case 'K':
		p.i++
		p.constant()
	default:
		p.typ()
	}
}

// typ reads a type; what it returns is only there to fit backref.
func (p *v0Parser) typ() string {
	if !p.enter() {
		return ""
	}
	defer func() { p.depth-- }()
	c := p.next()
	if c >= 'a' && c <= 'z' {
		return "" // a basic type
	}
	switch c {
	case 'R', 'Q':
		if p.eat('L') {
			p.base62()
		}
		p.typ()
	case 'P', 'O', 'S':
		p.typ()
	case 'A':
		p.typ()
		p.constant()
	case 'T':
		for !p.bad && !p.eat('E') {
			p.typ()
		}
	case 'F':
		p.binder()
		p.eat('U')
		if p.eat('K') && !p.eat('C') {
			p.identifier()
		}
		for !p.bad && !p.eat('E') {
			p.typ()
		}
		p.typ()
	case 'D':
		p.binder()
		for !p.bad && !p.eat('E') {
			p.path()
			for !p.bad && p.eat('p') {
				p.identifier()
				p.genericArg()
			}
		}
		if !p.eat('L') {
			p.bad = true
		}
		p.base62()
	case 'W': // a pattern type
		p.typ()
		p.pattern()
	case 'B':
		p.backref((*v0Parser).typ)
	default:
		p.i--
		p.path()
	}
	return ""
}

func (p *v0Parser) binder() {
	if p.eat('G') {
		p.base62()
	}
}

func (p *v0Parser) pattern() {
	switch p.next() {
	case 'R':
		p.constant()
		p.constant()
	case 'O':
		for !p.bad && !p.eat('E') {
			p.pattern()
		}
	case 'N':
	default:
		p.bad = true
	}
}

// constant reads a constant; what it returns is only there to fit backref.
func (p *v0Parser) constant() string {
	if !p.enter() {
		return ""
	}
	defer func() { p.depth-- }()
	switch c := p.next(); c {
	case 'p':
	case 'B':
		p.backref((*v0Parser).constant)
	case 'R', 'Q':
		p.constant()
	case 'A', 'T':
		for !p.bad && !p.eat('E') {
			p.constant()
		}
	case 'V':
		p.path()
		switch p.next() {
		case 'U':
		case 'T':
			for !p.bad && !p.eat('E') {
				p.constant()
			}
		case 'S':
			for !p.bad && !p.eat('E') {
				p.identifier()
				p.constant()
			}
		default:
			p.bad = true
		}
	default:
		if c < 'a' || c > 'z' {
			p.bad = true
			return ""
		}
		p.eat('n')
		for !p.bad && p.next() != '_' {
		}
	}
	return ""
}
