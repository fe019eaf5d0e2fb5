package backendtest

import (
	"slices"

	"gputrain/sparse"
)

// oneEntry returns a matrix of one row with a one in one column.
func oneEntry(cols int, at int32) *sparse.CSR {
	return &sparse.CSR{Cols: cols, Indptr: []int64{0, 1}, Indices: []int32{at}}
}

// tables are the shapes of the table tests: patterns empty, scattered, and with rows that hold all labels.
var tables = []struct {
	rows, features, labels int
	density                float64
}{
	{0, 3, 4, 1}, {3, 0, 4, 1}, {3, 4, 0, 1}, {1, 1, 1, 1}, {4, 6, 9, 0}, {7, 11, 13, 0.4}, {7, 11, 16, 1}, {20, 60, 735, 0.02}, {9, 30, 735, 0.6}, {5, 20, 6884, 0.01},
}

func (s *suite) testTable() {
	for _, size := range tables {
		w, _ := s.csr(0, size.features, size.labels, size.density, true)
		for k := range w.Values {
			if k%5 == 0 {
				w.Values[k] = 0 // stored, but not given back
			}
		}
		t, err := s.dev.NewTable(w)
		s.ok(err)
		if f, l := t.Shape(); f != size.features || l != size.labels {
			s.Fatalf("a table of %d×%d has the shape %d×%d", size.features, size.labels, f, l)
		}
		if t.Bytes() < int64(4*w.NNZ()) {
			s.Errorf("a table of %d entries takes %d bytes", w.NNZ(), t.Bytes())
		}
		got, err := s.dev.ReadTable(t)
		s.ok(err)
		s.ok(got.Check())
		if got.Cols != size.labels || got.Rows() != size.features {
			s.Fatalf("a table of %d×%d was read as %d×%d", size.features, size.labels, got.Rows(), got.Cols)
		}
		if slices.Contains(got.Values, 0) {
			s.Error("ReadTable returned a zero")
		}
		want := dense(w)
		for f, row := range dense(got) {
			if !slices.Equal(row, want[f]) {
				s.Fatalf("weights of feature %d are %v, want %v", f, row, want[f])
			}
		}
		// The host's matrix is free to change.
		for k := range w.Values {
			w.Values[k] = 7
		}
		again, err := s.dev.ReadTable(t)
		s.ok(err)
		if !slices.Equal(again.Values, got.Values) {
			s.Error("the table changed with the matrix that it was made from")
		}
		s.dev.FreeTable(t)
	}
	// Without values, all weights begin at zero.
	w, _ := s.csr(0, 5, 6, 0.5, false)
	t, err := s.dev.NewTable(w)
	s.ok(err)
	got, err := s.dev.ReadTable(t)
	s.ok(err)
	if got.Rows() != 5 || got.Cols != 6 || got.NNZ() != 0 {
		s.Errorf("a new table of zeros was read as %d×%d with %d entries", got.Rows(), got.Cols, got.NNZ())
	}
}

func (s *suite) testTableBag() {
	for _, size := range tables {
		for _, values := range []bool{false, true} {
			w, _ := s.csr(0, size.features, size.labels, size.density, true)
			t, err := s.dev.NewTable(w)
			s.ok(err)
			hx, x := s.csr(1, size.rows, size.features, 0.5, values)
			z := s.normal(size.rows, size.labels)
			s.ok(s.dev.TableBag(z.Matrix, x, t))
			dx, dw := dense(hx), dense(w)
			factors := func(i, j int) func(f int) (a, b float64) {
				return func(f int) (a, b float64) { return dx[i][f], dw[f][j] }
			}
			z.near("table bag", func(i, j int) float64 {
				return dot64(float64(z.get(i, j)), size.features, factors(i, j))
			}, func(i, j int) float32 {
				return dot32(z.get(i, j), size.features, factors(i, j))
			}, 1e-7)
			s.dev.FreeTable(t)
		}
	}
}

func (s *suite) testTableUpdate() {
	const lr = 0.25
	for _, size := range tables {
		for _, gradients := range []float64{0, 0.01, 0.1, 1} { // the share of g that is not zero
			w, _ := s.csr(0, size.features, size.labels, size.density, true)
			t, err := s.dev.NewTable(w)
			s.ok(err)
			hx, x := s.csr(1, size.rows, size.features, 0.5, gradients != 1)
			g := s.mat(size.rows, size.labels, func(int, int) float32 {
				if s.rng.Float64() >= gradients {
					return 0
				}
				return float32(s.rng.NormFloat64())
			})
			s.ok(s.dev.TableUpdate(t, x, g.Matrix, lr))
			got, err := s.dev.ReadTable(t)
			s.ok(err)

			// The oracle, as matrices: stored entries only. An entry that becomes zero reads as not stored.
			dx, dw, dg := dense(hx), dense(w), dense(got)
			stored := map[[2]int]bool{}
			for f := range size.features {
				ids, _ := w.Row(f)
				for _, l := range ids {
					stored[[2]int{f, int(l)}] = true
				}
			}
			back := s.mat(size.features, size.labels, func(f, l int) float32 { return float32(dg[f][l]) })
			factors := func(f, l int) func(i int) (a, b float64) {
				return func(i int) (a, b float64) { return -lr * dx[i][f], float64(g.get(i, l)) }
			}
			back.near("table update", func(f, l int) float64 {
				if !stored[[2]int{f, l}] {
					return 0
				}
				return dot64(dw[f][l], size.rows, factors(f, l))
			}, func(f, l int) float32 {
				if !stored[[2]int{f, l}] {
					return 0
				}
				return dot32(float32(dw[f][l]), size.rows, factors(f, l))
			}, 1e-7)
			s.dev.FreeTable(t)
		}
	}
}
