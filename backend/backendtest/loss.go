package backendtest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gputrain/backend"
	"gputrain/loss"
	"gputrain/sparse"
)

// lossSpecs are all losses with their defaults, and some with other parameters.
func lossSpecs() []loss.Spec {
	var list []loss.Spec
	for _, name := range loss.Names() {
		list = append(list, loss.Default(loss.Kind(name)))
	}
	return append(list,
		loss.Spec{Kind: loss.Unified, Scale: 1.5, Margin: 0.4},
		loss.Spec{Kind: loss.UnifiedSoftmax, Scale: 0.5, Margin: -0.25},
		loss.Spec{Kind: loss.UnifiedM2, Scale: 0.75, Margin: 0.5},
		loss.Spec{Kind: loss.BCE, PosWeight: 3},
		loss.Spec{Kind: loss.Focal, GammaPos: 1.5, GammaNeg: 1.5},
		loss.Spec{Kind: loss.ASL, GammaPos: 0, GammaNeg: 2},
		loss.Spec{Kind: loss.UnifiedHinge, MarginPos: 5, MarginNeg: 5, C: 400})
}

func lossName(s loss.Spec) string {
	if s == loss.Default(s.Kind) {
		return string(s.Kind)
	}
	return string(s.Kind) + " with other parameters"
}

// RunLoss runs the sub-tests of a device's losses. Run calls it.
func RunLoss(t *testing.T, open func(t testing.TB) backend.Device) {
	for _, test := range []struct {
		name string
		run  func(s *suite, spec loss.Spec)
	}{
		{"oracle", (*suite).testLossOracle},
		{"extremes", (*suite).testLossExtremes},
		{"nan", (*suite).testLossNaN},
		{"subtraction", (*suite).testLossSubtraction},
		{"digits", (*suite).testLossDigits},
		{"log1p", (*suite).testLossLog1p},
		{"empty", (*suite).testLossEmpty},
		{"shapes", (*suite).testLossShapes},
		{"beyond 2^31 elements", (*suite).testLossHuge},
	} {
		t.Run("loss "+test.name, func(t *testing.T) {
			for _, spec := range lossSpecs() {
				t.Run(lossName(spec), func(t *testing.T) {
					test.run(newSuite(t, open(t)), spec)
				})
			}
		})
	}
}

// RunLossThreads checks that the number of threads changes no bit of any loss.
func RunLossThreads(t *testing.T, open func(t testing.TB, threads int) backend.Device) {
	bits := func(threads int, spec loss.Spec) []result {
		s := newSuite(t, open(t, threads))
		c := s.lossCase("threads", 97, 2500, nil)
		both := s.fwdBwd(spec, c)
		chunks := s.chunked(spec, c, []int{0, 700, 2500})
		return []result{{"forward and backward", both.bits()}, {"chunks", chunks.bits()}}
	}
	for _, spec := range lossSpecs() {
		want := bits(1, spec)
		for _, threads := range []int{2, 3, 8} {
			t.Run(fmt.Sprintf("%s/%d threads", lossName(spec), threads), func(t *testing.T) {
				compareBits(t, bits(threads, spec), want)
			})
		}
	}
}

// lossCase is a batch of logits and targets.
type lossCase struct {
	name string
	z    [][]float32
	y    *sparse.CSR

	oracle map[loss.Spec]*lossOracle // what has been computed
}

// lossOracle is a case's losses and gradients in float64, and those of plain float32 loops.
type lossOracle struct {
	loss      []float64
	plainLoss []float32
	grad      [][]float64
	plain     [][]float32
}

func (c *lossCase) want(spec loss.Spec) *lossOracle {
	if o := c.oracle[spec]; o != nil {
		return o
	}
	o := &lossOracle{}
	for i := range c.z {
		ids, values := c.y.Row(i)
		l, g := spec.Row(float64s(c.z[i]), ids, float64s(values))
		pl, p := plainLoss(spec, c.z[i], ids, values, l, g)
		o.loss, o.plainLoss, o.grad, o.plain = append(o.loss, l), append(o.plainLoss, pl), append(o.grad, g), append(o.plain, p)
	}
	if c.oracle == nil {
		c.oracle = map[loss.Spec]*lossOracle{}
	}
	c.oracle[spec] = o
	return o
}

