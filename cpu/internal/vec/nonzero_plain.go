//go:build !goexperiment.simd || !amd64

package vec

// zeros returns how many zeros x begins with.
func zeros(x []float32) int { return zerosPlain(x) }
