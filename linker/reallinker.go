package linker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Kind is the program that does the linking in the end, behind whatever
// driver it is called through.
type Kind uint8

// The linkers that are told apart.
const (
	KindUnknown Kind = iota
	KindBFD          // GNU ld
	KindGold
	KindLLD
	KindMold
	KindWild
)

// String is the name that -fuse-ld= has for the linker.
func (k Kind) String() string {
	return [...]string{"unknown", "bfd", "gold", "lld", "mold", "wild"}[k]
}

// Takes is what arguments a real linker understands.
type Takes uint8

// The ways a real linker may want its arguments.
const (
	TakesAny    Takes = iota // an unknown program: whatever rustc gives
	TakesDriver              // a compiler driver
	TakesLD                  // ld's own options
	TakesFlavor              // ld's own options behind -flavor gnu: lld's generic program, flip-link
)

// Linker is the real linker of a link.
type Linker struct {
	Path  string // the program, absolute unless PATH has relative folders
	Takes Takes
	From  string // where the configuration names it, "" for the default

	// answer is where a driver answers that has been asked for its library
	// folders, once; nil if it has not been.
	answer io.Reader
}

// programStem is the name of a program without folder and version:
// x86_64-linux-gnu-gcc for /usr/bin/x86_64-linux-gnu-gcc-12.
func programStem(path string) string {
	stem := filepath.Base(path)
	if i := strings.LastIndexByte(stem, '-'); i > 0 && i+1 < len(stem) && strings.Trim(stem[i+1:], "0123456789.") == "" {
		stem = stem[:i]
	}
	return stem
}

// takes tells from a program's name what arguments it wants.
func takes(path string) Takes {
	stem := programStem(path)
	switch stem {
	case "cc", "c++", "gcc", "g++", "clang", "clang++", "c89", "c99":
		return TakesDriver
	case "lld", "rust-lld", "flip-link":
		return TakesFlavor
	case "ld", "gold", "mold", "wild":
		return TakesLD
	}
	for _, suffix := range []string{"-gcc", "-g++", "-clang", "-clang++", "-cc", "-c++"} {
		if strings.HasSuffix(stem, suffix) {
			return TakesDriver
		}
	}
	if strings.HasPrefix(stem, "ld.") || strings.HasSuffix(stem, "-ld") || strings.Contains(stem, "-ld.") {
		return TakesLD
	}
	return TakesAny
}

// LinkerKind tells which linker does the work when the program real is given
// this command line, without running anything.
func (cl *CommandLine) LinkerKind(real string) Kind {
	switch t := takes(real); {
	case t == TakesFlavor:
		return KindLLD // flip-link calls rust-lld
	case t == TakesLD:
		return ldKind(real)
	case t == TakesAny && cl.FuseLD == "":
		return KindUnknown
	}
	if cl.FuseLD != "" {
		return ldKind(cl.FuseLD)
	}
	// gcc takes an ld from the folders of -B before its own: mold's manual
	// advises gcc users so.
	for _, dir := range cl.DriverPaths {
		path := filepath.Join(resolve(cl.Dir, dir), "ld")
		if _, err := os.Stat(path); err == nil {
			return ldKind(path)
		}
	}
	return KindBFD
}

// ldKind tells a linker by its name; one that is just called ld by what it is
// a link to.
func ldKind(path string) Kind {
	if target, err := filepath.EvalSymlinks(path); err == nil && strings.HasSuffix(programStem(path), "ld") && takes(target) == TakesLD {
		path = target
	}
	stem := programStem(path)
	if i := strings.LastIndexByte(stem, '.'); i >= 0 {
		stem = stem[i+1:]
	} else if strings.HasSuffix(stem, "-ld") {
		stem = "ld"
	}
	switch stem {
	case "lld", "rust-lld":
		return KindLLD
	case "mold", "sold":
		return KindMold
	case "gold":
		return KindGold
	case "wild":
		return KindWild
	case "bfd", "ld":
		return KindBFD
	}
	return KindUnknown
}

// FindLinker decides which program links: the configured one if it is for
// this machine and this style of arguments, else the one that the style
// implies. What cannot be meant is an error.
func FindLinker(cl *CommandLine, cfg *Config, env *Environment) (*Linker, error) {
	if cfg.RealLinker == "" {
		return defaultLinker(cl, env)
	}
	from := cfg.Source("real-linker")
	// The name says which machine a cross tool is for.
	if own, link := machineFamily(filepath.Base(cfg.RealLinker)), cl.linkFamily(); own != "" && link != "" && own != link {
		return defaultLinker(cl, env)
	}
	wants := takes(cfg.RealLinker)
	if cl.Style == StyleCC && (wants == TakesLD || wants == TakesFlavor) {
		// A workspace of firmware names a bare linker; its build scripts
		// are the host's and need a driver.
		if isBuildScript(env) || isProcMacro(cl) {
			return defaultLinker(cl, env)
		}
		target := ""
		if cfg.Triple != "" {
			target = " for " + cfg.Triple
		}
		return nil, fmt.Errorf(`%s: real-linker = %q takes a linker's own options, but rustc gives a compiler driver's%s: name a driver such as cc (and choose its linker with -Clink-arg=-fuse-ld=…), or put the key under [target.TRIPLE] if it is for another target`, from, cfg.RealLinker, target)
	}
	path, err := lookPath(cfg.RealLinker, env, false)
	if err != nil {
		return nil, fmt.Errorf("%s: real-linker = %q: %w", from, cfg.RealLinker, err)
	}
	if env.isSelf(path) {
		return nil, fmt.Errorf("%s: real-linker = %q is leanlink itself", from, cfg.RealLinker)
	}
	return &Linker{Path: path, Takes: wants, From: from}, nil
}

