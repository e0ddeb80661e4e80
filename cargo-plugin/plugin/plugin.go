// Package plugin is the Cargo subcommand size-report. It has a project built
// with leanlink, finds the reports of what was linked (build.go) and shows views
// of them (show.go); what the views are is package report's.
package plugin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// The exit statuses. A build that fails gives Cargo's own.
const (
	exitOK     = 0
	exitBudget = 1   // a budget is exceeded
	exitUsage  = 2   // wrong arguments
	exitFailed = 101 // anything else, as Cargo has it
)

// exitError is an error with an exit status of its own.
type exitError struct {
	status int
	err    error // nil if all was said
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageErrorf(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// session is one run of the command.
type session struct {
	opts   *options
	stdout io.Writer
	stderr io.Writer
	env    environ
	dir    string // the working folder, absolute

	project *project // what cargo metadata told; see projectOnce
}

// Main runs the command: args are those after the program's name, as Cargo
// gives them, beginning with "size-report". It returns the exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "size-report" {
		args = args[1:] // Cargo runs cargo-size-report size-report …
	}
	err := run(args, stdout, stderr)
	if err == nil {
		return exitOK
	}
	status := exitFailed
	var e *exitError
	if errors.As(err, &e) {
		status = e.status
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(stderr, "error: %s\n", strings.ReplaceAll(strings.TrimSpace(text), "\n", " "))
		if status == exitUsage {
			fmt.Fprintf(stderr, "cargo size-report --help says what there is\n")
		}
	}
	return status
}

func run(args []string, stdout, stderr io.Writer) error {
	opts, err := parseArgs(args)
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	s := &session{opts: opts, stdout: stdout, stderr: stderr, env: os.Environ(), dir: dir}
	return opts.command.run(s)
}

// warn says something that does not stop the command.
func (s *session) warn(format string, args ...any) {
	if s.opts.quiet == 0 {
		fmt.Fprintf(s.stderr, "warning: %s\n", fmt.Sprintf(format, args...))
	}
}

// environ is a process's variables, KEY=VALUE.
type environ []string

// get returns the value of a variable, "" without one.
func (env environ) get(name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(env[i], name); ok && strings.HasPrefix(value, "=") {
			return value[1:]
		}
	}
	return ""
}

// with returns the variables with one set.
func (env environ) with(name, value string) environ {
	out := make(environ, 0, len(env)+1)
	for _, v := range env {
		if !strings.HasPrefix(v, name+"=") {
			out = append(out, v)
		}
	}
	return append(out, name+"="+value)
}
