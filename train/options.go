// Package train finds a recipe for the user's data, trains by it, and leaves a classifier.
package train

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"gputrain/metrics"
)

// Options is what the user asks for. Zero values (of Dropout and MinLabels: negative ones) let the program choose; what it chooses, it says.
type Options struct {
	Encoder  string `json:"encoder,omitempty"`  // auto, linear, embed, dense
	Analyzer string `json:"analyzer,omitempty"` // auto, word, word+char, char, char_wb
	MinDF    int    `json:"min_df,omitempty"`   // rows that must hold an n-gram
	HashBits int    `json:"hash_bits,omitempty"`

	Loss      string             `json:"loss,omitempty"`        // auto, or a loss' name
	LossParam map[string]float64 `json:"loss_params,omitempty"` // fields of loss.Spec by their JSON names
	LR        float64            `json:"lr,omitempty"`
	Epochs    int                `json:"epochs,omitempty"`
	BatchSize int                `json:"batch_size,omitempty"`
	Optimizer string             `json:"optimizer,omitempty"`
	Hidden    []int              `json:"hidden,omitempty"`
	Dropout   float64            `json:"dropout"`
	Warmup    float64            `json:"warmup,omitempty"` // share of the steps

	ValidShare float64 `json:"valid_share,omitempty"` // of the training rows, where no validation rows are given
	Metric     string  `json:"metric,omitempty"`      // for early stopping and every other choice made on validation rows
	Patience   int     `json:"patience,omitempty"`    // epochs without a better value after which training stops; negative: it never does
	NoRefit    bool    `json:"no_refit,omitempty"`    // keep the model that was trained without the validation rows
	MinLabels  int     `json:"min_labels"`            // 1: at least the top label is decided
	Seed       uint64  `json:"seed"`

	CheckpointEvery int           `json:"-"` // epochs; 0: only when interrupted
	Keep            int           `json:"-"` // checkpoints to keep
	Resume          bool          `json:"-"`
	MaxTime         time.Duration `json:"-"`
	Threads         int           `json:"-"`
}

// OptionError says which options do not go together or do not fit the data. Nothing was trained.
type OptionError struct{ Problem string }

func (e *OptionError) Error() string { return e.Problem }

func optionError(format string, args ...any) error { return &OptionError{fmt.Sprintf(format, args...)} }

// check refuses what no later step would.
func (o Options) check() error {
	e, err := metrics.New(metrics.Options{TrainCounts: []int64{}})
	if err != nil {
		return err
	}
	if _, err := e.Result().Value(o.Metric); err != nil {
		return err
	}
	if !slices.Contains(Encoders, cmp.Or(o.Encoder, EncoderAuto)) {
		return optionError("unknown encoder %q, want one of %q", o.Encoder, Encoders)
	}
	if _, err := lossFor(o); err != nil {
		return optionError("%v", err)
	}
	if o.Encoder == EncoderLinear && o.Dropout > 0 {
		return optionError("a linear encoder has no hidden units to drop: leave out the dropout of %v", o.Dropout)
	}
	if !(o.ValidShare > 0 && o.ValidShare < 1) {
		return optionError("share of validation rows %v, want a number between 0 and 1", o.ValidShare)
	}
	if !(o.LR >= 0 && o.LR <= math.MaxFloat32 && o.Warmup >= 0 && o.Warmup <= 1) {
		return optionError("step size %v, warm-up %v: want a positive number, and a share of the steps", o.LR, o.Warmup)
	}
	return nil
}

// Event is something to tell while training goes on. Exactly one of the pointers is set.
type Event struct {
	Note     *Note     `json:"note,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	Epoch    *Epoch    `json:"epoch,omitempty"`
}

// Note is a choice that was made, and why, or a warning.
type Note struct {
	Topic string `json:"topic"` // features, encoder, loss, step size, decision, memory, checkpoint, warning
	Text  string `json:"text"`
}

// Progress says how far the current phase is.
type Progress struct {
	Phase string  `json:"phase"` // "validation run, step size 2", "training on all rows"
	Done  int64   `json:"done"`  // rows seen, over all epochs of the phase
	Total int64   `json:"total"`
	Rate  float64 `json:"rows_per_second"`
}

// Epoch is the line at the end of an epoch. Metrics are of the validation rows under the rule that is best there now; empty without
// validation rows.
type Epoch struct {
	Phase   string         `json:"phase"`
	Epoch   int            `json:"epoch"` // from 1
	Epochs  int            `json:"epochs"`
	Loss    float64        `json:"loss"` // mean of a training row
	Metrics metrics.Result `json:"metrics,omitempty"`
	Rate    float64        `json:"rows_per_second"`
	Seconds float64        `json:"seconds"` // of the epoch
	ETA     float64        `json:"eta_seconds"`
	Best    bool           `json:"best"`
}
