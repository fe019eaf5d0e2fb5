// Package sparse holds the one sparse matrix type that packages exchange: compressed sparse rows of float32 values with
// int32 column ids. Features, label targets and sparse weights all travel as a CSR.
package sparse

import (
	"fmt"
	"math"
)

// CSR is a sparse matrix in compressed sparse row form. Row i holds the columns Indices[Indptr[i]:Indptr[i+1]], strictly
// ascending, and the values at the same positions. The zero value is an empty matrix without rows or columns.
type CSR struct {
	Cols    int
	Indptr  []int64   // one more than there are rows; nil means no rows
	Indices []int32   // column ids in [0, Cols)
	Values  []float32 // nil means that every stored value is 1
}

// Rows returns the number of rows.
func (m *CSR) Rows() int {
	if len(m.Indptr) == 0 {
		return 0
	}
	return len(m.Indptr) - 1
}

// NNZ returns the number of stored entries.
func (m *CSR) NNZ() int {
	if len(m.Indptr) == 0 {
		return 0
	}
	return int(m.Indptr[len(m.Indptr)-1] - m.Indptr[0])
}

// Row returns the column ids and the values of row i as views; values is nil where all are 1.
func (m *CSR) Row(i int) (indices []int32, values []float32) {
	lo, hi := m.Indptr[i], m.Indptr[i+1]
	if m.Values != nil {
		values = m.Values[lo:hi:hi]
	}
	return m.Indices[lo:hi:hi], values
}

// Append adds one row. Values may be nil only if the matrix has no values; ids must be strictly ascending and below Cols
// (Check tells).
func (m *CSR) Append(indices []int32, values []float32) {
	if len(m.Indptr) == 0 {
		m.Indptr = append(m.Indptr, 0)
	}
	m.Indices = append(m.Indices, indices...)
	m.Values = append(m.Values, values...)
	m.Indptr = append(m.Indptr, int64(len(m.Indices)))
}

// Reset empties the matrix and keeps its memory.
func (m *CSR) Reset(cols int) {
	m.Cols = cols
	m.Indptr = append(m.Indptr[:0], 0)
	m.Indices = m.Indices[:0]
	m.Values = m.Values[:0]
}

// Gather replaces dst by the rows of m named in order, in that order. Dst keeps its memory, so that a loop of calls
// with batches of about the same size does not allocate.
func (m *CSR) Gather(dst *CSR, order []int) {
	dst.Reset(m.Cols)
	if m.Values == nil {
		dst.Values = nil
	} else if dst.Values == nil {
		dst.Values = []float32{}
	}
	for _, i := range order {
		dst.Append(m.Row(i))
	}
}

// Select returns the rows named in order, in that order, as a new matrix.
func (m *CSR) Select(order []int) *CSR {
	dst := &CSR{}
	m.Gather(dst, order)
	return dst
}

// ColCounts returns the number of stored entries of each column.
func (m *CSR) ColCounts() []int64 {
	counts := make([]int64, m.Cols)
	for _, c := range m.Indices {
		counts[c]++
	}
	return counts
}

// Transpose returns the transposed matrix, with ascending ids in each of its rows.
func (m *CSR) Transpose() *CSR {
	t := &CSR{Cols: m.Rows(), Indptr: make([]int64, m.Cols+1), Indices: make([]int32, m.NNZ())}
	if m.Values != nil {
		t.Values = make([]float32, m.NNZ())
	}
	for _, c := range m.Indices {
		t.Indptr[c+1]++
	}
	for c := range m.Cols {
		t.Indptr[c+1] += t.Indptr[c]
	}
	next := append([]int64(nil), t.Indptr[:m.Cols]...)
	for i := range m.Rows() {
		indices, values := m.Row(i)
		for k, c := range indices {
			p := next[c]
			next[c]++
			t.Indices[p] = int32(i)
			if values != nil {
				t.Values[p] = values[k]
			}
		}
	}
	return t
}

// Check returns an error naming the first row that breaks a promise of the type: offsets that fall, ids that are out of
// range or not strictly ascending, a value that is NaN or infinite.
func (m *CSR) Check() error {
	if len(m.Indptr) == 0 {
		if len(m.Indices) != 0 || len(m.Values) != 0 {
			return fmt.Errorf("sparse: %d entries but no rows", len(m.Indices))
		}
		return nil
	}
	if m.Indptr[0] != 0 || m.Indptr[len(m.Indptr)-1] != int64(len(m.Indices)) {
		return fmt.Errorf("sparse: offsets run from %d to %d over %d entries", m.Indptr[0], m.Indptr[len(m.Indptr)-1], len(m.Indices))
	}
	if m.Values != nil && len(m.Values) != len(m.Indices) {
		return fmt.Errorf("sparse: %d values for %d entries", len(m.Values), len(m.Indices))
	}
	for i := range m.Rows() {
		if m.Indptr[i] > m.Indptr[i+1] || m.Indptr[i+1] > int64(len(m.Indices)) {
			return fmt.Errorf("sparse: row %d runs from entry %d to %d", i, m.Indptr[i], m.Indptr[i+1])
		}
		indices, values := m.Row(i)
		last := int32(-1)
		for k, c := range indices {
			if c <= last || int(c) >= m.Cols {
				return fmt.Errorf("sparse: row %d holds column %d after %d, of %d columns", i, c, last, m.Cols)
			}
			last = c
			if values != nil && (math.IsNaN(float64(values[k])) || math.IsInf(float64(values[k]), 0)) {
				return fmt.Errorf("sparse: row %d column %d holds %v", i, c, values[k])
			}
		}
	}
	return nil
}
