package vec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// ulps returns the distance of got from want in units of float32's last place at want.
func ulps(got float32, want float64) float64 {
	_, e := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, e-24)
}

// TestExp32 compares the exponential with math.Exp all over the range where the result is a normal float32.
func TestExp32(t *testing.T) {
	lossLevels(t, func(t *testing.T) {
		const n = 1 << 12
		x, y := make([]float32, n), make([]float32, n)
		worst, at := 0.0, float32(0)
		for lo := -86.6; lo < 88.7; lo += 0.1 {
			for i := range x {
				x[i] = float32(min(lo+0.1*float64(i)/n, 88.72))
			}
			copy(y, x)
			ScaleExp(y, 1, 0.5, 1)
			for i, v := range x {
				if u := ulps(y[i], math.Exp(float64(v))); !(u <= worst) {
					worst, at = u, v
				}
			}
		}
		t.Logf("worst error: %.3f ulp at %g", worst, at)
		if !(worst <= 1) {
			t.Errorf("error of %g ulp at %g", worst, at)
		}
	})
}

// TestExpScaled checks arguments beyond float32's range that a power of two brings back, and that the scale applies.
func TestExpScaled(t *testing.T) {
	lossLevels(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 1))
		for _, top := range []float32{-9000, -120, 0, 100, 500, 9000} {
			x := make([]float32, 777)
			for i := range x {
				x[i] = top - 60*rng.Float32()
			}
			k := int(float64(top) / math.Ln2)
			y := append([]float32(nil), x...)
			ScaleExp(y, 1, 0.75, -k)
			sum := 0.0
			for i, v := range x {
				want := 0.75 * math.Exp(float64(v)-float64(k)*math.Ln2)
				sum += want / 0.75
				// ln 2 in two float32 has 36 bits.
				if u := ulps(y[i], want); !(u <= 2+math.Abs(float64(top))/2000) {
					t.Fatalf("top %g: 2^%d·e^%g: %g, want %g: %g ulp", top, -k, v, y[i], want, u)
				}
			}
			if got := SumExp(x, 1, k); math.Abs(got-sum) > 1e-6*sum {
				t.Errorf("top %g: sum %g, want %g", top, got, sum)
			}
		}
		x := []float32{-3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7}
		want := 0.0
		for _, v := range x {
			want += math.Exp(2 * float64(v))
		}
		if got := SumExp(x, 2, 0); math.Abs(got-want) > 1e-6*want {
			t.Errorf("Σ e^2x = %g, want %g", got, want)
		}
	})
}

// TestExpLimits checks overflow, underflow and NaN in each position of a vector and of the rest after the vectors.
func TestExpLimits(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	lossLevels(t, func(t *testing.T) {
		for _, test := range []struct{ x, want float32 }{
			{88.8, inf}, {89, inf}, {1e4, inf}, {1e9, inf}, {3e38, inf}, {inf, inf},
			{-104, 0}, {-1e4, 0}, {-1e9, 0}, {-3e38, 0}, {-inf, 0}, {nan, nan},
		} {
			for i := range 37 {
				x := make([]float32, 37)
				x[i] = test.x
				sum := SumExp(x, 1, 0)
				ScaleExp(x, 1, 0.5, 1)
				for j, v := range x {
					want := float32(1)
					if j == i {
						want = test.want
					}
					if v != want && !(v != v && want != want) {
						t.Fatalf("e^%g at %d of 37: element %d is %g, want %g", test.x, i, j, v, want)
					}
				}
				if want := 36 + test.want; float32(sum) != want && !(sum != sum && want != want) {
					t.Fatalf("e^%g at %d of 37: sum %g, want %g", test.x, i, sum, want)
				}
			}
		}
		for v := float32(-104); v < -86; v += 0.01 { // denormal results may be 0, and nothing else
			x := []float32{v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}
			ScaleExp(x, 1, 0.5, 1)
			for _, got := range []float32{x[0], x[16]} {
				if want := math.Exp(float64(v)); got != 0 && math.Abs(float64(got)-want) > 2e-45 && ulps(got, want) > 1 {
					t.Fatalf("e^%g = %g, want %g or 0", v, got, want)
				}
			}
		}
		x := []float32{1e4, 5, 5, 5, 5, 5, 5, 5, 5}
		ScaleExp(x, 1, 0, 0)
		if x[0] != 0 || x[8] != 0 {
			t.Errorf("0·e^x = %v", x)
		}
	})
}

// TestExpPlain holds the plain twin's float64 exponential to 2^-30.
func TestExpPlain(t *testing.T) {
	for x := -707.9; x < 708; x += 0.00131 {
		if got, want := Exp(x), math.Exp(x); math.Abs(got/want-1) > 1e-9 {
			t.Fatalf("Exp(%g) = %g, want %g", x, got, want)
		}
	}
	if Exp(-709) != 0 || !math.IsInf(Exp(709), 1) || !math.IsNaN(Exp(math.NaN())) || !math.IsInf(Exp(math.Inf(1)), 1) || Exp(math.Inf(-1)) != 0 {
		t.Error("limits")
	}
}

var lossSizes = []int{0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 735, tile - 1, tile, tile + 1, 4*tile + 17, 25023}

