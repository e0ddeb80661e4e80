package linker

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	"leanlink/objfile"
)

// A saved case is a folder with all that one link read:
//
//	args        the arguments, a response file; every path in it is relative
//	in/         the files, each under the path that it had
//	about       which leanlink, which linker, which config, what went wrong
//	replay.sh   links it again, wherever the folder lies
//
// What the driver adds by itself (start files, libc) is the replaying
// machine's.

// Files of a saved case.
const (
	caseArgs   = "args"
	caseInputs = "in"
	caseAbout  = "about"
	caseReplay = "replay.sh"
)

// failureFile, in a work folder, holds what went wrong for the case.
const failureFile = "failure"

// Bounds of the cases that are saved without being asked for.
const (
	maxCases     = 3
	maxCaseBytes = 1_000_000_000
)

// casesFolder is where cases are saved without being asked for.
func casesFolder() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "leanlink", "cases"), nil
}

// saveAutomatically saves the link into the user's cache folder and removes
// the oldest cases there until what is left is within bounds. A link that is
// there already is left as it was: the first failure is the one to look at,
// and a build that fails in the same way each time should not copy each time.
func saveAutomatically(cl *CommandLine, cfg *Config, real *Linker, failure string) (string, error) {
	dir, err := casesFolder()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	// Sixty links may fail at once.
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	path := filepath.Join(dir, caseName(cl))
	if exists(path) {
		return path, nil
	}
	c := newCase(cl, real)
	if size := c.size(); size > maxCaseBytes {
		return "", fmt.Errorf("its inputs are %d MB", size/1_000_000)
	}
	if path, err = c.write(cfg, dir, failure); err != nil {
		return "", err
	}
	return path, pruneCases(dir, path)
}

// pruneCases removes the oldest cases in dir, but not the newest, path.
func pruneCases(dir, path string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	type old struct {
		path string
		made time.Time
		size int64
	}
	var cases []old
	total := int64(0)
	for _, e := range entries {
		full := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".case-") { // of a worker that died; the lock is ours
			os.RemoveAll(full)
			continue
		}
		info, err := e.Info()
		if err != nil || !e.IsDir() {
			continue
		}
		size := folderSize(full)
		total += size
		cases = append(cases, old{full, info.ModTime(), size})
	}
	sort.Slice(cases, func(i, j int) bool {
		if (cases[i].path == path) != (cases[j].path == path) {
			return cases[j].path == path
		}
		return cases[i].made.Before(cases[j].made)
	})
	for len(cases) > 1 && (len(cases) > maxCases || total > maxCaseBytes) {
		if err := os.RemoveAll(cases[0].path); err != nil {
			return err
		}
		total -= cases[0].size
		cases = cases[1:]
	}
	return nil
}

func folderSize(dir string) int64 {
	total := int64(0)
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil
	})
	return total
}

// SaveCase saves the link into a folder of its own inside dir, in the place of
// what was saved of the same output before, and says where that is. failure
// is what went wrong, "" if nothing did.
func SaveCase(cl *CommandLine, cfg *Config, real *Linker, dir, failure string) (string, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	return newCase(cl, real).write(cfg, dir, failure)
}

// caseName is the output's name with a hash of where it lies: programs of one
// name in several target folders are several cases.
func caseName(cl *CommandLine) string {
	out := filepath.Clean(resolve(cl.Dir, cl.Output))
	h := fnv.New32a()
	io.WriteString(h, out)
	return fmt.Sprintf("%s-%08x", filepath.Base(out), h.Sum32())
}

// savedCase is a case before it is written.
type savedCase struct {
	cl    *CommandLine
	real  *Linker
	files map[string]string // path as given → path in the case
	dirs  map[string]string // folder as given → path in the case
	extra []string          // further arguments, so that the saved libraries are found
	order []string          // keys of files, in order of appearance
}

// newCase collects what the link reads.
func newCase(cl *CommandLine, real *Linker) *savedCase {
	cl.FindLibraries(real)
	c := &savedCase{cl: cl, real: real, files: map[string]string{}, dirs: map[string]string{}}
	for _, dir := range cl.LibraryPaths {
		c.dirs[dir] = c.place(dir)
	}
	for i := range cl.Inputs {
		in := &cl.Inputs[i]
		if in.Path == "" {
			continue
		}
		if in.Library == "" {
			c.addFile(in.Path)
			continue
		}
		if slices.ContainsFunc(cl.LibraryPaths, func(dir string) bool {
			return strings.TrimSuffix(dir, "/")+"/"+filepath.Base(in.Path) == in.Path
		}) {
			c.addFile(in.Path)
			continue
		}
		// From the driver's own folders. A text there (libc.so) names files
		// of this very system: the replaying system has its own.
		if isText(resolve(cl.Dir, in.Path)) {
			continue
		}
		c.addFile(in.Path)
		c.addSearch(filepath.Dir(in.Path))
	}
	for _, list := range [][]string{cl.VersionScripts, cl.DynamicLists, cl.OtherFiles, {cl.RetainSymbolsFile}} {
		for _, path := range list {
			if path != "" {
				c.addFile(path)
			}
		}
	}
	for _, script := range cl.Scripts {
		c.addScript(script, 0)
	}
	return c
}

