package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// A random Rust program is two libraries and a program of modules. A module is
// one of a few designs, chosen anew: types of a trait, generic functions over
// them, closures, boxed objects, tables, matches, panics and what catches them.
// Modules of one design differ in nothing, or in a number, or in a type.

type rustDesign struct {
	r     *rand.Rand
	lines []string
}

func (d *rustDesign) number() int { return []int{1, 2, 3, 5, 7, 64}[d.r.IntN(6)] }

func (d *rustDesign) add(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// expression is arithmetic on x and y, of u64, that never panics.
func (d *rustDesign) expression(depth int) string {
	if depth == 0 {
		return [...]string{"x", "y", fmt.Sprintf("%du64", d.number()), "(x >> 3)"}[d.r.IntN(4)]
	}
	a, b := d.expression(depth-1), d.expression(depth-1)
	switch d.r.IntN(5) {
	case 0:
		return fmt.Sprintf("%s.wrapping_add(%s)", a, b)
	case 1:
		return fmt.Sprintf("(%s ^ %s)", a, b)
	case 2:
		return fmt.Sprintf("%s.rotate_left(%d)", a, d.number())
	case 3:
		return fmt.Sprintf("(if %s & 1 == 0 { %s } else { %s })", a, b, d.expression(depth-1))
	}
	return fmt.Sprintf("%s.wrapping_mul(%s)", a, b)
}

// module is the body of a module: pub fn run(x: u64) and what it needs. The
// words KNOB_A and KNOB_B stand for what copies may change.
func (d *rustDesign) module() string {
	d.lines = nil
	d.add("use std::hint::black_box; use std::panic::{catch_unwind, AssertUnwindSafe}; use trace::{say, Gone};")
	kinds := 2 + d.r.IntN(3)
	d.add("pub trait Act { fn act(&self, x: u64) -> u64; fn more(&self, y: u64) -> u64 { self.act(y).wrapping_add(KNOB_A) } fn name(&self) -> &'static str; }")
	bodies := make([]string, 1+d.r.IntN(2))
	for k := range bodies {
		bodies[k] = d.expression(2)
	}
	for k := range kinds {
		drops := ""
		if d.r.IntN(2) == 0 {
			drops = fmt.Sprintf("impl Drop for K%d { #[inline(never)] fn drop(&mut self) { say(\"k\", self.0); } }", k)
		}
		d.add("pub struct K%d(pub u64, pub u64); impl Act for K%d { #[inline(never)] fn act(&self, x: u64) -> u64 { let y = self.1; %s } #[inline(never)] fn name(&self) -> &'static str { \"%s\" } } %s",
			k, k, bodies[d.r.IntN(len(bodies))], [...]string{"kind", "sort", "type"}[d.r.IntN(3)], drops)
	}
	d.add("#[inline(never)] fn generic<T: Act>(t: T, x: u64, depth: u64) -> u64 { let held = (t, Gone(x)); if depth == KNOB_B { panic!(\"{} at {depth}\", held.0.name()); } let y = held.0.act(x); if depth == 0 { y } else { y ^ held.0.more(depth) } }")
	d.add("#[inline(never)] fn boxed(x: u64) -> Vec<Box<dyn Act>> { let mut v: Vec<Box<dyn Act>> = Vec::new();")
	for k := range kinds {
		d.add("v.push(Box::new(K%d(x, %d)));", k, d.number())
	}
	d.add("v }")
	d.add("#[inline(never)] fn choose(x: u64) -> &'static str { match x %% 7 { 0 => \"zero\", 1 => \"one\", 2 => \"%s\", 3 => \"three\", 4 => \"four\", 5 => \"KNOB_A\", _ => \"many\" } }", [...]string{"two", "zwei"}[d.r.IntN(2)])
	d.add("const TABLE: &[u64] = &[%d, %d, KNOB_A, %d, 9, 11, 13, 15, 17];", d.number(), d.number(), d.number())
	d.add("static NAMED: [u64; 4] = [%d, 2, 3, 4]; static OTHER: [u64; 4] = [%d, 2, 3, 4];", d.number(), d.number())
	d.add("static HITS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);")
	d.add("thread_local! { static LOCAL: std::cell::Cell<u64> = const { std::cell::Cell::new(%d) } }", d.number())
	d.add("#[inline(never)] fn plain(x: u64) -> u64 { let y = x; %s }", d.expression(2))
	d.add("#[inline(never)] fn plainer(x: u64) -> u64 { let y = x; %s }", d.expression(1))
	d.add("#[inline(never)] fn closures(x: u64) -> Vec<Box<dyn Fn(u64) -> u64>> { let s = black_box(String::from(\"captured\")); let g = Gone(x); vec![Box::new(move |y| y.wrapping_add(s.len() as u64)), Box::new(move |y| { black_box(&g); %s }), Box::new(|y| { let x = y; %s })] }", d.expression(1), d.expression(1))
	d.add("#[inline(never)] fn caught(x: u64) -> u64 { let r = catch_unwind(AssertUnwindSafe(|| { let g = Gone(99); let mut sum = 0u64; for depth in 0..4 {")
	for k := range kinds {
		d.add("sum = sum.wrapping_add(generic(K%d(x, depth), x, depth + %d));", k, d.r.IntN(5))
	}
	d.add("} black_box(&g); sum })); match r { Ok(v) => v, Err(e) => { say(\"caught\", e.downcast_ref::<String>().map_or(0, |s| s.len() as u64)); 17 } } }")
	d.add("#[inline(never)] fn bounds(x: u64) -> u64 { catch_unwind(|| TABLE[black_box(x %% 12) as usize]).unwrap_or_else(|_| { say(\"out of bounds\", x); 0 }) }")
	d.add("#[inline(never)] fn text(x: u64) -> String { format!(\"{}-{:>%d}-{:?}\", choose(x), x, (x, choose(x + 1))) }", 1+d.r.IntN(3))
	d.add("#[inline(never)] fn addresses() { let f: [fn(u64) -> u64; 3] = black_box([plain, plainer, plain]); say(\"addr\", (f[0] as usize == f[1] as usize) as u64); println!(\"addr {}\", f[0] as usize == f[1] as usize); }")
	d.add("#[inline(never)] fn statics() -> u64 { (black_box(&NAMED) as *const _ == black_box(&OTHER) as *const _) as u64 + NAMED[black_box(1)] + OTHER[black_box(0)] }")
	d.add("#[inline(never)] pub fn run(x: u64) -> u64 { let mut sum = plain(x) ^ plainer(x); for b in boxed(x) { sum = sum.wrapping_mul(31).wrapping_add(b.more(x)).wrapping_add(b.name().len() as u64); } for c in closures(x) { sum ^= c(x); } sum = sum.wrapping_add(caught(x)).wrapping_add(bounds(x)).wrapping_add(statics());")
	d.add("HITS.fetch_add(1, std::sync::atomic::Ordering::Relaxed); LOCAL.with(|l| l.set(l.get() + x)); sum ^= LOCAL.with(|l| l.get()) ^ HITS.load(std::sync::atomic::Ordering::Relaxed) << 8;")
	if d.r.IntN(2) == 0 {
		d.add("sum ^= std::thread::spawn(move || caught(x).wrapping_add(LOCAL.with(|l| l.get()))).join().unwrap();")
	}
	d.add("addresses(); println!(\"{} {sum}\", text(x)); sum }")
	return strings.Join(d.lines, "\n")
}

// knobs sets what a copy of a design may change; most copies change nothing.
func (d *rustDesign) knobs(module string) string {
	a, b := "5", "2"
	if d.r.IntN(3) == 0 {
		a = fmt.Sprint(5 + d.r.IntN(3))
	}
	if d.r.IntN(3) == 0 {
		b = fmt.Sprint(d.r.IntN(5))
	}
	return strings.NewReplacer("KNOB_A", a, "KNOB_B", b).Replace(module)
}

const rustTrace = `use std::sync::Mutex;
static TRACE: Mutex<u64> = Mutex::new(0);
#[inline(never)]
pub fn say(what: &str, x: u64) {
    if what == "addr" { return; }
    let mut t = TRACE.lock().unwrap_or_else(|e| e.into_inner());
    for b in what.bytes() { *t = t.wrapping_mul(131).wrapping_add(b as u64); }
    *t = t.wrapping_mul(131).wrapping_add(x);
}
pub fn trace() -> u64 { *TRACE.lock().unwrap_or_else(|e| e.into_inner()) }
pub struct Gone(pub u64);
impl Drop for Gone { #[inline(never)] fn drop(&mut self) { say("gone", self.0); } }
`

func randomRust(r *rand.Rand, dir string) (program, error) {
	d := &rustDesign{r: r}
	designs := []string{d.module()}
	if r.IntN(2) == 0 {
		designs = append(designs, d.module())
	}
	level := [...]string{"0", "1", "2", "3", "s", "z"}[r.IntN(6)]
	flags := []string{"--edition=2021", "-Copt-level=" + level, "-Ccodegen-units=" + [...]string{"1", "4", "16"}[r.IntN(3)], "-L."}
	if r.IntN(2) == 0 {
		flags = append(flags, "-Zmerge-functions=disabled")
	}
	for _, more := range []string{"-Cdebuginfo=1", "-Cforce-frame-pointers=yes", "-Coverflow-checks=yes", "-Csymbol-mangling-version=v0", "-Zfunction-sections=no", "-Ctarget-cpu=x86-64-v3", "-Crelocation-model=pic", "-Ccode-model=medium"} {
		if r.IntN(8) == 0 {
			flags = append(flags, more)
		}
	}
	files := map[string]string{"trace.rs": rustTrace}
	main := "fn main() { std::panic::set_hook(Box::new(|_| {}));\n"
	crates := []string{"a", "b", "program"}
	for _, crate := range crates {
		var text strings.Builder
		for m := range 1 + r.IntN(3) {
			fmt.Fprintf(&text, "pub mod m%d {\n%s\n}\n", m, d.knobs(designs[r.IntN(len(designs))]))
			path := crate + "::"
			if crate == "program" {
				path = ""
			}
			for _, x := range []int{1, 6, 10} {
				main += fmt.Sprintf("    println!(\"%s%d {} {}\", %sm%d::run(std::hint::black_box(%d)), trace::trace());\n", crate, m, path, m, x)
			}
		}
		if crate == "program" {
			text.WriteString("extern crate a; extern crate b;\n" + main + "}\n")
		}
		files[crate+".rs"] = "#![allow(dead_code, unused)]\n" + text.String()
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return program{}, err
		}
	}
	rustc := filepath.Join(tools.sysroot, "bin/rustc")
	for _, crate := range append([]string{"trace"}, crates[:2]...) {
		if err := command(dir, append(append([]string{rustc}, flags...), "--crate-type=rlib", crate+".rs")...); err != nil {
			return program{}, err
		}
		flags = append(flags, "--extern="+crate+"=lib"+crate+".rlib")
	}
	// As the script command rust does, but without a script.
	kept := filepath.Join(dir, "case")
	argv := append(append([]string{rustc}, flags...), "-Clinker=keeplink", "-o", "program.rustc", "program.rs")
	o, err := run(dir, environ("RUSTC_BOOTSTRAP=1", "KEEPLINK_CASE="+kept), argv...)
	if err == nil && o.status != 0 {
		err = fmt.Errorf("%s: %v", strings.Join(argv, " "), o)
	}
	return program{kept: kept, observes: "addr "}, err
}
