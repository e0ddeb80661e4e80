package verify

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// need skips a test by the name of the program it lacks.
func need(t testing.TB, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		if os.Getenv("LEANLINK_REQUIRE_TOOLS") != "" {
			t.Fatalf("%s is not installed", tool)
		}
		t.Skipf("%s is not installed", tool)
	}
	return path
}

func run(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// linkers are the flags that make a compiler driver take each linker; "" takes the driver's own.
var linkers = []struct{ name, tool, flag string }{
	{"bfd", "ld.bfd", "-fuse-ld=bfd"},
	{"gold", "ld.gold", "-fuse-ld=gold"},
	{"mold", "mold", "-fuse-ld=mold"},
	{"lld", "ld.lld", "-fuse-ld=lld"},
}

// lldFolder is a folder in which the driver finds an ld.lld: rustc has one beside its rust-lld.
func lldFolder(t testing.TB) string {
	if _, err := exec.LookPath("ld.lld"); err == nil {
		return ""
	}
	for _, name := range []string{"ld.lld-19", "ld.lld-18", "ld.lld-16", "ld.lld-14"} {
		if path, err := exec.LookPath(name); err == nil {
			dir := t.TempDir()
			if os.Symlink(path, filepath.Join(dir, "ld.lld")) == nil {
				return dir
			}
		}
	}
	out, err := exec.Command("rustc", "--print", "sysroot").Output()
	if err == nil {
		found, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "lib/rustlib/*/bin/gcc-ld/ld.lld"))
		if len(found) > 0 {
			return filepath.Dir(found[0])
		}
	}
	return "none"
}

// useLinker is the flags for one of linkers, or skips.
func useLinker(t testing.TB, name string) []string {
	t.Helper()
	for _, l := range linkers {
		if l.name != name {
			continue
		}
		if name == "lld" {
			dir := lldFolder(t)
			switch dir {
			case "none":
				need(t, l.tool)
			case "":
			default:
				return []string{"-B" + dir, l.flag}
			}
			return []string{l.flag}
		}
		need(t, l.tool)
		return []string{l.flag}
	}
	t.Fatalf("no linker %s", name)
	return nil
}

