//go:build !(goexperiment.simd && amd64)

package vec

func tile8x48(k int, a, b, t *float32) {}
func tile4x24(k int, a, b, t *float32) {}

func transpose8(dst []float32, dstStride int, src []float32, srcStride int) {}