// lossCase returns a batch with power-law labels. Of each five rows one has no label, one both the first and the last, and one,
// where that is not too many, all. A target is what the function target says; nil means no values.
func (s *suite) lossCase(name string, rows, labels int, target func() float32) lossCase {
	c := lossCase{name: fmt.Sprintf("%s %d×%d", name, rows, labels), y: &sparse.CSR{Cols: labels, Indptr: []int64{0}}}
	for i := range rows {
		z := make([]float32, labels)
		for j := range z {
			z[j] = float32(2*s.rng.NormFloat64() - 2)
		}
		c.z = append(c.z, z)
		has := map[int]bool{}
		switch i % 5 {
		case 0, 3:
			for range 1 + s.rng.IntN(6) {
				has[int(float64(labels)*math.Pow(s.rng.Float64(), 4))] = true
			}
		case 1:
			has[0], has[labels-1] = true, true
		case 4:
			for j := 0; j < labels && labels <= 1100; j++ {
				has[j] = true
			}
		}
		var ids []int32
		var values []float32
		for j := range labels {
			if has[j] {
				ids = append(ids, int32(j))
				if target != nil {
					values = append(values, target())
				}
			}
		}
		c.y.Append(ids, values)
	}
	if target != nil && c.y.Values == nil {
		c.y.Values = []float32{}
	}
	return c
}

// lossResult is what a loss computed: a loss and gradients for each row.
type lossResult struct {
	loss []float64
	grad [][]float32
}

func (r lossResult) bits() []uint64 {
	var b []uint64
	for i, l := range r.loss {
		b = append(b, math.Float64bits(l))
		for _, g := range r.grad[i] {
			b = append(b, uint64(math.Float32bits(g)))
		}
	}
	return b
}

// lossScale is the scale of all gradients here.
const lossScale = 0.37

// preload is what the accumulator of row i holds before.
func preload(i int) float64 { return float64(i%4) * 0.25 }

func (s *suite) lossRows(n int) backend.Buffer {
	s.Helper()
	rows := s.alloc(backend.Float64, n)
	before := make([]float64, n)
	for i := range before {
		before[i] = preload(i)
	}
	s.ok(s.dev.Upload(rows, 0, before))
	return rows
}

func (s *suite) lossResult(rows backend.Buffer, z *mat) lossResult {
	s.Helper()
	var r lossResult
	r.loss = make([]float64, z.Rows)
	s.ok(s.dev.Download(r.loss, rows, 0))
	got := z.download()
	for i := range z.Rows {
		r.loss[i] -= preload(i)
		r.grad = append(r.grad, got.data[got.at(i, 0):got.at(i, z.Cols)])
	}
	return r
}

func (s *suite) logits(c lossCase) *mat {
	s.Helper()
	return s.mat(len(c.z), c.y.Cols, func(i, j int) float32 { return c.z[i][j] })
}

// fwdBwd computes a batch at once.
func (s *suite) fwdBwd(spec loss.Spec, c lossCase) lossResult {
	s.Helper()
	z, rows := s.logits(c), s.lossRows(len(c.z))
	s.ok(s.dev.LossFwdBwd(spec, rows, z.Matrix, s.uploadCSR(0, c.y), 0, lossScale))
	return s.lossResult(rows, z)
}

// chunked computes a batch in the label chunks between cuts, the last one first.
func (s *suite) chunked(spec loss.Spec, c lossCase, cuts []int) lossResult {
	s.Helper()
	z, rows, y := s.logits(c), s.lossRows(len(c.z)), s.uploadCSR(0, c.y)
	stats := s.alloc(backend.Float64, len(c.z)*backend.StatsLen)
	for k := len(cuts) - 2; k >= 0; k-- {
		s.ok(s.dev.LossStats(spec, stats, z.ColSlice(cuts[k], cuts[k+1]), y, cuts[k]))
	}
	after := z.download()
	for i, v := range after.data {
		if math.Float32bits(v) != math.Float32bits(z.data[i]) {
			s.Fatalf("the statistics changed the logits: buffer[%d] from %v to %v", i, z.data[i], v)
		}
	}
	s.ok(s.dev.LossRows(spec, rows, stats, y))
	for k := range len(cuts) - 1 {
		s.ok(s.dev.LossGrad(spec, stats, z.ColSlice(cuts[k], cuts[k+1]), y, cuts[k], lossScale))
	}
	return s.lossResult(rows, z)
}

