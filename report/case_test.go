package report

import (
	"bytes"
	"os"
	"reflect"
	"testing"
	"time"
)

// capturedLink returns the folder of a captured link, such as ripgrep's, that
// the variable LEANLINK_CASE names.
func capturedLink(tb testing.TB) string {
	dir := os.Getenv("LEANLINK_CASE")
	if dir == "" {
		tb.Skip("LEANLINK_CASE names no captured link")
	}
	return dir
}

func TestCapturedLink(t *testing.T) {
	r := simulate(t, capturedLink(t))
	if out := os.Getenv("LEANLINK_OUTPUT"); out != "" {
		start := time.Now()
		if err := Finish(r, out); err != nil {
			t.Fatal(err)
		}
		placed, symbols := 0, 0
		for i := range r.Sections {
			if s := &r.Sections[i]; s.InOutput() && s.After() > 0 && len(s.Symbols) > 0 {
				symbols++
				if s.Addr != 0 {
					placed++
				}
			}
		}
		t.Logf("%d of %d sections with symbols placed in %v", placed, symbols, time.Since(start))
		r.Output.Size = 0 // the output is not this report's, whose size would be held against it
	}
	var file bytes.Buffer
	start := time.Now()
	if err := Write(&file, r); err != nil {
		t.Fatal(err)
	}
	if p := os.Getenv("DUMP"); p != "" {
		os.WriteFile(p, file.Bytes(), 0o644)
	}
	wrote := time.Since(start)
	start = time.Now()
	back, err := Read(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d sections, %d edges, %d bytes, written in %v, read in %v; before %d, after %d",
		len(r.Sections), len(r.Edges.To), file.Len(), wrote, time.Since(start), r.Totals.Before.Sum(), r.Totals.After.Sum())
	var again bytes.Buffer
	if err := Write(&again, back); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file.Bytes(), again.Bytes()) {
		t.Error("what was read and written again has other bytes")
	}
	third, err := Read(bytes.NewReader(again.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, third) {
		t.Error("a report read, written and read again is another")
	}
}

func BenchmarkWrite(b *testing.B) {
	r := simulate(b, capturedLink(b))
	for b.Loop() {
		var file bytes.Buffer
		if err := Write(&file, r); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(file.Len()), "bytes")
	}
}

func BenchmarkRead(b *testing.B) {
	var file bytes.Buffer
	if err := Write(&file, simulate(b, capturedLink(b))); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Read(bytes.NewReader(file.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}
