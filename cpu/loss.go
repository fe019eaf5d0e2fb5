package cpu

import (
	"math"
	"slices"

	"gputrain/backend"
	"gputrain/cpu/internal/vec"
	"gputrain/loss"
	"gputrain/sparse"
)

// How a loss is computed. A row of a chunk is cut at its stored labels: the runs between them hold negatives only, and go through
// the loops of package vec; the few stored labels, positives, soft or masked ones, are computed one by one in float64. So no
// positive ever gets into the sum of the negatives, and none has to be subtracted from it.
//
// The sums of a run are plain float32 sums of e^x, anchored by the 1 in log1p. No pass looks for the maximum first. Only where a
// sum leaves the range of float32, the row is summed again, scaled by a power of two, which costs no precision: 2^−k·e^x is
// computed with one rounding. The gradient pass computes e^x once more, from logits that are still in the cache, with the row's
// factor folded in.

// lossOp says which parts of a row's work are to be done.
type lossOp uint8

const (
	lossStats lossOp = 1 << iota // sums, into the statistics
	lossRows                     // loss, from the statistics
	lossGrad                     // gradient in place, from the statistics
	lossBoth                     // all three, without statistics in memory
)

// lossJob is one call of a loss operation. The device keeps it, so that a call allocates nothing.
type lossJob struct {
	op    lossOp
	spec  loss.Spec
	z     matrix
	y     sparse.CSR
	lo    int
	scale float64
	stats []float64 // backend.StatsLen for each row
	rows  []float64
	fn    func(lo, hi int) // run, bound once
}

// LossStats adds the chunk's sums to stats.
func (d *Device) LossStats(spec loss.Spec, stats backend.Buffer, z backend.Matrix, y backend.CSR, lo int) error {
	const op = "loss stats"
	j, err := d.lossChunk(op, spec, z, y, lo)
	if err != nil {
		return err
	}
	if j.stats, err = float64s(op, "stats", stats, z.Rows*backend.StatsLen); err != nil {
		return err
	}
	return d.runLoss(lossStats, z.Rows, z.Cols)
}

// LossRows adds each row's loss to rows.
func (d *Device) LossRows(spec loss.Spec, rows backend.Buffer, stats backend.Buffer, y backend.CSR) error {
	const op = "loss rows"
	j, err := d.lossChunk(op, spec, backend.Matrix{Rows: y.Rows}, y, 0)
	if err != nil {
		return err
	}
	if j.stats, err = float64s(op, "stats", stats, y.Rows*backend.StatsLen); err != nil {
		return err
	}
	if j.rows, err = float64s(op, "rows", rows, y.Rows); err != nil {
		return err
	}
	return d.runLoss(lossRows, y.Rows, 1)
}

// LossGrad replaces the logits by scale·∂L/∂z.
func (d *Device) LossGrad(spec loss.Spec, stats backend.Buffer, z backend.Matrix, y backend.CSR, lo int, scale float32) error {
	const op = "loss grad"
	j, err := d.lossChunk(op, spec, z, y, lo)
	if err != nil {
		return err
	}
	if j.stats, err = float64s(op, "stats", stats, z.Rows*backend.StatsLen); err != nil {
		return err
	}
	j.scale = float64(scale)
	return d.runLoss(lossGrad, z.Rows, z.Cols)
}

// LossFwdBwd adds each row's loss to rows and replaces the logits by scale·∂L/∂z.
func (d *Device) LossFwdBwd(spec loss.Spec, rows backend.Buffer, z backend.Matrix, y backend.CSR, lo int, scale float32) error {
	const op = "loss forward and backward"
	j, err := d.lossChunk(op, spec, z, y, lo)
	if err != nil {
		return err
	}
	if !spec.Separable() && z.Cols != y.Cols {
		return shape(op, "z=%v y=%v: %s needs all labels at once", z, y, spec.Kind)
	}
	if j.rows, err = float64s(op, "rows", rows, z.Rows); err != nil {
		return err
	}
	j.scale = float64(scale)
	return d.runLoss(lossBoth, z.Rows, z.Cols)
}

