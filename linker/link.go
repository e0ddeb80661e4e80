// Package linker is the program that rustc calls as its linker. It reads the
// command line of a link, has the inputs made smaller, and lets the real
// linker link those.
//
// The whole program is Link, in this file. It is the supervisor: it opens no
// object file, and what it does before the real linker runs cannot make a
// link fail that would succeed without leanlink. All that could go wrong
// happens in a second process, the worker (worker.go), which may die.
package linker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"leanlink/linker/debuginfo"
)

// Main is leanlink as a linker, or its worker: the result is the exit status.
func Main(argv []string) int {
	env := NewEnvironment()
	if argv[0] == workerName && env.Get(markWorker) != "" {
		return workerMain(argv[1:], env)
	}
	return Link(argv[1:], env).leave()
}

// Link links: args are a linker's arguments.
func Link(args []string, env *Environment) Exit {
	if real := env.Get(markNested); real != "" {
		// One more round would be the next of endlessly many.
		return fail(fmt.Errorf("the real linker %s runs leanlink again", real))
	}

	clock := newTimings("supervisor", env)
	defer clock.write()

	// What is asked for?
	cl, err := ParseCommandLine(args, env.Dir)
	if err != nil {
		// A response file that nobody can read is the real linker's to report.
		cl = &CommandLine{Style: detectStyle(args), Dir: env.Dir, Argv: args, Args: args, Query: err.Error()}
	}
	cfg, err := LoadConfig(cl, env)
	if err != nil {
		if cl.Query == "" && !env.disabled() {
			return fail(err)
		}
		cfg = &Config{}
	}
	real, err := FindLinker(cl, cfg, env)
	if err != nil {
		return fail(err)
	}
	if passes(cl, cfg, env) != "" {
		return passThrough(cl, real, env)
	}
	// From here on this is a link of objects that something is to be done to.

	run := newRunner()
	defer run.close()
	work, err := makeWorkFolder(cl)
	if err != nil {
		warn("no temporary folder: %s; linking the original inputs", err)
		return passThrough(cl, real, env)
	}
	defer work.remove()

	// The worker writes smaller inputs and new arguments.
	dirs := newQuery(real, cl)
	worker := run.startWorker(work, args, env, dirs.file())
	defer worker.close()
	dirs.ask(run, real, cl, env)
	clock.lap("arguments")
	prepared := worker.do(stepPrepare)
	dirs.end()
	clock.lap("prepare")
	if sig := run.interrupted(); sig != 0 {
		return Exit{Signal: sig}
	}
	switch {
	case prepared.done():
		if prepared.message != "" {
			warn("%s", prepared.message)
		}
	case prepared.status == workerRefused:
		return fail(errors.New(prepared.message))
	default:
		return linkOriginals(prepared, run, cl, real, work, args, env)
	}
	newArgs, err := readArgs(filepath.Join(work.Path, argsFile))
	if err != nil {
		// Nothing to change: the user's link, and a report that says so.
		exit, err := runOriginal(run, cl, real, work, env)
		clock.lap("link")
		if err != nil {
			return fail(err)
		}
		if exit.ok() {
			defer clock.lap("finish")
			return finishLink(worker, prepared.status, cl, cfg, work, args, env)
		}
		return exit
	}

	// The real linker links those, what it prints held back: if it fails,
	// it is about inputs that the user has never seen.
	joins := prepared.status&workerJoin != 0
	if joins {
		adoptOrphans()
	}
	exit, output, err := runCaptured(run, cl, real, newArgs, work, env)
	clock.lap("link")
	defer output.close()
	if joins && err == nil && exit.ok() {
		// The output lacks its debug information.
		joined := worker.do(stepJoin)
		clock.lap("join")
		if !joined.done() {
			os.Remove(resolve(cl.Dir, cl.Output)) // the beginning of one
			if run.interrupted() == 0 {
				return linkOriginals(joined, run, cl, real, work, args, env)
			}
		}
	}
	if sig := run.interrupted(); sig != 0 {
		if joins {
			endOrphans(worker)
			if output := resolve(cl.Dir, cl.Output); debuginfo.Lacking(output) {
				os.Remove(output)
			}
		}
		return Exit{Signal: sig}
	}
	if err == nil && exit.ok() {
		// The output exists. Only now it can be seen whether it is right.
		names := &originalNames{work: work}
		output.print(names)
		restoreMap(cl, names)
		defer clock.lap("finish")
		return finishLink(worker, prepared.status&^workerJoin, cl, cfg, work, args, env)
	}
	failure := output.text()
	if err != nil {
		failure = err.Error()
	}

	// It failed. Whether that is leanlink's fault the originals tell, and
	// what the linker says of them is the user's answer.
	exit, err = runOriginal(run, cl, real, work, env)
	if err != nil {
		return fail(err)
	}
	if exit.ok() {
		saved := saveFailure(run, work, args, env, failure)
		warn("the real linker failed on the rewritten inputs but not on the originals, which it has linked instead: this is a bug in leanlink%s", saved)
	}
	return exit
}

