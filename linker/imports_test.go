package linker_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// mayImport is the import graph of the project: what each package may import
// of the others. Packages below a folder follow the folder's row unless they
// have one of their own.
var mayImport = map[string][]string{
	"objfile":       {},
	"merge":         {"objfile"},
	"report":        {"objfile", "report"},
	"linker":        {"objfile", "merge", "report", "linker", "examples"},
	"linker/verify": {}, // shares nothing with what it checks
	"cargo-plugin":  {"objfile", "report", "linker", "cargo-plugin"},
	"examples":      {},
	"bench":         {"objfile", "merge", "report", "linker", "bench"},
}

func TestImportGraph(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (name == "target" || name == "testdata" || len(name) > 2 && name[0] == '.') {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		pkg := filepath.ToSlash(filepath.Dir(path[len("../"):]))
		row, ok := pkg, false
		for {
			if _, ok = mayImport[row]; ok || !strings.Contains(row, "/") {
				break
			}
			row = filepath.ToSlash(filepath.Dir(row))
		}
		if !ok {
			t.Errorf("%s: the package %s has no row", path, pkg)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		seen++
		for _, spec := range file.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			dep, ours := strings.CutPrefix(name, "leanlink/")
			if !ours || dep == pkg {
				continue
			}
			allowed := false
			for _, a := range mayImport[row] {
				allowed = allowed || dep == a || strings.HasPrefix(dep, a+"/")
			}
			if !allowed {
				t.Errorf("%s imports %s", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 20 {
		t.Fatalf("only %d files seen", seen)
	}
}
