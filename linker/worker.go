package linker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The worker is a second process of leanlink in which all reading and
// thinking happens. Whatever it meets — a bug, a file that shrinks while it is
// mapped, the end of memory — ends the worker and not the link.
//
// It takes steps that it reads from its standard input, and lives until that
// ends: what it knows when the link is prepared it still knows when the output
// is there, and while the real linker runs it writes down what is known of the
// report. On its standard error it says what the user should hear; a step ends
// there with a NUL and a digit for how it went. Files go by way of the link's
// work folder: argvFile in, argsFile and reportFile out.

// Files of a work folder.
const (
	argvFile   = "argv"   // the original arguments, each with a NUL behind it
	argsFile   = "args"   // the new ones, in the same form
	namesFile  = "names"  // in the same form: each new object and what it stands for
	reportFile = "report" // the report, to be published if the link succeeds
)

// How a step of the worker's ends.
const (
	workerDone    = 0 // what it has printed is a warning
	workerPending = 1 // the same, and there is a report to be made when the output is there
	workerToCheck = 2 // the same, and the output is to be checked then
	workerRefused = 3 // the link must fail
	workerFailed  = 4 // a fault of leanlink's
	workerHalted  = 5 // a fault of the machine's, such as a full disk
	// workerJoin is added to one of the first three: the output will lack debug
	// information that is to be put into it.
	workerJoin = 8
)

// workerName is the worker's argv[0], for ps.
const workerName = "leanlink-worker"

// dirsAnswered is the worker's argument that says that a driver is asked for its
// library folders and answers on descriptor 3.
const dirsAnswered = "dirs"

// The worker's steps.
const (
	stepPrepare = "prepare" // make the new arguments
	stepJoin    = "join"    // put the debug information into the output
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

// prepare, attaching and finishing do the steps' work; tests put faults in their
// places.
var prepare, attaching, finishing = prepareTimed, (*joining).finish, (*Finish).finish

// outcome is how a worker's step went.
type outcome struct {
	status  int    // one of the statuses above, or -1: it died
	message string // one line
	detail  string // all that it printed
}

// done says whether the step did what it is for.
func (o outcome) done() bool {
	return o.status >= workerDone && o.status&^workerJoin <= workerToCheck
}

// worker is the worker as the supervisor sees it.
type worker struct {
	run   *runner
	child *child
	steps *os.File      // its standard input
	from  *os.File      // its standard error
	lines *bufio.Reader // of from
	err   error         // it could not be started
}

// startWorker starts the worker of a link. That it could not be started is the
// outcome of its first step. dirs is where a driver will answer that is asked for
// its library folders, nil if none is.
func (r *runner) startWorker(w *workFolder, argv []string, env *Environment, dirs *os.File) *worker {
	k := &worker{run: r}
	if k.err = writeArgs(filepath.Join(w.Path, argvFile), argv); k.err != nil {
		return k
	}
	var null, steps, to *os.File
	if null, k.err = os.OpenFile(os.DevNull, os.O_RDWR, 0); k.err != nil {
		return k
	}
	defer null.Close()
	if steps, k.steps, k.err = os.Pipe(); k.err != nil {
		return k
	}
	defer steps.Close()
	if k.from, to, k.err = os.Pipe(); k.err != nil {
		return k
	}
	defer to.Close()
	k.lines = bufio.NewReaderSize(k.from, 1<<12)
	args, files := []string{workerName}, []*os.File{steps, null, to}
	if dirs != nil {
		args, files = append(args, dirsAnswered), append(files, dirs)
	}
	if k.child, k.err = r.start(selfExe(), args, env.with(markWorker, w.Path), files, syscall.SIGKILL); k.err != nil {
		k.err = fmt.Errorf("the worker: %w", k.err)
		return k
	}
	go func() {
		// Something that the worker left behind may still hold the pipe.
		k.child.wait()
		k.from.SetReadDeadline(time.Now().Add(time.Second))
	}()
	return k
}

// do has the worker take a step and waits for its end.
func (k *worker) do(step string) outcome {
	if k.err != nil {
		return outcome{status: workerHalted, message: k.err.Error()}
	}
	k.run.attend(k.child)
	defer k.run.attend(nil)
	io.WriteString(k.steps, step+"\n") // if it can't be written, the worker is dead: seen below
	text, err := k.answer()
	if err == nil {
		if digit, err := k.lines.ReadByte(); err == nil {
			return newOutcome(int(digit-'0'), text)
		}
	}
	return k.died(text)
}

// answer reads what the worker prints, to the end of the step; an error is the
// end of the worker.
func (k *worker) answer() (text string, err error) {
	// A stack trace of a thousand goroutines is of no more use than its
	// beginning.
	const limit = 64 << 10
	var head []byte
	for {
		part, err := k.lines.ReadSlice(0)
		head = append(head, part[:min(len(part), limit-len(head))]...)
		if err != bufio.ErrBufferFull {
			return strings.TrimSpace(strings.TrimSuffix(string(head), "\x00")), err
		}
	}
}

// died is the outcome of a step in which the worker ended.
func (k *worker) died(text string) outcome {
	exit, err := k.child.wait()
	k.err = errors.New("the analysis had ended before")
	switch {
	case err != nil:
		return outcome{status: workerHalted, message: "the worker: " + err.Error()}
	case exit.ok(): // nobody told it to, and the step is not done
		return outcome{status: workerHalted, message: "the analysis ended by itself", detail: text}
	}
	o := newOutcome(-1, text)
	why := exit.String()
	if o.message != "" {
		why = o.message // "panic: …" says more than "exit status 2"
	}
	o.message = "the analysis died (" + why + ")"
	o.detail = exit.String() + "\n" + text
	return o
}

func newOutcome(status int, text string) outcome {
	o := outcome{status: status, detail: text}
	o.message, _, _ = strings.Cut(text, "\n")
	if !o.done() && status > 0 && o.message == "" {
		o.message = "the analysis failed without a reason"
	}
	return o
}

// dismiss has the worker end, without waiting for it: it writes nothing but in
// its steps.
func (k *worker) dismiss() {
	if k.child != nil {
		k.child.kill()
	}
}

// close ends the worker.
func (k *worker) close() {
	k.dismiss()
	for _, f := range []*os.File{k.steps, k.from} {
		if f != nil {
			f.Close()
		}
	}
	if k.child != nil {
		k.child.wait()
	}
}

// workerMain is the worker's main: it takes one step after the other. The
// result is its exit status.
func workerMain(args []string, env *Environment) int {
	// Where memory runs out the system should take this process, which
	// nobody needs, before the supervisor or the user's own.
	os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)

	startHeap()
	w := &work{dir: env.Get(markWorker), env: env, clock: newTimings("worker", env), profile: startProfile(env)}
	if slices.Contains(args, dirsAnswered) {
		const fd = 3
		syscall.CloseOnExec(fd)
		syscall.SetNonblock(fd, true) // or there is no deadline
		answer := os.NewFile(fd, "the driver's answer")
		answer.SetReadDeadline(time.Now().Add(driverTime))
		w.answer = answer
	}
	steps := bufio.NewScanner(os.Stdin)
	for steps.Scan() {
		status, err := w.step(steps.Text())
		if err != nil {
			var message string
			status, message = faultOf(err)
			fmt.Fprintln(os.Stderr, oneLine(message))
		}
		if w.prepared == nil || w.prepared.Finish == nil {
			w.profile.stop()
		}
		fmt.Fprintf(os.Stderr, "\x00%c", '0'+status)
		if w.prepared != nil && w.prepared.Finish != nil {
			w.prepared.Finish.begin()
		}
	}
	return 0
}

