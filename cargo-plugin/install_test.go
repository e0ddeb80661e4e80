package release

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// The recipes of docs/install.md are run here as they stand there: in a home of
// their own, with a small project, and with GitHub's and an archive's parts
// played by the tests.

// archives builds the archives once and returns their folder.
var archives = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "leanlink-archives-")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("./release.sh", dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("release.sh: %w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if dir, err := archives(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(status)
}

// recipe is a place in which recipes run.
type recipe struct {
	t       *testing.T
	home    string
	project string
	env     []string
}

func newRecipe(t *testing.T) *recipe {
	t.Helper()
	if testing.Short() {
		t.Skip("builds archives and programs")
	}
	cargo, err := exec.LookPath("cargo")
	if err != nil {
		if os.Getenv("LEANLINK_REQUIRE_TOOLS") != "" {
			t.Fatal("cargo is not installed")
		}
		t.Skip("cargo is not installed")
	}
	r := &recipe{t: t, home: t.TempDir()}
	r.project = filepath.Join(r.home, "project")
	rustup := os.Getenv("RUSTUP_HOME")
	if home, err := os.UserHomeDir(); err == nil && rustup == "" {
		rustup = filepath.Join(home, ".rustup")
	}
	r.env = []string{"HOME=" + r.home, "RUSTUP_HOME=" + rustup, "PATH=" + r.home + "/.cargo/bin:" + filepath.Dir(cargo) + ":/usr/local/bin:/usr/bin:/bin",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@localhost", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@localhost"}
	r.write("Cargo.toml", "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\n")
	r.write("src/main.rs", "fn main() { println!(\"{:?}\", std::env::args().collect::<Vec<_>>()); }\n")
	r.write("leanlink.toml", "[budget]\ntotal = \"1MB\"\n")
	return r
}

func (r *recipe) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.project, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// sh runs a script in a folder and returns what it says.
func (r *recipe) sh(dir, script string, env ...string) string {
	r.t.Helper()
	cmd := exec.Command("bash", "-e", "-o", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = dir, append(r.env[:len(r.env):len(r.env)], env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	return string(out)
}

// archivesTo puts the archives and their checksums into a folder.
func (r *recipe) archivesTo(dir string) {
	r.t.Helper()
	from, err := archives()
	if err != nil {
		r.t.Fatal(err)
	}
	r.sh(r.home, fmt.Sprintf("mkdir -p %[2]s ~/.cargo/bin && cp %[1]s/* %[2]s", from, dir))
}

// documented returns the first block in a language below a heading.
func documented(t *testing.T, heading, language string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, block, has := strings.Cut(section, "```"+language+"\n")
	block, _, ends := strings.Cut(block, "```")
	if !ok || !has || !ends {
		t.Fatalf("docs/install.md: there is no block in %s below %s", language, heading)
	}
	return block
}

func wants(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}

// TestInstallAndUninstall goes from the archive through a project back to
// nothing.
func TestInstallAndUninstall(t *testing.T) {
	r := newRecipe(t)
	r.archivesTo(r.home + "/archive")
	r.sh(r.home+"/archive", documented(t, "From an archive", "sh"))
	wants(t, r.sh(r.project, "cargo size-report doctor"), "ok    leanlink: "+r.home+"/.cargo/bin/leanlink")

	before := r.sh(r.project, "find . -type f | sort | xargs sha256sum")
	wants(t, r.sh(r.project, documented(t, "Into a project", "sh")), ".cargo/config.toml (would be new)", ".cargo/config.toml (new)", "is leanlink")
	r.sh(r.project, "cargo build --release -q && ls target/release/deps/*.leanlink.json.gz && cargo size-report -q --release")

	wants(t, r.sh(r.project, documented(t, "In an IDE", "sh")), "ok    an IDE's PATH: a login shell finds leanlink")

	r.sh(r.project, documented(t, "Uninstalling", "sh")+"\ncargo clean -q\nrm -f Cargo.lock")
	if after := r.sh(r.project, "find . -type f | sort | xargs sha256sum"); after != before {
		t.Errorf("the project is left with\n%s\nit had\n%s", after, before)
	}
	if left := r.sh(r.home, "find .cargo/bin .cache -name '*leanlink*' -o -name '*size-report*' 2>/dev/null || true"); left != "" {
		t.Errorf("still there: %s", left)
	}
}

// step is a step of a workflow that runs a script.
type step struct {
	name, dir, run string
}

var workflowKey = regexp.MustCompile(`^( *)(?:- )?([a-z-]+):(?: (.*))?$`)

// steps reads the scripts of a workflow, as it is written in the document: a
// step is a list item, and a script stands behind run: or is indented below.
func steps(workflow string) []step {
	var list []step
	lines := strings.Split(workflow, "\n")
	for i := 0; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], "      - ") {
			list = append(list, step{})
		}
		m := workflowKey.FindStringSubmatch(lines[i])
		if len(list) == 0 || m == nil {
			continue
		}
		last := &list[len(list)-1]
		value, _, _ := strings.Cut(m[3], "  #")
		value = strings.TrimSpace(value)
		switch m[2] {
		case "name":
			if last.name == "" {
				last.name = value
			}
		case "working-directory":
			last.dir = value
		case "run":
			if value != "|" {
				last.run = value
				continue
			}
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "          ") {
				i++
				last.run += strings.TrimSpace(lines[i]) + "\n"
			}
		}
	}
	return list
}

