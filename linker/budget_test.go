package linker

import (
	"reflect"
	"testing"
)

func TestParseBudget(t *testing.T) {
	const must = `: must be a number of bytes, a size such as "1.5MB" or "64KiB", or a growth such as "+2%" or "+10kB"`
	tests := []struct {
		table map[string]any
		want  []Budget
		err   string
	}{
		{table: map[string]any{}},
		{table: map[string]any{"total": int64(5)}, want: []Budget{{What: "total", Bytes: 5}}},
		{table: map[string]any{"total": "1.5MB", "section": map[string]any{".text": "64KiB", ".data": "10"}, "crate": map[string]any{"std": "+2%"}, "region": map[string]any{"FLASH": "+10kB"}},
			want: []Budget{{What: "crate.std", Growth: true, Percent: 2}, {What: "region.FLASH", Growth: true, Bytes: 10_000},
				{What: "section..data", Bytes: 10}, {What: "section..text", Bytes: 65536}, {What: "total", Bytes: 1_500_000}}},
		{table: map[string]any{"section..text": "2 MiB"}, want: []Budget{{What: "section..text", Bytes: 2 << 20}}},
		{table: map[string]any{"total": "1GiB"}, want: []Budget{{What: "total", Bytes: 1 << 30}}},
		{table: map[string]any{"total": int64(-1)}, err: `budget.total = -1` + must},
		{table: map[string]any{"total": "2%"}, err: `budget.total = "2%"` + must},
		{table: map[string]any{"total": "lots"}, err: `budget.total = "lots"` + must},
		{table: map[string]any{"total": "-5"}, err: `budget.total = "-5"` + must},
		{table: map[string]any{"total": "1e300GB"}, err: `budget.total = "1e300GB"` + must},
		{table: map[string]any{"total": "NaN"}, err: `budget.total = "NaN"` + must},
		{table: map[string]any{"total": true}, err: `budget.total = true` + must},
		{table: map[string]any{"crate": map[string]any{"std": "5 stones"}}, err: `budget.crate.std = "5 stones"` + must},
		{table: map[string]any{"function": map[string]any{"f": int64(1)}}, err: `budget.function: must be total, section.NAME, crate.NAME or region.NAME`},
		{table: map[string]any{"section": int64(1)}, err: `budget.section: must be total, section.NAME, crate.NAME or region.NAME`},
		{table: map[string]any{"total": map[string]any{}}, err: `budget.total: must be total, section.NAME, crate.NAME or region.NAME`},
	}
	for _, tt := range tests {
		got, err := parseBudget(tt.table)
		if !reflect.DeepEqual(got, tt.want) || errText(err) != tt.err {
			t.Errorf("%v:\n%+v, %q, want\n%+v, %q", tt.table, got, errText(err), tt.want, tt.err)
		}
	}
}
