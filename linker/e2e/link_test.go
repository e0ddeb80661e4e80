package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// outputMark stands for the output's path in a kept command line.
const outputMark = "@OUTPUT@"

// keepLink is what the test binary does when rustc calls it as its linker: keep
// a copy of what goes away after the link (rustc's temporary objects) and the
// command line, then link as usual, with $KEEPLINK_DRIVER or cc. One compilation
// then serves for all linkers and modes.
func keepLink() {
	// Cargo links build scripts too, some at the same time.
	wanted := os.Getenv("KEEPLINK_CRATE") == os.Getenv("CARGO_CRATE_NAME")
	if dir := os.Getenv("KEEPLINK_CASE"); dir != "" && wanted {
		if err := keep(dir, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "keeplink:", err)
			os.Exit(1)
		}
	}
	driver, err := exec.LookPath(envOr("KEEPLINK_DRIVER", "cc"))
	if err == nil {
		err = syscall.Exec(driver, append([]string{driver}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, "keeplink:", err)
	os.Exit(1)
}

func keep(dir string, args []string) error {
	if err := os.MkdirAll(filepath.Join(dir, "in"), 0o755); err != nil {
		return err
	}
	var kept []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case strings.HasPrefix(arg, "@"):
			return fmt.Errorf("%s: a response file: this program is too big for a script", arg)
		case arg == "-o":
			kept = append(kept, "-o", outputMark)
			i++
			continue
		case arg == "-L" && strings.Contains(args[i+1], "raw-dylibs"):
			i++
			continue
		}
		prefix, path := "", arg
		if p := "-Wl,--version-script="; strings.HasPrefix(arg, p) {
			prefix, path = p, arg[len(p):]
		}
		// Only rustc's temporary objects and lists and leanlink's objects need a
		// copy: the script's own files and the sysroot's stay.
		temporary := strings.HasSuffix(path, ".o") || strings.HasSuffix(path, ".rlib.a") || prefix != ""
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && temporary {
			to := filepath.Join(dir, "in", fmt.Sprint(i), filepath.Base(path))
			if err := copyFile(to, path); err != nil {
				return err
			}
			arg = prefix + to
		}
		kept = append(kept, arg)
	}
	return writeCase(dir, kept)
}

func copyFile(to, from string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

func writeCase(dir string, args []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(args, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "args.json"), text, 0o644)
}

// caseArgs are the arguments of a kept link for one linker and output.
func caseArgs(dir, linker, output string, more []string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "args.json"))
	if err != nil {
		return nil, err
	}
	var kept []string
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, err
	}
	args, _ := linkerFlags(linker)
	args = append([]string{}, args...)
	for _, arg := range kept {
		// rustc's choice of linker gives way to the test's.
		if strings.HasPrefix(arg, "-fuse-ld=") || strings.HasPrefix(arg, "-B") && strings.HasSuffix(arg, "gcc-ld") {
			continue
		}
		if arg == outputMark {
			arg = output
		}
		args = append(args, arg)
	}
	return append(args, more...), nil
}

func cmdRust(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: rust NAME SOURCE [FLAG…]")
	}
	name, source, flags := args[0], args[1], args[2:]
	argv := append([]string{"rustc", "--edition=2021", "-Clinker=keeplink", "-o", ts.MkAbs(name + ".rustc"), source}, flags...)
	argv[0] = filepath.Join(tools.sysroot, "bin/rustc")
	dir := ts.MkAbs(name + ".case")
	o, err := run(ts.MkAbs("."), scriptEnv(ts, "KEEPLINK_CASE="+dir), argv...)
	ts.Check(err)
	if o.status != 0 {
		ts.Fatalf("%s: %v", strings.Join(argv, " "), o)
	}
}

func cmdCase(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: case NAME ARG…")
	}
	ts.Check(writeCase(ts.MkAbs(args[0]+".case"), append(append([]string{}, args[1:]...), "-o", outputMark)))
}

func cmdLinks(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("links has no negation")
	}
	fs := flag.NewFlagSet("links", flag.ContinueOnError)
	linkers := fs.String("linkers", envOr("LEANLINK_E2E_LINKERS", "lld,bfd,gold,mold"), "")
	modes := fs.String("modes", "off,safe,all", "")
	noRun := fs.Bool("norun", false, "")
	progArgs := fs.String("args", "", "")
	progEnv := fs.String("env", "", "")
	status := fs.Int("status", 0, "")
	free := fs.String("free", "", "")
	flags := fs.String("flags", "", "")
	ts.Check(fs.Parse(args))
	if fs.NArg() == 0 {
		ts.Fatalf("usage: links [OPTION…] NAME…")
	}
	l := linking{ts: ts, modes: list(*modes), noRun: *noRun, args: list(*progArgs), env: list(*progEnv), status: *status,
		free: list(*free), flags: list(*flags)}
	done := 0
	for _, linker := range list(*linkers) {
		if ok, err := have("linker:" + linker); err != nil {
			ts.Fatalf("%v", err)
		} else if !ok {
			ts.Logf("skipped: linker %s is missing", linker)
			continue
		}
		done++
		for _, name := range fs.Args() {
			l.compare(name, linker)
		}
	}
	if done == 0 {
		ts.Fatalf("none of the linkers %s is installed", *linkers)
	}
}

