package report

import (
	"strings"
	"testing"
)

func TestFileCrate(t *testing.T) {
	for _, c := range []struct{ file, member, want string }{
		{"target/release/deps/libserde_json-fe0cb80fd15787d0.rlib", "serde_json-fe0cb80fd15787d0.serde_json.1a2b-cgu.0.rcgu.o", "serde_json"},
		{"$SYSROOT/lib/rustlib/x86_64-unknown-linux-gnu/lib/libstd-d1237ef7159db0a2.rlib", "std-d1237ef7159db0a2.std.4f-cgu.0.rcgu.o", "std"},
		{"liblibc-105e51ae59be1bcb.rlib", "", "libc"},
		{"libplain.rlib", "x.o", "plain"},
		{"libzstd_sys-0123456789abcdef.rlib", "zstd_compress.o", "zstd_sys"}, // C that a build script bundled
		{"rg-b78c7a89dbbd9a51.rg.4c4f285ca0232937-cgu.03.rcgu.o", "", "rg"},
		{"/tmp/x/rg-b78c7a89dbbd9a51.rg.4c4f285ca0232937-cgu.03.rcgu.o", "", "rg"},
		{"rg-b78c7a89dbbd9a51.du294b73nj4xkzz4gqqmhtguo.rcgu.o", "", "rg"},
		{"my-tool.main.4c4f285ca0232937-cgu.0.rcgu.o", "", "main"}, // rustc main.rs -o my-tool
		{"my-tool.1x2y.rcgu.o", "", "my_tool"},
		{"demo.memchr-9b5f2a5b4b1b9a11.memchr.77bc2cdd5b1f1b51-cgu.0.rcgu.o.rcgu.o", "", "memchr"}, // ThinLTO
		{"libstd-d1237ef7159db0a2.so", "", "std"},
		{"libgcc_s.so", "", ""},
		{"libz.a", "adler.o", ""},
		{"rustcXXXXXX/symbols.o", "", ""},
		{"/usr/lib/crt1.o", "", ""},
		{"", "", ""},
	} {
		if got := FileCrate(c.file, c.member); got != c.want {
			t.Errorf("FileCrate(%q, %q) = %q, want %q", c.file, c.member, got, c.want)
		}
	}
}

func TestSymbolCrates(t *testing.T) {
	const h = "17h0123456789abcdefE"
	r := &Report{Inputs: []Input{{Crate: "app"}, {Crate: "printer"}, {Crate: "json"}, {Crate: "core_traits"}}}
	crates := r.Crates()
	for _, c := range []struct{ symbol, defined, instantiated string }{
		// Legacy: paths.
		{"_ZN2rg5flags5parse" + h, "rg", ""},
		{"_ZN4core3ptr42drop_in_place$LT$alloc..string..String$GT$" + h, "core", ""},
		{"_ZN4core3ptr42drop_in_place$LT$alloc..string..String$GT$" + h + ".llvm.1234", "core", ""},
		{"_ZN3log6LOGGER" + h + ".0", "log", ""},
		{"_ZN4core3fmt3num52_$LT$impl$u20$core..fmt..Display$u20$for$u20$u32$GT$3fmt" + h, "core", ""},
		// Legacy: impls in the module of the type or of the trait.
		{"_ZN60_$LT$alloc..string..String$u20$as$u20$core..fmt..Display$GT$3fmt" + h, "alloc", ""},
		{"_ZN42_$LT$$RF$T$u20$as$u20$core..fmt..Debug$GT$3fmt" + h, "core", ""},
		{"_ZN50_$LT$std..fs..File$u20$as$u20$printer..Counter$GT$4size" + h, "printer", ""},
		{"_ZN53_$LT$printer..Out$u20$as$u20$json..ser..Formatter$GT$4size" + h, "printer", ""},
		{"_ZN53_$LT$json..Value$u20$as$u20$printer..show..Showed$GT$4size" + h, "printer", ""},
		{"_ZN52_$LT$$u5b$A$u5d$$u20$as$u20$core..slice..SliceEq$GT$5equal" + h, "core", ""},
		{"_ZN63_$LT$$LP$alloc..vec..Vec$LT$T$GT$$C$B$RP$$u20$as$u20$app..T$GT$4equa" + h, "app", ""},
		{"_ZN66_$LT$dyn$u20$core..any..Any$u20$as$u20$core..ops..function..Fn$GT$4call" + h, "core", ""},
		{"_ZN73_$LT$json..A$LT$$LT$X$u20$as$u20$app..B$GT$..C$GT$$u20$as$u20$core..D$GT$2ex" + h, "json", ""},
		{"_ZN24_$LT$impl$u20$app..X$GT$1m" + h, "app", ""},
		// v0.
		{"_RNvMs5_NtNtCsjrHSEGnQ3l9_3std2io5errorNtB5_5Error4kind", "std", ""},
		{"_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeNtNtCslNYArtu3iFV_5alloc6string6StringECsjrHSEGnQ3l9_3std", "core", "std"},
		{"_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeNtNtCslNYArtu3iFV_5alloc6string6StringEBK_", "core", "alloc"},
		{"_RNvMNtCsgEmfK2I1SDS_4core5sliceSh11starts_withCs4X4t9plMPHF_9addr2line", "core", "addr2line"},
		{"_RNvXsZ_NtCslNYArtu3iFV_5alloc6stringNtB5_6StringNtNtCsgEmfK2I1SDS_4core3fmt5Write9write_str", "alloc", ""},
		{"_RNvNCNKNvNtNtCsjrHSEGnQ3l9_3std2io5stdio14OUTPUT_CAPTURE0023___RUST_STD_INTERNAL_VAL", "std", ""},
		{"_RNvYTNtNtCs1_1a1b1cDNtCs2_1d1eEL_ENtCs3_1f1g1h", "f", ""},
		{"_RNvNtCs1_1a1b1c.llvm.99", "a", ""},
		// Not Rust, or broken.
		{"main", "", ""},
		{"_ZNSt6vectorIiSaIiEE9push_backEOi", "", ""},
		{"_ZN2rg5flags5parse17h0123456789abcdeE", "", ""},
		{"_ZN9999999999999999999999rg" + h, "", ""},
		{"_ZN0" + h, "", ""},
		{"_ZN" + h, "", ""},
		{"_R", "", ""},
		{"_RNv", "", ""},
		{"_RNvB_1a", "", ""},
		{"_RC3ab", "", ""},
		{"_R2NvC1a1b", "", ""},
		{"_RNvC99999999999999999999a1b", "", ""},
		{"", "", ""},
	} {
		defined, instantiated := crates.Of(c.symbol)
		if defined != c.defined || instantiated != c.instantiated {
			t.Errorf("Of(%s) = %q, %q, want %q, %q", c.symbol, defined, instantiated, c.defined, c.instantiated)
		}
	}
}

