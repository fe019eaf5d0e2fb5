package features

import (
	"fmt"
	"math"
	"sort"

	"gputrain/sparse"
)

// How given sparse values are weighted.
const (
	WeightAuto  = "auto"   // tf-idf if every value of the training rows is a whole number not below 0, else l2
	WeightTFIDF = "tf-idf" // values are counts: 1 + ln tf, times the inverse document frequency, rows of length 1
	WeightL2    = "l2"     // values are kept, rows of length 1
	WeightNone  = "none"   // values are kept
)

// Weights puts rows of given sparse features to scale. It is fitted by FitWeights and never changes after.
type Weights struct {
	mode string
	cols int
	rows int       // fitted on
	idf  []float32 // by column; nil unless tf-idf
}

// FitWeights learns how to weight rows like those of x, which stays as it is, and says what it chose. Mode is one of the Weight
// constants. Values must be finite.
func FitWeights(x *sparse.CSR, mode string) (w *Weights, note string, err error) {
	bad := firstNotCount(x)
	w = &Weights{mode: mode, cols: x.Cols, rows: x.Rows()}
	switch mode {
	case WeightAuto:
		w.mode, note = WeightTFIDF, "every value is a whole number not below 0"
		if bad >= 0 {
			w.mode, note = WeightL2, fmt.Sprintf("values are not all counts, the first other one is %v", x.Values[bad])
		}
	case WeightTFIDF, WeightL2, WeightNone:
		note = "as asked"
	default:
		return nil, "", fmt.Errorf("features: unknown weighting %q; known: auto, tf-idf, l2, none", mode)
	}
	if w.mode == WeightTFIDF {
		if bad >= 0 {
			return nil, "", notCount(x, bad)
		}
		w.idf = make([]float32, x.Cols)
		for c, df := range documentFrequencies(x) {
			w.idf[c] = inverseDF(w.rows, df)
		}
	}
	return w, fmt.Sprintf("weights %s (%s): %s", w.mode, note, map[string]string{
		WeightTFIDF: "sublinear tf-idf, rows of length 1", WeightL2: "values kept, rows of length 1", WeightNone: "values kept",
	}[w.mode]), nil
}

// Apply weights the rows of x in place. X must have the columns fitted on and, for tf-idf, hold counts; otherwise the error says
// where it does not, and x is unchanged.
func (w *Weights) Apply(x *sparse.CSR) error {
	if x.Cols != w.cols {
		return fmt.Errorf("features: rows have %d columns; the weights were fitted on %d", x.Cols, w.cols)
	}
	if w.mode == WeightNone {
		return nil
	}
	if w.mode == WeightTFIDF {
		if bad := firstNotCount(x); bad >= 0 {
			return notCount(x, bad)
		}
	}
	if x.Values == nil {
		x.Values = make([]float32, len(x.Indices))
		for i := range x.Values {
			x.Values[i] = 1
		}
	}
	for i := range x.Rows() {
		indices, values := x.Row(i)
		if w.idf != nil {
			for k, tf := range values {
				if tf > 0 { // a stored zero is no occurrence
					values[k] = float32((1 + math.Log(float64(tf))) * float64(w.idf[indices[k]]))
				}
			}
		}
		l2(values, 1)
	}
	return nil
}

// Features returns the number of columns.
func (w *Weights) Features() int { return w.cols }

// Mode returns the weighting in use, never auto.
func (w *Weights) Mode() string { return w.mode }

// firstNotCount returns the index in x.Values of the first value that is not a whole number from 0, or -1.
func firstNotCount(x *sparse.CSR) int {
	for i, v := range x.Values {
		if !(v >= 0 && v <= math.MaxFloat32 && v == float32(math.Trunc(float64(v)))) {
			return i
		}
	}
	return -1
}

func notCount(x *sparse.CSR, i int) error {
	row := sort.Search(x.Rows(), func(r int) bool { return x.Indptr[r+1] > int64(i) })
	return fmt.Errorf("features: row %d column %d holds %v; tf-idf wants counts", row, x.Indices[i], x.Values[i])
}

// documentFrequencies returns the number of rows in which each column is not zero.
func documentFrequencies(x *sparse.CSR) []int {
	df := make([]int, x.Cols)
	for i, c := range x.Indices {
		if x.Values == nil || x.Values[i] != 0 {
			df[c]++
		}
	}
	return df
}

// weightsState is the JSON part of fitted Weights. The one tensor is weights.idf (float32), for tf-idf.
type weightsState struct {
	Mode     string `json:"mode"`
	Rows     int    `json:"rows"`
	Features int    `json:"features"`
}

// State implements Encoder.
func (w *Weights) State() (config []byte, tensors map[string]any, err error) {
	tensors = map[string]any{}
	if w.idf != nil {
		tensors["weights.idf"] = w.idf
	}
	config, err = marshalState(stateDoc{Weights: &weightsState{w.mode, w.rows, w.cols}})
	return config, tensors, err
}

func weightsFromState(state *weightsState, tensors map[string]any) (*Weights, error) {
	w := &Weights{mode: state.Mode, rows: state.Rows, cols: state.Features}
	if w.cols < 0 || w.cols > math.MaxInt32 {
		return nil, fmt.Errorf("features: state: %d features", w.cols)
	}
	switch w.mode {
	case WeightL2, WeightNone:
		return w, nil
	case WeightTFIDF:
		var err error
		w.idf, err = idfTensor(tensors, "weights.idf", w.cols)
		return w, err
	}
	return nil, fmt.Errorf("features: state: unknown weighting %q", w.mode)
}
