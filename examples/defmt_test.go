package examples

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A defmt message is sent as the address of a symbol in the section .defmt, whose name is the message: the log can be
// read only if the link kept each of these symbols at an address of its own. This decodes as much of the format as the
// example firmware uses.
type defmtMessage struct{ Tag, Data string }

// decodeDefmt turns the frames that a program sent into lines.
func decodeDefmt(program string, sent []byte) (string, error) {
	messages, err := readDefmt(program)
	if err != nil {
		return "", err
	}
	var log strings.Builder
	for frame := range bytes.SplitSeq(sent, []byte{0}) {
		if len(frame) == 0 {
			continue
		}
		args, err := unstuff(frame)
		if err != nil {
			return "", fmt.Errorf("frame % x: %w", frame, err)
		}
		decoder := defmtDecoder{messages, args}
		tag, text, err := decoder.message()
		if err != nil {
			return "", fmt.Errorf("frame % x: %w", args, err)
		}
		fmt.Fprintf(&log, "%s %s\n", strings.TrimPrefix(tag, "defmt_"), text)
	}
	return log.String(), nil
}

// readDefmt reads the messages of a program by their addresses.
func readDefmt(program string) (map[uint16]defmtMessage, error) {
	file, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	messages := map[uint16]defmtMessage{}
	for _, s := range symbols {
		if int(s.Section) >= len(file.Sections) || file.Sections[s.Section].Name != ".defmt" || !strings.HasPrefix(s.Name, "{") {
			continue
		}
		var message defmtMessage
		if err := json.Unmarshal([]byte(s.Name), &message); err != nil {
			return nil, fmt.Errorf("%s: symbol %s: %w", program, s.Name, err)
		}
		if other, taken := messages[uint16(s.Value)]; taken {
			return nil, fmt.Errorf("%s: %q and %q have one address", program, other.Data, message.Data)
		}
		messages[uint16(s.Value)] = message
	}
	return messages, nil
}

// unstuff undoes rzCOBS, which is read from its end: a byte below 0x80 says which of the 7 bytes before it are zeros
// left out, one above how many others follow a zero.
func unstuff(frame []byte) ([]byte, error) {
	var reversed []byte
	take := func() (byte, error) {
		if len(frame) == 0 {
			return 0, errors.New("cut short")
		}
		last := frame[len(frame)-1]
		frame = frame[:len(frame)-1]
		return last, nil
	}
	for len(frame) > 0 {
		code, _ := take()
		zeros, count := byte(0), 7
		switch {
		case code == 0xff:
			count = 134
		case code >= 0x80:
			reversed = append(reversed, 0)
			count += int(code & 0x7f)
		default:
			zeros = code
		}
		for i := range count {
			if i < 7 && zeros>>(6-i)&1 == 1 {
				reversed = append(reversed, 0)
				continue
			}
			next, err := take()
			if err != nil {
				return nil, err
			}
			reversed = append(reversed, next)
		}
	}
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	return reversed, nil
}

type defmtDecoder struct {
	messages map[uint16]defmtMessage
	args     []byte
}

func (d *defmtDecoder) uint(size int) (uint64, error) {
	if len(d.args) < size {
		return 0, errors.New("arguments cut short")
	}
	var wide [8]byte
	copy(wide[:], d.args[:size])
	d.args = d.args[size:]
	return binary.LittleEndian.Uint64(wide[:]), nil
}

func (d *defmtDecoder) lookup() (defmtMessage, error) {
	address, err := d.uint(2)
	if err != nil {
		return defmtMessage{}, err
	}
	message, ok := d.messages[uint16(address)]
	if !ok {
		return defmtMessage{}, fmt.Errorf("no message has address %d", address)
	}
	return message, nil
}

func (d *defmtDecoder) message() (tag, text string, err error) {
	message, err := d.lookup()
	if err != nil {
		return "", "", err
	}
	text, err = d.format(message.Data)
	return message.Tag, text, err
}

// format fills the arguments into a format string such as "{=str} has {=usize} bytes".
func (d *defmtDecoder) format(format string) (string, error) {
	var text strings.Builder
	for format != "" {
		switch {
		case strings.HasPrefix(format, "{{"), strings.HasPrefix(format, "}}"):
			text.WriteByte(format[0])
			format = format[2:]
		case format[0] == '{':
			inside, rest, ok := strings.Cut(format[1:], "}")
			if !ok {
				return "", fmt.Errorf("no end of %q", format)
			}
			format = rest
			kind, _, _ := strings.Cut(strings.TrimPrefix(inside, "="), ":")
			argument, err := d.argument(kind)
			if err != nil {
				return "", fmt.Errorf("{%s}: %w", inside, err)
			}
			text.WriteString(argument)
		default:
			text.WriteByte(format[0])
			format = format[1:]
		}
	}
	return text.String(), nil
}

func (d *defmtDecoder) argument(kind string) (string, error) {
	switch kind {
	case "", "?":
		_, text, err := d.message()
		return text, err
	case "u8":
		value, err := d.uint(1)
		return fmt.Sprint(value), err
	case "i16":
		value, err := d.uint(2)
		return fmt.Sprint(int16(value)), err
	case "usize":
		value, err := d.uint(4)
		return fmt.Sprint(value), err
	case "str":
		length, err := d.uint(4)
		if err != nil {
			return "", err
		}
		if uint64(len(d.args)) < length {
			return "", errors.New("arguments cut short")
		}
		text := string(d.args[:length])
		d.args = d.args[length:]
		return text, nil
	case "[?]":
		return d.slice()
	}
	return "", errors.New("a kind that this decoder does not know")
}

// slice reads a length, the message that formats each element, and the elements' own arguments.
func (d *defmtDecoder) slice() (string, error) {
	length, err := d.uint(4)
	if err != nil || length == 0 {
		return "[]", err
	}
	message, err := d.lookup()
	if err != nil {
		return "", err
	}
	var elements []string
	for range length {
		element, err := d.format(message.Data)
		if err != nil {
			return "", err
		}
		elements = append(elements, element)
	}
	return "[" + strings.Join(elements, ", ") + "]", nil
}

func TestUnstuff(t *testing.T) {
	tests := []struct{ stuffed, want, err string }{
		{"\x07\x5f", "\x00\x00\x00\x00\x00\x07\x00", ""},
		{"\x03\x09s\x3atart 250\x09\x82\x7f", "\x03\x00\x09\x00\x00\x00start 250\x09\x00\x00\x00\x00\x00\x00\x00\x00", ""},
		{"ab\x80", "", "cut short"},
		{"", "", ""},
	}
	for _, test := range tests {
		got, err := unstuff([]byte(test.stuffed))
		if string(got) != test.want || (err != nil) != (test.err != "") || err != nil && err.Error() != test.err {
			t.Errorf("unstuff(%q) = %q, %v, want %q, %q", test.stuffed, got, err, test.want, test.err)
		}
	}
}
