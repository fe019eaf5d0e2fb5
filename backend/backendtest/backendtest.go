// Package backendtest is the one suite that every backend passes: a sub-test for each promise of the contract in package
// backend, with a float64 oracle written like the formula. A backend's own test is a few lines:
//
//	func TestContract(t *testing.T) {
//		backendtest.Run(t, func(t testing.TB) backend.Device { return cpu.New(0) })
//	}
//
// Inputs are hostile: matrices lie at an offset in a larger buffer, everything around their elements is a NaN with a mark,
// which must neither be read nor written, accumulators hold something before, and sizes are 0, 1, odd, around tiles, and real.
//
// Results may err by twice the largest error of a plain float32 loop, plus a small bound named where it is used.
//
// Tests that need hardware skip with a reason where it is missing, and fail where the environment variable GPUTRAIN_REQUIRE
// promises it: see Unavailable.
package backendtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"gputrain/backend"
	"gputrain/sparse"
)

// Run runs the suite. Open returns a new device for each test; the suite closes it.
func Run(t *testing.T, open func(t testing.TB) backend.Device) {
	for _, test := range []struct {
		name string
		run  func(s *suite)
	}{
		{"name", (*suite).testName},
		{"alloc", (*suite).testAlloc},
		{"upload and download", (*suite).testTransfer},
		{"upload sparse", (*suite).testUploadCSR},
		{"beyond 2^31 elements", (*suite).testHuge},
		{"bag", (*suite).testBag},
		{"bag update", (*suite).testBagUpdate},
		{"table", (*suite).testTable},
		{"table bag", (*suite).testTableBag},
		{"table update", (*suite).testTableUpdate},
		{"gemm", (*suite).testGemm},
		{"set rows", (*suite).testSetRows},
		{"column sum", (*suite).testColSum},
		{"activate", (*suite).testActivate},
		{"dropout", (*suite).testDropout},
		{"step", (*suite).testStep},
		{"top k", (*suite).testTopK},
		{"nan", (*suite).testNaN},
		{"same bits again", (*suite).testRepeat},
		{"shapes", (*suite).testShapes},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(newSuite(t, open(t)))
		})
	}
	RunLoss(t, open)
}

// RunThreads checks that the number of threads changes no bit of any result.
func RunThreads(t *testing.T, open func(t testing.TB, threads int) backend.Device) {
	want := program(newSuite(t, open(t, 1)))
	for _, threads := range []int{2, 3, 8} {
		t.Run(fmt.Sprintf("%d threads", threads), func(t *testing.T) {
			compareBits(t, program(newSuite(t, open(t, threads))), want)
		})
	}
}

// Unavailable ends a test that needs hardware which is not there. It skips with the reason err, unless GPUTRAIN_REQUIRE, a list
// of names with commas, holds the name of the hardware ("cuda"): then the machine was promised to have it, and the test fails.
func Unavailable(t testing.TB, hardware string, err error) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("GPUTRAIN_REQUIRE"), ","), hardware) {
		t.Fatalf("GPUTRAIN_REQUIRE promises %s: %v", hardware, err)
	}
	t.Skipf("%s is not available: %v", hardware, err)
}

// suite is one test on one device.
type suite struct {
	testing.TB
	dev backend.Device
	rng *rand.Rand
}

func newSuite(t testing.TB, dev backend.Device) *suite {
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return &suite{TB: t, dev: dev, rng: newSuiteRand()}
}

func newSuiteRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// ok ends the test if err is not nil.
func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) alloc(t backend.DType, n int) backend.Buffer {
	s.Helper()
	b, err := s.dev.Alloc(t, n)
	s.ok(err)
	return b
}

// guard fills what lies around the elements of a matrix: a NaN that shows where it was read, with bits that show where it was
// written.
var guard = math.Float32frombits(0x7FC0DEAD)

const (
	ahead   = 5 // guards before a matrix
	padding = 3 // guards after each row
)

// mat is a matrix on the device and its copy on the host.
type mat struct {
	backend.Matrix
	s    *suite
	data []float32 // the whole buffer
}

// mat returns a matrix with the elements f(i, j), with guards around.
func (s *suite) mat(rows, cols int, f func(i, j int) float32) *mat {
	s.Helper()
	m := &mat{s: s, Matrix: backend.Matrix{Offset: ahead, Rows: rows, Cols: cols, Stride: cols + padding}}
	m.data = make([]float32, ahead+rows*m.Stride+padding)
	for i := range m.data {
		m.data[i] = guard
	}
	for i := range rows {
		for j := range cols {
			m.data[m.at(i, j)] = f(i, j)
		}
	}
	m.Buf = s.alloc(backend.Float32, len(m.data))
	m.upload()
	return m
}

// normal returns a matrix of normally distributed elements.
func (s *suite) normal(rows, cols int) *mat {
	s.Helper()
	return s.mat(rows, cols, func(int, int) float32 { return float32(s.rng.NormFloat64()) })
}

func (s *suite) zeros(rows, cols int) *mat {
	s.Helper()
	return s.mat(rows, cols, func(int, int) float32 { return 0 })
}