// lossChunk checks the operands that all loss operations share, and returns the device's job with them.
func (d *Device) lossChunk(op string, spec loss.Spec, z backend.Matrix, y backend.CSR, lo int) (*lossJob, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	zv, err := view(op, "z", z)
	if err != nil {
		return nil, err
	}
	yv, err := csr(op, "y", y)
	if err != nil {
		return nil, err
	}
	if z.Rows != y.Rows {
		return nil, shape(op, "z=%v y=%v", z, y)
	}
	if lo < 0 || lo > y.Cols-z.Cols {
		return nil, shape(op, "z=%v y=%v: the labels from %d on", z, y, lo)
	}
	j := &d.loss
	j.spec, j.z, j.y, j.lo = spec, zv, yv, lo
	return j, nil
}

// runLoss does the device's job on all rows, of cols labels each.
func (d *Device) runLoss(op lossOp, rows, cols int) error {
	if cols > 0 {
		j := &d.loss
		if j.fn == nil {
			j.fn = j.run
		}
		j.op = op
		const grain = 1 << 14 // elements that are worth a thread
		d.pool.run(rows, max(1, grain/cols), j.fn)
	}
	fn := d.loss.fn
	d.loss = lossJob{fn: fn} // hold on to nobody's memory
	return nil
}

// run does the job on the rows [lo, hi).
func (j *lossJob) run(lo, hi int) {
	for i := lo; i < hi; i++ {
		if j.op == lossRows {
			j.rows[i] += j.spec.Loss(j.readStats(i))
			continue
		}
		r := lossRow{spec: &j.spec, z: j.z.row(i), lo: int64(j.lo)}
		ids, t := j.y.Row(i)
		from, _ := slices.BinarySearch(ids, int32(j.lo))
		n, _ := slices.BinarySearchFunc(ids[from:], int64(j.lo)+int64(len(r.z)), func(id int32, end int64) int { return int(int64(id) - end) })
		r.ids = ids[from : from+n]
		if t != nil {
			r.t = t[from : from+n]
		}
		switch j.op {
		case lossStats:
			j.writeStats(i, j.spec.Merge(j.readStats(i), r.stats()))
		case lossGrad:
			r.grad(j.readStats(i), j.scale)
		case lossBoth:
			if j.spec.Separable() {
				j.rows[i] += r.separable(j.scale, true)
			} else {
				st := r.stats()
				j.rows[i] += j.spec.Loss(st)
				r.grad(st, j.scale)
			}
		}
	}
}

func (j *lossJob) readStats(i int) loss.Stats {
	s := (*[backend.StatsLen]float64)(j.stats[i*backend.StatsLen:])
	return loss.Stats{
		Neg: loss.Side{Shift: s[0], E1: s[1], E2: s[2], E3: s[3]},
		Pos: loss.Side{Shift: s[4], E1: s[5], E2: s[6], E3: s[7]},
	}
}

func (j *lossJob) writeStats(i int, st loss.Stats) {
	*(*[backend.StatsLen]float64)(j.stats[i*backend.StatsLen:]) = [backend.StatsLen]float64{
		st.Neg.Shift, st.Neg.E1, st.Neg.E2, st.Neg.E3, st.Pos.Shift, st.Pos.E1, st.Pos.E2, st.Pos.E3,
	}
}

// lossRow is one row of a chunk.
type lossRow struct {
	spec *loss.Spec
	z    []float32
	lo   int64
	ids  []int32   // the stored labels within the chunk
	t    []float32 // their targets; nil: 1
}

// run returns the negatives between stored label k−1 and stored label k, for k from 0 to len(ids).
func (r *lossRow) run(k int) []float32 {
	from, to := 0, len(r.z)
	if k > 0 {
		from = int(int64(r.ids[k-1])-r.lo) + 1
	}
	if k < len(r.ids) {
		to = int(int64(r.ids[k]) - r.lo)
	}
	return r.z[from:to]
}

// stored returns stored label k: its place, its logit and its target, negative if masked.
func (r *lossRow) stored(k int) (z *float32, s, t float64) {
	z = &r.z[int64(r.ids[k])-r.lo]
	t = 1
	if r.t != nil {
		t = float64(r.t[k])
	}
	return z, float64(*z), t
}

// stats returns the row's sums.
func (r *lossRow) stats() loss.Stats {
	switch r.spec.Kind {
	case loss.Unified, loss.UnifiedSoftmax, loss.Softmax:
		return r.expStats()
	case loss.UnifiedM2, loss.UnifiedM3:
		return r.symmetricStats()
	case loss.UnifiedHinge:
		return r.hingeStats()
	default:
		return loss.Stats{Neg: loss.Side{E1: r.separable(0, false)}}
	}
}

