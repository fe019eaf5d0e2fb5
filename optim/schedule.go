package optim

import (
	"fmt"
	"math"
)

// Decay names how the step size falls after the warm-up.
type Decay string

// The decays.
const (
	Constant Decay = "constant"
	Linear   Decay = "linear"
	Cosine   Decay = "cosine" // Loshchilov & Hutter 2017, without restarts
)

// Schedule gives each step its size: it rises linearly to LR over the first Warmup steps, then falls to Floor·LR at step Total,
// and stays there.
type Schedule struct {
	LR     float64 `json:"lr"`
	Warmup int64   `json:"warmup,omitempty"` // steps
	Total  int64   `json:"total,omitempty"`  // steps; not used by Constant
	Decay  Decay   `json:"decay"`
	Floor  float64 `json:"floor,omitempty"` // a share of LR
}

// Validate returns an error that names the first field out of its range.
func (s Schedule) Validate() error {
	switch {
	case !(s.LR > 0) || math.IsInf(s.LR, 1):
		return fmt.Errorf("schedule: step size %v, but it must be positive and finite", s.LR)
	case s.Decay != Constant && s.Decay != Linear && s.Decay != Cosine:
		return fmt.Errorf("schedule: unknown decay %q; known are %s, %s, %s", s.Decay, Constant, Linear, Cosine)
	case s.Warmup < 0:
		return fmt.Errorf("schedule: %d warm-up steps", s.Warmup)
	case s.Decay != Constant && s.Total < s.Warmup:
		return fmt.Errorf("schedule: %d steps in total are fewer than %d of warm-up", s.Total, s.Warmup)
	case !(s.Floor >= 0 && s.Floor <= 1):
		return fmt.Errorf("schedule: floor %v, but it must be in [0, 1]", s.Floor)
	}
	return nil
}

// At returns the moment of a step, counted from 1.
func (s Schedule) At(step int64) At {
	at := At{Step: step, LR: s.LR}
	if step <= s.Warmup {
		at.LR *= float64(step) / float64(s.Warmup)
		return at
	}
	left := 1.0 // the share of the way down that is left
	if s.Decay != Constant {
		done := min(float64(step-s.Warmup)/float64(max(s.Total-s.Warmup, 1)), 1)
		left = 1 - done
		if s.Decay == Cosine {
			left = (1 + math.Cos(math.Pi*done)) / 2
		}
	}
	at.LR *= s.Floor + (1-s.Floor)*left
	return at
}
