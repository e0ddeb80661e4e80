package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// savedClaim is claim.json: a claim whose files lie beside it, by relative names.
type savedClaim struct {
	Version     int           `json:"version"`
	Output      string        `json:"output"`
	Map         string        `json:"map,omitempty"`
	Linker      string        `json:"linker,omitempty"`
	Mode        string        `json:"mode"`
	GC          bool          `json:"gc"`
	Shared      bool          `json:"shared"`
	LinkerFolds bool          `json:"linkerFolds,omitempty"`
	Exports     []string      `json:"exports,omitempty"`
	Provided    []string      `json:"provided,omitempty"`
	Objects     []savedObject `json:"objects"`
}

type savedObject struct {
	Name   string `json:"name"`
	File   string `json:"file"`
	Opaque bool   `json:"opaque,omitempty"`
	// Fates has four numbers for each section of which something is claimed: its index, the kind, the leader's object and
	// section.
	Fates [][4]uint32 `json:"fates,omitempty"`
	// Untrimmed is the file of the object from which something was cut.
	Untrimmed string    `json:"untrimmed,omitempty"`
	Cuts      []CutKind `json:"cuts,omitempty"`
}

// savedVersion is that of claim.json's form.
const savedVersion = 1

// Save writes the claim with everything it refers to into a folder, which it makes if need be.
func Save(c *Claim, dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "objects"), 0o700); err != nil {
		return err
	}
	saved := savedClaim{
		Version: savedVersion, Output: "output", Linker: c.Linker, Mode: c.Mode, GC: c.GC, Shared: c.Shared,
		LinkerFolds: c.LinkerFolds, Exports: c.Exports, Provided: c.Provided, Objects: []savedObject{},
	}
	if err := copyFile(c.Output, filepath.Join(dir, saved.Output)); err != nil {
		return err
	}
	if c.Map != "" {
		saved.Map = "map"
		if err := copyFile(c.Map, filepath.Join(dir, saved.Map)); err != nil {
			return err
		}
	}
	for i := range c.Objects {
		o := &c.Objects[i]
		s := savedObject{Name: o.Name, File: filepath.Join("objects", strconv.Itoa(i)+".o"), Opaque: o.Opaque}
		for n, f := range o.Fates {
			if f.Kind != Unknown {
				s.Fates = append(s.Fates, [4]uint32{uint32(n), uint32(f.Kind), f.Object, f.Section})
			}
		}
		if err := os.WriteFile(filepath.Join(dir, s.File), o.Data, 0o600); err != nil {
			return err
		}
		if o.Untrimmed != nil {
			s.Untrimmed, s.Cuts = filepath.Join("objects", strconv.Itoa(i)+".untrimmed.o"), o.Cuts
			if err := os.WriteFile(filepath.Join(dir, s.Untrimmed), o.Untrimmed, 0o600); err != nil {
				return err
			}
		}
		saved.Objects = append(saved.Objects, s)
	}
	data, err := json.Marshal(saved)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "claim.json"), append(data, '\n'), 0o600)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Load reads a claim that Save wrote. Files outside the folder are refused.
func Load(dir string) (*Claim, error) {
	data, err := os.ReadFile(filepath.Join(dir, "claim.json"))
	if err != nil {
		return nil, err
	}
	var saved savedClaim
	if err := json.Unmarshal(data, &saved); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "claim.json"), err)
	}
	if saved.Version != savedVersion {
		return nil, fmt.Errorf("%s: version %d, this program reads %d", filepath.Join(dir, "claim.json"), saved.Version, savedVersion)
	}
	inside := func(name string) (string, error) {
		if !filepath.IsLocal(name) {
			return "", fmt.Errorf("%s: %q is outside the case", filepath.Join(dir, "claim.json"), name)
		}
		return filepath.Join(dir, name), nil
	}
	c := &Claim{
		Linker: saved.Linker, Mode: saved.Mode, GC: saved.GC, Shared: saved.Shared, LinkerFolds: saved.LinkerFolds,
		Exports: saved.Exports, Provided: saved.Provided,
	}
	if c.Output, err = inside(saved.Output); err != nil {
		return nil, err
	}
	if saved.Map != "" {
		if c.Map, err = inside(saved.Map); err != nil {
			return nil, err
		}
	}
	for _, s := range saved.Objects {
		file, err := inside(s.File)
		if err != nil {
			return nil, err
		}
		o := Object{Name: s.Name, Opaque: s.Opaque}
		if o.Data, err = os.ReadFile(file); err != nil {
			return nil, err
		}
		if s.Untrimmed != "" {
			if file, err = inside(s.Untrimmed); err != nil {
				return nil, err
			}
			if o.Untrimmed, err = os.ReadFile(file); err != nil {
				return nil, err
			}
			o.Cuts = s.Cuts
		}
		for _, f := range s.Fates {
			if f[1] > uint32(Dropped) || uint64(f[0]) > uint64(len(o.Data)) {
				return nil, fmt.Errorf("%s: %s: bad fate %v", filepath.Join(dir, "claim.json"), s.Name, f)
			}
			for uint32(len(o.Fates)) <= f[0] {
				o.Fates = append(o.Fates, Fate{})
			}
			o.Fates[f[0]] = Fate{FateKind(f[1]), f[2], f[3]}
		}
		c.Objects = append(c.Objects, o)
	}
	return c, nil
}

const usage = `usage: leanlink verify CASE

Checks again the link that CASE, a saved case with a claim.json, is about: the
output against the original objects. Exits with 1 if they do not agree.
`

// Command is leanlink verify: args are the arguments after the verb, the result is the exit status.
func Command(args []string, stdout, stderr io.Writer) int {
	if len(args) != 1 || args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(stderr, usage)
		return 2
	}
	c, err := Load(args[0])
	if err != nil {
		fmt.Fprintln(stderr, "leanlink: verify:", err)
		return 2
	}
	res, err := Check(c)
	if err != nil {
		fmt.Fprintln(stderr, "leanlink: verify:", err)
		return 2
	}
	fmt.Fprintln(stdout, res)
	for _, m := range res.Mismatches {
		fmt.Fprintln(stdout, "mismatch:", m)
	}
	if len(res.Mismatches) > 0 {
		return 1
	}
	return 0
}

// String sums the result up on one line.
func (r *Result) String() string {
	return fmt.Sprintf("%s: %d mismatches; compared %d sections (%d of code, %d bytes), %d relocations (%d relaxed), %d string and constant pieces, "+
		"%d folds, %d thunks, %d symbols, %d frame descriptions, %d landing-pad tables, %d array entries, %d line tables, %d exports; %d sections unreached, %d elastic (%d followed), %d fields not understood",
		r.Machine, len(r.Mismatches), r.Sections, r.Functions, r.Bytes, r.Relocs, r.Relaxed, r.Pieces, r.Folds, r.Thunks,
		r.Symbols, r.FDEs, r.LSDAs, r.Arrays, r.Lines, r.Exports, r.Unlocated, r.Elastic, r.Followed, r.Skipped)
}
