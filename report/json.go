package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// formatName is the value of the file's first field.
const formatName = "leanlink-report"

// column is a column of numbers that was read. Its JSON is read here because
// encoding/json's reflection takes several times as long.
type column []int64

// UnmarshalJSON reads an array of whole numbers.
func (c *column) UnmarshalJSON(b []byte) error {
	*c = make(column, 0, bytes.Count(b, []byte{','})+1)
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	if len(b) < 2 || b[0] != '[' {
		return fmt.Errorf("a column is not an array")
	}
	for i := 1; i < len(b); {
		switch b[i] {
		case ' ', '\t', '\r', '\n', ',', ']':
			i++
			continue
		}
		start := i
		for i < len(b) && (b[i] >= '0' && b[i] <= '9' || b[i] == '-') {
			i++
		}
		v, ok := parseInt(b[start:i])
		if !ok {
			return fmt.Errorf("a column has something else than a whole number: %.20q", b[start:])
		}
		*c = append(*c, v)
	}
	return nil
}

// parseInt reads a number of up to 18 digits the short way.
func parseInt(b []byte) (int64, bool) {
	d := b
	if len(d) > 0 && d[0] == '-' {
		d = d[1:]
	}
	if len(d) == 0 || len(d) > 18 {
		v, err := strconv.ParseInt(string(b), 10, 64)
		return v, err == nil
	}
	var v int64
	for _, c := range d {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	if len(d) < len(b) {
		v = -v
	}
	return v, true
}

// numbers is a column to be written: the numbers as text, each with a comma
// before it.
type numbers []byte

func (c *numbers) add(v int64) {
	switch u := uint64(v); {
	case u < 10:
		*c = append(*c, ',', byte('0'+u))
	case u < 100:
		*c = append(*c, ',', byte('0'+u/10), byte('0'+u%10))
	case u < 1000:
		*c = append(*c, ',', byte('0'+u/100), byte('0'+u/10%10), byte('0'+u%10))
	case u < 10000:
		*c = append(*c, ',', byte('0'+u/1000), byte('0'+u/100%10), byte('0'+u/10%10), byte('0'+u%10))
	default:
		*c = strconv.AppendInt(append(*c, ','), v, 10)
	}
}

// encoder writes the fields of JSON objects, one a line.
type encoder struct {
	b []byte // what is not yet written, and always the last byte
	w io.Writer
}

// flush writes what there is.
func (e *encoder) flush() {
	if n := len(e.b) - 1; n > 0 {
		e.write(e.b[:n])
		e.b = append(e.b[:0], e.b[n])
	}
}

func (e *encoder) write(b []byte) {
	if _, err := e.w.Write(b); err != nil {
		panic(err) // a buffer, which cannot fail
	}
}

// array appends an array of items that have a comma before each.
func (e *encoder) array(name string, items []byte) {
	e.key(name)
	e.b = append(e.b, '[')
	if len(items) > 0 {
		if items = items[1:]; len(items) > 1<<12 { // not worth a copy
			e.flush()
			e.write(e.b)
			e.write(items)
			e.b = e.b[:0]
		} else {
			e.b = append(e.b, items...)
		}
	}
	e.b = append(e.b, ']')
}

func (e *encoder) key(name string) {
	switch e.b[len(e.b)-1] {
	case '{', '[':
	default:
		e.b = append(e.b, ",\n"...)
	}
	e.b = append(e.b, '"')
	e.b = append(e.b, name...)
	e.b = append(e.b, `":`...)
}

func (e *encoder) number(name string, v uint64) {
	e.key(name)
	e.b = strconv.AppendUint(e.b, v, 10)
}

func (e *encoder) flag(name string, v bool) {
	e.key(name)
	e.b = strconv.AppendBool(e.b, v)
}

func (e *encoder) text(name, v string) {
	e.key(name)
	e.b = appendText(e.b, v)
}

func (e *encoder) texts(name string, list []string) {
	e.key(name)
	e.b = append(e.b, '[')
	for i, s := range list {
		if i > 0 {
			e.b = append(e.b, ',')
		}
		e.b = appendText(e.b, s)
	}
	e.b = append(e.b, ']')
}

func (e *encoder) object(name string, fields func()) {
	e.key(name)
	e.b = append(e.b, '{')
	fields()
	e.b = append(e.b, '}')
}

// list appends an array of n objects.
func (e *encoder) list(name string, n int, fields func(i int)) {
	e.key(name)
	e.b = append(e.b, '[')
	for i := range n {
		if i > 0 {
			e.b = append(e.b, ",\n"...)
		}
		e.b = append(e.b, '{')
		fields(i)
		e.b = append(e.b, '}')
	}
	e.b = append(e.b, ']')
}

func (e *encoder) bytes(b *Bytes) {
	for k, v := range b {
		e.number(kindNames[k], v)
	}
}

// appendText appends a JSON string. Names and paths may be any bytes, JSON
// only Unicode: one that is not UTF-8 is written as a NUL followed by its
// bytes as characters of the same number.
func appendText(b []byte, s string) []byte {
	if isPlain(s) {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	if !utf8.ValidString(s) || s[0] == 0 {
		wide := make([]rune, 1, len(s)+1)
		for i := range len(s) {
			wide = append(wide, rune(s[i]))
		}
		s = string(wide)
	}
	var out bytes.Buffer
	j := json.NewEncoder(&out)
	j.SetEscapeHTML(false)
	if err := j.Encode(s); err != nil {
		panic(err) // a valid string
	}
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte{'\n'})...)
}

// isPlain says whether a string stands for itself in JSON: it is printable ASCII
// without quotes and backslashes. Eight bytes are looked at at once: what is
// added or taken away changes the highest bit of each that is not such a
// character, and in a carry perhaps that of the next.
func isPlain(s string) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; len(s)-i >= 8; i += 8 {
		x := word(s[i:])
		quote, slash := x^'"'*ones, x^'\\'*ones
		if (x|(x+ones)|(x-' '*ones)|(quote-ones)&^quote|(slash-ones)&^slash)&highs != 0 {
			break // or a carry: the bytes one by one know better
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// plainText returns the bytes that a string of the file stands for.
func plainText(s string) (string, error) {
	if len(s) == 0 || s[0] != 0 {
		return s, nil
	}
	b := make([]byte, 0, len(s)-1)
	for _, c := range s[1:] {
		if c > 0xff {
			return "", fmt.Errorf("a string of bytes has a character that is none: %q", c)
		}
		b = append(b, byte(c))
	}
	return string(b), nil
}
