package html

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"leanlink/report"
)

// sample is a report of a made-up link of n functions, many of them folded.
func sample(n int) *report.Sizes {
	r := &report.Report{
		Tool:  "leanlink test",
		Modes: report.Modes{Fold: "safe", GC: true, Linker: "lld", Style: "cc", Triple: "x86_64-unknown-linux-gnu", Machine: "x86_64", Profile: "release"},
		Inputs: []report.Input{
			{Path: "app-0123456789abcdef.app.1a-cgu.0.rcgu.o", Crate: "app"},
			{Path: "target/libjson-0123456789abcdef.rlib", Member: "json.1b-cgu.0.rcgu.o", Crate: "json"},
			{Path: "$SYSROOT/lib/rustlib/x86_64-unknown-linux-gnu/lib/libcore-0123456789abcdef.rlib", Member: "core.1c-cgu.0.rcgu.o", Crate: "core"},
		},
		Roots: []report.Root{{Section: 0, Why: "entry point"}},
	}
	var text uint64
	for in, crate := range []string{"app", "json", "core"} {
		leader := report.None
		for i := range n {
			module, name := fmt.Sprintf("module_%c", 'a'+i%7), fmt.Sprintf("function_%05d", i)
			symbol := fmt.Sprintf("_ZN%d%s%d%s%d%s17h%016xE", len(crate), crate, len(module), module, len(name), name, uint64(i)*0x9e3779b97f4a7c15)
			s := report.Section{Input: report.InputIndex(in), Index: uint32(i + 1), Name: ".text." + symbol, Size: uint64(16 + i*i%4001), Align: 16, Kind: report.KindCode,
				Symbols: []report.Symbol{{Name: symbol}}, Into: report.None}
			switch {
			case i%5 == 1:
				s.Class, s.Size, s.Fate = uint32(in+1), 240, report.FateKept
				if leader == report.None {
					leader = report.SectionIndex(len(r.Sections))
				} else {
					s.Fate, s.Into = report.FateFolded, leader
				}
			}
			if s.Fate == report.FateKept {
				text += s.Size
			}
			r.Sections = append(r.Sections, s)
		}
	}
	r.Edges.Start = make([]uint32, len(r.Sections)+1)
	for i := 1; i < len(r.Sections); i++ { // a tree: i is kept alive by i/2
		r.Edges.To = append(r.Edges.To, 0)
	}
	r.Edges.To = r.Edges.To[:0]
	for i := range r.Sections {
		for _, c := range []int{2*i + 1, 2*i + 2} {
			if c < len(r.Sections) {
				r.Edges.To = append(r.Edges.To, report.SectionIndex(c))
			}
		}
		r.Edges.Start[i+1] = uint32(len(r.Edges.To))
	}
	r.Output = report.Output{Name: "target/release/app", Size: text + 5064, Alloc: text, Sections: []report.OutputSection{
		{Name: ".text", Addr: 0x1000, Size: text, File: text, Alloc: true}, {Name: ".debug_info", Size: 5000, File: 5000}}}
	r.Tally()
	return report.NewSizes("app", r, nil)
}

func write(t *testing.T, z *report.Sizes, history []Point) []byte {
	t.Helper()
	var b bytes.Buffer
	advice := report.AdviceTable(z.Advise(report.AdviceState{}), false)
	if err := Write(&b, z, advice, history); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPageIsSmallAndSelfContained(t *testing.T) {
	z := sample(20000)
	z.Title = "</script><script>alert(1)</script>"
	page := write(t, z, nil)
	if len(page) > 2<<20 {
		t.Errorf("a page of %d bytes", len(page))
	}
	for _, bad := range []string{"http://", "https://", "src=", "@import", "<link", "</script><script>alert"} {
		text := strings.ReplaceAll(string(page), `"http://www.w3.org/2000/svg"`, "") // a name, not a place
		if strings.Contains(text, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	if again := write(t, sample(20000), nil); bytes.Equal(page, again) {
		t.Error("the title is not in the page")
	}
	if a, b := write(t, sample(50), nil), write(t, sample(50), nil); !bytes.Equal(a, b) {
		t.Error("two pages of one report differ")
	}
}

// TestTreeAddsUp checks that what is summed up is not lost.
func TestTreeAddsUp(t *testing.T) {
	z := sample(3000)
	var walk func(n *report.TreeNode) int
	walk = func(n *report.TreeNode) int {
		count := 1
		var a, b uint64
		for _, c := range n.Children {
			count += walk(c)
			a, b = a+c.After, b+c.Before
		}
		if len(n.Children) > 0 && (a != n.After || b != n.Before) {
			t.Errorf("%s: %d and %d bytes, its children %d and %d", n.Name, n.After, n.Before, a, b)
		}
		return count
	}
	root := z.Tree(&report.ViewOptions{}, 200)
	if n := walk(root); n > 250 {
		t.Errorf("%d nodes, wanted about 200", n)
	}
	if root.After != z.FileSize {
		t.Errorf("a tree of %d bytes, the file has %d", root.After, z.FileSize)
	}
	if root.Before <= root.After {
		t.Errorf("%d bytes before folding, %d after", root.Before, root.After)
	}
}

// browser starts a headless Chromium, or skips the test by its name.
func browser(t *testing.T, dark bool) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("LEANLINK_REQUIRE_TOOLS") != "" {
			t.Fatal("chromium is not installed")
		}
		t.Skip("chromium is not installed")
	}
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-default-apps", true), chromedp.Flag("no-proxy-server", true), chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND"),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(1280, 860), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(90 * time.Second),
	}
	if dark {
		opts = append(opts, chromedp.Flag("blink-settings", "preferredColorScheme=0"))
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel) // ends the browser
	return ctx
}