// TestGitHubActions runs the workflow's scripts on a pull request that makes
// the program larger.
func TestGitHubActions(t *testing.T) {
	r := newRecipe(t)
	r.archivesTo(r.project + "/tools")
	r.sh(r.project, `git init -q -b main . && printf 'target\ntools\n' >.gitignore && git add . && git commit -q -m one
		git clone -q --bare . ~/origin.git && git remote add origin ~/origin.git && git fetch -q && git switch -q -c feature`)
	r.write("src/main.rs", "fn main() { println!(\"{:?} {}\", std::env::args().collect::<Vec<_>>(), 1.5f64.powi(std::env::args().count() as i32)); }\n")
	r.sh(r.project, `git commit -q -a -m two; mkdir ~/stubs; printf '#!/bin/sh\necho "$@" >~/gh.args\ncp size.md ~/comment.md\n' >~/stubs/gh; chmod +x ~/stubs/gh`)
	values := strings.NewReplacer("${{ github.base_ref }}", "main", "${{ github.event.number }}", "7")
	ran := 0
	for _, s := range steps(documented(t, "GitHub Actions", "yaml")) {
		if s.run == "" {
			continue
		}
		ran++
		out := r.sh(filepath.Join(r.project, s.dir), values.Replace(s.run), "GITHUB_STEP_SUMMARY="+r.home+"/summary.md", "PATH="+r.home+"/stubs:"+strings.TrimPrefix(r.env[2], "PATH="))
		switch s.name {
		case "Budget":
			wants(t, out, "Budget", "ok  total")
		case "Page":
			wants(t, out, "size.html")
		}
	}
	if ran != 5 {
		t.Errorf("%d steps ran", ran)
	}
	read := func(name string) string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if args := strings.TrimSpace(read(r.home + "/gh.args")); args != "pr comment 7 --body-file size.md --edit-last --create-if-none" {
		t.Errorf("gh %s", args)
	}
	wants(t, read(r.home+"/comment.md"), "| change |", "core::num::flt2dec", "By crate")
	if read(r.home+"/summary.md") != read(r.home+"/comment.md") {
		t.Error("the summary is not the comment")
	}
	wants(t, read(r.project+"/size.html"), "<!DOCTYPE html>")
}

// TestContainer does what the Dockerfile says, in a folder instead of a
// container's root.
func TestContainer(t *testing.T) {
	r := newRecipe(t)
	r.archivesTo(r.home + "/archive")
	root := filepath.Join(r.home, "root")
	dir, env := root, append([]string(nil), r.env...)
	for _, line := range strings.Split(strings.TrimSpace(documented(t, "Container", "dockerfile")), "\n") {
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "FROM":
			r.sh(r.home, "mkdir -p "+root)
		case "ADD":
			file, to, _ := strings.Cut(rest, " ")
			r.sh(r.home, fmt.Sprintf("mkdir -p %[2]s && tar -xzf archive/%[1]s -C %[2]s", file, root+to))
		case "ENV":
			name, value, _ := strings.Cut(rest, "=")
			r.env = append(r.env, name+"="+strings.Replace(root+value, "$PATH", strings.TrimPrefix(r.env[2], "PATH="), 1))
		case "WORKDIR":
			dir = root + rest
			r.sh(r.home, "mkdir -p "+dir)
		case "COPY":
			r.sh(r.home, "cp -r "+r.project+"/. "+dir)
		case "RUN":
			wants(t, r.sh(dir, rest), "What leanlink folded", "Budget")
		default:
			t.Fatalf("a line that is not known here: %s", line)
		}
	}
	if len(r.env) != len(env)+1 {
		t.Error("the Dockerfile sets no PATH")
	}
}

// TestSccache builds twice through sccache, which must find in its cache what
// the second build compiles. It runs where sccache is installed.
func TestSccache(t *testing.T) {
	r := newRecipe(t)
	path, err := exec.LookPath("sccache")
	if err != nil {
		t.Skip("sccache is not installed (LEANLINK_REQUIRE_TOOLS does not require it)")
	}
	r.archivesTo(r.home + "/archive")
	r.sh(r.home+"/archive", documented(t, "From an archive", "sh"))
	r.write("Cargo.toml", "[workspace]\nmembers = [\"hello\", \"one\"]\nresolver = \"2\"\n")
	r.write("hello/Cargo.toml", "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\none = { path = \"../one\" }\n")
	r.write("hello/src/main.rs", "fn main() { println!(\"{}\", one::one()); }\n")
	r.write("one/Cargo.toml", "[package]\nname = \"one\"\nversion = \"0.1.0\"\nedition = \"2021\"\n")
	r.write("one/src/lib.rs", "#[inline(never)] pub fn one() -> u32 { 1 }\n")
	// A server of its own, on a port of its own and not the user's.
	r.env = append(r.env, "PATH="+strings.TrimPrefix(r.env[2], "PATH=")+":"+filepath.Dir(path), "SCCACHE_DIR="+r.home+"/sccache", "SCCACHE_SERVER_PORT=42261", "SCCACHE_IDLE_TIMEOUT=60")
	defer r.sh(r.home, "sccache --stop-server >/dev/null 2>&1 || true")
	build := documented(t, "With sccache", "sh")
	wants(t, r.sh(r.project, build), "What leanlink folded")
	wants(t, r.sh(r.project, "cargo clean -q\n"+build), "What leanlink folded")
	stats := r.sh(r.project, "sccache --show-stats")
	if m := regexp.MustCompile(`(?m)^Cache hits +(\d+)`).FindStringSubmatch(stats); m == nil || m[1] == "0" {
		t.Errorf("the second build compiled again:\n%s", stats)
	}
}
