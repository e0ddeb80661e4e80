package linker

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"leanlink/linker/verify"
	"leanlink/merge"
	"leanlink/report"
)

// Files that Prepare leaves in the work folder for the time after the link.
const (
	draftFile = "draft" // the report without what only the output tells
	fatesFile = "fates" // what was done to each section, for the check
	mapFile   = "map"   // the link map of a stripped output, for the check
)

// keepUnchanged leaves the report of a link that was left as it was.
func (p *preparation) keepUnchanged(reason, dir string) error {
	if p.cfg.Report == "off" {
		return nil
	}
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
	r.Tally()
	return writeWorkFile(filepath.Join(dir, draftFile), func(w *bufio.Writer) error { return report.WriteDraft(w, r) })
}

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

// keepRecord leaves the record of a plan in the work folder.
func (p *preparation) keepRecord(plan *merge.Plan, dir string) error {
	if p.cfg.Report != "off" {
		r := p.record(plan)
		r.Tally()
		if err := writeWorkFile(filepath.Join(dir, draftFile), func(w *bufio.Writer) error { return report.WriteDraft(w, r) }); err != nil {
			return err
		}
	}
	if !p.cfg.Verify {
		return nil
	}
	c := p.claim(plan)
	for i := range c.Objects {
		c.Objects[i].Data = nil // they are where they were
	}
	if err := p.keepTrimmed(plan, dir); err != nil {
		return err
	}
	if err := p.in.mapped.keep(filepath.Join(dir, mappedFile)); err != nil {
		return err
	}
	return writeWorkFile(filepath.Join(dir, fatesFile), func(w *bufio.Writer) error { return json.NewEncoder(w).Encode(c) })
}

// finish completes the report with what the output tells and, if the config
// asks for it, checks the output against the original inputs. A check that
// fails fails the link.
func finish(cl *CommandLine, cfg *Config, real *Linker, dir string) error {
	if cfg.Verify && exists(filepath.Join(dir, fatesFile)) {
		if err := check(cl, cfg, real, dir); err != nil {
			return err
		}
	}
	draft := filepath.Join(dir, draftFile)
	if cfg.Report == "off" || !exists(draft) {
		return nil
	}
	r, err := report.ReadFile(draft)
	if err != nil {
		return err
	}
	if slices.Contains(r.Modes.Trims, notePacked) {
		if why := unpacked(resolve(cl.Dir, cl.Output)); why != "" {
			fmt.Fprintln(os.Stderr, why) // the worker's warning
		}
	}
	if err := report.Finish(r, resolve(cl.Dir, cl.Output)); err != nil {
		return err
	}
	return writeWorkFile(filepath.Join(dir, reportFile), func(w *bufio.Writer) error { return report.Write(w, r) })
}

// check runs the independent check of a link.
func check(cl *CommandLine, cfg *Config, real *Linker, dir string) error {
	c, err := loadClaim(cl, cfg, real, dir)
	if err != nil {
		return err
	}
	result, err := verify.Check(c)
	if err != nil {
		return err
	}
	if n := len(result.Mismatches); n > 0 {
		return &Refusal{Reason: fmt.Sprintf("the check of the output failed: %s (%d mismatches)", result.Mismatches[0], n)}
	}
	return nil
}

// loadClaim reads what was done, and the objects again that it was done to.
func loadClaim(cl *CommandLine, cfg *Config, real *Linker, dir string) (*verify.Claim, error) {
	b, err := os.ReadFile(filepath.Join(dir, fatesFile))
	if err != nil {
		return nil, err
	}
	c := &verify.Claim{}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, err
	}
	were, err := readMappings(filepath.Join(dir, mappedFile))
	if err != nil {
		return nil, err
	}
	if err := were.unchanged(); err != nil {
		return nil, err // the output may be right for what it was made of
	}
	p := &preparation{cl: cl, cfg: cfg, kind: cl.LinkerKind(real.Path)}
	cl.FindLibraries(real)
	if p.script, err = readScripts(cl); err != nil {
		return nil, err
	}
	if p.in, err = readInputs(cl, real); err != nil {
		return nil, err
	}
	if _, err := p.extract(); err != nil {
		return nil, err
	}
	c.Output = resolve(cl.Dir, cl.Output)
	if cl.StripAll {
		for _, path := range []string{filepath.Join(dir, mapFile), resolve(cl.Dir, cl.Map)} {
			if info, err := os.Stat(path); c.Map == "" && err == nil && info.Mode().IsRegular() {
				c.Map = path
			}
		}
	}
	files := p.in.linkOrder()
	if len(files) != len(c.Objects) {
		return nil, fmt.Errorf("%d objects take part in the link now, %d did before", len(files), len(c.Objects))
	}
	for i, f := range files {
		// JSON does not keep names that are no UTF-8, byte by byte.
		if strings.Map(keepRune, f.Name) != c.Objects[i].Name {
			return nil, fmt.Errorf("%s takes the place of %s since the link", f.Name, c.Objects[i].Name)
		}
		c.Objects[i].Name, c.Objects[i].Data = f.Name, f.Data
		if err := loadTrimmed(&c.Objects[i], dir, i); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// keepRune is what JSON makes of a name's runes: each byte that is no UTF-8
// becomes a replacement character, as it does for a range loop.
func keepRune(r rune) rune { return r }

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
