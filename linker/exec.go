package linker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Exit is how a process ends: by a status or by a signal.
type Exit struct {
	Status int            // 0 to 255
	Signal syscall.Signal // > 0: it was killed by this one
}

// ok says whether the process succeeded.
func (e Exit) ok() bool { return e.Status == 0 && e.Signal == 0 }

func (e Exit) String() string {
	if e.Signal != 0 {
		return "signal: " + e.Signal.String()
	}
	return fmt.Sprintf("exit status %d", e.Status)
}

// replaceSelf becomes the program at path, whose streams, signals and exit
// status are then nobody else's. It returns only if that fails.
func replaceSelf(path string, args, vars []string) error {
	argv := append([]string{path}, args...)
	err := syscall.Exec(path, argv, vars)
	if errors.Is(err, syscall.ENOEXEC) {
		// A script without #!: execvp, which rustc calls, runs sh.
		err = syscall.Exec("/bin/sh", append([]string{"/bin/sh"}, argv...), vars)
	}
	return err
}

// runner runs children and hands the signals that ask this process to end on
// to the one that it attends to.
type runner struct {
	signals chan os.Signal
	done    chan struct{}

	mu     sync.Mutex
	child  *os.Process    // the one that is attended to, nil for none
	caught syscall.Signal // the first signal that asked for the end, 0 none
}

func newRunner() *runner {
	// A child gets its death signal when the thread that made it ends, so
	// that must be one that lives as long as the process.
	runtime.LockOSThread()
	r := &runner{signals: make(chan os.Signal, 8), done: make(chan struct{})}
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(sig) { // nohup stays nohup
			signal.Notify(r.signals, sig)
		}
	}
	go func() {
		for {
			select {
			case sig := <-r.signals:
				r.mu.Lock()
				if r.caught == 0 {
					r.caught = sig.(syscall.Signal)
				}
				if r.child != nil {
					r.child.Signal(sig)
				}
				r.mu.Unlock()
			case <-r.done:
				return
			}
		}
	}()
	return r
}

func (r *runner) close() {
	signal.Stop(r.signals)
	close(r.done)
}

// interrupted is the signal that asked this process to end, 0 none.
func (r *runner) interrupted() syscall.Signal {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.caught
}

// child is a program that was started.
type child struct {
	process *os.Process // nil: it was not, for this process is to end
	ended   sync.Once
	exit    Exit
	err     error
}

// start starts a program, with files from descriptor 0 on. death is the signal
// that it gets if this process is killed. The error says that it could not be
// started.
func (r *runner) start(path string, argv, vars []string, files []*os.File, death syscall.Signal) (*child, error) {
	attr := &os.ProcAttr{Env: vars, Files: files, Sys: &syscall.SysProcAttr{Pdeathsig: death}}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.caught != 0 {
		c := &child{}
		c.ended.Do(func() { c.exit.Signal = r.caught })
		return c, nil
	}
	process, err := os.StartProcess(path, argv, attr)
	if errors.Is(err, syscall.ENOEXEC) {
		process, err = os.StartProcess("/bin/sh", append([]string{"/bin/sh", path}, argv[1:]...), attr)
	}
	if err != nil {
		return nil, err
	}
	r.child = process
	return &child{process: process}, nil
}

// attend says to which child signals go, nil for none. One that came before is
// not lost.
func (r *runner) attend(c *child) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.child = nil
	if c == nil || c.process == nil {
		return
	}
	r.child = c.process
	if r.caught != 0 {
		r.child.Signal(r.caught)
	}
}

// wait waits for the child's end.
func (c *child) wait() (Exit, error) {
	c.ended.Do(func() {
		state, err := c.process.Wait()
		if err != nil {
			c.err = err
			return
		}
		status := state.Sys().(syscall.WaitStatus)
		c.exit = Exit{Status: status.ExitStatus()}
		if status.Signaled() {
			c.exit = Exit{Signal: status.Signal()}
		}
	})
	return c.exit, c.err
}

// kill ends the child, without waiting for it.
func (c *child) kill() {
	if c.process != nil {
		c.process.Kill()
	}
}

// run runs a program to its end.
func (r *runner) run(path string, argv, vars []string, files [3]*os.File, death syscall.Signal) (Exit, error) {
	c, err := r.start(path, argv, vars, files[:], death)
	if err != nil {
		return Exit{}, err
	}
	defer r.attend(nil)
	return c.wait()
}