// list splits a comma-separated value; an empty one has no elements.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// linking is one links command.
type linking struct {
	ts                      *testscript.TestScript
	modes, args, env, flags []string
	free                    []string
	noRun                   bool
	status                  int
}

// compare links a case with one linker, plainly and in each mode, and compares
// what the programs do.
func (l linking) compare(name, linker string) {
	ts := l.ts
	plain := ts.MkAbs(name + "." + linker + ".plain")
	l.link("cc", name, linker, plain)
	var want outcome
	if !l.noRun {
		want = l.run(plain)
		if want.status != l.status {
			ts.Fatalf("%s: the plain program should exit with %d: %v", plain, l.status, want)
		}
		if golden, err := os.ReadFile(ts.MkAbs(name + ".want")); err == nil && want.stdout != string(golden) {
			ts.Fatalf("%s: the plain program should print\n%s, not %v", plain, golden, want)
		}
	}
	for _, mode := range l.modes {
		output := ts.MkAbs(name + "." + linker + "." + mode)
		l.link(tools.leanlink, name, linker, output, "LEANLINK_FOLD="+mode)
		before, after := mustSize(ts, plain), mustSize(ts, output)
		ts.Logf("%s: %d bytes, plain %d (%+.2f%%)", filepath.Base(output), after, before, percent(before, after))
		if after > before {
			ts.Fatalf("%s: %d allocated bytes, more than the %d of the plain link", output, after, before)
		}
		if mode == "off" {
			if err := sameFiles(plain, output); err != nil {
				ts.Fatalf("fold = off is not the plain link: %v", err)
			}
			continue
		}
		if l.noRun {
			continue
		}
		if got := l.run(output); got != want && !contains(l.free, mode) {
			ts.Fatalf("%s behaves otherwise than the plain program: %v\n=== plain: %v", output, got, want)
		}
	}
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// link runs one link and fails the script if it fails, or if leanlink had to
// say anything or left anything behind.
func (l linking) link(driver, name, linker, output string, env ...string) {
	ts := l.ts
	args, err := caseArgs(ts.MkAbs(name+".case"), linker, output, l.flags)
	ts.Check(err)
	before := litter(ts)
	o, err := run(ts.MkAbs("."), scriptEnv(ts, env...), append([]string{lookPath(ts, driver)}, args...)...)
	ts.Check(err)
	if o.status != 0 {
		ts.Fatalf("%s %s (%v): %v", driver, strings.Join(args, " "), env, o)
	}
	if strings.Contains(o.stdout+o.stderr, "leanlink") {
		ts.Fatalf("leanlink has something to say about %s: %v", output, o)
	}
	if after := litter(ts); after != before {
		ts.Fatalf("left behind by the link of %s:\n%s", output, after)
	}
}

func (l linking) run(program string) outcome {
	o, err := run(l.ts.MkAbs("."), scriptEnv(l.ts, l.env...), append([]string{program}, l.args...)...)
	l.ts.Check(err)
	o.stderr = strings.ReplaceAll(o.stderr, program, "PROGRAM")
	o.stderr = threadID.ReplaceAllString(frameLine.ReplaceAllString(o.stderr, ""), "$1")
	return o
}

var (
	threadID = regexp.MustCompile(`(?m)^(thread '[^']*') \([0-9]+\)`)
	// A frame of a backtrace holds addresses, and a folded function goes by its
	// leader's name there. The script on backtraces looks at them; elsewhere they
	// do not count.
	frameLine = regexp.MustCompile(`(?m)^ +[0-9]+: .*\n|^ +at .*\n`)
)

// lookPath finds a driver on the script's PATH.
func lookPath(ts *testscript.TestScript, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	ts.Fatalf("%s: not on PATH", name)
	return ""
}

// litter lists what lies in the script's temporary folder and in its cache,
// where saved cases would be.
func litter(ts *testscript.TestScript) string {
	var found []string
	for _, dir := range []string{ts.Getenv("TMPDIR"), filepath.Join(ts.Getenv("HOME"), ".cache")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			ts.Fatalf("%v", err)
		}
		for _, e := range entries {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return strings.Join(found, "\n")
}

func signalOf(exit *exec.ExitError) int {
	return int(exit.Sys().(syscall.WaitStatus).Signal())
}
