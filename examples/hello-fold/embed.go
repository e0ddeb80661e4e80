// Package hellofold carries the sources of the example crate hello-fold, which
// `leanlink demo` builds plainly and folded. The crate builds by itself as well:
// cargo run --release in this folder.
package hellofold

import "embed"

// Files holds the crate's Cargo.toml, Cargo.lock and src.
//
//go:embed Cargo.toml Cargo.lock src
var Files embed.FS
