package backendtest

import (
	"errors"
	"math"
	"slices"

	"gputrain/backend"
	"gputrain/loss"
	"gputrain/optim"
)

// testNaN checks that NaN in gives NaN out: one NaN in each operand reaches exactly the results that depend on it.
func (s *suite) testNaN() {
	const n, k, cols = 9, 20, 50
	nan := float32(math.NaN())
	expect := func(what string, m *mat, want func(i, j int) bool) {
		s.Helper()
		got := m.download()
		for i := range m.Rows {
			for j := range m.Cols {
				if v := got.get(i, j); (v != v) != want(i, j) {
					s.Fatalf("%s: [%d,%d] is %v, want NaN: %v", what, i, j, v, want(i, j))
				}
			}
		}
	}
	a, b, c := s.normal(n, k), s.normal(k, cols), s.normal(n, cols)
	a.set(4, 7, nan)
	a.upload()
	s.ok(s.dev.Gemm(c.Matrix, 1, a.Matrix, false, b.Matrix, false, 0))
	expect("gemm, a", c, func(i, j int) bool { return i == 4 })
	b.set(3, 33, nan)
	b.upload()
	c.set(0, 49, nan)
	c.upload()
	s.ok(s.dev.Gemm(c.Matrix, 1, a.Matrix, false, b.Matrix, false, 0.5))
	expect("gemm", c, func(i, j int) bool { return i == 4 || j == 33 || i == 0 && j == 49 })

	sums := s.vector(cols, func(int) float32 { return 0 })
	s.ok(s.dev.ColSum(sums.Buf, sums.Offset, b.Matrix))
	expect("column sum", sums, func(_, j int) bool { return j == 33 })

	for act := range activations {
		for _, drop := range []backend.Dropout{{}, {P: 0.5}} {
			h, dh := s.mat(k, cols, exact(b)), s.mat(k, cols, exact(b))
			s.ok(s.dev.Activate(h.Matrix, act, drop))
			expect(string(act), h, func(i, j int) bool { return i == 3 && j == 33 })
			s.ok(s.dev.ActivateGrad(dh.Matrix, s.zeros(k, cols).Matrix, act, drop))
			if act != backend.ReLU { // whose gradient is 0 there
				expect(string(act)+" gradient", dh, func(i, j int) bool { return i == 3 && j == 33 })
			}
			one := s.mat(k, cols, func(int, int) float32 { return 1 })
			s.ok(s.dev.ActivateGrad(one.Matrix, h.Matrix, act, drop))
			if act != backend.Identity { // whose gradient does not depend on the output
				expect(string(act)+" gradient, out", one, func(i, j int) bool { return i == 3 && j == 33 })
			}
		}
	}

	for _, rule := range rules {
		w := s.weights(rule, k, cols)
		s.ok(s.dev.Step(w.mats[0].Matrix, w.state, b.Matrix, rule, optim.At{Step: 1, LR: 0.1}))
		expect(string(rule.Kind), w.mats[0], func(i, j int) bool { return i == 3 && (j == 33 || rule.Kind == optim.RowAdagrad) })
	}

	z := s.zeros(1, cols)
	s.ok(s.dev.Bag(z.Matrix, s.uploadCSR(0, oneEntry(k, 3)), b.Matrix))
	expect("bag", z, func(_, j int) bool { return j == 33 })
	t := s.normal(k, cols)
	s.ok(s.dev.BagUpdate(t.Matrix, nil, s.uploadCSR(0, oneEntry(k, 5)), z.Matrix, optim.Rule{Kind: optim.SGD}, optim.At{Step: 1, LR: 0.1}))
	expect("bag update", t, func(i, j int) bool { return i == 5 && j == 33 })

	w, _ := s.csr(0, k, cols, 1, true)
	table, err := s.dev.NewTable(w)
	s.ok(err)
	s.ok(s.dev.TableUpdate(table, s.uploadCSR(0, oneEntry(k, 1)), z.Matrix, 0.1))
	got, err := s.dev.ReadTable(table)
	s.ok(err)
	for f, row := range dense(got) {
		for l, v := range row {
			if (v != v) != (f == 1 && l == 33) {
				s.Fatalf("table update: [%d,%d] is %v", f, l, v)
			}
		}
	}
}

