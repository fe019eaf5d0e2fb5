package cpu_test

import (
	"testing"

	"gputrain/backend"
	"gputrain/backend/backendtest"
	"gputrain/cpu"
)

func TestLossThreads(t *testing.T) {
	backendtest.RunLossThreads(t, func(_ testing.TB, threads int) backend.Device { return cpu.New(threads) })
}

func BenchmarkLoss(b *testing.B) {
	backendtest.BenchmarkLoss(b, func(testing.TB) backend.Device { return cpu.New(1) })
}
