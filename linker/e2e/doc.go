// Package e2e holds the end-to-end tests: scripts (testdata/*.txtar) that compile
// small Rust, C and assembly inputs, link them plainly and through leanlink with
// every linker there is, run what came out and compare.
//
// Nothing here uses leanlink's packages. The tests see what a user sees: a
// program named leanlink, the linkers, and the binaries they make. They use their
// own measure of size and their own reading of symbols, so that a mistake in
// leanlink's ELF code cannot hide itself.
//
// TestSuites does the same with published crates: it runs their own tests, linked
// plainly, folded, and with traps for what folds (testdata/suites).
//
// # Commands of the scripts
//
// Besides testscript's own commands:
//
//	rust NAME SOURCE [FLAG…]     compile SOURCE with rustc and keep the link as case NAME
//	case NAME ARG…               make a case of a cc command line (without -o)
//	links [OPTION…] NAME…        link a case plainly and folded with each linker, run, compare
//	    -linkers=lld,bfd,…       which linkers (default: lld,bfd,gold,mold)
//	    -modes=off,safe,all      which modes of leanlink (default: off,safe,all)
//	    -norun                   do not run what was linked
//	    -args=A,B                arguments for the program
//	    -env=K=V                 environment for the program
//	    -status=N                exit status the plain program must have (default 0)
//	    -free                    modes whose runs may differ from the plain one
//	    -flags=A,B               more flags for every link, plain ones too
//	folded GLOB SYMBOL…          the symbols are one place in each file, and were not in the plain one
//	apart GLOB SYMBOL…           the symbols are all there, each at an address of its own
//	smaller [-by=PERCENT] GLOB   each file's allocated size is below the plain one's
//	smaller-than FILE OTHER PERCENT
//	                             FILE's allocated size is that much below OTHER's
//	dynsame GLOB                 each file exports and imports what the plain one does
//	frames GLOB                  .eh_frame and its search table are whole and sorted
//	dwarf GLOB                   llvm-dwarfdump --verify finds nothing that it did not in the plain file
//	aligned GLOB N SYMBOL…       the symbols' addresses are multiples of N
//	section GLOB SYMBOL NAME     the symbol lies in the output section NAME
//	joined [OPTION…] NAME…       with each linker, leanlink joins a case's debug information as the linker would
//	    -linkers=…, -flags=…, -norun as of links
//	    -left                    leanlink leaves it to the linker
//	dwarfsame GLOB               GLOB.join has the debug information of GLOB.link
//	lines GLOB                   addr2line resolves each kept function as in the plain file
//	backtrace GLOB REGEXP        a panic's frames are the plain program's, but for names that fold
//	same FILE FILE…              the files are byte for byte the same
//
// links writes NAME.LINKER.plain and NAME.LINKER.MODE; a file NAME.want, if the
// script has one, is what the plain program must print. LEANLINK_E2E_LINKERS=lld
// in the environment makes a quick run with one linker. SYMBOL is a regular
// expression that the whole name, or a Rust path's last parts, must match.
//
// A script names what it needs as [tool:NAME] or [linker:NAME] conditions. A
// missing tool skips the script by name; with LEANLINK_REQUIRE_TOOLS=1 it fails.
package e2e
