package plugin

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"leanlink/report"
)

// subject is a file that views are made of.
type subject struct {
	sizes *report.Sizes
	built *built // nil for a file that the user named
	title string // how the user knows it
}

// subjects finds what to show: the file that --file names, else what the
// project builds.
func (s *session) subjects() ([]*subject, error) {
	if s.opts.file != "" {
		z, err := s.open(s.opts.file)
		if err != nil {
			return nil, err
		}
		return []*subject{{sizes: z, title: z.Title}}, nil
	}
	list, err := s.build()
	if err != nil {
		return nil, err
	}
	var out []*subject
	for _, b := range list {
		z, err := report.Open(b.Hashed, b.Report)
		if err != nil {
			return nil, err
		}
		z.Title = s.relative(b.Path)
		out = append(out, &subject{sizes: z, built: b, title: z.Title})
	}
	return out, nil
}

// open opens a file that the user names: a report, or an ELF file with the
// report of its link if that is about it: beside the file, or where Cargo
// linked it before it made a link to it without the hash.
func (s *session) open(path string) (*report.Sizes, error) {
	z, err := report.Open(path, "")
	if err != nil {
		return nil, err
	}
	beside := path + report.Suffix
	if z.Report == nil && !fileExists(beside) {
		if hashed, err := hashedPath(path, []string{filepath.Dir(path)}); err == nil {
			beside = hashed + report.Suffix
		}
	}
	if z.Report == nil && fileExists(beside) {
		// A report of another build is passed over: the user asked for the file.
		if with, err := report.Open(path, beside); err == nil {
			z = with
		} else {
			s.warn("%v", err)
		}
	}
	z.Title = path
	return z, nil
}

