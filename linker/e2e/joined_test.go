package e2e

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// joined: with each linker, what leanlink joins of a case's debug information is
// what the linker makes of it, and a program does the same with either.
func cmdJoined(ts *testscript.TestScript, neg bool, args []string) {
	fs := flag.NewFlagSet("joined", flag.ContinueOnError)
	linkers := fs.String("linkers", envOr("LEANLINK_E2E_LINKERS", "lld,bfd,gold,mold"), "")
	flags := fs.String("flags", "", "")
	left := fs.Bool("left", false, "")
	noRun := fs.Bool("norun", false, "")
	ts.Check(fs.Parse(args))
	if neg || fs.NArg() == 0 {
		ts.Fatalf("usage: joined [OPTION…] NAME…")
	}
	l := linking{ts: ts, flags: list(*flags)}
	for _, linker := range list(*linkers) {
		if ok, err := have("linker:" + linker); err != nil {
			ts.Fatalf("%v", err)
		} else if !ok {
			ts.Logf("skipped: linker %s is missing", linker)
			continue
		}
		for _, name := range fs.Args() {
			by := map[string]string{}
			for _, who := range []string{"link", "join"} {
				by[who] = ts.MkAbs(name + "." + linker + "." + who)
				timings := ts.MkAbs("timings")
				os.Remove(timings)
				l.link(tools.leanlink, name, linker, by[who], "LEANLINK_FOLD=safe", "LEANLINK_REPORT=off", "LEANLINK_DEBUG_INFO="+who, "LEANLINK_TIMINGS="+timings)
				text, err := os.ReadFile(timings)
				ts.Check(err)
				if did, should := strings.Contains(string(text), "worker\tjoin\t"), who == "join" && !*left; did != should {
					ts.Fatalf("%s: leanlink has joined debug information: %v, want %v", by[who], did, should)
				}
			}
			if *left {
				ts.Check(sameFiles(by["link"], by["join"]))
				continue
			}
			if !*noRun {
				if want, got := l.run(by["link"]), l.run(by["join"]); got != want {
					ts.Fatalf("%s behaves otherwise than %s: %v\n=== %v", by["join"], by["link"], got, want)
				}
			}
			d := dwarfComparison{addends: linker == "gold" || linker == "mold" || linker == "bfd", suffixes: linker == "bfd"}
			ts.Check(d.compare(ts, by["link"], by["join"]))
		}
	}
}

// dwarfsame: files GLOB.join have the debug information of GLOB.link. GNU ld
// writes a string that is the end of another only once.
func cmdDwarfSame(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: dwarfsame GLOB")
	}
	for _, path := range glob(ts, args[0]+".join") {
		d := dwarfComparison{suffixes: strings.Contains(path, "gnu")}
		ts.Check(d.compare(ts, strings.TrimSuffix(path, ".join")+".link", path))
	}
}

// dwarfComparison says in what two outputs' debug information may differ,
// besides the places of strings.
type dwarfComparison struct {
	// addends: the linker makes of the address of what is not in the output the
	// mere addend, where leanlink has 0 or, in lists, 1. The outputs have nothing
	// at such low addresses.
	addends bool
	// suffixes: it is GNU ld. Of a string that is the end of another it makes the
	// other's end, and in .debug_loc it has 0 for what is gone.
	suffixes bool
}

// dwarfSections are the sections of an output as llvm-dwarfdump prints them.
type dwarfSections map[string][]string

var (
	dwarfSection = regexp.MustCompile(`^(\.[a-z_.]+) contents:$`)
	// A string's place, where it is printed beside the string or instead of it.
	stringPlace = regexp.MustCompile(`\.debug_(line_)?str\[0x[0-9a-f]+\]`)
	stringSlot  = regexp.MustCompile(`^(0x[0-9a-f]+: )[0-9a-f]{8,16} "`)
	namePlace   = regexp.MustCompile(`String: 0x[0-9a-f]+`)
	offset      = regexp.MustCompile(`^0x[0-9a-f]+: `)
	// Addresses below a megabyte.
	low = regexp.MustCompile(`\b(?:0x)?0{11}[0-9a-f]{5}\b|DW_OP_addr 0x[0-9a-f]{1,5}\b`)
	// lld puts a 1 for what is gone into expressions of .debug_loc, too.
	goneInList = regexp.MustCompile(`DW_OP_addr 0x[01]\b`)
	goneEntry  = regexp.MustCompile(`^\[(?:0x0+[01]|gone), (?:0x0+[01]|gone)\)`)
)

