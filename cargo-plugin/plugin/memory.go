package plugin

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"leanlink/report"
)

var (
	memoryComment = regexp.MustCompile(`(?s)/\*.*?\*/`)
	memoryBlock   = regexp.MustCompile(`(?s)\bMEMORY\s*\{(.*?)\}`)
	memoryLine    = regexp.MustCompile(`(?is)([A-Za-z_.][\w.]*)\s*(?:\([^)]*\))?\s*:\s*(?:ORIGIN|org|o)\s*=\s*([^,]+?)\s*,?\s*(?:LENGTH|len|l)\s*=\s*([^,;\n}]+)`)
)

// parseMemory reads the regions of a linker script's MEMORY commands:
//
//	MEMORY { FLASH (rx) : ORIGIN = 0x08000000, LENGTH = 256K }
func parseMemory(text string) ([]report.Region, error) {
	text = memoryComment.ReplaceAllString(text, " ")
	var regions []report.Region
	for _, block := range memoryBlock.FindAllStringSubmatch(text, -1) {
		for _, m := range memoryLine.FindAllStringSubmatch(block[1], -1) {
			r := report.Region{Name: m[1]}
			var err error
			if r.Origin, err = memoryNumber(m[2], regions); err != nil {
				return nil, fmt.Errorf("region %s: ORIGIN: %w", r.Name, err)
			}
			if r.Length, err = memoryNumber(m[3], regions); err != nil {
				return nil, fmt.Errorf("region %s: LENGTH: %w", r.Name, err)
			}
			regions = append(regions, r)
		}
	}
	return regions, nil
}

// memoryNumber evaluates sums and differences of numbers, as such scripts have
// them: 0x20000000 + 4K, ORIGIN(FLASH) + 0x100, 256K - 16.
func memoryNumber(text string, known []report.Region) (uint64, error) {
	rest := strings.TrimSpace(text)
	var sum uint64
	sign := byte('+')
	for first := true; first || rest != ""; first = false {
		n := strings.IndexAny(rest, "+-")
		term := rest
		next := byte(0)
		if n >= 0 {
			term, next, rest = rest[:n], rest[n], rest[n+1:]
		} else {
			rest = ""
		}
		v, err := memoryTerm(strings.TrimSpace(term), known)
		if err != nil {
			return 0, err
		}
		if sign == '+' {
			sum += v
		} else {
			sum -= v
		}
		sign = next
		if next != 0 && strings.TrimSpace(rest) == "" {
			return 0, fmt.Errorf("%q is not a number", text)
		}
	}
	return sum, nil
}

func memoryTerm(term string, known []report.Region) (uint64, error) {
	for _, r := range known {
		switch strings.ReplaceAll(strings.ToUpper(term), " ", "") {
		case "ORIGIN(" + strings.ToUpper(r.Name) + ")":
			return r.Origin, nil
		case "LENGTH(" + strings.ToUpper(r.Name) + ")":
			return r.Length, nil
		}
	}
	factor := uint64(1)
	digits := term
	switch {
	case strings.HasSuffix(term, "K") || strings.HasSuffix(term, "k"):
		factor, digits = 1<<10, term[:len(term)-1]
	case strings.HasSuffix(term, "M") || strings.HasSuffix(term, "m"):
		factor, digits = 1<<20, term[:len(term)-1]
	}
	v, err := strconv.ParseUint(strings.TrimSpace(digits), 0, 64)
	if err != nil || v > 1<<63/factor {
		return 0, fmt.Errorf("%q is not a number", term)
	}
	return v * factor, nil
}
