package loss

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// specs are all losses with their defaults, and with parameters that are not.
func specs() []Spec {
	var list []Spec
	for _, name := range Names() {
		list = append(list, Default(Kind(name)))
	}
	for _, k := range []Kind{Unified, UnifiedSoftmax, UnifiedM2, UnifiedM3} {
		list = append(list, Spec{Kind: k, Scale: 1.5, Margin: 0.4})
	}
	return append(list,
		Spec{Kind: BCE, PosWeight: 3},
		Spec{Kind: Focal, GammaPos: 1.5, GammaNeg: 1.5},
		Spec{Kind: ASL, GammaPos: 0, GammaNeg: 2},
		Spec{Kind: SquaredHinge, MarginPos: 1, MarginNeg: 1},
		Spec{Kind: UnifiedHinge, MarginPos: 5, MarginNeg: 5, C: 400})
}

// row is a test case.
type row struct {
	name string
	s    []float64
	pos  []int32
	t    []float64
}

func rows() []row {
	rng := rand.New(rand.NewPCG(3, 4))
	normal := func(n int, scale float64) []float64 {
		s := make([]float64, n)
		for i := range s {
			s[i] = scale * rng.NormFloat64()
		}
		return s
	}
	return []row{
		{"plain", normal(9, 2), []int32{1, 5}, nil},
		{"no positives", normal(7, 2), nil, nil},
		{"all positives", normal(5, 2), []int32{0, 1, 2, 3, 4}, nil},
		{"one label, positive", []float64{0.3}, []int32{0}, nil},
		{"one label, negative", []float64{0.3}, nil, nil},
		{"soft", normal(8, 2), []int32{0, 3, 4, 7}, []float64{0.25, 1, 0.5, 0}},
		{"masked", normal(8, 2), []int32{0, 3, 4}, []float64{-1, 1, -1}},
		{"all masked", normal(2, 2), []int32{0, 1}, []float64{-1, -1}},
		{"large", []float64{50, -50, 3, 49, -49, 50}, []int32{0, 1}, nil},
		{"large and wrong", []float64{50, -50, 48, 20, -30, 0.1}, []int32{1, 4}, nil},
		{"large and right", []float64{-50, 50, -48, -20, 30, -45}, []int32{1, 4}, nil},
	}
}

// TestGradient compares the oracle's gradient with central differences of its loss, Richardson-extrapolated.
func TestGradient(t *testing.T) {
	for _, spec := range specs() {
		for _, r := range rows() {
			_, grad := spec.Row(r.s, r.pos, r.t)
			at := func(i int, h float64) float64 {
				s := append([]float64(nil), r.s...)
				s[i] += h
				l, _ := spec.Row(s, r.pos, r.t)
				return l
			}
			diff := func(i int, h float64) float64 { return (at(i, h) - at(i, -h)) / (2 * h) }
			for i := range r.s {
				const h = 1e-3
				want := (4*diff(i, h/2) - diff(i, h)) / 3
				if math.Abs(grad[i]-want) > 1e-8*(1+math.Abs(want)) {
					t.Errorf("%+v, %s: gradient[%d] = %.12g, differences give %.12g", spec, r.name, i, grad[i], want)
				}
			}
		}
	}
}

// TestValues holds the formulas to numbers worked out by hand for s = (log 2, log 3, 0) with label 2 positive: negatives' terms
// 2 and 3, positive's term 1.
func TestValues(t *testing.T) {
	s := []float64{math.Log(2), math.Log(3), 0}
	for _, test := range []struct {
		spec Spec
		want float64
	}{
		{Spec{Kind: Unified}, math.Log(6) + math.Log(2)},
		{Spec{Kind: UnifiedSoftmax}, math.Log(6)},
		{Spec{Kind: UnifiedM2}, math.Log(1+5+6) + math.Log(2)},
		{Spec{Kind: UnifiedM3}, math.Log(12) + math.Log(2)},
		{Spec{Kind: BCE}, math.Log(12) + math.Log(2)}, // two negatives: m = 2 is all there is
		{Spec{Kind: BCE, PosWeight: 2}, math.Log(12) + 2*math.Log(2)},
		{Spec{Kind: Focal, GammaPos: 1, GammaNeg: 1}, 2./3*math.Log(3) + 3./4*math.Log(4) + 0.5*math.Log(2)},
		{Spec{Kind: ASL, GammaPos: 1, GammaNeg: 2, Clip: 0.25}, 25./144*-math.Log(7./12) + 0.25*-math.Log(0.5) + 0.5*math.Log(2)},
		{Spec{Kind: SquaredHinge, MarginPos: 1.5, MarginNeg: 0.5}, math.Pow(math.Log(2)+0.5, 2) + math.Pow(math.Log(3)+0.5, 2) + 2.25},
		{Spec{Kind: UnifiedHinge, MarginPos: 2, MarginNeg: -10, C: 4}, 4 * (math.Sqrt(3) - 1)},
		{Spec{Kind: Softmax}, math.Log(6)},
		{Spec{Kind: Unified, Scale: 2, Margin: math.Log(2)}, math.Log(1+16+36) + math.Log(1+4)},
	} {
		if got, _ := test.spec.Row(s, []int32{2}, nil); math.Abs(got-test.want) > 1e-14*test.want {
			t.Errorf("%+v: %.17g, want %.17g", test.spec, got, test.want)
		}
	}
}

