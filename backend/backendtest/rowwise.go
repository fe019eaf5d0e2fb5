package backendtest

import (
	"math"

	"gputrain/backend"
)

// planes are the shapes of the tests of dense operations.
var planes = []struct{ rows, cols int }{
	{0, 3}, {3, 0}, {1, 1}, {2, 3}, {5, 15}, {5, 16}, {5, 17}, {16, 255}, {17, 257}, {100, 33}, {33, 735}, {1, 6884}, {513, 8},
}

func exact(m *mat) func(i, j int) float32 { return func(i, j int) float32 { return m.get(i, j) } }

func (s *suite) testSetRows() {
	for _, p := range planes {
		z, b := s.normal(p.rows, p.cols), s.vector(p.cols, func(j int) float32 { return float32(j) + 0.5 })
		s.ok(s.dev.SetRows(z.Matrix, b.Buf, b.Offset))
		z.near("set rows", func(i, j int) float64 { return float64(j) + 0.5 }, func(i, j int) float32 { return float32(j) + 0.5 }, 0)
		s.ok(s.dev.SetRows(z.Matrix, nil, 0))
		z.near("set rows to zero", func(i, j int) float64 { return 0 }, func(i, j int) float32 { return 0 }, 0)
	}
}

func (s *suite) testColSum() {
	for _, p := range planes {
		g, out := s.normal(p.rows, p.cols), s.vector(p.cols, func(int) float32 { return guard }) // set, not added to
		s.ok(s.dev.ColSum(out.Buf, out.Offset, g.Matrix))
		out.near("column sum", func(_, j int) float64 {
			return dot64(0, p.rows, func(i int) (a, b float64) { return float64(g.get(i, j)), 1 })
		}, func(_, j int) float32 {
			return dot32(0, p.rows, func(i int) (a, b float64) { return float64(g.get(i, j)), 1 })
		}, 1e-7)
	}
	// One running float32 sum is off by 3 % here; a tree is exact to its last digits.
	const rows = 1 << 20
	g, out := s.mat(rows, 1, func(int, int) float32 { return 0.1 }), s.vector(1, func(int) float32 { return 0 })
	s.ok(s.dev.ColSum(out.Buf, out.Offset, g.Matrix))
	if got, want := float64(out.download().get(0, 0)), rows*float64(float32(0.1)); math.Abs(got-want) > 1e-5*want {
		s.Errorf("the sum of %d rows is %v, want %v", rows, got, want)
	}
}

var activations = map[backend.Activation]struct{ f, grad func(x float64) float64 }{ // grad in terms of f's value
	backend.Identity: {func(x float64) float64 { return x }, func(float64) float64 { return 1 }},
	backend.ReLU: {func(x float64) float64 { return max(x, 0) }, func(y float64) float64 {
		if y > 0 {
			return 1
		}
		return 0
	}},
	backend.Tanh: {math.Tanh, func(y float64) float64 { return 1 - y*y }},
}

func (s *suite) testActivate() {
	for act, oracle := range activations {
		for _, p := range planes {
			for _, drop := range []backend.Dropout{{}, {P: 0.3, Seed: 5, Step: 7}} {
				h, dh := s.normal(p.rows, p.cols), s.normal(p.rows, p.cols)
				keep := func(i, j int) float64 {
					if drop.P > 0 && float64(backend.Random(drop.Seed, drop.Step, uint64(i*p.cols+j))) < float64(drop.P)*(1<<32) {
						return 0
					}
					return 1 / (1 - float64(drop.P))
				}
				out := s.mat(p.rows, p.cols, exact(h))
				s.ok(s.dev.Activate(out.Matrix, act, drop))
				want := func(i, j int) float64 { return keep(i, j) * oracle.f(float64(h.get(i, j))) }
				out.near(string(act), want, func(i, j int) float32 { return float32(want(i, j)) }, 1e-6)

				// out still holds the input on the host, so that the gradient's oracle differs only where it should.
				s.ok(s.dev.ActivateGrad(dh.Matrix, out.Matrix, act, drop))
				grad := func(i, j int) float64 {
					return float64(dh.get(i, j)) * keep(i, j) * oracle.grad(oracle.f(float64(h.get(i, j))))
				}
				dh.near(string(act)+" gradient", grad, func(i, j int) float32 { return float32(grad(i, j)) }, 2e-6)
			}
		}
	}
	h := s.normal(2, 3)
	for what, err := range map[string]error{
		"unknown activation":        s.dev.Activate(h.Matrix, "gelu", backend.Dropout{}),
		"unknown activation (grad)": s.dev.ActivateGrad(h.Matrix, h.Matrix, "gelu", backend.Dropout{}),
		"P = 1":                     s.dev.Activate(h.Matrix, backend.ReLU, backend.Dropout{P: 1}),
		"P < 0":                     s.dev.Activate(h.Matrix, backend.ReLU, backend.Dropout{P: -0.1}),
		"P is NaN":                  s.dev.ActivateGrad(h.Matrix, h.Matrix, backend.ReLU, backend.Dropout{P: guard}),
	} {
		if err == nil {
			s.Errorf("%s: no error", what)
		}
	}
}

// testDropout checks that another seed or step drops others, and that the share of dropped elements is P.
func (s *suite) testDropout() {
	const rows, cols = 100, 1000
	for _, p := range []float32{0.1, 0.5, 0.9} {
		dropped := map[[2]uint64]*mat{}
		for _, key := range [][2]uint64{{1, 1}, {1, 2}, {2, 1}} {
			h := s.mat(rows, cols, func(int, int) float32 { return 1 })
			s.ok(s.dev.Activate(h.Matrix, backend.Identity, backend.Dropout{P: p, Seed: key[0], Step: key[1]}))
			got := h.download()
			n := 0
			for i := range rows {
				for j := range cols {
					if got.get(i, j) == 0 {
						n++
					}
				}
			}
			// Five standard deviations of a binomial distribution.
			if mean := float64(p) * rows * cols; math.Abs(float64(n)-mean) > 5*math.Sqrt(mean*(1-float64(p))) {
				s.Errorf("P = %v: %d of %d elements dropped", p, n, rows*cols)
			}
			for other, m := range dropped {
				same := true
				for i := range rows {
					for j := range cols {
						same = same && m.get(i, j) == got.get(i, j)
					}
				}
				if same {
					s.Errorf("seed and step %v drop the same elements as %v", key, other)
				}
			}
			dropped[key] = got
		}
	}
}
