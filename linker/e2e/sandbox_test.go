package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// inNamespace runs a shell script with mounts of its own, which end with it,
// and perhaps without a network. Who is not root becomes it there, where the
// system allows that; where it does not, the test is skipped.
func inNamespace(t *testing.T, dir, script string, flags uintptr, env ...string) {
	t.Helper()
	path := filepath.Join(dir, "script.sh")
	if err := os.WriteFile(path, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", path)
	cmd.Dir = dir
	cmd.Env = environ(append([]string{"LEANLINK=" + tools.leanlink, "LLD=" + tools.lld19, "LEANLINK_FOLD=safe", "LC_ALL=C"}, env...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | flags}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if errors.Is(err, syscall.EPERM) || strings.Contains(out.String(), "permission denied") {
		t.Skipf("not allowed to mount here: %v %s", err, out.String())
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
}

// An action in a sandbox: all inputs and programs are read-only, and there is
// no home, no /proc, no network and no variable but the tools' own. The output
// is byte for byte that of the link outside.
func TestSandbox(t *testing.T) {
	need(t, "tool:gcc", "linker:lld-19")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.c"), []byte(foldingMain), 0o644); err != nil {
		t.Fatal(err)
	}
	inNamespace(t, dir, `
gcc -g -O1 -ffunction-sections -c main.c || exit 1
mkdir out readonly tmp
link() { "$@" -B"$LLD" -fuse-ld=lld -o out/prog main.o -Wl,--gc-sections -nodefaultlibs -lc -lgcc; }
link env TMPDIR="$PWD/tmp" "$LEANLINK" || exit 1
cp out/prog folded
cp out/prog.leanlink.json.gz report.gz
rm out/*
link gcc && cmp -s out/prog folded && { echo nothing was folded; exit 1; }
cp out/prog plain

mount --make-rprivate / &&
mount -t tmpfs tmpfs out &&
mount -t tmpfs -o ro tmpfs readonly &&
mount -t tmpfs -o ro tmpfs /proc || exit 1
mkdir out/tmp
for m in / /tmp "$PWD"; do mount -o remount,bind,ro "$m" 2>/dev/null; done
touch main.o 2>/dev/null && { echo the inputs can be written; exit 1; }
link env -i PATH="$PATH" TMPDIR="$PWD/out/tmp" LEANLINK_FOLD=safe "$LEANLINK" >out/said 2>&1 || { cat out/said; exit 1; }
[ ! -s out/said ] || { cat out/said; exit 1; }
cmp out/prog folded || exit 1
[ "$(cd out && echo * tmp/*)" = 'prog prog.leanlink.json.gz said tmp tmp/*' ] || { ls -AR out; exit 1; }
cmp out/prog.leanlink.json.gz report.gz || exit 1
zcat out/prog.leanlink.json.gz | grep -c "leanlink-[0-9]" && { echo a temporary folder in the report; exit 1; }

# Nowhere to write: the plain link, and a line.
link env -i PATH="$PATH" TMPDIR="$PWD/readonly" LEANLINK_FOLD=safe LEANLINK_REAL_LINKER="$PWD/out/cc" "$LEANLINK" 2>/dev/null && { echo a linker that is not there; exit 1; }
printf '#!/bin/sh\nTMPDIR=%s/out/tmp exec gcc "$@"\n' "$PWD" >out/cc && chmod 755 out/cc
link env -i PATH="$PATH" TMPDIR="$PWD/readonly" LEANLINK_FOLD=safe LEANLINK_REAL_LINKER="$PWD/out/cc" "$LEANLINK" >out/said 2>&1 || { cat out/said; exit 1; }
grep -q '^leanlink: warning: no temporary folder: .*read-only file system; linking the original inputs$' out/said || { cat out/said; exit 1; }
cmp out/prog plain || exit 1

# A read-only target folder: word for word what the real linker says of it.
cd out
for l in gcc "$LEANLINK"; do
	env -i PATH="$PATH" TMPDIR="$PWD/tmp" LEANLINK_FOLD=safe "$l" -B"$LLD" -fuse-ld=lld -o ../readonly/prog ../main.o -Wl,--gc-sections -nodefaultlibs -lc -lgcc >"said$(basename $l)" 2>&1 && { echo linked; exit 1; }
done
cmp saidgcc saidleanlink || { cat saidleanlink; exit 1; }
grep -q Read-only saidgcc
`, syscall.CLONE_NEWNET)
}
