package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"gputrain/metrics"
)

// print writes a result.
func (r *invocation) print(parts ...string) error {
	_, err := io.WriteString(r.out, strings.Join(parts, ""))
	return err
}

// printJSON writes v as one indented object.
func (r *invocation) printJSON(v any) error {
	enc := json.NewEncoder(r.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// grid is a table of cells: the first column is aligned left, the others right.
type grid [][]string

func (g *grid) row(cells ...string) { *g = append(*g, cells) }

func (g grid) String() string {
	var widths []int
	for _, row := range g {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range g {
		for len(row) > 1 && row[len(row)-1] == "" {
			row = row[:len(row)-1]
		}
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch {
			case i > 0:
				b.WriteString("  " + pad + cell)
			case len(row) > 1:
				b.WriteString(cell + pad)
			default:
				b.WriteString(cell)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// fields formats pairs of a name and a value, aligned; pairs with an empty value are left out.
func fields(pairs ...string) string {
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		width = max(width, utf8.RuneCountInString(pairs[i]))
	}
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			b.WriteString(pairs[i] + strings.Repeat(" ", width-utf8.RuneCountInString(pairs[i])) + "  " + pairs[i+1] + "\n")
		}
	}
	return b.String()
}

// metricsTable formats metrics in percent: a line for each family of p@1 p@3 ... and of micro_f1 micro_precision ..., under the
// names of the columns, and a line for each metric that stands alone.
func metricsTable(result metrics.Result) string {
	var table, alone grid
	for i := 0; i < len(result); {
		family, column := splitName(result[i].Name)
		if column == "" {
			alone.row(family, percent(result[i].Value))
			i++
			continue
		}
		head, line := []string{""}, []string{family}
		for same := family; i < len(result) && same == family; {
			head, line = append(head, column), append(line, percent(result[i].Value))
			if i++; i < len(result) {
				same, column = splitName(result[i].Name)
			}
		}
		if n := len(table); n == 0 || !slices.Equal(table[lastHead(table)], head) {
			table.row(head...)
		}
		table.row(line...)
	}
	return append(table, alone...).String()
}

// lastHead returns the last row without a name.
func lastHead(g grid) int {
	i := len(g) - 1
	for g[i][0] != "" {
		i--
	}
	return i
}

var families = map[string]string{"p": "P", "r": "R", "ndcg": "nDCG", "psp": "PSP"}

// splitName returns the family of a metric and its column there, which is empty where the metric stands alone.
func splitName(name string) (family, column string) {
	if family, k, ok := strings.Cut(name, "@"); ok {
		return families[family], "@" + k
	}
	for _, column := range []string{"f1", "precision", "recall"} {
		if family, ok := strings.CutSuffix(name, "_"+column); ok {
			return family, column
		}
	}
	return strings.ReplaceAll(name, "_", " "), ""
}

func percent(share float64) string { return fmt.Sprintf("%.2f", 100*share) }
