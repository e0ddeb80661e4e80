package linker

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"leanlink/linker/verify"
)

// The test binary is leanlink for the tests here: as supervisor when
// LEANLINK_TEST_MAIN is set, as worker when the supervisor calls it so.
func TestMain(m *testing.M) {
	if os.Args[0] == workerName {
		prepare, attaching, finishing = faultyPrepare, faultyAttach, faultyFinish
		os.Exit(Main(os.Args))
	}
	if os.Getenv("LEANLINK_TEST_MAIN") != "" {
		os.Exit(Main(os.Args))
	}
	os.Exit(m.Run())
}

// faultyPrepare is Prepare's place in these tests: LEANLINK_TEST_PREPARE says
// what happens there.
func faultyPrepare(cl *CommandLine, cfg *Config, real *Linker, dir string, _ *timings) (*Prepared, error) {
	args := append(slices.Clone(cl.Args), filepath.Join(dir, "rewritten.o"))
	switch how := os.Getenv("LEANLINK_TEST_PREPARE"); how {
	case "", "done":
		finish := &Finish{cl: cl, cfg: cfg}
		if cfg.Verify {
			finish.claim = &verify.Claim{}
		}
		if os.Getenv("LEANLINK_TEST_JOIN") != "" {
			finish.debug = &joining{}
		}
		return &Prepared{Args: args, Finish: finish}, os.WriteFile(filepath.Join(dir, "rewritten.o"), []byte("object"), 0o600)
	case "real":
		return Prepare(cl, cfg, real, dir)
	case "unchanged":
		return &Prepared{Args: cl.Args, Finish: &Finish{cl: cl, cfg: cfg}}, nil
	case "warning":
		fmt.Fprintln(os.Stderr, "something odd")
		return &Prepared{Args: cl.Args}, nil
	case "error":
		return nil, errors.New("x.o: section .text: offset 0x10:\nit is broken")
	case "refuse":
		return nil, fmt.Errorf("wrapped: %w", &Refusal{Reason: "trim.panic cannot be had"})
	default:
		return &Prepared{Args: args}, fault(how, dir)
	}
}

// faultyAttach is joining.finish's.
func faultyAttach(d *joining) error {
	return fault(os.Getenv("LEANLINK_TEST_JOIN"), "out")
}

// faultyFinish is Finish.finish's.
func faultyFinish(f *Finish, dir string) error {
	switch how := os.Getenv("LEANLINK_TEST_FINISH"); how {
	case "", "done":
		return os.WriteFile(filepath.Join(dir, reportFile), []byte("report of "+filepath.Base(f.cl.Output)), 0o600)
	case "refuse":
		return &Refusal{Reason: "the check of the output failed: f differs"}
	default:
		return fault(how, dir)
	}
}

// fault is one of the ways in which a process can end.
func fault(how, dir string) error {
	switch how {
	case "panic":
		panic("no such thing")
	case "exit":
		os.Exit(0)
	case "exit9":
		os.Exit(9)
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "abort":
		Exit{Signal: syscall.SIGABRT}.leave()
	case "changed":
		return fmt.Errorf("x.o: %w", errChanged)
	case "full":
		return &fs.PathError{Op: "write", Path: dir, Err: syscall.ENOSPC}
	case "stack":
		debug.SetMaxStack(1_000_000)
		var deeper func(n int) int
		deeper = func(n int) int { return deeper(n+1) + n }
		deeper(0)
	case "memory":
		// Where the system has no more, Go dies without a panic.
		syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: 1 << 30, Max: 1 << 30})
		var hog [][]byte
		for {
			hog = append(hog, bytes.Repeat([]byte{1}, 64<<20))
		}
	case "truncate":
		f, err := os.Create(filepath.Join(dir, "mapped"))
		if err != nil {
			return err
		}
		f.Truncate(8192)
		data, err := syscall.Mmap(int(f.Fd()), 0, 8192, syscall.PROT_READ, syscall.MAP_SHARED)
		if err != nil {
			return err
		}
		f.Truncate(0)
		fmt.Fprint(os.Stderr, data[4096])
	case "sleep":
		signal.Ignore(syscall.SIGTERM)
		os.WriteFile(filepath.Join(os.Getenv("LEANLINK_TEST_DIR"), "asleep"), nil, 0o600)
		time.Sleep(time.Minute)
	}
	return nil
}

// bench is a folder in which leanlink links with a script for a linker.
type bench struct {
	t   *testing.T
	dir string
	cc  string
}

