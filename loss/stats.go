package loss

import "math"

// Side holds the sums of one side of a row, negatives or positives, over the labels seen so far. The zero value means no
// labels. Sides of disjoint sets of labels join by [Spec.Merge]: that is all that chunks, tiles and devices ever exchange.
//
// What the fields mean depends on the loss:
//
//   - unified, unified-softmax: Σ w e^x = E1·e^Shift, with x and the weight w of the package comment. Shift is 0 unless the
//     plain sum left the range of its arithmetic.
//   - softmax: Σ e^s = E1·e^Shift, where every label that y stores and does not mask is on the positive side; there also
//     E2 = Σ t·s and E3 = Σ t.
//   - unified-m2, unified-m3: E_k = log1p(e_k), e_k the elementary symmetric polynomials of the side's terms w e^x, and
//     Shift = log1p(e_4), which the loss does not need, but the digits of its gradient do. The logarithm spans what no shared
//     shift could (e_3 is to e_1 as e^{2x} to 1), and 0 still means no labels.
//   - squared-hinge, unified-hinge: E1 = Σ w h².
//   - bce, focal, asl: E1 = Σ w·(the label's term of the loss).
type Side struct{ Shift, E1, E2, E3 float64 }

// Stats holds the two sides of a row. As float64 in memory: Neg's four fields, then Pos's.
type Stats struct{ Neg, Pos Side }

// Merge joins two sets of labels.
func (s Spec) Merge(a, b Stats) Stats {
	return Stats{Neg: s.MergeSide(a.Neg, b.Neg), Pos: s.MergeSide(a.Pos, b.Pos)}
}

// MergeSide joins one side of two sets of labels.
func (s Spec) MergeSide(a, b Side) Side {
	switch s.Kind {
	case Unified, UnifiedSoftmax, Softmax:
		m := mergeExp(a, b)
		m.E2, m.E3 = a.E2+b.E2, a.E3+b.E3
		return m
	case UnifiedM2, UnifiedM3:
		return mergeSymmetric(a, b)
	default:
		return Side{E1: a.E1 + b.E1}
	}
}

// mergeExp adds E1·e^Shift of two sides, at the larger of the two shifts.
func mergeExp(a, b Side) Side {
	switch {
	case a.E1 == 0:
		return Side{Shift: b.Shift, E1: b.E1}
	case b.E1 == 0:
		return Side{Shift: a.Shift, E1: a.E1}
	case a.Shift == b.Shift:
		return Side{Shift: a.Shift, E1: a.E1 + b.E1}
	case a.Shift < b.Shift:
		a, b = b, a
	}
	return Side{Shift: a.Shift, E1: a.E1 + b.E1*math.Exp(b.Shift-a.Shift)}
}

// ExpSide returns the side of the single term w·e^x, for any finite x.
func ExpSide(x, w float64) Side {
	if math.Abs(x) > 300 && w != 0 && !math.IsInf(x, 0) { // the bound leaves room for sums
		n := math.RoundToEven(x / math.Ln2)
		return Side{Shift: n * math.Ln2, E1: w * expTimes2(x, -n)}
	}
	return Side{E1: w * math.Exp(x)}
}

// TimesExp returns the side times e^x: E1·e^Shift is what is multiplied.
func (d Side) TimesExp(x float64) Side {
	if math.Abs(x) > 300 {
		d.Shift += x
	} else {
		d.E1 *= math.Exp(x)
	}
	return d
}

// log returns log(E1·e^Shift).
func (d Side) log() float64 { return d.Shift + math.Log(d.E1) }

// Loss returns the loss of a row from its complete statistics: Φ.
func (s Spec) Loss(st Stats) float64 {
	switch s.Kind {
	case Unified:
		return log1pSide(st.Neg) + log1pSide(st.Pos)
	case UnifiedSoftmax:
		if st.Neg.E1 == 0 || st.Pos.E1 == 0 {
			return st.Neg.E1 * st.Pos.E1 // 0, or NaN where the other side is
		}
		return softplus(st.Neg.log() + st.Pos.log())
	case UnifiedM2, UnifiedM3:
		return s.NewSymmetric(st.Neg).Log + s.NewSymmetric(st.Pos).Log
	case UnifiedHinge:
		// c(√(1 + 2S/c) − 1) without the cancellation at small S.
		psi := func(sum float64) float64 { return 2 * sum / (math.Sqrt(1+2*sum/s.C) + 1) }
		return psi(st.Neg.E1) + psi(st.Pos.E1)
	case Softmax:
		z := mergeExp(st.Neg, st.Pos)
		if st.Pos.E3 == 0 {
			return 0 * (z.E1 + st.Pos.E2) // no positives: 0, or NaN
		}
		return max(0, z.log()-st.Pos.E2/st.Pos.E3) // rounding may leave less than nothing
	default:
		return st.Neg.E1 + st.Pos.E1
	}
}

// log1pSide returns log1p(E1·e^Shift).
func log1pSide(d Side) float64 {
	if d.Shift == 0 {
		return math.Log1p(d.E1)
	}
	return softplus(d.log())
}