// TestLimits checks that losses turn into one another where they should.
func TestLimits(t *testing.T) {
	s := []float64{-1, 2, 0.5, -0.3}
	same := func(name string, a, b Spec, pos []int32, tol float64) {
		t.Helper()
		la, ga := a.Row(s, pos, nil)
		lb, gb := b.Row(s, pos, nil)
		for i := range ga {
			if math.Abs(ga[i]-gb[i]) > tol {
				t.Errorf("%s: gradients %v and %v", name, ga, gb)
			}
		}
		if math.Abs(la-lb) > tol {
			t.Errorf("%s: %g and %g", name, la, lb)
		}
	}
	same("one positive: unified-softmax is softmax", Spec{Kind: UnifiedSoftmax}, Spec{Kind: Softmax}, []int32{2}, 1e-14)
	same("three negatives, one positive: m = 3 is all, bce", Spec{Kind: UnifiedM3}, Spec{Kind: BCE}, []int32{1}, 1e-14)
	same("unified-hinge with c → ∞ is squared hinge", Spec{Kind: UnifiedHinge, C: 1e12, MarginPos: 1, MarginNeg: 1}, Spec{Kind: SquaredHinge, MarginPos: 1, MarginNeg: 1}, []int32{1, 3}, 1e-9)
	same("focal with γ = 0 is bce", Spec{Kind: Focal}, Spec{Kind: BCE}, []int32{1}, 1e-14)
	same("asl with γ = 0 and no clip is bce", Spec{Kind: ASL}, Spec{Kind: BCE}, []int32{1}, 1e-14)
	for _, k := range []Kind{UnifiedSoftmax, Softmax} {
		if l, g := (Spec{Kind: k}).Row(s, nil, nil); l != 0 || g[0] != 0 || g[3] != 0 {
			t.Errorf("%s without positives: loss %g, gradient %v", k, l, g)
		}
	}
}

// TestExtreme checks that everything stays finite for logits up to 1e4, and that gradients are bounded as they should.
func TestExtreme(t *testing.T) {
	for _, spec := range specs() {
		for _, s := range [][]float64{{1e4, -1e4, 0, 1e4}, {-1e4, 1e4, -1e4, 3}, {1e4, 1e4, 1e4, 1e4}, {-1e4, -1e4, -1e4, -1e4}} {
			for _, pos := range [][]int32{nil, {1}, {0, 1, 2, 3}} {
				l, g := spec.Row(s, pos, nil)
				if math.IsNaN(l) || math.IsInf(l, 0) || l < 0 {
					t.Errorf("%+v, %v, %v: loss %g", spec, s, pos, l)
				}
				for i := range g {
					if math.IsNaN(g[i]) || math.IsInf(g[i], 0) {
						t.Errorf("%+v, %v, %v: gradient %v", spec, s, pos, g)
					}
				}
			}
		}
	}
}

