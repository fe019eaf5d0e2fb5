package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"gputrain/backend"
	"gputrain/checkpoint"
	"gputrain/classifier"
	"gputrain/data"
	"gputrain/decide"
	"gputrain/features"
	"gputrain/metrics"
	"gputrain/model"
	"gputrain/sparse"
)

// ErrInterrupted is what Run's error wraps when its context was cancelled. If training had begun, a checkpoint was written.
var ErrInterrupted = errors.New("interrupted")

// Bounds of what validation may cost.
const (
	maxValidRows = 10_000 // of a split; a file is taken whole
	maxTrialRows = 20_000 // on which step sizes are compared
)

// Result is a trained classifier, saved, with what was measured on its validation rows. The caller closes the classifier.
type Result struct {
	Classifier *classifier.Classifier
	Rule       decide.Rule
	Validation metrics.Result // under Rule, by the model trained without the validation rows
	Plain      metrics.Result // the same rows, by s > 0 alone
	Report     decide.Report
	Seconds    float64
}

// Run trains on the rows of set and saves the classifier in the folder dir. Valid may be nil: then some rows of set serve for
// validation, and the final model is trained once more, on all rows, with the choices made on them.
func Run(ctx context.Context, dev backend.Device, set, valid *data.Set, dir string, opt Options, emit func(Event)) (_ *Result, err error) {
	r := &runner{dev: dev, began: time.Now(), checkpoints: checkpoint.Keep{Dir: filepath.Clean(dir) + ".checkpoints", Last: max(1, opt.Keep)}}
	r.opt, r.emit, r.every = opt.withDefaults(), emit, opt.CheckpointEvery
	r.cls = &classifier.Classifier{Threads: opt.Threads}
	defer func() {
		if err != nil {
			r.cls.Close()
		}
	}()
	if err := r.opt.check(); err != nil {
		return nil, err
	}
	target, err := checkpoint.Lock(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.Unlock()) }()
	if err := r.prepare(ctx, set, valid); err != nil {
		return nil, interrupted(ctx, err)
	}
	if err := r.resume(); err != nil {
		return nil, err
	}
	if err := r.train(ctx); err != nil {
		return nil, interrupted(ctx, err)
	}
	result := r.result()
	files, err := r.cls.Files()
	if errors.Is(err, classifier.ErrNotFinite) { // spoiled by the last steps, whose loss was never computed
		return nil, &DivergedError{Phase: "the last steps", Step: r.cls.Model.Steps(), Loss: math.NaN(), LR: r.chosen.LR}
	}
	if err != nil {
		return nil, err
	}
	if err := target.Write(files); err != nil {
		return nil, err
	}
	if err := r.checkpoints.Remove(); err != nil {
		r.note("warning", "the model is complete, but its checkpoints stay: %v", err)
	}
	return result, nil
}

func interrupted(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && (errors.Is(err, cause) || errors.Is(err, ctx.Err())) {
		return fmt.Errorf("%w: %w", ErrInterrupted, cause)
	}
	return err
}

func (o Options) withDefaults() Options {
	if o.ValidShare == 0 {
		o.ValidShare = 0.1
	}
	if o.Metric == "" {
		o.Metric = "micro_f1"
	}
	if o.Patience == 0 {
		o.Patience = 5
	}
	return o
}

// runner is one call of Run.
type runner struct {
	fitter
	dev   backend.Device
	began time.Time

	all, kept []int // training rows: all, and those not kept back for validation
	valid     *validation
	split     bool // the validation rows are training rows kept back
	chosen    outcome
	diverged  *DivergedError

	checkpoints checkpoint.Keep
	resumed     *checkpoint.Folder // where the next phase goes on, if it does
	state       state
	hash        string         // of the data: see fingerprint
	next        int            // index of the next phase
	weights     []model.Tensor // the best of the last phase, where they may become the result
	best        []model.Tensor // those of the chosen phase
}