// at returns the position of an element in the buffer.
func (m *mat) at(i, j int) int { return m.Offset + i*m.Stride + j }

func (m *mat) get(i, j int) float32 { return m.data[m.at(i, j)] }

func (m *mat) set(i, j int, v float32) { m.data[m.at(i, j)] = v }

// upload copies the host's copy to the device.
func (m *mat) upload() {
	m.s.Helper()
	m.s.ok(m.s.dev.Upload(m.Buf, 0, m.data))
}

// download returns the device's matrix after checking that the guards are untouched. The host's copy stays what it was.
func (m *mat) download() *mat {
	m.s.Helper()
	got := *m
	got.data = make([]float32, len(m.data))
	m.s.ok(m.s.dev.Download(got.data, m.Buf, 0))
	check := func(lo, hi int) {
		m.s.Helper()
		for k := lo; k < hi; k++ {
			if math.Float32bits(got.data[k]) != math.Float32bits(guard) {
				m.s.Fatalf("a guard was overwritten with %v: buffer[%d], around %v at %d with stride %d",
					got.data[k], k, m.Matrix, m.Offset, m.Stride)
			}
		}
	}
	check(0, m.Offset)
	for i := range m.Rows {
		check(m.at(i, m.Cols), m.at(i+1, 0))
	}
	check(m.at(m.Rows, 0), len(got.data))
	return &got
}

// float64s returns a copy of a row.
func (m *mat) float64s(i int) []float64 {
	row := make([]float64, m.Cols)
	for j := range row {
		row[j] = float64(m.get(i, j))
	}
	return row
}

// vector is a matrix of one row, whose buffer and offset serve where the contract wants a vector.
func (s *suite) vector(n int, f func(j int) float32) *mat {
	return s.mat(1, n, func(_, j int) float32 { return f(j) })
}

// near checks the matrix on the device against the oracle want. It may err by twice the largest error of plain, which does the
// same in float32, plus atol.
func (m *mat) near(what string, want func(i, j int) float64, plain func(i, j int) float32, atol float64) {
	m.s.Helper()
	got := m.download()
	var baseline, worst float64
	wi, wj := -1, -1
	for i := range m.Rows {
		for j := range m.Cols {
			w := want(i, j)
			baseline = max(baseline, math.Abs(float64(plain(i, j))-w))
			// NaN is the worst of all.
			if e := math.Abs(float64(got.get(i, j)) - w); wi < 0 || e > worst || e != e {
				worst, wi, wj = e, i, j
				if e != e {
					m.s.Fatalf("%s: [%d,%d] is %v, want %v", what, i, j, got.get(i, j), w)
				}
			}
		}
	}
	if worst > 2*baseline+atol {
		m.s.Fatalf("%s: [%d,%d] is %v, want %v: off by %.3g, a plain loop by at most %.3g",
			what, wi, wj, got.get(wi, wj), want(wi, wj), worst, baseline)
	}
}

// csr returns a random sparse matrix and its place on the device. Rows hold about density·cols entries, each third row none;
// with values false, all entries are 1.
func (s *suite) csr(slot, rows, cols int, density float64, values bool) (*sparse.CSR, backend.CSR) {
	s.Helper()
	m := &sparse.CSR{Cols: cols, Indptr: []int64{0}}
	for i := range rows {
		var ids []int32
		var v []float32
		for j := range cols {
			if i%3 != 2 && s.rng.Float64() < density {
				ids = append(ids, int32(j))
				if values {
					v = append(v, float32(s.rng.NormFloat64()))
				}
			}
		}
		m.Append(ids, v)
	}
	if values && m.Values == nil {
		m.Values = []float32{}
	}
	return m, s.uploadCSR(slot, m)
}

func (s *suite) uploadCSR(slot int, m *sparse.CSR) backend.CSR {
	s.Helper()
	d, err := s.dev.UploadCSR(slot, m)
	s.ok(err)
	return d
}

// dense returns a sparse matrix as rows of float64.
func dense(m *sparse.CSR) [][]float64 {
	d := make([][]float64, m.Rows())
	for i := range d {
		d[i] = make([]float64, m.Cols)
		ids, values := m.Row(i)
		for p, j := range ids {
			d[i][j] = 1
			if values != nil {
				d[i][j] = float64(values[p])
			}
		}
	}
	return d
}

// dot64 and dot32 are oracle and plain loop of an inner product of length n, added to a start.
func dot64(start float64, n int, f func(k int) (a, b float64)) float64 {
	for k := range n {
		a, b := f(k)
		start += a * b
	}
	return start
}

func dot32(start float32, n int, f func(k int) (a, b float64)) float32 {
	for k := range n {
		a, b := f(k)
		start += float32(a) * float32(b)
	}
	return start
}

// compareBits reports the first difference between two lists of results.
func compareBits(t testing.TB, got, want []result) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d results, want %d", len(got), len(want))
	}
	for k, w := range want {
		for i := range w.bits {
			if got[k].bits[i] != w.bits[i] {
				t.Fatalf("%s: element %d is %x, want %x", w.name, i, got[k].bits[i], w.bits[i])
			}
		}
	}
}

// result is the output of one operation, to the bit.
type result struct {
	name string
	bits []uint64
}
