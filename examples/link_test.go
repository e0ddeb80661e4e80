package examples

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A keptLink is a link that rustc asked for, to be done again by any linker.
type keptLink struct {
	args []string // as rustc gives them for lld, without -o and its file
	cwd  string
}

// A build is one way to compile a firmware.
type build struct {
	dir, target string
	feature     string // cargo's; "" is none
	opt, lto    string // of the profile; "" is the workspace's
	flags       string // RUSTFLAGS
}

// name is a folder's for the build.
func (b build) name() string {
	return strings.Join([]string{b.dir, b.target, cmp.Or(b.opt, "s"), cmp.Or(b.lto, "false"), b.feature, b.flags}, ",")
}

// compile builds a firmware with its default linker and keeps its link, in the folder of -links.
func compile(t *testing.T, b build) keptLink {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	keep, err := filepath.Abs(filepath.Join(*links, b.name()))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(keep, "args"))
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(keep, 0o755); err != nil {
			t.Fatal(err)
		}
		args := []string{"rustc", "--release", "--locked", "--target", b.target}
		if b.feature != "" {
			args = append(args, "--features", b.feature)
		}
		env := []string{"EXAMPLES_KEEP_LINK=" + keep}
		for _, v := range [][2]string{{"CARGO_PROFILE_RELEASE_OPT_LEVEL", b.opt}, {"CARGO_PROFILE_RELEASE_LTO", b.lto}, {"RUSTFLAGS", b.flags}} {
			if v[1] != "" {
				env = append(env, v[0]+"="+v[1])
			}
		}
		// The extra argument makes this build a new one for Cargo, which would else not link what it has linked before.
		args = append(args, "--", "-Clinker="+self, "-Clink-arg=-L"+keep)
		cargo(t, b.dir, env, args...)
		kept, err = os.ReadFile(filepath.Join(keep, "args"))
	}
	if err != nil {
		t.Fatalf("%s for %s was not linked: %v", b.dir, b.target, err)
	}
	lines := strings.Split(string(kept), "\n")
	return keptLink{args: lines[1:], cwd: lines[0]}
}

// keepLink writes the working folder and the arguments of a link to dir/args, a line each, copies the objects and
// libraries that rustc removes after the link, and links.
func keepLink(dir string, args []string) error {
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	kept := []string{cwd}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "-o":
			i++
			continue
		case strings.HasPrefix(arg, "@"), strings.Contains(arg, "\n"):
			return fmt.Errorf("cannot keep the argument %q", arg)
		case strings.HasSuffix(arg, ".o"), strings.HasSuffix(arg, ".rlib") && strings.HasPrefix(filepath.Base(filepath.Dir(arg)), "rustc"):
			data, err := os.ReadFile(arg)
			if err != nil {
				return err
			}
			arg = filepath.Join(dir, fmt.Sprintf("%03d-%s", i, filepath.Base(arg)))
			if err := os.WriteFile(arg, data, 0o644); err != nil {
				return err
			}
		}
		kept = append(kept, arg)
	}
	if err := os.WriteFile(filepath.Join(dir, "args"), []byte(strings.Join(kept, "\n")), 0o644); err != nil {
		return err
	}
	cmd := exec.Command("rust-lld", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// run links into out and returns what the linker printed, with OUT where it named out.
func (link keptLink) run(t *testing.T, out, linker string, args []string, env ...string) string {
	t.Helper()
	// As rustc does, so that rust-lld is found; os/exec would look it up in our own PATH.
	path := "PATH=" + rustBin(t) + string(os.PathListSeparator) + os.Getenv("PATH")
	if linker == "rust-lld" {
		linker = filepath.Join(rustBin(t), linker)
	}
	cmd := exec.Command(linker, append(slices.Clone(args), "-o", out)...)
	cmd.Dir = link.cwd
	cmd.Env = append(append(environ(), path), env...)
	printed, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", linker, err, printed)
	}
	return strings.ReplaceAll(string(printed), out, "OUT")
}

// flash is the size of all that is loaded: the allocated sections with contents.
func flash(t *testing.T, path string) uint64 {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var size uint64
	for _, s := range file.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			size += s.Size
		}
	}
	return size
}
