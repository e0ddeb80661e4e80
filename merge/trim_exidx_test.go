package merge

import (
	"strings"
	"testing"

	"leanlink/objfile"
)

// The exception index is left out, unless a script does so anyway, or something
// else than the unwinder reads it.
func TestDropIndex(t *testing.T) {
	const unwinder = "\t.globl __aeabi_unwind_cpp_pr0\n__aeabi_unwind_cpp_pr0:\n\t.word __exidx_start\n"
	for _, tt := range []struct {
		name, more string
		discards   bool
		frames     uint64
		err        string
	}{
		{name: "kept by the layout", frames: 16},
		{name: "thrown away by it", discards: true},
		{name: "the unwinder reads it", more: unwinder, frames: 16},
		{name: "something else does", more: strings.Replace(unwinder, "__aeabi_unwind_cpp_pr0", "mine", 2),
			err: "trim.unwind-tables: something reads the exception index table (a.o refers to __exidx_start)"},
		{name: "by its end", more: "\t.data\n\t.word __exidx_end\n",
			err: "trim.unwind-tables: something reads the exception index table (a.o refers to __exidx_end)"},
	} {
		source := "\t.syntax unified\n\t.thumb\n" + thumbFunction("f", "\t.fnstart\n\tbx lr\n\t.fnend") + thumbFunction("main", "\t.fnstart\n\tbl f\n\tbx lr\n\t.cantunwind\n\t.fnend") +
			tt.more + strings.ReplaceAll(rustc, "@", "%")
		opt := Options{Wanted: map[string]bool{"main": true}}
		if tt.discards {
			opt.Discards = func(name string) bool { return strings.HasPrefix(name, ".ARM.exidx") }
		}
		l, err := NewLink(assembleFor(t, "thumbv7em-none-eabi", source), opt)
		if err != nil {
			t.Fatal(err)
		}
		x, err := l.Trim(Trim{Frames: true})
		if err != nil || tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
			}
			continue
		}
		left := 0
		for _, s := range x.Files[0].Sections {
			if s.Type == objfile.SHT_ARM_EXIDX && s.Flags&objfile.SHF_EXCLUDE == 0 {
				left++
			}
		}
		if x.Frames != tt.frames || left > 0 != tt.discards || len(x.Missing["trim.unwind-tables"]) > 0 != tt.discards {
			t.Errorf("%s: %d bytes, %d sections left, missing %q", tt.name, x.Frames, left, x.Missing)
		}
	}
}
