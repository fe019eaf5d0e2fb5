package backendtest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"gputrain/backend"
	"gputrain/optim"
	"gputrain/sparse"
)

// Benchmark measures the operations at sizes of real models: GFLOP/s of products, GB/s of what moves memory.
func Benchmark(b *testing.B, open func(t testing.TB) backend.Device) {
	bench := func(name string, unit string, work float64, run func(s *suite) func() error) {
		b.Run(name, func(b *testing.B) {
			f := run(newSuite(b, open(b)))
			for range 2 { // warm up
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(work*float64(b.N)/b.Elapsed().Seconds()/1e9, unit)
		})
	}
	for _, x := range []struct {
		what           string
		m, n, k        int
		transA, transB bool
	}{
		{"head", 32, 735, 384, false, true},
		{"head", 128, 6884, 256, false, true},
		{"head", 256, 32768, 768, false, true},
		{"hidden gradient", 32, 384, 735, false, false},
		{"hidden gradient", 256, 768, 32768, false, false},
		{"weight gradient", 735, 384, 32, true, false},
		{"weight gradient", 6884, 256, 128, true, false},
		{"weight gradient", 32768, 768, 256, true, false},
		{"one row", 1, 6884, 256, false, true},
		{"square", 1024, 1024, 1024, false, false},
	} {
		bench(fmt.Sprintf("gemm/%s/%dx%dx%d", x.what, x.m, x.n, x.k), "GFLOP/s", 2*float64(x.m)*float64(x.n)*float64(x.k), func(s *suite) func() error {
			ar, ac, br, bc := x.m, x.k, x.k, x.n
			if x.transA {
				ar, ac = ac, ar
			}
			if x.transB {
				br, bc = bc, br
			}
			a, w, c := s.bench(ar, ac), s.bench(br, bc), s.bench(x.m, x.n)
			return func() error { return s.dev.Gemm(c, 1, a, x.transA, w, x.transB, 0) }
		})
	}
	const rows, features, perRow, dim = 256, 200000, 100, 128
	words := bag(rows, features, perRow)
	moved := float64(rows*perRow*dim) * 4
	bench("bag", "GB/s", moved, func(s *suite) func() error {
		x, t, z := s.uploadCSR(0, words), s.bench(features, dim), s.bench(rows, dim)
		return func() error { return s.dev.Bag(z, x, t) }
	})
	for _, rule := range []optim.Rule{optim.Default(optim.SGD), optim.Default(optim.RowAdagrad), optim.Default(optim.Adagrad), optim.Default(optim.AdamW)} {
		states := func(s *suite, rows, cols int) (m []backend.Matrix) {
			if rule.Kind == optim.RowAdagrad {
				cols = 1
			}
			for range rule.States() {
				m = append(m, s.bench(rows, cols))
			}
			return m
		}
		step := int64(0)
		bench("bag update/"+string(rule.Kind), "GB/s", moved, func(s *suite) func() error {
			x, t, g, state := s.uploadCSR(0, words), s.bench(features, dim), s.bench(rows, dim), states(s, features, dim)
			return func() error { step++; return s.dev.BagUpdate(t, state, x, g, rule, optim.At{Step: step, LR: 1e-3}) }
		})
		const labels = 32768
		arrays := float64(3 + 2*rule.States()) // w twice, g, each state twice
		if rule.Kind == optim.RowAdagrad {
			arrays = 3
		}
		bench("step/"+string(rule.Kind), "GB/s", arrays*labels*dim*4, func(s *suite) func() error {
			w, g, state := s.bench(labels, dim), s.bench(labels, dim), states(s, labels, dim)
			return func() error { step++; return s.dev.Step(w, state, g, rule, optim.At{Step: step, LR: 1e-3}) }
		})
	}
	for _, x := range []struct{ rows, labels, k int }{{64, 25000, 5}, {64, 25000, 100}, {8, 670091, 5}, {4, 2812281, 100}, {4, 2812281, 1000}} {
		bench(fmt.Sprintf("top k/%dx%d/%d", x.rows, x.labels, x.k), "GB/s", float64(x.rows*x.labels)*4, func(s *suite) func() error {
			z := s.bench(x.rows, x.labels)
			scores, ids := s.freshTopK(x.rows, x.k)
			none := make([]int32, x.rows*x.k)
			for i := range none {
				none[i] = -1
			}
			return func() error {
				scores.upload()
				s.ok(s.dev.Upload(ids, 0, none))
				return s.dev.TopK(scores.Matrix, ids, z, 0)
			}
		})
	}
	bench("column sum/256x32768", "GB/s", 256*32768*4, func(s *suite) func() error {
		g, out := s.bench(256, 32768), s.alloc(backend.Float32, 32768)
		return func() error { return s.dev.ColSum(out, 0, g) }
	})
	bench("dropout/256x1024", "GB/s", 2*256*1024*4, func(s *suite) func() error {
		h := s.bench(256, 1024)
		return func() error { return s.dev.Activate(h, backend.ReLU, backend.Dropout{P: 0.1}) }
	})
}

// bench returns a matrix without padding, of normally distributed elements in an order that repeats after 2²⁰ and a bit.
func (s *suite) bench(rows, cols int) backend.Matrix {
	block := make([]float32, 1<<20+7)
	for i := range block {
		block[i] = float32(s.rng.NormFloat64())
	}
	b := s.alloc(backend.Float32, rows*cols)
	for at := 0; at < rows*cols; at += len(block) {
		s.ok(s.dev.Upload(b, at, block[:min(len(block), rows*cols-at)]))
	}
	return backend.Matrix{Buf: b, Rows: rows, Cols: cols, Stride: cols}
}

// bag returns rows of perRow features, frequent ones first, as in text.
func bag(rows, features, perRow int) *sparse.CSR {
	rng := rand.New(rand.NewPCG(3, 4))
	zipf := rand.NewZipf(rng, 1.1, 20, uint64(features-1))
	m := &sparse.CSR{Cols: features, Indptr: []int64{0}}
	for range rows {
		seen := map[int32]bool{}
		for len(seen) < perRow {
			seen[int32(zipf.Uint64())] = true
		}
		var ids []int32
		var values []float32
		for f := range int32(features) {
			if seen[f] {
				ids, values = append(ids, f), append(values, float32(rng.NormFloat64()))
			}
		}
		m.Append(ids, values)
	}
	return m
}