// linkOriginals links the original inputs, for a step of the worker's failed
// that this link needs.
func linkOriginals(failed outcome, run *runner, cl *CommandLine, real *Linker, work *workFolder, args []string, env *Environment) Exit {
	saved := ""
	if failed.status != workerHalted {
		saved = saveFailure(run, work, args, env, failed.detail)
	}
	warn("%s; linking the original inputs%s", failed.message, saved)
	work.remove()
	return passThrough(cl, real, env)
}

// passes says why a link goes straight to the real linker, "" if it does not.
func passes(cl *CommandLine, cfg *Config, env *Environment) string {
	switch {
	case env.disabled():
		return "LEANLINK_DISABLE is set"
	case cl.Query != "":
		return "a question, not a link: " + cl.Query
	case len(cl.Inputs) == 0:
		return "no inputs"
	case cl.Relocatable:
		return "-r: the output is an input of another link"
	case cl.Flavor != "" && cl.Flavor != "gnu":
		return "-flavor " + cl.Flavor + ": not ELF"
	case !folds(cfg) && cfg.Save == "":
		return "fold = \"off\" and nothing to trim"
	case !cfg.Host && isBuildScript(env):
		return "a build script"
	case !cfg.Host && isProcMacro(cl):
		return "a proc-macro"
	}
	return ""
}

// passThrough runs the original command line in this process's place.
func passThrough(cl *CommandLine, real *Linker, env *Environment) Exit {
	vars := env.with(markNested, real.Path)
	if !real.needsExpansion(cl) {
		err := replaceSelf(real.Path, real.LinkerArgs(cl, cl.Argv), vars)
		if !errors.Is(err, syscall.E2BIG) {
			return fail(fmt.Errorf("%s: %w", real.Path, err))
		}
	}
	// The kernel took the arguments once, for leanlink itself, but not with
	// the few bytes more. rustc would now write a response file; it cannot
	// know, so that is done here.
	run := newRunner()
	defer run.close()
	work, err := makeWorkFolder(cl)
	if err != nil {
		return fail(fmt.Errorf("%s: %w, and no temporary folder for a response file: %w", real.Path, syscall.E2BIG, err))
	}
	defer work.remove()
	exit, err := runReal(run, cl, real, cl.Args, true, work, env, [3]*os.File{os.Stdin, os.Stdout, os.Stderr})
	if err != nil {
		return fail(err)
	}
	return exit
}

// runOriginal runs the original command line as a child, streams its own.
func runOriginal(run *runner, cl *CommandLine, real *Linker, work *workFolder, env *Environment) (Exit, error) {
	args := cl.Argv
	if real.needsExpansion(cl) {
		args = cl.Args
	}
	return runReal(run, cl, real, args, real.needsExpansion(cl), work, env, [3]*os.File{os.Stdin, os.Stdout, os.Stderr})
}

// runReal runs the real linker on args, through a response file if the system
// would not take them or if asked to.
func runReal(run *runner, cl *CommandLine, real *Linker, args []string, response bool, work *workFolder, env *Environment, files [3]*os.File) (Exit, error) {
	args = real.LinkerArgs(cl, args)
	vars := env.with(markNested, real.Path)
	for {
		argv := append([]string{real.Path}, args...)
		if response || tooLong(argv, vars) {
			short, err := shortened(args, work.Path)
			if err != nil {
				return Exit{}, fmt.Errorf("response file: %w", err)
			}
			argv = append([]string{real.Path}, short...)
		}
		exit, err := run.run(real.Path, argv, vars, files, syscall.SIGTERM)
		if errors.Is(err, syscall.E2BIG) && !response {
			response = true
			continue
		}
		return exit, err
	}
}

// captured is what a linker printed.
type captured struct {
	stdout, stderr *os.File
}