// Factor is the number Mant·2^Exp, ½ ≤ |Mant| < 1, or 0, NaN. Kept apart, a factor of 1e-300 meets e^{x} of 1e300 without loss.
type Factor struct {
	Mant float64
	Exp  int
}

func factor(f float64, exp int) Factor {
	m, e := math.Frexp(f)
	return Factor{m, e + exp}
}

// Factors returns the row scalars of the gradient, scale·∂Φ/∂S of each side, from complete statistics:
//
//   - unified, unified-softmax: ∂L/∂s_i = w·neg·e^{x_i} for negatives, −w·pos·e^{x_j} for positives (γ is in the factor).
//   - softmax: neg·e^{s_i} for all labels, minus t·pos for those with a target.
//   - unified-hinge: w·neg·[s_i + m_n]₊ and −w·pos·[m_p − s_j]₊ (the 2 is in the factor); squared-hinge likewise.
//   - bce, focal, asl: the label's own derivative, times w and the factor, which is scale. (Pos already has its sign.)
//
// The symmetric losses need more than a scalar: see [Symmetric].
func (s Spec) Factors(st Stats, scale float64) (neg, pos Factor) {
	switch s.Kind {
	case Unified:
		side := func(d Side) Factor { // scale·γ/(1 + E1·2^k) = scale·γ/(2^−k + E1)·2^−k
			k, e1 := d.binary()
			return factor(scale*s.Gamma()/(math.Ldexp(1, -k)+e1), -k)
		}
		return side(st.Neg), side(st.Pos)
	case UnifiedSoftmax:
		if st.Neg.E1 == 0 || st.Pos.E1 == 0 {
			f := factor(st.Neg.E1*st.Pos.E1, 0) // nothing to push apart, or NaN
			return f, f
		}
		both := scale * s.Gamma() * sigmoid(st.Neg.log()+st.Pos.log())
		side := func(d Side) Factor {
			k, e1 := d.binary()
			return factor(both/e1, -k)
		}
		return side(st.Neg), side(st.Pos)
	case Softmax:
		if st.Pos.E3 == 0 {
			f := factor(s.Loss(st), 0) // 0, or NaN
			return f, f
		}
		k, e1 := mergeExp(st.Neg, st.Pos).binary()
		return factor(scale/e1, -k), factor(scale/st.Pos.E3, 0)
	case SquaredHinge:
		f := factor(2*scale, 0)
		return f, f
	case UnifiedHinge:
		return factor(2*scale/math.Sqrt(1+2*st.Neg.E1/s.C), 0), factor(2*scale/math.Sqrt(1+2*st.Pos.E1/s.C), 0)
	default:
		f := factor(scale, 0)
		return f, f
	}
}

// binary returns k and e with E1·e^Shift = e·2^k. Shifts that come from powers of two are met exactly.
func (d Side) binary() (k int, e float64) {
	if d.Shift == 0 {
		return 0, d.E1
	}
	n := math.RoundToEven(d.Shift / math.Ln2)
	return int(n), d.E1 * math.Exp(d.Shift-n*math.Ln2)
}

// Float64 returns the factor as one number.
func (f Factor) Float64() float64 { return math.Ldexp(f.Mant, f.Exp) }

// TimesExp returns Mant·2^Exp·e^x without overflow on the way.
func (f Factor) TimesExp(x float64) float64 {
	if f.Mant == 0 && !math.IsNaN(x) {
		return 0
	}
	return f.Mant * expTimes2(x, float64(f.Exp))
}

// Times returns the factor times e^x.
func (f Factor) Times(x float64) Factor {
	n := math.RoundToEven(x / math.Ln2)
	return factor(f.Mant*expTimes2(x, -n), f.Exp+int(n))
}

// expTimes2 returns e^x·2^n, n integral. Ln 2 comes in two parts, the first of 32 bits, so that large x and n cancel exactly.
func expTimes2(x, n float64) float64 {
	const hi, lo = 6.93147180369123816490e-01, 1.90821492927058770002e-10
	return math.Exp((x + n*hi) + n*lo)
}

// Symmetric is what the gradient of a symmetric loss needs of one side: the elementary symmetric polynomials of its terms.
type Symmetric struct {
	Log            float64 // log(1 + e_1 + … + e_m), the side's loss
	order          int
	logs           bool    // the numbers below are logarithms, because plain ones overflow
	e1, e2, e3, e4 float64 // the polynomials
	d              float64 // 1 + e_1 + … + e_m
}

// NewSymmetric prepares the gradient of a side with complete statistics.
func (s Spec) NewSymmetric(d Side) Symmetric {
	p := Symmetric{order: 2}
	if s.Kind == UnifiedM3 {
		p.order = 3
	}
	if !(max(d.E1, d.E2, d.E3, d.Shift) > 700) {
		p.e1, p.e2, p.e3, p.e4 = math.Expm1(d.E1), math.Expm1(d.E2), math.Expm1(d.E3), math.Expm1(d.Shift)
		rest := p.e1 + p.e2
		if p.order == 3 {
			rest += p.e3
		}
		p.d, p.Log = 1+rest, math.Log1p(rest)
		return p
	}
	p.logs = true
	p.e1, p.e2, p.e3, p.e4 = logExpm1(d.E1), logExpm1(d.E2), logExpm1(d.E3), logExpm1(d.Shift)
	p.d = logAddExp(0, logAddExp(p.e1, p.e2))
	if p.order == 3 {
		p.d = logAddExp(p.d, p.e3)
	}
	p.Log = p.d
	return p
}

