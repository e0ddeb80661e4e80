package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// linked is what linkall writes down of one link.
type linked struct {
	Output string // path of the output
	// Folded, Thunks and Reason are by variant.
	Folded, Thunks map[string]int
	Reason         map[string]string // why a variant was left as it was
	Size           map[string]uint64 // allocated bytes
}

// variantEnv is what makes leanlink link a variant; plain is cc's.
func variantEnv(variant string) []string {
	env := []string{"LEANLINK_HOST=true", "LEANLINK_VERIFY=true", "LEANLINK_FOLD=" + variant}
	if variant == "trim" {
		// All that a program that unwinds can have. Harnesses stay untrimmed; what
		// they run does not.
		return append(env[:2:2], "LEANLINK_FOLD=safe", "LEANLINK_TRIM_PANIC=location", "LEANLINK_TRIM_BACKTRACE=addresses",
			"LEANLINK_TRIM_UNWIND_TABLES=calls", "LEANLINK_TRIM_RELOCATIONS=packed", "LEANLINK_TRIM_ALIGN=size")
	}
	if variant == "poison" {
		// The check would miss what was to be gone.
		return []string{"LEANLINK_HOST=true", "LEANLINK_FOLD=all", "LEANLINK_TEST_POISON=1"}
	}
	return env
}

// linkAll is what the test binary does when rustc calls it by the name linkall:
// it links each of $LINKALL_VARIANTS, keeps them below $LINKALL_DIR, and leaves
// the last at the output's place. One compilation serves for all variants, and
// what Cargo runs while it builds — build scripts, procedural macros — is the
// last one's.
func linkAll() {
	if err := linkVariants(os.Args[1:], strings.Split(os.Getenv("LINKALL_VARIANTS"), ","), os.Getenv("LINKALL_DIR")); err != nil {
		fmt.Fprintln(os.Stderr, "linkall:", err)
		os.Exit(1)
	}
}

func linkVariants(args, variants []string, dir string) error {
	output, err := outputOf(args)
	if err != nil {
		return err
	}
	if output, err = filepath.Abs(output); err != nil {
		return err
	}
	name := filepath.Base(output)
	l := linked{Output: output, Folded: map[string]int{}, Thunks: map[string]int{}, Reason: map[string]string{}, Size: map[string]uint64{}}
	for _, v := range variants {
		to := filepath.Join(dir, v, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		cmd := exec.Command("cc", args...)
		if v != "plain" {
			cmd = exec.Command(os.Getenv("LINKALL_LEANLINK"), args...)
			cmd.Env = append(environ(), append(variantEnv(v), "LEANLINK_REPORT="+to+".report")...)
		}
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s, %s: %w\n%s", name, v, err, &said)
		}
		if v != "plain" {
			if strings.Contains(said.String(), "leanlink") {
				return fmt.Errorf("%s, %s: leanlink has something to say: %s", name, v, &said)
			}
			if err := l.readReport(v, to+".report"); err != nil {
				return err
			}
		}
		if l.Size[v], err = allocSize(output); err != nil {
			return err
		}
		if err := copyFile(to, output); err != nil {
			return err
		}
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".json"), text, 0o644)
}

// outputOf finds the output in a linker's arguments, or in the file of them that
// rustc writes where there are too many for a command line.
func outputOf(args []string) (string, error) {
	for i, arg := range args {
		if arg == "-o" && i+1 < len(args) {
			return args[i+1], nil
		}
		if file, ok := strings.CutPrefix(arg, "@"); ok {
			text, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			return outputOf(strings.Split(strings.NewReplacer(`\\`, `\`, `\`, "").Replace(string(text)), "\n"))
		}
	}
	return "", fmt.Errorf("no output among %d arguments", len(args))
}

// readReport takes from leanlink's report what it did.
func (l *linked) readReport(variant, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	var r struct {
		Totals struct{ Folded, Thunks int }
		Inputs []struct{ Reason string }
	}
	if err := json.NewDecoder(z).Decode(&r); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	l.Folded[variant], l.Thunks[variant] = r.Totals.Folded, r.Totals.Thunks
	if r.Totals.Folded == 0 && len(r.Inputs) > 0 {
		l.Reason[variant] = r.Inputs[0].Reason
	}
	return nil
}
