package examples

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var savings = flag.String("savings", "", "opt-levels at which to measure all programs, such as s,z")

// TestSavings makes the table of docs/firmware.md: the bytes that go into flash, summed over the programs at the
// opt-levels of -savings, without LTO beyond a crate and with all of it, for each linker plain, with its own folding and
// with leanlink's. All of them run.
//
//	go test ./examples -run TestSavings -savings s,z -v -timeout 120m
func TestSavings(t *testing.T) {
	if *savings == "" {
		t.Skip("-savings names no opt-levels")
	}
	leanlink := os.Getenv("LEANLINK_BIN")
	if leanlink == "" {
		missing(t, "LEANLINK_BIN names no leanlink")
	}
	table := []string{"| linker, LTO | links | plain | --icf=all | icf + data | safe | all |", "|---|---|---|---|---|---|---|"}
	for _, lto := range []string{"false", "fat"} {
		var lld, gnu sums
		for opt := range strings.SplitSeq(*savings, ",") {
			for _, f := range firmwares {
				if f.target != "" || f.flags != "" {
					continue // the same program again
				}
				t.Run(strings.Join([]string{f.dir, opt, lto}, "/"), func(t *testing.T) {
					config := readConfig(t, f.dir)
					f.require(t, config)
					m := measurement{f, config, compile(t, build{dir: f.dir, target: config.target, opt: opt, lto: lto})}
					for _, w := range f.linkers(t) {
						s := &lld
						if w.name != "rust-lld" && w.name != f.gnu {
							continue
						}
						if w.name == f.gnu {
							s = &gnu
						} else {
							s.icf += m.link(t, w.path, "--icf=all")
							s.icfData += m.link(t, w.path, "--icf=all", "--ignore-data-address-equality")
						}
						s.links++
						plain := m.link(t, w.path)
						safe := m.fold(t, leanlink, w, "safe")
						all := m.fold(t, leanlink, w, "all")
						t.Logf("%s: %d plain, %d safe, %d all", w.name, plain, safe, all)
						s.plain, s.safe, s.all = s.plain+plain, s.safe+safe, s.all+all
					}
				})
			}
		}
		table = append(table, lld.row("rust-lld, "+lto, true), gnu.row("GNU ld, "+lto, false))
		if want := (lld.plain - lld.icf) * 3 / 2; lto == "false" && lld.plain-lld.safe < want {
			t.Errorf("safe saves %d bytes, --icf=all %d", lld.plain-lld.safe, lld.plain-lld.icf)
		}
		if gnu.plain <= gnu.safe {
			t.Errorf("with GNU ld %d bytes, %d plain", gnu.safe, gnu.plain)
		}
	}
	t.Log("\n" + strings.Join(table, "\n"))
}

// sums are the bytes of several links.
type sums struct {
	links                          int
	plain, icf, icfData, safe, all uint64
}

// row writes them as one row of a table.
func (s sums) row(name string, icf bool) string {
	saved := func(n uint64) string { return fmt.Sprintf("−%d", s.plain-n) }
	cells := []string{name, fmt.Sprint(s.links), fmt.Sprint(s.plain), "–", "–", saved(s.safe), saved(s.all)}
	if icf {
		cells[3], cells[4] = saved(s.icf), saved(s.icfData)
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// measurement is one firmware's link, to be measured.
type measurement struct {
	firmware
	config config
	kept   keptLink
}

// link is the size when linked without leanlink.
func (m measurement) link(t *testing.T, linker string, flags ...string) uint64 {
	t.Helper()
	w := way{name: filepath.Base(linker), path: linker}
	out := filepath.Join(t.TempDir(), m.dir)
	m.kept.run(t, out, linker, slices.Concat(m.args(m.kept, w, false), flags))
	return flash(t, out)
}

// fold is the size when linked by leanlink, whose output must run.
func (m measurement) fold(t *testing.T, leanlink string, w way, mode string) uint64 {
	t.Helper()
	out := filepath.Join(t.TempDir(), m.dir)
	m.kept.run(t, out, leanlink, m.args(m.kept, w, true), "LEANLINK_REAL_LINKER="+w.path, "LEANLINK_FOLD="+mode)
	m.run(t, m.config.runner, out, "success", 0, false)
	return flash(t, out)
}