// adoptOrphans has what the real linker's driver leaves running when it is ended
// become children of this process: see endOrphans.
func adoptOrphans() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// orphanTime is how long what a driver has left running may go on by itself: a
// linker that is ended at the wrong moment leaves its temporary file.
const orphanTime = 3 * time.Second

// endOrphans waits for the end of what the real linker's driver has left
// running, the linker: it could still make an output.
func endOrphans(worker *worker) {
	for begun := time.Now(); time.Since(begun) < 2*orphanTime; time.Sleep(time.Millisecond) {
		left := false
		lists, _ := filepath.Glob("/proc/self/task/*/children")
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			for _, word := range strings.Fields(string(text)) {
				pid, err := strconv.Atoi(word)
				if err != nil || worker.child != nil && worker.child.process != nil && pid == worker.child.process.Pid {
					continue
				}
				left = true // and with it perhaps a child of its own
				if time.Since(begun) > orphanTime {
					syscall.Kill(pid, syscall.SIGTERM)
				}
				syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
			}
		}
		if !left {
			return
		}
	}
}

// leave ends this process the way e says.
func (e Exit) leave() int {
	if e.Signal == 0 {
		return e.Status
	}
	// The child has dumped its core if it was to; this process did nothing
	// that deserves one. Go's handlers are taken away below Go, which has no
	// call for it where the signal would mean a crash of its own.
	syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	var byDefault [4]uintptr
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(e.Signal), uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0)
	syscall.Kill(os.Getpid(), e.Signal)
	time.Sleep(100 * time.Millisecond) // it comes to any thread, soon
	return 128 + int(e.Signal)
}

// argumentLimit is what Linux allows for the arguments and variables of a
// program: a quarter of the stack, at least 128 KiB and at most 6 MiB, with
// some room for what a driver adds for the linker behind it.
func argumentLimit() int {
	const room = 64 << 10
	limit := syscall.Rlimit{Cur: 8 << 20}
	syscall.Getrlimit(syscall.RLIMIT_STACK, &limit)
	return int(min(max(limit.Cur/4, 128<<10+room), 6<<20)) - room
}

// maxArgument is Linux's limit for one argument, its final NUL included.
const maxArgument = 128 << 10

// tooLong says whether the system would refuse the arguments and variables.
func tooLong(argv, vars []string) bool {
	size := 0
	for _, list := range [][]string{argv, vars} {
		for _, s := range list {
			if len(s) >= maxArgument {
				return true
			}
			size += len(s) + 1 + int(unsafe.Sizeof(uintptr(0)))
		}
	}
	return size > argumentLimit()
}

// shortened puts args into a response file in the folder dir. What lld's
// generic program must see before it opens one stays outside.
func shortened(args []string, dir string) ([]string, error) {
	var outside []string
	if len(args) > 1 && args[0] == "-flavor" {
		outside, args = args[:2:2], args[2:]
	}
	path := filepath.Join(dir, "arguments")
	if err := os.WriteFile(path, formatResponse(args), 0o600); err != nil {
		return nil, err
	}
	return append(outside, "@"+path), nil
}

// workFolder is a link's private folder.
type workFolder struct {
	Path string   // absolute
	lock *os.File // locked as long as this process lives
	// memory is a folder for the new objects in memory, to which objectsFolder
	// in this one is a link; nil if there is none.
	memory *workFolder
	// dropped is closed when the new objects are gone, nil if they are to stay.
	dropped chan struct{}
}

const (
	workPrefix = "leanlink-"
	lockName   = "lock"
)

// makeWorkFolder makes the folder inside rustc's own temporary folder, which
// rustc removes whatever happens, else among the system's temporary files.
func makeWorkFolder(cl *CommandLine) (*workFolder, error) {
	var err error
	for _, parent := range []string{cl.rustcFolder(), os.TempDir()} {
		if parent == "" {
			continue
		}
		if parent == os.TempDir() {
			sweep(parent, time.Hour)
		}
		var w *workFolder
		if w, err = makeLocked(parent); err == nil {
			w.useMemory()
			return w, nil
		}
	}
	return nil, err
}

