package backend

import (
	"math"
	"math/bits"
	"testing"
)

// The formula is part of the contract: every device computes these values, which come from another program in Python.
func TestRandomValues(t *testing.T) {
	for _, test := range []struct {
		seed, step, index uint64
		want              uint32
	}{
		{0, 0, 0, 0x568a9b0b}, {0, 0, 1, 0x44e5b8b1}, {1, 0, 0, 0x6ec85f1f}, {0, 1, 0, 0x1d614f7}, {math.MaxUint64, math.MaxUint64, math.MaxUint64, 0xe34ddffa}, {42, 7, 1 << 40, 0x9eb3c4a6},
	} {
		if got := Random(test.seed, test.step, test.index); got != test.want {
			t.Errorf("Random(%d, %d, %d) = %#x, want %#x", test.seed, test.step, test.index, got, test.want)
		}
	}
}

// Values that differ in one argument by little must look independent: a χ² test of each byte, and of the number of bits in
// which neighbours differ.
func TestRandomStatistics(t *testing.T) {
	const n = 1 << 18
	for name, at := range map[string]func(i uint64) uint32{
		"index":                 func(i uint64) uint32 { return Random(1, 2, i) },
		"index, seed 0, step 0": func(i uint64) uint32 { return Random(0, 0, i) },
		"step":                  func(i uint64) uint32 { return Random(1, i, 3) },
		"seed":                  func(i uint64) uint32 { return Random(i, 2, 3) },
		"row starts":            func(i uint64) uint32 { return Random(1, 2, i*1024) },
		"high index":            func(i uint64) uint32 { return Random(1, 2, i<<40) },
		"step and index":        func(i uint64) uint32 { return Random(1, i, i) },
		"seed and step":         func(i uint64) uint32 { return Random(i, i, 0) },
	} {
		var bytes [4][256]float64
		var distances [33]float64
		for i := range uint64(n) {
			v := at(i)
			for b := range 4 {
				bytes[b][v>>(8*b)&255]++
			}
			distances[bits.OnesCount32(v^at(i+1))]++
		}
		for b := range 4 {
			chi := 0.0
			for _, count := range bytes[b] {
				chi += (count - n/256) * (count - n/256) / (n / 256)
			}
			// 255 degrees of freedom: mean 255, standard deviation 22.6. Five of them.
			if math.Abs(chi-255) > 113 {
				t.Errorf("%s: byte %d has χ² = %.0f", name, b, chi)
			}
		}
		mean, variance := 0.0, 0.0
		for d, count := range distances {
			mean += float64(d) * count / n
			variance += (float64(d) - 16) * (float64(d) - 16) * count / n
		}
		// Binomial: mean 16, variance 8; five standard deviations of their estimates.
		if math.Abs(mean-16) > 5*math.Sqrt(8.0/n) || math.Abs(variance-8) > 5*8*math.Sqrt(2.0/n) {
			t.Errorf("%s: neighbours differ in %.3f bits with variance %.3f, want 16 and 8", name, mean, variance)
		}
	}
}

func TestDropoutApply(t *testing.T) {
	const n, first = 1 << 18, 1000
	d := Dropout{P: 0.25, Seed: 1, Step: 2}
	x := make([]float32, n)
	for i := range x {
		x[i] = 3
	}
	d.Apply(x[:n/2], first)
	d.Apply(x[n/2:], first+n/2)
	sum := 0.0
	for i, v := range x {
		want := float32(4)
		if Random(1, 2, uint64(first+i)) < 1<<30 { // P·2³²
			want = 0
		}
		if v != want {
			t.Fatalf("element %d is %v, want %v", i, v, want)
		}
		sum += float64(v) / 3
	}
	// The mean factor is 1, the standard deviation of one √(P/(1−P)).
	if mean := sum / n; math.Abs(mean-1) > 5*math.Sqrt(0.25/0.75/n) {
		t.Errorf("the mean factor is %v, want 1", mean)
	}
	nan := []float32{float32(math.NaN()), 1}
	Dropout{P: 0.999}.Apply(nan, 0)
	if nan[0] == nan[0] || nan[1] != 0 {
		t.Errorf("NaN and 1 became %v", nan)
	}
}
