package model

import (
	"slices"

	"gputrain/sparse"
)

// fullWeights is the size of a weight matrix (features × labels) up to which it is kept whole: there the pattern saves little
// memory, and weights outside of it, which can only push a label down, earn a little accuracy.
const fullWeights = 1 << 24

// fullRow is the share of the labels from which a feature's row is kept whole: it is then faster without ids.
const fullRow = 1.0 / 3

// Pattern returns the places of the weights that a linear model with a hinge loss can use, features × labels without values:
// those of XᵀY, the pairs that occur together in a row (n×F and n×L); whole rows for features that occur with many of the
// labels; and all pairs where that is a small matrix.
func Pattern(x, y *sparse.CSR) *sparse.CSR {
	features, labels := x.Cols, y.Cols
	all := make([]int32, labels)
	for k := range all {
		all[k] = int32(k)
	}
	p := &sparse.CSR{Cols: labels, Indptr: make([]int64, 1, features+1)}
	whole := int64(features)*int64(labels) <= fullWeights
	rows := x.Transpose() // features × rows
	seenFor := make([]int32, labels)
	var ids []int32
	for f := range features {
		if whole {
			p.Append(all, nil)
			continue
		}
		ids = ids[:0]
		holders, _ := rows.Row(f)
		for _, i := range holders {
			positives, _ := y.Row(int(i))
			for _, k := range positives {
				if seenFor[k] != int32(f)+1 {
					seenFor[k] = int32(f) + 1
					ids = append(ids, k)
				}
			}
		}
		if float64(len(ids)) >= fullRow*float64(labels) {
			p.Append(all, nil)
			continue
		}
		slices.Sort(ids)
		p.Append(ids, nil)
	}
	return p
}

// PatternSize returns an upper bound of the number of weights that Pattern would return, without making it.
func PatternSize(x, y *sparse.CSR) int64 {
	features, labels := int64(x.Cols), int64(y.Cols)
	if features*labels <= fullWeights {
		return features * labels
	}
	perFeature := make([]int64, x.Cols)
	for i := range x.Rows() {
		ids, _ := x.Row(i)
		n := y.Indptr[i+1] - y.Indptr[i]
		for _, f := range ids {
			perFeature[f] += n
		}
	}
	size := int64(0)
	for _, n := range perFeature {
		if float64(n) >= fullRow*float64(labels) {
			n = labels
		}
		size += n
	}
	return size
}
