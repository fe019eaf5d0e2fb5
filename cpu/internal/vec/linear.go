// Package vec holds the inner loops of the CPU backend: each in plain Go and, where the program is built for them, in vector
// instructions.
package vec

import "math"

// Experiment says whether the package was built with GOEXPERIMENT=simd.
const Experiment = experiment

// The levels of instructions.
const (
	plain = iota
	avx2  // with FMA
	avx512
)

// Instructions names what the functions of this package compute with.
func Instructions() string {
	switch level {
	case avx512:
		return "AVX-512"
	case avx2:
		return "AVX2"
	default:
		return "plain Go"
	}
}

// Axpy adds c·x to y, which is at least as long as x.
func Axpy(c float32, x, y []float32) {
	y = y[:len(x)]
	switch level {
	case avx512:
		axpy512(c, x, y)
	case avx2:
		axpy256(c, x, y)
	default:
		axpy(c, x, y)
	}
}

func axpy(c float32, x, y []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += c * v
	}
}

// Scale multiplies x by c.
func Scale(c float32, x []float32) {
	if level == plain {
		scale(c, x)
	} else {
		scale256(c, x)
	}
}

func scale(c float32, x []float32) {
	for i := range x {
		x[i] *= c
	}
}

// SumSquares returns Σ x².
func SumSquares(x []float32) float32 {
	if level == plain {
		return sumSquares(x)
	}
	return sumSquares256(x)
}

// sumSquares sums in eight places, as the vectors do.
func sumSquares(x []float32) float32 {
	var s [8]float32
	for i, v := range x {
		s[i%8] += v * v
	}
	return (s[0] + s[1]) + (s[2] + s[3]) + ((s[4] + s[5]) + (s[6] + s[7]))
}

// Adagrad adds g² to a and subtracts lr·g/(√a + eps) from w.
func Adagrad(lr, eps float32, w, g, a []float32) {
	g, a = g[:len(w)], a[:len(w)]
	if level == plain {
		adagrad(lr, eps, w, g, a)
	} else {
		adagrad256(lr, eps, w, g, a)
	}
}

func adagrad(lr, eps float32, w, g, a []float32) {
	g, a = g[:len(w)], a[:len(w)]
	for i, gi := range g {
		a[i] += gi * gi
		w[i] -= lr * gi / (sqrt(a[i]) + eps)
	}
}

// AdamStep holds the constants of Adam. The shares of new gradients are not computed from those of old ones, because 1−β in
// float32 has lost three digits where β is 0.999.
type AdamStep struct {
	Old1, New1 float32 // β₁ and 1−β₁
	Old2, New2 float32 // β₂ and 1−β₂
	Rate, Root float32 // lr/(1−β₁ᵗ) and 1/√(1−β₂ᵗ)
	Eps        float32
}

// Adam moves m and v to the means of g and g², and subtracts Rate·m/(√v·Root + Eps) from w.
func Adam(c *AdamStep, w, g, m, v []float32) {
	g, m, v = g[:len(w)], m[:len(w)], v[:len(w)]
	if level == plain {
		adam(c, w, g, m, v)
	} else {
		adam256(c, w, g, m, v)
	}
}

func adam(c *AdamStep, w, g, m, v []float32) {
	g, m, v = g[:len(w)], m[:len(w)], v[:len(w)]
	for i, gi := range g {
		m[i] = c.Old1*m[i] + c.New1*gi
		v[i] = c.Old2*v[i] + c.New2*(gi*gi)
		w[i] -= c.Rate * m[i] / (sqrt(v[i])*c.Root + c.Eps)
	}
}

// FirstAbove returns the first position of x that holds more than limit, or NaN; len(x) if none does.
func FirstAbove(x []float32, limit float32) int {
	i := 0
	switch level {
	case avx512:
		i = skip512(x, limit)
	case avx2:
		i = skip256(x, limit)
	}
	for i < len(x) && x[i] <= limit {
		i++
	}
	return i
}

func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) } // one instruction: the compiler knows