func (r *runner) note(topic, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains([]string{"warning", "checkpoint", "memory"}, topic) {
		r.cls.Info.Choices = append(r.cls.Info.Choices, topic+": "+text)
	}
	r.emit(Event{Note: &Note{topic, text}})
}

// prepare turns the input into matrices, splits off validation rows and plans.
func (r *runner) prepare(ctx context.Context, set, valid *data.Set) error {
	r.cls.Info = classifier.Info{Made: r.began.UTC().Format(time.RFC3339), Program: checkpoint.MadeBy, Device: r.dev.Name(), Seed: r.opt.Seed, IndexBase: set.Info.IndexBase, LabelBase: set.Info.LabelBase}
	if set.Rows() == 0 {
		return &data.InputError{File: set.Info.File, Found: "no rows", Want: "at least one row to train on"}
	}
	r.cls.Labels, r.y = set.Labels.Names(), set.Y
	if len(r.cls.Labels) == 0 {
		return &data.InputError{File: set.Info.File, Found: "no labels on any row", Want: "labelled rows; is the label column right?"}
	}
	r.cls.LabelCounts = r.y.ColCounts()
	r.cls.Info.TrainRows = set.Rows()
	if r.opt.MinLabels < 0 {
		r.opt.MinLabels = 0
		if unlabelled := set.Rows() - labelledRows(r.y); unlabelled == 0 {
			r.opt.MinLabels = 1
			r.note("decision", "at least the best label, because no training row is without a label")
		}
	}
	if len(r.cls.Labels) == 1 {
		if r.cls.LabelCounts[0] == int64(set.Rows()) {
			return &data.InputError{File: set.Info.File, Found: fmt.Sprintf("the one label %q on every row", r.cls.Labels[0]), Want: "at least two labels, or rows without the label"}
		}
		r.note("warning", "there is only one label, %q", r.cls.Labels[0])
	}
	if err := r.encode(ctx, set); err != nil {
		return err
	}
	if err := r.splitRows(set, valid); err != nil {
		return err
	}
	s := shape{rows: set.Rows(), labels: len(r.cls.Labels), freeBytes: r.dev.FreeBytes()}
	if r.enc.X != nil {
		s.features, s.tableWeights = r.enc.X.Cols, model.PatternSize(r.enc.X, r.y)
	}
	if r.enc.V != nil {
		s.dim = r.enc.V.Shape()[1]
	}
	var err error
	if r.recipe, err = plan(r.opt, s, r.note); err != nil {
		return err
	}
	r.save = r.checkpoint
	r.late = func() bool { return r.opt.MaxTime > 0 && time.Since(r.began) > r.opt.MaxTime }
	return nil
}

func labelledRows(y *sparse.CSR) (n int) {
	for i := range y.Rows() {
		if y.Indptr[i] < y.Indptr[i+1] {
			n++
		}
	}
	return n
}

// encode fits the way from the input to features, and applies it to the training rows.
func (r *runner) encode(ctx context.Context, set *data.Set) error {
	r.enc = classifier.Encoded{Rows: set.Rows(), V: set.V}
	if o := r.opt; set.Texts == nil && (o.Analyzer != "" && o.Analyzer != "auto" || o.MinDF > 0 || o.HashBits > 0) {
		return optionError("analyzer, min-df and hash-bits are for texts, and the rows of %s have none", set.Info.File)
	}
	if r.opt.Encoder == EncoderDense && set.V != nil {
		return nil // vectors are all that it reads
	}
	switch {
	case set.Texts != nil:
		cfg, why, err := r.analyzer(set.Texts)
		if err != nil {
			return err
		}
		text, x, err := features.FitText(ctx, set.Texts, cfg, r.opt.Threads)
		switch {
		case ctx.Err() != nil:
			return err
		case err != nil:
			return optionError("%v", err)
		}
		r.cls.Encoder, r.enc.X = text, x
		r.note("features", "%s; %d features, %.1f a row", why, x.Cols, float64(x.NNZ())/float64(set.Rows()))
	case set.X != nil:
		weights, why, err := features.FitWeights(set.X, features.WeightAuto)
		if err != nil {
			return err
		}
		r.cls.Encoder = weights
		x, _, err := classifier.EncodeSparse(weights, set, r.opt.Threads)
		if err != nil {
			return err
		}
		r.enc.X = x
		r.note("features", "%s; %d features, %.1f a row", why, x.Cols, float64(x.NNZ())/float64(set.Rows()))
	case set.V == nil:
		return &data.InputError{File: set.Info.File, Found: "no text, features or vectors", Want: "rows to learn from"}
	}
	return nil
}

