package linker

import (
	"os"
	"os/exec"
	"strings"
	"sync"
)

// Environment is what leanlink reads of its process besides the arguments.
type Environment struct {
	Vars []string    // KEY=VALUE
	Dir  string      // the working folder, absolute
	self os.FileInfo // the running program, nil if unknown
}

// The variables that leanlink sets for its own children. Users do not.
const (
	markWorker = "LEANLINK_WORKER" // for the worker: the folder of its link
	markNested = "LEANLINK_NESTED" // for the real linker: its own path
)

// testPoison, set to anything, fills what folds with traps instead of leaving
// it out, so that a test's program ends where it should not have got to.
const testPoison = "LEANLINK_TEST_POISON"

// selfExe is the running program, also if its file was replaced meanwhile. In a
// sandbox without /proc it is what this process was started as, "" if that
// cannot be found.
var selfExe = sync.OnceValue(func() string {
	const running = "/proc/self/exe"
	if _, err := os.Stat(running); err == nil {
		return running
	}
	if path, err := exec.LookPath(os.Args[0]); err == nil {
		return path
	}
	return ""
})

// NewEnvironment is the environment of this process.
func NewEnvironment() *Environment {
	env := &Environment{Vars: os.Environ()}
	if dir, err := os.Getwd(); err == nil {
		env.Dir = dir
	}
	if st, err := os.Stat(selfExe()); err == nil {
		env.self = st
	}
	return env
}

// Get is the value of a variable, "" without one.
func (env *Environment) Get(name string) string {
	// Every environment that a shell or Cargo makes has but one of a name.
	for _, v := range env.Vars {
		if value, ok := strings.CutPrefix(v, name); ok && strings.HasPrefix(value, "=") {
			return value[1:]
		}
	}
	return ""
}

// with is the variables of env with name set to value.
func (env *Environment) with(name, value string) []string {
	vars := make([]string, 0, len(env.Vars)+1)
	for _, v := range env.Vars {
		if !strings.HasPrefix(v, name+"=") {
			vars = append(vars, v)
		}
	}
	return append(vars, name+"="+value)
}

// isSelf says whether path is the running program, under whatever name.
func (env *Environment) isSelf(path string) bool {
	if env.self == nil {
		return false
	}
	st, err := os.Stat(path)
	return err == nil && os.SameFile(st, env.self)
}

// disabled says whether the user switched leanlink off for this run.
func (env *Environment) disabled() bool {
	switch env.Get("LEANLINK_DISABLE") {
	case "", "0", "false":
		return false
	}
	return true
}
