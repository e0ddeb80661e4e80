package linker

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	hellofold "leanlink/examples/hello-fold"
)

const demoUsage = `usage: leanlink demo [-fold safe|all] [-keep DIR]

Builds the example crate hello-fold twice with cargo, plainly and folded, runs
both and prints their sizes. Exits with 0 only if both do the same and the
folded one is smaller.

    -fold MODE   how to fold, safe or all (default safe)
    -keep DIR    build in DIR and leave everything there (default: a temporary
                 folder, removed afterwards)
`

// Demo is `leanlink demo`: it builds the bundled example crate plainly and
// folded, runs both and compares. It returns 0 only if both print the same and
// the folded one is smaller, 2 for arguments that it does not understand.
func Demo(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	fold := flags.String("fold", "safe", "")
	keep := flags.String("keep", "", "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		io.WriteString(stdout, demoUsage)
		return 0
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case err == nil && *fold != "safe" && *fold != "all":
		err = fmt.Errorf("-fold is safe or all, not %q", *fold)
	}
	if err != nil {
		fmt.Fprintf(stderr, "leanlink: error: demo: %v\n%s", err, demoUsage)
		return 2
	}
	// Interrupted, the builds end and the folder goes away all the same.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, *fold, *keep, stdout); err != nil {
		fmt.Fprintf(stderr, "leanlink: error: demo: %v\n", err)
		return 1
	}
	return 0
}

// demoBuild is one of the two programs.
type demoBuild struct {
	name    string   // plain or folded
	env     []string // leanlink's settings
	seconds float64
	alloc   uint64 // allocated bytes that take room in the file
	file    int64  // bytes
	output  string // what the program printed, and its exit status
}

func demo(ctx context.Context, fold, keep string, stdout io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	host, err := rustHost(ctx)
	if err != nil {
		return err
	}
	dir := keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "leanlink-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	} else if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	source := filepath.Join(dir, "hello-fold")
	if err := os.CopyFS(source, hellofold.Files); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; -keep wants a folder without an earlier demo in it", err)
	} else if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "Building the example crate hello-fold for %s, plainly and with fold = %s …\n", host, fold)
	plain := &demoBuild{name: "plain", env: []string{"LEANLINK_DISABLE=1"}}
	folded := &demoBuild{name: "folded", env: []string{"LEANLINK_FOLD=" + fold}}
	for _, b := range []*demoBuild{plain, folded} {
		if err := b.make(ctx, self, host, source, filepath.Join(dir, b.name)); err != nil {
			return err
		}
	}
	if !strings.HasSuffix(plain.output, demoStatus(0)) {
		return fmt.Errorf("the plain program fails\n%s", plain.output)
	}
	if plain.output != folded.output {
		return fmt.Errorf("the folded program does not do what the plain one does\n--- plain\n%s--- folded\n%s", plain.output, folded.output)
	}
	fmt.Fprintf(stdout, "\n%s\nBoth print the %d lines above.\n\n", strings.TrimSuffix(plain.output, demoStatus(0)),
		strings.Count(plain.output, "\n")-1)
	fmt.Fprintf(stdout, "%-28s %10s %10s\n", "", "plain", "folded")
	fmt.Fprintf(stdout, "%-28s %10d %10d  %+.1f%%\n", "loaded into memory, bytes", plain.alloc, folded.alloc, growth(plain.alloc, folded.alloc))
	fmt.Fprintf(stdout, "%-28s %10d %10d  %+.1f%%\n", "file, bytes", plain.file, folded.file, growth(uint64(plain.file), uint64(folded.file)))
	fmt.Fprintf(stdout, "%-28s %10.1f %10.1f\n", "cargo build, seconds", plain.seconds, folded.seconds)
	if keep != "" {
		fmt.Fprintf(stdout, "\nEverything is in %s.\n", dir)
	}
	if folded.alloc >= plain.alloc {
		return errors.New("the folded program is not smaller than the plain one")
	}
	return nil
}

func growth(before, after uint64) float64 {
	return (float64(after)/float64(before) - 1) * 100
}

// rustHost asks rustc what it compiles for by itself.
func rustHost(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "rustc", "-vV").Output()
	if err != nil {
		return "", fmt.Errorf("it needs rustc and cargo on PATH: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if host, ok := strings.CutPrefix(line, "host: "); ok {
			return strings.TrimSpace(host), nil
		}
	}
	return "", fmt.Errorf("rustc -vV does not name the host: %q", out)
}

// make builds the crate with leanlink as the linker, runs it and takes its sizes.
// The plain one goes through leanlink too, switched off, so that nothing else
// differs.
func (b *demoBuild) make(ctx context.Context, self, host, source, target string) error {
	// Whatever the user has set for other builds does not belong here.
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LEANLINK_") {
			env = append(env, v)
		}
	}
	// Through the environment a path needs no quoting.
	linkerVariable := "CARGO_TARGET_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(host)) + "_LINKER"
	env = append(env, linkerVariable+"="+self)
	env = append(env, b.env...)
	cargo := exec.CommandContext(ctx, "cargo", "build", "--release", "--quiet", "--offline", "--target", host, "--target-dir", target)
	cargo.Dir, cargo.Env = source, env
	// A second chance to clean up before it is killed.
	cargo.Cancel = func() error { return cargo.Process.Signal(os.Interrupt) }
	cargo.WaitDelay = 5 * time.Second
	start := time.Now()
	if out, err := cargo.CombinedOutput(); err != nil {
		return fmt.Errorf("the %s build failed: %w\n%s", b.name, err, out)
	}
	b.seconds = time.Since(start).Seconds()
	path := filepath.Join(target, host, "release", "hello-fold")
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	b.file = info.Size()
	if b.alloc, err = allocatedSize(path); err != nil {
		return err
	}
	b.output, err = runDemo(ctx, path)
	return err
}

// demoStatus ends a demo program's output, so that two outputs are equal only
// if the exit statuses are.
func demoStatus(status int) string { return fmt.Sprintf("exit status %d\n", status) }

func runDemo(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err
	}
	return out.String() + demoStatus(cmd.ProcessState.ExitCode()), nil
}

// allocatedSize is the sum of the sizes of the sections that are loaded from the file.
func allocatedSize(path string) (uint64, error) {
	f, err := elf.Open(path)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	var sum uint64
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			sum += s.Size
		}
	}
	return sum, nil
}