// faultOf is the status of a step that ended in an error, and what to say of it.
func faultOf(err error) (status int, message string) {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return workerRefused, refusal.Reason
	}
	for _, fault := range []error{errChanged, errIrregular, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, syscall.EFBIG} {
		if errors.Is(err, fault) {
			return workerHalted, err.Error()
		}
	}
	return workerFailed, err.Error()
}

// work is what the worker knows of its link.
type work struct {
	dir      string // the link's work folder
	env      *Environment
	clock    *timings
	profile  *profile
	cl       *CommandLine
	cfg      *Config
	real     *Linker
	answer   io.Reader // a driver's, see Linker; nil if none is asked
	prepared *Prepared // nil before
}

// read finds out what is asked for, as the supervisor did.
func (w *work) read() error {
	argv, err := readArgs(filepath.Join(w.dir, argvFile))
	if err != nil {
		return err
	}
	if w.cl, err = ParseCommandLine(argv, w.env.Dir); err != nil {
		return err
	}
	if w.cfg, err = LoadConfig(w.cl, w.env); err != nil {
		return err
	}
	if w.real, err = FindLinker(w.cl, w.cfg, w.env); err != nil {
		return err
	}
	w.real.answer = w.answer
	return nil
}

// step takes one step.
func (w *work) step(name string) (status int, err error) {
	if w.cl == nil {
		if err := w.read(); err != nil {
			return 0, err
		}
	}
	switch name {
	case stepSave:
		failure, _ := os.ReadFile(filepath.Join(w.dir, failureFile))
		saved, err := saveAutomatically(w.cl, w.cfg, w.real, string(failure))
		if err != nil {
			return 0, err
		}
		fmt.Fprintln(os.Stderr, saved)
		return workerDone, nil
	case stepPrepare:
		return w.prepare()
	case stepJoin:
		w.clock.lap("waiting")
		defer w.clock.lap("join")
		return workerDone, attaching(w.prepared.Finish.debug)
	case stepFinish:
		if w.prepared == nil || w.prepared.Finish == nil {
			return 0, errors.New("nothing to finish")
		}
		w.clock.lap("waiting")
		debug.SetGCPercent(-1) // it would end too late to be of use; the limit of memory holds
		defer w.profile.stop()
		defer w.clock.write()
		err := finishing(w.prepared.Finish, w.dir)
		w.clock.lap("finish")
		w.clock.beside("record", w.prepared.Finish.recording())
		return workerDone, err
	}
	return 0, fmt.Errorf("no such step: %s", name)
}

// prepare takes the first step: it leaves argsFile, unless the arguments stay
// as they are.
func (w *work) prepare() (status int, err error) {
	if w.cfg.Save != "" {
		if _, err := SaveCase(w.cl, w.cfg, w.real, w.cfg.Save, ""); err != nil {
			fmt.Fprintf(os.Stderr, "the case could not be saved: %s\n", oneLine(err.Error()))
		}
	}
	if !folds(w.cfg) {
		return workerDone, nil
	}
	w.clock.lap("arguments")
	if w.prepared, err = prepare(w.cl, w.cfg, w.real, w.dir, w.clock); err != nil {
		return 0, err
	}
	if !slices.Equal(w.prepared.Args, w.cl.Args) {
		if err := writeArgs(filepath.Join(w.dir, argsFile), w.prepared.Args); err != nil {
			return 0, err
		}
	}
	return w.prepared.Finish.pending(), nil
}

// pending is the status of a link that is prepared.
func (f *Finish) pending() (status int) {
	if f == nil {
		return workerDone
	}
	if status = workerPending; f.claim != nil {
		status = workerToCheck
	}
	if f.debug != nil {
		status += workerJoin
	}
	return status
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
	size := 0
	for _, arg := range args {
		size += len(arg) + 1
	}
	list.Grow(size)
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
