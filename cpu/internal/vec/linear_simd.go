//go:build goexperiment.simd && amd64

package vec

import (
	"math/bits"
	"os"
	"simd/archsimd"
)

const experiment = true

var level = detect()

// detect returns the best level that the processor has, up to that of the environment variable GPUTRAIN_SIMD ("avx2" or
// "plain"), which tells a fault of the processor's path from one of the data, and lets tests see all levels.
func detect() int {
	limit := os.Getenv("GPUTRAIN_SIMD")
	switch {
	case limit == "plain":
		return plain
	case archsimd.X86.AVX512() && limit != "avx2":
		return avx512
	case archsimd.X86.AVX2() && archsimd.X86.FMA():
		return avx2
	default:
		return plain
	}
}

// Functions that end in 256 serve AVX-512, too, where memory or division sets the pace.

func axpy512(c float32, x, y []float32) {
	cc := archsimd.BroadcastFloat32x16(c)
	i := 0
	for ; i+32 <= len(x); i += 32 {
		p, q := (*[32]float32)(x[i:]), (*[32]float32)(y[i:])
		y0 := load16(p[:16]).MulAdd(cc, load16(q[:16]))
		y1 := load16(p[16:]).MulAdd(cc, load16(q[16:]))
		y0.Store((*[16]float32)(q[:16]))
		y1.Store((*[16]float32)(q[16:]))
	}
	for ; i+16 <= len(x); i += 16 {
		load16(x[i:]).MulAdd(cc, load16(y[i:])).Store((*[16]float32)(y[i:]))
	}
	if i < len(x) {
		archsimd.LoadFloat32x16SlicePart(x[i:]).MulAdd(cc, archsimd.LoadFloat32x16SlicePart(y[i:])).StoreSlicePart(y[i:])
	}
	archsimd.ClearAVXUpperBits()
}

func axpy256(c float32, x, y []float32) {
	cc := archsimd.BroadcastFloat32x8(c)
	i := 0
	for ; i+16 <= len(x); i += 16 {
		p, q := (*[16]float32)(x[i:]), (*[16]float32)(y[i:])
		y0 := load8(p[:8]).MulAdd(cc, load8(q[:8]))
		y1 := load8(p[8:]).MulAdd(cc, load8(q[8:]))
		y0.Store((*[8]float32)(q[:8]))
		y1.Store((*[8]float32)(q[8:]))
	}
	for ; i < len(x); i += 8 {
		part8(x[i:]).MulAdd(cc, part8(y[i:])).StoreSlicePart(y[i:])
	}
	archsimd.ClearAVXUpperBits()
}

func scale256(c float32, x []float32) {
	cc := archsimd.BroadcastFloat32x8(c)
	i := 0
	for ; i+8 <= len(x); i += 8 {
		load8(x[i:]).Mul(cc).Store((*[8]float32)(x[i:]))
	}
	part8(x[i:]).Mul(cc).StoreSlicePart(x[i:])
	archsimd.ClearAVXUpperBits()
}

func sumSquares256(x []float32) float32 {
	var sum archsimd.Float32x8
	i := 0
	for ; i+8 <= len(x); i += 8 {
		v := load8(x[i:])
		sum = v.MulAdd(v, sum)
	}
	v := part8(x[i:])
	sum = v.MulAdd(v, sum)
	var s [8]float32
	sum.Store(&s)
	archsimd.ClearAVXUpperBits()
	return (s[0] + s[1]) + (s[2] + s[3]) + ((s[4] + s[5]) + (s[6] + s[7]))
}

func adagrad256(lr, eps float32, w, g, a []float32) {
	rate, tiny := archsimd.BroadcastFloat32x8(lr), archsimd.BroadcastFloat32x8(eps)
	for i := 0; i < len(w); i += 8 {
		gi := part8(g[i:])
		ai := gi.MulAdd(gi, part8(a[i:]))
		ai.StoreSlicePart(a[i:])
		part8(w[i:]).Sub(rate.Mul(gi).Div(ai.Sqrt().Add(tiny))).StoreSlicePart(w[i:])
	}
	archsimd.ClearAVXUpperBits()
}

func adam256(c *AdamStep, w, g, m, v []float32) {
	b1, c1 := archsimd.BroadcastFloat32x8(c.Old1), archsimd.BroadcastFloat32x8(c.New1)
	b2, c2 := archsimd.BroadcastFloat32x8(c.Old2), archsimd.BroadcastFloat32x8(c.New2)
	rate, scale, tiny := archsimd.BroadcastFloat32x8(c.Rate), archsimd.BroadcastFloat32x8(c.Root), archsimd.BroadcastFloat32x8(c.Eps)
	for i := 0; i < len(w); i += 8 {
		gi := part8(g[i:])
		mi := b1.MulAdd(part8(m[i:]), c1.Mul(gi))
		vi := b2.MulAdd(part8(v[i:]), c2.Mul(gi.Mul(gi)))
		mi.StoreSlicePart(m[i:])
		vi.StoreSlicePart(v[i:])
		part8(w[i:]).Sub(rate.Mul(mi).Div(vi.Sqrt().MulAdd(scale, tiny))).StoreSlicePart(w[i:])
	}
	archsimd.ClearAVXUpperBits()
}

// skip512 returns a position before which no element of x is above limit or NaN: the first such element, or close to the end.
func skip512(x []float32, limit float32) int {
	most := archsimd.BroadcastFloat32x16(limit)
	i := 0
	for ; i+64 <= len(x); i += 64 {
		p := (*[64]float32)(x[i:])
		a, b, c, d := load16(p[:16]), load16(p[16:]), load16(p[32:]), load16(p[48:])
		below := a.LessEqual(most).And(b.LessEqual(most)).And(c.LessEqual(most).And(d.LessEqual(most))).ToBits()
		if below != 1<<16-1 {
			break
		}
	}
	for ; i+16 <= len(x); i += 16 {
		if below := load16(x[i:]).LessEqual(most).ToBits(); below != 1<<16-1 {
			i += bits.TrailingZeros16(^below)
			break
		}
	}
	archsimd.ClearAVXUpperBits()
	return i
}

func skip256(x []float32, limit float32) int {
	most := archsimd.BroadcastFloat32x8(limit)
	i := 0
	for ; i+32 <= len(x); i += 32 {
		p := (*[32]float32)(x[i:])
		a, b, c, d := load8(p[:8]), load8(p[8:]), load8(p[16:]), load8(p[24:])
		below := a.LessEqual(most).And(b.LessEqual(most)).And(c.LessEqual(most).And(d.LessEqual(most))).ToBits()
		if below != 1<<8-1 {
			break
		}
	}
	for ; i+8 <= len(x); i += 8 {
		if below := load8(x[i:]).LessEqual(most).ToBits(); below != 1<<8-1 {
			i += bits.TrailingZeros8(^below)
			break
		}
	}
	archsimd.ClearAVXUpperBits()
	return i
}

func load16(x []float32) archsimd.Float32x16 { return archsimd.LoadFloat32x16((*[16]float32)(x)) }
func load8(x []float32) archsimd.Float32x8   { return archsimd.LoadFloat32x8((*[8]float32)(x)) }
func part8(x []float32) archsimd.Float32x8   { return archsimd.LoadFloat32x8SlicePart(x) }
