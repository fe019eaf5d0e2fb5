//go:build goexperiment.simd && amd64

package vec

import "simd/archsimd"

// The two products are assembly: the compiler knows only the form of the fused multiply-add that overwrites a factor, copies
// and spills the 24 sums around it, and reaches a fifth of this speed.

//go:noescape
func tile8x48(k int, a, b, t *float32)

//go:noescape
func tile4x24(k int, a, b, t *float32)

func transpose8(dst []float32, dstStride int, src []float32, srcStride int) {
	load := func(i int) archsimd.Float32x8 { return archsimd.LoadFloat32x8((*[8]float32)(src[i*srcStride:])) }
	// Halves of the rows i and i+4 side by side, then 4×4 transpositions in each half.
	lo := func(i int) archsimd.Float32x8 { return load(i).Select128FromPair(0, 2, load(i+4)) }
	hi := func(i int) archsimd.Float32x8 { return load(i).Select128FromPair(1, 3, load(i+4)) }
	transpose4(dst, dstStride, lo(0), lo(1), lo(2), lo(3))
	transpose4(dst[4*dstStride:], dstStride, hi(0), hi(1), hi(2), hi(3))
	archsimd.ClearAVXUpperBits()
}

// transpose4 stores the columns of the 4×4 blocks in the low and the high halves of a, b, c, d.
func transpose4(dst []float32, stride int, a, b, c, d archsimd.Float32x8) {
	ab0, ab1 := a.SelectFromPairGrouped(0, 1, 4, 5, b), a.SelectFromPairGrouped(2, 3, 6, 7, b) // a0 a1 b0 b1, a2 a3 b2 b3
	cd0, cd1 := c.SelectFromPairGrouped(0, 1, 4, 5, d), c.SelectFromPairGrouped(2, 3, 6, 7, d)
	ab0.SelectFromPairGrouped(0, 2, 4, 6, cd0).Store((*[8]float32)(dst))
	ab0.SelectFromPairGrouped(1, 3, 5, 7, cd0).Store((*[8]float32)(dst[stride:]))
	ab1.SelectFromPairGrouped(0, 2, 4, 6, cd1).Store((*[8]float32)(dst[2*stride:]))
	ab1.SelectFromPairGrouped(1, 3, 5, 7, cd1).Store((*[8]float32)(dst[3*stride:]))
}