// analyzer chooses how texts become features.
func (r *runner) analyzer(texts []string) (cfg features.Config, why string, err error) {
	if r.opt.Analyzer == "" || r.opt.Analyzer == "auto" {
		cfg, why = features.Detect(texts, len(r.cls.Labels) > manyLabels)
	} else {
		cfg, err = features.DefaultConfig(r.opt.Analyzer)
		why = "analyzer " + r.opt.Analyzer
	}
	if r.opt.MinDF > 0 {
		cfg.MinDF = r.opt.MinDF
	}
	cfg.HashBits = r.opt.HashBits
	return cfg, why, err
}

// splitRows takes validation rows from the given set, or keeps some training rows back.
func (r *runner) splitRows(set, valid *data.Set) error {
	n := set.Rows()
	r.all = make([]int, n)
	for i := range r.all {
		r.all[i] = i
	}
	r.kept = r.all
	switch {
	case valid != nil:
		if have, want := dimensions(valid), dimensions(set); have != want {
			return &data.InputError{File: valid.Info.File, Found: fmt.Sprintf("vectors of %d dimensions", have), Want: fmt.Sprintf("%d, as in the training rows", want)}
		}
		e := classifier.Encoded{Rows: valid.Rows(), V: valid.V}
		if r.enc.X != nil {
			var err error
			if e.X, e.Note, err = classifier.EncodeSparse(r.cls.Encoder, valid, r.opt.Threads); err != nil {
				return err
			}
			if e.Note != "" {
				r.note("warning", "%s: %s", valid.Info.File, e.Note)
			}
		}
		truth, unseen := classifier.Truth(set.Labels.Names(), valid)
		if len(unseen) > 0 {
			r.note("warning", "%s: %d labels do not occur in the training rows, %q for one; they count as misses", valid.Info.File, len(unseen), unseen[0])
		}
		r.valid = &validation{enc: e, truth: truth}
		r.cls.Info.ValidRows = valid.Rows()
	case float64(n)*r.opt.ValidShare >= 1:
		var held []int
		r.kept, held = data.Split(n, min(r.opt.ValidShare, float64(maxValidRows)/float64(n)), r.opt.Seed)
		r.valid = &validation{enc: r.enc, rows: held, truth: r.y.Select(held)}
		r.split = true
		r.cls.Info.ValidRows = len(held)
	default:
		r.note("warning", "%d rows are too few to keep some back for validation: nothing is tuned", n)
	}
	return nil
}

// dimensions returns those of a set's vectors, 0 where it has none.
func dimensions(set *data.Set) int {
	if set.V == nil {
		return 0
	}
	return set.V.Shape()[1]
}

// result sums up, for the user and for the model folder.
func (r *runner) result() *Result {
	o := r.chosen
	r.cls.Info.LR, r.cls.Info.Epochs = o.LR, o.Epoch
	result := &Result{Classifier: r.cls, Rule: r.cls.Rule, Report: o.Report, Validation: o.Metrics, Seconds: time.Since(r.began).Seconds()}
	if len(o.Report.Options) > 0 {
		result.Plain = o.Report.Options[0].Metrics
	}
	if o.Metrics != nil {
		r.cls.Info.Validation = map[string]float64{}
		for _, m := range o.Metrics {
			r.cls.Info.Validation[m.Name] = m.Value
		}
	}
	return result
}
