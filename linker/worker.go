package linker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The worker is a second process of leanlink in which all reading and
// thinking happens. Whatever it meets — a bug, a file that shrinks while it is
// mapped, the end of memory — ends the worker and not the link.
//
// The two share the link's work folder: argvFile in, argsFile and reportFile
// out. The worker's exit status says how it went and its standard error why.

// Files of a work folder.
const (
	argvFile   = "argv"   // the original arguments, each with a NUL behind it
	argsFile   = "args"   // the new ones, in the same form
	namesFile  = "names"  // in the same form: each new object and what it stands for
	reportFile = "report" // the report, to be published if the link succeeds
)

// Exit statuses of the worker.
const (
	workerDone    = 0 // what stands on standard error is a warning
	workerRefused = 3 // the link must fail
	workerFailed  = 4 // a fault of leanlink's
	workerHalted  = 5 // a fault of the machine's, such as a full disk
)

// workerName is the worker's argv[0], for ps.
const workerName = "leanlink-worker"

// The worker's steps.
const (
	stepPrepare = "prepare" // make the new arguments
	stepFinish  = "finish"  // read the output, for the report and the check
	stepSave    = "save"    // save the link as a case, and print its folder
)

// A Refusal is an error that must fail the link: it asks for something that
// would be wrong to give and wrong to leave out in silence.
type Refusal struct {
	Reason string
}

// Error is the reason.
func (r *Refusal) Error() string { return r.Reason }

// prepare and finishing do the steps' work; tests put faults in their places.
var prepare, finishing = Prepare, finish

// outcome is how a worker's step went.
type outcome struct {
	status  int    // one of the statuses above, or -1: it died
	message string // one line
	detail  string // all that it printed
}

// runWorker runs one step in a worker and waits for it.
func (r *runner) runWorker(step string, w *workFolder, argv []string, env *Environment) outcome {
	if err := writeArgs(filepath.Join(w.Path, argvFile), argv); err != nil {
		return outcome{status: workerHalted, message: err.Error()}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return outcome{status: workerHalted, message: err.Error()}
	}
	defer null.Close()
	from, to, err := os.Pipe()
	if err != nil {
		return outcome{status: workerHalted, message: err.Error()}
	}
	defer from.Close()
	printed := make(chan []byte, 1)
	go func() {
		// A stack trace of a thousand goroutines is of no more use than
		// its beginning.
		head, _ := io.ReadAll(io.LimitReader(from, 64<<10))
		io.Copy(io.Discard, from)
		printed <- head
	}()
	vars := env.with(markWorker, w.Path)
	exit, err := r.run(selfExe(), []string{workerName, step}, vars, [3]*os.File{null, null, to}, syscall.SIGKILL)
	to.Close()
	if err != nil {
		return outcome{status: workerHalted, message: "the worker: " + err.Error()}
	}
	// Something that the worker left behind may still hold the pipe.
	from.SetReadDeadline(time.Now().Add(time.Second))
	text := strings.TrimSpace(string(<-printed))

	o := outcome{status: exit.Status, detail: text}
	o.message, _, _ = strings.Cut(text, "\n")
	switch {
	case exit.Signal != 0, exit.Status != workerDone && (exit.Status < workerRefused || exit.Status > workerHalted):
		o.status = -1
		why := exit.String()
		if o.message != "" {
			why = o.message // "panic: …" says more than "exit status 2"
		}
		o.message = "the analysis died (" + why + ")"
		o.detail = exit.String() + "\n" + text
	case exit.Status != workerDone && o.message == "":
		o.message = "the analysis failed without a reason"
	}
	return o
}

// workerMain is the worker's main. The result is its exit status.
func workerMain(step string, env *Environment) int {
	// Where memory runs out the system should take this process, which
	// nobody needs, before the supervisor or the user's own.
	os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)

	err := workerStep(step, env.Get(markWorker), env)
	var refusal *Refusal
	switch {
	case err == nil:
		return workerDone
	case errors.As(err, &refusal):
		fmt.Fprintln(os.Stderr, oneLine(refusal.Reason))
		return workerRefused
	}
	fmt.Fprintln(os.Stderr, oneLine(err.Error()))
	for _, fault := range []error{errChanged, errIrregular, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, syscall.EFBIG} {
		if errors.Is(err, fault) {
			return workerHalted
		}
	}
	return workerFailed
}

func workerStep(step, dir string, env *Environment) error {
	argv, err := readArgs(filepath.Join(dir, argvFile))
	if err != nil {
		return err
	}
	cl, err := ParseCommandLine(argv, env.Dir)
	if err != nil {
		return err
	}
	cfg, err := LoadConfig(cl, env)
	if err != nil {
		return err
	}
	real, err := FindLinker(cl, cfg, env)
	if err != nil {
		return err
	}

	switch step {
	case stepSave:
		failure, _ := os.ReadFile(filepath.Join(dir, failureFile))
		saved, err := saveAutomatically(cl, cfg, real, string(failure))
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, saved)
		return nil

	case stepFinish:
		return finishing(cl, cfg, real, dir)

	case stepPrepare:
		if cfg.Save != "" {
			if _, err := SaveCase(cl, cfg, real, cfg.Save, ""); err != nil {
				fmt.Fprintf(os.Stderr, "the case could not be saved: %s\n", oneLine(err.Error()))
			}
		}
		args := cl.Args
		if folds(cfg) {
			prepared, err := prepare(cl, cfg, real, dir)
			if err != nil {
				return err
			}
			args = prepared.Args
		}
		if slices.Equal(args, cl.Args) {
			return nil // no argsFile: the original ones
		}
		return writeArgs(filepath.Join(dir, argsFile), args)
	}
	return fmt.Errorf("no such step: %s", step)
}

// folds says whether the config asks for anything to be done to the inputs.
func folds(cfg *Config) bool { return cfg.Fold != "off" || cfg.Trims() }

// readArgs reads a list in which each argument has a NUL behind it: arguments
// may hold anything else.
func readArgs(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var args []string
	for arg := range strings.SplitSeq(strings.TrimSuffix(string(data), "\x00"), "\x00") {
		args = append(args, arg)
	}
	return args, nil
}

// writeArgs writes what readArgs reads, whole or not at all.
func writeArgs(path string, args []string) error {
	var list bytes.Buffer
	for _, arg := range args {
		list.WriteString(arg)
		list.WriteByte(0)
	}
	if err := os.WriteFile(path+".tmp", list.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// oneLine makes a message of several lines one.
func oneLine(s string) string {
	return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
}
