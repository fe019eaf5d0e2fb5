//go:build goexperiment.simd && amd64

package vec

import (
	"math/bits"
	"simd/archsimd"
)

// zeros returns how many zeros x begins with.
func zeros(x []float32) int {
	i := 0
	switch level {
	case avx512:
		zero := archsimd.BroadcastFloat32x16(0)
		for ; i+16 <= len(x); i += 16 {
			if m := archsimd.LoadFloat32x16Slice(x[i:]).NotEqual(zero).ToBits(); m != 0 {
				archsimd.ClearAVXUpperBits()
				return i + bits.TrailingZeros16(m)
			}
		}
	case avx2:
		zero := archsimd.BroadcastFloat32x8(0)
		for ; i+8 <= len(x); i += 8 {
			if m := archsimd.LoadFloat32x8Slice(x[i:]).NotEqual(zero).ToBits(); m != 0 {
				archsimd.ClearAVXUpperBits()
				return i + bits.TrailingZeros8(m)
			}
		}
	}
	archsimd.ClearAVXUpperBits()
	return i + zerosPlain(x[i:])
}
