package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"leanlink/linker"
)

// link is a saved link that can be made again.
type link struct {
	of   *benchCase
	dir  string
	args []string // without what chooses a linker or an output
	size int64    // of the files that it reads, bytes
	raw  bool     // the arguments are a linker's, not a driver's
	rust string   // the folder of rustc's own linker
	runs int
}

// openLink reads a saved link.
func openLink(dir string, c *benchCase, o options) (*link, error) {
	cl, err := linker.OpenCase(dir)
	if err != nil {
		return nil, err
	}
	l := &link{of: c, dir: dir, raw: cl.Style == linker.StyleLD, runs: o.runs}
	if c.runs > 0 {
		l.runs = min(l.runs, c.runs)
	}
	if l.rust, err = rustFolder(); err != nil {
		return nil, err
	}
	args := cl.Args
	if l.raw && len(args) > 1 && args[0] == "-flavor" {
		args = args[2:]
	}
	for _, a := range args {
		if !strings.HasPrefix(a, "-fuse-ld=") && !(strings.HasPrefix(a, "-B") && strings.HasSuffix(a, "gcc-ld")) {
			l.args = append(l.args, a)
		}
	}
	err = filepath.WalkDir(filepath.Join(dir, "in"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			l.size += info.Size()
		}
		return err
	})
	return l, err
}

// way is one way to make a link.
type way struct {
	name  string
	base  int // index of the way that it is compared with
	argv  []string
	vars  []string
	times []cost
}

// cost is what one run cost.
type cost struct {
	wall, cpu time.Duration
	peak      int64 // most memory of one of its processes, bytes
	phases    []phase
}

// phase is a line of what leanlink says about its own time.
type phase struct {
	name      string
	wall, cpu int64 // microseconds
}

// linkers says how a linker is chosen and how it folds.
func (l *link) ways(o options, out string) (ways []way) {
	end := []string{"-o", out}
	lean := func(real string) []string { return []string{"LEANLINK_REAL_LINKER=" + real, "LEANLINK_FOLD=safe"} }
	if l.raw {
		lld := filepath.Join(l.rust, "rust-lld")
		args := slices.Concat([]string{"-flavor", "gnu"}, l.args, end)
		ways = append(ways,
			way{name: "lld", argv: append([]string{lld}, args...)},
			way{name: "lld --icf=all", argv: slices.Concat([]string{lld}, args, []string{"--icf=all"})},
			way{name: "leanlink, lld", argv: append([]string{o.program}, args...), vars: lean(lld)})
		if gnu, err := exec.LookPath("arm-none-eabi-ld"); err == nil && slices.Contains(o.linkers, "bfd") {
			n := len(ways)
			args := append(slices.Clone(l.args), end...)
			ways = append(ways,
				way{name: "GNU ld", base: n, argv: append([]string{gnu}, args...)},
				way{name: "leanlink, GNU ld", base: n, argv: append([]string{o.program}, args...), vars: lean(gnu)})
		}
		return ways
	}
	for _, ld := range []struct {
		name, title string
		choose      []string
		fold        string
	}{
		{"lld", "lld", []string{"-B" + filepath.Join(l.rust, "gcc-ld"), "-fuse-ld=lld"}, "-Wl,--icf=all"},
		{"mold", "mold", []string{"-fuse-ld=mold"}, "-Wl,--icf=all"},
		{"gold", "gold", []string{"-fuse-ld=gold"}, "-Wl,--icf=all"},
		{"bfd", "GNU ld", []string{"-fuse-ld=bfd"}, ""},
	} {
		if !slices.Contains(o.linkers, ld.name) || slices.Contains(l.of.slowLinkers, ld.name) {
			continue
		}
		if _, err := exec.LookPath("ld." + ld.name); err != nil && ld.name != "lld" {
			fmt.Fprintf(o.log, "no ld.%s: left out\n", ld.name)
			continue
		}
		n := len(ways)
		args := slices.Concat(l.args, ld.choose, end)
		ways = append(ways, way{name: ld.title, base: n, argv: append([]string{"cc"}, args...)})
		if ld.fold != "" {
			ways = append(ways, way{name: ld.title + " --icf=all", base: n, argv: slices.Concat([]string{"cc"}, args, []string{ld.fold})})
		}
		ways = append(ways, way{name: "leanlink, " + ld.title, base: n, argv: append([]string{o.program}, args...), vars: lean("cc")})
	}
	return ways
}

