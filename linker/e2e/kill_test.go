package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bench is a link that takes long enough to be interrupted: a Rust program, kept
// once, and what plain and folded links make of it.
type bench struct {
	dir, tmp      string
	plain, folded []byte
}

func newBench(t *testing.T) *bench {
	t.Helper()
	need(t, "tool:rustc", "linker:lld")
	b := &bench{dir: t.TempDir()}
	b.tmp = filepath.Join(b.dir, "tmp")
	if err := os.Mkdir(b.tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(b.dir, "main.rs")
	if err := os.WriteFile(source, []byte(`fn main() { println!("{:?}", std::env::args().collect::<Vec<_>>()); }`), 0o644); err != nil {
		t.Fatal(err)
	}
	o, err := run(b.dir, environ("KEEPLINK_CASE="+filepath.Join(b.dir, "link.case")),
		"rustc", "-O", "-Clinker=keeplink", "-o", filepath.Join(b.dir, "first"), source)
	if err != nil || o.status != 0 {
		t.Fatalf("rustc: %v %v", err, o)
	}
	b.plain = b.mustLink(t, "cc", "plain")
	b.folded = b.mustLink(t, tools.leanlink, "folded")
	if bytes.Equal(b.plain, b.folded) {
		t.Fatal("nothing was folded: there is no phase to interrupt")
	}
	return b
}

// command prepares a link with a home and a temporary folder of its own.
func (b *bench) command(driver, output string) (*exec.Cmd, error) {
	args, err := caseArgs(filepath.Join(b.dir, "link.case"), "lld", output, nil)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(driver, args...)
	cmd.Dir = b.dir
	cmd.Env = environ("TMPDIR="+b.tmp, "HOME="+b.dir, "XDG_CACHE_HOME="+filepath.Join(b.dir, "cache"),
		"LEANLINK_FOLD=safe", "LC_ALL=C")
	// A group of its own: what it leaves running can be counted.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}

func (b *bench) mustLink(t *testing.T, driver, name string) []byte {
	t.Helper()
	output := filepath.Join(b.dir, name)
	cmd, err := b.command(driver, output)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil || len(out) != 0 {
		t.Fatalf("%s: %v\n%s", driver, err, out)
	}
	data, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// need skips a test, by the name of what is missing, or fails it in CI.
func need(t *testing.T, conditions ...string) {
	t.Helper()
	for _, c := range conditions {
		ok, err := have(c)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			t.Skipf("%s is missing", c)
		}
	}
}

// gccFile is a temporary file of gcc's own.
var gccFile = regexp.MustCompile(`^cc[0-9A-Za-z]{6}\.res$`)

// A link that is told to stop stops: with it the real linker and the worker; the
// temporary folder is empty, and the output is whole or not there.
func TestInterrupted(t *testing.T) {
	b := newBench(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if signal.Ignored(sig) {
			t.Logf("%v: ignored here, as under nohup, and so by what is started", sig)
			continue
		}
		stopped := 0
		for _, delay := range []time.Duration{1, 4, 10, 20, 40, 60, 90, 130, 180, 250, 350} {
			delay *= time.Millisecond
			name := fmt.Sprintf("%v after %v", sig, delay)
			dir := filepath.Join(b.dir, "out", strings.ReplaceAll(name, " ", "-"))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			output := filepath.Join(dir, "prog")
			cmd, err := b.command(tools.leanlink, output)
			if err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(delay)
			// An error means that it is through already.
			_ = cmd.Process.Signal(sig)
			err = cmd.Wait()
			if err != nil {
				stopped++
			}
			data, readErr := os.ReadFile(output)
			switch {
			case err == nil && !bytes.Equal(data, b.folded):
				t.Errorf("%s: finished, but the output is another than usual: %s", name, said.String())
			case err != nil && readErr == nil && !bytes.Equal(data, b.folded):
				t.Errorf("%s: a half-written output of %d bytes", name, len(data))
			}
			if err := groupGone(cmd.Process.Pid); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, l := range entries(t, b.tmp) {
				// gcc makes a file before it sees to it that a signal removes it.
				if !gccFile.MatchString(l) {
					t.Errorf("%s: left in the temporary folder: %s", name, l)
				}
				os.RemoveAll(filepath.Join(b.tmp, l))
			}
			for _, e := range entries(t, dir) {
				if e != "prog" && strings.Contains(e, "tmp") {
					t.Errorf("%s: left beside the output: %s", name, e)
				}
			}
		}
		if stopped == 0 {
			t.Errorf("%v: every link was through before the signal came; nothing was tested", sig)
		}
	}
	if left := entries(t, filepath.Join(b.dir, "cache")); len(left) != 0 {
		t.Errorf("an interrupted link is no bug, but a case was saved: %v", left)
	}
}

// However the worker dies, the link does not: one line, and the plain output.
func TestWorkerKilled(t *testing.T) {
	b := newBench(t)
	killed := 0
	for try := range 12 {
		output := filepath.Join(b.dir, fmt.Sprint("worker", try))
		cmd, err := b.command(tools.leanlink, output)
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		hit := killWorker(cmd.Process.Pid, time.Duration(try*8)*time.Millisecond)
		if err := <-done; err != nil {
			t.Fatalf("try %d: the link failed: %v\n%s", try, err, said.String())
		}
		data, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		if !hit || bytes.Equal(data, b.folded) {
			continue // it was through before the blow
		}
		killed++
		if !bytes.Equal(data, b.plain) {
			t.Errorf("try %d: the output is neither the plain nor the folded one", try)
		}
		if n := strings.Count(said.String(), "\n"); n != 1 || !strings.HasPrefix(said.String(), "leanlink: warning: ") {
			t.Errorf("try %d: wanted one line of warning, got\n%s", try, said.String())
		}
		if left := entries(t, b.tmp); len(left) != 0 {
			t.Errorf("try %d: left in the temporary folder: %v", try, left)
		}
	}
	if killed == 0 {
		t.Error("no worker was hit; nothing was tested")
	}
}

// killWorker waits for the worker to appear below pid, lets it run for a while
// and kills it as the kernel would when memory is short.
func killWorker(pid int, after time.Duration) bool {
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
			return false
		}
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, file := range tasks {
			text, _ := os.ReadFile(file)
			for _, field := range strings.Fields(string(text)) {
				child, err := strconv.Atoi(field)
				if err != nil {
					continue
				}
				line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
				if bytes.HasPrefix(line, []byte("leanlink-worker\x00")) {
					time.Sleep(after)
					return syscall.Kill(child, syscall.SIGKILL) == nil
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

// groupGone waits a moment for all processes of a group to end.
func groupGone(pgid int) error {
	for range 200 {
		if err := syscall.Kill(-pgid, 0); err == syscall.ESRCH {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("processes of the link are still running two seconds later")
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
