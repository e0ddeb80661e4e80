package merge

import (
	"fmt"
	"strings"
	"testing"
)

// Twenty functions save the same registers around a call, and two save one
// more or save it elsewhere.
func frameSetProgram(n int) string {
	var b strings.Builder
	function := func(name string, registers ...string) {
		fmt.Fprintf(&b, "\t.section .text.%[1]s,\"ax\",@progbits\n\t.globl %[1]s\n\t.type %[1]s,@function\n%[1]s:\n\t.cfi_startproc\n", name)
		for i, r := range registers {
			fmt.Fprintf(&b, "\tpushq %%%s\n\t.cfi_def_cfa_offset %d\n", r, 16+8*i)
		}
		for i, r := range registers {
			fmt.Fprintf(&b, "\t.cfi_offset %%%s, %d\n", r, -16-8*i)
		}
		fmt.Fprintf(&b, "\tcall *%%rax\n\tret\n\t.cfi_endproc\n")
	}
	for i := range n {
		function(fmt.Sprintf("f%d", i), "rbp", "r15", "r14", "rbx")
	}
	function("other", "rbx", "r14", "r15", "rbp")
	return b.String() + rustc
}

func TestFrameSets(t *testing.T) {
	for _, tt := range []struct{ functions, commons, size int }{
		{20, 2, 20}, // the length, the other length, address, size, no augmentation, one row of two bytes and one of padding
		{3, 1, 28},  // not worth it
	} {
		_, x := trimOf(t, Trim{Calls: true}, frameSetProgram(tt.functions))
		after, err := NewLink(x.Files, Options{})
		if err != nil {
			t.Fatal(err)
		}
		o := after.Objects[0]
		if o.Reason != "" {
			t.Fatal(o.Reason)
		}
		eh := o.frames[0]
		if len(eh.CIEs) != tt.commons || len(eh.FDEs) != tt.functions+1 {
			t.Fatalf("%d functions: %d common entries, %d of functions", tt.functions, len(eh.CIEs), len(eh.FDEs))
		}
		b := o.File.Bytes(eh.Section)
		for i := range eh.FDEs {
			fde := &eh.FDEs[i]
			cie := &eh.CIEs[fde.CIE]
			empty := frameRow{offsets: map[uint64]uint64{}}
			initial, ok := frameRows(b[cie.InstrOff:cie.End], empty, empty, 1)
			if !ok {
				t.Fatal("bad common information")
			}
			rows, ok := frameRows(b[fde.InstrOff():fde.End()], initial[0], initial[0], 1)
			if !ok || len(rows) != 1 {
				t.Fatalf("bad rows: %v", rows)
			}
			want := "{0 7 40 0 map[3:5 6:2 14:4 15:3 16:1]}"
			if i == tt.functions {
				want = "{0 7 40 0 map[3:2 6:5 14:3 15:4 16:1]}"
			} else if size := int(fde.End() - fde.Offset()); size != tt.size {
				t.Errorf("an entry of %d bytes, want %d", size, tt.size)
			}
			if got := fmt.Sprint(rows[0]); got != want {
				t.Errorf("entry %d says %s, want %s", i, got, want)
			}
		}
	}
}

// A set is what all rows of an entry have in common.
func TestSavedBy(t *testing.T) {
	row := func(offsets map[uint64]uint64) frameRow { return frameRow{reg: 7, offset: 16, offsets: offsets} }
	initial := frameRow{reg: 7, offset: 8, offsets: map[uint64]uint64{16: 1}}
	for _, tt := range []struct {
		name string
		rows []frameRow
		want string
	}{
		{"one row", []frameRow{row(map[uint64]uint64{16: 1, 3: 2})}, "0c070883029001"},
		{"one more later", []frameRow{row(map[uint64]uint64{16: 1, 3: 2}), row(map[uint64]uint64{16: 1, 3: 2, 6: 3})}, "0c070883029001"},
		{"elsewhere later", []frameRow{row(map[uint64]uint64{16: 1, 3: 2}), row(map[uint64]uint64{16: 1, 3: 4})}, ""},
		{"not at first", []frameRow{row(map[uint64]uint64{16: 1}), row(map[uint64]uint64{16: 1, 3: 4})}, ""},
		{"another return address", []frameRow{row(map[uint64]uint64{16: 2, 3: 2})}, ""},
		{"nothing saved", []frameRow{row(map[uint64]uint64{16: 1})}, ""},
	} {
		if got := fmt.Sprintf("%x", savedBy(tt.rows, &initial)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