// statsOf returns the statistics of the labels [lo, hi) term by term, as the definition of Side has it.
func statsOf(s Spec, r row, lo, hi int) Stats {
	var st Stats
	target := map[int]float64{}
	for k, j := range r.pos {
		target[int(j)] = 1
		if r.t != nil {
			target[int(j)] = r.t[k]
		}
	}
	for i := lo; i < hi; i++ {
		x := r.s[i]
		w, stored := target[i]
		if w < 0 {
			continue
		}
		side := func(d *Side, exp, sum, weight float64) {
			switch {
			case weight == 0:
			case s.Kind == UnifiedM2 || s.Kind == UnifiedM3:
				*d = s.MergeSide(*d, SymmetricSide(exp, weight))
			case s.Kind == Unified || s.Kind == UnifiedSoftmax:
				*d = s.MergeSide(*d, ExpSide(exp, weight))
			default:
				*d = s.MergeSide(*d, Side{E1: weight * sum})
			}
		}
		if s.Kind == Softmax {
			e := ExpSide(x, 1)
			if stored {
				e.E2, e.E3 = w*x, w
				st.Pos = s.MergeSide(st.Pos, e)
			} else {
				st.Neg = s.MergeSide(st.Neg, e)
			}
			continue
		}
		var fn, fp float64
		if s.Separable() {
			fn, _ = s.Neg(x)
			fp, _ = s.Pos(x)
		} else {
			fn, fp = hinge(x+s.MarginNeg), hinge(s.MarginPos-x)
			fn, fp = fn*fn, fp*fp
		}
		side(&st.Neg, s.Gamma()*(x+s.Margin), fn, 1-w)
		side(&st.Pos, s.Gamma()*(s.Margin-x), fp, w)
	}
	return st
}

// TestStats checks that loss and gradient from statistics, joined from two chunks, are the oracle's.
func TestStats(t *testing.T) {
	cases := append(rows(),
		row{"huge", []float64{1e4, -1e4, 0, 9990, -300, 250, 1}, []int32{1, 2}, nil},
		row{"huge negatives' side down", []float64{-1e4, -9999, 1e4, -1e4}, []int32{2}, nil},
		row{"three giants", []float64{40, 45, 50, 1, -1, 0.5, 2}, nil, nil},
		row{"two giants", []float64{-40, -45, 1, -1, 0.5, 2}, []int32{0, 1}, nil},
		row{"one giant", []float64{17, 1, -1, 0.5, 2, -3}, nil, nil})
	for _, spec := range specs() {
		for _, r := range cases {
			loss, grad := spec.Row(r.s, r.pos, r.t)
			for cut := range len(r.s) + 1 {
				st := spec.Merge(statsOf(spec, r, 0, cut), statsOf(spec, r, cut, len(r.s)))
				if got := spec.Loss(st); math.Abs(got-loss) > 1e-12*(1+math.Abs(loss)) {
					t.Errorf("%+v, %s, cut at %d: loss %.17g, want %.17g", spec, r.name, cut, got, loss)
				}
				const scale = 0.5
				tol := 1e-10
				if spec.Kind == UnifiedM2 || spec.Kind == UnifiedM3 {
					tol = 1e-6 // see lost1, lost2; logarithms of 1e4 have 12 digits left
				}
				for i, want := range grad {
					if got := gradient(spec, st, r, i, scale); math.Abs(got-scale*want) > tol*math.Abs(scale*want)+1e-15 {
						t.Errorf("%+v, %s, cut at %d: gradient[%d] = %.12g, want %.12g", spec, r.name, cut, i, got, scale*want)
					}
				}
			}
		}
	}
}

// gradient is what a backend does with Factors and Symmetric, for one label.
func gradient(s Spec, st Stats, r row, i int, scale float64) float64 {
	w, stored := 0.0, false
	for k, j := range r.pos {
		if int(j) == i {
			w, stored = 1, true
			if r.t != nil {
				w = r.t[k]
			}
		}
	}
	if w < 0 {
		return 0
	}
	neg, pos := s.Factors(st, scale)
	x := r.s[i]
	xn, xp := s.Gamma()*(x+s.Margin), s.Gamma()*(s.Margin-x)
	g := 0.0
	switch s.Kind {
	case Unified, UnifiedSoftmax:
		if w < 1 {
			g += (1 - w) * neg.TimesExp(xn)
		}
		if w > 0 {
			g -= w * pos.TimesExp(xp)
		}
	case UnifiedM2, UnifiedM3:
		if w < 1 {
			n := s.NewSymmetric(st.Neg)
			g += n.Grad(xn + math.Log(1-w))
		}
		if w > 0 {
			p := s.NewSymmetric(st.Pos)
			g -= p.Grad(xp + math.Log(w))
		}
		g *= s.Gamma() * scale
	case Softmax:
		g = neg.TimesExp(x)
		if stored {
			g -= w * pos.Float64()
		}
	case SquaredHinge, UnifiedHinge:
		g = (1-w)*neg.Float64()*hinge(x+s.MarginNeg) - w*pos.Float64()*hinge(s.MarginPos-x)
	default:
		_, dn := s.Neg(x)
		_, dp := s.Pos(x)
		g = neg.Float64() * ((1-w)*dn + w*dp)
	}
	return g
}

