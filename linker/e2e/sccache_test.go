package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sccacheStats is what matters of sccache --show-stats.
type sccacheStats struct {
	Requests     int `json:"compile_requests"`
	Executed     int `json:"requests_executed"`
	NotCacheable int `json:"requests_not_cacheable"`
	Hits         struct {
		Counts map[string]int
	} `json:"cache_hits"`
	Misses struct {
		Counts map[string]int
	} `json:"cache_misses"`
	NotCached map[string]int `json:"not_cached"`
}

// TestSccache builds a crate twice under RUSTC_WRAPPER=sccache, the second time
// into another folder, and compares what sccache counts with cc and with
// leanlink as the linker: the same hits.
func TestSccache(t *testing.T) {
	if wanted := os.Getenv("LEANLINK_E2E_SUITES"); wanted != "all" && wanted != "sccache" {
		t.Skip("only with LEANLINK_E2E_SUITES=all or sccache")
	}
	need(t, "tool:sccache")
	var s *suite
	for _, other := range readSuites(t) {
		if other.Name == "thiserror" { // dependencies, build scripts, a procedural macro
			s = &other
		}
	}
	c := newCrate(t, s.Name, s.Version, "-sccache")
	if err := s.settle(c); err != nil {
		t.Fatal(err)
	}
	count := func(linker string, env ...string) (cold, warm sccacheStats) {
		t.Helper()
		dir := t.TempDir()
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("SCCACHE_DIR", filepath.Join(dir, "cache"))
		t.Setenv("SCCACHE_SERVER_PORT", fmt.Sprint(port))
		if o, err := run(dir, os.Environ(), "sccache", "--start-server"); err != nil || o.status != 0 {
			t.Fatalf("sccache: %v %v", err, o)
		}
		defer run(dir, os.Environ(), "sccache", "--stop-server")
		for i, stats := range []*sccacheStats{&cold, &warm} {
			env := append([]string{"RUSTC_WRAPPER=sccache", "CARGO_INCREMENTAL=0"}, env...)
			if out, err := c.cargo(linker, filepath.Join(dir, fmt.Sprint(i)), env, "build"); err != nil {
				t.Fatalf("%v\n%s", err, tail(out, 4000))
			}
			o, err := run(dir, os.Environ(), "sccache", "--show-stats", "--stats-format=json")
			if err != nil || o.status != 0 {
				t.Fatalf("sccache: %v %v", err, o)
			}
			all := struct{ Stats *sccacheStats }{stats}
			if err := json.Unmarshal([]byte(o.stdout), &all); err != nil {
				t.Fatal(err)
			}
		}
		return cold, warm
	}
	plainCold, plainWarm := count("cc")
	cold, warm := count(tools.leanlink, "LEANLINK_HOST=true", "LEANLINK_FOLD=all", "LEANLINK_VERIFY=true")
	if diff := cmp.Diff(plainCold, cold) + cmp.Diff(plainWarm, warm); diff != "" {
		t.Errorf("sccache counts otherwise with leanlink (-cc +leanlink):\n%s", diff)
	}
	misses, hits := plainCold.Misses.Counts["Rust"], plainWarm.Hits.Counts["Rust"]
	if plainCold.Hits.Counts["Rust"] != 0 || hits == 0 {
		t.Errorf("cc: %d misses at first, then %d hits: nothing to compare", misses, hits)
	}
	// What is compiled with a build script's folder in its environment misses.
	t.Logf("with cc and with leanlink: of %d calls of rustc %d can be cached, %d miss at first, %d hit in another folder",
		plainCold.Requests, plainCold.Executed, misses, hits)
}

// freePort finds a port that nothing listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
