package linker

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAvailableMemory(t *testing.T) {
	const meminfo = "MemTotal:        8000000 kB\nMemFree:          100000 kB\nMemAvailable:    4000000 kB\nHugePages_Total:       0\n"
	const machine = 4000000 << 10
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  uint64
		known bool
	}{
		{"nothing is said", nil, 0, false},
		{"an old system", map[string]string{"proc/meminfo": "MemTotal: 8000000 kB\n"}, 0, false},
		{"no groups", map[string]string{"proc/meminfo": meminfo}, machine, true},
		{"no limit", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n",
			"sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/a/memory.current": "100\n"}, machine, true},
		{"a limit", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n",
			"sys/fs/cgroup/a/memory.max": "1000000\n", "sys/fs/cgroup/a/memory.current": "400000\n"}, 600000, true},
		{"a limit around the group", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b/c\n",
			"sys/fs/cgroup/a/memory.max": "1000000\n", "sys/fs/cgroup/a/memory.current": "400000\n",
			"sys/fs/cgroup/a/b/c/memory.max": "9000000\n", "sys/fs/cgroup/a/b/c/memory.current": "0\n"}, 600000, true},
		{"more is used than allowed", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n",
			"sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/memory.current": "2000\n"}, 0, true},
		{"a container", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/docker/0123\n",
			"sys/fs/cgroup/memory.max": "1000000\n", "sys/fs/cgroup/memory.current": "1\n"}, 999999, true},
		{"the first version", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/a\n1:name=systemd:/y\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000000\n", "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "10\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "10\n"}, 999990, true},
		{"a path that leads out", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/../../a\n",
			"sys/fs/cgroup/memory.max": "5000\n", "sys/fs/cgroup/memory.current": "0\n"}, 5000, true},
	} {
		root := t.TempDir()
		for name, text := range tt.files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, known := availableMemory(root); got != tt.want || known != tt.known {
			t.Errorf("%s: %d, %v, want %d, %v", tt.name, got, known, tt.want, tt.known)
		}
	}
}
