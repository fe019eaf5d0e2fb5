// Package loss defines the losses: for each its parameters, its formula, its source, and a float64 oracle written like the
// formula. Backends compute the same losses for batches; the oracle decides who is right.
//
// One skeleton serves them all. For a row with logits s, positives P and negatives N (all other labels),
//
//	S_n = Σ_{i∈N} φ_n(s_i)    S_p = Σ_{j∈P} φ_p(s_j)    L = Φ(S_n, S_p)    ∂L/∂s_i = ∂Φ/∂S_n · φ_n'(s_i) for negatives
//
// and likewise for positives. The sums only add, over tiles, label chunks and devices: see [Side].
//
// A stored target t in [0, 1] is soft: the label counts as a positive with weight t and as a negative with weight 1−t. A
// negative t masks the label: it takes no part. (Softmax alone uses t as a share: its target distribution is t/Σt.)
//
// # Formulas
//
// With x_i = γ(s_i + m) on negatives, x_j = γ(m − s_j) on positives (scale γ = 1, margin m = 0 unless said otherwise):
//
//   - unified: log1p(Σ_N e^x) + log1p(Σ_P e^x). ∂L/∂s_i = γ e^{x_i}/(1+S_n) for negatives, −γ e^{x_j}/(1+S_p) for positives.
//     Su, "Generalising softmax + cross-entropy to multi-label classification" (kexue.fm/archives/7359, 2020); as ZLPR: Su,
//     Zhu, Liu, Chen, "ZLPR: A novel loss for multi-label classification" (arXiv:2208.02955, 2022), which also gives the soft
//     targets. Scale and margin: Sun et al., "Circle loss" (CVPR 2020). The write-up that this project implements prints a
//     product Π in its formula (1) where the sum Σ is meant: the sum is what follows from the write-up's own derivation,
//     which keeps the first-order term of Π(1+e^x), and it is what Su's article has.
//   - unified-softmax: log1p(S_n·S_p), the same without the threshold class; ∂L/∂s_i = γ σ(log S_n S_p)·e^{x_i}/S_n for
//     negatives, likewise with the other sign for positives. For one positive it is softmax cross-entropy. A row without
//     positives, or without negatives, has loss 0. Su 2020, as above.
//   - unified-m2, unified-m3: log(1 + e_1 + … + e_m) on each side, e_k the elementary symmetric polynomials of the e^x of the
//     side. m = 1 is unified; m = all is log Π(1+e^x) = bce. ∂/∂x_i = e^{x_i}·(1 + e_1 + … + e_{m−1})/(1 + e_1 + … + e_m), the
//     polynomials above the line without i. This project's experiment on the write-up's claim about the higher-order terms.
//   - bce: Σ_N log1p(e^s) + w Σ_P log1p(e^−s); gradients σ(s) and −w σ(−s).
//   - focal: Σ_N (1−α) p^γ log1p(e^s) + Σ_P α (1−p)^γ log1p(e^−s), p = σ(s). Lin et al., "Focal loss for dense object
//     detection" (ICCV 2017).
//   - asl: −Σ_N q^{γ−} log(1−q) − Σ_P (1−p)^{γ+} log p, q = max(p − clip, 0). Ben-Baruch et al., "Asymmetric loss for
//     multi-label classification" (ICCV 2021). The gradient is that of the formula; the authors' code by default treats the
//     focusing factors as constants.
//   - squared-hinge: Σ_N [s + m_n]₊² + Σ_P [m_p − s]₊²; gradients 2[s + m_n]₊ and −2[m_p − s]₊. The loss of L2-SVMs and DiSMEC.
//   - unified-hinge: Ψ(Σ_N [s + m_n]₊²) + Ψ(Σ_P [m_p − s]₊²), Ψ(S) = c(√(1 + 2S/c) − 1); gradients ±2[·]₊/√(1 + 2S/c). This
//     project's own: convex, row-coupled, sparse gradients, no exponential; squared hinge as c grows.
//   - softmax: log Σ_i e^{s_i} − Σ_P q_j s_j with q_j = t_j/Σt, that is 1/|P| for hard targets; gradient softmax(s) − q. A row
//     without positives has loss 0.
package loss

import (
	"fmt"
	"math"
	"strings"
)

// Kind names a loss function.
type Kind string

