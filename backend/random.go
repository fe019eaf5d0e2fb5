package backend

// Random returns 32 random bits that depend on its arguments only: the element index of the sequence that seed and step choose.
// It is SplitMix64 (Steele, Lea, Flood 2014) started at a place that the same function makes of seed and step.
func Random(seed, step, index uint64) uint32 {
	return at(sequence(seed, step), index)
}

func sequence(seed, step uint64) uint64 { return mix(mix(seed+gamma) + step) }

func at(start, index uint64) uint32 { return uint32(mix(start+(index+1)*gamma) >> 32) }

const gamma = 0x9E3779B97F4A7C15 // 2⁶⁴/φ, odd: its multiples pass through all 64-bit numbers

// mix is the finaliser of SplitMix64.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// Apply multiplies x, whose first element has the given index, by 0 or 1/(1−P) each. NaN times 0 stays NaN.
func (d Dropout) Apply(x []float32, first uint64) {
	if d.P == 0 {
		return
	}
	limit, keep := uint64(float64(d.P)*(1<<32)), 1/(1-d.P)
	start := sequence(d.Seed, d.Step)
	for j := range x {
		factor := keep
		if uint64(at(start, first+uint64(j))) < limit {
			factor = 0
		}
		x[j] *= factor
	}
}
