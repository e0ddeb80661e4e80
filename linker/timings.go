package linker

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"leanlink/merge"
)

// timingsVariable names a file to which each phase of a link is added as a
// line: the process, its name, its length and the processor time of the process
// in it, in microseconds, all separated by tabs. The last lines of a process
// are its peak of memory and the size of what it mapped, in kilobytes, and the
// number of live sections.
const timingsVariable = "LEANLINK_TIMINGS"

// timings times the phases of one process of a link. A nil one does nothing.
type timings struct {
	path string
	who  string // supervisor or worker
	// mapped is the size of the inputs, bytes; live the number of live sections.
	mapped int64
	live   int

	last time.Time
	cpu  time.Duration
	text []byte
}

// newTimings begins the first phase, nil if nobody wants to know.
func newTimings(who string, env *Environment) *timings {
	path := env.Get(timingsVariable)
	if path == "" {
		return nil
	}
	t := &timings{path: path, who: who, last: time.Now()}
	// What went before was the process's start.
	t.cpu, _ = spent()
	t.line("start", 0, t.cpu)
	return t
}

// lap ends a phase.
func (t *timings) lap(name string) {
	if t == nil {
		return
	}
	now := time.Now()
	cpu, _ := spent()
	t.line(name, now.Sub(t.last), cpu-t.cpu)
	t.last, t.cpu = now, cpu
}

// beside adds what was done beside other phases, whose processor time has it,
// too.
func (t *timings) beside(name string, took spell) {
	if t != nil {
		t.line(name, took.wall, took.cpu)
	}
}

// spell is how long something took: by the clock, and of the processor.
type spell struct{ wall, cpu time.Duration }

// timeThread begins to time what the calling goroutine does, up to the call of
// what it returns.
func timeThread() func() spell {
	runtime.LockOSThread()
	cpu := func() time.Duration {
		var u unix.Rusage
		unix.Getrusage(unix.RUSAGE_THREAD, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began, was := time.Now(), cpu()
	return func() spell {
		defer runtime.UnlockOSThread()
		return spell{time.Since(began), cpu() - was}
	}
}

// note keeps what memory is compared with.
func (t *timings) note(p *preparation, plan *merge.Plan) {
	if t != nil {
		t.mapped, t.live = p.in.mapped.size(), plan.Live()
	}
}

func (t *timings) line(name string, wall, cpu time.Duration) {
	t.text = fmt.Appendf(t.text, "%s\t%s\t%d\t%d\n", t.who, name, wall.Microseconds(), cpu.Microseconds())
}

// write adds what there is to the file, in one go: processes share it.
func (t *timings) write() {
	if t == nil || len(t.text) == 0 {
		return
	}
	_, peak := spent()
	t.text = fmt.Appendf(t.text, "%s\tpeak\t%d\t0\n", t.who, peak)
	if t.mapped > 0 {
		t.text = fmt.Appendf(t.text, "%s\tmapped\t%d\t0\n%s\tlive\t%d\t0\n", t.who, t.mapped>>10, t.who, t.live)
	}
	if f, err := os.OpenFile(t.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666); err == nil {
		f.Write(t.text)
		f.Close()
	}
	t.text = nil
}

// spent is the processor time of this process, and the most memory that it
// had at once, in kilobytes.
func spent() (cpu time.Duration, peak int64) {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), u.Maxrss
}