// fakeLinker writes its arguments to the file calls, a NUL behind each and a
// newline after all, and then does what FAKE says.
const fakeLinker = `#!/bin/sh
here=$(dirname "$0")/..
[ "$*" = "-print-search-dirs -m64" ] && exit # asked for the worker, whatever comes of the link
{ printf '%s\0' "$@"; echo; } >>"$here/calls"
new=no
for arg; do
	case $arg in
	*/rewritten.o) new=yes; cat "$arg" >>"$here/saw" ;;
	@*/arguments) cp "${arg#@}" "$here/response"; grep -q rewritten.o "${arg#@}" && new=yes ;;
	esac
done
prev=
for arg; do
	[ "$prev" = -o ] && out=$arg
	prev=$arg
done
case $FAKE in
fail) echo "to stdout"; echo "to stderr" >&2; exit 7 ;;
failnew) [ $new = yes ] && { echo "cannot read that" >&2; exit 3; } ;;
crash) kill -SEGV $$ ;;
crashnew) [ $new = yes ] && kill -SEGV $$ ;;
warn) echo "to stdout"; echo "to stderr" >&2 ;;
nested) exec "$LEANLINK_TEST_SELF" "$@" ;;
list) find -L "$here"/tmp -mindepth 1 -printf '%M\n' >"$here/modes" ;;
jobs) for f in /proc/self/fd/*; do f=${f##*/}; [ -e /proc/$$/fd/$f ] && [ $f -lt 10 ] && echo $f; done >"$here/open"; printf token >&4; cat >"$here/stdin" ;;
sleep) trap 'echo terminated >"$here/terminated"; exit 9' TERM; echo asleep >"$here/asleep"; i=0; while [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done ;;
esac
[ -n "$out" ] && echo "linked $new" >"$out"
exit 0
`

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	b.cc = filepath.Join(b.dir, "bin/cc")
	putFile(t, b.cc, fakeLinker)
	for _, name := range []string{"cc", "rust-lld", "arm-none-eabi-ld", "arm-none-eabi-gcc"} {
		path := filepath.Join(b.dir, "bin", name)
		putFile(t, path, fakeLinker)
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"tmp", "work/debug/deps", "cache"} {
		if err := os.MkdirAll(filepath.Join(b.dir, dir), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	putFile(t, filepath.Join(b.dir, "work/x.o"), elfObject(62))
	return b
}

// command is leanlink in the bench's work folder.
func (b *bench) command(vars []string, args ...string) *exec.Cmd {
	b.t.Helper()
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = filepath.Join(b.dir, "work")
	cmd.Env = append([]string{"LEANLINK_TEST_MAIN=1", "LEANLINK_TEST_SELF=" + self, "LEANLINK_TEST_DIR=" + b.dir, "GOTRACEBACK=none",
		"PATH=" + b.dir + "/bin:/usr/bin:/bin", "TMPDIR=" + b.dir + "/tmp", "HOME=" + b.dir, "XDG_CACHE_HOME=" + b.dir + "/cache"}, vars...)
	return cmd
}

// run runs leanlink and returns its streams and how it ended.
func (b *bench) run(vars []string, args ...string) (stdout, stderr, end string) {
	b.t.Helper()
	var out, err bytes.Buffer
	cmd := b.command(vars, args...)
	cmd.Stdout, cmd.Stderr = &out, &err
	if e := cmd.Run(); e != nil && cmd.ProcessState == nil {
		b.t.Fatal(e)
	}
	return out.String(), err.String(), cmd.ProcessState.String()
}

// calls are the argument lists that the real linker got, and forgets them.
func (b *bench) calls() []string {
	data, err := os.ReadFile(filepath.Join(b.dir, "calls"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		b.t.Fatal(err)
	}
	os.Remove(filepath.Join(b.dir, "calls"))
	var calls []string
	for line := range strings.SplitSeq(strings.TrimSuffix(string(data), "\x00\n"), "\x00\n") {
		calls = append(calls, b.anonymous(strings.ReplaceAll(line, "\x00", " ")))
	}
	return calls
}

var workName = regexp.MustCompile(workPrefix + `[0-9]+`)

// anonymous takes out of a text what differs from run to run.
func (b *bench) anonymous(text string) string {
	return workName.ReplaceAllString(strings.ReplaceAll(text, b.dir, "DIR"), "WORK")
}

func (b *bench) file(name string) string {
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		return "none"
	}
	return string(data)
}

// litter is what is left in the folder for temporary files.
func (b *bench) litter() []string {
	entries, err := os.ReadDir(filepath.Join(b.dir, "tmp"))
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Links that go straight to the real linker: one call, with the arguments as
// they were.
func TestPassThrough(t *testing.T) {
	tests := []struct {
		name string
		vars []string
		args string
	}{
		{name: "disabled", vars: []string{"LEANLINK_DISABLE=1"}, args: "-m64 x.o -o out"},
		{name: "disabled, with a bad config", vars: []string{"LEANLINK_DISABLE=1", "LEANLINK_FOLD=x"}, args: "-m64 x.o -o out"},
		{name: "fold off", vars: []string{"LEANLINK_FOLD=off"}, args: "-m64 x.o -o out"},
		{name: "dev profile", vars: []string{"CARGO_MANIFEST_DIR=/p"}, args: "-m64 x.o -o debug/deps/out"},
		{name: "version", args: "--version"},
		{name: "version, with a bad config", vars: []string{"LEANLINK_FOLD=x"}, args: "--version"},
		{name: "help", args: "--help"},
		{name: "-v", args: "-v"},
		{name: "verbose link", args: "-m64 -v x.o -o out"},
		{name: "dry run", args: "-### x.o -o out"},
		{name: "search dirs", args: "-print-search-dirs"},
		{name: "no inputs", args: "-m64"},
		{name: "nothing", args: ""},
		{name: "relocatable", args: "-m64 -r x.o -o out"},
		{name: "ld's relocatable", args: "-m64 -Wl,-r x.o -o out"},
		{name: "compile", args: "-c x.c"},
		{name: "build script", vars: []string{"CARGO_CRATE_NAME=build_script_build"}, args: "-m64 x.o -o out"},
		{name: "response file that cannot be read", args: "-m64 @. -o out"},
		{name: "odd arguments", vars: []string{"LEANLINK_FOLD=off"}, args: "-m64 x.o --frob=\xff\xfe 'a\"b $x -o out"},
	}
	for _, tt := range tests {
		b := newBench(t)
		args := strings.Fields(tt.args)
		stdout, stderr, end := b.run(append(tt.vars, "LEANLINK_TEST_PREPARE=panic", "FAKE=warn"), args...)
		if stdout != "to stdout\n" || stderr != "to stderr\n" || end != "exit status 0" {
			t.Errorf("%s: %q, %q, %s", tt.name, stdout, stderr, end)
		}
		if calls := b.calls(); !slices.Equal(calls, []string{strings.Join(args, " ")}) {
			t.Errorf("%s: called with %q, want %q", tt.name, calls, tt.args)
		}
	}
}

// Each fault of the worker's leaves the link as it would be without leanlink,
// with one line that says so.
func TestWorkerFaults(t *testing.T) {
	const saved = " (the case is saved in DIR/cache/leanlink/cases/out-HASH)"
	tests := []struct{ fault, warning string }{
		{"error", "x.o: section .text: offset 0x10:; it is broken; linking the original inputs" + saved},
		{"panic", "the analysis died (panic: no such thing); linking the original inputs" + saved},
		{"exit9", "the analysis died (exit status 9); linking the original inputs" + saved},
		{"kill", "the analysis died (signal: killed); linking the original inputs" + saved},
		{"abort", "the analysis died (signal: aborted); linking the original inputs" + saved},
		{"stack", "the analysis died (runtime: goroutine stack exceeds 1000000-byte limit); linking the original inputs" + saved},
		{"memory", "the analysis died (NO MEMORY); linking the original inputs" + saved},
		{"truncate", "the analysis died (unexpected fault address ADDRESS); linking the original inputs" + saved},
		{"full", "write WORKDIR: no space left on device; linking the original inputs"},
		{"changed", "x.o: changed during the link; linking the original inputs"},
	}
	for _, tt := range tests {
		b := newBench(t)
		stdout, stderr, end := b.run([]string{"LEANLINK_TEST_PREPARE=" + tt.fault, "FAKE=warn"}, "-m64", "x.o", "-o", "out")
		got := b.anonymous(stderr)
		got = regexp.MustCompile(`out-[0-9a-f]{8}`).ReplaceAllString(got, "out-HASH")
		got = regexp.MustCompile(`0x[0-9a-f]{9,}`).ReplaceAllString(got, "ADDRESS")
		// How Go says that there is no memory depends on where it notices.
		got = regexp.MustCompile(`died \((runtime: out of memory|fatal error|runtime: cannot).*\); linking`).ReplaceAllString(got, "died (NO MEMORY); linking")
		got = strings.ReplaceAll(got, "DIR/tmp/WORK", "WORKDIR")
		if want := "leanlink: warning: " + tt.warning + "\nto stderr\n"; got != want || stdout != "to stdout\n" || end != "exit status 0" {
			t.Errorf("%s: %q, %q, %s, want %q", tt.fault, stdout, got, end, want)
		}
		if calls := b.calls(); !slices.Equal(calls, []string{"-m64 x.o -o out"}) {
			t.Errorf("%s: called with %q", tt.fault, calls)
		}
		if litter := b.litter(); litter != nil {
			t.Errorf("%s: left %q", tt.fault, litter)
		}
		if b.file("work/out"+reportSuffix) != "none" {
			t.Errorf("%s: a report of a link that it had no part in", tt.fault)
		}
	}
}

func TestLinkOutcomes(t *testing.T) {
	const newCall, oldCall = "-m64 x.o -o out DIR/tmp/WORK/rewritten.o", "-m64 x.o -o out"
	const saved = " (the case is saved in DIR/cache/leanlink/cases/out-HASH)\n"
	tests := []struct {
		name, fake     string
		vars           []string
		stdout, stderr string
		end            string
		calls          []string
		output, report string
	}{
		{name: "rewritten", end: "exit status 0", calls: []string{newCall}, output: "linked yes\n", report: "report of out"},
		{name: "the real linker's warnings", fake: "warn", stdout: "to stdout\n", stderr: "to stderr\n", end: "exit status 0",
			calls: []string{newCall}, output: "linked yes\n", report: "report of out"},
		{name: "nothing to do", fake: "warn", vars: []string{"LEANLINK_TEST_PREPARE=unchanged"}, stdout: "to stdout\n", stderr: "to stderr\n",
			end: "exit status 0", calls: []string{oldCall}, output: "linked no\n", report: "report of out"},
		{name: "the worker's warning", vars: []string{"LEANLINK_TEST_PREPARE=warning"}, stderr: "leanlink: warning: something odd\n",
			end: "exit status 0", calls: []string{oldCall}, output: "linked no\n", report: "old"},
		{name: "the user's error", fake: "fail", stdout: "to stdout\n", stderr: "to stderr\n", end: "exit status 7",
			calls: []string{newCall, oldCall}, output: "none", report: "old"},
		{name: "the user's error, nothing to do", fake: "fail", vars: []string{"LEANLINK_TEST_PREPARE=unchanged"}, stdout: "to stdout\n",
			stderr: "to stderr\n", end: "exit status 7", calls: []string{oldCall}, output: "none", report: "old"},
		{name: "the real linker crashes", fake: "crash", end: "signal: segmentation fault", calls: []string{newCall, oldCall}, output: "none", report: "old"},
		{name: "it crashes on ours", fake: "crashnew", end: "exit status 0", calls: []string{newCall, oldCall}, output: "linked no\n", report: "old",
			stderr: "leanlink: warning: the real linker failed on the rewritten inputs but not on the originals, which it has linked instead: this is a bug in leanlink" + saved},
		{name: "it fails on ours", fake: "failnew", end: "exit status 0", calls: []string{newCall, oldCall}, output: "linked no\n", report: "old",
			stderr: "leanlink: warning: the real linker failed on the rewritten inputs but not on the originals, which it has linked instead: this is a bug in leanlink" + saved},
		{name: "refused", vars: []string{"LEANLINK_TEST_PREPARE=refuse"}, stderr: "leanlink: error: trim.panic cannot be had\n",
			end: "exit status 1", output: "none", report: "old"},
		{name: "invalid config", vars: []string{"LEANLINK_FOLD=x"}, stderr: "leanlink: error: LEANLINK_FOLD: fold = \"x\": must be safe, all or off\n",
			end: "exit status 1", output: "none", report: "old"},
		{name: "debug information is joined", vars: []string{"LEANLINK_TEST_JOIN=done"}, end: "exit status 0", calls: []string{newCall}, output: "linked yes\n", report: "report of out"},
		{name: "debug information is joined, and checked", vars: []string{"LEANLINK_TEST_JOIN=done", "LEANLINK_VERIFY=1"}, end: "exit status 0", calls: []string{newCall}, output: "linked yes\n", report: "report of out"},
		{name: "no room for debug information", vars: []string{"LEANLINK_TEST_JOIN=full"}, end: "exit status 0", calls: []string{newCall, oldCall}, output: "linked no\n", report: "old",
			stderr: "leanlink: warning: write out: no space left on device; linking the original inputs\n"},
		{name: "joining debug information dies", vars: []string{"LEANLINK_TEST_JOIN=panic"}, end: "exit status 0", calls: []string{newCall, oldCall}, output: "linked no\n", report: "old",
			stderr: "leanlink: warning: the analysis died (panic: no such thing); linking the original inputs" + saved},
		{name: "joining debug information ends too early", vars: []string{"LEANLINK_TEST_JOIN=exit"}, end: "exit status 0", calls: []string{newCall, oldCall}, output: "linked no\n", report: "old",
			stderr: "leanlink: warning: the analysis ended by itself; linking the original inputs\n"},
		{name: "inputs change before debug information is there", vars: []string{"LEANLINK_TEST_JOIN=changed", "LEANLINK_VERIFY=1"}, end: "exit status 0", calls: []string{newCall, oldCall}, output: "linked no\n", report: "old",
			stderr: "leanlink: warning: x.o: changed during the link; linking the original inputs\n"},
		{name: "the report fails", vars: []string{"LEANLINK_TEST_FINISH=full"}, end: "exit status 0", calls: []string{newCall}, output: "linked yes\n", report: "old",
			stderr: "leanlink: warning: no report: write WORKDIR: no space left on device\n"},
		{name: "the report dies", vars: []string{"LEANLINK_TEST_FINISH=panic"}, end: "exit status 0", calls: []string{newCall}, output: "linked yes\n", report: "old",
			stderr: "leanlink: warning: no report: the analysis died (panic: no such thing)" + saved},
		{name: "the check fails", fake: "warn", vars: []string{"LEANLINK_TEST_FINISH=refuse", "LEANLINK_VERIFY=1"}, end: "exit status 1", calls: []string{newCall},
			output: "none", report: "old", stdout: "to stdout\n",
			stderr: "to stderr\nleanlink: error: the check of the output failed: f differs: this is a bug in leanlink" + saved},
		{name: "the check dies", vars: []string{"LEANLINK_TEST_FINISH=kill", "LEANLINK_VERIFY=1"}, end: "exit status 1", calls: []string{newCall}, output: "none", report: "old",
			stderr: "leanlink: error: the output could not be checked (verify = true): the analysis died (signal: killed)" + saved},
		{name: "inputs change before the check", vars: []string{"LEANLINK_TEST_FINISH=changed", "LEANLINK_VERIFY=1"}, end: "exit status 1", calls: []string{newCall}, output: "none", report: "old",
			stderr: "leanlink: error: the output could not be checked (verify = true): x.o: changed during the link\n"},
		{name: "the real linker runs leanlink", fake: "nested", end: "exit status 1", calls: []string{newCall, oldCall}, output: "none", report: "old",
			stderr: "leanlink: error: the real linker DIR/bin/cc runs leanlink again\n"},
	}
	for _, tt := range tests {
		b := newBench(t)
		putFile(t, filepath.Join(b.dir, "work/out"+reportSuffix), "old")
		stdout, stderr, end := b.run(append(tt.vars, "FAKE="+tt.fake), "-m64", "x.o", "-o", "out")
		stderr = b.anonymous(stderr)
		stderr = regexp.MustCompile(`out-[0-9a-f]{8}`).ReplaceAllString(stderr, "out-HASH")
		stderr = strings.ReplaceAll(stderr, "DIR/tmp/WORK", "WORKDIR")
		end = strings.TrimSuffix(end, " (core dumped)")
		if stdout != tt.stdout || stderr != tt.stderr || end != tt.end {
			t.Errorf("%s: %q, %q, %s, want %q, %q, %s", tt.name, stdout, stderr, end, tt.stdout, tt.stderr, tt.end)
		}
		if calls := b.calls(); !slices.Equal(calls, tt.calls) {
			t.Errorf("%s: called with %q, want %q", tt.name, calls, tt.calls)
		}
		if got := b.file("work/out"); got != tt.output {
			t.Errorf("%s: the output is %q, want %q", tt.name, got, tt.output)
		}
		if got := b.file("work/out" + reportSuffix); got != tt.report {
			t.Errorf("%s: the report is %q, want %q", tt.name, got, tt.report)
		}
		if litter := b.litter(); litter != nil {
			t.Errorf("%s: left %q", tt.name, litter)
		}
	}
}

// A worker that says it is done and is not must not make a link of nothing.
func TestWorkerLies(t *testing.T) {
	b := newBench(t)
	_, stderr, end := b.run([]string{"LEANLINK_TEST_PREPARE=exit"}, "-m64", "x.o", "-o", "out")
	const want = "leanlink: warning: the analysis ended by itself; linking the original inputs\n"
	if calls := b.calls(); stderr != want || end != "exit status 0" || !slices.Equal(calls, []string{"-m64 x.o -o out"}) {
		t.Errorf("%q, %s, %q", stderr, end, calls)
	}
}

func TestResponseFiles(t *testing.T) {
	// One in, one out.
	b := newBench(t)
	putFile(t, filepath.Join(b.dir, "work/linker-arguments"), "-m64\nx.o\nit's\\ y.o\n-o\nout\n")
	_, stderr, end := b.run(nil, "@linker-arguments")
	if calls := b.calls(); stderr != "" || end != "exit status 0" || !slices.Equal(calls, []string{"@DIR/tmp/WORK/arguments"}) {
		t.Errorf("%q, %s, %q", stderr, end, calls)
	}
	if got, want := b.anonymous(b.file("response")), "-m64\nx.o\nit\\'s\\ y.o\n-o\nout\nDIR/tmp/WORK/rewritten.o\n"; got != want {
		t.Errorf("response file %q, want %q", got, want)
	}
	// The original goes through as it was.
	b.run([]string{"LEANLINK_FOLD=off"}, "@linker-arguments")
	if calls := b.calls(); !slices.Equal(calls, []string{"@linker-arguments"}) {
		t.Errorf("passed through: %q", calls)
	}

	// Arguments that the system just takes become too many with a few more.
	b = newBench(t)
	args := []string{"-m64", "x.o", "-o", "out"}
	limit := 2 << 20
	for i := 0; i < limit/1024-60; i++ { // 64 KiB below the limit is too long for us
		args = append(args, "-Wl,--defsym="+strings.Repeat("x", 1000)+"=0")
	}
	_, stderr, end = b.run(nil, args...)
	calls := b.calls()
	if stderr != "" || end != "exit status 0" || len(calls) != 1 || calls[0] != "@DIR/tmp/WORK/arguments" {
		t.Errorf("long command line: %.200q, %s, %.200q", stderr, end, calls)
	}

	// Raw ld style keeps -flavor before the response file, and for a driver
	// it is spelled out.
	b = newBench(t)
	putFile(t, filepath.Join(b.dir, "work/rsp"), "arm.o\n--gc-sections\n-o\nout\n")
	putFile(t, filepath.Join(b.dir, "work/arm.o"), elfObject(40))
	for _, tt := range []struct{ real, fold, call, response string }{
		{"", "all", "-flavor gnu @DIR/tmp/WORK/arguments", "arm.o\n--gc-sections\n-o\nout\nDIR/tmp/WORK/rewritten.o\n"},
		{"", "off", "-flavor gnu @rsp", ""},
		{"arm-none-eabi-ld", "off", "@rsp", ""},
		{"arm-none-eabi-ld", "all", "@DIR/tmp/WORK/arguments", "arm.o\n--gc-sections\n-o\nout\nDIR/tmp/WORK/rewritten.o\n"},
		{"arm-none-eabi-gcc", "off", "@DIR/tmp/WORK/arguments", "-no-pie\n-nostartfiles\n-nostdlib\narm.o\n-Wl,--gc-sections\n-o\nout\n"},
		{"arm-none-eabi-gcc", "all", "@DIR/tmp/WORK/arguments", "-no-pie\n-nostartfiles\n-nostdlib\narm.o\n-Wl,--gc-sections\n-o\nout\nDIR/tmp/WORK/rewritten.o\n"},
	} {
		os.Remove(filepath.Join(b.dir, "response"))
		_, stderr, end := b.run([]string{"LEANLINK_REAL_LINKER=" + tt.real, "LEANLINK_FOLD=" + tt.fold}, "-flavor", "gnu", "@rsp")
		calls := b.calls()
		response := b.anonymous(b.file("response"))
		if response == "none" {
			response = ""
		}
		if stderr != "" || end != "exit status 0" || !slices.Equal(calls, []string{tt.call}) || response != tt.response {
			t.Errorf("real-linker %q, fold %s: %q, %s, %q, response %q", tt.real, tt.fold, stderr, end, calls, response)
		}
		if litter := b.litter(); litter != nil {
			t.Errorf("real-linker %q, fold %s: left %q", tt.real, tt.fold, litter)
		}
	}
}

// What the system refuses to take with leanlink's own variable added goes
// through a response file; rustc would have retried so, but cannot know.
func TestPassThroughTooLong(t *testing.T) {
	b := newBench(t)
	cmd := b.command([]string{"LEANLINK_FOLD=off"}, "-m64", "x.o", "-o", "out", "ARG")
	size := func() int {
		n := 0
		for _, s := range append(cmd.Args[:len(cmd.Args):len(cmd.Args)], cmd.Env...) {
			n += len(s) + 1 + 8
		}
		return n
	}
	// Fill up to the limit but for less than the variable takes.
	limit := 2 << 20
	var rl syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_STACK, &rl); err != nil || rl.Cur != 8<<20 {
		t.Skipf("the limit of the stack is %d and not 8 MiB", rl.Cur)
	}
	for size()+100_000 < limit {
		cmd.Args = append(cmd.Args, "-Wl,--defsym="+strings.Repeat("x", 90_000)+"=0")
	}
	last := &cmd.Args[5]
	var stderr bytes.Buffer
	for pad := limit - size(); pad > 0; pad -= 16 {
		*last = "-Wl," + strings.Repeat("y", pad)
		stderr.Reset()
		again := b.command([]string{"LEANLINK_FOLD=off"}, cmd.Args[1:]...)
		again.Stderr = &stderr
		err := again.Run()
		if errors.Is(err, syscall.E2BIG) {
			continue // leanlink itself could not be run: rustc sees that
		}
		calls := b.calls()
		if err != nil || stderr.String() != "" || !slices.Equal(calls, []string{"@DIR/tmp/WORK/arguments"}) {
			t.Errorf("%v, %q, %.200q", err, stderr.String(), calls)
		}
		return
	}
	t.Error("no length was accepted")
}

// A signal that asks for the end ends everything, in every phase, and leaves
// nothing behind.
func TestSignals(t *testing.T) {
	for _, tt := range []struct {
		name, prepare, fake string
		signal              syscall.Signal
		end                 string
	}{
		{"in the worker", "sleep", "", syscall.SIGINT, "signal: interrupt"},
		{"in the real linker", "done", "sleep", syscall.SIGTERM, "signal: terminated"},
		{"in the real linker, killed", "done", "sleep", syscall.SIGKILL, "signal: killed"},
		{"in the real linker, nothing to do", "unchanged", "sleep", syscall.SIGTERM, "exit status 9"},
		{"in the worker, killed", "sleep", "", syscall.SIGKILL, "signal: killed"},
	} {
		b := newBench(t)
		cmd := b.command([]string{"LEANLINK_TEST_PREPARE=" + tt.prepare, "FAKE=" + tt.fake}, "-m64", "x.o", "-o", "out")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); b.file("asleep") == "none" && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		started := time.Now()
		cmd.Process.Signal(tt.signal)
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
			t.Fatalf("%s: goes on", tt.name)
		}
		if end := cmd.ProcessState.String(); end != tt.end || stderr.String() != "" {
			t.Errorf("%s: %s, %q after %v, want %s", tt.name, end, stderr.String(), time.Since(started), tt.end)
		}
		if tt.fake == "sleep" {
			for end := time.Now().Add(5 * time.Second); b.file("terminated") == "none" && time.Now().Before(end); {
				time.Sleep(5 * time.Millisecond)
			}
			if b.file("terminated") == "none" {
				t.Errorf("%s: the real linker goes on", tt.name)
			}
		}
		if litter := b.litter(); tt.signal != syscall.SIGKILL && litter != nil {
			t.Errorf("%s: left %q", tt.name, litter)
		}
		if b.file("work/out") != "none" {
			t.Errorf("%s: an output", tt.name)
		}
	}
}

