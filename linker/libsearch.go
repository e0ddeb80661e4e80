package linker

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// FindLibraries looks up each -lNAME among the inputs as the real linker
// would and sets its Path. It runs a driver once (-print-search-dirs) if the
// folders of -L do not have them all, and so belongs in the worker. A library
// that is nowhere keeps an empty Path.
func (cl *CommandLine) FindLibraries(real *Linker) {
	cl.findLibraries(sync.OnceValue(func() []string { return real.searchDirs(cl) }))
}

// findLibraries is FindLibraries with the folders that the real linker looks in
// by itself.
func (cl *CommandLine) findLibraries(defaults func() []string) {
	for i := range cl.Inputs {
		in := &cl.Inputs[i]
		if in.Library == "" || in.Path != "" {
			continue
		}
		if in.Path = cl.findLibrary(in, cl.LibraryPaths); in.Path != "" {
			continue
		}
		in.Path = cl.findLibrary(in, defaults())
	}
}

// findLibrary is the first file in dirs that -lNAME may mean: with shared
// objects allowed libNAME.so goes before libNAME.a of the same folder, and
// -l:FILE means just that name.
func (cl *CommandLine) findLibrary(in *Input, dirs []string) string {
	names := []string{"lib" + in.Library + ".so", "lib" + in.Library + ".a"}
	if file, ok := strings.CutPrefix(in.Library, ":"); ok {
		names = []string{file}
	} else if in.Static || cl.StaticExe {
		names = names[1:]
	}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if rest, ok := strings.CutPrefix(dir, "$SYSROOT"); ok {
			dir = cl.Sysroot + rest
		} else if rest, ok := strings.CutPrefix(dir, "="); ok {
			dir = cl.Sysroot + rest
		}
		for _, name := range names {
			// Not filepath.Join: it would take "link/.." for nothing, which
			// it is not where link is a symbolic link.
			path := strings.TrimSuffix(dir, "/") + "/" + name
			if st, err := os.Stat(resolve(cl.Dir, path)); err == nil && st.Mode().IsRegular() {
				return path
			}
		}
	}
	return ""
}

// defaultDirs is searchDirs, asked once and from now on: a driver takes its
// time to answer.
func (l *Linker) defaultDirs(cl *CommandLine) func() []string {
	dirs := sync.OnceValue(func() []string { return l.searchDirs(cl) })
	if l.asksDriver(cl) {
		go dirs()
	}
	return dirs
}

// asksDriver reports whether it is a driver that knows where libraries are.
func (l *Linker) asksDriver(cl *CommandLine) bool {
	return l.Takes == TakesDriver && cl.Style == StyleCC
}

// searchDirs is where the real linker looks for libraries after the folders
// of -L: where the driver says, and where the GNU linkers look by themselves.
func (l *Linker) searchDirs(cl *CommandLine) []string {
	var dirs []string
	switch {
	case l.answer != nil:
		dirs = readSearchDirs(l.answer)
	case l.Takes == TakesDriver:
		dirs = driverDirs(l.Path, cl)
	}
	if kind := cl.LinkerKind(l.Path); kind == KindLLD || kind == KindMold || kind == KindWild {
		return dirs
	}
	// GNU ld and gold have these built in; they differ by distribution in
	// the multiarch folders only, which the driver names.
	for _, dir := range []string{"/usr/local/lib", "/lib64", "/usr/lib64", "/lib", "/usr/lib"} {
		dirs = append(dirs, cl.Sysroot+dir)
	}
	return dirs
}

// driverDirs asks a driver for its library folders.
func driverDirs(driver string, cl *CommandLine) []string {
	ctx, cancel := context.WithTimeout(context.Background(), driverTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, driver, searchDirsArgs(cl)...)
	cmd.Dir = cl.Dir
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	return readSearchDirs(bytes.NewReader(out))
}

// driverTime is how long a driver may take to answer.
const driverTime = 10 * time.Second

// searchDirsArgs are the arguments that ask a driver for its library folders,
// with the options that choose among them (the machine, the ABI, the sysroot).
func searchDirsArgs(cl *CommandLine) []string {
	args := []string{"-print-search-dirs"}
	for i := 0; i < len(cl.Args) && cl.Style == StyleCC; i++ {
		arg := cl.Args[i]
		switch {
		case arg == "-target" || arg == "--sysroot":
			if i+1 < len(cl.Args) {
				args = append(args, arg, cl.Args[i+1])
				i++
			}
		case strings.HasPrefix(arg, "-m") && arg != "-mllvm", strings.HasPrefix(arg, "--target="),
			strings.HasPrefix(arg, "--sysroot="), strings.HasPrefix(arg, "-B"), strings.HasPrefix(arg, "--gcc-toolchain="):
			args = append(args, arg)
		}
	}
	return args
}

// readSearchDirs reads a driver's answer; nil if it is none, or not whole.
func readSearchDirs(r io.Reader) []string {
	out, err := io.ReadAll(r)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(out)) {
		if list, ok := strings.CutPrefix(strings.TrimSpace(line), "libraries: ="); ok && strings.HasSuffix(line, "\n") {
			return strings.Split(list, ":")
		}
	}
	return nil
}

// query is a driver that is asked for its library folders while the worker, which
// wants to know them, is starting. A nil query is that of a linker which is no
// driver.
type query struct {
	answer *os.File // for the worker
	to     *os.File // for the driver
	child  *child   // nil before it is asked, or if it cannot be
}

// newQuery makes a query for a linker.
func newQuery(l *Linker, cl *CommandLine) *query {
	if !l.asksDriver(cl) {
		return nil
	}
	answer, to, err := os.Pipe()
	if err != nil {
		return nil
	}
	return &query{answer: answer, to: to}
}

// file is where the answer will be.
func (q *query) file() *os.File {
	if q == nil {
		return nil
	}
	return q.answer
}

// ask asks. If that is not possible the answer is none.
func (q *query) ask(r *runner, l *Linker, cl *CommandLine, env *Environment) {
	if q == nil {
		return
	}
	defer q.to.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer null.Close()
	argv := append([]string{l.Path}, searchDirsArgs(cl)...)
	q.child, _ = r.start(l.Path, argv, env.with(markNested, l.Path), []*os.File{null, q.to, null}, syscall.SIGKILL)
}

// end ends the driver, if it has not ended by itself: the worker, which waits for
// it no longer than driverTime, has gone on.
func (q *query) end() {
	if q == nil {
		return
	}
	q.answer.Close()
	if q.child != nil {
		q.child.kill()
		q.child.wait()
	}
}
