package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"leanlink/linker"
	"leanlink/report"
)

// change is a file that init or --undo writes.
type change struct {
	path     string
	old, new string
	existed  bool
	what     []string // what is done to it
}

// initCommand names leanlink as the linker of the targets in use.
func initCommand(s *session) error {
	if s.opts.undo && s.opts.check {
		return usageErrorf("init takes --undo or --check, not both")
	}
	p, err := s.projectOnce()
	if err != nil {
		return err
	}
	configPath := cargoConfigPath(filepath.Join(p.Root, ".cargo"))
	if s.opts.user {
		home := s.cargoHome()
		if home == "" {
			return errors.New("neither CARGO_HOME nor HOME is set")
		}
		configPath = cargoConfigPath(home)
	}
	config, err := readChange(configPath)
	if err != nil {
		return err
	}
	settings, err := readChange(filepath.Join(p.Root, "leanlink.toml"))
	if err != nil {
		return err
	}
	if s.opts.undo {
		for _, c := range []*change{config, settings} {
			if c.new = tomlUndo(c.old); c.new != c.old {
				c.what = append(c.what, "what init wrote is taken back")
			}
		}
		return s.apply([]*change{config, settings})
	}
	lean, err := s.findLeanlink()
	if err != nil {
		return err
	}
	name := "leanlink"
	if s.lookPath("leanlink") == "" {
		if !s.opts.user {
			s.warn("leanlink is not on PATH: a build will not find it until %s is", filepath.Dir(lean))
		} else {
			name = lean // in the user's own config a path is no stranger's
		}
	}
	targets, _, err := s.buildTargets()
	if err != nil {
		return err
	}
	for _, t := range targets {
		triple := tripleName(t)
		now, err := s.userLinker(triple)
		if err != nil {
			return err
		}
		if s.isLeanlink(now.Path, lean) {
			continue
		}
		if strings.HasPrefix(now.From, "CARGO_TARGET_") {
			return fmt.Errorf("%s is set, which goes before every file; unset it, or set it to leanlink and LEANLINK_REAL_LINKER to %s", now.From, now.Path)
		}
		if config.new, err = tomlSet(config.new, triple, "linker", name); err != nil {
			return fmt.Errorf("%s: %w", configPath, err)
		}
		config.what = append(config.what, fmt.Sprintf("the linker for %s is %s", triple, name))
		if now.Path == "" {
			continue
		}
		if s.opts.user && now.From == configPath {
			return fmt.Errorf("%s names the linker %s for %s, for all your projects; leanlink has no settings of all projects to move it to: use init without --user in each, or set LEANLINK_REAL_LINKER=%s", configPath, now.Path, triple, now.Path)
		}
		real := now.Path
		if rel, err := filepath.Rel(p.Root, real); err == nil && filepath.IsAbs(real) && !strings.HasPrefix(rel, "../") {
			real = "./" + rel
		}
		if settings.new, err = tomlSet(settings.new, triple, "real-linker", real); err != nil {
			return fmt.Errorf("%s: %w", settings.path, err)
		}
		settings.what = append(settings.what, fmt.Sprintf("the real linker for %s is %s, which %s named", triple, real, s.relative(now.From)))
	}
	return s.apply([]*change{config, settings})
}

// cargoConfigPath is Cargo's config file in a folder: the one that is there,
// else config.toml.
func cargoConfigPath(dir string) string {
	if path := filepath.Join(dir, "config"); fileExists(path) {
		return path
	}
	return filepath.Join(dir, "config.toml")
}

func readChange(path string) (*change, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &change{path: path}, nil
	}
	if err != nil {
		return nil, plainError(path, err)
	}
	return &change{path: path, old: string(data), new: string(data), existed: true}, nil
}

// apply writes changes, or with --check only says them.
func (s *session) apply(changes []*change) error {
	pending := 0
	for _, c := range changes {
		if c.new == c.old {
			continue
		}
		pending++
		verb := "changed"
		switch {
		case !c.existed:
			verb = "new"
		case strings.TrimSpace(c.new) == "":
			verb = "removed"
		}
		if s.opts.check {
			verb = "would be " + verb
		}
		for _, what := range c.what {
			fmt.Fprintf(s.stdout, "%s (%s): %s\n", s.relative(c.path), verb, what)
		}
		if s.opts.check {
			continue
		}
		if strings.TrimSpace(c.new) == "" {
			if err := os.Remove(c.path); err != nil {
				return plainError(c.path, err)
			}
			os.Remove(filepath.Dir(c.path)) // .cargo, if init made it and nothing else is in it
			continue
		}
		if err := os.MkdirAll(filepath.Dir(c.path), 0o755); err != nil {
			return plainError(filepath.Dir(c.path), err)
		}
		if err := replaceFile(c.path, []byte(c.new), 0o644); err != nil {
			return err
		}
	}
	switch {
	case pending == 0 && s.opts.undo:
		fmt.Fprintln(s.stdout, "there is nothing of init's to take back")
	case pending == 0:
		fmt.Fprintln(s.stdout, "nothing to change: leanlink is the linker already")
	case !s.opts.check:
		fmt.Fprintln(s.stdout, "Cargo recompiles everything once now, for the linker's path has changed.")
	}
	return nil
}

