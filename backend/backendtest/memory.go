package backendtest

import (
	"errors"
	"math"
	"slices"
	"strings"

	"gputrain/backend"
	"gputrain/sparse"
)

func (s *suite) testName() {
	if name := s.dev.Name(); name == "" || strings.Contains(name, "\n") {
		s.Errorf("Name is %q, want one line", name)
	}
}

func (s *suite) testAlloc() {
	for _, t := range []backend.DType{backend.Float32, backend.Float64, backend.Int32, backend.Int64} {
		for _, n := range []int{0, 1, 1000003} {
			b := s.alloc(t, n)
			if b.Len() != n || b.DType() != t {
				s.Errorf("Alloc(%d, %d) has type %d and length %d", t, n, b.DType(), b.Len())
			}
			s.dev.Free(b)
		}
		for _, n := range []int{1 << 44, 1<<61 + 1, math.MaxInt} {
			if _, err := s.dev.Alloc(t, n); !errors.Is(err, backend.ErrOutOfMemory) {
				s.Errorf("Alloc(%d, %d): error %v, want ErrOutOfMemory", t, n, err)
			}
		}
		if _, err := s.dev.Alloc(t, -1); err == nil {
			s.Errorf("Alloc(%d, -1): no error", t)
		}
	}
	if _, err := s.dev.Alloc(0, 1); err == nil {
		s.Error("Alloc of an unknown type: no error")
	}
	s.dev.Free(nil)

	// Memory that was used before comes back zeroed.
	for range 3 {
		b := s.alloc(backend.Float32, 1000)
		got := make([]float32, 1000)
		s.ok(s.dev.Download(got, b, 0))
		if i := slices.IndexFunc(got, func(v float32) bool { return v != 0 }); i >= 0 {
			s.Fatalf("element %d of a new buffer is %v", i, got[i])
		}
		for i := range got {
			got[i] = 1
		}
		s.ok(s.dev.Upload(b, 0, got))
		s.dev.Free(b)
	}
}

func (s *suite) testTransfer() {
	roundTrip(s, backend.Float32, []float32{1, float32(math.Inf(-1)), 3, guard})
	roundTrip(s, backend.Float64, []float64{1, math.Inf(1), 3, 5e-324})
	roundTrip(s, backend.Int32, []int32{1, math.MinInt32, 3, -4})
	roundTrip(s, backend.Int64, []int64{1, math.MinInt64, 3, -4})

	b := s.alloc(backend.Float32, 4)
	s.ok(s.dev.Upload(b, 0, []float32{1, 2, 3, 4}))
	for what, err := range map[string]error{
		"upload of another type":    s.dev.Upload(b, 0, []int32{9}),
		"upload of no slice":        s.dev.Upload(b, 0, "x"),
		"upload past the end":       s.dev.Upload(b, 3, []float32{9, 9}),
		"upload before the start":   s.dev.Upload(b, -1, []float32{9}),
		"download of another type":  s.dev.Download(make([]float64, 1), b, 0),
		"download of no slice":      s.dev.Download(7, b, 0),
		"download past the end":     s.dev.Download(make([]float32, 5), b, 0),
		"download before the start": s.dev.Download(make([]float32, 1), b, -1),
		"upload to nothing":         s.dev.Upload(nil, 0, []float32{9}),
	} {
		if shape := (*backend.ShapeError)(nil); !errors.As(err, &shape) {
			s.Errorf("%s: error %v, want a *ShapeError", what, err)
		}
	}
	got := make([]float32, 4)
	s.ok(s.dev.Download(got, b, 0))
	if !slices.Equal(got, []float32{1, 2, 3, 4}) {
		s.Errorf("refused uploads left %v", got)
	}
}

