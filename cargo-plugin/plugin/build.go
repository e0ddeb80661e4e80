package plugin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"leanlink/linker"
	"leanlink/report"
)

// How a project is built without touching it
//
// Cargo recompiles every crate when the linker's path changes. So unless
// leanlink is the project's linker already, the build goes into a target folder
// of its own below the user's, with leanlink named by --config, which goes
// before all other configuration. The linker that Cargo would have used becomes
// leanlink's real linker through the environment.
//
// Cargo does not relink when leanlink or its settings change. Where a report is
// missing, of other settings or about another file, the linked file itself is
// removed, and Cargo, which finds it gone, links it again and nothing else.

// ownFolder is the name of the target folder below the user's.
const ownFolder = "size-report"

// built is a linked file of the project.
type built struct {
	Name    string // of the target, "rg"
	Kind    string // "bin", "example", "test", "cdylib", …
	Package string // folder of the package
	Path    string // where Cargo shows it: target/release/rg
	Hashed  string // where it was linked to: target/release/deps/rg-0123456789abcdef
	Report  string // of its link; "" if there is none
	Why     string // why there is none
	Profile string // Cargo's profile
	Memory  string // the memory.x of the link, "" if there is none
	Config  *linker.Config
	advised bool // its report says what more trims would save

	versions map[string]string // of the crates that were built, by the names of their rlibs
}

// buildPlan is what is to be built, for one target.
type buildPlan struct {
	triple    string
	target    string // --target's argument, "" to leave it out
	targetDir string
	leanlink  string      // path of the linker to name; "" if it is named already
	real      namedLinker // the linker that Cargo would have used
	flags     *rustFlags  // rustc's flags, if they name a linker; else nil
	project   *project
}

// plans decides how to build.
func (s *session) plans(p *project) ([]*buildPlan, error) {
	lean, err := s.findLeanlink()
	if err != nil {
		return nil, err
	}
	targets, explicit, err := s.buildTargets()
	if err != nil {
		return nil, err
	}
	var plans []*buildPlan
	for _, t := range targets {
		plan := &buildPlan{triple: tripleName(t), targetDir: p.TargetDir, project: p}
		if explicit {
			plan.target = t
		}
		if plan.real, err = s.userLinker(plan.triple); err != nil {
			return nil, err
		}
		flags, err := s.rustFlags(plan.triple)
		if err != nil {
			return nil, err
		}
		if named := flags.linker(); named.Path != "" {
			plan.real = named
			if !s.isLeanlink(named.Path, lean) {
				plan.flags = flags
			}
		}
		if s.isLeanlink(plan.real.Path, lean) {
			plan.real = namedLinker{}
		} else {
			plan.leanlink = lean
			plan.targetDir = filepath.Join(p.TargetDir, ownFolder)
		}
		plans = append(plans, plan)
	}
	return plans, nil
}

// isLeanlink says whether a linker of Cargo's configuration is leanlink.
func (s *session) isLeanlink(linker, lean string) bool {
	if linker == "" {
		return false
	}
	if filepath.Base(linker) == "leanlink" {
		return true
	}
	path := linker
	if !strings.Contains(path, "/") {
		path = s.lookPath(path)
	}
	a, err := os.Stat(path)
	if err != nil {
		return false
	}
	b, err := os.Stat(lean)
	return err == nil && os.SameFile(a, b)
}

// build builds the project and finds what was linked. Where a report is
// missing or stale it links again, once.
func (s *session) build() ([]*built, error) {
	p, err := s.projectOnce()
	if err != nil {
		return nil, err
	}
	plans, err := s.plans(p)
	if err != nil {
		return nil, err
	}
	var all []*built
	for _, plan := range plans {
		list, err := s.buildOne(plan)
		if err != nil {
			return nil, err
		}
		again := false
		for _, b := range list {
			if b.Report == "" && b.Why == whyStale || b.Report != "" && !b.advised && s.wantsAdvice() {
				again = true
				for _, path := range []string{b.Hashed, b.Path} {
					if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
						return nil, err
					}
				}
			}
		}
		if again {
			if list, err = s.buildOne(plan); err != nil {
				return nil, err
			}
			for _, b := range list {
				if b.Report == "" && b.Why == whyStale {
					b.Why = "leanlink wrote none; cargo size-report doctor may say why"
				}
			}
		}
		all = append(all, list...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("nothing was linked: a library alone has no size yet; choose a program with --bin, --example or --test")
	}
	return all, nil
}

// cargoArgs are the arguments of cargo build.
func (s *session) cargoArgs(plan *buildPlan) []string {
	args := append([]string{"build"}, s.opts.cargo...)
	if plan.target != "" {
		args = append(args, "--target", plan.target)
	}
	args = append(args, "--message-format", "json-render-diagnostics", "--target-dir", plan.targetDir)
	if plan.leanlink != "" {
		args = append(args, "--config", "target."+tomlString(plan.triple)+".linker="+tomlString(plan.leanlink))
		if p := plan.project; p.BuildDir != "" && p.BuildDir != p.TargetDir {
			// Else the user's intermediate files would be made anew each time.
			args = append(args, "--config", "build.build-dir="+tomlString(plan.targetDir))
		}
	}
	return args
}

