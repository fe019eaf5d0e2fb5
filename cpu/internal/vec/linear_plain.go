//go:build !(goexperiment.simd && amd64)

package vec

const (
	experiment = false
	level      = plain
)

func axpy512(c float32, x, y []float32)             {}
func axpy256(c float32, x, y []float32)             {}
func scale256(c float32, x []float32)               {}
func sumSquares256(x []float32) float32             { return 0 }
func adagrad256(lr, eps float32, w, g, a []float32) {}
func adam256(c *AdamStep, w, g, m, v []float32)     {}
func skip512(x []float32, limit float32) int        { return 0 }
func skip256(x []float32, limit float32) int        { return 0 }