// compile makes an object of a source in the folder; the compiler goes by the name's ending.
func compile(t testing.TB, dir, file, source string, flags ...string) string {
	t.Helper()
	cc := "gcc"
	if strings.HasSuffix(file, ".cc") {
		cc = "g++"
	}
	need(t, cc)
	if err := os.WriteFile(filepath.Join(dir, file), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	object := strings.TrimSuffix(file, filepath.Ext(file)) + ".o"
	run(t, dir, cc, append([]string{"-c", "-g", "-O1", "-ffunction-sections", "-fdata-sections", "-fcommon", "-o", object, file}, flags...)...)
	return object
}

// claimOf is the claim that nothing of the objects in the folder was changed.
func claimOf(t testing.TB, dir, output string, objects ...string) *Claim {
	t.Helper()
	c := &Claim{Output: filepath.Join(dir, output), GC: true, Mode: "safe"}
	for _, name := range objects {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		c.Objects = append(c.Objects, Object{Name: name, Data: data})
	}
	return c
}

// mustAgree fails the test for every mismatch.
func mustAgree(t testing.TB, c *Claim) *Result {
	t.Helper()
	res, err := Check(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range res.Mismatches {
		t.Error(m)
	}
	return res
}

const mixC = `
#include <stdio.h>
#include <errno.h>
#include <stdlib.h>
__thread int counter = 7;
static __thread long hidden_counter;
extern __thread int other_counter;
int common_one;
static const char *const names[] = {"one", "two", "three", "four"};
static int (*volatile table[])(int);
int twice(int x) { return x * 2; }
static int thrice(int x) { return x * 3 + counter; }
static int (*volatile table[])(int) = {twice, thrice, abs};
extern int weak_missing(int) __attribute__((weak));
extern const double third;
extern int other(int);
__attribute__((constructor)) static void first(void) { counter++; }
__attribute__((constructor(200))) static void early(void) { hidden_counter += 3; }
__attribute__((destructor)) static void last(void) { fflush(stdout); }
int pick(int n) {
	switch (n) {
	case 0: return other(3); case 1: return puts("a"); case 2: return twice(n); case 3: return thrice(n) + 1;
	case 4: return putchar('x'); case 5: return table[n % 3](n); case 6: return (int)(third * n); case 7: return errno;
	case 8: return (int)hidden_counter++; case 9: return other_counter; default: return common_one;
	}
}
int main(int argc, char **argv) {
	int sum = 0;
	for (int i = 0; i < 12; i++) sum += pick(i) + names[i % 4][0];
	if (weak_missing) sum += weak_missing(1);
	printf("%d %s %p\n", sum, names[argc % 4], (void *)stderr);
	return 0;
}
`

const otherC = `
__thread int other_counter = 5;
static __thread int private_one, private_two;
const double third = 1.0 / 3;
int common_one;
__attribute__((noinline)) static const char *message(int n) { return n ? "one" : "a longer string of the other file"; }
int other(int n) { private_one += n; private_two -= n; return message(n)[0] + private_one * private_two; }
int unused(int n) { return other(n) + 1; }
`

const throwCC = `
#include <stdexcept>
#include <string>
#include <vector>
#include <cstdio>
struct Noise { const char *what; ~Noise() { std::puts(what); } };
struct Base { virtual ~Base() {} virtual int f(int) = 0; };
struct Derived : Base { int f(int n) override { if (n > 2) throw std::runtime_error("three"); return n; } };
template <class T> T sum(const std::vector<T> &v) { Noise a{"sum"}; T s{}; for (auto &x : v) s += x; if (v.size() > 3) throw 7; return s; }
int work(Base &b, int n) {
	Noise outer{"outer"};
	try { return b.f(n) + sum(std::vector<int>(n)); }
	catch (const std::runtime_error &e) { std::puts(e.what()); return -1; }
	catch (int i) { return i; }
}
int main() {
	Derived d;
	int total = 0;
	for (int i = 0; i < 6; i++) total += work(d, i);
	try { std::string(1, 'x').at(3); } catch (...) { total++; }
	std::printf("%d\n", total);
	return 0;
}
`

// TestPlainLinks: what no one folded has no mismatch, whatever the linker and the kind of output.
func TestPlainLinks(t *testing.T) {
	kinds := []struct {
		name    string
		compile []string
		link    []string
	}{
		{"pie", []string{"-fPIE"}, []string{"-pie"}},
		{"fixed", []string{"-fno-pie", "-fno-pic"}, []string{"-no-pie"}},
		{"fixed-from-pic", []string{"-fPIC"}, []string{"-no-pie"}},
		{"static", []string{"-fno-pie"}, []string{"-static"}},
		{"static-pie", []string{"-fPIE"}, []string{"-static-pie"}},
		{"shared", []string{"-fPIC"}, []string{"-shared"}},
		{"shared-symbolic", []string{"-fPIC", "-mtls-dialect=gnu2"}, []string{"-shared", "-Wl,-Bsymbolic"}},
		{"noplt", []string{"-fPIE", "-fno-plt"}, []string{"-pie"}},
		{"desc", []string{"-fPIC", "-mtls-dialect=gnu2"}, []string{"-pie"}},
		{"large", []string{"-fPIC", "-mcmodel=large"}, []string{"-pie"}},
		{"stripped", []string{"-fPIE"}, []string{"-pie", "-s"}},
		{"relr", []string{"-fPIE"}, []string{"-pie", "-Wl,-z,pack-relative-relocs"}},
		{"lazy", []string{"-fPIE", "-fcf-protection=full"}, []string{"-pie", "-Wl,-z,lazy"}},
	}
	programs := []struct {
		name  string
		cc    string
		files map[string]string
	}{
		{"c", "gcc", map[string]string{"mix.c": mixC, "other.c": otherC}},
		{"cc", "g++", map[string]string{"throw.cc": throwCC}},
	}
	// What these versions of the linkers refuse by themselves.
	unable := map[string]bool{"gold/relr": true, "gold/static-pie": true, "gold/large": true, "lld/large": true, "mold/large": true}
	for _, k := range kinds {
		for _, p := range programs {
			t.Run(k.name+"/"+p.name, func(t *testing.T) {
				dir := t.TempDir()
				var objects []string
				for _, f := range []string{"mix.c", "other.c", "throw.cc"} {
					if source, ok := p.files[f]; ok {
						objects = append(objects, compile(t, dir, f, source, k.compile...))
					}
				}
				for _, l := range linkers {
					t.Run(l.name, func(t *testing.T) {
						flags := useLinker(t, l.name)
						output := "out-" + l.name
						args := append(append(append([]string{"-o", output, "-Wl,--gc-sections"}, flags...), k.link...), objects...)
						cmd := exec.Command(p.cc, args...)
						cmd.Dir = dir
						if out, err := cmd.CombinedOutput(); err != nil {
							if unable[l.name+"/"+k.name] {
								t.Skipf("this linker has no such link: %s", out)
							}
							t.Fatalf("%v: %s", err, out)
						}
						c := claimOf(t, dir, output, objects...)
						c.Shared = strings.HasPrefix(k.name, "shared")
						res := mustAgree(t, c)
						if res.Functions < 5 || res.Relocs < 20 || res.FDEs < 5 || p.name == "cc" && res.LSDAs < 2 {
							t.Errorf("hardly anything was compared: %v", res)
						}
						if p.name == "c" && !c.Shared && res.Arrays != 3 {
							t.Errorf("%d array entries were compared, want 3", res.Arrays)
						}
					})
				}
			})
		}
	}
}

// TestArrayOrder: where entries with a number beyond the source's highest come, behind those without one or before,
// is each linker's own affair.
func TestArrayOrder(t *testing.T) {
	for _, l := range linkers {
		t.Run(l.name, func(t *testing.T) {
			dir := t.TempDir()
			flags := useLinker(t, l.name)
			entry := func(name, section string) string {
				return func1(name, "ret") + ".section " + section + ",\"aw\",@init_array\n.quad " + name + "\n"
			}
			objects := []string{assemble(t, dir, "late", entry("late", ".init_array.65537")), assemble(t, dir, "plain", entry("plain", ".init_array")),
				assemble(t, dir, "early", entry("early", ".init_array.200")), assemble(t, dir, "start", func1("_start", "call late\nret"))}
			run(t, dir, "gcc", append(append([]string{"-nostdlib", "-pie", "-o", "out"}, flags...), objects...)...)
			c := claimOf(t, dir, "out", objects...)
			c.Linker = l.name
			if res := mustAgree(t, c); res.Arrays != 3 {
				t.Errorf("%d array entries were compared, want 3", res.Arrays)
			}
		})
	}
}
