// Command cargo-size-report is the Cargo subcommand size-report: it shows where
// a program's bytes go and what leanlink saved. See cargo size-report --help.
package main

import (
	"os"

	"leanlink/cargo-plugin/plugin"
)

func main() {
	os.Exit(plugin.Main(os.Args[1:], os.Stdout, os.Stderr))
}
