package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"leanlink/report"
)

// Metamorphic checks: what becomes of the answer when the question changes in a
// way whose effect is known.

// metaPart is a crate with enough of its own and of std's generics in it.
const metaPart = `use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::{self, Display};
pub trait Rule { fn apply(&self, x: &str) -> String; fn name(&self) -> &'static str { "rule" } }
pub struct Upper; pub struct Twice(pub usize); pub struct Quoted(pub char);
impl Rule for Upper { fn apply(&self, x: &str) -> String { x.to_uppercase() } }
impl Rule for Twice { fn apply(&self, x: &str) -> String { x.repeat(self.0) } fn name(&self) -> &'static str { "twice" } }
impl Rule for Quoted { fn apply(&self, x: &str) -> String { format!("{0}{1}{0}", self.0, x) } }
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Value { Nil, Int(i64), Float(f64), Text(String), List(Vec<Value>), Map(BTreeMap<String, Value>) }
impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Value::Nil => f.write_str("nil"),
            Value::Int(i) => write!(f, "{i}"),
            Value::Float(x) => write!(f, "{x:.3}"),
            Value::Text(s) => write!(f, "{s:?}"),
            Value::List(l) => { f.write_str("[")?; for v in l { write!(f, "{v} ")?; } f.write_str("]") }
            Value::Map(m) => { f.write_str("{")?; for (k, v) in m { write!(f, "{k}: {v} ")?; } f.write_str("}") }
        }
    }
}
pub fn parse(words: &mut VecDeque<&str>) -> Result<Value, String> {
    let word = words.pop_front().ok_or("nothing left")?;
    Ok(match word {
        "nil" => Value::Nil,
        "[" => { let mut l = Vec::new(); while words.front() != Some(&"]") { l.push(parse(words)?); } words.pop_front(); Value::List(l) }
        "{" => { let mut m = BTreeMap::new(); while words.front() != Some(&"}") { let k = words.pop_front().ok_or("no key")?; m.insert(k.to_string(), parse(words)?); } words.pop_front(); Value::Map(m) }
        w if w.contains('.') => Value::Float(w.parse().map_err(|e| format!("{w}: {e}"))?),
        w if w.starts_with('\'') => Value::Text(w[1..].to_string()),
        w => Value::Int(w.parse().map_err(|e| format!("{w}: {e}"))?),
    })
}
pub fn count(v: &Value, into: &mut HashMap<String, usize>) {
    match v {
        Value::List(l) => l.iter().for_each(|v| count(v, into)),
        Value::Map(m) => m.values().for_each(|v| count(v, into)),
        other => *into.entry(other.to_string()).or_insert(0) += 1,
    }
}
pub fn run(text: &str) -> String {
    let rules: Vec<Box<dyn Rule>> = vec![Box::new(Upper), Box::new(Twice(2)), Box::new(Quoted('|'))];
    let mut words: VecDeque<&str> = text.split_whitespace().collect();
    let mut out = String::new();
    while !words.is_empty() {
        match parse(&mut words) {
            Ok(v) => {
                let mut n = HashMap::new();
                count(&v, &mut n);
                let mut n: Vec<_> = n.into_iter().collect();
                n.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
                out += &rules.iter().fold(v.to_string(), |s, r| format!("{}<{}>", r.apply(&s), r.name()));
                out += &format!(" {n:?}\n");
            }
            Err(e) => out += &format!("error {e}\n"),
        }
    }
    out
}
`