// defaultLinker is the one that rustc would have used for the style: cc, or
// the lld that comes with rustc.
func defaultLinker(cl *CommandLine, env *Environment) (*Linker, error) {
	if cl.Style == StyleCC {
		path, err := lookPath("cc", env, true)
		if err != nil {
			return nil, fmt.Errorf("the real linker cc: %w; name another with real-linker in leanlink.toml", err)
		}
		return &Linker{Path: path, Takes: TakesDriver}, nil
	}
	path, err := lookPath("rust-lld", env, true)
	if err == nil {
		return &Linker{Path: path, Takes: TakesFlavor}, nil
	}
	// Outside rustc the PATH lacks rustc's own tools; the standard library
	// among the arguments tells where they are.
	for _, dir := range cl.LibraryPaths {
		if sysroot, _, ok := strings.Cut(dir, "/rustlib/"); ok {
			found, _ := filepath.Glob(filepath.Join(sysroot, "rustlib", "*", "bin", "rust-lld"))
			if len(found) > 0 {
				return &Linker{Path: found[0], Takes: TakesFlavor}, nil
			}
		}
	}
	if cl.Flavor == "" {
		if path, err := lookPath("ld", env, true); err == nil {
			return &Linker{Path: path, Takes: TakesLD}, nil
		}
	}
	return nil, fmt.Errorf("the real linker rust-lld: %w; name another with real-linker in leanlink.toml", err)
}

var (
	errNotOnPath     = errors.New("not found on PATH")
	errNotExecutable = errors.New("not an executable file")
)

// lookPath finds a program: a path as it is, a name on the environment's
// PATH. With skipSelf a leanlink on PATH under the wanted name is passed over
// for the next program of that name.
func lookPath(name string, env *Environment, skipSelf bool) (string, error) {
	if strings.Contains(name, "/") {
		path := resolve(env.Dir, name)
		st, err := os.Stat(path)
		if err != nil {
			return "", errors.Unwrap(err)
		}
		if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
			return "", errNotExecutable
		}
		return path, nil
	}
	for _, dir := range filepath.SplitList(env.Get("PATH")) {
		if dir == "" {
			dir = "."
		}
		path := resolve(env.Dir, filepath.Join(dir, name))
		st, err := os.Stat(path)
		if err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 || skipSelf && env.isSelf(path) {
			continue
		}
		return path, nil
	}
	return "", errNotOnPath
}

// LinkerArgs spells args, which are cl.Argv, cl.Args or what Prepare made of
// them, as the linker l wants them.
func (l *Linker) LinkerArgs(cl *CommandLine, args []string) []string {
	if cl.Style == StyleCC {
		return args
	}
	hasFlavor := len(args) > 1 && args[0] == "-flavor"
	switch l.Takes {
	case TakesFlavor:
		if !hasFlavor {
			return append([]string{"-flavor", "gnu"}, args...)
		}
	case TakesLD:
		if hasFlavor {
			args = args[2:]
		}
		// GNU ld for riscv64 links for riscv32, too, but has to be told; lld,
		// which rustc has in mind, goes by the objects.
		if cl.Emulation == "" && strings.HasPrefix(filepath.Base(l.Path), "riscv64") && cl.LinkerKind(l.Path) == KindBFD && cl.isELF32() {
			args = append([]string{"-melf32lriscv"}, args...)
		}
	case TakesDriver:
		return driverArgs(args)
	}
	return args
}

// needsExpansion says that LinkerArgs has to see inside the response files of
// cl.Argv to spell them for l.
func (l *Linker) needsExpansion(cl *CommandLine) bool {
	return cl.Style == StyleLD && l.Takes == TakesDriver && cl.ResponseFile
}

// driverArgs spells a linker's own arguments for a compiler driver. The
// driver must add nothing of its own: rustc's raw style is for targets
// without a C runtime.
func driverArgs(args []string) []string {
	out := []string{"-nostartfiles", "-nostdlib"}
	pie := false
	for i := 0; i < len(args); i++ {
		arg := args[i]
		value := func() (string, bool) {
			if i+1 >= len(args) {
				return "", false
			}
			i++
			return args[i], true
		}
		switch {
		case arg == "-flavor":
			value()
		case arg == "-o", arg == "-L", arg == "-l", arg == "-T", arg == "-u", arg == "-z":
			out = append(out, arg)
			if v, ok := value(); ok {
				out = append(out, v)
			}
		case !strings.HasPrefix(arg, "-"), strings.HasPrefix(arg, "-L"), strings.HasPrefix(arg, "-l"):
			out = append(out, arg)
		case arg == "-pie", arg == "--pie", arg == "-shared", arg == "--shared", arg == "-static-pie":
			pie = true
			out = append(out, "-"+strings.TrimLeft(arg, "-"))
		case arg == "-static", arg == "-r":
			out = append(out, arg)
		case strings.Contains(arg, ","):
			out = append(out, "-Xlinker", arg)
		default:
			out = append(out, "-Wl,"+arg)
			// A value apart must stay behind its option and must not be
			// taken for a file by the driver.
			name := strings.TrimLeft(arg, "-")
			takesValue, known := ldLongOption(name)
			apart := known && takesValue && len(name) > 1
			apart = apart || len(arg) == 2 && strings.Contains("AbcefFGhImPRyY", arg[1:])
			if apart {
				if v, ok := value(); ok {
					out = append(out, "-Xlinker", v)
				}
			}
		}
	}
	if !pie {
		out = append([]string{"-no-pie"}, out...)
	}
	return out
}