// rowwise computes the batch of a separable loss chunk by chunk, forward and backward at once.
func (s *suite) rowwise(spec loss.Spec, c lossCase, cuts []int) lossResult {
	s.Helper()
	z, rows, y := s.logits(c), s.lossRows(len(c.z)), s.uploadCSR(0, c.y)
	for k := range len(cuts) - 1 {
		s.ok(s.dev.LossFwdBwd(spec, rows, z.ColSlice(cuts[k], cuts[k+1]), y, cuts[k], lossScale))
	}
	return s.lossResult(rows, z)
}

// lossTolerance is what a result may err by beyond twice the error of the plain loop: for the loss and for Σ|g| relative to
// them, for gradients relative to the row's largest.
const lossTolerance = 1e-6

// What is below these floors does not count: the gradient, where softmax and target cancel; terms below 2^−125, times the labels;
// and what an accumulator that holds 1 loses.
const (
	cancelFloor = 1e-15
	tinyFloor   = 1e-34
	loadFloor   = 2.3e-16
)

// check compares a result with the oracle: losses, each gradient, and each row's gradient mass Σ|g|, which shows what is too small
// for each single gradient.
func (s *suite) check(what string, spec loss.Spec, c *lossCase, got lossResult) {
	s.Helper()
	floor := tinyFloor
	if spec.Kind == loss.Softmax || spec.Kind == loss.UnifiedSoftmax || c.y.Values != nil {
		floor = cancelFloor
	}
	oracle := c.want(spec)
	for i := range c.z {
		wantLoss, want, plainLoss, plain := oracle.loss[i], oracle.grad[i], oracle.plainLoss[i], oracle.plain[i]
		if tol := 2*math.Abs(float64(plainLoss)-wantLoss) + lossTolerance*math.Abs(wantLoss) + tinyFloor + loadFloor*preload(i); !(math.Abs(got.loss[i]-wantLoss) <= tol) {
			s.Fatalf("%s, %s: row %d: loss %.9g, want %.9g ± %.2g", c.name, what, i, got.loss[i], wantLoss, tol)
		}
		var largest, worst, baseline, mass, wantMass, plainMass float64
		at := -1
		for j, w := range want {
			w *= lossScale
			g, p := float64(got.grad[i][j]), float64(plain[j])*lossScale
			if e := math.Abs(g - w); !(e <= worst) {
				worst, at = e, j
				if e != e {
					s.Fatalf("%s, %s: row %d, label %d: gradient %v, want %v (logit %v)", c.name, what, i, j, g, w, c.z[i][j])
				}
			}
			baseline = max(baseline, math.Abs(p-w))
			largest = max(largest, math.Abs(w))
			mass, wantMass, plainMass = mass+math.Abs(g), wantMass+math.Abs(w), plainMass+math.Abs(p)
		}
		if tol := 2*baseline + lossTolerance*largest + floor; worst > tol {
			s.Fatalf("%s, %s: row %d, label %d: gradient %v, want %v ± %.2g (logit %v)",
				c.name, what, i, at, got.grad[i][at], want[at]*lossScale, tol, c.z[i][at])
		}
		if tol := 2*math.Abs(plainMass-wantMass) + lossTolerance*wantMass + floor*float64(len(want)); math.Abs(mass-wantMass) > tol {
			s.Fatalf("%s, %s: row %d: Σ|g| = %.9g, want %.9g ± %.2g", c.name, what, i, mass, wantMass, tol)
		}
	}
}

