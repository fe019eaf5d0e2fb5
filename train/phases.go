package train

import (
	"context"
	"errors"
	"fmt"
	"math"

	"gputrain/classifier"
	"gputrain/data"
	"gputrain/decide"
	"gputrain/loss"
	"gputrain/model"
	"gputrain/sparse"
)

// train carries out the recipe: one run for each step size to choose from, a run by the chosen one if those saw a sample only, and
// the final one on all rows. It leaves the classifier with its weights and its rule.
func (r *runner) train(ctx context.Context) error {
	base := phase{epochs: r.recipe.epochs, stop: r.recipe.epochs, rows: r.kept, valid: r.valid, choice: r.recipe.choices[0], seed: r.opt.Seed}
	r.chosen = outcome{choice: base.choice, Epoch: base.epochs, Rule: naturalRule(r.recipe.config.Loss, r.opt.MinLabels)}
	if r.valid != nil {
		if err := r.validationRuns(ctx, base); err != nil {
			return err
		}
	}
	r.cls.Rule = r.chosen.Rule
	if r.valid != nil && (!r.split || r.opt.NoRefit || r.late()) {
		return r.useBest()
	}
	refit := base
	refit.name, refit.rows, refit.valid, refit.choice, refit.stop = "training on all rows", r.all, nil, r.chosen.choice, r.chosen.Epoch
	o, err := r.phase(ctx, refit)
	if err != nil {
		return err
	}
	if o.Late && r.best != nil {
		r.note("warning", "the time was up before the training on all rows was done: the model is that of the validation run")
		return r.useBest()
	}
	r.chosen.Epoch = o.Epoch // fewer than chosen where the time was up
	return nil
}

// validationRuns chooses the step size, the number of epochs and the decision rule on the validation rows.
func (r *runner) validationRuns(ctx context.Context, base phase) error {
	choices := r.recipe.choices
	trial := base
	trial.name = "validation run"
	sampled := len(choices) > 1 && len(base.rows) > maxTrialRows
	if sampled {
		trial.name = fmt.Sprintf("trial on %d rows", maxTrialRows)
		_, at := data.Split(len(base.rows), float64(maxTrialRows)/float64(len(base.rows)), r.opt.Seed+1)
		trial.rows = make([]int, len(at))
		for i, p := range at {
			trial.rows[i] = base.rows[p]
		}
	}
	var tried string
	for i, c := range choices {
		p := trial
		p.choice = c
		if len(choices) > 1 {
			p.name += fmt.Sprintf(", step size %.3g", c.LR)
		}
		o, err := r.phase(ctx, p)
		if err != nil {
			return err
		}
		if o.Diverged && len(choices) == 1 {
			return r.diverged
		}
		tried += fmt.Sprintf(", %.3g: %.4f", c.LR, o.Value)
		if i == 0 || o.Value > r.chosen.Value || r.chosen.Diverged {
			r.chosen = o
			r.best = r.weights
		}
		if r.late() {
			break
		}
	}
	if r.chosen.Diverged {
		return r.diverged
	}
	if len(choices) > 1 {
		r.note("step size", "%.3g, by %s on the validation rows (%s)", r.chosen.LR, r.opt.Metric, tried[2:])
	}
	if !sampled || r.late() {
		return nil
	}
	full := base
	full.name, full.choice = "validation run", r.chosen.choice
	o, err := r.phase(ctx, full)
	if err == nil && o.Diverged {
		err = r.diverged
	}
	r.chosen, r.best = o, r.weights
	return err
}

// naturalRule is the rule of a loss where nothing can be tuned.
func naturalRule(spec loss.Spec, minLabels int) decide.Rule {
	if spec.NaturalDecision() == loss.ArgMax {
		return decide.Rule{Kind: decide.Argmax}
	}
	return decide.Rule{Kind: decide.Zero, MinLabels: minLabels}
}

// phase trains one phase, or returns its outcome where a checkpoint says that it is done. The classifier then has the weights of
// its last epoch, and r.weights those of its best, where they may become the result.
func (r *runner) phase(ctx context.Context, p phase) (outcome, error) {
	index := r.next
	r.next++
	if index < len(r.state.Done) {
		o := r.state.Done[index]
		if o.Diverged {
			r.diverged = &DivergedError{Phase: p.name, Loss: math.NaN(), LR: o.LR}
		}
		r.weights = r.best // the checkpoint has the weights of the chosen phase only
		return o, nil
	}
	r.closeModel()
	at := &position{}
	var err error
	if r.cls.Model, err = r.start(p, at); err != nil {
		return outcome{}, err
	}
	keep := p.valid != nil && (!r.split || r.opt.NoRefit || r.opt.MaxTime > 0)
	if err := r.fit(ctx, p, at, keep); err != nil {
		if !errors.As(err, &r.diverged) || p.valid == nil {
			return outcome{}, err
		}
		r.note("warning", "%v", err)
		at.Best = outcome{choice: p.choice, Diverged: true}
	}
	if at.Best.Late {
		r.note("warning", "%s: the time was up in epoch %d of %d", p.name, at.Best.Epochs, p.stop)
	}
	r.weights = at.weights
	r.state.Done = append(r.state.Done, at.Best)
	return at.Best, nil
}

// start builds the model of a phase: new, or as a checkpoint has it.
func (r *runner) start(p phase, at *position) (*model.Model, error) {
	patterns := make([]*sparse.CSR, len(r.recipe.config.Parts))
	for i, part := range r.recipe.config.Parts {
		if part.Kind == model.Table {
			patterns[i] = model.Pattern(r.enc.X.Select(p.rows), r.y.Select(p.rows))
		}
	}
	if r.resumed != nil {
		return r.restore(r.config(p.choice), patterns, at)
	}
	m, err := model.New(r.dev, r.config(p.choice), patterns, r.bias(p))
	if err == nil && r.next == 1 {
		weights, work := m.Bytes()
		r.note("memory", "%.1f MB of weights and optimiser state, %.1f MB to work in", float64(weights)/1e6, float64(work)/1e6)
	}
	return m, err
}

// config returns the model's configuration with the loss of a choice.
func (r *runner) config(c choice) model.Config {
	cfg := r.recipe.config
	cfg.Loss = c.Loss
	return cfg
}

// bias returns what each label's bias starts from, nil for zeros.
func (r *runner) bias(p phase) []float32 {
	switch {
	case r.recipe.hinge:
		bias := make([]float32, len(r.cls.Labels))
		for k := range bias {
			bias[k] = float32(-p.Loss.MarginNeg)
		}
		return bias
	case r.recipe.priorBias:
		return model.LogPrior(p.Loss, r.y.Select(p.rows).ColCounts(), len(p.rows))
	}
	return nil
}

// useBest gives the classifier the best weights seen on the validation rows.
func (r *runner) useBest() error {
	if r.best == nil {
		return errors.New("train: no epoch was completed in time")
	}
	r.closeModel()
	var err error
	r.cls.Model, err = classifier.ModelFrom(r.dev, r.config(r.chosen.choice), nil, classifier.LookupAmong(r.best), 0)
	return err
}

// closeModel makes room for another model.
func (r *runner) closeModel() {
	if r.cls.Model != nil {
		r.cls.Model.Close()
		r.cls.Model = nil
	}
}
