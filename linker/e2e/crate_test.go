package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crate is a published crate's source in the user's cache, and the folders for
// what is made of it, so that only the first run compiles.
type crate struct {
	name, version string
	cache         string // for this version and rustc, held by this test alone
	source        string // below cache
}

// buildLimit is for one cargo command; the longest takes a tenth of it.
const buildLimit = 60 * time.Minute

// newCrate brings a crate's source. variety tells apart what is made of one
// crate in several ways.
func newCrate(t *testing.T, name, version, variety string) *crate {
	t.Helper()
	if testing.Short() {
		t.Skipf("compiling %s takes a while; not with -short", name)
	}
	need(t, "tool:cargo", "tool:rustc", "linker:lld")
	rustc, err := exec.Command("rustc", "-vV").Output()
	if err != nil {
		t.Fatal(err)
	}
	release := regexp.MustCompile(`(?m)^release: (\S+)`).FindSubmatch(rustc)
	user, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	c := &crate{name: name, version: version}
	c.cache = filepath.Join(user, "leanlink-ci", name+"-"+version+variety+"-rustc-"+string(release[1]))
	c.source = filepath.Join(c.cache, "source")
	if err := os.MkdirAll(c.cache, 0o755); err != nil {
		t.Fatal(err)
	}
	lockFolder(t, c.cache)
	if _, err := os.Stat(filepath.Join(c.source, "Cargo.toml")); err != nil {
		if err := fetchCrate(c.source, name, version); err != nil {
			if requireTools() {
				t.Fatal(err)
			}
			t.Skipf("%s %s is missing: %v", name, version, err)
		}
	}
	return c
}

// linker puts a copy of this test binary into the cache, under the name of one
// of its commands, and returns its path. Cargo recompiles everything when the
// linker's path changes, so it does not.
func (c *crate) linker(t *testing.T, command string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.cache, command)
	if err := replaceExecutable(path, self); err != nil {
		t.Fatal(err)
	}
	return path
}

// cargo runs cargo in the crate's source with a linker, and returns what it
// printed and how it ended.
func (c *crate) cargo(linker, targetDir string, env []string, args ...string) (string, error) {
	// What stands behind -- is for the programs that cargo runs.
	args = append([]string{args[0], "--locked", "--target-dir", targetDir}, args[1:]...)
	cmd := exec.Command("cargo", args...)
	cmd.Dir = c.source
	for _, v := range environ() {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case strings.HasPrefix(name, "CARGO_TARGET_"), strings.HasPrefix(name, "CARGO_PROFILE_"), strings.HasPrefix(name, "RUST"):
			// How the tests are run must not be how the crate is built.
			if name != "RUSTUP_HOME" && name != "RUSTUP_TOOLCHAIN" {
				continue
			}
		}
		cmd.Env = append(cmd.Env, v)
	}
	triple := strings.ToUpper(strings.ReplaceAll(hostTriple(), "-", "_"))
	cmd.Env = append(cmd.Env, "CARGO_TARGET_"+triple+"_LINKER="+linker, "CARGO_TERM_COLOR=never", "LC_ALL=C")
	cmd.Env = append(cmd.Env, env...)
	// A group of its own, so that what a test leaves hanging ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return "", err
	}
	timer := time.AfterFunc(buildLimit, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer timer.Stop()
	err := cmd.Wait()
	if err != nil {
		err = fmt.Errorf("cargo %s (%v): %w", strings.Join(args, " "), env, err)
	}
	return out.String(), err
}

// lockFolder keeps other runs of the tests out of a folder until the test ends.
func lockFolder(t *testing.T, dir string) {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}

// replaceExecutable copies a program to a path at which an older one may be running.
func replaceExecutable(to, from string) error {
	fresh := to + ".new"
	if err := copyFile(fresh, from); err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	return os.Rename(fresh, to)
}

// fetchCrate brings a crate's published source into a folder. Cargo has no
// command for that: as the dependency of an empty crate it lands among the
// registry's sources, from where it is copied.
func fetchCrate(to, name, version string) error {
	dir, err := os.MkdirTemp("", "leanlink-fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	manifest := fmt.Sprintf("[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[dependencies]\n%s = \"=%s\"\n", name, version)
	if err := os.MkdirAll(filepath.Join(dir, "src"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "Cargo.toml"), []byte(manifest), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "src/lib.rs"), nil, 0o644); err != nil {
		return err
	}
	cmd := exec.Command("cargo", "vendor", "--quiet", "vendor")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cargo vendor: %w\n%s", err, out)
	}
	partial := to + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := os.CopyFS(partial, os.DirFS(filepath.Join(dir, "vendor", name))); err != nil {
		return err
	}
	// It would choose another compiler than the tests', or one not installed.
	for _, file := range []string{"rust-toolchain", "rust-toolchain.toml"} {
		if err := os.Remove(filepath.Join(partial, file)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return os.Rename(partial, to)
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}