// checkAll computes a case in all ways and checks each.
func (s *suite) checkAll(spec loss.Spec, c lossCase) {
	s.Helper()
	n := c.y.Cols
	cuts := []int{0, n / 3, n / 3, n/3 + (n+3)/4, n} // an empty chunk, and odd ones
	s.check("at once", spec, &c, s.fwdBwd(spec, c))
	s.check("in chunks", spec, &c, s.chunked(spec, c, cuts))
	s.check("in one chunk", spec, &c, s.chunked(spec, c, []int{0, n}))
	if spec.Separable() {
		s.check("chunk by chunk", spec, &c, s.rowwise(spec, c, cuts))
	}
}

func float64s(x []float32) []float64 {
	if x == nil {
		return nil
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// plainLoss is a loss in float32 as anyone would write it: one running sum, shifted by the maximum where there is an exponential.
// The terms of separable losses are rounded once each. A plain loop for the symmetric losses would cancel or overflow; the
// rounded oracle, l and g, takes its place.
func plainLoss(spec loss.Spec, z []float32, pos []int32, t []float32, l float64, g []float64) (float32, []float32) {
	wn, wp := make([]float32, len(z)), make([]float32, len(z))
	for i := range wn {
		wn[i] = 1
	}
	for k, j := range pos {
		v := float32(1)
		if t != nil {
			v = t[k]
		}
		wn[j], wp[j] = 1-v, v
		if v < 0 {
			wn[j], wp[j] = 0, 0
		}
	}
	exp := func(x float32) float32 { return float32(math.Exp(float64(x))) }
	log := func(x float32) float32 { return float32(math.Log(float64(x))) }
	grad := make([]float32, len(z))
	var total float32
	switch spec.Kind {
	case loss.Unified, loss.UnifiedSoftmax:
		g, m := float32(spec.Gamma()), float32(spec.Margin)
		xn := func(i int) float32 { return g * (z[i] + m) }
		xp := func(i int) float32 { return g * (m - z[i]) }
		side := func(x func(int) float32, w []float32, anchor bool) (top, sum float32) {
			top = float32(math.Inf(-1))
			if anchor {
				top = 0
			}
			for i := range z {
				if w[i] != 0 {
					top = max(top, x(i))
				}
			}
			if anchor {
				sum = exp(-top)
			}
			for i := range z {
				if w[i] != 0 {
					sum += w[i] * exp(x(i)-top)
				}
			}
			return top, sum
		}
		anchor := spec.Kind == loss.Unified
		mn, sn := side(xn, wn, anchor)
		mp, sp := side(xp, wp, anchor)
		if !anchor && (sn == 0 || sp == 0) {
			return 0, grad
		}
		both := float32(1)
		if total = mn + log(sn) + mp + log(sp); !anchor {
			both = 1 / (1 + exp(-total))
			total = max(total, 0) + float32(math.Log1p(math.Exp(-math.Abs(float64(total)))))
		}
		for i := range z {
			if wn[i] != 0 {
				grad[i] += g * both * wn[i] * exp(xn(i)-mn) / sn
			}
			if wp[i] != 0 {
				grad[i] -= g * both * wp[i] * exp(xp(i)-mp) / sp
			}
		}
	case loss.Softmax:
		top, sum, count := float32(math.Inf(-1)), float32(0), float32(0)
		for i, v := range z {
			if wn[i]+wp[i] != 0 {
				top = max(top, v)
			}
		}
		for i, v := range z {
			if wn[i]+wp[i] != 0 {
				sum += exp(v - top)
			}
			count += wp[i]
		}
		if count == 0 {
			return 0, grad
		}
		for i, v := range z {
			if wn[i]+wp[i] != 0 {
				grad[i] = exp(v-top)/sum - wp[i]/count
				total += wp[i] / count * (top + log(sum) - v)
			}
		}
	case loss.SquaredHinge, loss.UnifiedHinge:
		var sn, sp float32
		hn := func(v float32) float32 { return max(v+float32(spec.MarginNeg), 0) }
		hp := func(v float32) float32 { return max(float32(spec.MarginPos)-v, 0) }
		for i, v := range z {
			sn += wn[i] * hn(v) * hn(v)
			sp += wp[i] * hp(v) * hp(v)
		}
		rn, rp := float32(1), float32(1)
		total = sn + sp
		if spec.Kind == loss.UnifiedHinge {
			c := float32(spec.C)
			rn, rp = float32(math.Sqrt(float64(1+2*sn/c))), float32(math.Sqrt(float64(1+2*sp/c)))
			total = c*(rn-1) + c*(rp-1)
		}
		for i, v := range z {
			grad[i] = 2*wn[i]*hn(v)/rn - 2*wp[i]*hp(v)/rp
		}
	case loss.BCE, loss.Focal, loss.ASL:
		for i, v := range z {
			if wn[i] != 0 {
				f, df := spec.Neg(float64(v))
				total += wn[i] * float32(f)
				grad[i] += wn[i] * float32(df)
			}
			if wp[i] != 0 {
				f, df := spec.Pos(float64(v))
				total += wp[i] * float32(f)
				grad[i] += wp[i] * float32(df)
			}
		}
	default:
		for i, v := range g {
			grad[i] = float32(v)
		}
		total = float32(l)
	}
	return total, grad
}

// testLossOracle checks batches of many sizes, with hard, soft and masked targets.
func (s *suite) testLossOracle(spec loss.Spec) {
	for _, labels := range []int{1, 2, 7, 16, 17, 28, 735, 1023, 1024, 1025, 4097} {
		if labels > 1025 && spec != loss.Default(spec.Kind) {
			continue
		}
		s.checkAll(spec, s.lossCase("hard", 6, labels, nil))
		s.checkAll(spec, s.lossCase("soft", 6, labels, func() float32 { return []float32{0, 0.25, 0.7, 1}[s.rng.IntN(4)] }))
		s.checkAll(spec, s.lossCase("masked", 6, labels, func() float32 { return []float32{-1, 1, 1, -1, 0.5}[s.rng.IntN(5)] }))
	}
	if spec == loss.Default(spec.Kind) {
		s.checkAll(spec, s.lossCase("hard", 2, 25023, nil))
	}
}

// testLossExtremes checks rows whose exponentials overflow or vanish, all of them or a few: nothing is clamped.
func (s *suite) testLossExtremes(spec loss.Spec) {
	const labels = 300
	for _, test := range []struct {
		name     string
		negative float32 // most negatives
		one      float32 // one negative
		positive float32
	}{
		{"a wrong negative", -3, 100, 2},
		{"a very wrong negative", -3, 1e4, 2},
		{"sum overflows, terms do not", 88, 88.5, 1},
		{"all negatives wrong", 200, 210, 5},
		{"a wrong positive", -3, -1, -100},
		{"a very wrong positive", -3, -1, -1e4},
		{"all wrong", 9e3, 1e4, -1e4},
		{"all low", -1e4, -9990, -1e4},
		{"all low, and near one another", -200, -199, -198},
		{"all high, and near one another", 200, 199, 201},
		{"well separated", -1e4, -1e4, 1e4},
		{"negatives' sum vanishes, positives' explodes", -95, -94, -93},
	} {
		c := lossCase{name: test.name, y: &sparse.CSR{Cols: labels}}
		for _, pos := range [][]int32{{150}, {3, 150, 299}, {}} {
			z := make([]float32, labels)
			for j := range z {
				z[j] = test.negative + float32(j%7)/8
			}
			z[200] = test.one
			for _, j := range pos {
				z[j] = test.positive + float32(j%5)/4
			}
			c.z = append(c.z, z)
			c.y.Append(pos, nil)
		}
		s.checkAll(spec, c)
	}
}

// testLossNaN checks that NaN comes out, in the loss and at its place, and in no other row; a masked one does not.
func (s *suite) testLossNaN(spec loss.Spec) {
	const labels, bad = 735, 2
	nan := float32(math.NaN())
	for _, at := range []int{0, 17, 400, labels - 1} {
		c := s.lossCase("nan", 5, labels, nil)
		y := &sparse.CSR{Cols: labels}
		for range c.z {
			y.Append([]int32{5, 17, 600}, nil)
		}
		c.y = y
		c.z[bad][at] = nan
		ways := []lossResult{s.fwdBwd(spec, c), s.chunked(spec, c, []int{0, 100, labels})}
		if spec.Separable() {
			ways = append(ways, s.rowwise(spec, c, []int{0, 100, labels}))
		}
		for _, got := range ways {
			for i, l := range got.loss {
				if (i == bad) != math.IsNaN(l) {
					s.Fatalf("NaN in row %d, label %d: loss of row %d is %v", bad, at, i, l)
				}
				for j, g := range got.grad[i] {
					if i != bad && g != g {
						s.Fatalf("NaN in row %d, label %d: gradient of row %d, label %d is NaN", bad, at, i, j)
					}
				}
			}
			if g := got.grad[bad][at]; g == g {
				s.Fatalf("NaN in label %d: its gradient is %v", at, g)
			}
		}
	}
	c := s.lossCase("masked nan", 5, labels, func() float32 { return -1 })
	for i := range c.z {
		ids, _ := c.y.Row(i)
		for _, j := range ids {
			c.z[i][j] = nan
		}
	}
	masked := c
	masked.z = nil
	for i := range c.z { // the oracle sees zeros in place of what must not matter
		z := append([]float32(nil), c.z[i]...)
		ids, _ := c.y.Row(i)
		for _, j := range ids {
			z[j] = 0
		}
		masked.z = append(masked.z, z)
	}
	s.check("masked nan", spec, &masked, s.fwdBwd(spec, c))
	s.check("masked nan in chunks", spec, &masked, s.chunked(spec, c, []int{0, 100, labels}))
}

// many returns the number of labels of the large tests: a million, but fewer where the oracle takes long.
func many(spec loss.Spec) int {
	switch spec.Kind {
	case loss.UnifiedM2, loss.UnifiedM3, loss.Focal, loss.ASL:
		return 1 << 14
	}
	return 1 << 20
}

// testLossSubtraction checks a million labels of which a positive one towers above all: whoever sums over all labels and then
// subtracts the positives has nothing left of the negatives.
func (s *suite) testLossSubtraction(spec loss.Spec) {
	if spec.Separable() || spec != loss.Default(spec.Kind) {
		return // no sums that gradients depend on, or the same again
	}
	million := min(many(spec), 1<<18)
	top := int32(777777 % million)
	c := lossCase{name: "towering positive", y: &sparse.CSR{Cols: million}}
	z := make([]float32, million)
	for j := range z {
		z[j] = -12 + float32(j%11)/16
	}
	z[top] = 20
	c.z = append(c.z, z)
	c.y.Append([]int32{top}, nil)
	got := s.fwdBwd(spec, c)
	s.check("at once", spec, &c, got)
	// And the negatives by themselves, on their own scale.
	_, want := spec.Row(float64s(z), []int32{top}, nil)
	for j, g := range got.grad[0] {
		if w := want[j] * lossScale; j != int(top) && math.Abs(float64(g)-w) > 1e-5*math.Abs(w)+1e-36 {
			s.Fatalf("label %d: gradient %v, want %v", j, g, w)
		}
	}
}

// testLossDigits checks sums over a million labels to six digits, which a running float32 sum does not keep.
func (s *suite) testLossDigits(spec loss.Spec) {
	if spec != loss.Default(spec.Kind) {
		return
	}
	million := many(spec)
	c := lossCase{name: "a million labels", y: &sparse.CSR{Cols: million}}
	z := make([]float32, million)
	for j := range z {
		z[j] = 0.3 - float32(j%1000)/1000
	}
	z[0] = 11 // lets a running sum start high
	c.z = append(c.z, z)
	c.y.Append([]int32{500}, nil)
	got := s.fwdBwd(spec, c)
	want, grad := spec.Row(float64s(z), []int32{500}, nil)
	if math.Abs(got.loss[0]-want) > 2e-6*want {
		s.Fatalf("loss %.9g, want %.9g", got.loss[0], want)
	}
	mass, wantMass := 0.0, 0.0
	for j, g := range got.grad[0] {
		mass += math.Abs(float64(g))
		wantMass += math.Abs(grad[j]) * lossScale
	}
	if math.Abs(mass-wantMass) > 2e-6*wantMass {
		s.Fatalf("Σ|g| = %.9g, want %.9g", mass, wantMass)
	}
}

// testLossLog1p checks losses near zero to six digits: log(1 + x) is zero there.
func (s *suite) testLossLog1p(spec loss.Spec) {
	switch spec.Kind {
	case loss.SquaredHinge, loss.Softmax, loss.ASL:
		return // no such logarithm, or none that matters
	}
	z := make([]float32, 28)
	for j := range z {
		z[j] = -36
		if spec.Kind == loss.UnifiedHinge {
			z[j] = float32(-spec.MarginNeg) + 1e-4
		}
	}
	z[4] = -z[0]
	if spec.Kind == loss.UnifiedHinge {
		z[4] = float32(spec.MarginPos)
	}
	c := lossCase{name: "learnt", z: [][]float32{z}, y: &sparse.CSR{Cols: 28}}
	c.y.Append([]int32{4}, nil)
	want, _ := spec.Row(float64s(z), []int32{4}, nil)
	for what, got := range map[string]lossResult{"at once": s.fwdBwd(spec, c), "in chunks": s.chunked(spec, c, []int{0, 3, 28})} {
		if !(want > 0) || !(math.Abs(got.loss[0]-want) <= 1e-5*want) {
			s.Fatalf("%s: loss %g, want %g", what, got.loss[0], want)
		}
	}
}

// testLossEmpty checks that no rows, no columns and rows without labels are legal.
func (s *suite) testLossEmpty(spec loss.Spec) {
	none := lossCase{name: "no rows", y: &sparse.CSR{Cols: 9}}
	s.check("at once", spec, &none, s.fwdBwd(spec, none))
	s.check("in chunks", spec, &none, s.chunked(spec, none, []int{0, 4, 9}))
	c := lossCase{name: "no columns", z: [][]float32{{}, {}}, y: &sparse.CSR{Indptr: []int64{0, 0, 0}}}
	s.check("at once", spec, &c, s.fwdBwd(spec, c))
	s.check("in chunks", spec, &c, s.chunked(spec, c, []int{0, 0, 0}))
	c = s.lossCase("scale 0", 5, 40, nil)
	z, rows := s.logits(c), s.lossRows(5)
	s.ok(s.dev.LossFwdBwd(spec, rows, z.Matrix, s.uploadCSR(0, c.y), 0, 0))
	for i, row := range s.lossResult(rows, z).grad {
		for j, g := range row {
			if g != 0 {
				s.Fatalf("scale 0: gradient of row %d, label %d is %v", i, j, g)
			}
		}
	}
}

// testLossShapes gives losses what does not fit: it is refused, and nothing is written.
func (s *suite) testLossShapes(spec loss.Spec) {
	c := s.lossCase("shapes", 4, 30, nil)
	z, rows, y := s.logits(c), s.lossRows(4), s.uploadCSR(0, c.y)
	stats := s.alloc(backend.Float64, 4*backend.StatsLen)
	few := s.alloc(backend.Float64, 3)
	refused := func(what string, err error) {
		s.Helper()
		if err == nil {
			s.Errorf("%s: no error", what)
		}
		got := z.download()
		for i, v := range got.data {
			if math.Float32bits(v) != math.Float32bits(z.data[i]) {
				s.Fatalf("%s: refused, but written", what)
			}
		}
	}
	refused("another number of rows", s.dev.LossFwdBwd(spec, rows, z.RowSlice(0, 3), y, 0, 1))
	refused("labels from below 0", s.dev.LossGrad(spec, stats, z.ColSlice(0, 10), y, -1, 1))
	refused("labels beyond the last", s.dev.LossGrad(spec, stats, z.ColSlice(0, 10), y, 21, 1))
	refused("too few rows", s.dev.LossFwdBwd(spec, few, z.Matrix, y, 0, 1))
	refused("too few statistics", s.dev.LossStats(spec, few, z.Matrix, y, 0))
	refused("too few statistics", s.dev.LossGrad(spec, few, z.Matrix, y, 0, 1))
	refused("statistics of the wrong type", s.dev.LossGrad(spec, z.Buf, z.Matrix, y, 0, 1))
	refused("no such loss", s.dev.LossFwdBwd(loss.Spec{Kind: "unifed"}, rows, z.Matrix, y, 0, 1))
	if !spec.Separable() {
		refused("a chunk at once", s.dev.LossFwdBwd(spec, rows, z.ColSlice(0, 10), y, 0, 1))
	}
}

// testLossHuge computes a row that starts beyond the 2^31st element. (The memory between is never touched.)
func (s *suite) testLossHuge(spec loss.Spec) {
	if spec.Kind != loss.Unified || spec.Scale != 0 {
		return // the address is what matters
	}
	const labels, stride = 40, 1<<31 + 5
	c := s.lossCase("huge", 2, labels, nil)
	buf, err := s.dev.Alloc(backend.Float32, stride+labels)
	if errors.Is(err, backend.ErrOutOfMemory) {
		s.Skip(err)
	}
	s.ok(err)
	z := backend.Matrix{Buf: buf, Rows: 2, Cols: labels, Stride: stride}
	for i := range 2 {
		s.ok(s.dev.Upload(buf, i*stride, c.z[i]))
	}
	rows := s.lossRows(2)
	s.ok(s.dev.LossFwdBwd(spec, rows, z, s.uploadCSR(0, c.y), 0, lossScale))
	got := lossResult{loss: make([]float64, 2)}
	s.ok(s.dev.Download(got.loss, rows, 0))
	for i := range 2 {
		got.loss[i] -= preload(i)
		g := make([]float32, labels)
		s.ok(s.dev.Download(g, buf, i*stride))
		got.grad = append(got.grad, g)
	}
	s.check("beyond 2^31", spec, &c, got)
	s.dev.Free(buf)
}

// BenchmarkLoss measures forward and backward of losses at real sizes. The metric copies is the time in units of that of copying
// the logits once with one thread, measured in the same run, between the calls.
func BenchmarkLoss(b *testing.B, open func(t testing.TB) backend.Device) {
	for _, shape := range []struct{ rows, labels int }{{256, 28}, {256, 4096}, {256, 32768}, {256, 131072}, {64, 670091}} {
		for _, spec := range lossSpecs()[:10] {
			if (spec.Kind == loss.Focal || spec.Kind == loss.ASL || spec.Kind == loss.UnifiedM2 || spec.Kind == loss.UnifiedM3) && shape.labels > 4096 {
				continue
			}
			b.Run(fmt.Sprintf("%s/%dx%d", spec.Kind, shape.rows, shape.labels), func(b *testing.B) {
				benchLoss(newSuite(b, open(b)), b, spec, shape.rows, shape.labels)
			})
		}
	}
}

func benchLoss(s *suite, b *testing.B, spec loss.Spec, rows, labels int) {
	host := make([]float32, rows*labels)
	rng := rand.New(rand.NewPCG(1, 1))
	y := &sparse.CSR{Cols: labels}
	for i := range host {
		host[i] = float32(rng.NormFloat64() - 4)
	}
	for range rows {
		first := int32(rng.IntN(labels / 4))
		y.Append([]int32{first, first + 2, first + int32(labels/3), first + int32(labels/2)}, nil)
	}
	z := backend.Matrix{Buf: s.alloc(backend.Float32, len(host)), Rows: rows, Cols: labels, Stride: labels}
	out, targets := s.alloc(backend.Float64, rows), s.uploadCSR(0, y)
	other := make([]float32, len(host))
	var copying, computing meter
	for i := range b.N + 2 { // two to warm up
		if i == 2 {
			copying, computing = meter{}, meter{}
		}
		s.ok(s.dev.Upload(z.Buf, 0, host))
		copying.start()
		copy(other, host)
		copying.stop()
		computing.start()
		err := s.dev.LossFwdBwd(spec, out, z, targets, 0, 1/float32(rows))
		computing.stop()
		s.ok(err)
	}
	b.ReportMetric(float64(computing.total)/float64(copying.total), "copies")
	b.ReportMetric(float64(computing.total)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(computing.total)/float64(b.N)/float64(len(host)), "cpu-ns/logit")
}
