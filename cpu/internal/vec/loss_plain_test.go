//go:build !(goexperiment.simd && amd64)

package vec

import "testing"

// lossLevels runs the test with each level of instructions that the program was built for.
func lossLevels(t *testing.T, test func(t *testing.T)) { t.Run(Instructions(), test) }