// metaProgram compiles copies of the crate, and a program that uses all of
// them, and keeps the program's link.
func metaProgram(t *testing.T, copies ...string) (dir, kept string) {
	t.Helper()
	dir = t.TempDir()
	main := "fn main() {\n"
	flags := []string{"--edition=2021", "-Copt-level=3", "-L."}
	for _, c := range copies {
		main += fmt.Sprintf("    print!(\"{}\", %s::run(std::hint::black_box(\"1 2.5 [ 'a 'a nil { k 7 } ] x [ 1\")));\n", c)
	}
	for name, text := range map[string]string{"part.rs": metaPart, "main.rs": main + "}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rustc := filepath.Join(tools.sysroot, "bin/rustc")
	for _, c := range copies {
		if err := command(dir, append(append([]string{rustc}, flags...), "--crate-type=rlib", "--crate-name="+c, "-o", "lib"+c+".rlib", "part.rs")...); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range copies {
		flags = append(flags, "--extern="+c+"=lib"+c+".rlib")
	}
	kept = filepath.Join(dir, "case")
	argv := append(append([]string{rustc}, flags...), "-Clinker=keeplink", "-o", "main.rustc", "main.rs")
	if o, err := run(dir, environ("KEEPLINK_CASE="+kept), argv...); err != nil || o.status != 0 {
		t.Fatalf("%s: %v %v", strings.Join(argv, " "), err, o)
	}
	return dir, kept
}

// metaLink links a kept program through leanlink and returns its report.
func metaLink(t *testing.T, dir, output string, args []string, env ...string) *report.Report {
	t.Helper()
	argv := append([]string{tools.leanlink}, args...)
	o, err := run(dir, environ(append([]string{"LEANLINK_VERIFY=true", "LEANLINK_FOLD=safe"}, env...)...), argv...)
	if err != nil || o.status != 0 || strings.Contains(o.stdout+o.stderr, "leanlink") {
		t.Fatalf("%s: %v %v", strings.Join(argv, " "), err, o)
	}
	r, err := report.ReadFile(output + report.Suffix)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func metaArgs(t *testing.T, kept, output string) []string {
	t.Helper()
	args, err := caseArgs(kept, "lld", output, nil)
	if err != nil {
		t.Fatal(err)
	}
	return args
}

func mustAlloc(t *testing.T, path string) uint64 {
	t.Helper()
	size, err := allocSize(path)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

func TestMetamorphic(t *testing.T) {
	need(t, "tool:rustc", "linker:lld")

	// The same source once more, under another name, costs next to nothing; in
	// the safe mode what holds addresses of functions stays, and what calls that.
	t.Run("twice", func(t *testing.T) {
		sizes := map[string]uint64{}
		for _, copies := range [][]string{{"one"}, {"one", "two"}} {
			dir, kept := metaProgram(t, copies...)
			plain := filepath.Join(dir, "plain")
			if o, err := run(dir, environ(), append([]string{"cc"}, metaArgs(t, kept, plain)...)...); err != nil || o.status != 0 {
				t.Fatalf("cc: %v %v", err, o)
			}
			sizes[fmt.Sprint("plain", len(copies))] = mustAlloc(t, plain)
			for _, mode := range []string{"safe", "all"} {
				folded := filepath.Join(dir, mode)
				metaLink(t, dir, folded, metaArgs(t, kept, folded), "LEANLINK_FOLD="+mode)
				sizes[fmt.Sprint(mode, len(copies))] = mustAlloc(t, folded)
			}
		}
		cost := sizes["plain2"] - sizes["plain1"]
		if cost < 10_000 {
			t.Errorf("the second copy costs %d bytes in the plain link: the case shows nothing", cost)
		}
		for mode, most := range map[string]uint64{"safe": 33, "all": 10} {
			costs := sizes[mode+"2"] - sizes[mode+"1"]
			t.Logf("%s: the second copy costs %d bytes, plain %d (%.1f%%)", mode, costs, cost, float64(costs)*100/float64(cost))
			if costs*100 > cost*most {
				t.Errorf("%s: the second copy costs %d bytes, plain %d; want %d%% at most", mode, costs, cost, most)
			}
		}
	})

	// In which order the objects come decides who leads, not who is equal.
	t.Run("order", func(t *testing.T) {
		dir, kept := metaProgram(t, "one", "two")
		var classes [2]map[string]string
		for k, name := range []string{"forward", "backward"} {
			output := filepath.Join(dir, name)
			args := metaArgs(t, kept, output)
			if name == "backward" {
				// rustc's own objects, and the crates' archives, the last first.
				var at []int
				var moved []string
				for i, a := range args {
					if strings.HasSuffix(a, ".rcgu.o") || strings.HasSuffix(a, "libone.rlib") || strings.HasSuffix(a, "libtwo.rlib") {
						at, moved = append(at, i), append(moved, a)
					}
				}
				if len(moved) < 4 {
					t.Fatalf("only %v could be moved", moved)
				}
				slices.Reverse(moved)
				for n, i := range at {
					args[i] = moved[n]
				}
			}
			classes[k] = classesOf(metaLink(t, dir, output, args))
		}
		if len(classes[0]) < 300 {
			t.Errorf("only %d sections are in classes", len(classes[0]))
		}
		for name, want := range classes[0] {
			if got, ok := classes[1][name]; !ok || got != want {
				t.Errorf("%s: its class is %.200s, in the other order %.200s", name, want, got)
			}
		}
	})

	// What leanlink made, linked through leanlink, is left as it is.
	t.Run("again", func(t *testing.T) {
		dir, kept := metaProgram(t, "one", "two")
		first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
		again := filepath.Join(dir, "again")
		keeplink, ok := toolPath("keeplink")
		if !ok {
			t.Fatal("keeplink is not on PATH")
		}
		r1 := metaLink(t, dir, first, metaArgs(t, kept, first), "LEANLINK_REAL_LINKER="+keeplink, "KEEPLINK_CASE="+again)
		r2 := metaLink(t, dir, second, metaArgs(t, again, second))
		t.Logf("first %d folded, %d jumps; again %d folded, %d jumps", r1.Totals.Folded, r1.Totals.Thunks, r2.Totals.Folded, r2.Totals.Thunks)
		if r1.Totals.Folded < 150 || r2.Totals.Folded*100 > r1.Totals.Folded {
			t.Errorf("%d sections fold, and %d in what was folded before", r1.Totals.Folded, r2.Totals.Folded)
		}
		want, err := run(dir, environ(), first)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := run(dir, environ(), second); err != nil || got != want {
			t.Errorf("linked again it says %v %v, at first %v", err, got, want)
		}
		if a, b := mustAlloc(t, first), mustAlloc(t, second); b > a || (a-b)*200 > a {
			t.Errorf("linked again it has %d allocated bytes, at first %d", b, a)
		}
	})
}

// classesOf names the members of each section's class of equals, by the
// section's own name.
func classesOf(r *report.Report) map[string]string {
	members := map[uint32][]string{}
	name := func(i int) string {
		s := &r.Sections[i]
		in := r.Inputs[s.Input]
		return fmt.Sprintf("%s(%s):%s#%d", in.Path, in.Member, s.Name, s.Index)
	}
	for i := range r.Sections {
		if c := r.Sections[i].Class; c != 0 {
			members[c] = append(members[c], name(i))
		}
	}
	classes := map[string]string{}
	for _, m := range members {
		sort.Strings(m)
		all := strings.Join(m, " ")
		for _, n := range m {
			classes[n] = all
		}
	}
	return classes
}
