//go:build !(goexperiment.simd && amd64)

package vec

func sumExpSIMD(x []float32, a float32, k int) float64 { return 0 }
func scaleExpSIMD(x []float32, a, c float32, k int)    {}
func maxSIMD(x []float32) float32                      { return 0 }
func sumHingeSIMD(x []float32, m float32) float64      { return 0 }
func scaleHingeSIMD(x []float32, m, c float32) float64 { return 0 }
func sumSoftplusSIMD(x []float32) float64              { return 0 }
func scaleSigmoidSIMD(x []float32, c float32) float64  { return 0 }
