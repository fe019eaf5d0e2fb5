// Package optim defines the update rules of the optimisers, with a float64 oracle for each. Backends apply the same rules to
// whole matrices (dense) or to the rows that a batch touched (sparse, lazily).
package optim

// Kind names an optimiser.
type Kind string

// The optimisers.
const (
	SGD        Kind = "sgd"         // w -= lr·(g + momentum buffer); Momentum 0 keeps no state
	Adagrad    Kind = "adagrad"     // Duchi et al. 2011
	RowAdagrad Kind = "row-adagrad" // one accumulator per row: mean of g² over the row; for embedding tables
	AdamW      Kind = "adamw"       // Loshchilov & Hutter 2019
)

// Rule is an optimiser with its constants. The step size comes with each step, from a Schedule.
type Rule struct {
	Kind        Kind    `json:"kind"`
	Momentum    float64 `json:"momentum,omitempty"`
	Beta1       float64 `json:"beta1,omitempty"`
	Beta2       float64 `json:"beta2,omitempty"`
	Eps         float64 `json:"eps,omitempty"`
	WeightDecay float64 `json:"weight_decay,omitempty"` // decoupled: w -= lr·WeightDecay·w
}

// At is the moment of a step: its number, from 1 on, and its step size.
type At struct {
	Step int64
	LR   float64
}

// States returns how many state values the rule keeps for each weight (row-adagrad: for each row).
func (r Rule) States() int {
	switch r.Kind {
	case Adagrad, RowAdagrad:
		return 1
	case AdamW:
		return 2
	default:
		if r.Momentum != 0 {
			return 1
		}
		return 0
	}
}

// TODO(optim owner): Default(kind), Validate, oracle Apply(w, g, state, at) in float64, Schedule (warm-up + linear/cosine decay).
