package linker

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// maxUnknown is the most that new objects may take of memory where it is not
// to be seen how much of it there is, bytes.
const maxUnknown = 256 << 20

// inMemory reports whether a folder is a link to one in memory that has ample
// room: four times as much in the file system, eight times as much in the
// machine and in the groups of processes (cgroups) that this one belongs to.
// What lies there no other program can use.
func inMemory(dir string, size uint64) bool {
	var fs syscall.Statfs_t
	target, err := os.Readlink(dir)
	if err != nil || syscall.Statfs(target, &fs) != nil || size > fs.Bavail*uint64(fs.Bsize)/4 {
		return false
	}
	available, known := availableMemory("/")
	if !known {
		return size <= maxUnknown
	}
	return size <= available/8
}

// availableMemory is how many bytes programs can still have without others
// having to give some back. known is false if the system does not say.
func availableMemory(root string) (n uint64, known bool) {
	info, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemAvailable:" {
			kilobytes, err := strconv.ParseUint(f[1], 10, 53)
			n, known = kilobytes<<10, err == nil
		}
	}
	if !known {
		return 0, false
	}
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return n, true // there are none
	}
	for lines := bufio.NewScanner(bytes.NewReader(groups)); lines.Scan(); {
		// ID:CONTROLLERS:PATH; the second version of cgroups has no controllers here.
		f := strings.SplitN(lines.Text(), ":", 3)
		if len(f) != 3 {
			continue
		}
		switch {
		case f[1] == "":
			n = min(n, leftInGroups(filepath.Join(root, "sys/fs/cgroup"), f[2], "memory.max", "memory.current"))
		case strings.Contains(","+f[1]+",", ",memory,"):
			n = min(n, leftInGroups(filepath.Join(root, "sys/fs/cgroup/memory"), f[2], "memory.limit_in_bytes", "memory.usage_in_bytes"))
		}
	}
	return n, true
}

// leftInGroups is what a group and those around it leave of their limits. In a
// container the path may be one that only its host knows; the group at the top
// is then the container's.
func leftInGroups(top, path, limit, usage string) uint64 {
	left := ^uint64(0)
	number := func(dir, name string) (uint64, bool) {
		b, err := os.ReadFile(filepath.Join(top, dir, name))
		if err != nil {
			return 0, false
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64) // or max
		return n, err == nil
	}
	for dir := filepath.Clean("/" + path); ; dir = filepath.Dir(dir) {
		if most, ok := number(dir, limit); ok {
			if used, ok := number(dir, usage); ok {
				left = min(left, most-min(used, most))
			}
		}
		if dir == "/" {
			return left
		}
	}
}
