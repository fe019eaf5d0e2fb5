package train

import (
	"context"
	"fmt"
	"math"
	"time"

	"gputrain/classifier"
	"gputrain/data"
	"gputrain/decide"
	"gputrain/loss"
	"gputrain/metrics"
	"gputrain/model"
	"gputrain/optim"
	"gputrain/sparse"
)

// DivergedError reports a loss that is no longer a finite number.
type DivergedError struct {
	Phase string
	Step  int64
	Loss  float64
	LR    float64
}

func (e *DivergedError) Error() string {
	return fmt.Sprintf("training diverged: %s, step %d: the loss is %v at step size %g; try a smaller --lr", e.Phase, e.Step, e.Loss, e.LR)
}

// phase is one training run of a recipe: on some rows, with one step size, with or without validation.
type phase struct {
	name string
	choice
	epochs int // where the schedule ends
	stop   int // after this many epochs, at most epochs
	rows   []int
	valid  *validation // nil: none
	seed   uint64
}

// validation is the rows by which choices are made.
type validation struct {
	enc   classifier.Encoded
	rows  []int // of enc; nil means all
	truth *sparse.CSR
}

// outcome is what a phase found. It is stored in checkpoints.
type outcome struct {
	choice
	Epochs   int            `json:"epochs"`  // trained, the last one perhaps in part
	Epoch    int            `json:"epoch"`   // the best, from 1; the last where there is no validation
	Value    float64        `json:"value"`   // of the metric, there, and likewise the next three
	Metrics  metrics.Result `json:"metrics"` // under the rule
	Rule     decide.Rule    `json:"rule"`
	Report   decide.Report  `json:"report"`
	Diverged bool           `json:"diverged,omitempty"`
	Late     bool           `json:"late,omitempty"` // the time was up before the last epoch was complete
}

// fitter carries what all phases of a run share.
type fitter struct {
	opt    Options
	recipe recipe
	enc    classifier.Encoded
	y      *sparse.CSR
	cls    *classifier.Classifier // with the model of the current phase
	emit   func(Event)
	save   func(position) error // writes a checkpoint
	late   func() bool          // the time is up
	every  int
}

// position is how far a phase is: what a checkpoint holds beside the weights.
type position struct {
	Epoch    int            `json:"epoch"`    // complete ones
	Batch    int            `json:"batch"`    // complete ones of the next epoch
	LossSum  float64        `json:"loss_sum"` // of the rows of those
	LossRows int            `json:"loss_rows"`
	Best     outcome        `json:"best"` // the latest epoch whose value is as good as the top, up to noise
	Top      float64        `json:"top"`  // the highest value
	weights  []model.Tensor // at the best epoch, where they are needed
}

