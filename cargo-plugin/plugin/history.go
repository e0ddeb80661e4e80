package plugin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"leanlink/report"
)

// historyFile is where --record keeps what it notes, beside the workspace's
// Cargo.toml, so that it can be committed.
const historyFile = "leanlink-history.jsonl"

// record is a line of the history: one build of one program.
type record struct {
	When    string            `json:"when"`             // RFC 3339, UTC
	Commit  string            `json:"commit,omitempty"` // full
	Dirty   bool              `json:"dirty,omitempty"`  // there were changes besides
	Name    string            `json:"name"`
	Kind    string            `json:"kind"`
	Profile string            `json:"profile,omitempty"`
	Target  string            `json:"target,omitempty"`
	Fold    string            `json:"fold,omitempty"`
	File    uint64            `json:"file"`   // bytes of the file
	Loaded  uint64            `json:"loaded"` // bytes of it that are loaded
	Saved   uint64            `json:"saved"`  // bytes that folding left out
	Parts   map[string]uint64 `json:"parts"`  // bytes by what they are
	Crates  map[string]uint64 `json:"crates"` // bytes by crate
}

// program is what records of one curve have in common.
func (r *record) program() string {
	words := []string{r.Name}
	for _, w := range []string{r.Kind, r.Profile, r.Target} {
		if w != "" && w != "bin" {
			words = append(words, w)
		}
	}
	return strings.Join(words, ", ")
}

// historyPath is the file that the history is in.
func (s *session) historyPath(root string) string {
	if s.opts.history != "" {
		return s.absolute(s.opts.history)
	}
	return filepath.Join(root, historyFile)
}

// recordBuilds adds a line for each program to the history.
func (s *session) recordBuilds(subjects []*subject) error {
	p, err := s.projectOnce()
	if err != nil {
		return err
	}
	commit, dirty := "", false
	if c, err := s.git(p.Root, "rev-parse", "HEAD"); err == nil { // without Git there is only the date
		commit = c
		status, err := s.git(p.Root, "status", "--porcelain", "--untracked-files=no")
		dirty = err != nil || status != ""
	}
	var lines bytes.Buffer
	for _, sub := range subjects {
		if sub.built == nil {
			return errors.New("--record notes what the project builds, not a --file")
		}
		r := recordOf(sub)
		r.When, r.Commit, r.Dirty = time.Now().UTC().Format(time.RFC3339), commit, dirty
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		lines.Write(line)
		lines.WriteByte('\n')
	}
	path := s.historyPath(p.Root)
	if err := appendLocked(path, lines.Bytes()); err != nil {
		return plainError(path, err)
	}
	fmt.Fprintf(s.stderr, "Noted in %s\n", s.relative(path))
	return nil
}

func recordOf(sub *subject) *record {
	z := sub.sizes
	r := &record{Name: sub.built.Name, Kind: sub.built.Kind, Profile: sub.built.Profile, File: z.FileSize, Loaded: z.LoadSize,
		Parts: make(map[string]uint64), Crates: make(map[string]uint64)}
	if z.Report != nil {
		r.Target, r.Fold = z.Report.Modes.Triple, z.Report.Modes.Fold
		r.Saved = z.Report.Totals.Before.InFile() - z.Report.Totals.After.InFile()
	}
	for i := range z.Items {
		if it := &z.Items[i]; it.Bytes > 0 {
			r.Parts[it.Label.String()] += it.Bytes
			r.Crates[z.CrateOf(it, &report.ViewOptions{})] += it.Bytes
		}
	}
	return r
}

// appendLocked adds whole lines to a file. Whoever does so at the same time
// waits; a line that a crash cut off is ended first.
func appendLocked(path string, lines []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], info.Size()-1); err == nil && last[0] != '\n' {
			lines = append([]byte{'\n'}, lines...)
		}
	}
	if _, err := f.Write(lines); err != nil {
		return err
	}
	return f.Sync()
}

// readHistory reads all records; lines that are none are passed over and
// counted.
func readHistory(path string) (list []record, bad int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<16), 1<<24)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil || r.Name == "" {
			bad++
			continue
		}
		list = append(list, r)
	}
	return list, bad, lines.Err()
}

// history shows the builds that were recorded, by program.
func history(s *session) error {
	root := ""
	if s.opts.history == "" {
		p, err := s.projectOnce()
		if err != nil {
			return err
		}
		root = p.Root
	}
	path := s.historyPath(root)
	list, bad, err := readHistory(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: there is no history yet; cargo size-report --release --record begins one", s.relative(path))
	}
	if err != nil {
		return plainError(path, err)
	}
	if bad > 0 {
		s.warn("%s: %d lines are not records and are passed over", s.relative(path), bad)
	}
	var programs []string
	by := make(map[string][]record)
	for _, r := range list {
		name := r.program()
		if by[name] == nil {
			programs = append(programs, name)
		}
		by[name] = append(by[name], r)
	}
	slices.Sort(programs)
	var views []report.View
	for _, name := range programs {
		views = append(views, report.View{Name: "history", File: name, Tables: []*report.Table{historyTable(name, by[name], s.opts.rows)}})
	}
	return s.show(views)
}

func historyTable(name string, list []record, rows int) *report.Table {
	var loaded []uint64
	for _, r := range list {
		loaded = append(loaded, r.Loaded)
	}
	t := &report.Table{Key: "history", Title: name + "  " + sparkline(loaded),
		Columns: []report.Column{{Key: "when", Title: "when", Kind: report.ColumnText}, {Key: "commit", Title: "commit", Kind: report.ColumnText}, {Key: "file", Title: "file", Kind: report.ColumnBytes},
			{Key: "loaded", Title: "loaded", Kind: report.ColumnBytes}, {Key: "change", Title: "change", Kind: report.ColumnChange}, {Key: "saved", Title: "folded away", Kind: report.ColumnBytes}, {Key: "bar", Title: "", Kind: report.ColumnText}}}
	bars := []rune(sparkline(loaded))
	for i, r := range list {
		var change any
		if i > 0 {
			change = int64(r.Loaded) - int64(list[i-1].Loaded)
		}
		t.Rows = append(t.Rows, report.Row{Cells: []any{r.When, r.short(), r.File, r.Loaded, change, r.Saved, string(bars[i])}})
	}
	if rows > 0 && len(t.Rows) > rows {
		t.Notes = append(t.Notes, fmt.Sprintf("The last %d of %d builds; -n 0 shows all.", rows, len(t.Rows)))
		t.Rows = t.Rows[len(t.Rows)-rows:]
	}
	return t
}

func (r *record) short() string {
	c := r.Commit[:min(len(r.Commit), 10)]
	if r.Dirty {
		c += "+"
	}
	return c
}

// sparkline draws numbers as a line of bars, the least as the lowest.
func sparkline(values []uint64) string {
	if len(values) == 0 {
		return ""
	}
	bars := []rune("▁▂▃▄▅▆▇█")
	lo, hi := slices.Min(values), slices.Max(values)
	var b strings.Builder
	for _, v := range values {
		k := 0
		if hi > lo {
			k = int(float64(v-lo) / float64(hi-lo) * float64(len(bars)-1))
		}
		b.WriteRune(bars[k])
	}
	return b.String()
}
