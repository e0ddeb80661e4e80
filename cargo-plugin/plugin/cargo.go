package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// cargoPath is the Cargo that runs this command, which +toolchain chose.
func (s *session) cargoPath() string {
	if p := s.env.get("CARGO"); p != "" {
		return p
	}
	return "cargo"
}

// project is what cargo metadata tells.
type project struct {
	TargetDir string `json:"target_directory"`
	BuildDir  string `json:"build_directory"` // since Cargo 1.91; else ""
	Root      string `json:"workspace_root"`
	Packages  []struct {
		ID       string `json:"id"`
		Name     string `json:"name"`
		Version  string `json:"version"`
		Manifest string `json:"manifest_path"`
	} `json:"packages"`
}

// projectOnce is readProject with a memory.
func (s *session) projectOnce() (*project, error) {
	if s.project == nil {
		p, err := s.readProject()
		if err != nil {
			return nil, err
		}
		s.project = p
	}
	return s.project, nil
}

// readProject asks Cargo where the project is and where it builds.
func (s *session) readProject() (*project, error) {
	args := append([]string{"metadata", "--format-version", "1", "--no-deps"}, s.opts.metadata...)
	if s.opts.targetDir != "" {
		args = append(args, "--config", "build.target-dir="+tomlString(s.absolute(s.opts.targetDir)))
	}
	out, err := s.cargo(args...)
	if err != nil {
		return nil, err
	}
	p := &project{}
	if err := json.Unmarshal(out, p); err != nil {
		return nil, fmt.Errorf("cargo metadata: %w", err)
	}
	if p.TargetDir == "" {
		return nil, errors.New("cargo metadata tells no target folder")
	}
	return p, nil
}

// cargo runs Cargo and returns what it printed. What it says of errors goes to
// the user as it is.
func (s *session) cargo(args ...string) ([]byte, error) {
	cmd := exec.Command(s.cargoPath(), args...)
	cmd.Env, cmd.Dir, cmd.Stderr = s.env, s.dir, s.stderr
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return nil, cargoFailure(s.cargoPath(), err)
	}
	return out.Bytes(), nil
}

// cargoFailure passes on Cargo's exit status; it has said why.
func cargoFailure(path string, err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status := exit.ExitCode()
		if status < 0 { // killed by a signal
			status = exitFailed
		}
		return &exitError{status, nil}
	}
	return fmt.Errorf("%s: %w", path, err)
}

// rustc returns what rustc prints.
func (s *session) rustc(args ...string) (string, error) {
	path := s.env.get("RUSTC")
	if path == "" {
		path = "rustc"
	}
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Dir = s.env, s.dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", path, strings.Join(args, " "), err)
	}
	return string(out), nil
}

// hostTriple is the target that rustc builds for by default.
func (s *session) hostTriple() (string, error) {
	out, err := s.rustc("-vV")
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(out, "\n") {
		if host, ok := strings.CutPrefix(line, "host: "); ok {
			return strings.TrimSpace(host), nil
		}
	}
	return "", errors.New("rustc -vV tells no host")
}

// absolute resolves a path against the working folder.
func (s *session) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(s.dir, path)
}

// tomlString writes a string as TOML has it.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// findLeanlink finds the linker: beside this program, where go install and the
// archives put it, else on PATH.
func (s *session) findLeanlink() (string, error) {
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			if path := filepath.Join(filepath.Dir(real), "leanlink"); isExecutable(path) {
				return path, nil
			}
		}
		if path := filepath.Join(filepath.Dir(self), "leanlink"); isExecutable(path) {
			return path, nil
		}
	}
	if path := s.lookPath("leanlink"); path != "" {
		return path, nil
	}
	return "", errors.New("leanlink itself was found neither beside cargo-size-report nor on PATH; install both into one folder of PATH (go install ./... does)")
}

// lookPath finds a program on PATH; "" if it is not there.
func (s *session) lookPath(name string) string {
	for _, dir := range filepath.SplitList(s.env.get("PATH")) {
		if dir == "" {
			dir = "."
		}
		if path := s.absolute(filepath.Join(dir, name)); isExecutable(path) {
			return path
		}
	}
	return ""
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