// place is where in the case a file or folder of the link goes.
func (c *savedCase) place(path string) string {
	return caseInputs + filepath.Clean("/"+resolve(c.cl.Dir, path))
}

func (c *savedCase) addFile(path string) {
	if _, ok := c.files[path]; ok {
		return
	}
	if st, err := os.Stat(resolve(c.cl.Dir, path)); err != nil || !st.Mode().IsRegular() {
		return
	}
	c.files[path] = c.place(path)
	c.order = append(c.order, path)
	c.addMembers(path)
}

// addMembers adds the objects that a thin archive names, each where it is to
// be found from the archive. What else it may name is not of the link.
func (c *savedCase) addMembers(path string) {
	if !isThin(resolve(c.cl.Dir, path)) {
		return
	}
	b, err := readRegular(resolve(c.cl.Dir, path))
	if err != nil {
		return
	}
	a, err := objfile.ParseArchive(path, b)
	if err != nil {
		return
	}
	for i := range a.Members {
		if h, ok := elfHeader(resolve(c.cl.Dir, a.Members[i].Path)); ok && headerFamily(h) != "" {
			c.addFile(a.Members[i].Path)
		}
	}
}

func isThin(path string) bool {
	f, err := openRegular(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 8)
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == "!<thin>\n"
}

// addSearch makes the replay look into the saved copy of a folder too.
func (c *savedCase) addSearch(dir string) {
	if _, ok := c.dirs[dir]; ok {
		return
	}
	c.dirs[dir] = c.place(dir)
	c.extra = append(c.extra, "-L", c.place(dir))
}

// addScript adds a linker script and those that it includes. They are looked
// up in the working folder, then in those of -L.
func (c *savedCase) addScript(name string, depth int) {
	cl := c.cl
	path := ""
	for _, dir := range append([]string{""}, cl.LibraryPaths...) {
		p := name
		if dir != "" {
			p = strings.TrimSuffix(dir, "/") + "/" + name
		}
		if st, err := os.Stat(resolve(cl.Dir, p)); err == nil && st.Mode().IsRegular() {
			path = p
			break
		}
	}
	if path == "" || depth > 20 {
		return
	}
	if _, seen := c.files[path]; seen {
		return
	}
	c.addFile(path)
	if depth > 0 && path == name { // in the working folder, which the replay does not have
		c.addSearch(".")
	}
	text, err := readRegular(resolve(cl.Dir, path))
	if err != nil {
		return
	}
	words := strings.Fields(string(text))
	for i, word := range words {
		if word == "INCLUDE" && i+1 < len(words) {
			c.addScript(strings.Trim(words[i+1], `"';`), depth+1)
		}
	}
}

// isText says that a file is none of the binary formats of a link.
func isText(path string) bool {
	f, err := openRegular(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 64)
	n, _ := io.ReadFull(f, head)
	return bytes.IndexByte(head[:n], 0) < 0 && !bytes.HasPrefix(head, []byte("!<"))
}

func (c *savedCase) size() int64 {
	total := int64(0)
	for _, path := range c.order {
		if st, err := os.Stat(resolve(c.cl.Dir, path)); err == nil {
			total += st.Size()
		}
	}
	return total
}

// args are the link's arguments with every path that is saved put right, and
// without -o and -flavor, which the script gives.
func (c *savedCase) args() []string {
	var out []string
	args := c.cl.Args
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case i == 0 && arg == "-flavor" && c.cl.Style == StyleLD:
			i++
			continue
		case arg == "-o":
			i++
			continue
		case strings.HasPrefix(arg, "-o") && arg[2:] == c.cl.Output, strings.HasPrefix(arg, "--output="):
			continue
		}
		if words, ok := strings.CutPrefix(arg, "-Wl,"); ok {
			parts := strings.Split(words, ",")
			for j := range parts {
				parts[j] = c.relative(parts[j])
			}
			out = append(out, "-Wl,"+strings.Join(parts, ","))
			continue
		}
		out = append(out, c.relative(arg))
	}
	return append(out, c.extra...)
}

// relative is a word of the command line with its path put right.
func (c *savedCase) relative(word string) string {
	if to, ok := c.files[word]; ok {
		return to
	}
	if to, ok := c.dirs[word]; ok {
		return to
	}
	switch {
	case strings.HasPrefix(word, "--"):
		if option, path, ok := strings.Cut(word, "="); ok {
			if option == "--Map" {
				return option + "=out.map"
			}
			return option + "=" + c.relative(path)
		}
	case strings.HasPrefix(word, "-Map="):
		return "-Map=out.map"
	case strings.HasPrefix(word, "-L"), strings.HasPrefix(word, "-T"), strings.HasPrefix(word, "-R"):
		if len(word) > 2 {
			return word[:2] + c.relative(word[2:])
		}
	}
	if word == c.cl.Map && word != "" {
		return "out.map"
	}
	return word
}

