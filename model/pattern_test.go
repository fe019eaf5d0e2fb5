package model

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gputrain/sparse"
)

// randomCSR draws rows of up to most ids, those near 0 much more often.
func randomCSR(rng *rand.Rand, rows, cols, most int) *sparse.CSR {
	m := &sparse.CSR{Cols: cols, Indptr: []int64{0}}
	for range rows {
		seen := map[int32]bool{}
		for range rng.IntN(most + 1) {
			u := rng.Float64()
			seen[int32(u*u*u*float64(cols))] = true
		}
		m.Append(slices.Sorted(maps.Keys(seen)), nil)
	}
	return m
}

// TestPattern compares with XᵀY pair by pair, in a matrix that is too large to be kept whole.
func TestPattern(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const features, labels = 90_000, 200
	x := randomCSR(rng, 300, features, 20)
	y := randomCSR(rng, 300, labels, 5)
	together := map[[2]int32]bool{}
	for i := range x.Rows() {
		fs, _ := x.Row(i)
		ks, _ := y.Row(i)
		for _, f := range fs {
			for _, k := range ks {
				together[[2]int32{f, k}] = true
			}
		}
	}
	of := make([][]int32, features)
	whole := 0
	for pair := range together {
		of[pair[0]] = append(of[pair[0]], pair[1])
	}
	for f := range of {
		slices.Sort(of[f])
		if float64(len(of[f])) >= fullRow*labels {
			whole++
			of[f] = nil
			for k := range int32(labels) {
				of[f] = append(of[f], k)
			}
		}
	}
	if whole == 0 || whole > 100 {
		t.Fatalf("%d whole rows: the test shows nothing", whole)
	}
	p := Pattern(x, y)
	if err := p.Check(); err != nil || p.Rows() != features || p.Cols != labels || p.Values != nil {
		t.Fatalf("%d×%d, values %v: %v", p.Rows(), p.Cols, p.Values != nil, err)
	}
	for f := range features {
		if got, _ := p.Row(f); !cmp.Equal(append([]int32(nil), got...), of[f]) {
			t.Fatalf("feature %d: %v, want %v", f, got, of[f])
		}
	}
	if bound := PatternSize(x, y); bound < int64(p.NNZ()) || bound > 2*int64(p.NNZ()) {
		t.Errorf("PatternSize %d for %d weights", bound, p.NNZ())
	}
}

func TestPatternOfSmallMatrix(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	x, y := randomCSR(rng, 20, 30, 4), randomCSR(rng, 20, 7, 2)
	p := Pattern(x, y)
	if err := p.Check(); err != nil || p.NNZ() != 30*7 || PatternSize(x, y) != 30*7 {
		t.Errorf("%d weights, at most %d: %v; want all of 30×7", p.NNZ(), PatternSize(x, y), err)
	}
	none := &sparse.CSR{Cols: 7, Indptr: []int64{0}}
	if p := Pattern(&sparse.CSR{Cols: 0, Indptr: []int64{0}}, none); p.Rows() != 0 || p.Cols != 7 {
		t.Errorf("no features: %d×%d", p.Rows(), p.Cols)
	}
}
