package verify

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const panicRS = `
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::thread;

struct Noise(&'static str);
impl Drop for Noise { fn drop(&mut self) { println!("drop {}", self.0); } }

trait Shape { fn area(&self) -> f64; fn name(&self) -> String { "shape".to_string() } }
struct Square(f64);
struct Circle(f64);
impl Shape for Square { fn area(&self) -> f64 { self.0 * self.0 } fn name(&self) -> String { format!("square {}", self.0) } }
impl Shape for Circle { fn area(&self) -> f64 { self.0 * self.0 * 3.14 } }

static NAMES: [&str; 3] = ["one", "two", "three"];
thread_local! { static COUNT: std::cell::RefCell<Vec<u32>> = const { std::cell::RefCell::new(Vec::new()) }; }

fn show<T: Debug + Display>(items: &[T]) -> String {
    let _n = Noise("show");
    items.iter().map(|i| format!("{i} {i:?}")).collect::<Vec<_>>().join(",")
}

fn risky(n: usize) -> usize {
    let _n = Noise("risky");
    if n == 2 { panic!("two is {}", NAMES[n]); }
    NAMES[n].len()
}

fn main() {
    let shapes: Vec<Box<dyn Shape>> = vec![Box::new(Square(2.0)), Box::new(Circle(1.0))];
    for s in &shapes { println!("{} {:.2}", s.name(), s.area()); }
    println!("{} {}", show(&[1u8, 2]), show(&["a", "b"]));
    for n in 0..3 { println!("{:?}", catch_unwind(|| risky(n)).is_ok()); }
    let shared = Arc::new(BTreeMap::from([(1, "x"), (2, "y")]));
    let handles: Vec<_> = (0..3).map(|i| { let m = shared.clone(); thread::spawn(move || {
        COUNT.with(|c| c.borrow_mut().push(i));
        m.get(&(i as i32)).map(|s| s.len()).unwrap_or(0)
    }) }).collect();
    println!("{}", handles.into_iter().map(|h| h.join().unwrap()).sum::<usize>());
}
`

// rustClaim compiles a Rust program with one linker and claims nothing of it. rustc is told to link with a script that
// keeps what the linker reads, as rustc removes it afterwards.
func rustClaim(t testing.TB, linker, source string, flags ...string) *Claim {
	t.Helper()
	need(t, "rustc")
	link := useLinker(t, linker)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prog.rs"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`#!/bin/sh
set -e
n=0
for a in "$@"; do
	case "$a" in
	*.o|*.rlib|*.a) n=$((n+1)); p=$(printf %%04d $n); cp "$a" "%[1]s/in.$p.$(basename "$a")";;
	esac
done
for a in "$@"; do
	shift
	case "$a" in
	-fuse-ld=*|-B*gcc-ld) ;;
	*) set -- "$@" "$a";;
	esac
done
exec cc "$@" %[2]s
`, dir, strings.Join(link, " "))
	wrapper := filepath.Join(dir, "link-and-keep")
	if err := os.WriteFile(wrapper, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"prog.rs", "--edition=2021", "-o", "out", "-C", "linker=" + wrapper}, flags...)
	cmd := exec.Command("rustc", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("rustc: %v\n%s", err, out)
	}
	inputs, err := filepath.Glob(filepath.Join(dir, "in.*"))
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no inputs were kept: %v", err)
	}
	var files []caseFile
	for _, path := range inputs { // in the link's order, for Glob sorts
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, members(t, filepath.Base(path), data)...)
	}
	return &Claim{Output: filepath.Join(dir, "out"), Objects: extract(t, files), GC: true, Mode: "safe"}
}

func TestPlainRust(t *testing.T) {
	kinds := []struct {
		name  string
		flags []string
	}{
		{"release", []string{"-O", "-Ccodegen-units=4"}},
		{"debug", []string{"-g", "-Ccodegen-units=16"}},
		{"stripped", []string{"-O", "-Cstrip=symbols"}},
		{"static", []string{"-O", "-Crelocation-model=static"}},
		{"lto", []string{"-O", "-Clto=fat"}},
		{"cdylib", []string{"-O", "--crate-type=cdylib"}},
	}
	for _, l := range linkers {
		for _, k := range kinds {
			t.Run(l.name+"/"+k.name, func(t *testing.T) {
				if testing.Short() && l.name != "lld" {
					t.Skip("only with lld where it must be short")
				}
				if k.name == "lto" && l.name != "lld" {
					return // takes long, and rustc's objects are the same for all
				}
				t.Parallel()
				source := panicRS
				if k.name == "cdylib" {
					source = strings.Replace(source, "fn main()", "#[no_mangle] pub extern \"C\" fn entry()", 1)
				}
				c := rustClaim(t, l.name, source, k.flags...)
				c.Shared = k.name == "cdylib"
				if c.Shared {
					c.Exports = []string{"entry"}
				}
				res := mustAgree(t, c)
				if res.Functions < 300 || res.FDEs < 300 || res.LSDAs < 20 || res.Pieces == 0 || c.Shared && res.Exports != 1 {
					t.Errorf("hardly anything was compared: %v", res)
				}
			})
		}
	}
}