// relative shortens a path to what the user would type.
func (s *session) relative(path string) string {
	if rel, err := filepath.Rel(s.dir, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}

// view is a command that shows tables of each file.
func view(name string, needsReport bool, tables func(z *report.Sizes, s *session) ([]*report.Table, error)) func(*session) error {
	return func(s *session) error {
		subjects, err := s.subjects()
		if err != nil {
			return err
		}
		if s.opts.format == "html" {
			if err := s.writePages(subjects); err != nil {
				return err
			}
			return s.afterwards(subjects)
		}
		var views []report.View
		for _, sub := range subjects {
			if needsReport && sub.sizes.Report == nil {
				return s.missingReport(sub, name)
			}
			list, err := tables(sub.sizes, s)
			if err != nil {
				return fmt.Errorf("%s: %w", sub.title, err)
			}
			if err := s.checkSort(list); err != nil {
				return err
			}
			if len(subjects) > 1 || name == "summary" {
				list = append([]*report.Table{heading(sub)}, list...)
			}
			more, err := s.limits(sub, name)
			if err != nil {
				return err
			}
			list = append(list, more...)
			views = append(views, report.View{Name: name, File: sub.title, Tables: list})
		}
		if err := s.show(views); err != nil {
			return err
		}
		return s.afterwards(subjects)
	}
}

// checkSort says whether any table has the column of --sort.
func (s *session) checkSort(tables []*report.Table) error {
	if s.opts.view.Sort == "" {
		return nil
	}
	var keys []string
	for _, t := range tables {
		for _, c := range t.Columns {
			if c.Key == s.opts.view.Sort {
				return nil
			}
			if !slices.Contains(keys, c.Key) {
				keys = append(keys, c.Key)
			}
		}
	}
	return usageErrorf("--sort %s: there is no such column, only %s", s.opts.view.Sort, strings.Join(keys, ", "))
}

// limits are the tables of what limits a file: the memory regions of firmware
// and, where they are to be checked, the budgets.
func (s *session) limits(sub *subject, view string) ([]*report.Table, error) {
	var tables []*report.Table
	if view == "summary" || view == "sections" {
		regions, _, err := s.regions(sub)
		if err != nil {
			return nil, err
		}
		if len(regions) > 0 && sub.sizes.Layout != nil {
			if err := report.UseRegions(sub.sizes.Path, regions); err != nil {
				return nil, err
			}
			tables = append(tables, report.RegionsTable(regions))
		}
	}
	if s.opts.check {
		verdicts, err := s.judge(sub)
		if err != nil {
			return nil, err
		}
		if len(verdicts) > 0 {
			tables = append(tables, budgetTable(verdicts))
		}
	}
	return tables, nil
}

// heading is the line above the tables of a file.
func heading(sub *subject) *report.Table {
	t := &report.Table{Key: "file", Title: fmt.Sprintf("%s: %s bytes", sub.title, report.Thousands(sub.sizes.FileSize))}
	if r := sub.sizes.Report; r != nil {
		how := "fold " + r.Modes.Fold
		for _, word := range []string{r.Modes.Profile, r.Modes.Triple, r.Modes.Linker} {
			if word != "" {
				how += ", " + word
			}
		}
		t.Notes = append(t.Notes, how)
	} else if b := sub.built; b != nil {
		t.Notes = append(t.Notes, "without a report of the link: "+b.Why)
	}
	return t
}

// missingReport is the error of a view that a plain file cannot have.
func (s *session) missingReport(sub *subject, name string) error {
	if sub.built != nil {
		return fmt.Errorf("%s: %s needs the report of the link: %s", sub.title, name, sub.built.Why)
	}
	return fmt.Errorf("%s: %s needs the report of the link, which is not beside it (%s)", sub.title, name, filepath.Base(sub.title)+report.Suffix)
}

// show writes views in the format that was asked for.
func (s *session) show(views []report.View) error {
	return s.write(func(w io.Writer) error {
		var tables []*report.Table
		for _, v := range views {
			tables = append(tables, v.Tables...)
		}
		switch s.opts.format {
		case "json":
			return report.WriteJSON(w, views)
		case "csv":
			data := tables[:0:0]
			for _, t := range tables {
				if len(t.Columns) > 0 {
					data = append(data, t)
				}
			}
			return report.WriteCSV(w, data)
		case "markdown":
			return report.WriteMarkdown(w, tables)
		}
		return report.WriteText(w, tables, s.textStyle())
	})
}

// write writes to the standard output or the file of -o, which appears only
// when it is whole.
func (s *session) write(write func(io.Writer) error) error {
	if s.opts.output == "" || s.opts.output == "-" {
		return write(s.stdout)
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return replaceFile(s.opts.output, b.Bytes(), 0o644)
}

// replaceFile writes a file in one step: it is the old or the new one, never
// a part.
func replaceFile(path string, data []byte, mode os.FileMode) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // what a link points to changes, not the link
	}
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() { // /dev/stdout, a pipe
			return os.WriteFile(path, data, mode)
		}
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return plainError(path, err)
	}
	_, err = f.Write(data)
	if e := f.Chmod(mode); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// textStyle is how to write for the terminal: colours and width only if
// somebody looks.
func (s *session) textStyle() report.TextStyle {
	style := report.TextStyle{}
	width, isTerminal := terminalWidth(s.stdout)
	if s.opts.output != "" {
		isTerminal = false
	}
	switch s.opts.color {
	case "always":
		style.Color = true
	case "auto":
		color := s.opts.color
		if v := s.env.get("CARGO_TERM_COLOR"); v == "always" || v == "never" {
			color = v
		}
		style.Color = color == "always" || color == "auto" && isTerminal && s.env.get("NO_COLOR") == "" && s.env.get("TERM") != "dumb"
	}
	if isTerminal && !s.opts.wide {
		style.Width = width
	}
	if v, err := strconv.Atoi(s.env.get("COLUMNS")); err == nil && v > 0 && !s.opts.wide && s.opts.output == "" {
		style.Width = v
	}
	return style
}

func terminalWidth(w io.Writer) (int, bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(size.Col), true
}

// afterwards does what was asked for besides the view.
func (s *session) afterwards(subjects []*subject) error {
	if s.opts.record {
		if err := s.recordBuilds(subjects); err != nil {
			return err
		}
	}
	if s.opts.check {
		return s.checkBudgets(subjects)
	}
	return nil
}
