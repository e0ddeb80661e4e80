package linker

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
)

// profileVariable names a folder, which must be there, in which the worker of
// each link leaves profiles for go tool pprof: what it spent its processor time
// on (worker-PID.cpu) and what it allocated (worker-PID.heap).
const profileVariable = "LEANLINK_PROFILE"

// profile is the profile of a running worker. A nil one does nothing.
type profile struct {
	cpu  *os.File
	heap string // path
}

// startProfile begins to profile, if somebody wants it.
func startProfile(env *Environment) *profile {
	dir := env.Get(profileVariable)
	if dir == "" {
		runtime.MemProfileRate = 0 // as in a program without profiles
		return nil
	}
	base := filepath.Join(dir, fmt.Sprintf("worker-%d", os.Getpid()))
	f, err := os.Create(base + ".cpu")
	if err != nil {
		warn("no profile: %s", err)
		return nil
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil
	}
	return &profile{cpu: f, heap: base + ".heap"}
}

// stop writes what there is; further calls do nothing.
func (p *profile) stop() {
	if p == nil || p.cpu == nil {
		return
	}
	pprof.StopCPUProfile()
	p.cpu.Close()
	p.cpu = nil
	runtime.GC() // the profile is of what the last collection saw
	if f, err := os.Create(p.heap); err == nil {
		pprof.Lookup("allocs").WriteTo(f, 0)
		f.Close()
	}
}
