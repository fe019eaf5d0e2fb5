package sparse

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// random returns a matrix with about a third of its entries stored.
func random(rows, cols int, values bool) *CSR {
	rng := rand.New(rand.NewPCG(1, uint64(rows*cols)))
	m := &CSR{Cols: cols, Indptr: []int64{0}}
	for range rows {
		var ids []int32
		var vs []float32
		for c := range cols {
			if rng.IntN(3) == 0 {
				ids = append(ids, int32(c))
				if values {
					vs = append(vs, rng.Float32()+1)
				}
			}
		}
		m.Append(ids, vs)
	}
	return m
}

// dense returns the matrix as rows of plain numbers.
func dense(m *CSR) [][]float32 {
	out := make([][]float32, m.Rows())
	for i := range out {
		out[i] = make([]float32, m.Cols)
		ids, values := m.Row(i)
		for k, c := range ids {
			out[i][c] = 1
			if values != nil {
				out[i][c] = values[k]
			}
		}
	}
	return out
}

func TestTranspose(t *testing.T) {
	for _, values := range []bool{false, true} {
		m := random(7, 11, values)
		tr := m.Transpose()
		if err := tr.Check(); err != nil {
			t.Fatal(err)
		}
		a, b := dense(m), dense(tr)
		for i := range a {
			for j := range a[i] {
				if a[i][j] != b[j][i] {
					t.Fatalf("(%d, %d) is %v, transposed %v", i, j, a[i][j], b[j][i])
				}
			}
		}
	}
}

func TestSelectAndGather(t *testing.T) {
	m := random(9, 5, true)
	order := []int{8, 0, 3, 3}
	got, all := dense(m.Select(order)), dense(m)
	for k, i := range order {
		if !slices.Equal(got[k], all[i]) {
			t.Errorf("row %d of the selection is %v, want row %d, %v", k, got[k], i, all[i])
		}
	}
	dst := &CSR{}
	m.Gather(dst, []int{0, 1, 2, 3, 4, 5, 6, 7, 8})
	if n := testing.AllocsPerRun(10, func() { m.Gather(dst, order) }); n != 0 {
		t.Errorf("Gather into a matrix with room allocates %v times", n)
	}
	if none := random(3, 4, false).Select([]int{2}); none.Values != nil {
		t.Errorf("a matrix of ones got values %v", none.Values)
	}
}

func TestColCounts(t *testing.T) {
	m := &CSR{Cols: 4}
	m.Append([]int32{0, 2}, nil)
	m.Append([]int32{2}, nil)
	if got := m.ColCounts(); !slices.Equal(got, []int64{1, 0, 2, 0}) {
		t.Errorf("counts %v", got)
	}
}

func TestCheck(t *testing.T) {
	for want, m := range map[string]*CSR{
		"no rows":                {Indices: []int32{1}},
		"offsets run from":       {Cols: 2, Indptr: []int64{0, 2}, Indices: []int32{1}},
		"2 values for 1":         {Cols: 2, Indptr: []int64{0, 1}, Indices: []int32{1}, Values: []float32{1, 2}},
		"runs from entry 2 to":   {Cols: 3, Indptr: []int64{0, 2, 1, 2}, Indices: []int32{0, 1}},
		"column 1 after 1":       {Cols: 3, Indptr: []int64{0, 2}, Indices: []int32{1, 1}},
		"column 3 after -1":      {Cols: 3, Indptr: []int64{0, 1}, Indices: []int32{3}},
		"column -1 after":        {Cols: 3, Indptr: []int64{0, 1}, Indices: []int32{-1}},
		"row 1 column 2 holds N": {Cols: 3, Indptr: []int64{0, 0, 1}, Indices: []int32{2}, Values: []float32{float32(math.NaN())}},
		"holds +Inf":             {Cols: 3, Indptr: []int64{0, 1}, Indices: []int32{2}, Values: []float32{float32(math.Inf(1))}},
	} {
		if err := m.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %q", err, want)
		}
	}
	for _, m := range []*CSR{{}, {Cols: 3}, {Indptr: []int64{0}}, random(4, 4, true), random(4, 4, false)} {
		if err := m.Check(); err != nil {
			t.Errorf("%+v: %v", m, err)
		}
	}
}
