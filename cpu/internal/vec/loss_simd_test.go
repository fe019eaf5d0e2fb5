//go:build goexperiment.simd && amd64

package vec

import "testing"

// lossLevels runs the test with each level of instructions that the processor has.
func lossLevels(t *testing.T, test func(t *testing.T)) {
	best := level
	defer func() { level = best }()
	for level = plain; level <= best; level++ {
		t.Run(Instructions(), test)
	}
}
