package cpu

import (
	"math/bits"

	"gputrain/backend"
	"gputrain/cpu/internal/vec"
	"gputrain/sparse"
)

// table is a sparse weight matrix by feature. A row that holds every label is stored without ids, so that it is added and
// updated by plain vector code: the rows of stop words, or of a table that is dense as a whole.
type table struct {
	features, labels int
	first            []int64 // features+1: a row's first weight in w
	firstID          []int64 // features+1: a row's first label in ids; a row of weights without ids holds all labels
	ids              []int32
	w                []float32
}

// NewTable lays out the weights; w is copied.
func (d *Device) NewTable(w *sparse.CSR) (backend.Table, error) {
	t := &table{
		features: w.Rows(), labels: w.Cols,
		first: make([]int64, w.Rows()+1), firstID: make([]int64, w.Rows()+1),
	}
	for f := range t.features {
		n := w.Indptr[f+1] - w.Indptr[f]
		t.first[f+1], t.firstID[f+1] = t.first[f]+n, t.firstID[f]
		if n != int64(t.labels) {
			t.firstID[f+1] += n
		}
	}
	t.ids, t.w = make([]int32, 0, t.firstID[t.features]), make([]float32, t.first[t.features])
	for f := range t.features {
		ids, values := w.Row(f)
		if len(ids) != t.labels {
			t.ids = append(t.ids, ids...)
		}
		copy(t.w[t.first[f]:], values)
	}
	return t, nil
}

// ReadTable returns the weights that are not zero.
func (d *Device) ReadTable(bt backend.Table) (*sparse.CSR, error) {
	t := bt.(*table)
	out := &sparse.CSR{Cols: t.labels, Indptr: make([]int64, 1, t.features+1), Values: []float32{}}
	for f := range t.features {
		ids, w := t.row(f)
		for k, v := range w {
			if v == 0 {
				continue
			}
			label := int32(k)
			if ids != nil {
				label = ids[k]
			}
			out.Indices, out.Values = append(out.Indices, label), append(out.Values, v)
		}
		out.Indptr = append(out.Indptr, int64(len(out.Indices)))
	}
	return out, nil
}

// FreeTable leaves the memory to the garbage collector.
func (d *Device) FreeTable(backend.Table) {}

func (t *table) Shape() (features, labels int) { return t.features, t.labels }

func (t *table) Bytes() int64 {
	return 8*int64(len(t.first)+len(t.firstID)) + 4*int64(len(t.ids)+len(t.w))
}

// row returns the labels and weights of feature f; ids is nil where the row holds all labels.
func (t *table) row(f int) (ids []int32, w []float32) {
	w = t.w[t.first[f]:t.first[f+1]]
	if lo, hi := t.firstID[f], t.firstID[f+1]; hi > lo {
		ids = t.ids[lo:hi]
	}
	return ids, w
}

// rowGrain is the number of rows below which waking another thread costs more than it saves.
const rowGrain = 4

// operands checks a dense operand called name, rows × labels, and the features of the same rows.
func (t *table) operands(op, name string, m backend.Matrix, x backend.CSR) (matrix, sparse.CSR, error) {
	if m.Rows != x.Rows || m.Cols != t.labels || x.Cols != t.features {
		return matrix{}, sparse.CSR{}, shape(op, "%s=%v x=%v table=%d×%d", name, m, x, t.features, t.labels)
	}
	v, err := view(op, name, m)
	if err != nil {
		return matrix{}, sparse.CSR{}, err
	}
	h, err := csr(op, "x", x)
	return v, h, err
}

// TableBag adds X·T to z, one thread for each row of z. It reads the weight rows of the batch's features once for each use.
func (d *Device) TableBag(z backend.Matrix, x backend.CSR, bt backend.Table) error {
	t := bt.(*table)
	zm, h, err := t.operands("table bag", "z", z, x)
	if err != nil {
		return err
	}
	d.pool.run(z.Rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			features, values := h.Row(i)
			zi := zm.row(i)
			for p, f := range features {
				v := float32(1)
				if values != nil {
					v = values[p]
				}
				ids, w := t.row(int(f))
				if ids == nil {
					if len(w) > 0 {
						vec.Axpy(v, w, zi)
					}
					continue
				}
				w = w[:len(ids)]
				for q, k := range ids {
					zi[k] += v * w[q]
				}
			}
		}
	})
	return nil
}

// violators lists the labels with a gradient in one row.
type violators struct {
	ids []int32
	g   []float32
}

// TableUpdate subtracts lr·XᵀG from the stored weights. Each thread owns some of the features and goes through the whole batch in
// row order, so every weight receives its changes in the same order whatever the number of threads.
func (d *Device) TableUpdate(bt backend.Table, x backend.CSR, g backend.Matrix, lr float32) error {
	t := bt.(*table)
	gm, h, err := t.operands("table update", "g", g, x)
	if err != nil {
		return err
	}
	for len(d.violators) < g.Rows {
		d.violators = append(d.violators, violators{})
	}
	d.pool.run(g.Rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			v := &d.violators[i]
			v.ids, v.g = vec.AppendNonzero(v.ids[:0], v.g[:0], gm.row(i))
		}
	})
	owners := d.threads
	d.pool.run(owners, 1, func(lo, hi int) {
		for owner := lo; owner < hi; owner++ {
			for i := range g.Rows {
				v := &d.violators[i]
				if len(v.ids) == 0 {
					continue
				}
				features, values := h.Row(i)
				for p, f := range features {
					if owners > 1 && int(uint32(f)*2654435761>>16)%owners != owner {
						continue
					}
					c := -lr
					if values != nil {
						c *= values[p]
					}
					t.update(int(f), c, gm.row(i), v)
				}
			}
		}
	})
	return nil
}

// update adds c·g to the stored weights of feature f. g and v are the same row, dense and as a list.
func (t *table) update(f int, c float32, g []float32, v *violators) {
	ids, w := t.row(f)
	switch {
	case len(w) == 0:
	case ids == nil && len(v.ids) > len(w)/8:
		vec.Axpy(c, g, w)
	case ids == nil:
		for p, k := range v.ids {
			w[k] += c * v.g[p]
		}
	case len(v.ids)*2*bits.Len(uint(len(ids)/len(v.ids)+1)) < len(ids):
		// Few violators, long row: gallop through the row, both lists being ascending.
		at := 0
		for p, k := range v.ids {
			at += gallop(ids[at:], k)
			if at == len(ids) {
				return
			}
			if ids[at] == k {
				w[at] += c * v.g[p]
				at++
			}
		}
	default:
		w = w[:len(ids)]
		for q, k := range ids {
			if gk := g[k]; gk != 0 { // NaN passes: it must reach the weights
				w[q] += c * gk
			}
		}
	}
}

// gallop returns the first position of ids whose value is at least k: by doubling steps, then by halving.
func gallop(ids []int32, k int32) int {
	if len(ids) == 0 || ids[0] >= k {
		return 0
	}
	step := 1
	for step < len(ids) && ids[step] < k {
		step *= 2
	}
	lo, hi := step/2+1, min(step, len(ids))
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if ids[mid] < k {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
