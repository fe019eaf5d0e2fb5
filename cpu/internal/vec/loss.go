package vec

import "math"

// The functions of this file are the inner loops of the losses, over a run of logits of negatives. They add float32 in many
// lanes within a tile, and float64 over the tiles: one running float32 sum over a million labels would lose three digits.
// NaN in a run makes its sums NaN.

// tile is how many elements are summed in float32 before the sum moves to float64.
const tile = 1024

// Runs of fewer elements than short are not worth the vector set-up. Arguments whose exponents pass maxExponent are beyond what
// the vector exponential tells apart.
const (
	short       = 8
	maxExponent = 150000
)

// SumExp returns Σ 2^−k·e^{a·x}, a > 0. It is +Inf where the sum of a tile overflows; k prevents that. Terms below 2^−125
// count as 0. Each term is correct to about one unit in its last place.
func SumExp(x []float32, a float32, k int) float64 {
	if level == plain || len(x) < short || k > maxExponent || k < -maxExponent {
		return sumExp(x, a, k)
	}
	return sumExpSIMD(x, a, k)
}

// ScaleExp replaces x by c·2^k·e^{a·x}, a > 0, ½ ≤ |c| < 1 or c = 0. Nothing but the result itself can overflow; results
// below about 2^−125 are 0.
func ScaleExp(x []float32, a, c float32, k int) {
	if c == 0 { // not through 0·∞
		for i := range x {
			x[i] *= 0
		}
		return
	}
	if level == plain || len(x) < short || k > maxExponent || k < -maxExponent {
		scaleExp(x, a, c, k)
		return
	}
	scaleExpSIMD(x, a, c, k)
}

// Max returns the largest element, −Inf where there is none. There must be no NaN.
func Max(x []float32) float32 {
	if level == plain || len(x) < short {
		return maxPlain(x)
	}
	return maxSIMD(x)
}

// SumHinge returns Σ [x + m]₊².
func SumHinge(x []float32, m float32) float64 {
	if level == plain || len(x) < short {
		return sumHinge(x, m)
	}
	sum := sumHingeSIMD(x, m)
	if math.IsInf(sum, 0) {
		return sumHinge(x, m) // squares beyond float32
	}
	return sum
}

// ScaleHinge replaces x by c·[x + m]₊ and returns Σ [x + m]₊².
func ScaleHinge(x []float32, m, c float32) float64 {
	if level == plain || len(x) < short {
		return scaleHinge(x, m, c)
	}
	return scaleHingeSIMD(x, m, c)
}

// SumSoftplus returns Σ log1p(e^x). It is the logarithm of the product Π(1 + e^x), of which it keeps the excess over 1, so that
// it takes one logarithm for many elements and yet loses no digit of small terms.
func SumSoftplus(x []float32) float64 {
	if level == plain || len(x) < short {
		return sumSoftplus(x)
	}
	return sumSoftplusSIMD(x)
}

// ScaleSigmoid replaces x by c·σ(x) and returns Σ log1p(e^x).
func ScaleSigmoid(x []float32, c float32) float64 {
	if level == plain || len(x) < short {
		return scaleSigmoid(x, c)
	}
	return scaleSigmoidSIMD(x, c)
}

// The plain twins compute in float64: one wide multiplication costs what a narrow one does, and no float32 scheme of splitting
// the argument is needed.

// expTable holds 2^(i/32) as bits, less i·2^47: adding the integer part of 32·log2(e)·x, shifted by 47 bits, then makes the
// float64 2^(n/32).
var expTable = func() (t [32]uint64) {
	for i := range t {
		t[i] = math.Float64bits(math.Exp2(float64(i)/32)) - uint64(i)<<47
	}
	return t
}()

// Exp returns e^x for |x| < 708 to about 30 bits; 0 below, +Inf above, NaN for NaN. It is Tang's method (ACM TOMS 15, 1989): a
// table of 32 powers, and a polynomial of degree 3.
func Exp(x float64) float64 {
	if x < -708 {
		return 0
	}
	if x > 708 {
		return math.Inf(1)
	}
	const magic = 3 << 51 // adding it rounds to an integer, and leaves that in the low bits
	n := x*(32/math.Ln2) + magic
	bits := math.Float64bits(n)
	n -= magic
	r := x - n*(math.Ln2/32)
	p := 1 + r*(1+r*(0.5+r*(1.0/6)))
	return p * math.Float64frombits(expTable[bits&31]+bits<<47)
}

func sumExp(x []float32, a float32, k int) float64 {
	wa, wb := float64(a), -float64(k)*math.Ln2
	var s0, s1 float64
	for ; len(x) >= 2; x = x[2:] {
		s0 += Exp(wa*float64(x[0]) + wb)
		s1 += Exp(wa*float64(x[1]) + wb)
	}
	if len(x) > 0 {
		s0 += Exp(wa*float64(x[0]) + wb)
	}
	return s0 + s1
}

func scaleExp(x []float32, a, c float32, k int) {
	wa, wb, wc := float64(a), float64(k)*math.Ln2, float64(c)
	for i, v := range x {
		x[i] = float32(wc * Exp(wa*float64(v)+wb))
	}
}

func maxPlain(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

func sumHinge(x []float32, m float32) float64 {
	var s0, s1 float64
	for i, v := range x {
		h := float64(max(v+m, 0))
		if i&1 == 0 {
			s0 += h * h
		} else {
			s1 += h * h
		}
	}
	return s0 + s1
}

func scaleHinge(x []float32, m, c float32) float64 {
	var s0, s1 float64
	for i, v := range x {
		h := max(v+m, 0)
		x[i] = c * h
		if i&1 == 0 {
			s0 += float64(h) * float64(h)
		} else {
			s1 += float64(h) * float64(h)
		}
	}
	return s0 + s1
}

func sumSoftplus(x []float32) float64 {
	var positive, product, sum float64
	for i, v := range x {
		w := float64(v)
		positive += max(w, 0)
		e := Exp(-math.Abs(w))
		product += e * (1 + product)
		if i&511 == 511 { // (1 + 1)^512 is in range
			sum, product = sum+math.Log1p(product), 0
		}
	}
	return positive + sum + math.Log1p(product)
}

func scaleSigmoid(x []float32, c float32) float64 {
	var positive, product, sum float64
	for i, v := range x {
		w := float64(v)
		positive += max(w, 0)
		e := Exp(-math.Abs(w))
		product += e * (1 + product)
		num := e
		if w > 0 {
			num = 1
		}
		x[i] = c * float32(num/(1+e))
		if i&511 == 511 {
			sum, product = sum+math.Log1p(product), 0
		}
	}
	return positive + sum + math.Log1p(product)
}