// roundTrip uploads and downloads pieces of v, which holds four elements.
func roundTrip[T int32 | int64 | float32 | float64](s *suite, t backend.DType, v []T) {
	b := s.alloc(t, 6)
	s.ok(s.dev.Upload(b, 1, v))
	s.ok(s.dev.Upload(b, 2, v[:1]))
	s.ok(s.dev.Upload(b, 6, v[:0]))
	s.ok(s.dev.Sync())
	got := make([]T, 4)
	s.ok(s.dev.Download(got, b, 2))
	for i, want := range []T{v[0], v[2], v[3], 0} {
		if got[i] != want && (got[i] == got[i] || want == want) { //nolint:gocritic // x == x asks whether it is a number, in any type
			s.Errorf("type %d: element %d is %v, want %v", t, i, got[i], want)
		}
	}
}

func (s *suite) testUploadCSR() {
	// Two slots at a time; each one serves again, with a larger matrix and with a smaller one.
	for _, rows := range []int{3, 30, 0, 1} {
		a, da := s.csr(0, rows, 20, 0.3, true)
		b, db := s.csr(1, rows, 20, 0.3, false)
		for _, m := range []struct {
			host *sparse.CSR
			dev  backend.CSR
		}{{a, da}, {b, db}} {
			if m.dev.Rows != rows || m.dev.Cols != 20 || m.dev.NNZ != m.host.NNZ() || (m.dev.Values == nil) != (m.host.Values == nil) {
				s.Fatalf("%d×20 with %d entries was uploaded as %+v", rows, m.host.NNZ(), m.dev)
			}
			z, eye := s.zeros(rows, 20), s.mat(20, 20, func(i, j int) float32 {
				if i == j {
					return 1
				}
				return 0
			})
			s.ok(s.dev.Bag(z.Matrix, m.dev, eye.Matrix))
			got, want := z.download(), dense(m.host)
			for i := range rows {
				if !slices.Equal(got.float64s(i), want[i]) {
					s.Fatalf("row %d is %v, want %v", i, got.float64s(i), want[i])
				}
			}
		}
	}
	if _, err := s.dev.UploadCSR(0, &sparse.CSR{}); err != nil {
		s.Errorf("upload of the zero matrix: %v", err)
	}
	for what, m := range map[string]*sparse.CSR{
		"an id out of range": {Cols: 2, Indptr: []int64{0, 1}, Indices: []int32{2}},
		"a negative id":      {Cols: 2, Indptr: []int64{0, 1}, Indices: []int32{-1}},
		"ids not ascending":  {Cols: 2, Indptr: []int64{0, 2}, Indices: []int32{1, 1}},
		"offsets too long":   {Cols: 2, Indptr: []int64{0, 2}, Indices: []int32{1}},
	} {
		if _, err := s.dev.UploadCSR(0, m); err == nil {
			s.Errorf("upload of a matrix with %s: no error", what)
		}
	}
}

// testHuge works on rows that lie beyond 2³¹ elements, in a buffer that is hardly touched.
func (s *suite) testHuge() {
	const stride = 1<<30 + 7
	b, err := s.dev.Alloc(backend.Float32, 2*stride+8)
	if errors.Is(err, backend.ErrOutOfMemory) {
		s.Skip(err)
	}
	s.ok(err)
	defer s.dev.Free(b)
	z := backend.Matrix{Buf: b, Rows: 3, Cols: 8, Stride: stride}
	one := s.mat(8, 8, func(i, j int) float32 { return float32(i + j) })
	a := s.mat(3, 8, func(i, j int) float32 { return float32(i) })
	s.ok(s.dev.Gemm(z, 1, a.Matrix, false, one.Matrix, false, 0))
	sums := s.vector(8, func(int) float32 { return 0 })
	s.ok(s.dev.ColSum(sums.Buf, sums.Offset, z))
	got := make([]float32, 8)
	s.ok(s.dev.Download(got, b, 2*stride))
	for j, v := range got {
		if want := 2 * float32(28+8*j); v != want || sums.download().get(0, j) != want*3/2 {
			s.Fatalf("element %d of row 2 is %v, want %v; the column's sum is %v", j, v, want, sums.download().get(0, j))
		}
	}
}
