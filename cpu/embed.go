package cpu

import (
	"gputrain/backend"
	"gputrain/cpu/internal/vec"
	"gputrain/optim"
	"gputrain/sparse"
)

// Bag adds X·T to z, a row at a time.
func (d *Device) Bag(z backend.Matrix, x backend.CSR, t backend.Matrix) error {
	const op = "bag"
	if z.Rows != x.Rows || x.Cols != t.Rows || z.Cols != t.Cols {
		return shape(op, "z=%v x=%v t=%v", z, x, t)
	}
	zv, err := view(op, "z", z)
	if err != nil {
		return err
	}
	xv, err := csr(op, "x", x)
	if err != nil {
		return err
	}
	tv, err := view(op, "t", t)
	if err != nil || zv.empty() {
		return err
	}
	d.pool.run(zv.rows, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			zi := zv.row(i)
			features, values := xv.Row(i)
			for p, f := range features {
				v := float32(1)
				if values != nil {
					v = values[p]
				}
				vec.Axpy(v, tv.row(int(f)), zi)
			}
		}
	})
	return nil
}

// BagUpdate gathers the batch's entries by feature, so that one thread sums a feature's gradient, in row order, and applies the
// rule to its row of t.
func (d *Device) BagUpdate(t backend.Matrix, state []backend.Matrix, x backend.CSR, g backend.Matrix, rule optim.Rule, at optim.At) error {
	const op = "bag update"
	if g.Rows != x.Rows || x.Cols != t.Rows || g.Cols != t.Cols {
		return shape(op, "t=%v x=%v g=%v", t, x, g)
	}
	s, err := newStepper(op, t, state, rule, at)
	if err != nil {
		return err
	}
	xv, err := csr(op, "x", x)
	if err != nil {
		return err
	}
	gv, err := view(op, "g", g)
	if err != nil || gv.empty() {
		return err
	}
	u := &d.updates
	u.group(&xv)
	d.pool.run(len(u.features), 4, func(lo, hi int) {
		sum := d.scratch.get(gv.cols)
		defer d.scratch.put(sum)
		for k := lo; k < hi; k++ {
			clear(sum.f)
			for _, e := range u.entries[u.first[k]:u.first[k+1]] {
				vec.Axpy(e.value, gv.row(int(e.row)), sum.f)
			}
			s.row(int(u.features[k]), sum.f)
		}
	})
	return nil
}

// bagUpdate is the transposed batch without its empty rows. Its memory is used again.
type bagUpdate struct {
	place    []int32 // for each feature its position in features, plus one; zeros between calls
	features []int32 // the touched ones, as they come in the batch
	first    []int   // where each one's entries begin
	entries  []entry
}

type entry struct {
	row   int32
	value float32
}

// group transposes x by counting.
func (u *bagUpdate) group(x *sparse.CSR) {
	if len(u.place) < x.Cols {
		u.place = make([]int32, x.Cols)
	}
	u.features, u.first = u.features[:0], append(u.first[:0], 0)
	for _, f := range x.Indices {
		if u.place[f] == 0 {
			u.features, u.first = append(u.features, f), append(u.first, 0)
			u.place[f] = int32(len(u.features))
		}
		u.first[u.place[f]]++
	}
	// first[k+1] holds the count of k; make it the position of k's first entry, which placing moves to its end, where k+1 begins.
	total := 0
	for k := 1; k < len(u.first); k++ {
		u.first[k], total = total, total+u.first[k]
	}
	u.entries = grow(u.entries, len(x.Indices))
	for i := range x.Rows() {
		features, values := x.Row(i)
		for p, f := range features {
			e := entry{row: int32(i), value: 1}
			if values != nil {
				e.value = values[p]
			}
			k := u.place[f]
			u.entries[u.first[k]] = e
			u.first[k]++
		}
	}
	for _, f := range u.features {
		u.place[f] = 0
	}
}