// grad replaces the row's logits by its gradient.
func (r *lossRow) grad(st loss.Stats, scale float64) {
	switch r.spec.Kind {
	case loss.Unified, loss.UnifiedSoftmax, loss.Softmax:
		r.expGrad(st, scale)
	case loss.UnifiedM2, loss.UnifiedM3:
		r.symmetricGrad(st, scale)
	case loss.UnifiedHinge:
		r.hingeGrad(st, scale)
	default:
		r.separable(scale, true)
	}
}

// scaling returns a and b of x = a·s + b on negatives; on positives x = b − a·s.
func (r *lossRow) scaling() (a, b float64) {
	if r.spec.Kind == loss.Softmax {
		return 1, 0
	}
	g := r.spec.Gamma()
	return g, g * r.spec.Margin
}

func (r *lossRow) expStats() loss.Stats {
	a, b := r.scaling()
	st := loss.Stats{Neg: r.expNegatives(float32(a))}
	if b != 0 {
		st.Neg = st.Neg.TimesExp(b)
	}
	for k := range r.ids {
		_, s, t := r.stored(k)
		if t < 0 {
			continue
		}
		if r.spec.Kind == loss.Softmax {
			side := loss.ExpSide(s, 1)
			side.E2, side.E3 = t*s, t
			if t == 0 {
				side.E2 = 0
			}
			st.Pos = r.spec.MergeSide(st.Pos, side)
			continue
		}
		if t < 1 {
			st.Neg = r.spec.MergeSide(st.Neg, loss.ExpSide(a*s+b, 1-t))
		}
		if t > 0 {
			st.Pos = r.spec.MergeSide(st.Pos, loss.ExpSide(b-a*s, t))
		}
	}
	return st
}

// expNegatives returns Σ e^{a·s} over the runs.
func (r *lossRow) expNegatives(a float32) loss.Side {
	sum := 0.0
	for k := range len(r.ids) + 1 {
		sum += vec.SumExp(r.run(k), a, 0)
	}
	// The 1 of log1p makes a small sum harmless. Without it, in the softmax losses, the sum must have kept its digits: terms below
	// 2^−125 count as 0 there, and even ten million of them are nothing beside 1e-20.
	if math.IsNaN(sum) || !math.IsInf(sum, 0) && (r.spec.Kind == loss.Unified || sum > 1e-20) {
		return loss.Side{E1: sum}
	}
	top := math.Inf(-1)
	for k := range len(r.ids) + 1 {
		top = max(top, float64(vec.Max(r.run(k))))
	}
	x := float64(a) * top
	if math.IsInf(x, -1) {
		return loss.Side{}
	}
	if math.IsInf(x, 1) {
		return loss.Side{E1: x}
	}
	exp := math.Ceil(x / math.Ln2)
	sum = 0
	for k := range len(r.ids) + 1 {
		sum += vec.SumExp(r.run(k), a, int(exp))
	}
	return loss.Side{Shift: exp * math.Ln2, E1: sum}
}

func (r *lossRow) expGrad(st loss.Stats, scale float64) {
	a, b := r.scaling()
	neg, pos := r.spec.Factors(st, scale)
	run := neg.Times(b)
	for k := range len(r.ids) + 1 {
		vec.ScaleExp(r.run(k), float32(a), float32(run.Mant), run.Exp)
	}
	for k := range r.ids {
		z, s, t := r.stored(k)
		g := 0.0
		switch {
		case t < 0:
		case r.spec.Kind == loss.Softmax:
			g = neg.TimesExp(s) - t*pos.Float64()
		default:
			if t < 1 {
				g += (1 - t) * neg.TimesExp(a*s+b)
			}
			if t > 0 {
				g -= t * pos.TimesExp(b-a*s)
			}
		}
		*z = float32(g)
	}
}

func (r *lossRow) hingeStats() loss.Stats {
	var st loss.Stats
	for k := range len(r.ids) + 1 {
		st.Neg.E1 += vec.SumHinge(r.run(k), float32(r.spec.MarginNeg))
	}
	for k := range r.ids {
		_, s, t := r.stored(k)
		if t < 0 {
			continue
		}
		if h := max(s+r.spec.MarginNeg, 0); t < 1 {
			st.Neg.E1 += (1 - t) * h * h
		}
		if h := max(r.spec.MarginPos-s, 0); t > 0 {
			st.Pos.E1 += t * h * h
		}
	}
	return st
}