func TestWorkFolder(t *testing.T) {
	// Inside rustc's temporary folder if there is one.
	b := newBench(t)
	putFile(t, filepath.Join(b.dir, "work/deps/rustcAbC123/symbols.o"), elfObject(62))
	b.run(nil, "-m64", "deps/rustcAbC123/symbols.o", "-o", "out")
	if calls := b.calls(); !slices.Equal(calls, []string{"-m64 deps/rustcAbC123/symbols.o -o out DIR/work/deps/rustcAbC123/WORK/rewritten.o"}) {
		t.Errorf("in rustc's folder: %q", calls)
	}
	entries, err := os.ReadDir(filepath.Join(b.dir, "work/deps/rustcAbC123"))
	if err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}

	// With nowhere to write, the link is the plain one.
	_, stderr, end := b.run([]string{"TMPDIR=/nowhere"}, "-m64", "x.o", "-o", "out")
	if want := "leanlink: warning: no temporary folder: stat /nowhere: no such file or directory; linking the original inputs\n"; stderr != want || end != "exit status 0" {
		t.Errorf("%q, %s, want %q", stderr, end, want)
	}
	if calls := b.calls(); !slices.Equal(calls, []string{"-m64 x.o -o out"}) {
		t.Errorf("with nowhere to write: %q", calls)
	}

	// What a link that was killed left is swept by a later one; what one that
	// runs has, or one that only just begins, is not.
	tmp := filepath.Join(b.dir, "tmp")
	old := time.Now().Add(-2 * time.Hour)
	for _, name := range []string{"dead", "live", "new", "bare"} {
		dir := filepath.Join(tmp, workPrefix+name)
		if name == "bare" {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		} else {
			putFile(t, filepath.Join(dir, lockName), "")
		}
		if name != "new" {
			if err := os.Chtimes(dir, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	lock, err := os.Open(filepath.Join(tmp, workPrefix+"live", lockName))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	b.run(nil, "-m64", "x.o", "-o", "out")
	if got, want := strings.Join(b.litter(), " "), workPrefix+"bare "+workPrefix+"live "+workPrefix+"new"; got != want {
		t.Errorf("after the sweep: %s, want %s", got, want)
	}
}

func TestWorkFolderIsPrivate(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	t.Setenv("TMPDIR", t.TempDir())
	w, err := makeWorkFolder(&CommandLine{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.remove()
	st, err := os.Stat(w.Path)
	if err != nil || st.Mode() != fs.ModeDir|0o700 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestReportPath(t *testing.T) {
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "folder/x"), "")
	for _, tt := range []struct{ report, output, want string }{
		{"", "/t/release/deps/rg-1", "/t/release/deps/rg-1.leanlink.json.gz"},
		{"", "out", dir + "/out.leanlink.json.gz"},
		{"", "/dev/null", ""},
		{"off", "out", ""},
		{"/r/", "/t/rg-1", "/r/rg-1.leanlink.json.gz"},
		{dir + "/folder", "/t/rg-1", dir + "/folder/rg-1.leanlink.json.gz"},
		{"/r/x.json.gz", "/t/rg-1", "/r/x.json.gz"},
	} {
		if got := ReportPath(&CommandLine{Dir: dir, Output: tt.output}, &Config{Report: tt.report}); got != tt.want {
			t.Errorf("report %q, output %q: %q, want %q", tt.report, tt.output, got, tt.want)
		}
	}

	// The folder is made, and the report as readable as other outputs.
	b := newBench(t)
	if _, stderr, end := b.run([]string{"LEANLINK_REPORT=new/folder/"}, "-m64", "x.o", "-o", "out"); stderr != "" || end != "exit status 0" {
		t.Errorf("%q, %s", stderr, end)
	}
	path := filepath.Join(b.dir, "work/new/folder/out"+reportSuffix)
	out, err := os.Stat(filepath.Join(b.dir, "work/out"))
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode() != out.Mode() {
		t.Errorf("%v, %v", st, err)
	}
	// One that cannot be written is no reason to fail.
	_, stderr, end := b.run([]string{"LEANLINK_REPORT=/dev/null/x"}, "-m64", "x.o", "-o", "out")
	if want := "leanlink: warning: the report could not be written: mkdir /dev/null: not a directory\n"; stderr != want || end != "exit status 0" {
		t.Errorf("%q, %s, want %q", stderr, end, want)
	}
}

func TestTooLong(t *testing.T) {
	if tooLong([]string{"cc", "x.o"}, []string{"A=b"}) {
		t.Error("a few arguments are too long")
	}
	if !tooLong([]string{strings.Repeat("x", maxArgument)}, nil) || tooLong([]string{strings.Repeat("x", maxArgument-1)}, nil) {
		t.Error("one argument of the limit's length")
	}
	if !tooLong(make([]string, 2<<20), nil) {
		t.Error("two million arguments are not too long")
	}
}
