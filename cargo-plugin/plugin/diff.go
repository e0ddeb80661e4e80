package plugin

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"leanlink/report"
)

// diff compares two files, or a file or a revision with what the project
// builds now.
func diff(s *session) error {
	if s.opts.rev != "" && len(s.opts.words) > 0 {
		return usageErrorf("diff takes two files, or one and the project, or --rev REVISION and the project")
	}
	if s.opts.rev == "" && len(s.opts.words) == 0 {
		return usageErrorf("it is cargo size-report diff OLD [NEW], or diff --rev REVISION")
	}
	var pairs [][2]*report.Sizes
	var subjects []*subject
	switch len(s.opts.words) {
	case 2:
		old, err := s.open(s.opts.words[0])
		if err != nil {
			return err
		}
		z, err := s.open(s.opts.words[1])
		if err != nil {
			return err
		}
		pairs = append(pairs, [2]*report.Sizes{old, z})
	case 1:
		old, err := s.open(s.opts.words[0])
		if err != nil {
			return err
		}
		if subjects, err = s.subjects(); err != nil {
			return err
		}
		if len(subjects) != 1 {
			return fmt.Errorf("the project has %d programs; choose the one to compare with %s by --bin, --example or --test", len(subjects), s.opts.words[0])
		}
		pairs = append(pairs, [2]*report.Sizes{old, subjects[0].sizes})
	default:
		before, err := s.buildRevision(s.opts.rev)
		if err != nil {
			return err
		}
		if subjects, err = s.subjects(); err != nil {
			return err
		}
		for _, sub := range subjects {
			for _, b := range before {
				if sub.built != nil && b.built.Name == sub.built.Name && b.built.Kind == sub.built.Kind {
					pairs = append(pairs, [2]*report.Sizes{b.sizes, sub.sizes})
				}
			}
		}
		if len(pairs) == 0 {
			return fmt.Errorf("%s has none of the programs that there are now", s.opts.rev)
		}
	}
	var views []report.View
	for _, p := range pairs {
		views = append(views, report.View{Name: "diff", File: p[1].File(), Tables: report.Diff(p[0], p[1], &s.opts.view)})
	}
	if err := s.show(views); err != nil {
		return err
	}
	return s.afterwards(subjects)
}

// buildRevision builds a revision of the project in a worktree of its own,
// which is removed afterwards. Its target folder stays, so the next revision
// builds faster.
func (s *session) buildRevision(rev string) ([]*subject, error) {
	p, err := s.projectOnce()
	if err != nil {
		return nil, err
	}
	top, err := s.git(p.Root, "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, err
	}
	commit, err := s.git(p.Root, "rev-parse", "--verify", "--end-of-options", rev+"^{commit}")
	if err != nil {
		return nil, fmt.Errorf("--rev %s: %w", rev, err)
	}
	dir, unlock, err := s.revisionFolder(top)
	if err != nil {
		return nil, err
	}
	defer unlock()
	tree := filepath.Join(dir, filepath.Base(top))
	remove := func() {
		s.git(top, "worktree", "remove", "--force", tree)
		os.RemoveAll(tree)
		os.Remove(dir)
	}
	if _, err := os.Lstat(tree); err == nil { // of a run that was killed
		remove()
		s.git(top, "worktree", "prune")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if _, err := s.git(top, "worktree", "add", "--detach", tree, commit); err != nil {
		return nil, err
	}
	defer remove()
	defer onSignal(remove)()

	there := *s
	there.project = nil
	opts := *s.opts
	there.opts = &opts
	inside := func(path string) (string, error) {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		rel, err := filepath.Rel(top, path)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			return "", fmt.Errorf("--rev: %s is not in the checkout %s", path, top)
		}
		return filepath.Join(tree, rel), nil
	}
	if there.dir, err = inside(s.dir); err != nil {
		return nil, err
	}
	// A lock file that is not committed would be made anew, perhaps with other
	// versions, which are no part of the difference.
	if root, err := inside(p.Root); err == nil {
		lock := filepath.Join(root, "Cargo.lock")
		if data, err := os.ReadFile(filepath.Join(p.Root, "Cargo.lock")); err == nil && isFolder(root) && !fileExists(lock) {
			if err := os.WriteFile(lock, data, 0o644); err != nil {
				return nil, err
			}
		}
	}
	if s.opts.manifest != "" {
		manifest, err := inside(s.absolute(s.opts.manifest))
		if err != nil {
			return nil, err
		}
		opts.manifest = manifest
		opts.cargo, opts.metadata = replaced(opts.cargo, manifest), replaced(opts.metadata, manifest)
	}
	if !isFolder(there.dir) {
		return nil, fmt.Errorf("--rev %s: there is no %s", rev, s.dir)
	}
	opts.targetDir = filepath.Join(p.TargetDir, ownFolder, "revisions")
	opts.file = ""
	if s.opts.quiet == 0 {
		fmt.Fprintf(s.stderr, "Building %s (%.12s)\n", rev, commit)
	}
	subjects, err := there.subjects()
	for _, sub := range subjects {
		sub.sizes.Title = fmt.Sprintf("%s at %s", sub.built.Name, rev)
	}
	return subjects, err
}

// revisionFolder is the folder for a checkout's worktrees, always the same, for
// Cargo would build the crates of a checkout elsewhere beside those that it has
// built. Only one run at a time has it, until unlock is called.
func (s *session) revisionFolder(top string) (dir string, unlock func(), err error) {
	cache := s.env.get("XDG_CACHE_HOME")
	if home := s.env.get("HOME"); !filepath.IsAbs(cache) && home != "" {
		cache = filepath.Join(home, ".cache")
	}
	if cache == "" {
		return "", nil, errors.New("--rev: neither XDG_CACHE_HOME nor HOME is set")
	}
	hash := sha256.Sum256([]byte(top))
	dir = filepath.Join(cache, "leanlink", fmt.Sprintf("revisions-%x", hash[:6]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, plainError(dir, err)
	}
	path := dir + ".lock"
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", nil, plainError(path, err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		lock.Close()
		return "", nil, plainError(path, err)
	}
	// The run before removed it, perhaps, while this one waited.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		lock.Close()
		return "", nil, plainError(dir, err)
	}
	return dir, func() { lock.Close() }, nil
}

// onSignal has a function run before a signal ends the process, until the
// function that it returns is called.
func onSignal(cleanUp func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		select {
		case sig := <-signals:
			cleanUp()
			signal.Stop(signals)
			signal.Reset(sig)
			syscall.Kill(os.Getpid(), sig.(syscall.Signal))
		case <-done:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// replaced is options with another --manifest-path.
func replaced(options []string, manifest string) []string {
	out := append([]string(nil), options...)
	for i := range out {
		if i > 0 && out[i-1] == "--manifest-path" {
			out[i] = manifest
		}
	}
	return out
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// git runs git in a folder and returns the line that it prints.
func (s *session) git(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = dir, s.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(errs.String()); text != "" {
			err = errors.New(text)
		}
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(out.String()), nil
}
