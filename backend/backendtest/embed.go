package backendtest

import "gputrain/optim"

func (s *suite) testBag() {
	for _, size := range []struct {
		rows, features, cols int
		density              float64
	}{
		{0, 3, 4, 1}, {3, 0, 4, 1}, {3, 4, 0, 1}, {1, 1, 1, 1}, {5, 7, 15, 0.5}, {5, 7, 16, 0.5}, {5, 7, 17, 1}, {4, 9, 31, 0.3},
		{33, 200, 128, 0.1}, {9, 40, 735, 0.5}, {2, 40, 6884, 0.5},
	} {
		for _, values := range []bool{false, true} {
			hx, x := s.csr(0, size.rows, size.features, size.density, values)
			t, z := s.normal(size.features, size.cols), s.normal(size.rows, size.cols)
			s.ok(s.dev.Bag(z.Matrix, x, t.Matrix))
			d := dense(hx)
			factors := func(i, j int) func(f int) (a, b float64) {
				return func(f int) (a, b float64) { return d[i][f], float64(t.get(f, j)) }
			}
			z.near("bag", func(i, j int) float64 {
				return dot64(float64(z.get(i, j)), size.features, factors(i, j))
			}, func(i, j int) float32 {
				return dot32(z.get(i, j), size.features, factors(i, j))
			}, 1e-7)
		}
	}
}

func (s *suite) testBagUpdate() {
	for _, rule := range rules {
		for _, size := range []struct{ rows, features, cols int }{
			{0, 3, 4}, {3, 0, 4}, {3, 4, 0}, {1, 1, 1}, {6, 9, 15}, {6, 9, 17}, {40, 100, 128}, {3, 8, 735},
		} {
			w := s.weights(rule, size.features, size.cols)
			for step := range 3 {
				at := optim.At{Step: int64(step + 1), LR: 0.1}
				hx, x := s.csr(0, size.rows, size.features, 0.2, step != 1)
				g := s.normal(size.rows, size.cols)
				s.ok(s.dev.BagUpdate(w.mats[0].Matrix, w.state, x, g.Matrix, rule, at))

				grad, grad32 := map[int32][]float64{}, map[int32][]float64{}
				for i := range size.rows {
					ids, values := hx.Row(i)
					for p, f := range ids {
						v := float32(1)
						if values != nil {
							v = values[p]
						}
						if grad[f] == nil {
							grad[f], grad32[f] = make([]float64, size.cols), make([]float64, size.cols)
						}
						for j := range size.cols {
							grad[f][j] += float64(v) * float64(g.get(i, j))
							grad32[f][j] = float64(float32(grad32[f][j]) + v*g.get(i, j))
						}
					}
				}
				for f := range grad {
					w.apply(int(f), grad[f], grad32[f], at)
				}
			}
			w.check(string(rule.Kind) + " bag update")
			s.untouched(w)
		}
	}
}

// untouched checks that an update leaves the rows alone, to the bit, that the batch does not touch.
func (s *suite) untouched(w *weights) {
	t := w.mats[0]
	if t.Rows < 2 || t.Cols == 0 {
		return
	}
	var was []*mat
	for _, m := range w.mats {
		was = append(was, m.download())
	}
	x := s.uploadCSR(0, oneEntry(t.Rows, 0))
	s.ok(s.dev.BagUpdate(t.Matrix, w.state, x, s.normal(1, t.Cols).Matrix, w.rule, optim.At{Step: 9, LR: 0.1}))
	for k, m := range w.mats {
		now := m.download()
		for i := 1; i < m.Rows; i++ {
			for j := range m.Cols {
				if now.get(i, j) != was[k].get(i, j) {
					s.Fatalf("%s: matrix %d (0: weights) changed in row %d, which the batch does not touch", w.rule.Kind, k, i)
				}
			}
		}
		if now.get(0, 0) == was[k].get(0, 0) {
			s.Fatalf("%s: matrix %d (0: weights) did not change in the row that the batch touches", w.rule.Kind, k)
		}
	}
}
