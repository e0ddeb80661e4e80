package report

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Paths shortens paths so that a report is the same wherever a project is
// built and says nothing about its builder's machine.
type Paths struct {
	Roots []PathRoot // a path belongs to the longest of them that holds it
}

// PathRoot is a folder and the name that stands for it.
type PathRoot struct {
	Dir  string // absolute
	Name string // "target", "$SYSROOT", "~", …; "" for paths relative to Dir
}

// NewPaths returns the Paths of a link: args are the linker's arguments
// (response files expanded), output the file linked, both as given to a linker
// that runs in folder dir, and getenv is os.Getenv.
//
// Cargo's target folder becomes "target" whatever it is called; paths below
// the workspace or package are relative; rustc's own folder is $SYSROOT,
// Cargo's is $CARGO_HOME and the user's is ~.
func NewPaths(dir, output string, args []string, getenv func(string) string) Paths {
	var p Paths
	add := func(dir, name string) {
		root := PathRoot{filepath.Clean(dir), name}
		if filepath.IsAbs(root.Dir) && root.Dir != "/" && !slices.Contains(p.Roots, root) {
			p.Roots = append(p.Roots, root)
		}
	}
	if !filepath.IsAbs(output) {
		output = filepath.Join(dir, output)
	}
	target := targetFolder(filepath.Dir(output))
	add(target, "target")
	if target == "" {
		add(filepath.Dir(output), "")
	}
	add(dir, "")
	if pkg := getenv("CARGO_MANIFEST_DIR"); !strings.HasPrefix(pkg, dir+"/") {
		add(pkg, "")
	}
	for _, arg := range args {
		if i := strings.Index(arg, "/lib/rustlib/"); i > 0 {
			if start := strings.Index(arg, "/"); start < i {
				add(arg[start:i], "$SYSROOT")
			}
		}
	}
	home := getenv("HOME")
	if cargo := getenv("CARGO_HOME"); cargo != "" {
		add(cargo, "$CARGO_HOME")
	} else if home != "" {
		add(filepath.Join(home, ".cargo"), "$CARGO_HOME")
	}
	add(home, "~")
	add(os.TempDir(), "$TMPDIR")
	return p
}

// targetFolder returns Cargo's target folder for a folder that holds an
// output: TARGET[/TRIPLE]/PROFILE[/deps|/examples|/build/PACKAGE]. It is "" if
// the folder has no such shape.
func targetFolder(dir string) string {
	switch base := filepath.Base(dir); {
	case base == "deps" || base == "examples":
		dir = filepath.Dir(dir)
	case filepath.Base(filepath.Dir(dir)) == "build":
		dir = filepath.Dir(filepath.Dir(dir))
	default:
		return ""
	}
	dir = filepath.Dir(dir) // without the profile
	if base := filepath.Base(dir); strings.Count(base, "-") >= 2 || strings.HasSuffix(base, "-none") {
		dir = filepath.Dir(dir) // a triple
	}
	return dir
}

// Shorten returns a path with the folder it lies in replaced by its name.
// A path outside all of them stays as it is: it is the system's.
func (p *Paths) Shorten(path string) string {
	if filepath.IsAbs(path) {
		path = filepath.Clean(path) // GCC's own are full of ".."
	}
	best := -1
	for i, r := range p.Roots {
		if strings.HasPrefix(path, r.Dir) && (len(path) == len(r.Dir) || path[len(r.Dir)] == '/') && (best < 0 || len(r.Dir) > len(p.Roots[best].Dir)) {
			best = i
		}
	}
	if best >= 0 {
		r := p.Roots[best]
		rest := strings.TrimPrefix(path[len(r.Dir):], "/")
		switch {
		case r.Name == "" && rest == "":
			path = "."
		case r.Name == "":
			path = rest
		case rest == "":
			path = r.Name
		default:
			path = r.Name + "/" + rest
		}
	}
	return steadyTemp(path)
}

// ShortenArg shortens the paths within an argument: the argument itself, or
// what follows -L, -B, -o, = or a comma.
func (p *Paths) ShortenArg(arg string) string {
	if !strings.Contains(arg, "/") {
		return arg
	}
	var b strings.Builder
	for i, part := range strings.SplitAfter(arg, ",") {
		text := strings.TrimSuffix(part, ",")
		cut := 0
		switch {
		case strings.HasPrefix(text, "/"):
		case strings.Contains(text, "=/"):
			cut = strings.Index(text, "=/") + 1
		case i == 0 && len(text) > 2 && text[0] == '-' && text[2] == '/':
			cut = 2
		}
		b.WriteString(text[:cut])
		b.WriteString(p.Shorten(text[cut:]))
		b.WriteString(part[len(text):])
	}
	return b.String()
}

// steadyTemp gives the temporary folder that rustc makes for each link
// (rustcXXXXXX, six random characters) the same name in every report.
func steadyTemp(path string) string {
	if !strings.Contains(path, "rustc") {
		return path
	}
	parts := strings.Split(path, "/")
	for i, s := range parts {
		if len(s) != len("rustcXXXXXX") || !strings.HasPrefix(s, "rustc") || i == len(parts)-1 {
			continue
		}
		random := true
		for _, c := range s[len("rustc"):] {
			random = random && (c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z')
		}
		if random {
			parts[i] = "rustcXXXXXX"
		}
	}
	return strings.Join(parts, "/")
}
