package cpu_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"gputrain/backend"
	"gputrain/backend/backendtest"
	"gputrain/cpu"
	"gputrain/optim"
	"gputrain/sparse"
)

func TestContract(t *testing.T) {
	backendtest.Run(t, func(testing.TB) backend.Device { return cpu.New(0) })
}

func TestThreads(t *testing.T) {
	backendtest.RunThreads(t, func(_ testing.TB, threads int) backend.Device { return cpu.New(threads) })
}

// TestInstructions runs the suite with the lesser instructions of the processor, too: they are chosen when the program starts.
func TestInstructions(t *testing.T) {
	if os.Getenv("GPUTRAIN_SIMD") != "" || testing.Short() {
		t.Skip("GPUTRAIN_SIMD is set, or -short")
	}
	if strings.Contains(cpu.New(1).Name(), "plain Go") {
		t.Skip("there are no other instructions here")
	}
	for level, name := range map[string]string{"avx2": "AVX2", "plain": "plain Go"} {
		t.Run(name, func(t *testing.T) {
			suite := exec.Command(os.Args[0], "-test.run=TestContract|TestThreads|TestName")
			suite.Env = append(os.Environ(), "GPUTRAIN_SIMD="+level)
			if out, err := suite.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestName(t *testing.T) {
	name := cpu.New(3).Name()
	t.Log(name)
	if !strings.HasSuffix(name, "3 threads") && !strings.HasSuffix(name, "3 threads (built without GOEXPERIMENT=simd)") {
		t.Errorf("name %q", name)
	}
	if level := os.Getenv("GPUTRAIN_SIMD"); level == "plain" && !strings.Contains(name, "plain Go") || level == "avx2" && strings.Contains(name, "AVX-512") {
		t.Errorf("name %q with GPUTRAIN_SIMD=%s", name, level)
	}
}

// TestAllocs checks that nothing grows with the work: an operation allocates only the few words that describe it, and a product
// nothing at all.
func TestAllocs(t *testing.T) {
	const rows, features, dim = 64, 500, 96
	d := cpu.New(2)
	t.Cleanup(func() { _ = d.Close() })
	matrix := func(rows, cols int) backend.Matrix {
		b, err := d.Alloc(backend.Float32, rows*cols)
		if err != nil {
			t.Fatal(err)
		}
		return backend.Matrix{Buf: b, Rows: rows, Cols: cols, Stride: cols}
	}
	host := &sparse.CSR{Cols: features}
	for i := range int32(rows) {
		host.Append([]int32{i, i + 100, i + 200, i + 300}, nil)
	}
	x, err := d.UploadCSR(0, host)
	if err != nil {
		t.Fatal(err)
	}
	h, w, z, weights := matrix(rows, dim), matrix(735, dim), matrix(rows, 735), matrix(features, dim)
	at := optim.At{Step: 1, LR: 0.1}
	for name, test := range map[string]struct {
		most float64
		run  func() error
	}{
		"gemm":       {0, func() error { return d.Gemm(z, 1, h, false, w, true, 0) }},
		"bag":        {8, func() error { return d.Bag(h, x, weights) }},
		"bag update": {24, func() error { return d.BagUpdate(weights, nil, x, h, optim.Rule{Kind: optim.SGD}, at) }},
		"step":       {8, func() error { return d.Step(h, nil, h, optim.Rule{Kind: optim.SGD}, at) }},
	} {
		n := testing.AllocsPerRun(20, func() {
			if err := test.run(); err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%s: %v allocations", name, n)
		if n > test.most {
			t.Errorf("%s: %v allocations for each call, want at most %v", name, n, test.most)
		}
	}
}

func BenchmarkDevice(b *testing.B) {
	backendtest.Benchmark(b, func(testing.TB) backend.Device { return cpu.New(0) })
}
