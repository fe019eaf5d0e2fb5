package data

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

// The fast path must round as strconv does.
func TestParseFloat(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	texts := []string{"0", "-0", "1", "-1.", ".5", "16777216", "16777217", "0.1", "3.4028235e38", "1e-50", "00000000001", "0.00000000001", "123456.789", "-.25"}
	for range 20000 {
		texts = append(texts, strconv.FormatFloat(rng.Float64()*math.Pow(10, float64(rng.IntN(9)-3)), 'f', rng.IntN(12), 64),
			strconv.FormatFloat(float64(math.Float32frombits(rng.Uint32()&^0x40000000)), 'g', -1, 32))
	}
	for _, s := range texts {
		want, err := strconv.ParseFloat(s, 32)
		got, ok := parseFloat([]byte(s))
		if !ok || err != nil || math.Float32bits(got) != math.Float32bits(float32(want)) {
			t.Errorf("%s: got %v %v, want %v %v", s, got, ok, want, err)
		}
	}
	for _, s := range []string{"", "-", ".", "+", "1.2.3", "1,5", "nan", "-inf", "Infinity", "1e39", " 1", "1 ", "--1", "1-", "x"} {
		if v, ok := parseFloat([]byte(s)); ok {
			t.Errorf("%q: got %v", s, v)
		}
	}
}