// The losses. The package comment has each formula, gradient and source.
const (
	Unified        Kind = "unified"         // log1p(Σ_N e^s) + log1p(Σ_P e^−s): Su 2020; ZLPR, Su et al. 2022
	UnifiedSoftmax Kind = "unified-softmax" // log1p(Σ_N Σ_P e^(s_n − s_p)): Su 2020; softmax cross-entropy for one positive
	UnifiedM2      Kind = "unified-m2"      // log(1 + e1 + e2) on each side
	UnifiedM3      Kind = "unified-m3"      // log(1 + e1 + e2 + e3) on each side
	BCE            Kind = "bce"             // Σ_N log1p(e^s) + w Σ_P log1p(e^−s)
	Focal          Kind = "focal"           // Lin et al. 2017
	ASL            Kind = "asl"             // Ben-Baruch et al. 2021
	SquaredHinge   Kind = "squared-hinge"   // Σ_N [s+m_n]₊² + Σ_P [m_p−s]₊²
	UnifiedHinge   Kind = "unified-hinge"   // Ψ(Σ_N [s+m_n]₊²) + Ψ(Σ_P [m_p−s]₊²), Ψ(S) = c(√(1+2S/c) − 1)
	Softmax        Kind = "softmax"         // cross-entropy against the targets split evenly over P
)

var kinds = []Kind{Unified, UnifiedSoftmax, UnifiedM2, UnifiedM3, BCE, Focal, ASL, SquaredHinge, UnifiedHinge, Softmax}

// Spec is one loss with its parameters. Parameters that a kind does not use are ignored by it.
type Spec struct {
	Kind Kind `json:"kind"`

	// Scale γ and Margin m replace s by γ(s+m) on negatives and γ(s−m) on positives, in the unified family
	// (Circle loss, Sun et al. 2020). Scale 0 means 1.
	Scale  float64 `json:"scale,omitempty"`
	Margin float64 `json:"margin,omitempty"`

	// MarginPos (m_p) and MarginNeg (m_n) are the hinge margins.
	MarginPos float64 `json:"margin_pos,omitempty"`
	MarginNeg float64 `json:"margin_neg,omitempty"`

	// C is the curvature c of unified-hinge; squared hinge as c grows.
	C float64 `json:"c,omitempty"`

	// PosWeight multiplies the positives' term of bce. 0 means 1.
	PosWeight float64 `json:"pos_weight,omitempty"`

	// GammaPos and GammaNeg are the focusing exponents of focal (both the same there) and asl; AlphaPos weighs the
	// positives of focal with α and the negatives with 1−α (0: no weighting); Clip is asl's probability shift.
	GammaPos float64 `json:"gamma_pos,omitempty"`
	GammaNeg float64 `json:"gamma_neg,omitempty"`
	AlphaPos float64 `json:"alpha_pos,omitempty"`
	Clip     float64 `json:"clip,omitempty"`
}

// Names returns the names of all losses.
func Names() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return names
}

// Default returns the spec of a kind with the parameters that its source or this project's measurements recommend: hinge
// margins 1.5 and 0.5 (with them s > 0 decides as well as a tuned threshold), c = 4 (for thousands of labels take 100 or
// more), focal γ = 2 and α = 0.25, asl γ− = 4, γ+ = 1, clip 0.05. An unknown kind gives a spec that Validate refuses.
func Default(kind Kind) Spec {
	s := Spec{Kind: kind}
	switch kind {
	case Focal:
		s.GammaPos, s.GammaNeg, s.AlphaPos = 2, 2, 0.25
	case ASL:
		s.GammaPos, s.GammaNeg, s.Clip = 1, 4, 0.05
	case SquaredHinge:
		s.MarginPos, s.MarginNeg = 1.5, 0.5
	case UnifiedHinge:
		s.MarginPos, s.MarginNeg, s.C = 1.5, 0.5, 4
	}
	return s
}

// Params returns the JSON names of the parameters that a kind uses.
func (k Kind) Params() []string {
	switch k {
	case Unified, UnifiedSoftmax, UnifiedM2, UnifiedM3:
		return []string{"scale", "margin"}
	case BCE:
		return []string{"pos_weight"}
	case Focal:
		return []string{"gamma_pos", "gamma_neg", "alpha_pos"}
	case ASL:
		return []string{"gamma_pos", "gamma_neg", "clip"}
	case SquaredHinge:
		return []string{"margin_pos", "margin_neg"}
	case UnifiedHinge:
		return []string{"margin_pos", "margin_neg", "c"}
	}
	return nil
}

