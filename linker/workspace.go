package linker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Which files may configure a link
//
// Cargo gives the linker the folder of the package being linked
// (CARGO_MANIFEST_DIR), but not the workspace that is being built, and that
// package may be a dependency with a build script, a stranger's code. Only
// the workspace being built may choose a linker. So the package counts if
// Cargo treats it as one of the workspace:
//
//   - it does not come from a registry or a git checkout; and
//   - it was asked for (CARGO_PRIMARY_PACKAGE), or Cargo runs rustc in the
//     folder of its workspace, which is not its own folder: for all others it
//     does so in the package's folder; or it owns the target folder.
//
// Then the workspace is what Cargo would find for it: package.workspace, or
// the nearest Cargo.toml upwards with [workspace] that does not exclude it.
//
// For a dependency the workspace is that which owns the target folder that is
// being written to. If that folder lies elsewhere (CARGO_TARGET_DIR), it is
// the workspace in which the user called Cargo, which the shell's PWD names,
// but only if its Cargo.lock has the very package: cargo install run inside
// some project is none of that project's business.
//
// Without Cargo, the nearest folder upwards from the working folder that has a
// leanlink.toml or a Cargo.toml counts.

// findWorkspace sets Workspace and Package. The error is that of a Cargo.toml
// that cannot be read.
func (c *Config) findWorkspace(env *Environment, place cargoOutput) error {
	pkg := env.Get("CARGO_MANIFEST_DIR")
	if pkg == "" {
		return c.findWithoutCargo(env)
	}
	pkg = filepath.Clean(pkg)
	owner, err := targetOwner(place, env)
	if err != nil {
		return err
	}
	if !isForeign(pkg, env) {
		root, err := workspaceRoot(pkg, env)
		if err != nil {
			return err
		}
		member := env.Get("CARGO_PRIMARY_PACKAGE") != "" ||
			root != pkg && sameDir(env.Dir, root) ||
			owner != "" && sameDir(owner, root)
		if member {
			c.Workspace, c.Package = root, pkg
			return nil
		}
	}
	if c.Workspace = owner; c.Workspace == "" {
		c.Workspace = callersWorkspace(env)
	}
	return nil
}

func (c *Config) findWithoutCargo(env *Environment) error {
	for dir := env.Dir; filepath.IsAbs(dir); dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, "leanlink.toml")) {
			c.Workspace = dir
			return nil
		}
		if exists(filepath.Join(dir, "Cargo.toml")) {
			root, err := workspaceRoot(dir, env)
			c.Workspace, c.Package = root, dir
			return err
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return nil
}

// isForeign says whether a package comes from a registry, a git checkout or a
// vendored copy of one. Cargo marks all of these.
func isForeign(pkg string, env *Environment) bool {
	if exists(filepath.Join(pkg, ".cargo-ok")) || exists(filepath.Join(pkg, ".cargo-checksum.json")) {
		return true
	}
	home := cargoHome(env)
	for _, dir := range []string{filepath.Join(home, "registry"), filepath.Join(home, "git")} {
		if home != "" && strings.HasPrefix(pkg, dir+"/") {
			return true
		}
	}
	return false
}

func cargoHome(env *Environment) string {
	if home := env.Get("CARGO_HOME"); home != "" {
		return filepath.Clean(home)
	}
	if home := env.Get("HOME"); home != "" {
		return filepath.Join(home, ".cargo")
	}
	return ""
}

// workspaceRoot is the folder of the workspace of the package in pkg, which
// is pkg itself for one without a workspace around it. It looks where Cargo
// looks.
func workspaceRoot(pkg string, env *Environment) (string, error) {
	manifest, err := readWorkspace(pkg)
	if err != nil {
		return "", err
	}
	if manifest.isRoot {
		return pkg, nil
	}
	if manifest.pointer != "" {
		return filepath.Clean(resolve(pkg, manifest.pointer)), nil
	}
	home := cargoHome(env)
	for dir := filepath.Dir(pkg); ; dir = filepath.Dir(dir) {
		if home != "" && dir == home {
			return pkg, nil // Cargo does not look beyond its own home
		}
		manifest, err := readWorkspace(dir)
		if err != nil {
			return "", err
		}
		if manifest.isRoot {
			if manifest.excludes(dir, pkg) {
				return pkg, nil
			}
			return dir, nil
		}
		if manifest.pointer != "" {
			return filepath.Clean(resolve(dir, manifest.pointer)), nil
		}
		if dir == filepath.Dir(dir) {
			return pkg, nil
		}
	}
}

