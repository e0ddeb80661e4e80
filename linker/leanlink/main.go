// Command leanlink is a linker for Rust programs that makes them smaller. Name
// it as linker in .cargo/config.toml; see leanlink help.
package main

import (
	"os"

	"leanlink/linker"
)

func main() {
	if len(os.Args) > 1 {
		if command, ok := linker.Commands[os.Args[1]]; ok {
			os.Exit(command(os.Args[2:], os.Stdout, os.Stderr))
		}
	}
	os.Exit(linker.Main(os.Args))
}