// shoot keeps a screenshot where LEANLINK_SCREENSHOTS says, for a look at it,
// and checks in any case that there is something on it.
func shoot(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if len(png) < 10000 {
		t.Errorf("%s: a screenshot of %d bytes is empty", name, len(png))
	}
	if dir := os.Getenv("LEANLINK_SCREENSHOTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBrowser(t *testing.T) {
	z := sample(400)
	fileName := "sample"
	if path := os.Getenv("LEANLINK_REPORT"); path != "" {
		real, err := report.Open(path, "")
		if err != nil {
			t.Fatal(err)
		}
		z, fileName = real, "real"
	}
	history := []Point{{"2026-01-02", "aaaa111", 90000, 80000}, {"2026-01-03", "bbbb222", 95000, 85000}, {"2026-01-04", "cccc333", 91000, 81000}}
	page := write(t, z, history)
	if len(page) > 2<<20 {
		t.Errorf("a page of %d bytes", len(page))
	}
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, page, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dark := range []bool{false, true} {
		t.Run(fmt.Sprintf("dark=%v", dark), func(t *testing.T) {
			ctx := browser(t, dark)
			scheme := "light"
			if dark {
				scheme = "dark"
			}
			text := func(js string) string {
				t.Helper()
				s, err := chromedp.Run(ctx, chromedp.Evaluate[string]("String("+js+")"))
				if err != nil {
					t.Fatalf("%s: %v", js, err)
				}
				return s
			}
			do := func(steps ...chromedp.Action[chromedp.Void]) {
				t.Helper()
				if err := chromedp.Do(ctx, steps...); err != nil {
					t.Fatal(err)
				}
			}
			do(chromedp.Navigate("file://"+file), chromedp.WaitVisible(chromedp.CSS("#tree .tile")))
			if got := text(`matchMedia("(prefers-color-scheme: dark)").matches`); got != fmt.Sprint(dark) {
				t.Errorf("dark is %s", got)
			}
			shoot(ctx, t, fileName+"-map-"+scheme)
			if n := text(`document.querySelectorAll("#tree .tile").length`); len(n) < 2 {
				t.Errorf("%s boxes in the map", n)
			}

			// Boxes lie within the map and names within their boxes.
			if n := text(`(() => { const end = document.querySelector("#tree").getBoundingClientRect().bottom + 1; return [...document.querySelectorAll("#tree .tile")].filter((e) => e.getBoundingClientRect().bottom > end).length; })()`); n != "0" {
				t.Errorf("%s boxes reach out of the map", n)
			}
			if n := text(`[...document.querySelectorAll("#tree .tile > span")].filter((e) => e.scrollWidth > e.clientWidth + 1).length`); n != "0" {
				t.Errorf("%s names are longer than their boxes", n)
			}
			// The legend's shares are of what is shown.
			if sum := text(`[...document.querySelectorAll("#legend small")].reduce((s, e) => s + parseFloat(e.textContent.replace("<", "")), 0).toFixed(0)`); sum != "100" {
				t.Errorf("the legend adds up to %s%%", sum)
			}

			// A click goes into a box, the path above shows it, Escape goes out.
			first := text(`document.querySelector("#tree .tile").node.n`)
			before := text(`document.querySelector("#status").textContent`)
			do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#tree .tile").scrollIntoView()`))
			do(chromedp.MouseClickXY(60, clickY(ctx, t)))
			if got := text(`document.querySelector("#crumbs b").textContent`); got != first {
				t.Errorf("after a click on %q the map shows %q", first, got)
			}
			shoot(ctx, t, fileName+"-zoom-"+scheme)
			do(chromedp.KeyEvent(kb.Escape))
			if got := text(`document.querySelector("#crumbs b").textContent`); got != "all" {
				t.Errorf("after Escape the map shows %q", got)
			}

			// The keyboard alone: move, enter, leave.
			do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#tree .tile").focus()`), chromedp.KeyEvent(kb.ArrowRight))
			do(chromedp.KeyEvent(kb.Enter))
			if got := text(`document.querySelector("#crumbs b").textContent`); got == "all" {
				t.Error("Enter goes nowhere")
			}
			do(chromedp.KeyEvent(kb.Escape))

			// Before folding there is more.
			do(chromedp.Click(chromedp.CSS(`#when input[value=b]`)))
			if after := text(`document.querySelector("#status").textContent`); after == before {
				t.Errorf("before and after folding the map has the same: %s", after)
			}
			shoot(ctx, t, fileName+"-before-"+scheme)
			do(chromedp.Click(chromedp.CSS(`#when input[value=a]`)))

			// Search.
			do(chromedp.SendKeys(chromedp.CSS("#search"), "core"))
			if n := text(`document.querySelectorAll("#found li").length`); n == "0" {
				t.Error("the search for core finds nothing")
			}
			shoot(ctx, t, fileName+"-search-"+scheme)
			do(chromedp.SendKeys(chromedp.CSS("#search"), kb.Escape))
			if n := text(`document.querySelectorAll("#found li").length`); n != "0" {
				t.Errorf("after Escape the search still lists %s", n)
			}

			// The other views.
			for _, tab := range []string{"summary", "functions", "constants", "duplicates", "near", "generics", "retained", "dropped", "sections", "advice"} {
				do(chromedp.Click(chromedp.CSS(`button[name=` + tab + `]`)))
				if n := text(`document.querySelectorAll("#content tbody tr").length`); n == "0" {
					t.Errorf("%s has no rows", tab)
				}
			}
			do(chromedp.Click(chromedp.CSS(`button[name=functions]`)))
			all := text(`document.querySelectorAll("#content tbody tr").length`)
			do(chromedp.SendKeys(chromedp.CSS("#filter"), "core"))
			if few := text(`document.querySelectorAll("#content tbody tr").length`); few == all || few == "0" {
				t.Errorf("of %s rows the filter leaves %s", all, few)
			}
			do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#filter").value = ""; document.querySelector("#filter").dispatchEvent(new Event("input"))`))
			// A click on a column's head sorts by it, the next the other way round.
			name := `document.querySelector("#content tbody tr td:last-child").textContent`
			largest := text(name)
			head := `document.querySelector("#content th:nth-child(3) button")`
			do(chromedp.Evaluate[chromedp.Void](head + `.click()`))
			if got := text(name); got != largest {
				t.Errorf("by bytes %q is first, wanted %q", got, largest)
			}
			do(chromedp.Evaluate[chromedp.Void](head + `.click()`))
			if got, sort := text(name), text(`document.querySelector("#content th:nth-child(3)").getAttribute("aria-sort")`); got == largest || sort != "ascending" {
				t.Errorf("by bytes, the other way round (%s), %q is first", sort, got)
			}
			if got := text(`document.querySelector("#content tbody tr:last-child").className`); got != "total" {
				t.Errorf("sorted, the last row is %q", got)
			}
			do(chromedp.Click(chromedp.CSS(`button[name=duplicates]`)))
			shoot(ctx, t, fileName+"-duplicates-"+scheme)
			do(chromedp.Click(chromedp.CSS(`button[name=summary]`)))
			shoot(ctx, t, fileName+"-summary-"+scheme)
			// A link can name a view.
			do(chromedp.Evaluate[chromedp.Void](`location.hash = "#history"`), chromedp.WaitVisible(chromedp.CSS("#history svg")))
			if n, rows := text(`document.querySelectorAll("#history circle").length`), text(`document.querySelectorAll("#history tbody tr").length`); n != "3" || rows != "3" {
				t.Errorf("%s points and %s rows in the history, there are 3 builds", n, rows)
			}
			shoot(ctx, t, fileName+"-history-"+scheme)
		})
	}
}

// clickY is a height in the middle of the first box.
func clickY(ctx context.Context, t *testing.T) float64 {
	t.Helper()
	y, err := chromedp.Run(ctx, chromedp.Evaluate[float64](`document.querySelector("#tree .tile").getBoundingClientRect().top + 6`))
	if err != nil {
		t.Fatal(err)
	}
	return y
}
