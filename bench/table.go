package main

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"time"
)

// print writes the tables of a link.
func (l *link) print(w io.Writer, ways []way) {
	fmt.Fprintf(w, "\n### %s: %s (%.1f MB of input; medians of %d runs)\n\n", l.of.name, l.of.what, float64(l.size)/1e6, l.runs)
	fmt.Fprintf(w, "| | time, ms | ratio | processor, ms | memory, MB |\n|---|---|---|---|---|\n")
	for i := range ways {
		y := &ways[i]
		ratios := make([]float64, len(y.times))
		for k := range ratios {
			ratios[k] = float64(y.times[k].wall) / float64(ways[y.base].times[k].wall)
		}
		fmt.Fprintf(w, "| %s | %s | %.2f | %s | %.0f |\n", y.name,
			millis(median(each(y.times, func(r *cost) time.Duration { return r.wall }))), median(ratios),
			millis(median(each(y.times, func(r *cost) time.Duration { return r.cpu }))),
			float64(median(each(y.times, func(r *cost) int64 { return r.peak })))/1e6)
	}
	for i := range ways {
		if ways[i].vars != nil {
			l.printPhases(w, &ways[i])
			break // the phases do not depend on the linker
		}
	}
}

// printPhases writes the phases of leanlink in one way of making a link, and
// how its memory compares with the bound that it is to keep.
func (l *link) printPhases(w io.Writer, y *way) {
	fmt.Fprintf(w, "\n%s, by phase: time (processor), ms:\n", y.name)
	for k, p := range y.times[0].phases {
		at := func(f func(p *phase) int64) int64 {
			return median(each(y.times, func(r *cost) int64 {
				if k >= len(r.phases) {
					return 0
				}
				return f(&r.phases[k])
			}))
		}
		wall, cpu := at(func(p *phase) int64 { return p.wall }), at(func(p *phase) int64 { return p.cpu })
		switch p.name {
		case "worker peak", "worker mapped", "worker live", "supervisor peak":
		default:
			fmt.Fprintf(w, "%s %.1f (%.1f); ", p.name, float64(wall)/1e3, float64(cpu)/1e3)
		}
	}
	peak := median(each(y.times, func(r *cost) int64 { peak, _ := r.memory(); return peak }))
	_, bound := y.times[0].memory()
	fmt.Fprintf(w, "\n\npeak of the worker %.1f MB; inputs, 32 MB and 400 bytes for each live section: %.1f MB\n", float64(peak)/1e6, float64(bound)/1e6)
}

// memory is the peak of leanlink's worker, and the bound that it is to keep,
// bytes.
func (r *cost) memory() (peak, bound int64) {
	bound = 32 << 20
	for _, p := range r.phases {
		switch p.name {
		case "worker peak":
			peak = p.wall << 10
		case "worker mapped":
			bound += p.wall << 10
		case "worker live":
			bound += 400 * p.wall
		}
	}
	return peak, bound
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1e3) }

// passThrough measures what leanlink costs where it has nothing to do: a
// program that does nothing, run bare and by leanlink as its real linker.
func passThrough(o options, work string, w io.Writer) error {
	real, err := exec.LookPath("true")
	if err != nil {
		return err
	}
	bare := way{name: "true", argv: []string{real, "x.o", "-o", filepath.Join(work, "out")}}
	by := way{name: "leanlink", argv: append([]string{o.program}, bare.argv[1:]...), vars: []string{"LEANLINK_FOLD=off", "LEANLINK_REAL_LINKER=" + real}}
	var more []time.Duration
	for range 10 * o.runs {
		a, err := bare.run(work, work, "")
		if err != nil {
			return err
		}
		b, err := by.run(work, work, "")
		if err != nil {
			return err
		}
		more = append(more, b.wall-a.wall)
	}
	fmt.Fprintf(w, "### pass-through: %s ms more than the real linker alone (median of %d pairs)\n", millis(median(more)), len(more))
	return nil
}

// printProfile writes where the processor time of a case's workers went, by
// their profiles in a folder; "" for none.
func printProfile(w io.Writer, dir string) error {
	if dir == "" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.cpu"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no profiles in %s", dir)
	}
	// What leanlink's own functions call, the runtime and the system above all,
	// counts for them.
	args := append([]string{"tool", "pprof", "-top", "-noinlines", "-nodecount=30", "-show", `^leanlink/|klauspost|xxh3|gcBgMarkWorker$`}, files...)
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		return fmt.Errorf("go tool pprof: %w", err)
	}
	fmt.Fprintf(w, "\n```\n%s```\n", out)
	return nil
}
