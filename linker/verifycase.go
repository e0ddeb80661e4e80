package linker

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"leanlink/linker/verify"
)

const verifyUsage = `usage: leanlink verify CASE

CASE is a folder that a link saved (LEANLINK_SAVE=DIR, or one that a warning
names): the link is made again, with the settings it had, and its output is
checked against the original objects. A folder with claim.json holds an output
as well, which is checked as it is.

Exit status: 0 the output is right, 1 it is not, 2 it could not be checked.
`

// VerifyCase is the command "leanlink verify CASE".
func VerifyCase(args []string, stdout, stderr io.Writer) int {
	if len(args) != 1 || strings.HasPrefix(args[0], "-") {
		io.WriteString(stderr, verifyUsage)
		return 2
	}
	if exists(filepath.Join(args[0], "claim.json")) {
		return verify.Command(args, stdout, stderr)
	}
	result, err := replayAndCheck(args[0])
	if err != nil {
		fmt.Fprintf(stderr, "leanlink: verify: %s\n", oneLine(err.Error()))
		return 2
	}
	fmt.Fprintln(stdout, result)
	for _, m := range result.Mismatches {
		fmt.Fprintln(stdout, "mismatch:", m)
	}
	if len(result.Mismatches) > 0 {
		return 1
	}
	return 0
}

// replayAndCheck links a saved case again, into a folder of its own, and
// checks the output.
func replayAndCheck(dir string) (*verify.Result, error) {
	cl, err := OpenCase(dir)
	if err != nil {
		return nil, err
	}
	env, err := caseEnvironment(dir)
	if err != nil {
		return nil, err
	}
	cfg, err := LoadConfig(cl, env)
	if err != nil {
		return nil, err
	}
	cfg.Verify, cfg.Report = true, "off"
	if cfg.Fold == "off" {
		cfg.Fold = "safe"
	}
	real, err := FindLinker(cl, cfg, env)
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", workPrefix+"*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	cl.Output = filepath.Join(work, "out")
	prepared, err := Prepare(cl, cfg, real, work)
	if err != nil {
		return nil, err
	}
	if prepared.Unchanged != "" {
		return nil, fmt.Errorf("%s: the link is left as it is: %s", dir, prepared.Unchanged)
	}
	cmd := exec.Command(real.Path, real.LinkerArgs(cl, append(prepared.Args, "-o", cl.Output))...)
	cmd.Dir = cl.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", real.Path, err, bytes.TrimSpace(out))
	}
	return prepared.Finish.compare(work)
}

// caseEnvironment is this process's, with the settings that the case's link
// had and no others of leanlink's.
func caseEnvironment(dir string) (*Environment, error) {
	about, err := os.ReadFile(filepath.Join(dir, caseAbout))
	if err != nil {
		return nil, err
	}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "LEANLINK_") && name != "LEANLINK_REAL_LINKER" {
			os.Unsetenv(name)
		}
	}
	lines := bufio.NewScanner(bytes.NewReader(about))
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), "=")
		if lines.Text() == "" {
			break // what follows is what went wrong
		}
		if ok && strings.HasPrefix(name, "LEANLINK_") {
			os.Setenv(name, value)
		}
	}
	return NewEnvironment(), lines.Err()
}
