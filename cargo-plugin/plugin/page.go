package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"leanlink/report/html"
)

// writePages writes the page of each file: beside what was built, unless -o
// says where to.
func (s *session) writePages(subjects []*subject) error {
	if s.opts.output != "" && len(subjects) != 1 {
		return fmt.Errorf("-o names one file and the project has %d programs, each with a page; choose it by --bin, --example or --test", len(subjects))
	}
	for _, sub := range subjects {
		path := s.opts.output
		if path == "" {
			if sub.built == nil {
				return usageErrorf("--format html: say where to with -o FILE")
			}
			path = filepath.Join(filepath.Dir(sub.built.Path), sub.built.Name+".size-report.html")
		}
		if err := s.writePage(sub, path); err != nil {
			return err
		}
	}
	return nil
}

// writePage writes the page of one file to a path, or to the standard output
// if that is "-".
func (s *session) writePage(sub *subject, path string) error {
	points, err := s.points(sub)
	if err != nil {
		return err
	}
	advice, err := s.advice(sub, nil)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := html.Write(&b, sub.sizes, advice, points); err != nil {
		return err
	}
	if path == "-" {
		_, err := s.stdout.Write(b.Bytes())
		return err
	}
	if err := replaceFile(path, b.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Fprintln(s.stdout, s.relative(s.absolute(path)))
	return nil
}

// points are the builds of the past of a program.
func (s *session) points(sub *subject) ([]html.Point, error) {
	if sub.built == nil {
		return nil, nil
	}
	p, err := s.projectOnce()
	if err != nil {
		return nil, err
	}
	list, _, err := readHistory(s.historyPath(p.Root))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	name := recordOf(sub).program()
	var points []html.Point
	for _, r := range list {
		if r.program() == name {
			points = append(points, html.Point{When: r.When, Commit: r.short(), File: r.File, Loaded: r.Loaded})
		}
	}
	return points, nil
}
