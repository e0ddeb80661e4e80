package objfile_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"leanlink/objfile"
)

// ehImage makes an object whose .text holds b, to be read as .eh_frame.
func ehImage(t testing.TB, is64 bool, b []byte) *objfile.File {
	t.Helper()
	im := newImage(is64)
	im.section(secText, "offset", uint64(len(im.b)))
	im.section(secText, "size", uint64(len(b)))
	im.b = append(im.b, b...)
	return parse(t, "bad.o", im.b)
}

// entry puts a length before an entry of .eh_frame.
func entry(b ...byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// join joins byte strings, and single bytes given as ints.
func join(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		default:
			panic(fmt.Sprintf("%T", p))
		}
	}
	return b
}

// cie is a common information entry with an augmentation and its data.
func cie(aug string, data ...byte) []byte {
	return entry(join(zeros(4), 1, aug, 0, 1, 0x78, 16, len(data), data, zeros(3))...)
}

// fde is a frame entry at offset at for the CIE at offset 0.
func fde(at int, body ...byte) []byte {
	return entry(append(binary.LittleEndian.AppendUint32(nil, uint32(at+4)), body...)...)
}

func zeros(n int) []byte { return make([]byte, n) }

func TestEhFrameForms(t *testing.T) {
	plain := cie("zR", 0x1b)
	lsda := cie("zPLR", join(0x9b, zeros(4), 0x1b, 0x1b)...)
	tests := []struct {
		name string
		is64 bool
		b    []byte
		want string
	}{
		{"empty", true, nil, "[] [] false"},
		{"terminator", true, zeros(4), "[] [] true"},
		{"CIE and FDE", true, join(plain, fde(len(plain), join(zeros(4), 0x10, zeros(3), 0, 0x41)...), zeros(4)),
			"[{0x0-0x14 personality 0x0 R 0x1b L 0xff z true code 1 data -8 ra 16 S false instr 0x11}] " +
				"[{0x14-0x26 cie 0 pc 0x1c range 0x20 4 bytes size 0x10 lsda 0x0 0 bytes instr 0x25}] true"},
		{"LSDA", true, join(lsda, fde(len(lsda), join(zeros(4), 0x10, zeros(3), 4, zeros(4), 0x41)...)),
			"[{0x0-0x1c personality 0x13 R 0x1b L 0x1b z true code 1 data -8 ra 16 S false instr 0x19}] " +
				"[{0x1c-0x32 cie 0 pc 0x24 range 0x28 4 bytes size 0x10 lsda 0x2d 4 bytes instr 0x31}] false"},
		{"LSDA with more behind", true, join(lsda, fde(len(lsda), join(zeros(4), 0x10, zeros(3), 6, zeros(6), 0x41)...)),
			"[{0x0-0x1c personality 0x13 R 0x1b L 0x1b z true code 1 data -8 ra 16 S false instr 0x19}] " +
				"[{0x1c-0x34 cie 0 pc 0x24 range 0x28 4 bytes size 0x10 lsda 0x2d 4 bytes instr 0x33}] false"},
		{"no augmentation, 32 bits", false, join(entry(join(zeros(4), 1, 0, 1, 0x7c, 8)...), fde(13, join(zeros(4), 0x10, zeros(3))...)),
			"[{0x0-0xd personality 0x0 R 0x0 L 0xff z false code 1 data -4 ra 8 S false instr 0xd}] " +
				"[{0xd-0x1d cie 0 pc 0x15 range 0x19 4 bytes size 0x10 lsda 0x0 0 bytes instr 0x1d}] false"},
		{"no augmentation, 64 bits", true, join(entry(join(zeros(4), 3, 0, 1, 0x78, 16)...), fde(13, join(zeros(8), 0x10, zeros(7))...)),
			"[{0x0-0xd personality 0x0 R 0x0 L 0xff z false code 1 data -8 ra 16 S false instr 0xd}] " +
				"[{0xd-0x25 cie 0 pc 0x15 range 0x1d 8 bytes size 0x10 lsda 0x0 0 bytes instr 0x25}] false"},
		{"signal frame, 8-byte pointers", false, join(cie("zRS", 0x0c), fde(21, join(zeros(8), 0x10, zeros(7), 0)...)),
			"[{0x0-0x15 personality 0x0 R 0xc L 0xff z true code 1 data -8 ra 16 S true instr 0x12}] " +
				"[{0x15-0x2e cie 0 pc 0x1d range 0x25 8 bytes size 0x10 lsda 0x0 0 bytes instr 0x2e}] false"},
		{"B key", true, cie("zRB", 0x1b), "[{0x0-0x15 personality 0x0 R 0x1b L 0xff z true code 1 data -8 ra 16 S false instr 0x12}] [] false"},
		{"large factors", true, entry(join(zeros(4), 3, 0, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f", 0x90, 0x01)...),
			"[{0x0-0x20 personality 0x0 R 0x0 L 0xff z false code 18446744073709551615 data -9223372036854775808 ra 144 S false instr 0x20}] [] false"},
	}
	for _, test := range tests {
		f := ehImage(t, test.is64, test.b)
		eh, err := f.ReadEhFrame(secText)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := describeFrames(eh); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
		checkFrames(t, f, eh)
	}
}

func describeFrames(eh *objfile.EhFrame) string {
	cies, fdes := []string{}, []string{}
	for _, c := range eh.CIEs {
		cies = append(cies, fmt.Sprintf("{%#x-%#x personality %#x R %#x L %#x z %v code %d data %d ra %d S %v instr %#x}",
			c.Offset, c.End, c.Personality, c.Encoding, c.LSDA, c.Augmented, c.CodeAlign, c.DataAlign, c.ReturnReg, c.Signal, c.InstrOff))
	}
	for _, d := range eh.FDEs {
		fdes = append(fdes, fmt.Sprintf("{%#x-%#x cie %d pc %#x range %#x %d bytes size %#x lsda %#x %d bytes instr %#x}",
			d.Offset(), d.End(), d.CIE, d.PCBegin(), d.PCRange(), d.FieldSize, d.Range, d.LSDA(), d.LSDASize, d.InstrOff()))
	}
	return fmt.Sprintf("%v %v %v", cies, fdes, eh.Terminator)
}

func TestMalformedEhFrame(t *testing.T) {
	plain := cie("zR", 0x1b)
	at := len(plain)
	lsda := cie("zLR", 0x1b, 0x1b)
	const (
		cieBad   = "bad.o: section .text: offset 0x0: a common information entry is not understood"
		fdeCut   = "bad.o: section .text: offset 0x14: a frame entry is truncated"
		noCIE    = "bad.o: section .text: offset 0x14: a frame entry without its common information"
		outside  = "bad.o: section .text: offset 0x0: a frame entry lies outside the section"
		lsdaForm = "bad.o: section .text: offset 0x17: an LSDA pointer is not understood"
	)
	tests := []struct {
		name string
		b    []byte
		want string
	}{
		{"three bytes", zeros(3), "bad.o: section .text: offset 0x0: a frame entry is truncated"},
		{"length lies", join("\x05\x00\x00\x00", zeros(4)), outside},
		{"length huge", join("\xfe\xff\xff\xff", zeros(4)), outside},
		{"length too small", join("\x03\x00\x00\x00", zeros(4)), outside},
		{"64-bit length", join("\xff\xff\xff\xff", zeros(12)), "bad.o: section .text: offset 0x0: 64-bit frame entries are not understood"},
		{"entries behind the terminator", join(zeros(4), plain), "bad.o: section .text: offset 0x0: frame entries follow the terminator"},
		{"two terminators", zeros(8), "bad.o: section .text: offset 0x0: frame entries follow the terminator"},

		{"CIE of four bytes", entry(zeros(4)...), cieBad},
		{"version 2", entry(join(zeros(4), 2, 0, 1, 0x78, 16)...), cieBad},
		{"version 4", entry(join(zeros(4), 4, 0, 1, 0x78, 16)...), cieBad},
		{"augmentation does not end", entry(join(zeros(4), 1, "zR")...), cieBad},
		{"augmentation eh", entry(join(zeros(4), 1, "eh", 0, zeros(8), 1, 0x78, 16)...), cieBad},
		{"augmentation unknown", cie("zRX", 0x1b), cieBad},
		{"augmentation without z", cie("R", 0x1b), cieBad},
		{"z twice", cie("zzR", 0x1b), cieBad},
		{"factor does not end", entry(join(zeros(4), 1, 0, "\x80\x80")...), cieBad},
		{"factor of 65 bits", entry(join(zeros(4), 1, 0, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", 0x78, 16)...), cieBad},
		{"factor of 11 bytes", entry(join(zeros(4), 1, 0, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 0x78, 16)...), cieBad},
		{"data factor of 11 bytes", entry(join(zeros(4), 1, 0, 1, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 16)...), cieBad},
		{"augmentation data too short for its letters", entry(join(zeros(4), 1, "zPR", 0, 1, 0x78, 16, 1, 0x1b, zeros(8))...), cieBad},
		{"augmentation data beyond the entry", entry(join(zeros(4), 1, "zR", 0, 1, 0x78, 16, 9, 0x1b)...), cieBad},
		{"augmentation data's size overflows", entry(join(zeros(4), 1, "zR", 0, 1, 0x78, 16, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0x1b)...), cieBad},
		{"address as ULEB128", cie("zR", 0x01), cieBad},
		{"address omitted", cie("zR", 0xff), cieBad},
		{"address aligned", cie("zR", 0x50), cieBad},
		{"address in an undefined form", cie("zR", 0x6b), cieBad},
		{"personality as SLEB128", cie("zPR", join(0x09, zeros(4), 0x1b)...), cieBad},
		{"personality aligned", cie("zPR", join(0x50, zeros(8), 0x1b)...), cieBad},

		{"FDE first", fde(0, zeros(8)...), "bad.o: section .text: offset 0x0: a frame entry without its common information"},
		{"FDE of no CIE", join(plain, fde(at+1, zeros(9)...)), noCIE},
		{"FDE before the section", join(plain, fde(at+400, zeros(9)...)), noCIE},
		{"FDE of itself", join(plain, fde(0, zeros(9)...)), noCIE},
		{"FDE of an FDE", join(plain, fde(at, zeros(9)...), fde(17, zeros(9)...)), "bad.o: section .text: offset 0x25: a frame entry without its common information"},
		{"FDE without a range, no augmentation", join(entry(join(zeros(4), 1, 0, 1, 0x78, 16)...), fde(13, zeros(15)...)), "bad.o: section .text: offset 0xd: a frame entry is truncated"},
		{"FDE without a range", join(plain, fde(at, zeros(4)...)), fdeCut},
		{"FDE without augmentation data", join(plain, fde(at, zeros(8)...)), fdeCut},
		{"FDE's augmentation data beyond it", join(plain, fde(at, join(zeros(8), 1)...)), fdeCut},
		{"FDE's augmentation data's size overflows", join(plain, fde(at, join(zeros(8), "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")...)), fdeCut},
		{"FDE without its LSDA pointer", join(lsda, fde(len(lsda), join(zeros(8), 0)...)), "bad.o: section .text: offset 0x16: an LSDA pointer is not understood"},
		{"LSDA pointer as ULEB128", join(cie("zLRS", 0x01, 0x1b), fde(23, join(zeros(8), 8, zeros(8))...)), lsdaForm},
		{"LSDA pointer aligned", join(cie("zLRS", 0x50, 0x1b), fde(23, join(zeros(8), 8, zeros(8))...)), lsdaForm},
		{"LSDA pointer longer than the data", join(cie("zLRS", 0x0c, 0x1b), fde(23, join(zeros(8), 7, zeros(8))...)), lsdaForm},
	}
	for _, test := range tests {
		_, err := ehImage(t, true, test.b).ReadEhFrame(secText)
		if got := errString(err); got != test.want {
			t.Errorf("%s:\n got %q\nwant %q", test.name, got, test.want)
		}
	}
}

// TestEhFrameCut cuts a valid table at every length: what is read lies within
// what is left.
func TestEhFrameCut(t *testing.T) {
	c := cie("zPLR", join(0x9b, zeros(4), 0x1b, 0x1b)...)
	d := fde(len(c), join(zeros(4), 0x10, zeros(3), 4, zeros(4), 0x41)...)
	whole := join(c, d, zeros(4))
	ends := []int{0, len(c), len(c) + len(d), len(whole)} // where a cut leaves a valid table
	for n := range len(whole) + 1 {
		f := ehImage(t, true, whole[:n])
		eh, err := f.ReadEhFrame(secText)
		if valid := slices.Contains(ends, n); valid != (err == nil) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
		if eh != nil {
			checkFrames(t, f, eh)
		}
	}
}

// TestEhFrameBounded: many small entries cost no more memory than a few
// times their size.
func TestEhFrameBounded(t *testing.T) {
	var b []byte
	for len(b) < 1<<20 {
		b = append(b, cie("zR", 0x1b)...)
	}
	small := entry(join(zeros(4), 1, 0, 1, 1, 1)...)
	fdes := slices.Clone(cie("zR", 0x02))
	for len(fdes) < 1<<20 {
		fdes = append(fdes, fde(len(fdes), zeros(5)...)...)
	}
	var cies []byte
	for len(cies) < 1<<20 {
		cies = append(cies, small...)
	}
	for name, b := range map[string][]byte{"CIEs": b, "small CIEs": cies, "small FDEs": fdes} {
		f := ehImage(t, true, b)
		if n := allocated(func() {
			if _, err := f.ReadEhFrame(secText); err != nil {
				t.Error(err)
			}
		}); n > 64*uint64(len(b)) {
			t.Errorf("%s: %d bytes allocated for %d", name, n, len(b))
		}
	}
}