// fit trains one phase from a position on. Then the classifier has the weights of the last epoch, and the position the outcome,
// with the weights of the best epoch where keep asks for them. Interruption writes a checkpoint and returns the context's cause.
func (f *fitter) fit(ctx context.Context, p phase, at *position, keep bool) error {
	size := f.recipe.config.BatchSize
	batches, err := data.NewBatches(f.enc.X, f.enc.V, f.y, p.rows, size)
	if err != nil {
		return err
	}
	perEpoch := int64(batches.Len())
	schedule := optim.Schedule{
		LR: p.LR, Total: perEpoch * int64(p.epochs), Decay: optim.Linear,
		Warmup: int64(f.recipe.warmup * float64(perEpoch) * float64(p.epochs)),
	}
	if err := schedule.Validate(); err != nil {
		return err
	}
	total, began, begunAt := int64(len(p.rows))*int64(p.stop), time.Now(), int64(at.Epoch)*int64(len(p.rows))+int64(at.Batch*size)
	lastTick := began
	m := f.cls.Model
	for at.Epoch < p.stop {
		epochBegan, first := time.Now(), at.Batch
		for b := range batches.Epoch(ctx, p.seed, at.Epoch, at.Batch) {
			step := int64(at.Epoch)*perEpoch + int64(at.Batch) + 1
			if err := m.Step(classifier.ModelBatch(b), schedule.At(step).LR, p.LR); err != nil {
				return err
			}
			at.Batch++
			if now := time.Now(); now.Sub(lastTick) > 200*time.Millisecond {
				lastTick = now
				if err := f.addLoss(p, at); err != nil {
					return err
				}
				done := int64(at.Epoch)*int64(len(p.rows)) + min(int64(at.Batch*size), int64(len(p.rows)))
				f.emit(Event{Progress: &Progress{Phase: p.name, Done: done, Total: total, Rate: rate(done-begunAt, now.Sub(began))}})
				if f.late() {
					break
				}
			}
		}
		if err := f.addLoss(p, at); err != nil {
			return err
		}
		line := Epoch{Phase: p.name, Epoch: at.Epoch + 1, Epochs: p.stop, Seconds: time.Since(epochBegan).Seconds()}
		if at.LossRows > 0 {
			line.Loss = at.LossSum / float64(at.LossRows)
		}
		line.Rate = rate(int64(min((at.Batch-first)*size, len(p.rows))), time.Since(epochBegan))
		var now outcome
		if p.valid != nil && ctx.Err() == nil {
			if now, err = f.validate(ctx, p); err != nil && ctx.Err() == nil {
				return err
			}
		}
		if ctx.Err() != nil { // an interrupted validation starts again when the run is resumed
			if err := f.save(*at); err != nil {
				return err
			}
			return context.Cause(ctx)
		}
		complete := at.Batch == batches.Len()
		at.Epoch, at.Batch, at.LossSum, at.LossRows = at.Epoch+1, 0, 0, 0
		if p.valid == nil {
			at.Best = outcome{choice: p.choice, Epoch: at.Epoch}
		} else {
			line.Metrics = now.Metrics
			now.Epoch = at.Epoch
			if r := f.noise(now, p.valid); at.Best.Epoch == 0 || now.Value > at.Top-r {
				line.Best = true
				at.Best = now
				at.Top = max(at.Top, now.Value)
				if keep {
					if at.weights, err = m.Weights(); err != nil {
						return err
					}
				}
			}
		}
		at.Best.Epochs = at.Epoch
		done := int64(at.Epoch) * int64(len(p.rows))
		if r := rate(done-begunAt, time.Since(began)); r > 0 {
			line.ETA = float64(total-done) / r
		}
		f.emit(Event{Epoch: &line})
		if f.late() {
			at.Best.Late = !complete || at.Epoch < p.stop
			break
		}
		if f.recipe.patience > 0 && p.valid != nil && at.Epoch-at.Best.Epoch >= f.recipe.patience {
			break
		}
		if f.every > 0 && at.Epoch%f.every == 0 && at.Epoch < p.stop {
			if err := f.save(*at); err != nil {
				return err
			}
		}
	}
	return nil
}

// noise is the difference of two values of the metric that says nothing.
func (f *fitter) noise(o outcome, v *validation) float64 {
	return 0.5 * math.Sqrt(o.Value*(1-o.Value)/float64(v.truth.Rows()))
}

func rate(rows int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(rows) / d.Seconds()
}

// addLoss takes the loss of the steps since the last call from the device, and refuses one that is not finite.
func (f *fitter) addLoss(p phase, at *position) error {
	sum, rows, err := f.cls.Model.Loss()
	if err != nil {
		return err
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return &DivergedError{Phase: p.name, Step: f.cls.Model.Steps(), Loss: sum / float64(rows), LR: p.LR}
	}
	at.LossSum += sum
	at.LossRows += rows
	return nil
}

// validate scores the validation rows, tunes the decision rule on them, and returns the metrics under that rule.
func (f *fitter) validate(ctx context.Context, p phase) (outcome, error) {
	o := outcome{choice: p.choice}
	v := decide.Validation{Truth: p.valid.truth, Labels: len(f.cls.Labels)}
	err := f.cls.RankEncoded(ctx, p.valid.enc, p.valid.rows, decide.Depth, func(_ int, cands []decide.Candidate) error {
		v.Rows = append(v.Rows, append([]decide.Candidate(nil), cands...))
		return nil
	})
	if err != nil {
		return o, err
	}
	if p.Loss.NaturalDecision() == loss.ArgMax {
		// Such scores only rank: 0 says nothing.
		o.Rule, _, err = decide.Tune(v, decide.TopN, "micro_f1", f.opt.MinLabels)
	} else {
		o.Rule, o.Report, err = decide.Choose(v, f.opt.MinLabels)
	}
	if err != nil {
		return o, err
	}
	opt := metrics.Options{Labels: len(f.cls.Labels), TrainCounts: f.cls.LabelCounts, TrainRows: f.cls.Info.TrainRows}
	if o.Metrics, err = v.Evaluate(opt, decide.Always(o.Rule)); err != nil {
		return o, err
	}
	o.Value, err = o.Metrics.Value(f.opt.Metric)
	return o, err
}
