// Package decide turns the scores of a row into its set of labels, and tunes the rule that does so on validation rows.
package decide

import (
	"fmt"
	"math"
)

// Candidate is a label of a row with its score (a logit).
type Candidate struct {
	Label int32
	Score float32
}

// Depth is how many of a row's best labels are scored where a rule is tuned or applied: labels beyond them are never decided.
const Depth = 100

// valid tells whether the label may be decided at all: scores that are NaN or −Inf (excluded labels, padding) never are.
func (c Candidate) valid() bool { return c.Score > float32(math.Inf(-1)) }

// Kind names a way to decide.
type Kind string

// The kinds of rules. All comparisons are strict: a score equal to its threshold is not decided.
const (
	Zero     Kind = "zero"      // every label with a score above 0
	Global   Kind = "global"    // every label with a score above Threshold
	PerLabel Kind = "per-label" // every label l with a score above Thresholds[l]
	TopN     Kind = "top-n"     // of the N best labels, those with a score above Threshold
	Argmax   Kind = "argmax"    // the best label
)

// Kinds lists all kinds of rules.
var Kinds = []Kind{Zero, Global, PerLabel, TopN, Argmax}

// Rule says which labels of a row are decided. It is stored with the model as JSON. The zero value is not a rule.
type Rule struct {
	Kind       Kind      `json:"kind"`
	Threshold  float32   `json:"threshold,omitempty"`
	Thresholds []float32 `json:"thresholds,omitempty"` // one per label
	N          int       `json:"n,omitempty"`
	// MinLabels 1 decides the best label of a row where the rule itself decides none.
	MinLabels int `json:"min_labels,omitempty"`
}

// Validate checks the rule for a model with that many labels.
func (r Rule) Validate(labels int) error {
	if r.MinLabels != 0 && r.MinLabels != 1 {
		return fmt.Errorf("decide: min_labels is %d, want 0 or 1", r.MinLabels)
	}
	switch r.Kind {
	case Zero, Argmax:
	case TopN, Global:
		if r.Kind == TopN && r.N < 1 {
			return fmt.Errorf("decide: rule top-n with n = %d, want at least 1", r.N)
		}
		if !finite(r.Threshold) {
			return fmt.Errorf("decide: threshold is %v, want a finite number", r.Threshold)
		}
	case PerLabel:
		if len(r.Thresholds) != labels {
			return fmt.Errorf("decide: rule per-label has %d thresholds, the model has %d labels", len(r.Thresholds), labels)
		}
		for l, t := range r.Thresholds {
			if !finite(t) {
				return fmt.Errorf("decide: threshold of label %d is %v, want a finite number", l, t)
			}
		}
	default:
		return fmt.Errorf("decide: unknown rule %q, want one of %q", r.Kind, Kinds)
	}
	return nil
}

func finite(x float32) bool { return !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0) }

// Decide appends the decided labels of a row to dst, best first, and returns it. Cands holds the row's best candidates,
// best first; entries with a score of NaN or −Inf may stand anywhere and are passed over. The rule must be valid for the
// labels in cands.
func (r Rule) Decide(dst []int32, cands []Candidate) []int32 {
	threshold, n := r.Threshold, len(cands)
	switch r.Kind {
	case Zero:
		threshold = 0
	case TopN:
		n = r.N
	case Argmax:
		threshold, n = float32(math.Inf(-1)), 1
	}
	best, rank := int32(-1), 0
	start := len(dst)
	for _, c := range cands {
		if !c.valid() {
			continue
		}
		if rank == 0 {
			best = c.Label
		}
		if rank == n {
			break
		}
		rank++
		if r.Kind == PerLabel {
			threshold = r.Thresholds[c.Label]
		}
		if c.Score > threshold {
			dst = append(dst, c.Label)
		}
	}
	if len(dst) == start && r.MinLabels > 0 && rank > 0 {
		dst = append(dst, best)
	}
	return dst
}

// String says in words what the rule decides.
func (r Rule) String() string {
	var s string
	switch r.Kind {
	case Zero:
		s = "s > 0"
	case Global:
		s = fmt.Sprintf("s > %.4g", r.Threshold)
	case PerLabel:
		s = "s > the label's threshold"
	case TopN:
		s = fmt.Sprintf("the %d best with s > %.4g", r.N, r.Threshold)
	case Argmax:
		return "the best label"
	default:
		return fmt.Sprintf("rule %q", r.Kind)
	}
	if r.MinLabels > 0 {
		s += ", at least the best"
	}
	return s
}