func (d dwarfComparison) read(ts *testscript.TestScript, path string) dwarfSections {
	tool, ok := toolPath("llvm-dwarfdump")
	if !ok {
		ts.Fatalf("llvm-dwarfdump is missing")
	}
	o, err := run(ts.MkAbs("."), scriptEnv(ts), tool, "--all", path)
	ts.Check(err)
	all, name := dwarfSections{}, ""
	for line := range strings.SplitSeq(o.stdout, "\n") {
		if m := dwarfSection.FindStringSubmatch(line); m != nil {
			name = m[1]
			continue
		}
		line = strings.TrimSpace(line)
		if name == "" || line == "" {
			continue
		}
		if line = d.place(name, line); line != "" {
			all[name] = append(all[name], line)
		}
	}
	for _, name := range []string{".debug_str", ".debug_line_str"} {
		slices.Sort(all[name])
	}
	if len(all[".debug_info"]) < 20 || len(all[".debug_line"]) < 10 {
		ts.Fatalf("%s: hardly any debug information: %d lines", path, len(all[".debug_info"]))
	}
	return all
}

// place takes out of a line of a section what may differ; "" is a line that may
// be missing.
func (d dwarfComparison) place(section, line string) string {
	switch section {
	case ".debug_str", ".debug_line_str":
		return offset.ReplaceAllString(line, "")
	case ".debug_str_offsets":
		return stringSlot.ReplaceAllString(line, `$1"`)
	case ".debug_names":
		return namePlace.ReplaceAllString(line, "String:")
	}
	if strings.Contains(line, "str[") {
		line = stringPlace.ReplaceAllString(line, "")
	}
	if strings.Contains(line, "DW_OP_addr") {
		line = goneInList.ReplaceAllString(line, "DW_OP_addr gone")
	}
	if d.addends && (strings.Contains(line, "00000000000") || strings.Contains(line, "DW_OP_addr")) {
		line = low.ReplaceAllString(line, "gone")
	}
	if line[0] == '[' && goneEntry.MatchString(line) {
		return "" // an entry of two zeros ends a list, so the linker's may be shorter
	}
	return strings.TrimRight(line, ": )")
}

func (d dwarfComparison) compare(ts *testscript.TestScript, linked, joined string) error {
	want, got := d.read(ts, linked), d.read(ts, joined)
	for name := range got {
		if _, ok := want[name]; !ok {
			return fmt.Errorf("%s: %s is none of %s", joined, name, linked)
		}
	}
	for name, lines := range want {
		if (d.addends || d.suffixes) && (name == ".debug_loc" || name == ".debug_ranges" || name == ".debug_loclists" || name == ".debug_rnglists") {
			continue // .debug_info shows the lists
		}
		if d.suffixes && (name == ".debug_str" || name == ".debug_line_str") {
			if err := sameBut(lines, got[name]); err != nil {
				return fmt.Errorf("%s: %s: %w", joined, name, err)
			}
			continue
		}
		for k := range max(len(lines), len(got[name])) {
			if k >= len(lines) || k >= len(got[name]) || lines[k] != got[name][k] {
				near := func(all []string) string {
					return strings.Join(all[min(max(k-3, 0), len(all)):min(k+2, len(all))], "\n\t")
				}
				return fmt.Errorf("%s: %s: line %d of %d: %s\nthe linker has, of %d:\n\t%s", joined, name, k, len(got[name]), near(got[name]), len(lines), near(lines))
			}
		}
	}
	return nil
}

// sameBut says in what two sorted lists of strings differ, but for those that
// are ends of others, which the first need not have.
func sameBut(linked, joined []string) error {
	reversed := func(list []string) (ends []string) {
		for _, s := range list {
			b := []byte(strings.Trim(s, `"`))
			slices.Reverse(b)
			ends = append(ends, string(b))
		}
		slices.SortFunc(ends, cmp.Compare[string])
		return ends
	}
	want, got := reversed(linked), reversed(joined)
	for _, s := range want {
		if _, ok := slices.BinarySearch(got, s); !ok {
			return fmt.Errorf("the string %q (read backwards) is missing", s)
		}
	}
	for _, s := range got {
		if k, _ := slices.BinarySearch(want, s); k == len(want) || !strings.HasPrefix(want[k], s) {
			return fmt.Errorf("the string %q (read backwards) is one too many", s)
		}
	}
	return nil
}
