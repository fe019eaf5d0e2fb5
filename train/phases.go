package train

import (
	"context"
	"errors"
	"fmt"

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
	base := phase{epochs: r.recipe.epochs, stop: r.recipe.epochs, rows: r.kept, valid: r.valid, lr: r.recipe.steps[0], seed: r.opt.Seed}
	r.chosen = outcome{LR: base.lr, Epoch: base.epochs, Rule: naturalRule(r.recipe.config.Loss, r.opt.MinLabels)}
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
	refit.name, refit.rows, refit.valid, refit.lr, refit.stop = "training on all rows", r.all, nil, r.chosen.LR, r.chosen.Epoch
	if _, err := r.phase(ctx, refit); err != nil {
		return err
	}
	if r.late() && r.best != nil {
		r.note("warning", "the time was up before the training on all rows was done: the model is that of the validation run")
		return r.useBest()
	}
	return nil
}

// validationRuns chooses the step size, the number of epochs and the decision rule on the validation rows.
func (r *runner) validationRuns(ctx context.Context, base phase) error {
	steps := r.recipe.steps
	trial := base
	trial.name = "validation run"
	sampled := len(steps) > 1 && len(base.rows) > maxTrialRows
	if sampled {
		trial.name = fmt.Sprintf("trial on %d rows", maxTrialRows)
		_, at := data.Split(len(base.rows), float64(maxTrialRows)/float64(len(base.rows)), r.opt.Seed+1)
		trial.rows = make([]int, len(at))
		for i, p := range at {
			trial.rows[i] = base.rows[p]
		}
	}
	var tried string
	for i, lr := range steps {
		p := trial
		p.lr = lr
		if len(steps) > 1 {
			p.name += fmt.Sprintf(", step size %g", lr)
		}
		o, err := r.phase(ctx, p)
		if err != nil {
			return err
		}
		if o.Diverged && len(steps) == 1 {
			return r.diverged
		}
		tried += fmt.Sprintf(", %g: %.4f", lr, o.Value)
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
	if len(steps) > 1 {
		r.note("step size", "%g, by %s on the validation rows (%s)", r.chosen.LR, r.opt.Metric, tried[2:])
	}
	if !sampled || r.late() {
		return nil
	}
	full := base
	full.name, full.lr = "validation run", r.chosen.LR
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
		return r.state.Done[index], nil
	}
	at := &position{}
	m, err := r.start(p, at)
	if err != nil {
		return outcome{}, err
	}
	if r.cls.Model != nil {
		r.cls.Model.Close()
	}
	r.cls.Model = m
	keep := p.valid != nil && (!r.split || r.opt.NoRefit || r.opt.MaxTime > 0)
	if err := r.fit(ctx, p, at, keep); err != nil {
		if !errors.As(err, &r.diverged) {
			return outcome{}, err
		}
		if p.valid == nil {
			return outcome{}, err
		}
		r.note("warning", "%v", err)
		at.Best = outcome{LR: p.lr, Diverged: true}
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
		return r.restore(patterns, at)
	}
	return model.New(r.dev, r.recipe.config, patterns, r.bias(p.rows))
}

// bias returns what each label's bias starts from, nil for zeros.
func (r *runner) bias(rows []int) []float32 {
	switch {
	case r.recipe.hinge:
		bias := make([]float32, len(r.cls.Labels))
		for k := range bias {
			bias[k] = float32(-r.recipe.config.Loss.MarginNeg)
		}
		return bias
	case r.recipe.priorBias:
		return model.LogPrior(r.recipe.config.Loss, r.y.Select(rows).ColCounts(), len(rows))
	}
	return nil
}

// useBest gives the classifier the best weights seen on the validation rows.
func (r *runner) useBest() error {
	if r.best == nil {
		return errors.New("train: no epoch was completed in time")
	}
	m, err := classifier.ModelFrom(r.dev, r.recipe.config, nil, classifier.LookupAmong(r.best), 0)
	if err != nil {
		return err
	}
	if r.cls.Model != nil {
		r.cls.Model.Close()
	}
	r.cls.Model = m
	return nil
}
