package examples

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"leanlink/linker/e2e/icf"
	"leanlink/report"
)

// TestFoldsOfLLD holds each firmware against the folding of rust-lld, of code and of code and data: leanlink's output is
// no larger in either mode, but for what lld makes one and leanlink must not. That is itemised: each such pair has one
// of the reasons of icf.WhyApart, and the bytes of the pairs with a reason are all that leanlink's output may have more.
func TestFoldsOfLLD(t *testing.T) {
	if testing.Short() {
		t.Skip("builds firmware")
	}
	leanlink := os.Getenv("LEANLINK_BIN")
	if leanlink == "" {
		missing(t, "LEANLINK_BIN names no leanlink")
	}
	for _, f := range firmwares {
		config := readConfig(t, f.dir)
		config.target = cmp.Or(f.target, config.target)
		t.Run(f.name(config), func(t *testing.T) {
			f.require(t, config)
			link := compile(t, build{dir: f.dir, target: config.target, flags: f.flags})
			link.holdAgainstLLD(t, leanlink)
		})
	}
}

// holdAgainstLLD holds the folding of one link against lld's.
func (link keptLink) holdAgainstLLD(t *testing.T, leanlink string) {
	for _, bold := range [][]string{{"--icf=all"}, {"--icf=all", "--ignore-data-address-equality"}} {
		dir := t.TempDir()
		out := filepath.Join(dir, "lld")
		printed := link.run(t, out, "rust-lld", slices.Concat(link.args, bold, []string{"--print-icf-sections"}))
		theirs := flash(t, out)
		for _, mode := range []string{"safe", "all"} {
			out := filepath.Join(dir, mode)
			link.run(t, out, leanlink, link.args, "LEANLINK_FOLD="+mode)
			r, err := report.ReadFile(out + report.Suffix)
			if err != nil {
				t.Fatal(err)
			}
			pairs, same := 0, 0
			excused := map[string]uint64{} // bytes, by reason
			icf.EachPair(r, printed, func(stays, goes report.SectionIndex) {
				pairs++
				if icf.Same(r, stays, goes) {
					same++
					return
				}
				s := &r.Sections[goes]
				why := icf.WhyApart(r, stays, goes, mode)
				if why == "" {
					t.Errorf("%v folds %s into %s, and fold = %q does not, without a reason", bold, describe(r, goes), describe(r, stays), mode)
					return
				}
				excused[why] += roundUp(s.Size, max(s.Align, 1)) + s.FDE
			})
			sum := uint64(0)
			for _, n := range excused {
				sum += n
			}
			ours := flash(t, out)
			t.Logf("%v %s: %d bytes, %s %d; %d of its %d folds made; for the others %s", bold, mode, theirs, mode, ours, same, pairs, itemised(excused))
			const ends = 16 // bytes: the padding between output sections, whatever is in them
			if ours > theirs+sum+ends {
				t.Errorf("fold = %q: %d bytes, %v has %d, and %d bytes of its folds are not to be made", mode, ours, bold, theirs, sum)
			}
		}
	}
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

// itemised lists bytes by reason.
func itemised(bytes map[string]uint64) string {
	text := ""
	for _, why := range slices.Sorted(maps.Keys(bytes)) {
		text += fmt.Sprintf("; %d: %s", bytes[why], why)
	}
	if text == "" {
		return "none"
	}
	return text[2:]
}

// describe names a section for people.
func describe(r *report.Report, i report.SectionIndex) string {
	s := &r.Sections[i]
	in := &r.Inputs[s.Input]
	return fmt.Sprintf("%s(%s):%s [%d bytes, fate %v, class %d, %s]", filepath.Base(in.Path), in.Member, s.Name, s.Size, s.Fate, s.Class, s.Reason)
}
