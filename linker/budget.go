package linker

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Budget is one size limit of the configuration.
type Budget struct {
	What    string  // total, section.NAME, crate.NAME or region.NAME
	Growth  bool    // the limit is on growth against a baseline
	Bytes   uint64  // the limit, unless Percent says
	Percent float64 // > 0: the limit in percent of the baseline; only with Growth
}

// parseBudget reads the [budget] table, sorted by What.
func parseBudget(table map[string]any) ([]Budget, error) {
	var budgets []Budget
	for _, name := range sortedKeys(table) {
		group, rest, dotted := strings.Cut(name, ".")
		inner, isTable := table[name].(map[string]any)
		switch {
		case name == "total" && !isTable:
			inner = map[string]any{"": table[name]}
		case isTable && !dotted && isBudgetGroup(name):
		case dotted && isBudgetGroup(group) && rest != "" && !isTable: // "section..text" = 4096
			inner, name = map[string]any{rest: table[name]}, group
		default:
			return nil, fmt.Errorf("budget.%s: must be total, section.NAME, crate.NAME or region.NAME", name)
		}
		for _, what := range sortedKeys(inner) {
			full := name
			if what != "" {
				full += "." + what
			}
			b, err := parseLimit(inner[what])
			if err != nil {
				return nil, fmt.Errorf("budget.%s = %s: %w", full, showValue(inner[what]), err)
			}
			b.What = full
			budgets = append(budgets, b)
		}
	}
	return budgets, nil
}

func isBudgetGroup(name string) bool {
	return name == "section" || name == "crate" || name == "region"
}

var errLimit = fmt.Errorf(`must be a number of bytes, a size such as "1.5MB" or "64KiB", or a growth such as "+2%%" or "+10kB"`)

// parseLimit reads one limit. kB, MB and GB are powers of 1000; KiB, MiB and
// GiB of 1024.
func parseLimit(v any) (Budget, error) {
	switch v := v.(type) {
	case int64:
		if v < 0 {
			return Budget{}, errLimit
		}
		return Budget{Bytes: uint64(v)}, nil
	case string:
		var b Budget
		text, growth := strings.CutPrefix(strings.TrimSpace(v), "+")
		b.Growth = growth
		digits := strings.TrimRight(text, "%abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
		number, err := strconv.ParseFloat(digits, 64)
		if err != nil || number < 0 || math.IsInf(number, 0) || math.IsNaN(number) {
			return Budget{}, errLimit
		}
		unit := strings.TrimSpace(text[len(digits):])
		if unit == "%" {
			if !growth {
				return Budget{}, errLimit
			}
			b.Percent = number
			return b, nil
		}
		factor, ok := unitFactor(unit)
		if !ok || number*factor > math.MaxInt64 {
			return Budget{}, errLimit
		}
		b.Bytes = uint64(math.Round(number * factor))
		return b, nil
	}
	return Budget{}, errLimit
}

func unitFactor(unit string) (float64, bool) {
	switch unit {
	case "", "B":
		return 1, true
	case "kB", "KB", "k", "K":
		return 1e3, true
	case "MB", "M":
		return 1e6, true
	case "GB", "G":
		return 1e9, true
	case "KiB":
		return 1 << 10, true
	case "MiB":
		return 1 << 20, true
	case "GiB":
		return 1 << 30, true
	}
	return 0, false
}
