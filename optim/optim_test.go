package optim

import (
	"math"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, name := range Names() {
		if r, err := Parse(name); err != nil || string(r.Kind) != name {
			t.Errorf("Parse(%q) = %+v, %v", name, r, err)
		}
	}
	for name, want := range map[string]string{
		"adam": `did you mean "adamw"?`, "Row_Adagrad": `"row-adagrad"`, "SGD": `"sgd"`, "": "known are sgd", "lion": "known are sgd, adagrad, row-adagrad, adamw",
	} {
		if _, err := Parse(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): error %v, want one with %q", name, err, want)
		}
	}
}

func TestValidate(t *testing.T) {
	nan := math.NaN()
	for want, r := range map[string]Rule{
		"momentum is 1":      {Kind: SGD, Momentum: 1},
		"momentum is NaN":    {Kind: SGD, Momentum: nan},
		"beta1 is -0.1":      {Kind: AdamW, Beta1: -0.1, Beta2: 0.9, Eps: 1},
		"beta2 is 1":         {Kind: AdamW, Beta2: 1, Eps: 1},
		"eps is 0":           {Kind: Adagrad},
		"eps is NaN":         {Kind: SGD, Eps: nan},
		"weight decay is -1": {Kind: SGD, WeightDecay: -1},
	} {
		if err := r.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", r, err, want)
		}
	}
}

// Two steps by hand, w = 1, g = 2 then −1, lr = 0.1.
func TestApply(t *testing.T) {
	for _, test := range []struct {
		rule Rule
		want float64
	}{
		{Rule{Kind: SGD}, 1 - 0.2 + 0.1},
		{Rule{Kind: SGD, WeightDecay: 0.5}, (1*0.95-0.2)*0.95 + 0.1},
		{Rule{Kind: SGD, Momentum: 0.9}, 1 - 0.2 - 0.1*(0.9*2-1)},
		{Rule{Kind: Adagrad}, 1 - 0.1 + 0.1/math.Sqrt(5)},
		{Rule{Kind: RowAdagrad}, 1 - 0.1 + 0.1/math.Sqrt(5)},
		// m̂₁ = 2, v̂₁ = 4; m₂ = 0.9·0.2 − 0.1 = 0.08, v₂ = 0.999·0.004 + 0.001.
		{Rule{Kind: AdamW, Beta1: 0.9, Beta2: 0.999}, 1 - 0.1 - 0.1*(0.08/0.19)/math.Sqrt(0.004996/0.001999)},
	} {
		w, state := []float64{1}, [][]float64{{0}, {0}}
		test.rule.Apply(w, []float64{2}, state, At{Step: 1, LR: 0.1})
		test.rule.Apply(w, []float64{-1}, state, At{Step: 2, LR: 0.1})
		if math.Abs(w[0]-test.want) > 1e-12 {
			t.Errorf("%+v: w = %v, want %v", test.rule, w[0], test.want)
		}
	}
}

// The accumulator of row-adagrad is the mean of the squares of the row.
func TestApplyRow(t *testing.T) {
	w, state := []float64{0, 0}, [][]float64{{0}}
	Rule{Kind: RowAdagrad}.Apply(w, []float64{1, 7}, state, At{Step: 1, LR: 1})
	if state[0][0] != 25 || w[0] != -1.0/5 || w[1] != -7.0/5 {
		t.Errorf("w = %v, state = %v", w, state)
	}
}

func TestSchedule(t *testing.T) {
	for _, test := range []struct {
		s    Schedule
		step int64
		want float64
	}{
		{Schedule{LR: 2, Decay: Constant}, 1, 2},
		{Schedule{LR: 2, Decay: Constant}, 1e9, 2},
		{Schedule{LR: 2, Decay: Constant, Warmup: 4}, 1, 0.5},
		{Schedule{LR: 2, Decay: Constant, Warmup: 4}, 4, 2},
		{Schedule{LR: 2, Decay: Linear, Warmup: 4, Total: 14}, 2, 1},
		{Schedule{LR: 2, Decay: Linear, Warmup: 4, Total: 14}, 9, 1},
		{Schedule{LR: 2, Decay: Linear, Warmup: 4, Total: 14}, 14, 0},
		{Schedule{LR: 2, Decay: Linear, Warmup: 4, Total: 14}, 15, 0},
		{Schedule{LR: 2, Decay: Linear, Total: 10, Floor: 0.1}, 5, 1.1},
		{Schedule{LR: 2, Decay: Linear, Total: 10, Floor: 0.1}, 99, 0.2},
		{Schedule{LR: 2, Decay: Cosine, Total: 12}, 4, 1.5},
		{Schedule{LR: 2, Decay: Cosine, Total: 12}, 6, 1},
		{Schedule{LR: 2, Decay: Cosine, Total: 12, Floor: 0.5}, 12, 1},
		{Schedule{LR: 2, Decay: Cosine, Warmup: 5, Total: 5}, 5, 2},
		{Schedule{LR: 2, Decay: Cosine, Warmup: 5, Total: 5}, 6, 0},
	} {
		if err := test.s.Validate(); err != nil {
			t.Errorf("%+v: %v", test.s, err)
		}
		if got := test.s.At(test.step); math.Abs(got.LR-test.want) > 1e-12 || got.Step != test.step {
			t.Errorf("%+v at %d: %v, want %v", test.s, test.step, got, test.want)
		}
	}
	for want, s := range map[string]Schedule{
		"step size 0":       {Decay: Constant},
		"step size NaN":     {LR: math.NaN(), Decay: Constant},
		"unknown decay":     {LR: 1, Decay: "step"},
		"warm-up":           {LR: 1, Decay: Constant, Warmup: -1},
		"steps in total":    {LR: 1, Decay: Linear, Warmup: 9, Total: 8},
		"floor 2, but it":   {LR: 1, Decay: Linear, Total: 8, Floor: 2},
		"floor NaN, but it": {LR: 1, Decay: Linear, Total: 8, Floor: math.NaN()},
	} {
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", s, err, want)
		}
	}
}
