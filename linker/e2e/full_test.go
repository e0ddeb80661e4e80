package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// A disk that is full, at every page and at every file: file systems in memory,
// each one page or one file larger than the last, hold either what leanlink
// writes or the output. The link does as well as without leanlink, nothing is
// left behind, and no output or report is half a one.
func TestDiskFull(t *testing.T) {
	need(t, "tool:gcc", "linker:lld-19")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.c"), []byte(foldingMain), 0o644); err != nil {
		t.Fatal(err)
	}
	inNamespace(t, dir, fullScript, 0, "HOME="+dir, "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
}

// foldingMain has functions that fold, and debug information for some length.
const foldingMain = `#include <stdio.h>
__attribute__((noinline, noipa)) int one(int x) { return x * x - 2; }
__attribute__((noinline, noipa)) int two(int x) { return x * x - 2; }
int main(void) { return printf("one %d two %d\n", one(3), two(3)) < 0; }
`

const fullScript = `
gcc -g -O1 -ffunction-sections -c main.c || exit 1
mkdir disk tmp
# The driver's own temporary files are not what is looked at.
printf '#!/bin/sh\nTMPDIR=%s/tmp exec gcc "$@"\n' "$PWD" >cc
chmod 755 cc
export LEANLINK_REAL_LINKER=$PWD/cc
# lld, since GNU ld says nothing of an output that the disk had no room for.
link() { "$@" -B"$LLD" -fuse-ld=lld -o "$out" main.o -Wl,--gc-sections -nodefaultlibs -lc -lgcc; }
bad() { echo "$where: $*"; cat said; touch failed; }
out=plain; link ./cc || exit 1
out=folded; link "$LEANLINK" || exit 1
cmp -s plain folded && { echo nothing was folded; exit 1; }
mount --make-rprivate / 2>/dev/null

# Where leanlink works.
work() { # an option of the mount, whether the output is checked
	where="work folder, $1${2:+, verify}"
	mount -t tmpfs -o "$1" tmpfs disk || exit 1
	out=out; rm -f out out.*
	TMPDIR=$PWD/disk LEANLINK_VERIFY=${2:-false} link "$LEANLINK" >said 2>&1
	status=$?
	[ $status = 0 ] || [ -n "$2" ] || bad "exit status $status"
	[ $status = 0 ] || grep -q '^leanlink: error: the output could not be checked' said || bad 'wrong words'
	[ $status = 0 ] || [ ! -e out ] || bad 'an output that was not checked'
	[ $status != 0 ] || cmp -s out plain || cmp -s out folded || bad 'another output'
	[ "$(wc -l <said)" -le 1 ] || bad 'many words'
	[ ! -s said ] || grep -q '^leanlink: .*\(No space\|no space\|cannot\|file too large\)' said || bad 'wrong words'
	[ ! -e out.leanlink.json.gz ] || gzip -t out.leanlink.json.gz || bad 'half a report'
	[ -s said ] || cmp -s out folded || bad 'not folded, and not a word'
	[ -z "$(ls -A disk)" ] || bad "left $(ls -AR disk)"
	[ -z "$(ls -A cache 2>/dev/null)" ] || bad 'a full disk is no bug to be saved'
	umount disk
	[ -s said ] && full=$((full + 1)) || whole=$((whole + 1))
}

# Where the output goes.
output() {
	where="output folder, $1"
	mount -t tmpfs -o "$1" tmpfs disk || exit 1
	out=disk/out; link ./cc >said.plain 2>&1; want=$?
	umount disk
	mount -t tmpfs -o "$1" tmpfs disk || exit 1
	TMPDIR=$PWD/tmp link "$LEANLINK" >said 2>&1
	status=$?
	[ $want != 0 ] || [ $status = 0 ] || bad "exit status $status"
	[ $status != 0 ] || cmp -s disk/out plain || cmp -s disk/out folded || bad 'another output'
	[ $status = 0 ] || [ $status = $want ] || bad "exit status $status and not $want"
	# lld dies of the bus error that its mapped output gives, with a stack that differs from run to run.
	[ $status = 0 ] || [ "$(grep error: said)" = "$(grep error: said.plain)" ] || bad "other words than $(cat said.plain)"
	report=disk/out.leanlink.json.gz
	[ ! -e $report ] || [ $status = 0 ] || bad 'a report of nothing'
	[ ! -e $report ] || gzip -t $report || bad 'half a report'
	[ $status != 0 ] || [ -e $report ] || grep -q '^leanlink: warning: the report could not be written: ' said || bad 'no report, and not a word'
	case $(cd disk && echo *) in
	'*' | out | 'out out.leanlink.json.gz') ;;
	*) bad "left $(ls -A disk)" ;;
	esac
	[ -z "$(ls -A tmp)" ] || bad "left $(ls -AR tmp)"
	umount disk
	[ -e "$report" ] || [ $status != 0 ] || [ -s said ] && full=$((full + 1)) || whole=$((whole + 1))
}

sweep() { # what, the greatest number of pages or files, the option of the mount, verify
	what=$1 i=1; full=0 whole=0
	while [ $i -le $2 ]; do
		case $3 in
		pages) $what "size=$((i * 4))k,nr_inodes=0" $4 ;;
		files) $what "nr_inodes=$i" $4 ;;
		esac
		i=$((i + 1))
	done
	echo "$what ${4:+with the check }on 1 to $2 $3: $full times full, $whole times not"
	[ $full -gt 0 ] && [ $whole -gt 0 ] || { echo 'the bounds do not show a full disk'; touch failed; }
}
sweep work 14 pages
sweep work 14 pages true
sweep work 14 files
sweep work 16 files true
sweep output 8 pages
sweep output 4 files
[ ! -e failed ]
`