// Parse returns the default spec of the loss with the given name. The error for an unknown name suggests the nearest one.
func Parse(name string) (Spec, error) {
	s := Default(Kind(name))
	return s, s.Validate()
}

// Validate returns an error that names the first parameter out of its range.
func (s Spec) Validate() error {
	known := false
	for _, k := range kinds {
		known = known || k == s.Kind
	}
	if !known {
		if near := nearest(string(s.Kind)); near != "" {
			return fmt.Errorf("loss: unknown loss %q: did you mean %q?", s.Kind, near)
		}
		return fmt.Errorf("loss: unknown loss %q: expected one of %s", s.Kind, strings.Join(Names(), ", "))
	}
	bad := func(field string, v float64, want string) error {
		return fmt.Errorf("loss: %s: %s is %g: expected %s", s.Kind, field, v, want)
	}
	for _, p := range []struct {
		field    string
		v        float64
		min, max float64
		want     string
	}{
		{"scale", s.Scale, 0, math.MaxFloat32, "a number above 0, or 0 for 1"},
		{"margin", s.Margin, -math.MaxFloat32, math.MaxFloat32, "a finite number"},
		{"margin_pos", s.MarginPos, -math.MaxFloat32, math.MaxFloat32, "a finite number"},
		{"margin_neg", s.MarginNeg, -math.MaxFloat32, math.MaxFloat32, "a finite number"},
		{"c", s.C, 0, math.MaxFloat32, "a number above 0"},
		{"pos_weight", s.PosWeight, 0, math.MaxFloat32, "a number above 0, or 0 for 1"},
		{"gamma_pos", s.GammaPos, 0, 100, "0 to 100"},
		{"gamma_neg", s.GammaNeg, 0, 100, "0 to 100"},
		{"alpha_pos", s.AlphaPos, 0, 1, "0 to 1"},
		{"clip", s.Clip, 0, 0.999, "0 to 0.999"},
	} {
		if !(p.v >= p.min && p.v <= p.max) { // NaN fails too
			return bad(p.field, p.v, p.want)
		}
	}
	if s.Kind == UnifiedHinge && s.C == 0 {
		return bad("c", s.C, "a number above 0")
	}
	if s.Kind == Focal && s.GammaPos != s.GammaNeg {
		return bad("gamma_pos", s.GammaPos, fmt.Sprintf("gamma_neg, which is %g (asl allows two)", s.GammaNeg))
	}
	return nil
}

