//go:build goexperiment.simd && amd64

package vec

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// atLevels runs the test with each level of instructions that the processor has.
func atLevels(t *testing.T, test func(t *testing.T)) {
	best := level
	defer func() { level = best }()
	for level = avx2; level <= best; level++ {
		t.Run(Instructions(), test)
	}
}

// FuzzTwins compares the vector code with its plain twins on any numbers and lengths.
func FuzzTwins(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 150 {
		var b []byte
		for range 4 * n {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(rng.NormFloat64())))
		}
		f.Add(b, float32(rng.NormFloat64()))
	}
	specials := []float32{0, float32(math.Copysign(0, -1)), float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, 1e-45, 1}
	for n := range 8 {
		var b []byte
		for range 60 {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(specials[rng.IntN(len(specials))]))
		}
		f.Add(b, specials[n])
	}
	f.Fuzz(func(t *testing.T, b []byte, c float32) {
		v := make([]float32, len(b)/4)
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		n := len(v) / 4
		atLevels(t, func(t *testing.T) { twins(t, c, v[:n], v[n:2*n], v[2*n:3*n], v[3*n:4*n]) })
	})
}

// twins runs each function and its twin on copies that are followed by a guard.
func twins(t *testing.T, c float32, x, y, z, u []float32) {
	check := func(name string, args [][]float32, sizes []float64, fast, slow func(args [][]float32)) {
		t.Helper()
		const guard = 12345
		var got, want [][]float32
		for _, a := range args {
			got, want = append(got, append(slices.Clone(a), guard)[:len(a)]), append(want, slices.Clone(a))
		}
		fast(got)
		slow(want)
		for k, g := range got {
			if g[:len(g)+1][len(g)] != guard {
				t.Errorf("%s wrote past the end of argument %d", name, k)
			}
			for i, w := range want[k] {
				if !near(g[i], w, sizes[i]) {
					t.Errorf("%s: argument %d [%d] is %v, the plain twin has %v", name, k, i, g[i], w)
				}
			}
		}
	}
	// sizes are the magnitudes on whose last digits the twins may differ, because only one of them fuses.
	sizes := make([]float64, len(x))
	fill := func(f func(i int) float64) {
		for i := range sizes {
			sizes[i] = f(i)
		}
	}
	abs := func(v float32) float64 { return math.Abs(float64(v)) }

	fill(func(i int) float64 { return abs(c*x[i]) + abs(y[i]) })
	check("Axpy", [][]float32{x, y}, sizes, func(a [][]float32) { Axpy(c, a[0], a[1]) }, func(a [][]float32) { axpy(c, a[0], a[1]) })
	fill(func(i int) float64 { return 0 })
	check("Scale", [][]float32{x}, sizes, func(a [][]float32) { Scale(c, a[0]) }, func(a [][]float32) { scale(c, a[0]) })

	size := 0.0
	for _, v := range x {
		size += float64(v) * float64(v)
	}
	if got, want := SumSquares(x), sumSquares(x); !near(got, want, size*float64(1+len(x)/8)) {
		t.Errorf("SumSquares is %v, the plain twin has %v", got, want)
	}
	if got, want := FirstAbove(x, c), slices.IndexFunc(x, func(v float32) bool { return !(v <= c) }); got != want && (want >= 0 || got != len(x)) {
		t.Errorf("FirstAbove(%v) is %d, want %d", c, got, want)
	}

	// Optimisers hold nonnegative sums of squares. Their size is relative to the largest number that appears.
	squares := slices.Clone(z)
	for i, v := range squares {
		squares[i] = float32(abs(v))
	}
	lr, eps := float32(0.1), float32(1e-4)
	fill(func(i int) float64 { return abs(x[i]) + abs(y[i]*y[i]) + abs(squares[i]) + 1 })
	check("Adagrad", [][]float32{x, y, squares}, sizes, func(a [][]float32) { Adagrad(lr, eps, a[0], a[1], a[2]) }, func(a [][]float32) { adagrad(lr, eps, a[0], a[1], a[2]) })
	adamStep := &AdamStep{Old1: 0.9, New1: 0.1, Old2: 0.99, New2: 0.01, Rate: 0.1, Root: 1.5, Eps: 1e-2}
	fill(func(i int) float64 {
		return 10 * (abs(x[i]) + abs(y[i]) + abs(y[i]*y[i]) + abs(u[i]) + abs(squares[i]) + 1)
	})
	check("Adam", [][]float32{x, y, u, squares}, sizes,
		func(a [][]float32) { Adam(adamStep, a[0], a[1], a[2], a[3]) }, func(a [][]float32) { adam(adamStep, a[0], a[1], a[2], a[3]) })
}

// near says whether two results are the same number, NaN, or infinity, up to four units in the last place of size. Where
// size is beyond float32, one of them may have overflowed and the other not.
func near(a, b float32, size float64) bool {
	if a == b || a != a && b != b {
		return true
	}
	return !(size <= math.MaxFloat32/4) || math.Abs(float64(a)-float64(b)) <= size*0x1p-21
}

func TestTile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	atLevels(t, func(t *testing.T) {
		m, n := TileSize()
		for _, k := range []int{1, 2, 7, 256} {
			a, b := make([]float32, k*m), make([]float32, k*n)
			for _, x := range [][]float32{a, b} {
				for i := range x {
					x[i] = float32(rng.NormFloat64())
				}
			}
			var tile [TileMax]float32
			Tile(k, a, b, &tile)
			for i := range m {
				for j := range n {
					want, size := 0.0, 0.0
					for p := range k {
						x := float64(a[p*m+i]) * float64(b[p*n+j])
						want, size = want+x, size+math.Abs(x)
					}
					if got := float64(tile[i*n+j]); math.Abs(got-want) > size*0x1p-23*float64(k) {
						t.Fatalf("k = %d: [%d,%d] is %v, want %v", k, i, j, got, want)
					}
				}
			}
		}
	})
}

func TestTranspose8(t *testing.T) {
	src := make([]float32, 7*11+8)
	for i := range src {
		src[i] = float32(i)
	}
	atLevels(t, func(t *testing.T) {
		dst := make([]float32, 7*9+8)
		Transpose8(dst, 9, src, 11)
		for i := range 8 {
			for j := range 8 {
				if got, want := dst[j*9+i], src[i*11+j]; got != want {
					t.Errorf("[%d,%d] is %v, want %v", j, i, got, want)
				}
			}
			if i < 7 && dst[i*9+8] != 0 {
				t.Errorf("wrote between the rows %d and %d", i, i+1)
			}
		}
	})
}