// TestSums compares every sum and replacement with float64, at sizes around those of vectors and tiles.
func TestSums(t *testing.T) {
	plus := func(x float64) float64 { return max(x, 0) }
	softplus := func(x float64) float64 { return plus(x) + math.Log1p(math.Exp(-math.Abs(x))) }
	lossLevels(t, func(t *testing.T) {
		for _, n := range lossSizes {
			for _, shift := range []float64{0, -12, 30} {
				rng := rand.New(rand.NewPCG(uint64(n), 2))
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(3*rng.NormFloat64() + shift)
				}
				check := func(name string, got float64, term func(float64) float64) {
					t.Helper()
					want := 0.0
					for _, v := range x {
						want += term(float64(v))
					}
					if !(math.Abs(got-want) <= 3e-6*want) {
						t.Errorf("%s of %d elements about %g: %.9g, want %.9g", name, n, shift, got, want)
					}
				}
				replace := func(name string, f func(x []float32) float64, term func(float64) float64) float64 {
					t.Helper()
					y := append([]float32{77}, x...)
					y = append(y, 78)
					sum := f(y[1 : n+1 : n+1])
					if y[0] != 77 || y[n+1] != 78 {
						t.Fatalf("%s of %d elements wrote beside them", name, n)
					}
					for i, v := range x {
						if want := term(float64(v)); math.Abs(float64(y[i+1])-want) > 4e-7*math.Abs(want)+1e-30 {
							t.Fatalf("%s of %d elements about %g: f(%g) = %g, want %g", name, n, shift, v, y[i+1], want)
						}
					}
					return sum
				}
				const m, c = 0.25, 0.75
				h := func(x float64) float64 { return plus(float64(float32(x) + m)) }
				h2 := func(x float64) float64 { return h(x) * h(x) }
				check("SumExp", SumExp(x, 1, 0), math.Exp)
				check("SumHinge", SumHinge(x, m), h2)
				check("SumSoftplus", SumSoftplus(x), softplus)
				check("ScaleHinge", replace("ScaleHinge", func(x []float32) float64 { return ScaleHinge(x, m, c) }, func(x float64) float64 { return c * h(x) }), h2)
				check("ScaleSigmoid", replace("ScaleSigmoid", func(x []float32) float64 { return ScaleSigmoid(x, c) }, func(x float64) float64 { return c / (1 + math.Exp(-x)) }), softplus)
				replace("ScaleExp", func(x []float32) float64 { ScaleExp(x, 1, c, 0); return 0 }, func(x float64) float64 { return c * math.Exp(x) })
				top := math.Inf(-1)
				for _, v := range x {
					top = max(top, float64(v))
				}
				if got := Max(x); float64(got) != top {
					t.Errorf("Max of %d elements: %g, want %g", n, got, top)
				}
			}
		}
	})
}

// TestSumsKeepDigits checks that a million small terms beside a large one are not lost: the reason for tiles.
func TestSumsKeepDigits(t *testing.T) {
	lossLevels(t, func(t *testing.T) {
		x := make([]float32, 1<<20)
		x[5] = 12
		want := math.Exp(12) + float64(len(x)-1)
		if got := SumExp(x, 1, 0); math.Abs(got/want-1) > 1e-6 {
			t.Errorf("sum %.9g, want %.9g", got, want)
		}
		for i := range x {
			x[i] = -20
		}
		if got, want := SumSoftplus(x), float64(len(x))*math.Log1p(math.Exp(-20)); math.Abs(got/want-1) > 1e-6 {
			t.Errorf("Σ log1p(e^−20) = %.9g, want %.9g: log1p became log", got, want)
		}
	})
}

// TestNaN checks that one NaN anywhere makes each sum NaN and stays at its place.
func TestNaN(t *testing.T) {
	nan := float32(math.NaN())
	lossLevels(t, func(t *testing.T) {
		for _, n := range []int{1, 16, 37, tile + 3} {
			for _, i := range []int{0, n / 2, n - 1} {
				for name, f := range map[string]func(x []float32) float64{
					"SumExp":       func(x []float32) float64 { return SumExp(x, 1, 0) },
					"SumHinge":     func(x []float32) float64 { return SumHinge(x, 0.5) },
					"SumSoftplus":  SumSoftplus,
					"ScaleHinge":   func(x []float32) float64 { return ScaleHinge(x, 0.5, 1) + 0*float64(x[i]) },
					"ScaleSigmoid": func(x []float32) float64 { return ScaleSigmoid(x, 1) + 0*float64(x[i]) },
					"ScaleExp":     func(x []float32) float64 { ScaleExp(x, 1, 0.5, 0); return float64(x[i]) },
				} {
					x := make([]float32, n)
					x[i] = nan
					if got := f(x); !math.IsNaN(got) {
						t.Errorf("%s of %d elements with NaN at %d: %g", name, n, i, got)
					}
				}
			}
		}
	})
}

func BenchmarkLossLoops(b *testing.B) {
	for _, n := range []int{28, 4096, 131072} {
		x, y := make([]float32, n), make([]float32, n)
		rng := rand.New(rand.NewPCG(1, 1))
		for i := range x {
			x[i] = float32(2*rng.NormFloat64() - 3)
		}
		for _, f := range []struct {
			name string
			run  func()
		}{
			{"copy", func() { copy(y, x) }},
			{"SumExp", func() { SumExp(x, 1, 0) }},
			{"ScaleExp", func() { ScaleExp(y, 1e-3, 0.5, 0) }},
			{"SumHinge", func() { SumHinge(x, 0.5) }},
			{"ScaleHinge", func() { ScaleHinge(y, 0.5, 0.5) }},
			{"SumSoftplus", func() { SumSoftplus(x) }},
			{"ScaleSigmoid", func() { ScaleSigmoid(y, 0.5) }},
		} {
			b.Run(fmt.Sprintf("%s/%d", f.name, n), func(b *testing.B) {
				for b.Loop() {
					f.run()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/element")
			})
		}
	}
}
