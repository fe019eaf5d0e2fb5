package features

import (
	"math"
	"slices"
	"strings"
	"testing"

	"gputrain/sparse"
)

// counts returns a small matrix of counts with an empty row and a stored zero.
func counts() *sparse.CSR {
	x := &sparse.CSR{Cols: 4}
	x.Append([]int32{0, 2}, []float32{1, 3})
	x.Append([]int32{1, 2, 3}, []float32{2, 1, 0})
	x.Append([]int32{0, 2}, []float32{7, 1})
	x.Append(nil, nil)
	return x
}

func TestWeightsScikitLearn(t *testing.T) {
	g := readGolden(t).Weights
	x := counts()
	w, note, err := FitWeights(x, WeightAuto)
	if err != nil {
		t.Fatal(err)
	}
	if w.Mode() != WeightTFIDF || !strings.Contains(note, "tf-idf") {
		t.Errorf("auto chose %s: %s", w.Mode(), note)
	}
	config, tensors, err := w.State()
	if err != nil {
		t.Fatal(err)
	}
	reloaded, err := FromState(config, tensors)
	if err != nil {
		t.Fatal(err)
	}
	y := x.Select([]int{0, 1, 2, 3})
	if err := w.Apply(x); err != nil {
		t.Fatal(err)
	}
	if err := reloaded.(*Weights).Apply(y); err != nil {
		t.Fatal(err)
	}
	sameMatrix(t, x, y)
	for i, want := range g.TFIDF {
		indices, values := x.Row(i)
		got := make([]float64, len(want))
		for k, c := range indices {
			got[c] = float64(values[k])
		}
		for c := range want {
			if math.Abs(got[c]-want[c]) > 1e-6 {
				t.Errorf("row %d column %d is %v; scikit-learn has %v", i, c, got[c], want[c])
			}
		}
	}
}

func TestWeightsModes(t *testing.T) {
	build := func(values ...float32) *sparse.CSR {
		x := &sparse.CSR{Cols: 2}
		x.Append([]int32{0, 1}, values)
		return x
	}
	for _, c := range []struct {
		name, mode, want string
		x                *sparse.CSR
		row              []float32
	}{
		{"counts", WeightAuto, WeightTFIDF, build(3, 3), []float32{math.Sqrt2 / 2, math.Sqrt2 / 2}},
		{"no values", WeightAuto, WeightTFIDF, build(), []float32{math.Sqrt2 / 2, math.Sqrt2 / 2}},
		{"fractions", WeightAuto, WeightL2, build(0.3, 0.4), []float32{0.6, 0.8}},
		{"negative", WeightAuto, WeightL2, build(-3, 4), []float32{-0.6, 0.8}},
		{"asked", WeightL2, WeightL2, build(3, 4), []float32{0.6, 0.8}},
		{"none", WeightNone, WeightNone, build(3, 4), []float32{3, 4}},
		{"zeros", WeightAuto, WeightTFIDF, build(0, 0), []float32{0, 0}},
	} {
		w, note, err := FitWeights(c.x, c.mode)
		if err != nil {
			t.Fatal(c.name, err)
		}
		if err := w.Apply(c.x); err != nil {
			t.Fatal(c.name, err)
		}
		near := func(a, b float32) bool { return math.Abs(float64(a-b)) < 1e-6 }
		if w.Mode() != c.want || !strings.Contains(note, c.want) || !slices.EqualFunc(c.x.Values, c.row, near) {
			t.Errorf("%s: %s (%s) %v; want %s %v", c.name, w.Mode(), note, c.x.Values, c.want, c.row)
		}
	}
}

func TestWeightsErrors(t *testing.T) {
	if _, _, err := FitWeights(counts(), "bm25"); err == nil {
		t.Error("no error for an unknown weighting")
	}
	x := counts()
	x.Values[2] = 0.5
	if _, _, err := FitWeights(x, WeightTFIDF); err == nil || !strings.Contains(err.Error(), "row 1 column 1 holds 0.5") {
		t.Errorf("fit on a fraction: %v", err)
	}
	w, _, err := FitWeights(counts(), WeightTFIDF)
	if err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(x.Values)
	if err := w.Apply(x); err == nil || !slices.Equal(before, x.Values) {
		t.Errorf("apply to a fraction: %v, values %v", err, x.Values)
	}
	if err := w.Apply(&sparse.CSR{Cols: 5}); err == nil || !strings.Contains(err.Error(), "5 columns") {
		t.Errorf("apply to other columns: %v", err)
	}
}
