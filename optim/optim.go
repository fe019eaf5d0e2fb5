// Package optim defines the update rules of the optimisers, with a float64 oracle for each. Backends apply the same rules to
// whole matrices (dense) or to the rows that a batch touched (sparse, lazily).
package optim

import (
	"fmt"
	"math"
	"strings"
)

// Kind names an optimiser.
type Kind string

// The optimisers.
const (
	SGD        Kind = "sgd"         // Sutskever et al. 2013, Polyak's momentum; Momentum 0 keeps no state
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

var kinds = []Kind{SGD, Adagrad, RowAdagrad, AdamW}

// Names returns the names of all optimisers.
func Names() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return names
}

// Default returns the rule of a kind with the constants of its source; SGD is without momentum. Nothing decays weights.
func Default(kind Kind) Rule {
	r := Rule{Kind: kind}
	switch kind {
	case Adagrad, RowAdagrad:
		r.Eps = 1e-8
	case AdamW:
		r.Beta1, r.Beta2, r.Eps = 0.9, 0.999, 1e-8
	}
	return r
}

// Parse returns the default rule of the optimiser with the given name. The error for an unknown name suggests one.
func Parse(name string) (Rule, error) {
	r := Default(Kind(name))
	return r, r.Validate()
}

// Validate returns an error that names the first field out of its range.
func (r Rule) Validate() error {
	known := false
	for _, k := range kinds {
		known = known || r.Kind == k
	}
	if !known {
		return fmt.Errorf("unknown optimiser %q%s; known are %s", r.Kind, suggest(string(r.Kind)), strings.Join(Names(), ", "))
	}
	share := func(x float64) bool { return x >= 0 && x < 1 }
	for _, c := range []struct {
		name  string
		value float64
		ok    bool
		want  string
	}{
		{"momentum", r.Momentum, share(r.Momentum), "in [0, 1)"},
		{"beta1", r.Beta1, share(r.Beta1), "in [0, 1)"},
		{"beta2", r.Beta2, share(r.Beta2), "in [0, 1)"},
		{"eps", r.Eps, r.Eps >= 0 && !math.IsInf(r.Eps, 1), "finite and not negative"},
		{"eps", r.Eps, r.Eps > 0 || r.Kind == SGD, "positive"},
		{"weight decay", r.WeightDecay, r.WeightDecay >= 0 && !math.IsInf(r.WeightDecay, 1), "finite and not negative"},
	} {
		if !c.ok {
			return fmt.Errorf("optimiser %s: %s is %v, but it must be %s", r.Kind, c.name, c.value, c.want)
		}
	}
	return nil
}

// suggest returns the part of an error message that guesses what was meant: the name that contains the given one, or is
// contained in it, with the fewest other letters; hyphens and case aside.
func suggest(name string) string {
	plain := strings.NewReplacer("-", "", "_", "", " ", "")
	given := plain.Replace(strings.ToLower(name))
	best, rest := "", math.MaxInt
	for _, k := range Names() {
		known := plain.Replace(k)
		n := max(len(given), len(known)) - min(len(given), len(known))
		if given != "" && n < rest && (strings.Contains(known, given) || strings.Contains(given, known)) {
			best, rest = fmt.Sprintf(" (did you mean %q?)", k), n
		}
	}
	return best
}

// Apply is the oracle: it applies the rule to one row of weights w with the gradient g, in place. There is one vector for each
// of the rule's states, as long as w, but of one element for row-adagrad. All states begin with zeros.
//
// Weight decay is decoupled from the gradient and scaled by the step size (Loshchilov & Hutter 2019, algorithm 2), for every rule:
//
//	w ← w − lr·λ·w    before the rest
func (r Rule) Apply(w, g []float64, state [][]float64, at At) {
	lr, t := at.LR, float64(at.Step)
	for i := range w {
		w[i] -= lr * r.WeightDecay * w[i]
	}
	switch r.Kind {
	case SGD:
		// v ← μ·v + g, w ← w − lr·v: classical momentum (Sutskever et al. 2013, eq. 1–2), with the step size outside of v.
		for i := range w {
			v := g[i]
			if r.Momentum != 0 {
				state[0][i] = r.Momentum*state[0][i] + g[i]
				v = state[0][i]
			}
			w[i] -= lr * v
		}
	case Adagrad:
		// G ← G + g², w ← w − lr·g/(√G + ε): Duchi, Hazan, Singer 2011, figure 1, with a diagonal matrix.
		G := state[0]
		for i := range w {
			G[i] += g[i] * g[i]
			w[i] -= lr * g[i] / (math.Sqrt(G[i]) + r.Eps)
		}
	case RowAdagrad:
		// The same with one G for the row, which grows by the mean of g²: the row-wise Adagrad of Naumov et al. 2019 (DLRM).
		G := state[0]
		var sum float64
		for i := range w {
			sum += g[i] * g[i]
		}
		G[0] += sum / float64(max(len(w), 1))
		for i := range w {
			w[i] -= lr * g[i] / (math.Sqrt(G[0]) + r.Eps)
		}
	case AdamW:
		// Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2.
		m, v := state[0], state[1]
		for i := range w {
			m[i] = r.Beta1*m[i] + (1-r.Beta1)*g[i]
			v[i] = r.Beta2*v[i] + (1-r.Beta2)*g[i]*g[i]
			mHat := m[i] / (1 - math.Pow(r.Beta1, t))
			vHat := v[i] / (1 - math.Pow(r.Beta2, t))
			w[i] -= lr * mHat / (math.Sqrt(vHat) + r.Eps)
		}
	}
}
