// Package loss defines the losses: for each its parameters, its formula, its source, and a float64 oracle written like the
// formula. Backends compute the same losses for batches; the oracle decides who is right.
//
// One skeleton serves them all. For a row with logits s, positives P and negatives N (all other labels),
//
//	S_n = Σ_{i∈N} φ_n(s_i)    S_p = Σ_{j∈P} φ_p(s_j)    L = Φ(S_n, S_p)    ∂L/∂s_i = ∂Φ/∂S_n · φ_n'(s_i) for negatives
//
// and likewise for positives. The sums only add, over tiles, label chunks and devices.
package loss

// Kind names a loss function.
type Kind string

// The losses. Spec.Row documents each formula at the code that computes it.
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

// Default returns the spec of a kind with the parameters that its source or our measurements recommend.
// It reports an error for an unknown name, with the nearest known one.
//
// TODO(loss owner): Default, Names, Row (oracle), Separable, Sparse (hinge), Prob, Natural.
