// Package release tests the script that builds the archives.
package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestArchives(t *testing.T) {
	if testing.Short() {
		t.Skip("builds everything twice")
	}
	first, err := archives()
	if err != nil {
		t.Fatal(err)
	}
	second := t.TempDir()
	if out, err := exec.Command("./release.sh", second).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, dir := range []string{first, second} {
		check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
		check.Dir = dir
		if out, err := check.CombinedOutput(); err != nil || bytes.Count(out, []byte(": OK\n")) != 2 {
			t.Errorf("%v\n%s", err, out)
		}
	}
	machines := map[string]elf.Machine{"x86_64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64}
	found, err := filepath.Glob(filepath.Join(first, "*.tar.gz"))
	if err != nil || len(found) != 2 {
		t.Fatalf("archives: %v, %v", found, err)
	}
	for _, path := range found {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		again, err := os.ReadFile(filepath.Join(second, filepath.Base(path)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, again) {
			t.Errorf("%s: built twice, it has other bytes", filepath.Base(path))
		}
		var want elf.Machine
		for name, m := range machines {
			if strings.Contains(filepath.Base(path), name) {
				want = m
			}
		}
		programs := checkArchive(t, data, want)
		if strings.Join(programs, " ") != "cargo-size-report leanlink" {
			t.Errorf("%s has the programs %v", filepath.Base(path), programs)
		}
	}
}

// checkArchive checks that the programs of an archive are static and for a
// machine, and returns their names.
func checkArchive(t *testing.T, data []byte, want elf.Machine) []string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var programs []string
	for a := tar.NewReader(z); ; {
		h, err := a.Next()
		if errors.Is(err, io.EOF) {
			return programs
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s belongs to %d %q", h.Name, h.Uid, h.Uname)
		}
		if h.Typeflag != tar.TypeReg || h.Mode&0o111 == 0 {
			continue
		}
		body, err := io.ReadAll(a)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(body))
		if err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
		if f.Machine != want || f.Section(".interp") != nil {
			t.Errorf("%s is for %v, with an interpreter: %v", h.Name, f.Machine, f.Section(".interp") != nil)
		}
		programs = append(programs, filepath.Base(h.Name))
		if want == elf.EM_X86_64 && runtime.GOARCH == "amd64" {
			path := filepath.Join(t.TempDir(), filepath.Base(h.Name))
			if err := os.WriteFile(path, body, 0o755); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(path, "version").CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), filepath.Base(h.Name)+" ") {
				t.Errorf("%s version: %v: %s", h.Name, err, out)
			}
		}
	}
}
