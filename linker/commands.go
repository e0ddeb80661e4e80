package linker

import (
	"fmt"
	"io"
	"runtime"

	"leanlink/report"
)

// Version is leanlink's version.
const Version = "0.1.0"

// Commands are the words that make leanlink something else than a linker when
// one of them is the first argument. A linker's first argument is an option
// or an object file with a dot or a slash in its name, so none is ever meant
// for the real linker; --help and --version are, and go there. Each command
// gets the arguments after its name and returns the exit status.
var Commands = map[string]func(args []string, stdout, stderr io.Writer) int{
	"demo":      Demo,
	"help":      help,
	"symbolize": report.Symbolize,
	"verify":    VerifyCase,
	"version":   version,
}

const usage = `leanlink makes Rust programs smaller while they are linked.

Name it as the linker in .cargo/config.toml:

    [target.x86_64-unknown-linux-gnu]
    linker = "leanlink"

and build as always. As a linker it takes what the real linker takes, and
passes on what is not its own, --help and --version among it. Its settings are
in leanlink.toml beside the workspace's Cargo.toml and in LEANLINK_… variables;
LEANLINK_DISABLE=1 switches it off.

    leanlink demo                        build an example plain and folded, run both, compare
    leanlink symbolize REPORT ADDRESS…   all names behind an address of a linked program
    leanlink verify CASE                 check a saved link
    leanlink help                        this text
    leanlink version                     leanlink's own version
`

func help(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		fmt.Fprintf(stderr, "leanlink: error: help takes no arguments\n")
		return 2
	}
	io.WriteString(stdout, usage)
	return 0
}

func version(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		fmt.Fprintf(stderr, "leanlink: error: version takes no arguments\n")
		return 2
	}
	fmt.Fprintf(stdout, "leanlink %s (%s/%s, %s)\n", Version, runtime.GOOS, runtime.GOARCH, runtime.Version())
	return 0
}