// runCaptured runs the real linker on the new arguments. Its output goes into
// files and not pipes: mold leaves a child behind that would keep a pipe open.
func runCaptured(run *runner, cl *CommandLine, real *Linker, args []string, work *workFolder, env *Environment) (Exit, *captured, error) {
	c := &captured{}
	var err error
	create := func(name string) (*os.File, error) {
		return os.OpenFile(filepath.Join(work.Path, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if c.stdout, err = create("stdout"); err != nil {
		return Exit{}, c, err
	}
	if c.stderr, err = create("stderr"); err != nil {
		return Exit{}, c, err
	}
	exit, err := runReal(run, cl, real, args, cl.ResponseFile, work, env, [3]*os.File{os.Stdin, c.stdout, c.stderr})
	return exit, c, err
}

// print hands the output on as it would be without leanlink.
func (c *captured) print(names *originalNames) {
	for _, stream := range [...]struct{ from, to *os.File }{{c.stdout, os.Stdout}, {c.stderr, os.Stderr}} {
		if _, err := stream.from.Seek(0, io.SeekStart); err != nil {
			continue
		}
		if text, err := io.ReadAll(stream.from); err == nil && len(text) > 0 {
			text, _ = names.in(text)
			stream.to.Write(text)
		}
	}
}

// text is the beginning of the output, for a saved case.
func (c *captured) text() string {
	var b strings.Builder
	for _, f := range []*os.File{c.stdout, c.stderr} {
		if f != nil {
			io.Copy(&b, io.NewSectionReader(f, 0, 64<<10))
		}
	}
	return b.String()
}

func (c *captured) close() {
	c.stdout.Close()
	c.stderr.Close()
}

// finishLink has the worker read the output, for the report and for the check
// that verify = true asks for, and publishes the report. Only the check can
// still fail the link. what is what is left to do, as the worker said.
func finishLink(worker *worker, what int, cl *CommandLine, cfg *Config, work *workFolder, args []string, env *Environment) Exit {
	if what == workerDone {
		return Exit{}
	}
	finished := worker.do(stepFinish)
	worker.dismiss()
	work.dropObjects() // while the system takes the worker's memory back
	if sig := worker.run.interrupted(); sig != 0 {
		return Exit{Signal: sig}
	}
	if finished.status == workerDone {
		if finished.message != "" {
			warn("%s", finished.message)
		}
		publishReport(cl, cfg, work)
		return Exit{}
	}
	saved := ""
	if finished.status != workerHalted {
		saved = saveFailure(worker.run, work, args, env, finished.detail)
	}
	if what != workerToCheck {
		warn("no report: %s%s", finished.message, saved)
		return Exit{}
	}
	// An output that is wrong, or may be, is not left for someone to run.
	os.Remove(resolve(cl.Dir, cl.Output))
	if finished.status != workerRefused {
		return fail(fmt.Errorf("the output could not be checked (verify = true): %s%s", finished.message, saved))
	}
	return fail(fmt.Errorf("%s: this is a bug in leanlink%s", finished.message, saved))
}

// publishReport puts the worker's report into its place. A link does not fail
// for the want of a report.
func publishReport(cl *CommandLine, cfg *Config, work *workFolder) {
	path := ReportPath(cl, cfg)
	if path == "" || !exists(filepath.Join(work.Path, reportFile)) {
		return
	}
	if err := publish(filepath.Join(work.Path, reportFile), path); err != nil {
		warn("the report could not be written: %s", err)
	}
}

// reportSuffix follows the output's name in the report's.
const reportSuffix = ".leanlink.json.gz"

// ReportPath is where the report of a link goes, "" for nowhere. Beside the
// output and named after it no two links share one, for no two share an
// output: Cargo's folder tells target and profile apart, the hash in the name
// what else there is (release/rg is but a link to release/deps/rg-HASH).
func ReportPath(cl *CommandLine, cfg *Config) string {
	output := resolve(cl.Dir, cl.Output)
	name := filepath.Base(output) + reportSuffix
	switch {
	case cfg.Report == "off":
		return ""
	case strings.HasSuffix(cfg.Report, "/"):
		return cfg.Report + name
	case cfg.Report != "":
		if st, err := os.Stat(cfg.Report); err == nil && st.IsDir() {
			return filepath.Join(cfg.Report, name)
		}
		return cfg.Report
	case strings.HasPrefix(output, "/dev/"):
		return "" // there is no folder to write to
	}
	return filepath.Join(filepath.Dir(output), name)
}

// saveFailure has the worker save the link, and says where it lies, as the end
// of a warning.
func saveFailure(run *runner, work *workFolder, args []string, env *Environment, failure string) string {
	os.WriteFile(filepath.Join(work.Path, failureFile), []byte(failure), 0o600)
	worker := run.startWorker(work, args, env, nil) // another one: the first may be dead
	defer worker.close()
	saved := worker.do(stepSave)
	if saved.status != workerDone {
		return fmt.Sprintf(" (the case could not be saved: %s)", saved.message)
	}
	return fmt.Sprintf(" (the case is saved in %s)", saved.message)
}

func warn(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "leanlink: warning: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// fail is for what the user must put right: a link that goes on would not be
// the one that was asked for.
func fail(err error) Exit {
	fmt.Fprintf(os.Stderr, "leanlink: error: %s\n", oneLine(err.Error()))
	return Exit{Status: 1}
}
