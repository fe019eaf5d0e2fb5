// Package model holds the classifiers: parts that turn a row's features into logits, which add, under one loss over all
// labels. It computes nothing itself; every operation is the backend's.
package model

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gputrain/backend"
	"gputrain/loss"
	"gputrain/optim"
)

// Kind says how a part computes logits.
type Kind string

// The kinds of parts.
const (
	// Table is the linear model on sparse features with static sparse weights, for hinge losses: with a bias that starts at −m_n,
	// a label without a stored weight in the row is satisfied, so the pairs that never occur together need no weights. Plain SGD.
	Table Kind = "table"
	// Linear is the linear model on sparse features with a dense F×L matrix.
	Linear Kind = "linear"
	// Embed is a weighted embedding bag, then an activation and dropout, further hidden layers, and a dense head.
	Embed Kind = "embed"
	// Dense is given vectors, optional hidden layers, and a dense head.
	Dense Kind = "dense"
)

// Part describes one part of a model.
type Part struct {
	Kind       Kind               `json:"kind"`
	Inputs     int                `json:"inputs"` // F features, or D dimensions of the vectors
	Hidden     []int              `json:"hidden,omitempty"`
	Activation backend.Activation `json:"activation,omitempty"`
	Dropout    float64            `json:"dropout,omitempty"`
	Rule       optim.Rule         `json:"optimizer"`
	LRScale    float64            `json:"lr_scale"` // step size of this part, relative to the schedule's
	InitScale  float64            `json:"init_scale,omitempty"`
}

// Sparse says whether the part reads sparse features; otherwise it reads vectors.
func (p Part) Sparse() bool { return p.Kind != Dense }

// Config is all that it takes to build a model, up to its weights.
type Config struct {
	Labels    int        `json:"labels"`
	Loss      loss.Spec  `json:"loss"`
	Parts     []Part     `json:"parts"`
	BatchSize int        `json:"batch_size"`
	BiasRule  optim.Rule `json:"bias_optimizer,omitzero"` // no kind: the bias stays as it starts
	BiasLR    float64    `json:"bias_lr,omitempty"`       // step size of the bias, times the schedule's share of its peak
	Chunk     int        `json:"label_chunk,omitempty"`   // labels computed at a time; 0: all, unless that takes over maxLogitBytes
	Seed      uint64     `json:"seed"`
}

// maxLogitBytes bounds the batch×labels logits that are held at a time.
const maxLogitBytes = 256 << 20

// maxSize bounds each dimension: ids are int32, and the product of two dimensions does not overflow.
const maxSize = math.MaxInt32

// Validate returns an error that names what no model can be built from.
func (c *Config) Validate() error {
	if c.Labels < 1 {
		return errors.New("model: no labels")
	}
	if c.BatchSize < 1 {
		return fmt.Errorf("model: batch size %d, want at least 1", c.BatchSize)
	}
	if max(c.Labels, c.BatchSize) > maxSize {
		return fmt.Errorf("model: %d labels, batch size %d: want at most %d", c.Labels, c.BatchSize, maxSize)
	}
	if len(c.Parts) == 0 {
		return errors.New("model: no parts")
	}
	if err := c.Loss.Validate(); err != nil {
		return err
	}
	if c.BiasRule.Kind != "" {
		if err := c.checkRule(c.BiasRule, true); err != nil {
			return fmt.Errorf("model: bias: %w", err)
		}
	}
	vectorDim := 0
	for i, p := range c.Parts {
		if err := c.checkRule(p.Rule, p.Kind == Linear); err != nil {
			return fmt.Errorf("model: part %d: %w", i, err)
		}
		switch p.Kind {
		case Table:
			if !plainSGD(p.Rule) {
				return fmt.Errorf("model: part %d: sparse weights are trained by plain sgd, not by %+v", i, p.Rule)
			}
			if !c.Loss.SparseGrad() {
				return fmt.Errorf("model: part %d: sparse weights need a hinge loss, not %s: its gradient reaches every label", i, c.Loss.Kind)
			}
			fallthrough
		case Linear:
			if len(p.Hidden) > 0 {
				return fmt.Errorf("model: part %d: a %s part has no hidden layers", i, p.Kind)
			}
		case Embed:
			if len(p.Hidden) == 0 {
				return fmt.Errorf("model: part %d: an embed part needs the embedding's width in hidden", i)
			}
		case Dense:
			if vectorDim != 0 && vectorDim != p.Inputs {
				return fmt.Errorf("model: part %d reads vectors of %d dimensions, another part %d", i, p.Inputs, vectorDim)
			}
			vectorDim = p.Inputs
		default:
			return fmt.Errorf("model: part %d: unknown kind %q", i, p.Kind)
		}
		if p.Inputs < 1 || p.Inputs > maxSize {
			return fmt.Errorf("model: part %d: %d inputs, want 1 to %d", i, p.Inputs, maxSize)
		}
		if !(p.Dropout >= 0 && p.Dropout < 1) {
			return fmt.Errorf("model: part %d: dropout %v, want 0 ≤ p < 1", i, p.Dropout)
		}
		if known := []backend.Activation{backend.Identity, backend.ReLU, backend.Tanh}; len(p.Hidden) > 0 && !slices.Contains(known, p.Activation) {
			return fmt.Errorf("model: part %d: unknown activation %q, want one of %q", i, p.Activation, known)
		}
		for _, w := range p.Hidden {
			if w < 1 || w > maxSize {
				return fmt.Errorf("model: part %d: hidden layer of width %d, want 1 to %d", i, w, maxSize)
			}
		}
	}
	return nil
}

// checkRule checks an optimiser; chunked says that its weights are stepped chunk by chunk of their columns, the labels.
func (c *Config) checkRule(r optim.Rule, chunked bool) error {
	if chunked && r.Kind == optim.RowAdagrad && len(c.chunks()) > 1 {
		return fmt.Errorf("%s needs the gradient of a whole row at once, and %d labels are computed in %d chunks", r.Kind, c.Labels, len(c.chunks()))
	}
	return r.Validate()
}

// chunks returns the label ranges that are computed at a time.
func (c *Config) chunks() [][2]int {
	size := c.Chunk
	if size <= 0 {
		size = max(1, maxLogitBytes/4/c.BatchSize)
	}
	n := (c.Labels + size - 1) / size
	out := make([][2]int, n)
	for i := range out {
		out[i] = [2]int{c.Labels * i / n, c.Labels * (i + 1) / n}
	}
	return out
}
