//go:build goexperiment.simd && amd64

package vec

import "math"

// The vector exponential: bound of its argument, 1.5·2^23 (adding it rounds to an integer), log2(e), ln 2 in two parts of which
// the first has 9 bits, and the polynomial 1 + r + r²(exp2 + … + exp6·r⁴), minimax on |r| ≤ ½ ln 2 with an error of 4e-9.
const (
	expBound = 131072
	expMagic = 3 << 22
	ln2Hi    = 0.693359375
	ln2Lo    = math.Ln2 - ln2Hi
	exp2     = 0.4999999403953552
	exp3     = 0.1666651964187622
	exp4     = 0.04166840761899948
	exp5     = 0.008368921466171741
	exp6     = 0.0013814172707498074
)

// lossConsts holds constants as vectors: Go keeps 15 vector registers, so the loops load them.
type lossConsts struct {
	negInf, bound, zero, magic, log2e, ln2Hi, ln2Lo, one, exp2, exp3, exp4, exp5, exp6, minExp, maxExp [16]float32

	edge    [32]float32 // 0, then from the middle on −Inf
	oneBits [16]int32   // of the float 1
	_       [14][16]float32
}

// From the heap, because an object of this size (2 KB) is aligned there, and then no load crosses a cache line.
var lossConst = func() *lossConsts {
	c := new(lossConsts)
	for i := range 16 {
		c.negInf[i], c.edge[16+i] = float32(math.Inf(-1)), float32(math.Inf(-1))
		c.bound[i], c.zero[i], c.magic[i] = expBound, -expBound, expMagic
		c.log2e[i], c.ln2Hi[i], c.ln2Lo[i], c.one[i] = math.Log2E, -ln2Hi, -ln2Lo, 1
		c.exp2[i], c.exp3[i], c.exp4[i], c.exp5[i], c.exp6[i] = exp2, exp3, exp4, exp5, exp6
		c.minExp[i], c.maxExp[i], c.oneBits[i] = -252, 254, int32(math.Float32bits(1))
	}
	return c
}()

// args are the numbers of a loop; the last three are there so that each of the others can be loaded as the first of four.
type args [8]float32

// expArgs returns the numbers of the exponential loops: a, k, the x below which 2^k·e^x counts as 0, and c.
func expArgs(a, c float32, k int) args {
	return args{a, float32(k), max((-125-float32(k))*math.Ln2, -expBound), c}
}

func lanes(s *[8]float64) float64 {
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

func sumExpSIMD(x []float32, a float32, k int) float64 {
	v, sum := expArgs(a, 0, -k), [8]float64{}
	if level == avx512 {
		sumExp512(x, &v, &sum)
	} else {
		sumExp256(x, &v, &sum)
	}
	return lanes(&sum)
}

func scaleExpSIMD(x []float32, a, c float32, k int) {
	v := expArgs(a, c, k)
	if level == avx512 {
		scaleExp512(x, &v)
	} else {
		scaleExp256(x, &v)
	}
}

func maxSIMD(x []float32) float32 {
	v := lossConst.negInf
	if level == avx512 {
		max512(x, &v)
	} else {
		max256(x, &v)
	}
	return maxPlain(v[:])
}

func sumHingeSIMD(x []float32, m float32) float64 {
	v, sum := args{m}, [8]float64{}
	if level == avx512 {
		sumHinge512(x, &v, &sum)
	} else {
		sumHinge256(x, &v, &sum)
	}
	return lanes(&sum)
}

func scaleHingeSIMD(x []float32, m, c float32) float64 {
	v, sum := args{m, c}, [8]float64{}
	if level == avx512 {
		scaleHinge512(x, &v, &sum)
	} else {
		scaleHinge256(x, &v, &sum)
	}
	return lanes(&sum)
}

func sumSoftplusSIMD(x []float32) float64 {
	return softplusSIMD(x, 0, sumSoftplus512, sumSoftplus256)
}

func scaleSigmoidSIMD(x []float32, c float32) float64 {
	return softplusSIMD(x, c, scaleSigmoid512, scaleSigmoid256)
}

// softplusSIMD runs a loop over blocks whose products Π(1 + e^−|x|) ≤ 2^512 in each lane are in the range of float64.
func softplusSIMD(x []float32, c float32, f512, f256 func(x []float32, v *args, sum, product *[8]float64)) float64 {
	total := 0.0
	v := expArgs(1, c, 0)
	for len(x) > 0 {
		var sum, product [8]float64
		var n int
		if level == avx512 {
			n = min(len(x), 4*tile)
			f512(x[:n], &v, &sum, &product)
		} else {
			n = min(len(x), 2*tile)
			f256(x[:n], &v, &sum, &product)
		}
		x = x[n:]
		total += lanes(&sum)
		for _, p := range product {
			total += math.Log1p(p)
		}
	}
	return total
}