// buildOne runs cargo build for one target.
func (s *session) buildOne(plan *buildPlan) ([]*built, error) {
	cmd := exec.Command(s.cargoPath(), s.cargoArgs(plan)...)
	env := s.env
	if plan.real.Path != "" && env.get("LEANLINK_REAL_LINKER") == "" {
		env = env.with("LEANLINK_REAL_LINKER", plan.real.Path)
	}
	if plan.flags != nil {
		env = env.with(plan.flags.withLinker(plan.leanlink))
	}
	if s.wantsAdvice() {
		env = env.with("LEANLINK_ADVICE", "1")
	}
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stderr = env, s.dir, os.Stdin, s.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", s.cargoPath(), err)
	}
	start := time.Now()
	messages, readErr := readMessages(bufio.NewReaderSize(out, 1<<16))
	if err := cmd.Wait(); err != nil {
		return nil, cargoFailure(s.cargoPath(), err)
	}
	if readErr != nil {
		return nil, fmt.Errorf("reading what cargo build says: %w", readErr)
	}
	s.noteBuildTime(plan, messages, time.Since(start))
	var list []*built
	var folders []string
	versions := make(map[string]string)
	for _, m := range messages {
		folders = append(folders, m.Paths...)
		for _, f := range m.Filenames {
			if _, version, ok := strings.Cut(m.Package, "#"); ok && strings.HasSuffix(f, ".rlib") {
				versions[filepath.Base(f)] = version[strings.LastIndexByte(version, '@')+1:]
			}
		}
	}
	for _, m := range messages {
		b := m.linked()
		if b == nil || !s.isChosen(b) {
			continue
		}
		b.versions = versions
		if err := s.locate(b, plan, env); err != nil {
			return nil, err
		}
		if isBareMetal(plan.triple) {
			b.Memory = memoryScript(plan.project.Root, folders, b.Package)
		}
		list = append(list, b)
	}
	return list, nil
}

// isChosen says whether the options ask for a program, or for nothing in
// particular.
func (s *session) isChosen(b *built) bool {
	if len(s.opts.chosen) == 0 || slices.Contains(s.opts.cargo, "--all-targets") {
		return true
	}
	return slices.ContainsFunc(s.opts.chosen, func(c choice) bool {
		if c.name == "" {
			// Programs have benchmarks of their own, which are built as their tests are.
			return c.kind == b.Kind || c.kind == "bench" && b.Kind == "test"
		}
		fits, err := path.Match(c.name, b.Name)
		return c.kind == b.Kind && fits && err == nil
	})
}

// noteBuildTime keeps how long a build from nothing took, for the estimate of
// advise --measure.
func (s *session) noteBuildTime(plan *buildPlan, messages []message, took time.Duration) {
	if plan.leanlink == "" || slices.ContainsFunc(messages, func(m message) bool { return m.Fresh }) {
		return
	}
	times := readTimes(plan.targetDir)
	if name := s.profileName(); took > times[name] {
		times[name] = took
		writeTimes(plan.targetDir, times)
	}
}

// message is a line of cargo build --message-format=json.
type message struct {
	Reason   string `json:"reason"`
	Package  string `json:"package_id"` // registry+https://…#name@1.2.3, path+file:///…/name#1.2.3
	Manifest string `json:"manifest_path"`
	Target   struct {
		Name  string   `json:"name"`
		Kind  []string `json:"kind"`
		Types []string `json:"crate_types"`
	} `json:"target"`
	Profile struct {
		Test bool `json:"test"`
	} `json:"profile"`
	Fresh      bool     `json:"fresh"` // it was there already
	Executable string   `json:"executable"`
	Paths      []string `json:"linked_paths"` // of a build script's message
	Filenames  []string `json:"filenames"`
}

func readMessages(in *bufio.Reader) ([]message, error) {
	var list []message
	for {
		line, err := in.ReadBytes('\n')
		if bytes.Contains(line, []byte(`"reason":"compiler-artifact"`)) || bytes.Contains(line, []byte(`"reason":"build-script-executed"`)) {
			var m message
			if err := json.Unmarshal(line, &m); err != nil {
				return nil, err
			}
			list = append(list, m)
		}
		if err != nil {
			if err.Error() == "EOF" {
				return list, nil
			}
			return nil, err
		}
	}
}

// linked returns what a message says was linked: a program or a shared
// library; nil for other messages.
func (m *message) linked() *built {
	if m.Reason != "compiler-artifact" || len(m.Target.Kind) == 0 || m.Target.Kind[0] == "custom-build" || m.Target.Kind[0] == "proc-macro" {
		return nil
	}
	b := &built{Name: m.Target.Name, Kind: m.Target.Kind[0], Package: filepath.Dir(m.Manifest), Path: m.Executable}
	if m.Profile.Test && b.Kind != "test" && b.Kind != "bench" {
		b.Kind = "test"
	}
	if b.Path == "" && (slices.Contains(m.Target.Types, "cdylib") || slices.Contains(m.Target.Types, "dylib")) {
		for _, f := range m.Filenames {
			if strings.HasSuffix(f, ".so") {
				b.Path, b.Kind = f, "cdylib"
			}
		}
	}
	if b.Path == "" {
		return nil
	}
	return b
}