// doctor looks for what keeps leanlink from working, and says how to cure it.
func doctor(s *session) error {
	d := &diagnosis{s: s}
	lean, err := s.findLeanlink()
	if err != nil {
		d.fail("leanlink", "%v", err)
	} else {
		d.program(lean)
		d.path(lean)
	}
	p, err := s.projectOnce()
	if err != nil {
		return err
	}
	targets, _, err := s.buildTargets()
	if err != nil {
		return err
	}
	for _, t := range targets {
		d.target(p, tripleName(t), lean)
	}
	d.settings(p)
	d.reports(p)
	if d.failed > 0 {
		return &exitError{exitFailed, nil}
	}
	return nil
}

type diagnosis struct {
	s      *session
	failed int
}

func (d *diagnosis) ok(what, format string, args ...any) {
	fmt.Fprintf(d.s.stdout, "ok    %s: %s\n", what, fmt.Sprintf(format, args...))
}

func (d *diagnosis) warn(what, format string, args ...any) {
	fmt.Fprintf(d.s.stdout, "warn  %s: %s\n", what, fmt.Sprintf(format, args...))
}

func (d *diagnosis) fail(what, format string, args ...any) {
	d.failed++
	fmt.Fprintf(d.s.stdout, "FAIL  %s: %s\n", what, fmt.Sprintf(format, args...))
}

// program checks that leanlink runs and is of this version.
func (d *diagnosis) program(lean string) {
	out, err := exec.Command(lean, "version").Output()
	switch {
	case err != nil:
		d.fail("leanlink", "%s does not run: %v; install it again", lean, err)
	case !bytes.HasPrefix(out, []byte("leanlink "+linker.Version+" ")):
		d.fail("leanlink", "%s is %s, cargo-size-report is %s; install both from one version", lean, strings.TrimSpace(string(out)), linker.Version)
	default:
		d.ok("leanlink", "%s, version %s", lean, linker.Version)
	}
}

