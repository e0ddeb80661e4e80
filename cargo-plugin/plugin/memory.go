package plugin

import (
	"fmt"
	"regexp"
	"slices"
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

// memoryNumber evaluates an expression of numbers, as such scripts have them:
// 0x20000000 + 4K, ORIGIN(FLASH) + 0x100, 2 * (256K - 16).
func memoryNumber(text string, known []report.Region) (uint64, error) {
	e := &memoryExpr{words: memoryWord.FindAllString(text, -1), known: known}
	v := e.sum()
	if e.bad || e.at < len(e.words) || strings.TrimSpace(memoryWord.ReplaceAllString(text, "")) != "" {
		return 0, fmt.Errorf("%q is not a number", strings.TrimSpace(text))
	}
	return v, nil
}

var memoryWord = regexp.MustCompile(`[\w.]+|[-+*/()]`)

// memoryExpr reads an expression word by word.
type memoryExpr struct {
	words []string
	at    int
	known []report.Region
	bad   bool
}

// next takes the next word if it is one of the wanted ones.
func (e *memoryExpr) next(wanted ...string) string {
	if e.at < len(e.words) && slices.Contains(wanted, e.words[e.at]) {
		e.at++
		return e.words[e.at-1]
	}
	return ""
}

func (e *memoryExpr) sum() uint64 {
	v := e.product()
	for {
		switch e.next("+", "-") {
		case "+":
			v += e.product()
		case "-":
			v -= e.product()
		default:
			return v
		}
	}
}

func (e *memoryExpr) product() uint64 {
	v := e.term()
	for {
		switch e.next("*", "/") {
		case "*":
			v *= e.term()
		case "/":
			by := e.term()
			if by == 0 {
				e.bad = true
				return 0
			}
			v /= by
		default:
			return v
		}
	}
}

func (e *memoryExpr) term() uint64 {
	if e.next("(") != "" {
		v := e.sum()
		e.bad = e.bad || e.next(")") == ""
		return v
	}
	if e.at >= len(e.words) {
		e.bad = true
		return 0
	}
	word := e.words[e.at]
	e.at++
	if of := strings.ToUpper(word); (of == "ORIGIN" || of == "LENGTH") && e.next("(") != "" && e.at+1 < len(e.words) {
		name := e.words[e.at]
		e.at++
		e.bad = e.bad || e.next(")") == ""
		for _, r := range e.known {
			if r.Name == name && of == "ORIGIN" {
				return r.Origin
			} else if r.Name == name {
				return r.Length
			}
		}
		e.bad = true
		return 0
	}
	factor := uint64(1)
	digits := word
	switch word[len(word)-1] {
	case 'K', 'k':
		factor, digits = 1<<10, word[:len(word)-1]
	case 'M', 'm':
		factor, digits = 1<<20, word[:len(word)-1]
	}
	v, err := strconv.ParseUint(digits, 0, 64)
	e.bad = e.bad || err != nil || v > 1<<63/factor
	return v * factor
}