// Where Grad turns from subtraction, which errs by about 1e-14·ρ in q_1 and 1e-14·ρ² in q_2, ρ the ratio of v to the other terms,
// to the way down from e_4, which errs by 1/ρ³ and 1/(12ρ²). Both err by less than 1e-7 there.
const (
	lost1 = 3e-3
	lost2 = 1e-6
)

// Grad returns the derivative of the side's loss by x for a term v = e^x of the side,
//
//	v·(1 + q_1 + … + q_{m−1})/(1 + e_1 + … + e_m)
//
// with q_k the polynomials of the other terms. As e_k = q_k + v·q_{k−1}, they follow upwards by subtraction, or, where v dominates
// and that would leave no digits, downwards from e_4 ≈ v·q_3.
func (p *Symmetric) Grad(x float64) float64 {
	if p.logs {
		return p.gradLog(x)
	}
	v := math.Exp(x)
	if v == 0 {
		return 0
	}
	q1 := p.e1 - v
	q2 := p.e2 - v*q1
	up1, up2 := !(q1 < lost1*p.e1), !(q2 < lost2*v*p.e1)
	if !up1 || !up2 && p.order == 3 {
		down := max(p.e3-p.e4/v, 0) / v
		if !up1 {
			q1 = max(p.e2-down, 0) / v
		}
		if q2 = p.e2 - v*q1; !(q2 > lost2*v*p.e1) {
			q2 = down
		}
	}
	if p.order == 2 {
		q2 = 0
	}
	return v * (1 + q1 + q2) / p.d
}

// gradLog is Grad with logarithms instead of numbers.
func (p *Symmetric) gradLog(x float64) float64 {
	if math.IsInf(x, -1) {
		return 0
	}
	q1, q2 := logSubExp(p.e1, x), logSubExp(p.e3, p.e4-x)-x
	if q1 < p.e1+math.Log(lost1) {
		q1 = logSubExp(p.e2, q2) - x
	}
	num := logAddExp(0, q1)
	if p.order == 3 {
		if up := logSubExp(p.e2, x+q1); up > math.Log(lost2)+x+p.e1 {
			q2 = up
		}
		num = logAddExp(num, q2)
	}
	return math.Exp(x + num - p.d)
}

// SymmetricSide returns the side of the single term w·e^x of a symmetric loss, for any x.
func SymmetricSide(x, w float64) Side {
	return Side{E1: softplus(x + math.Log(w))}
}

// SymmetricSum returns the side with the elementary symmetric polynomials e_1 to e_4.
func SymmetricSum(e [4]float64) Side {
	return Side{Shift: math.Log1p(e[3]), E1: math.Log1p(e[0]), E2: math.Log1p(e[1]), E3: math.Log1p(e[2])}
}

// mergeSymmetric multiplies two polynomials Π(1 + v z), of which it keeps the coefficients e_1 to e_4.
func mergeSymmetric(a, b Side) Side {
	times := func(a, b float64) float64 { // log1p(e·f) from log1p(e), log1p(f)
		if a == 0 || b == 0 {
			return a * b
		}
		return softplus(logExpm1(a) + logExpm1(b))
	}
	plus := log1pSum
	return Side{
		E1:    plus(a.E1, b.E1),
		E2:    plus(plus(a.E2, b.E2), times(a.E1, b.E1)),
		E3:    plus(plus(a.E3, b.E3), plus(times(a.E1, b.E2), times(a.E2, b.E1))),
		Shift: plus(plus(a.Shift, b.Shift), plus(times(a.E2, b.E2), plus(times(a.E1, b.E3), times(a.E3, b.E1)))),
	}
}

// log1pSum returns log1p(e + f) from log1p(e), log1p(f).
func log1pSum(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if b == 0 {
		return a
	}
	// 1 + e + f = e^a + e^b − 1 = e^a·(1 + e^−a·expm1(b)); with the digits of a small e or f kept.
	if a < 1 {
		return math.Log1p(math.Expm1(a) + math.Expm1(b))
	}
	if b < 1 {
		return a + math.Log1p(math.Exp(-a)*math.Expm1(b))
	}
	return a + math.Log1p(math.Exp(b-a)-math.Exp(-a))
}

// logExpm1 returns log(e^a − 1), a ≥ 0.
func logExpm1(a float64) float64 {
	if a > 40 {
		return a // e^−40 is below the last digit
	}
	return math.Log(math.Expm1(a))
}

// logSubExp returns log(e^a − e^b); −Inf where b ≥ a.
func logSubExp(a, b float64) float64 {
	if b >= a {
		return math.Inf(-1)
	}
	return a + math.Log(-math.Expm1(b-a))
}
