// Package merge decides what a link can do without: it resolves symbols as
// the real linker will, marks what is reachable, and partitions what is left
// into classes of sections that no program can tell apart. The result is a
// Plan; carrying it out is another package's work, and nothing here does
// input or output.
//
// The phases run in this order, and each only reads what the ones before it
// made:
//
//	Extract  which archive members the link pulls in
//	NewLink  which definition every symbol stands for; all sections numbered
//	mark     what is reachable from the roots
//	weigh    whose addresses a program can observe
//	fold     the coarsest partition into equal sections
//	plan     leaders, redirections, aliases, jumps
package merge