func TestSectionCrate(t *testing.T) {
	const h = "17h0123456789abcdefE"
	var crates Crates
	for _, c := range []struct {
		section Section
		want    string
	}{
		{Section{Name: ".text._ZN2rg4main" + h, Symbols: []Symbol{{Name: "_ZN2rg4main" + h}}}, "rg"},
		{Section{Name: ".gcc_except_table._ZN2rg4main" + h, Symbols: []Symbol{{Name: "GCC_except_table1"}}}, "rg"},
		{Section{Name: ".rodata._RNvCs1_3std3foo"}, "std"},
		{Section{Name: ".rodata..Lanon.0123.4"}, ""},
		{Section{Name: ".text"}, ""},
	} {
		if got := crates.OfSection(&c.section); got != c.want {
			t.Errorf("OfSection(%s) = %q, want %q", c.section.Name, got, c.want)
		}
	}
}

// Back references make short symbols long to read; the reader must give up.
func TestV0Bounded(t *testing.T) {
	s := "C1a"
	for range 40 {
		s = "NtNt" + s + "1b1c"
	}
	deep := "_RNv" + strings.Repeat("Nt", 10000) + "C1a" + strings.Repeat("1b", 10001)
	wide := "_RINvC1a1bT" + strings.Repeat("TB5_B5_B5_E", 1) + strings.Repeat("B9_", 200000) + "EE"
	for _, symbol := range []string{"_R" + s, deep, wide} {
		defined, _ := v0Crates(symbol)
		if defined != "a" && defined != "" {
			t.Errorf("%.40s…: %q", symbol, defined)
		}
	}
}

func TestGeneric(t *testing.T) {
	const h = "17h0123456789abcdefE"
	for symbol, want := range map[string]string{
		"_ZN4core3ptr42drop_in_place$LT$alloc..string..String$GT$" + h:                                             "core::ptr::drop_in_place",
		"_ZN64_$LT$alloc..vec..Vec$LT$T$C$A$GT$$u20$as$u20$core..ops..Drop$GT$4drop" + h:                           "<alloc::vec::Vec as core::ops::Drop>::drop",
		"_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeNtNtCslNYArtu3iFV_5alloc6string6StringECsjrHSEGnQ3l9_3std":   "core::ptr::drop_in_place",
		"_RNvXsZ_NtCslNYArtu3iFV_5alloc6stringNtB5_6StringNtNtCsgEmfK2I1SDS_4core3fmt5Write9write_str":             "<alloc::string::String as core::fmt::Write>::write_str",
		"_ZN4core3fmt3num52_$LT$impl$u20$core..fmt..Display$u20$for$u20$u32$GT$3fmt" + h:                           "core::fmt::num::<impl core::fmt::Display for u32>::fmt",
		"_RINvMNtCsgEmfK2I1SDS_4core3stre12trim_matchesNvMNtNtB5_4char7methodsc13is_whitespaceECsjrHSEGnQ3l9_3std": "<str>::trim_matches",
		"_ZNSt6vectorIiSaIiEE9push_backEOi":                                                                        "std::vector::push_back(int&&)",
		"main":                                                                                                     "main",
	} {
		if got := Generic(symbol); got != want {
			t.Errorf("Generic(%s) = %q, want %q", symbol, got, want)
		}
	}
}

func FuzzCrates(f *testing.F) {
	f.Add("_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeNtNtCslNYArtu3iFV_5alloc6string6StringEBK_")
	f.Add("_RNvXs_NtC1a1bFG_KC3fooReEpNtB2_1c1d")
	f.Add("_RINvC1a1bKj3_DNtC1c1dp1eReEL_AhKh7_E")
	f.Add("_ZN60_$LT$alloc..string..String$u20$as$u20$core..fmt..Display$GT$3fmt17h0123456789abcdefE")
	f.Fuzz(func(t *testing.T, symbol string) {
		var c Crates
		defined, instantiated := c.Of(symbol)
		if defined == "" && instantiated != "" || !strings.Contains(symbol, defined) || !strings.Contains(symbol, instantiated) {
			t.Errorf("Of(%q) = %q, %q", symbol, defined, instantiated)
		}
	})
}