func (r *lossRow) hingeGrad(st loss.Stats, scale float64) {
	neg, pos := r.spec.Factors(st, scale)
	n, p := neg.Float64(), pos.Float64()
	for k := range len(r.ids) + 1 {
		vec.ScaleHinge(r.run(k), float32(r.spec.MarginNeg), float32(n))
	}
	for k := range r.ids {
		z, s, t := r.stored(k)
		g := 0.0
		if t >= 0 && t < 1 {
			g += (1 - t) * n * max(s+r.spec.MarginNeg, 0)
		}
		if t > 0 {
			g -= t * p * max(r.spec.MarginPos-s, 0)
		}
		*z = float32(g)
	}
}

// separable returns the row's loss and, if asked to, replaces the logits by the gradient in the same pass.
func (r *lossRow) separable(scale float64, grad bool) float64 {
	sum := 0.0
	for k := range len(r.ids) + 1 {
		z := r.run(k)
		switch r.spec.Kind {
		case loss.SquaredHinge:
			m := float32(r.spec.MarginNeg)
			if grad {
				sum += vec.ScaleHinge(z, m, float32(2*scale))
			} else {
				sum += vec.SumHinge(z, m)
			}
		case loss.BCE:
			if grad {
				sum += vec.ScaleSigmoid(z, float32(scale))
			} else {
				sum += vec.SumSoftplus(z)
			}
		default:
			for i, v := range z {
				f, df := r.spec.Neg(float64(v))
				sum += f
				if grad {
					z[i] = float32(scale * df)
				}
			}
		}
	}
	for k := range r.ids {
		z, s, t := r.stored(k)
		g := 0.0
		if t >= 0 && t < 1 {
			f, df := r.spec.Neg(s)
			sum += (1 - t) * f
			g += (1 - t) * df
		}
		if t > 0 {
			f, df := r.spec.Pos(s)
			sum += t * f
			g += t * df
		}
		if grad {
			*z = float32(scale * g)
		}
	}
	return sum
}

// symmetricStats multiplies (1 + e^x z) over the labels, in float64 as plain numbers, or where those overflow as logarithms.
func (r *lossRow) symmetricStats() loss.Stats {
	a, b := r.scaling()
	var n, p symmetric
	for k := range len(r.ids) + 1 {
		for _, v := range r.run(k) {
			n.add(r.spec, a*float64(v)+b, 1)
		}
	}
	for k := range r.ids {
		_, s, t := r.stored(k)
		if t >= 0 && t < 1 {
			n.add(r.spec, a*s+b, 1-t)
		}
		if t > 0 {
			p.add(r.spec, b-a*s, t)
		}
	}
	return loss.Stats{Neg: n.side(r.spec), Pos: p.side(r.spec)}
}

// symmetric holds the elementary symmetric polynomials of the terms seen so far; terms that could overflow apart, in large.
type symmetric struct {
	e     [4]float64
	large loss.Side
}

func (p *symmetric) add(spec *loss.Spec, x, weight float64) {
	if x > 150 { // e_4 of ten million smaller terms is in range
		p.large = spec.MergeSide(p.large, loss.SymmetricSide(x, weight))
		return
	}
	v := weight * math.Exp(x) // the very function that loss.Symmetric will divide by
	p.e[3] += v * p.e[2]
	p.e[2] += v * p.e[1]
	p.e[1] += v * p.e[0]
	p.e[0] += v
}

func (p *symmetric) side(spec *loss.Spec) loss.Side {
	return spec.MergeSide(loss.SymmetricSum(p.e), p.large)
}

func (r *lossRow) symmetricGrad(st loss.Stats, scale float64) {
	a, b := r.scaling()
	scale *= a
	n, p := r.spec.NewSymmetric(st.Neg), r.spec.NewSymmetric(st.Pos)
	for k := range len(r.ids) + 1 {
		z := r.run(k)
		for i, v := range z {
			z[i] = float32(scale * n.Grad(a*float64(v)+b))
		}
	}
	for k := range r.ids {
		z, s, t := r.stored(k)
		g := 0.0
		if t >= 0 && t < 1 {
			g += n.Grad(a*s + b + math.Log(1-t))
		}
		if t > 0 {
			g -= p.Grad(b - a*s + math.Log(t))
		}
		*z = float32(scale * g)
	}
}
