package linker

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"leanlink/linker/verify"
	"leanlink/merge"
	"leanlink/report"
)

// mapFile, in a work folder, is the link map of a stripped output, for the
// check.
const mapFile = "map"

// mapFlags asks the linker for a link map where the check would find few names
// in the output to begin with.
func (p *preparation) mapFlags(dir string) []string {
	if !p.cfg.Verify || !p.cl.StripAll || p.cl.Map != "" || p.kind == KindUnknown {
		return nil
	}
	flag := "-Map=" + filepath.Join(dir, mapFile)
	if p.cl.Style == StyleCC {
		return []string{"-Xlinker", flag} // -Wl would split it at a comma
	}
	return []string{flag}
}

// Finish is what is left to do when the output is there.
type Finish struct {
	cl  *CommandLine
	cfg *Config
	// record writes down what was done, as a report that lacks what only the
	// output tells; nil if none is wanted.
	record   func() (*report.Unfinished, error)
	recorded chan struct{}      // closed when that is done; nil before it is begun
	begun    *report.Unfinished // that report, once it is recorded
	err      error              // or why there is none
	took     spell              // and what it took
	packed   bool               // relocations were to be packed
	claim    *verify.Claim      // what the check is to prove, nil if none is asked for
	debug    *joining           // debug information that is to be put into the output, nil for none
	inputs   *mappings          // what the output was made of
}

// begin begins what needs no output, while the real linker runs. The second call
// does nothing.
func (f *Finish) begin() {
	if f.record == nil || f.recorded != nil {
		return
	}
	f.recorded = make(chan struct{})
	go func() {
		defer close(f.recorded)
		took := timeThread()
		f.begun, f.err = f.record()
		f.took = took()
	}()
}

// recording waits for the report that begin began, and is what it took.
func (f *Finish) recording() spell {
	if f.recorded != nil {
		<-f.recorded
	}
	return f.took
}

// finish checks the output against the original inputs, if the config asks for
// it, and completes the report with what the output tells. A check that fails
// fails the link.
func (f *Finish) finish(dir string) error {
	output := resolve(f.cl.Dir, f.cl.Output)
	if f.claim != nil {
		if err := f.check(dir); err != nil {
			return err
		}
	}
	if f.record == nil {
		return nil
	}
	f.begin()
	if <-f.recorded; f.err != nil {
		return f.err
	}
	if f.packed {
		if why := unpacked(output); why != "" {
			fmt.Fprintln(os.Stderr, why) // the worker's warning
		}
	}
	if f.inputs != nil {
		f.inputs.keepBelow(0) // nothing goes through them any more
		go f.inputs.letGo()   // or the end of this process, which somebody waits for, takes longer
	}
	if err := f.begun.Finish(output); err != nil {
		return err
	}
	return writeWorkFile(filepath.Join(dir, reportFile), func(w *bufio.Writer) error { return f.begun.Write(w) })
}

// finishUnchanged is what is left to do of a link that was left as it was.
func (p *preparation) finishUnchanged(reason string) *Finish {
	if p.cfg.Report == "off" {
		return nil
	}
	return &Finish{cl: p.cl, cfg: p.cfg, record: func() (*report.Unfinished, error) {
		r := p.newReport()
		paths := p.paths()
		for i := range p.cl.Inputs {
			in := &p.cl.Inputs[i]
			name := in.Path
			if name == "" {
				name = "-l" + in.Library
			}
			r.Inputs = append(r.Inputs, report.Input{Path: paths.Shorten(name), Crate: report.FileCrate(name, ""), Fate: report.InputAlone, Reason: reason})
		}
		return report.Begin(r, report.Rows{}, func(*report.Sums) uint64 { return 0 })
	}}
}

// finishPlan is what is left to do of a link in which a plan was carried out.
func (p *preparation) finishPlan(plan *merge.Plan) *Finish {
	f := &Finish{cl: p.cl, cfg: p.cfg, debug: p.debug, inputs: &p.in.mapped, packed: slices.Contains(p.trims.notes, notePacked)}
	if p.cfg.Report != "off" {
		marks := plan.Marks()
		f.record = func() (*report.Unfinished, error) {
			r, d := p.record(plan), newRecorder(p, plan)
			r.Roots = d.roots()
			return report.Begin(r, d.rows(), func(s *report.Sums) uint64 { return p.outputSize(plan.Link, s, marks) })
		}
	}
	if p.cfg.Verify {
		f.claim = p.claim(plan)
	}
	if f.record == nil && f.claim == nil && f.debug == nil {
		return nil
	}
	return f
}

// check runs the independent check of a link.
func (f *Finish) check(dir string) error {
	result, err := f.compare(dir)
	if err != nil {
		return err
	}
	if n := len(result.Mismatches); n > 0 {
		return &Refusal{Reason: fmt.Sprintf("the check of the output failed: %s (%d mismatches)", result.Mismatches[0], n)}
	}
	return nil
}

// compare compares the output with what it was made of.
func (f *Finish) compare(dir string) (*verify.Result, error) {
	if err := f.inputs.unchanged(); err != nil {
		return nil, err // the output may be right for what it was made of
	}
	if f.cl.StripAll {
		for _, path := range []string{filepath.Join(dir, mapFile), resolve(f.cl.Dir, f.cl.Map)} {
			if info, err := os.Stat(path); f.claim.Map == "" && err == nil && info.Mode().IsRegular() {
				f.claim.Map = path
			}
		}
	}
	return verify.Check(f.claim)
}

func writeWorkFile(path string, write func(*bufio.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<18)
	err = write(b)
	if e := b.Flush(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