// newFolder makes a folder that has no profiles.
func newFolder(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, "worker-*"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return os.MkdirAll(dir, 0o777)
}

// measure makes the link in all ways, in turns, and prints what it cost.
func (l *link) measure(o options, work string, w io.Writer) error {
	ways := l.ways(o, filepath.Join(work, "out"))
	var own *crate
	if l.of.relink {
		var err error
		if own, err = openCrate(l.dir); err != nil {
			return err
		}
	}
	profiles := ""
	if o.profiles != "" {
		profiles = filepath.Join(o.profiles, l.of.name)
		if err := newFolder(profiles); err != nil {
			return err
		}
	}
	for n := range l.runs + 1 {
		for i := range ways {
			fmt.Fprintf(o.log, "\r%s: run %d of %d: %-24s", l.of.name, n, l.runs, ways[i].name)
			if own != nil {
				if err := own.change(); err != nil {
					return err
				}
			}
			r, err := ways[i].run(l.dir, work, profiles)
			if err != nil {
				return err
			}
			if n > 0 { // the first only fills the page cache
				ways[i].times = append(ways[i].times, r)
			}
		}
	}
	fmt.Fprintf(o.log, "\r%-60s\r", "")
	l.print(w, ways)
	return printProfile(w, profiles)
}

// run makes a link once. A link of many arguments goes by a response file, as
// rustc does it. profiles is a folder for leanlink's profiles, "" for none.
func (y *way) run(dir, work, profiles string) (cost, error) {
	argv := y.argv
	if total := len(strings.Join(argv, " ")); total > 100_000 {
		first := 1
		if len(argv) > 2 && argv[1] == "-flavor" {
			first = 3
		}
		file := filepath.Join(work, "arguments")
		var b bytes.Buffer
		for _, a := range argv[first:] {
			fmt.Fprintf(&b, "%s\n", strings.NewReplacer(`\`, `\\`, ` `, `\ `, `"`, `\"`, `'`, `\'`).Replace(a))
		}
		if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
			return cost{}, err
		}
		argv = append(slices.Clone(argv[:first]), "@"+file)
	}
	times := filepath.Join(work, "timings")
	os.Remove(times)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(environment(y.vars...), "LEANLINK_TIMINGS="+times)
	if profiles != "" {
		cmd.Env = append(cmd.Env, "LEANLINK_PROFILE="+profiles)
	}
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	started := time.Now()
	err := cmd.Run()
	wall := time.Since(started)
	if err != nil {
		return cost{}, fmt.Errorf("%s: %w\n%s", y.name, err, printed.Bytes())
	}
	if y.vars != nil && printed.Len() > 0 && strings.Contains(printed.String(), "leanlink:") {
		return cost{}, fmt.Errorf("%s: %s", y.name, printed.Bytes())
	}
	u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	r := cost{wall: wall, cpu: time.Duration(u.Utime.Nano() + u.Stime.Nano()), peak: u.Maxrss << 10}
	r.phases, err = readPhases(times)
	return r, err
}

// readPhases reads what leanlink left, nothing if it had no part.
func readPhases(path string) (list []phase, err error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 4 {
			return nil, fmt.Errorf("%s: %q", path, line)
		}
		p := phase{name: f[0] + " " + f[1]}
		p.wall, _ = strconv.ParseInt(f[2], 10, 64)
		p.cpu, _ = strconv.ParseInt(f[3], 10, 64)
		list = append(list, p)
	}
	return list, err
}

func median[T cmp.Ordered](list []T) T {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// each collects a figure of all runs.
func each[T any](runs []cost, f func(r *cost) T) (list []T) {
	for i := range runs {
		list = append(list, f(&runs[i]))
	}
	return list
}