// testRepeat runs all operations twice.
func (s *suite) testRepeat() {
	want := program(s)
	again := *s
	again.rng = newSuiteRand()
	compareBits(s, program(&again), want)
}

// program runs every operation on inputs that are large enough for several threads and returns all that they wrote.
func program(s *suite) []result {
	var results []result
	keep := func(name string, m *mat) {
		got := m.download()
		r := result{name: name}
		for i := range m.Rows {
			for j := range m.Cols {
				r.bits = append(r.bits, uint64(math.Float32bits(got.get(i, j))))
			}
		}
		results = append(results, r)
	}
	const rows, features, dim, labels = 67, 500, 129, 735
	_, x := s.csr(0, rows, features, 0.1, true)
	t, h := s.normal(features, dim), s.zeros(rows, dim)
	s.ok(s.dev.Bag(h.Matrix, x, t.Matrix))
	keep("bag", h)
	s.ok(s.dev.Activate(h.Matrix, backend.Tanh, backend.Dropout{P: 0.2, Seed: 3}))
	keep("activate", h)
	w, z, dw := s.normal(labels, dim), s.zeros(rows, labels), s.zeros(labels, dim)
	bias := s.vector(labels, func(j int) float32 { return float32(j) / labels })
	s.ok(s.dev.SetRows(z.Matrix, bias.Buf, bias.Offset))
	s.ok(s.dev.Gemm(z.Matrix, 1, h.Matrix, false, w.Matrix, true, 1))
	keep("gemm", z)
	scores, ids := s.freshTopK(rows, 7)
	s.ok(s.dev.TopK(scores.Matrix, ids, z.Matrix, 0))
	keep("top k", scores)

	_, y := s.csr(1, rows, labels, 0.01, false)
	losses := s.alloc(backend.Float64, rows)
	spec, err := loss.Parse(string(loss.Unified))
	s.ok(err)
	s.ok(s.dev.LossFwdBwd(spec, losses, z.Matrix, y, 0, 0.5))
	keep("loss gradient", z)
	l := make([]float64, rows)
	s.ok(s.dev.Download(l, losses, 0))
	r := result{name: "loss"}
	for _, v := range l {
		r.bits = append(r.bits, math.Float64bits(v))
	}
	results = append(results, r)

	s.ok(s.dev.ColSum(bias.Buf, bias.Offset, z.Matrix))
	keep("column sum", bias)
	s.ok(s.dev.Gemm(dw.Matrix, 1, z.Matrix, true, h.Matrix, false, 0))
	keep("gemm of the weights' gradient", dw)
	dh := s.zeros(rows, dim)
	s.ok(s.dev.Gemm(dh.Matrix, 1, z.Matrix, false, w.Matrix, false, 0))
	s.ok(s.dev.ActivateGrad(dh.Matrix, h.Matrix, backend.Tanh, backend.Dropout{P: 0.2, Seed: 3}))
	keep("activation gradient", dh)
	for k, rule := range rules {
		at := optim.At{Step: int64(k + 1), LR: 0.1}
		u := s.weights(rule, labels, dim)
		s.ok(s.dev.Step(u.mats[0].Matrix, u.state, dw.Matrix, rule, at))
		for _, m := range u.mats {
			keep(string(rule.Kind)+" step", m)
		}
		u = s.weights(rule, features, dim)
		s.ok(s.dev.BagUpdate(u.mats[0].Matrix, u.state, x, dh.Matrix, rule, at))
		for _, m := range u.mats {
			keep(string(rule.Kind)+" bag update", m)
		}
	}

	pattern, _ := s.csr(2, features, labels, 0.05, true)
	table, err := s.dev.NewTable(pattern)
	s.ok(err)
	s.ok(s.dev.TableUpdate(table, x, z.Matrix, 0.1))
	s.ok(s.dev.TableBag(z.Matrix, x, table))
	keep("table", z)
	return results
}