// TestNaN checks that a NaN logit comes out, in the loss and in its own gradient, unless it is masked.
func TestNaN(t *testing.T) {
	for _, spec := range specs() {
		for _, pos := range [][]int32{nil, {0}, {1}, {0, 1, 2}} {
			l, g := spec.Row([]float64{1, math.NaN(), -1}, pos, nil)
			if spec.Kind == Softmax && pos == nil || spec.Kind == UnifiedSoftmax && len(pos) != 1 {
				continue // nothing to push apart; backends decide
			}
			if !math.IsNaN(l) || !math.IsNaN(g[1]) {
				t.Errorf("%+v, positives %v: loss %g, gradient %v", spec, pos, l, g)
			}
		}
		l, g := spec.Row([]float64{1, math.NaN(), -1}, []int32{0, 1}, []float64{1, -1})
		if math.IsNaN(l) || g[1] != 0 {
			t.Errorf("%+v, masked NaN: loss %g, gradient %v", spec, l, g)
		}
	}
}

func TestParse(t *testing.T) {
	for _, name := range Names() {
		if s, err := Parse(name); err != nil || string(s.Kind) != name {
			t.Errorf("Parse(%q) = %+v, %v", name, s, err)
		}
	}
	for name, want := range map[string]string{
		"unifed":        `did you mean "unified"?`,
		"squared_hinge": `did you mean "squared-hinge"?`,
		"BCE":           `did you mean "bce"?`,
		"zlpr-circle":   "expected one of unified, unified-softmax,",
		"":              "expected one of",
	} {
		if _, err := Parse(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v, want %q", name, err, want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		spec Spec
		want string
	}{
		{Spec{Kind: Unified, Scale: -1}, "scale is -1"},
		{Spec{Kind: Unified, Margin: math.NaN()}, "margin is NaN"},
		{Spec{Kind: UnifiedHinge}, "c is 0"},
		{Spec{Kind: BCE, PosWeight: math.Inf(1)}, "pos_weight is +Inf"},
		{Spec{Kind: ASL, Clip: 1}, "clip is 1"},
		{Spec{Kind: Focal, GammaPos: 1}, "gamma_pos is 1"},
		{Spec{Kind: Focal, GammaNeg: -2}, "gamma_neg is -2"},
		{Spec{Kind: Focal, AlphaPos: 1.5}, "alpha_pos is 1.5"},
	} {
		if err := test.spec.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.spec, err, test.want)
		}
	}
}

func TestProb(t *testing.T) {
	for name, want := range map[string]float64{"unified": 0.9, "bce": 0.75, "squared-hinge": 0.9} {
		s, _ := Parse(name)
		if got := s.Prob(math.Log(3)); math.Abs(got-want) > 1e-15 {
			t.Errorf("%s: Prob(log 3) = %g, want %g", name, got, want)
		}
	}
	// The unified loss is least, for a label with share t among equal rows, where σ(2s) = t.
	const share = 0.2
	best, at := math.Inf(1), 0.0
	for s := -2.0; s < 2; s += 1e-3 {
		if l, _ := Default(Unified).Row([]float64{s}, []int32{0}, []float64{share}); l < best {
			best, at = l, s
		}
	}
	// With a single label both sides' sums differ, so this holds at t = ½ exactly and about elsewhere.
	if p := Default(Unified).Prob(at); math.Abs(p-share) > 0.1 {
		t.Errorf("soft target %g: least loss at s = %g, probability %g", share, at, p)
	}
	row := []float64{1000, 1000 + math.Log(3), -1e4}
	Default(Softmax).Probs(row)
	if fmt.Sprintf("%.12f", row) != "[0.250000000000 0.750000000000 0.000000000000]" {
		t.Errorf("softmax %v", row)
	}
}