// makeLocked makes a work folder in a folder.
func makeLocked(parent string) (*workFolder, error) {
	dir, err := os.MkdirTemp(parent, workPrefix+"*")
	if err != nil {
		return nil, err
	}
	w := &workFolder{Path: dir}
	if w.lock, err = os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err == nil {
		if err = syscall.Flock(int(w.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return w, nil
		}
	}
	w.remove()
	return nil, err
}

// memoryFolder is where Linux has a file system in memory for everybody, to
// which writing costs half of what it does elsewhere. Objects that lie there
// for a moment never go to a disk.
const memoryFolder = "/dev/shm"

// useMemory makes a folder for the new objects in memory, if there is such a
// thing. Whether they fit the worker sees (see inMemory).
func (w *workFolder) useMemory() {
	if !isMemory(memoryFolder) || isMemory(w.Path) {
		return
	}
	sweep(memoryFolder, time.Minute)
	m, err := makeLocked(memoryFolder)
	if err != nil {
		return
	}
	if os.Symlink(m.Path, filepath.Join(w.Path, objectsFolder)) != nil {
		m.remove()
		return
	}
	w.memory = m
}

func isMemory(dir string) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) == nil && int64(fs.Type) == unix.TMPFS_MAGIC
}

// dropObjects begins to remove the new objects, which nobody reads any more;
// remove waits for its end. Several are removed at once: the system takes their
// memory back a page at a time. So it is begun when there is nothing else to do
// but to wait.
func (w *workFolder) dropObjects() {
	w.dropped = make(chan struct{})
	go func() {
		defer close(w.dropped)
		dir := filepath.Join(w.Path, objectsFolder)
		if w.memory != nil {
			dir = w.memory.Path
		}
		var g errgroup.Group
		g.SetLimit(runtime.GOMAXPROCS(0))
		objects, _ := os.ReadDir(dir)
		for _, o := range objects {
			if o.Name() != lockName {
				g.Go(func() error { return os.RemoveAll(filepath.Join(dir, o.Name())) })
			}
		}
		g.Wait()
	}()
}

func (w *workFolder) remove() {
	if w.dropped != nil {
		<-w.dropped
	}
	if w.memory != nil {
		w.memory.remove()
	}
	if w.lock != nil {
		w.lock.Close()
	}
	os.RemoveAll(w.Path)
}

// rustcFolder is the temporary folder (rustcXXXXXX) of the rustc that runs
// this link, "" if no argument lies in one.
func (cl *CommandLine) rustcFolder() string {
	candidates := make([]string, 0, 16)
	for _, list := range [][]string{cl.VersionScripts, cl.DynamicLists, cl.LibraryPaths} { // …/list, …/raw-dylibs
		candidates = append(candidates, list...)
	}
	for i := range cl.Inputs { // …/symbols.o
		if cl.Inputs[i].Library == "" {
			candidates = append(candidates, cl.Inputs[i].Path)
		}
	}
	for _, path := range candidates {
		dir := filepath.Dir(path)
		name, ok := strings.CutPrefix(filepath.Base(dir), "rustc")
		if !ok || len(name) != 6 || strings.ContainsAny(name, "-_.") {
			continue
		}
		dir = resolve(cl.Dir, dir)
		if st, err := os.Lstat(dir); err == nil && st.IsDir() && filepath.IsAbs(dir) {
			return dir
		}
	}
	return ""
}

// sweep removes the work folders in dir whose owner was killed before it
// could: nobody holds their lock. A folder that was made this moment has none
// yet, so those that are younger than age are left alone.
func sweep(dir string, age time.Duration) {
	old, _ := filepath.Glob(filepath.Join(dir, workPrefix+"*"))
	for _, path := range old {
		st, err := os.Lstat(path)
		if err != nil || !st.IsDir() || time.Since(st.ModTime()) < age {
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Getuid() {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			os.RemoveAll(path)
		}
		lock.Close()
	}
}

// publish puts a copy of the file at src in dst's place, whole or not at all.
func publish(src, dst string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(dst), 0o777); err != nil {
		return err
	}
	// Not os.CreateTemp: the report is as readable as the output is.
	temp := fmt.Sprintf("%s.%d.tmp", dst, os.Getpid())
	os.Remove(temp) // of a process of this number that was killed
	out, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temp)
		}
	}()
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(temp, dst)
}