// testShapes gives each operation operands that do not fit: they are refused, and nothing is written.
func (s *suite) testShapes() {
	const n, k, cols = 4, 6, 5
	_, x := s.csr(0, n, k, 0.5, true)
	_, short := s.csr(1, n-1, k, 0.5, true)
	_, narrow := s.csr(2, n, k-1, 0.5, true)
	z, t, g := s.normal(n, cols), s.normal(k, cols), s.normal(n, cols)
	state := s.zeros(k, cols)
	a, b := s.normal(n, k), s.normal(k, cols)
	scores, ids := s.freshTopK(n, 2)
	bias := s.vector(cols, func(int) float32 { return 1 })
	ints := s.alloc(backend.Int32, 1000)
	w, _ := s.csr(3, k, cols, 0.5, true)
	table, err := s.dev.NewTable(w)
	s.ok(err)

	stretch := func(m backend.Matrix, f func(m *backend.Matrix)) backend.Matrix { f(&m); return m }
	fewer := func(m *backend.Matrix) { m.Rows-- }
	thinner := func(m *backend.Matrix) { m.Cols-- }
	beyond := func(m *backend.Matrix) { m.Offset += m.Stride }
	negative := func(m *backend.Matrix) { m.Offset = -1 }
	overlap := func(m *backend.Matrix) { m.Stride = m.Cols - 1 }
	notFloat := func(m *backend.Matrix) { m.Buf = ints }
	missing := func(m *backend.Matrix) { m.Buf = nil }
	huge := func(m *backend.Matrix) { m.Stride = math.MaxInt / 2 }

	sgd, at := optim.Rule{Kind: optim.SGD}, optim.At{Step: 1, LR: 1}
	momentum, rowAdagrad := optim.Rule{Kind: optim.SGD, Momentum: 0.9}, optim.Default(optim.RowAdagrad)
	no := backend.Dropout{}
	d := s.dev
	for what, err := range map[string]error{
		"bag: x shorter":             d.Bag(z.Matrix, short, t.Matrix),
		"bag: x narrower":            d.Bag(z.Matrix, narrow, t.Matrix),
		"bag: z thinner":             d.Bag(stretch(z.Matrix, thinner), x, t.Matrix),
		"bag: z beyond":              d.Bag(stretch(z.Matrix, beyond), x, t.Matrix),
		"bag: t beyond":              d.Bag(z.Matrix, x, stretch(t.Matrix, beyond)),
		"bag: z at a negative place": d.Bag(stretch(z.Matrix, negative), x, t.Matrix),
		"bag: rows overlap":          d.Bag(stretch(z.Matrix, overlap), x, t.Matrix),
		"bag: z of integers":         d.Bag(stretch(z.Matrix, notFloat), x, t.Matrix),
		"bag: z without buffer":      d.Bag(stretch(z.Matrix, missing), x, t.Matrix),
		"bag: absurd stride":         d.Bag(stretch(z.Matrix, huge), x, t.Matrix),

		"bag update: x shorter":     d.BagUpdate(t.Matrix, nil, short, g.Matrix, sgd, at),
		"bag update: x narrower":    d.BagUpdate(t.Matrix, nil, narrow, g.Matrix, sgd, at),
		"bag update: g beyond":      d.BagUpdate(t.Matrix, nil, x, stretch(g.Matrix, beyond), sgd, at),
		"bag update: g thinner":     d.BagUpdate(t.Matrix, nil, x, stretch(g.Matrix, thinner), sgd, at),
		"bag update: no state":      d.BagUpdate(t.Matrix, nil, x, g.Matrix, momentum, at),
		"bag update: needless":      d.BagUpdate(t.Matrix, []backend.Matrix{state.Matrix}, x, g.Matrix, sgd, at),
		"bag update: short state":   d.BagUpdate(t.Matrix, []backend.Matrix{stretch(state.Matrix, fewer)}, x, g.Matrix, momentum, at),
		"bag update: state per row": d.BagUpdate(t.Matrix, []backend.Matrix{state.Matrix}, x, g.Matrix, rowAdagrad, at),

		"table bag: x shorter":        d.TableBag(z.Matrix, short, table),
		"table bag: x narrower":       d.TableBag(z.Matrix, narrow, table),
		"table bag: z thinner":        d.TableBag(stretch(z.Matrix, thinner), x, table),
		"table bag: z beyond":         d.TableBag(stretch(z.Matrix, beyond), x, table),
		"table bag: z of integers":    d.TableBag(stretch(z.Matrix, notFloat), x, table),
		"table update: x shorter":     d.TableUpdate(table, short, g.Matrix, 1),
		"table update: x narrower":    d.TableUpdate(table, narrow, g.Matrix, 1),
		"table update: g thinner":     d.TableUpdate(table, x, stretch(g.Matrix, thinner), 1),
		"table update: g beyond":      d.TableUpdate(table, x, stretch(g.Matrix, beyond), 1),
		"table update: rows overlap":  d.TableUpdate(table, x, stretch(g.Matrix, overlap), 1),
		"table update: g of integers": d.TableUpdate(table, x, stretch(g.Matrix, notFloat), 1),

		"gemm: inner":        d.Gemm(z.Matrix, 1, a.Matrix, false, stretch(b.Matrix, fewer), false, 0),
		"gemm: rows":         d.Gemm(stretch(z.Matrix, fewer), 1, a.Matrix, false, b.Matrix, false, 0),
		"gemm: columns":      d.Gemm(stretch(z.Matrix, thinner), 1, a.Matrix, false, b.Matrix, false, 0),
		"gemm: transposed":   d.Gemm(z.Matrix, 1, a.Matrix, true, b.Matrix, false, 0),
		"gemm: transposed b": d.Gemm(z.Matrix, 1, a.Matrix, false, b.Matrix, true, 0),
		"gemm: a beyond":     d.Gemm(z.Matrix, 1, stretch(a.Matrix, beyond), false, b.Matrix, false, 0),
		"gemm: b beyond":     d.Gemm(z.Matrix, 1, a.Matrix, false, stretch(b.Matrix, beyond), false, 0),
		"gemm: c beyond":     d.Gemm(stretch(z.Matrix, beyond), 1, a.Matrix, false, b.Matrix, false, 0),

		"set rows: b short":         d.SetRows(z.Matrix, bias.Buf, bias.Buf.Len()-cols+1),
		"set rows: b of integers":   d.SetRows(z.Matrix, ints, 0),
		"set rows: negative offset": d.SetRows(z.Matrix, bias.Buf, -1),
		"set rows: z beyond":        d.SetRows(stretch(z.Matrix, beyond), bias.Buf, bias.Offset),
		"column sum: out short":     d.ColSum(bias.Buf, bias.Buf.Len()-cols+1, g.Matrix),
		"column sum: g beyond":      d.ColSum(bias.Buf, bias.Offset, stretch(g.Matrix, beyond)),
		"activate: beyond":          d.Activate(stretch(z.Matrix, beyond), backend.ReLU, no),
		"activation gradient":       d.ActivateGrad(z.Matrix, stretch(g.Matrix, thinner), backend.ReLU, no),
		"activation gradient: out":  d.ActivateGrad(z.Matrix, stretch(g.Matrix, beyond), backend.ReLU, no),

		"step: g fewer":       d.Step(z.Matrix, nil, stretch(g.Matrix, fewer), sgd, at),
		"step: no state":      d.Step(z.Matrix, nil, g.Matrix, momentum, at),
		"step: another state": d.Step(z.Matrix, []backend.Matrix{state.Matrix}, g.Matrix, momentum, at),
		"step: w beyond":      d.Step(stretch(z.Matrix, beyond), nil, g.Matrix, sgd, at),

		"top k: fewer rows":     d.TopK(stretch(scores.Matrix, fewer), ids, z.Matrix, 0),
		"top k: short ids":      d.TopK(scores.Matrix, s.alloc(backend.Int32, 2*n-1), z.Matrix, 0),
		"top k: ids of floats":  d.TopK(scores.Matrix, z.Buf, z.Matrix, 0),
		"top k: labels too far": d.TopK(scores.Matrix, ids, z.Matrix, math.MaxInt32),
		"top k: negative label": d.TopK(scores.Matrix, ids, z.Matrix, -1),
		"top k: z beyond":       d.TopK(scores.Matrix, ids, stretch(z.Matrix, beyond), 0),
	} {
		if shape := (*backend.ShapeError)(nil); !errors.As(err, &shape) {
			s.Errorf("%s: error %v, want a *ShapeError", what, err)
		} else if shape.Op == "" || shape.Detail == "" {
			s.Errorf("%s: error %+v says too little", what, *shape)
		}
	}
	for _, m := range []*mat{z, t, g, state, a, b, scores, bias} {
		got := m.download()
		if !slices.EqualFunc(got.data, m.data, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
			s.Errorf("a refused operation wrote to a matrix of %v", m.Matrix)
		}
	}
	got, err := d.ReadTable(table)
	s.ok(err)
	if !slices.Equal(got.Values, w.Values) {
		s.Error("a refused operation wrote to the table")
	}
}
