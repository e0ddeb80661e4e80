package verify

import (
	"os"
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

// rustLink is a link that rustc asked for, with copies of what it reads.
type rustLink struct {
	dir  string
	args []string // without the output and the choice of a linker
}

// compileRust has rustc link with a script that keeps the link's inputs, as rustc removes them afterwards.
func compileRust(t testing.TB, source string, flags ...string) *rustLink {
	t.Helper()
	need(t, "rustc")
	l := &rustLink{dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(l.dir, "prog.rs"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	script := `#!/bin/sh
set -e
n=0
for a in "$@"; do
	case "$a" in
	*.o|*.rlib|*.a) n=$((n+1)); p="DIR/in.$(printf %04d $n).$(basename "$a")"; cp "$a" "$p"; a="$p";;
	-Wl,--version-script=*) p="DIR/list.$(basename "${a#*=}")"; cp "${a#*=}" "$p"; a="-Wl,--version-script=$p";;
	esac
	printf '%s\n' "$a" >>"DIR/args"
done
exec cc "$@"
`
	wrapper := filepath.Join(l.dir, "link-and-keep")
	if err := os.WriteFile(wrapper, []byte(strings.ReplaceAll(script, "DIR", l.dir)), 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, l.dir, "rustc", append([]string{"prog.rs", "--edition=2021", "-o", "out", "-C", "linker=" + wrapper}, flags...)...)
	text, err := os.ReadFile(filepath.Join(l.dir, "args"))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "-o" || a == "-L" && strings.HasSuffix(args[i+1], "raw-dylibs"):
			i++
		case strings.HasPrefix(a, "-fuse-ld=") || strings.HasPrefix(a, "-B") && strings.HasSuffix(a, "gcc-ld"):
		default:
			l.args = append(l.args, a)
		}
	}
	return l
}

// claim links once more, with the linker of that name, and claims nothing of it.
func (l *rustLink) claim(t testing.TB, linker string) *Claim {
	t.Helper()
	output := filepath.Join(l.dir, "out-"+linker)
	run(t, l.dir, "cc", append(append(append([]string{}, l.args...), useLinker(t, linker)...), "-o", output)...)
	var files []caseFile
	for _, a := range l.args {
		if strings.HasPrefix(a, filepath.Join(l.dir, "in.")) {
			data, err := os.ReadFile(a)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, members(t, filepath.Base(a), data)...)
		}
	}
	return &Claim{Output: output, Objects: extract(t, files), GC: true, Mode: "safe"}
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
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			source := panicRS
			if k.name == "cdylib" {
				source = strings.Replace(source, "fn main()", "#[no_mangle] pub extern \"C\" fn entry()", 1)
			}
			link := compileRust(t, source, k.flags...)
			for _, l := range linkers {
				t.Run(l.name, func(t *testing.T) {
					c := link.claim(t, l.name)
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
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	c := compileRust(b, panicRS, "-O").claim(b, "lld")
	var size uint64
	for b.Loop() {
		res, err := Check(c)
		if err != nil || len(res.Mismatches) > 0 {
			b.Fatal(err, res)
		}
		size = res.Bytes
	}
	b.SetBytes(int64(size))
}
