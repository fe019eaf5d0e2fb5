package cpu

import (
	"fmt"
	"math"

	"gputrain/backend"
	"gputrain/cpu/internal/vec"
)

// SetRows sets each row of z to a vector, or to zeros.
func (d *Device) SetRows(z backend.Matrix, b backend.Buffer, offset int) error {
	const op = "set rows"
	zv, err := view(op, "z", z)
	if err != nil || zv.empty() {
		return err
	}
	var v []float32
	if b != nil {
		if v, err = floats(op, "b", b, offset, z.Cols); err != nil {
			return err
		}
	}
	d.pool.run(zv.rows, ceilDiv(1<<14, zv.cols), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			if v == nil {
				clear(zv.row(i))
			} else {
				copy(zv.row(i), v)
			}
		}
	})
	return nil
}

const (
	sumCols = 256 // columns that a thread sums at a time
	sumRows = 16  // rows summed one by one, the leaves of the tree
)

// ColSum sums the columns over a binary tree of rows, whose shape depends on the number of rows only.
func (d *Device) ColSum(out backend.Buffer, offset int, g backend.Matrix) error {
	const op = "column sum"
	gv, err := view(op, "g", g)
	if err != nil || g.Cols == 0 {
		return err
	}
	sums, err := floats(op, "out", out, offset, g.Cols)
	if err != nil {
		return err
	}
	d.pool.run(ceilDiv(g.Cols, sumCols), ceilDiv(1<<14, max(gv.rows, 1)*sumCols), func(lo, hi int) {
		for block := lo; block < hi; block++ {
			j := block * sumCols
			n := min(sumCols, g.Cols-j)
			colSum(sums[j:j+n], &gv, j, 0, gv.rows)
		}
	})
	return nil
}

// colSum sets sum to Σ g[i, j:j+len(sum)] over the rows [lo, hi).
func colSum(sum []float32, g *matrix, j, lo, hi int) {
	if hi-lo <= sumRows {
		clear(sum)
		for i := lo; i < hi; i++ {
			vec.Axpy(1, g.row(i)[j:j+len(sum)], sum)
		}
		return
	}
	mid := lo + (hi-lo)/2
	colSum(sum, g, j, lo, mid)
	var other [sumCols]float32
	right := other[:len(sum)]
	colSum(right, g, j, mid, hi)
	vec.Axpy(1, right, sum)
}

// Activate replaces h by dropout(act(h)).
func (d *Device) Activate(h backend.Matrix, act backend.Activation, drop backend.Dropout) error {
	const op = "activate"
	hv, err := view(op, "h", h)
	if err != nil {
		return err
	}
	if err := checkActivation(op, act, drop); err != nil || hv.empty() {
		return err
	}
	d.pool.run(hv.rows, ceilDiv(1<<12, hv.cols), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row := hv.row(i)
			switch act {
			case backend.ReLU:
				for j, v := range row {
					if v < 0 { // NaN stays
						row[j] = 0
					}
				}
			case backend.Tanh:
				for j, v := range row {
					row[j] = float32(math.Tanh(float64(v)))
				}
			}
			drop.Apply(row, uint64(i)*uint64(hv.cols))
		}
	})
	return nil
}

// ActivateGrad replaces dh by the gradient before Activate.
func (d *Device) ActivateGrad(dh, out backend.Matrix, act backend.Activation, drop backend.Dropout) error {
	const op = "activate grad"
	if dh.Rows != out.Rows || dh.Cols != out.Cols {
		return shape(op, "dh=%v out=%v", dh, out)
	}
	dv, err := view(op, "dh", dh)
	if err != nil {
		return err
	}
	ov, err := view(op, "out", out)
	if err != nil {
		return err
	}
	if err := checkActivation(op, act, drop); err != nil || dv.empty() {
		return err
	}
	d.pool.run(dv.rows, ceilDiv(1<<12, dv.cols), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row, y := dv.row(i), ov.row(i)
			drop.Apply(row, uint64(i)*uint64(dv.cols))
			switch act {
			case backend.ReLU:
				for j, v := range y {
					switch {
					case v != v:
						row[j] = v
					case v <= 0:
						row[j] = 0
					}
				}
			case backend.Tanh:
				for j, v := range y {
					v *= 1 - drop.P // what tanh returned, where it was not dropped
					row[j] *= 1 - v*v
				}
			}
		}
	})
	return nil
}

func checkActivation(op string, act backend.Activation, drop backend.Dropout) error {
	switch act {
	case backend.Identity, backend.ReLU, backend.Tanh:
	default:
		return fmt.Errorf("cpu: %s: unknown activation %q; known are %q, %q, %q", op, act, backend.Identity, backend.ReLU, backend.Tanh)
	}
	if !(drop.P >= 0 && drop.P < 1) {
		return fmt.Errorf("cpu: %s: dropout probability %v, but it must be in [0, 1)", op, drop.P)
	}
	return nil
}
