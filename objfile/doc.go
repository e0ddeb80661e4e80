// Package objfile reads ELF relocatable objects and archives, and edits
// objects without laying them out again.
//
// A File borrows the bytes it was parsed from (usually a mapped file) and
// never changes them. Parse checks every range once, so that accessors can
// slice without further checks; symbols and relocations are decoded on
// access and never stored. An Edit collects changes to one File and writes
// the result: what did not change is written from the original bytes.
//
// Both ELF classes are handled, little-endian only; class.go is the only
// file that tells them apart. What a relocation type means is in one table
// for each architecture (x86_64.go and its siblings).
package objfile