// workspaceManifest is what a Cargo.toml says of workspaces.
type workspaceManifest struct {
	isRoot           bool   // it has [workspace]
	pointer          string // package.workspace
	members, exclude []string
}

// readWorkspace reads the Cargo.toml in dir; a missing one says nothing.
func readWorkspace(dir string) (workspaceManifest, error) {
	f, root, err := readTOML(filepath.Join(dir, "Cargo.toml"), "workspace")
	if f != nil && err != nil {
		// Cargo could read it, or there would be no link. A header is all
		// that is needed then; that it says nothing of leanlink is checked
		// where that is read.
		return workspaceManifest{isRoot: strings.Contains("\n"+f.text, "\n[workspace")}, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		err = nil // some folder above the project that is not ours to read
	}
	var m workspaceManifest
	if ws, ok := root["workspace"].(map[string]any); ok {
		m.isRoot = true
		m.members, m.exclude = stringList(ws["members"]), stringList(ws["exclude"])
	}
	if pkg, ok := root["package"].(map[string]any); ok {
		m.pointer, _ = pkg["workspace"].(string)
	}
	return m, err
}

func stringList(v any) []string {
	items, _ := v.([]any)
	var list []string
	for _, item := range items {
		if s, ok := item.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

// excludes says whether the workspace in root leaves pkg out. As in Cargo,
// exclude counts for whole folders and members goes before it.
func (m *workspaceManifest) excludes(root, pkg string) bool {
	out := false
	for _, path := range m.exclude {
		path = filepath.Join(root, path)
		out = out || pkg == path || strings.HasPrefix(pkg, path+"/")
	}
	for _, glob := range m.members {
		if match, err := filepath.Match(filepath.Join(root, glob), pkg); err == nil && match {
			return false
		}
	}
	return out
}

// targetOwner is the workspace in whose folder the target folder lies, "" if
// it lies elsewhere.
func targetOwner(place cargoOutput, env *Environment) (string, error) {
	if place.TargetDir == "" {
		return "", nil
	}
	dir := filepath.Dir(place.TargetDir)
	if !isTargetDir(place.TargetDir) || !exists(filepath.Join(dir, "Cargo.toml")) {
		return "", nil
	}
	return workspaceRoot(dir, env)
}

// callersWorkspace is the workspace around the folder that the user's shell
// was in, if its lock file has the package that is being linked; else "".
func callersWorkspace(env *Environment) string {
	dir := env.Get("PWD")
	name, version := env.Get("CARGO_PKG_NAME"), env.Get("CARGO_PKG_VERSION")
	if !filepath.IsAbs(dir) || name == "" {
		return ""
	}
	for dir = filepath.Clean(dir); !exists(filepath.Join(dir, "Cargo.toml")); dir = filepath.Dir(dir) {
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
	root, err := workspaceRoot(dir, env)
	if err != nil {
		return "" // some project that is broken, and not the one being built
	}
	lock, err := os.ReadFile(filepath.Join(root, "Cargo.lock"))
	if err != nil || !strings.Contains(string(lock), "name = \""+name+"\"\nversion = \""+version+"\"\n") {
		return ""
	}
	return root
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// sameDir says whether two paths name one folder: Cargo may have resolved a
// symbolic link that a variable still spells.
func sameDir(a, b string) bool {
	if a == b {
		return true
	}
	sa, err := os.Stat(a)
	if err != nil {
		return false
	}
	sb, err := os.Stat(b)
	return err == nil && os.SameFile(sa, sb)
}