// nearest returns the known name at the smallest edit distance, if that is small for the length of the name.
func nearest(name string) string {
	best, bestDist := "", len(name)/2+1
	for _, k := range kinds {
		if d := editDistance(strings.ToLower(name), string(k)); d < bestDist {
			best, bestDist = string(k), d
		}
	}
	return best
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			sub := diag
			if a[i] != b[j] {
				sub++
			}
			diag = row[j+1]
			row[j+1] = min(sub, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Gamma returns the scale γ of the unified family, with 0 read as 1.
func (s Spec) Gamma() float64 {
	if s.Scale == 0 {
		return 1
	}
	return s.Scale
}

// Separable says whether the loss is a sum over labels, so that a chunk of labels needs no other chunk's sums.
func (s Spec) Separable() bool {
	switch s.Kind {
	case BCE, Focal, ASL, SquaredHinge:
		return true
	}
	return false
}

// SparseGrad says whether most gradients are exactly zero once labels are learnt: only margin violators have one.
func (s Spec) SparseGrad() bool { return s.Kind == SquaredHinge || s.Kind == UnifiedHinge }

// Decision is a way to turn the scores of a row into a set of labels.
type Decision string

// The decisions that losses lead to without tuning.
const (
	AboveZero Decision = "zero"   // the labels with s > 0
	ArgMax    Decision = "argmax" // the label with the highest score
)

// NaturalDecision returns the decision that the loss trains for. (The softmax losses only rank: for sets, tune a threshold.)
func (s Spec) NaturalDecision() Decision {
	if s.Kind == Softmax || s.Kind == UnifiedSoftmax {
		return ArgMax
	}
	return AboveZero
}

// Prob turns one score into the probability of its label. For the unified losses it is σ(2γs), which is what soft targets
// lead to; for bce, focal and asl σ(s), which only plain bce calibrates. Hinge scores estimate on which side of the boundary
// a label is and not how likely: σ(2s) is monotone in the score and ½ at the boundary, but not calibrated. For the softmax
// losses one score says nothing: Prob returns NaN, use Probs.
func (s Spec) Prob(score float64) float64 {
	switch s.Kind {
	case Softmax, UnifiedSoftmax:
		return math.NaN()
	case BCE, Focal, ASL:
		return sigmoid(score)
	case SquaredHinge, UnifiedHinge:
		return sigmoid(2 * score)
	default:
		return sigmoid(2 * s.Gamma() * score)
	}
}

// Probs replaces the scores of a whole row, all labels, by probabilities: softmax over the row for the softmax losses, Prob
// of each score for the others.
func (s Spec) Probs(row []float64) {
	gamma := 1.0
	switch s.Kind {
	case UnifiedSoftmax:
		gamma = s.Gamma()
	case Softmax:
	default:
		for i, v := range row {
			row[i] = s.Prob(v)
		}
		return
	}
	for i := range row {
		row[i] *= gamma
	}
	lse := logSumExp(row)
	for i := range row {
		row[i] = math.Exp(row[i] - lse)
	}
}

// Neg returns a separable loss's term for a negative with logit x, and its derivative.
func (s Spec) Neg(x float64) (f, df float64) {
	switch s.Kind {
	case BCE:
		return softplus(x), sigmoid(x)
	case Focal:
		w := 1.0
		if s.AlphaPos != 0 {
			w = 1 - s.AlphaPos
		}
		f, df = focusing(x, s.GammaNeg)
		return w * f, w * df
	case ASL:
		if s.Clip == 0 {
			return focusing(x, s.GammaNeg)
		}
		p := sigmoid(x)
		q := p - s.Clip
		if q <= 0 {
			return 0, 0
		}
		// 1−q = (1−p) + clip keeps its digits where p is near 1.
		r := sigmoid(-x) + s.Clip
		l, w := -math.Log(r), math.Pow(q, s.GammaNeg)
		if r > 0.5 {
			l = -math.Log1p(-q)
		}
		return w * l, (s.GammaNeg*w/q*l + w/r) * p * sigmoid(-x)
	default: // squared hinge
		h := hinge(x + s.MarginNeg)
		return h * h, 2 * h
	}
}

// Pos returns a separable loss's term for a positive with logit x, and its derivative.
func (s Spec) Pos(x float64) (f, df float64) {
	switch s.Kind {
	case BCE:
		w := s.PosWeight
		if w == 0 {
			w = 1
		}
		return w * softplus(-x), -w * sigmoid(-x)
	case Focal:
		w := 1.0
		if s.AlphaPos != 0 {
			w = s.AlphaPos
		}
		f, df = focusing(-x, s.GammaPos)
		return w * f, -w * df
	case ASL:
		f, df = focusing(-x, s.GammaPos)
		return f, -df
	default: // squared hinge
		h := hinge(s.MarginPos - x)
		return h * h, -2 * h
	}
}

// focusing returns σ(x)^γ·log1p(e^x), the focal term of a wrong label with logit x, and its derivative
// σ(x)^γ·(γ σ(−x) log1p(e^x) + σ(x)).
func focusing(x, gamma float64) (f, df float64) {
	l, p := softplus(x), sigmoid(x)
	w := math.Exp(-gamma * softplus(-x)) // p^γ without underflow of p first
	return w * l, w * (gamma*sigmoid(-x)*l + p)
}

// hinge returns [x]₊; NaN stays NaN.
func hinge(x float64) float64 {
	if x <= 0 {
		return 0
	}
	return x
}

// softplus returns log1p(e^x) without overflow.
func softplus(x float64) float64 {
	if x > 0 {
		return x + math.Log1p(math.Exp(-x))
	}
	return math.Log1p(math.Exp(x))
}

func sigmoid(x float64) float64 {
	if x < 0 {
		e := math.Exp(x)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-x))
}

// logSumExp returns log Σ e^x; −Inf for no terms.
func logSumExp(x []float64) float64 {
	m := math.Inf(-1)
	for _, v := range x {
		if v > m || math.IsNaN(v) {
			m = v
		}
	}
	if math.IsInf(m, 0) || math.IsNaN(m) {
		return m
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(v - m)
	}
	return m + math.Log(sum)
}

// logAddExp returns log(e^a + e^b).
func logAddExp(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if math.IsInf(b, -1) {
		return a
	}
	return a + math.Log1p(math.Exp(b-a))
}
