package backendtest

import (
	"gputrain/backend"
	"gputrain/optim"
)

// rules are all update rules, with and without their options.
var rules = []optim.Rule{
	optim.Default(optim.SGD),
	{Kind: optim.SGD, Momentum: 0.9, WeightDecay: 0.1},
	optim.Default(optim.Adagrad),
	{Kind: optim.Adagrad, Eps: 1e-3, WeightDecay: 0.1},
	optim.Default(optim.RowAdagrad),
	optim.Default(optim.AdamW),
	{Kind: optim.AdamW, Beta1: 0.8, Beta2: 0.9, Eps: 1e-6, WeightDecay: 0.1},
}

// weights are a matrix under optimisation and its states, on the device, as the oracle has them, and as a plain float32 loop
// would: the same formula with everything rounded after each step.
type weights struct {
	rule          optim.Rule
	mats          []*mat // the weights, then the states
	state         []backend.Matrix
	oracle, plain [][][]float64 // [weights or state][row][column]
}

func (s *suite) weights(rule optim.Rule, rows, cols int) *weights {
	s.Helper()
	w := &weights{rule: rule, mats: []*mat{s.normal(rows, cols)}}
	if rule.Kind == optim.RowAdagrad {
		cols = 1
	}
	for range rule.States() {
		m := s.zeros(rows, cols)
		w.mats, w.state = append(w.mats, m), append(w.state, m.Matrix)
	}
	for _, m := range w.mats {
		var oracle, plain [][]float64
		for i := range rows {
			oracle, plain = append(oracle, m.float64s(i)), append(plain, m.float64s(i))
		}
		w.oracle, w.plain = append(w.oracle, oracle), append(w.plain, plain)
	}
	return w
}

// apply updates a row of the oracle with one gradient, and a row of the plain twin with the same, summed in float32.
func (w *weights) apply(i int, grad, grad32 []float64, at optim.At) {
	rows := func(all [][][]float64) (row []float64, state [][]float64) {
		for _, m := range all {
			state = append(state, m[i])
		}
		return state[0], state[1:]
	}
	row, state := rows(w.oracle)
	w.rule.Apply(row, grad, state, at)
	row, state = rows(w.plain)
	w.rule.Apply(row, grad32, state, at)
	for _, v := range append(state, row) {
		for j := range v {
			v[j] = float64(float32(v[j]))
		}
	}
}

// check compares weights and states with the oracle.
func (w *weights) check(what string) {
	for k, m := range w.mats {
		m.s.Helper()
		m.near(what+[]string{"", ": state", ": second state"}[k],
			func(i, j int) float64 { return w.oracle[k][i][j] },
			func(i, j int) float32 { return float32(w.plain[k][i][j]) }, 1e-6)
	}
}

func (s *suite) testStep() {
	for _, rule := range rules {
		for _, p := range planes {
			w := s.weights(rule, p.rows, p.cols)
			for step := range 4 {
				at := optim.At{Step: int64(step + 1), LR: 0.1 / float64(step+1)}
				g := s.normal(p.rows, p.cols)
				s.ok(s.dev.Step(w.mats[0].Matrix, w.state, g.Matrix, rule, at))
				for i := range p.rows {
					w.apply(i, g.float64s(i), g.float64s(i), at)
				}
			}
			w.check(string(rule.Kind) + " step")
		}
	}
	w := s.normal(2, 3)
	if err := s.dev.Step(w.Matrix, nil, w.Matrix, optim.Rule{Kind: "lion"}, optim.At{Step: 1, LR: 1}); err == nil {
		s.Error("unknown rule: no error")
	}
}