// path checks that builds find leanlink: from this shell, and from a program
// that was not started from a shell, as an IDE is.
func (d *diagnosis) path(lean string) {
	dir := filepath.Dir(lean)
	switch found := d.s.lookPath("leanlink"); {
	case found == "":
		d.warn("PATH", "leanlink is not on it, so linker = \"leanlink\" is not found; add %s to PATH, or name the linker by its full path", dir)
	case !sameFile(found, lean):
		d.warn("PATH", "its leanlink is %s and not %s; remove one of them", found, lean)
	default:
		d.ok("PATH", "leanlink is found")
	}
	cmd := exec.Command("/bin/sh", "-lc", "command -v leanlink")
	cmd.Env = []string{"HOME=" + d.s.env.get("HOME"), "PATH=/usr/local/bin:/usr/bin:/bin"}
	if err := cmd.Run(); err != nil {
		d.warn("an IDE's PATH", "a program started from the desktop does not find leanlink; add %s to PATH in ~/.profile and log in again, or start the IDE from a shell, or name the linker by its full path", dir)
	} else {
		d.ok("an IDE's PATH", "a login shell finds leanlink")
	}
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// target checks which linker Cargo uses for a target, and the real one.
func (d *diagnosis) target(p *project, triple, lean string) {
	now, err := d.s.userLinker(triple)
	if err != nil {
		d.fail(triple, "%v", err)
		return
	}
	real, from := now.Path, d.s.relative(now.From)
	if d.s.isLeanlink(now.Path, lean) {
		d.ok(triple, "leanlink is the linker (%s)", d.s.relative(now.From))
		real, from = "", ""
		if !strings.Contains(now.Path, "/") && d.s.lookPath(now.Path) == "" {
			d.fail(triple, "%s names %s, which is not on PATH", d.s.relative(now.From), now.Path)
		}
	} else {
		named := "rustc's own choice"
		if now.Path != "" {
			named = fmt.Sprintf("%s (%s)", now.Path, d.s.relative(now.From))
		}
		d.ok(triple, "the linker is %s; cargo size-report init makes it leanlink, reports work without", named)
	}
	cl := &linker.CommandLine{Dir: p.Root}
	cfg, err := linkConfig(cl, d.s.env, triple, p.Root)
	switch {
	case err != nil:
		return // settings says it
	case cfg.RealLinker != "" && real == "":
		real, from = cfg.RealLinker, d.s.relative(cfg.Source("real-linker"))
	case d.s.env.get("LEANLINK_REAL_LINKER") != "": // goes before Cargo's, too
		real, from = d.s.env.get("LEANLINK_REAL_LINKER"), "LEANLINK_REAL_LINKER"
	}
	if real == "" {
		real, from = "cc", "rustc's own choice"
		if isBareMetal(triple) {
			d.ok(triple, "the real linker is rust-lld, which rustc brings along")
			d.flags(triple, lean)
			return
		}
	}
	path := real
	if !strings.Contains(real, "/") {
		path = d.s.lookPath(real)
	}
	switch {
	case path == "" || !isExecutable(path):
		d.fail(triple, "the real linker %s (%s) is not there; install it (cc: gcc or clang), or name another with real-linker in leanlink.toml", real, from)
		return
	case d.s.isLeanlink(path, lean):
		d.fail(triple, "the real linker (%s) is leanlink itself; name the linker that links", from)
		return
	}
	d.ok(triple, "the real linker is %s (%s)", path, from)
	d.flags(triple, lean)
}

// flags checks that no rustc flag names another linker, which would win over
// linker = "leanlink".
func (d *diagnosis) flags(triple, lean string) {
	flags, err := d.s.rustFlags(triple)
	if err != nil {
		d.fail(triple, "%v", err)
		return
	}
	if named := flags.linker(); named.Path != "" && !d.s.isLeanlink(named.Path, lean) {
		d.warn(triple, "%s names the linker %s by rustc's -Clinker, which goes before linker = \"leanlink\": reports work, other builds are not folded; name it by real-linker in leanlink.toml instead", d.s.relative(named.From), named.Path)
	}
}

func isBareMetal(triple string) bool {
	return slices.Contains(strings.Split(triple, "-"), "none")
}

// settings checks leanlink's own configuration.
func (d *diagnosis) settings(p *project) {
	if d.s.env.get("LEANLINK_DISABLE") != "" && d.s.env.get("LEANLINK_DISABLE") != "0" {
		d.warn("settings", "LEANLINK_DISABLE is set: nothing is folded")
	}
	cfg, err := linker.LoadConfig(&linker.CommandLine{Dir: p.Root}, &linker.Environment{Vars: d.s.env, Dir: p.Root})
	switch {
	case err != nil:
		d.fail("settings", "%v", err)
	case len(cfg.Files) == 0:
		d.ok("settings", "the defaults; leanlink.toml beside Cargo.toml would change them")
	default:
		var files []string
		for _, f := range cfg.Files {
			files = append(files, d.s.relative(f))
		}
		d.ok("settings", "fold = %q, from %s", cfg.Fold, strings.Join(files, ", "))
	}
}

// reports checks which reports there are and whether they are of what lies
// beside them.
func (d *diagnosis) reports(p *project) {
	var fresh, stale, broken []string
	for _, dir := range []string{p.TargetDir, filepath.Join(p.TargetDir, ownFolder)} {
		for _, pattern := range []string{"*/deps/*", "*/*/deps/*", "*/examples/*", "*/*/examples/*"} {
			found, err := filepath.Glob(filepath.Join(globEscape(dir), pattern+report.Suffix))
			if err != nil {
				continue
			}
			for _, path := range found {
				r, err := report.ReadFile(path)
				if err != nil {
					broken = append(broken, err.Error())
					continue
				}
				if old, err := report.Stale(r, strings.TrimSuffix(path, report.Suffix)); err != nil || old {
					stale = append(stale, path)
				} else if !slices.Contains(fresh, path) {
					fresh = append(fresh, path)
				}
			}
		}
	}
	for _, b := range broken {
		d.warn("report", "%s; cargo size-report makes it anew", b)
	}
	for _, path := range stale {
		d.warn("report", "%s is about another build; cargo size-report makes it anew", d.s.relative(path))
	}
	switch {
	case len(fresh) > 0:
		d.ok("report", "%d fresh, such as %s", len(fresh), d.s.relative(fresh[0]))
	case len(stale)+len(broken) == 0:
		d.ok("report", "none yet; cargo size-report --release makes the first")
	}
}
