package cpu

import (
	"fmt"
	"math"

	"gputrain/backend"
	"gputrain/cpu/internal/vec"
	"gputrain/optim"
)

// Step applies the rule to w, a row at a time.
func (d *Device) Step(w backend.Matrix, state []backend.Matrix, g backend.Matrix, rule optim.Rule, at optim.At) error {
	const op = "step"
	if w.Rows != g.Rows || w.Cols != g.Cols {
		return shape(op, "w=%v g=%v", w, g)
	}
	s, err := newStepper(op, w, state, rule, at)
	if err != nil {
		return err
	}
	gv, err := view(op, "g", g)
	if err != nil || gv.empty() {
		return err
	}
	d.pool.run(gv.rows, ceilDiv(1<<13, gv.cols), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			s.row(i, gv.row(i))
		}
	})
	return nil
}

// stepper is a rule at work on the rows of a matrix. The formulas are those of optim.Rule.Apply.
type stepper struct {
	rule  optim.Rule
	at    optim.At
	w     matrix
	state [2]matrix
	adam  vec.AdamStep
}

// newStepper checks weights and states.
func newStepper(op string, w backend.Matrix, state []backend.Matrix, rule optim.Rule, at optim.At) (*stepper, error) {
	if err := rule.Validate(); err != nil {
		return nil, fmt.Errorf("cpu: %s: %w", op, err)
	}
	s := &stepper{rule: rule, at: at}
	if rule.Kind == optim.AdamW {
		if at.Step < 1 {
			return nil, fmt.Errorf("cpu: %s: step %d of adamw, but steps count from 1", op, at.Step)
		}
		n := float64(at.Step)
		b1, b2 := rule.Beta1, rule.Beta2
		s.adam = vec.AdamStep{
			Old1: float32(b1), New1: float32(1 - b1), Old2: float32(b2), New2: float32(1 - b2),
			Rate: float32(at.LR / (1 - math.Pow(b1, n))), Root: float32(1 / math.Sqrt(1-math.Pow(b2, n))), Eps: float32(rule.Eps),
		}
	}
	if len(state) != rule.States() {
		return nil, shape(op, "%d state matrices, but %s needs %d", len(state), rule.Kind, rule.States())
	}
	var err error
	if s.w, err = view(op, "weights", w); err != nil {
		return nil, err
	}
	cols := w.Cols
	if rule.Kind == optim.RowAdagrad {
		cols = 1
	}
	for k, m := range state {
		if m.Rows != w.Rows || m.Cols != cols {
			return nil, shape(op, "weights=%v state=%v, but %s needs %d×%d", w, m, rule.Kind, w.Rows, cols)
		}
		if s.state[k], err = view(op, "state", m); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// row applies the rule to the row i of the weights with the gradient g.
func (s *stepper) row(i int, g []float32) {
	w, lr, eps := s.w.row(i), float32(s.at.LR), float32(s.rule.Eps)
	if s.rule.WeightDecay != 0 {
		vec.Scale(float32(1-s.at.LR*s.rule.WeightDecay), w)
	}
	switch s.rule.Kind {
	case optim.SGD:
		if s.rule.Momentum != 0 {
			v := s.state[0].row(i)
			vec.Scale(float32(s.rule.Momentum), v)
			vec.Axpy(1, g, v)
			g = v
		}
		vec.Axpy(-lr, g, w)
	case optim.Adagrad:
		vec.Adagrad(lr, eps, w, g, s.state[0].row(i))
	case optim.RowAdagrad:
		a := s.state[0].row(i)
		a[0] += vec.SumSquares(g) / float32(len(g))
		vec.Axpy(-lr/(float32(math.Sqrt(float64(a[0])))+eps), g, w)
	case optim.AdamW:
		vec.Adam(&s.adam, w, g, s.state[0].row(i), s.state[1].row(i))
	}
}