const whyStale = "the report is missing or of other settings"

// locate finds the file that was linked and the report of its link.
func (s *session) locate(b *built, plan *buildPlan, env environ) error {
	folders := []string{filepath.Dir(b.Path)}
	if p := plan.project; plan.leanlink == "" && p.BuildDir != "" && p.BuildDir != p.TargetDir {
		// Cargo links in the build folder and then copies to the target folder.
		if rel, err := filepath.Rel(p.TargetDir, folders[0]); err == nil {
			folders = append(folders, filepath.Join(p.BuildDir, rel))
		}
	}
	hashed, err := hashedPath(b.Path, folders)
	if err != nil {
		return err
	}
	b.Hashed = hashed
	cl := &linker.CommandLine{Output: hashed, Dir: plan.project.Root}
	cfg, err := linkConfig(cl, env, plan.triple, b.Package)
	if err != nil {
		return err
	}
	b.Config, b.Profile = cfg, cfg.Profile
	path := linker.ReportPath(cl, cfg)
	switch {
	case path == "":
		b.Why = `the config says report = "off"`
		return nil
	case env.get("LEANLINK_DISABLE") != "" && env.get("LEANLINK_DISABLE") != "0":
		b.Why = "LEANLINK_DISABLE is set"
		return nil
	}
	r, err := report.ReadFile(path)
	if err != nil {
		b.Why = whyStale
		if cfg.Fold == "off" && !cfg.Trims() && cfg.Save == "" {
			b.Why = `folding is off in this profile, so leanlink leaves the link alone`
		}
		return nil
	}
	if stale, err := report.Stale(r, hashed); err != nil {
		return err
	} else if stale || r.Stamp != cfg.Stamp() || !s.newerThanSettings(path, cfg.Files) {
		b.Why = whyStale
		return nil
	}
	b.Report, b.advised = path, r.Modes.Could != nil
	return nil
}

// wantsAdvice says whether a link is to find out what more trims would save.
func (s *session) wantsAdvice() bool { return s.opts.command == commands["advise"] }

// linkConfig is the configuration of leanlink that a link will find, of which
// Cargo's part is known: its variables, and what rustc's paths say of the target.
func linkConfig(cl *linker.CommandLine, env environ, triple, pkg string) (*linker.Config, error) {
	vars := env.with("CARGO_MANIFEST_DIR", pkg).with("CARGO_PRIMARY_PACKAGE", "1").with("CARGO_BUILD_TARGET", triple)
	return linker.LoadConfig(cl, &linker.Environment{Vars: vars, Dir: cl.Dir})
}

// newerThanSettings says whether a report was made after the files with
// settings, leanlink's and Cargo's, were last changed. Its stamp does not tell
// which linker linked.
func (s *session) newerThanSettings(path string, files []string) bool {
	made, err := os.Stat(path)
	if err != nil {
		return false
	}
	for _, f := range append(s.cargoConfigFiles(), files...) {
		if info, err := os.Stat(f); err == nil && info.ModTime().After(made.ModTime()) {
			return false
		}
	}
	return true
}

// hashedPath finds the file in a folder of Cargo's, or in deps below it, that
// is the one at path: Cargo links a program to a name with a hash and then
// makes a hard link, or a copy, without it.
func hashedPath(path string, folders []string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", plainError(path, err)
	}
	base := filepath.Base(path)
	ext := ""
	if strings.HasSuffix(base, ".so") {
		ext = ".so"
	}
	stem := strings.ReplaceAll(strings.TrimSuffix(base, ext), "-", "_")
	best := path
	var places []string
	for _, dir := range folders {
		places = append(places, filepath.Join(dir, "deps"), dir)
	}
	for _, folder := range places {
		for _, name := range []string{stem + "-*" + ext, stem + ext} {
			found, err := filepath.Glob(filepath.Join(globEscape(folder), name))
			if err != nil {
				return "", err
			}
			for _, f := range found {
				other, err := os.Stat(f)
				if err != nil || !other.Mode().IsRegular() || f == path {
					continue
				}
				if os.SameFile(info, other) {
					return f, nil
				}
				if other.Size() == info.Size() && best == path && fileExists(f+report.Suffix) {
					if same, err := sameContents(f, path); err == nil && same {
						best = f
					}
				}
			}
		}
	}
	return best, nil
}

func globEscape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

func sameContents(a, b string) (bool, error) {
	x, err := os.ReadFile(a)
	if err != nil {
		return false, err
	}
	y, err := os.ReadFile(b)
	return err == nil && bytes.Equal(x, y), err
}

// plainError makes "open x: why" of the system into "x: why".
func plainError(path string, err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return fmt.Errorf("%s: %w", path, pe.Err)
	}
	return err
}