// write makes the case's folder inside dir.
func (c *savedCase) write(cfg *Config, dir, failure string) (path string, err error) {
	name := caseName(c.cl)
	temp, err := os.MkdirTemp(dir, ".case-*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(temp)
		}
	}()
	for _, from := range c.order {
		if err := copyFile(resolve(c.cl.Dir, from), filepath.Join(temp, c.files[from])); err != nil {
			return "", err
		}
	}
	for _, to := range c.dirs {
		if err := os.MkdirAll(filepath.Join(temp, to), 0o777); err != nil {
			return "", err
		}
	}
	for _, f := range []struct {
		name string
		data []byte
		mode fs.FileMode
	}{
		{caseArgs, formatResponse(c.args()), 0o666},
		{caseAbout, c.about(cfg, failure), 0o666},
		{caseReplay, c.script(cfg), 0o777},
	} {
		if err := os.WriteFile(filepath.Join(temp, f.name), f.data, f.mode); err != nil {
			return "", err
		}
	}
	path = filepath.Join(dir, name)
	if err := os.Rename(temp, path); err == nil {
		return path, nil
	} else if !errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return "", err
	}
	if err := os.RemoveAll(path); err != nil {
		return "", err
	}
	return path, os.Rename(temp, path)
}

// copyFile copies; a link to an input that another build changes would not be
// the input that was linked.
func copyFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// about says in words what the case is.
func (c *savedCase) about(cfg *Config, failure string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "leanlink: %s\n", Version)
	fmt.Fprintf(&b, "style: %s\n", c.cl.Style)
	fmt.Fprintf(&b, "linker: %s (%s)\n", filepath.Base(c.real.Path), c.cl.LinkerKind(c.real.Path))
	fmt.Fprintf(&b, "output: %s\n", filepath.Base(c.cl.Output))
	fmt.Fprintf(&b, "profile: %s\ntarget: %s\n", cfg.Profile, cfg.Triple)
	for _, v := range cfg.variables() {
		fmt.Fprintf(&b, "%s=%s\n", v[0], v[1])
	}
	if failure != "" {
		fmt.Fprintf(&b, "\nwhat went wrong:\n%s\n", strings.TrimSpace(failure))
	}
	return b.Bytes()
}

// variables are the variables that give the config's values for what is done
// to a link, in the order of the keys. Where things lie on this machine is not
// among them.
func (c *Config) variables() [][2]string {
	var vars [][2]string
	for i := range Keys {
		k := &Keys[i]
		switch field := k.field(c).(type) {
		case *string:
			if k.kind == kindChoice {
				vars = append(vars, [2]string{k.variable(), *field})
			}
		case *[]string:
			if len(*field) > 0 {
				vars = append(vars, [2]string{k.variable(), strings.Join(*field, ";")})
			}
		case *bool:
			vars = append(vars, [2]string{k.variable(), fmt.Sprint(*field)})
		}
	}
	return vars
}

// script is replay.sh.
func (c *savedCase) script(cfg *Config) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `#!/bin/sh
# Links this case again: [LINKER=PROGRAM] [OUT=FILE] sh replay.sh [OPTION...]
# LINKER=leanlink repeats what leanlink did, with the config that it had.
cd -- "$(dirname -- "$0")" || exit 1
`)
	for _, v := range cfg.variables() {
		fmt.Fprintf(&b, "[ \"${%s+set}\" ] || %s=%s\nexport %s\n", v[0], v[0], shellQuote(v[1]), v[0])
	}
	flavor := ""
	if c.cl.Flavor != "" {
		flavor = " -flavor " + shellQuote(c.cl.Flavor)
	}
	linker := filepath.Base(c.real.Path)
	if linker == "flip-link" {
		linker = "rust-lld" // flip-link itself works in another folder, where relative paths lead nowhere
	}
	fmt.Fprintf(&b, "exec \"${LINKER:-%s}\"%s @%s -o \"${OUT:-out}\" \"$@\"\n", linker, flavor, caseArgs)
	return b.Bytes()
}

// shellQuote makes s one word for sh.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// OpenCase reads the command line of a saved case. Its paths are relative to
// the case's folder, which is the command line's working folder.
func OpenCase(dir string) (*CommandLine, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	about, err := os.ReadFile(filepath.Join(dir, caseAbout))
	if err != nil {
		return nil, fmt.Errorf("not a saved case: %w", err)
	}
	argv := []string{"@" + caseArgs}
	if !exists(filepath.Join(dir, caseArgs)) {
		return nil, fmt.Errorf("%s: not a saved case: no file %s", dir, caseArgs)
	}
	if strings.Contains(string(about), "\nstyle: ld\n") {
		argv = append([]string{"-flavor", "gnu"}, argv...)
	}
	return ParseCommandLine(argv, dir)
}
