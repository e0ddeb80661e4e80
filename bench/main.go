// Command bench times links: those of real programs, kept as leanlink keeps
// them (save = …) and replayed without a compiler, and made-up ones of any
// number of functions. Each is linked plain, with the linker's own folding and
// by leanlink on top, in turns; what it prints are medians, and ratios of pairs
// of neighbouring runs.
//
//	go run ./bench                      every case, some minutes once they are built
//	go run ./bench -case hello -runs 1  one of them
//
// The programs are built once, from crates.io, into the cache folder.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

// options are what the command line asks for.
type options struct {
	cases   []string // by name; empty for all
	linkers []string
	runs    int    // of each configuration
	cache   string // folder for built programs and saved links
	program string // leanlink; "" to build it
	// profiles is a folder for profiles of leanlink's workers, "" for none.
	profiles string
	log      io.Writer
}

func run(args []string, stdout, stderr io.Writer) error {
	o := options{log: stderr}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	names := flags.String("case", "", "cases to measure, separated by commas (default all: "+strings.Join(caseNames(), ",")+")")
	linkers := flags.String("linker", "lld,mold,gold,bfd", "linkers to measure")
	flags.IntVar(&o.runs, "runs", 11, "how often each link is made; the large ones are made less often")
	flags.StringVar(&o.cache, "cache", "", "folder for what is built (default in the user's cache folder)")
	flags.StringVar(&o.program, "leanlink", "", "the leanlink to measure (default built from this source)")
	flags.StringVar(&o.profiles, "pprof", "", "folder for profiles of each of leanlink's links, of which the head is printed; profiling takes time itself")
	short := flags.Bool("short", false, "three runs of each, and no link that takes minutes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	o.linkers = strings.Split(*linkers, ",")
	if *names != "" {
		o.cases = strings.Split(*names, ",")
	}
	if *short {
		o.runs = min(o.runs, 3)
	}
	for _, name := range o.cases {
		if !slices.Contains(caseNames(), name) {
			return fmt.Errorf("no case %q; there are %s", name, strings.Join(caseNames(), ", "))
		}
	}
	if o.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		o.cache = filepath.Join(dir, "leanlink", "bench")
	}
	if o.profiles != "" {
		var err error
		if o.profiles, err = filepath.Abs(o.profiles); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(o.cache, 0o777); err != nil {
		return err
	}
	work, err := os.MkdirTemp(o.cache, "run-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if o.program == "" {
		o.program = filepath.Join(work, "leanlink")
		if err := command(o.log, "", nil, "go", "build", "-o", o.program, "leanlink/linker/leanlink"); err != nil {
			return err
		}
	} else if o.program, err = filepath.Abs(o.program); err != nil {
		return err
	}

	if err := passThrough(o, work, stdout); err != nil {
		return err
	}
	for i := range cases {
		c := &cases[i]
		if len(o.cases) > 0 && !slices.Contains(o.cases, c.name) || *short && c.slow && len(o.cases) == 0 {
			continue
		}
		fmt.Fprintf(o.log, "%s: building\n", c.name)
		dir, err := c.build(o, work)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		l, err := openLink(dir, c, o)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if err := l.measure(o, work, stdout); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}
