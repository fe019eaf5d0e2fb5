package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"gputrain/checkpoint"
	"gputrain/data"
	"gputrain/features"
	"gputrain/loss"
	"gputrain/metrics"
	"gputrain/optim"
	"gputrain/train"
)

var trainVerb = verb{
	name:  "train",
	usage: "train a model on labelled rows",
	examples: `Examples:
   gputrain train --train train.jsonl.gz --model m
   gputrain train --train train.txt --valid valid.txt --model m --loss unified --encoder embed --epochs 20
   gputrain train --train train.jsonl --vectors train.npy --model m --min-labels 1 --log-json train.log

What is not given is chosen by the data and by validation rows, and told with the reason. The decision rule is tuned on the
validation rows at the end and stored in the model. SIGINT or SIGTERM writes a checkpoint to DIR.checkpoints and prints the
command that goes on from there; a second one ends the program at once. An earlier model in DIR stays whole until the new one
takes its place, and is replaced only with --force.`,
	flags: func() []cli.Flag {
		return slices.Concat(inputFlags(true), deviceFlags(), []cli.Flag{
			&cli.StringFlag{Category: catInput, Name: "train", Usage: "`FILE` of labelled rows, or - for standard input"},
			&cli.StringFlag{Category: catInput, Name: "valid", Usage: "`FILE` of labelled rows to choose and tune by (default: a share of the training rows)"},
			&cli.Float64Flag{Category: catInput, Name: "valid-share", Value: 0.1, Usage: "share of the training rows to choose and tune by"},
			&cli.StringFlag{Category: catInput, Name: "valid-vectors", Usage: "--vectors for the rows of --valid"},
			&cli.StringFlag{Category: catInput, Name: "valid-labels-file", Usage: "--labels-file for the rows of --valid"},
			&cli.StringFlag{Category: catOutput, Name: "model", Usage: "`DIR` to keep the model in"},
			&cli.BoolFlag{DisableDefaultText: true, Category: catOutput, Name: "force", Usage: "replace a model that is in DIR"},
			&cli.StringFlag{Category: catOutput, Name: "log-json", Usage: "append what happens to `FILE`, a JSON object a line"},

			choice(catModel, "encoder", "auto", "how rows become scores", train.Encoders...),
			choice(catModel, "analyzer", "auto", "how texts become features", "auto", features.AnalyzerWord, features.AnalyzerWordChar, features.AnalyzerChar, features.AnalyzerCharWB),
			count(catModel, "min-df", "2", "rows that must hold an n-gram"),
			count(catModel, "hash-bits", "keep them apart", "hash n-grams to 2^`BITS` features"),
			choice(catModel, "loss", "auto", "what training minimises", append([]string{"auto"}, loss.Names()...)...),
			&cli.StringSliceFlag{Category: catModel, Name: "loss-param", Usage: "a constant of the loss as `NAME=VALUE`, of " + strings.Join(lossConstants(), ", ") + "; may be repeated"},
			&cli.StringFlag{Category: catModel, Name: "hidden", Usage: "`WIDTHS` of the embedding and of further hidden layers, as in 256 or 512,256"},
			&cli.Float64Flag{Category: catModel, Name: "dropout", Value: -1, DefaultText: "chosen", Usage: "share of hidden units dropped in training"},

			&cli.Float64Flag{Category: catTraining, Name: "lr", DefaultText: "chosen", Usage: "step size"},
			count(catTraining, "epochs", "chosen", "most epochs"),
			&cli.Float64Flag{Category: catTraining, Name: "warmup", Usage: "share of the steps in which the step size rises from 0"},
			count(catTraining, "batch-size", "chosen", "rows of a step"),
			choice(catTraining, "optimizer", "auto", "update rule", append([]string{"auto"}, optim.Names()...)...),
			choice(catTraining, "metric", "micro_f1", "what to choose and to stop early by", metricNames()...),
			count(catTraining, "patience", "5", "epochs without a better value before training stops"),
			&cli.BoolFlag{DisableDefaultText: true, Category: catTraining, Name: "no-refit", Usage: "keep the model trained without the validation rows"},
			choice(catModel, "min-labels", "auto", "1: a row gets at least its best label; auto: if no training row is without a label", "auto", "0", "1"),
			&cli.Uint64Flag{Category: catTraining, Name: "seed", Usage: "of all that is random"},

			count(catRun, "checkpoint-every", "only when stopped by a signal", "write a checkpoint every `EPOCHS`"),
			&cli.BoolFlag{DisableDefaultText: true, Category: catRun, Name: "resume", Usage: "go on from the newest checkpoint"},
			&cli.DurationFlag{Category: catRun, Name: "max-time", Usage: "end after this `TIME` with the best so far, as in 30m"},
		})
	},
	run: trainModel,
}

const (
	catModel    = "Model"
	catTraining = "Training"
)

// trained is what train --json prints. Metrics are of the validation rows, by the model trained without them.
type trained struct {
	Model     string         `json:"model"`
	TrainRows int            `json:"train_rows"`
	ValidRows int            `json:"valid_rows"`
	Labels    int            `json:"labels"`
	Decision  decision       `json:"decision"`
	Metrics   metrics.Result `json:"metrics"`       // under the decision rule
	Plain     metrics.Result `json:"metrics_plain"` // by score > 0 alone
	Choices   []string       `json:"choices"`       // what was chosen, and why
	Seconds   float64        `json:"seconds"`
	usedDevice
}

func trainModel(r *invocation) error {
	opt, err := r.trainOptions()
	if err != nil {
		return err
	}
	dir := r.String("model")
	if err := checkTarget(dir, r.Bool("force")); err != nil {
		return err
	}
	dev, used, err := r.openDevice()
	if err != nil {
		return err
	}
	r.log.record("start", map[string]any{"version": version(), "args": os.Args, "device": used})

	in := r.inputOptions()
	in.RequireLabels = true
	set, err := r.load(context.Background(), r.String("train"), r.String("vectors"), in)
	if err != nil {
		return err
	}
	var valid *data.Set
	if path := r.String("valid"); path != "" {
		in.LabelsFile = r.String("valid-labels-file")
		if valid, err = r.load(context.Background(), path, r.String("valid-vectors"), sameBase(in, set.Info.IndexBase, set.Info.LabelBase)); err != nil {
			return err
		}
	}

	ctx, release := r.signals.hold() // from here on there is something to save
	defer release()
	bar := r.log.bar()
	follow := r.log.follow(bar)
	saved := false
	result, err := train.Run(ctx, dev, set, valid, dir, opt, func(e train.Event) {
		saved = saved || e.Note != nil && e.Note.Topic == "checkpoint"
		follow(e)
	})
	bar.close()
	if errors.Is(err, train.ErrInterrupted) {
		return interrupted(ctx, err, saved)
	}
	if err != nil {
		return err
	}
	out := trained{
		Model: dir, TrainRows: result.Classifier.Info.TrainRows, ValidRows: result.Classifier.Info.ValidRows,
		Labels: len(result.Classifier.Labels), Decision: showDecision(result.Rule), Metrics: result.Validation, Plain: result.Plain,
		Choices: result.Classifier.Info.Choices, Seconds: result.Seconds, usedDevice: used,
	}
	r.log.record("result", out)
	if r.Bool("json") {
		return r.printJSON(out)
	}
	return printTrained(r, out)
}

func printTrained(r *invocation, t trained) error {
	parts := []string{fields("model", t.Model, "rows", fmt.Sprintf("%d, and %d of validation", t.TrainRows, t.ValidRows),
		"labels", fmt.Sprint(t.Labels), "decision", t.Decision.Text, "time", duration(t.Seconds))}
	if len(t.Metrics) > 0 {
		parts = append(parts, "\nvalidation rows, decided by ", t.Decision.Text, ":\n", metricsTable(t.Metrics))
	}
	if plain := sets(t.Plain); len(plain) > 0 && !slices.Equal(plain, sets(t.Metrics)) {
		parts = append(parts, "\nthe same rows, decided by s > 0:\n", metricsTable(plain))
	}
	return r.print(parts...)
}

// sets returns the metrics of decided sets: those of the ranking do not depend on the rule.
func sets(result metrics.Result) metrics.Result {
	return slices.DeleteFunc(slices.Clone(result), func(m metrics.Metric) bool { return strings.Contains(m.Name, "@") })
}

// interrupted says how to go on after a signal.
func interrupted(ctx context.Context, err error, saved bool) error {
	sig, ok := caughtSignal(ctx)
	if !ok {
		return err
	}
	name := map[syscall.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM"}[sig]
	if !saved {
		return &signalError{sig, fmt.Errorf("stopped by %s before there was anything to save", name)}
	}
	return &signalError{sig, fmt.Errorf("stopped by %s; a checkpoint was written. To go on:\n  %s", name, resumeCommand(os.Args))}
}

// resumeCommand is the command line with --resume, quoted for a shell.
func resumeCommand(args []string) string {
	var words []string
	for _, a := range args {
		if a == "" || strings.ContainsFunc(a, func(c rune) bool {
			return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_./:=,+@%", c))
		}) {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	if !slices.Contains(args, "--resume") && !slices.Contains(args, "-resume") {
		words = append(words, "--resume")
	}
	return strings.Join(words, " ")
}

// trainOptions checks the flags and turns them into options.
func (r *invocation) trainOptions() (train.Options, error) {
	opt := train.Options{
		Encoder: r.String("encoder"), Analyzer: r.String("analyzer"), MinDF: r.Int("min-df"), HashBits: r.Int("hash-bits"),
		Loss: r.String("loss"), LR: r.Float64("lr"), Epochs: r.Int("epochs"), BatchSize: r.Int("batch-size"),
		Dropout: r.Float64("dropout"), Warmup: r.Float64("warmup"), ValidShare: r.Float64("valid-share"), Metric: r.String("metric"), Patience: r.Int("patience"),
		NoRefit: r.Bool("no-refit"), MinLabels: -1, Seed: r.Uint64("seed"),
		CheckpointEvery: r.Int("checkpoint-every"), Resume: r.Bool("resume"), MaxTime: r.Duration("max-time"), Threads: r.Int("threads"),
	}
	if err := r.need("train", "model"); err != nil {
		return opt, err
	}
	if o := r.String("optimizer"); o != "auto" {
		opt.Optimizer = o
	}
	if n := r.String("min-labels"); n != "auto" {
		opt.MinLabels, _ = strconv.Atoi(n) // 0 or 1
	}
	var err error
	if opt.LossParam, err = lossParams(opt.Loss, r.StringSlice("loss-param")); err != nil {
		return opt, err
	}
	if h := r.String("hidden"); h != "" {
		if opt.Hidden, err = parseInts("hidden", h); err != nil {
			return opt, err
		}
	}
	switch {
	case r.IsSet("valid") && r.IsSet("valid-share"):
		err = usagef("--valid and --valid-share exclude each other")
	case (r.IsSet("valid-vectors") || r.IsSet("valid-labels-file")) && !r.IsSet("valid"):
		err = usagef("--valid-vectors and --valid-labels-file belong to --valid")
	case r.IsSet("valid") && r.IsSet("vectors") != r.IsSet("valid-vectors"):
		err = usagef("--vectors and --valid-vectors go together: the model reads both inputs of a row")
	case !(opt.ValidShare > 0 && opt.ValidShare < 1):
		err = usagef("--valid-share %v: want a number between 0 and 1", opt.ValidShare)
	case r.IsSet("lr") && !(opt.LR > 0):
		err = usagef("--lr %v: want a number above 0", opt.LR)
	case r.IsSet("dropout") && !(opt.Dropout >= 0 && opt.Dropout < 1):
		err = usagef("--dropout %v: want 0 or more, and less than 1", opt.Dropout)
	case !(opt.Warmup >= 0 && opt.Warmup < 1):
		err = usagef("--warmup %v: want 0 or more, and less than 1", opt.Warmup)
	case opt.MaxTime < 0:
		err = usagef("--max-time %v: want a time above 0", opt.MaxTime)
	}
	return opt, err
}

// checkTarget refuses a folder that holds something else than a model, and without force one that holds a model.
func checkTarget(dir string, force bool) error {
	folder, err := checkpoint.Open(dir)
	switch {
	case err == nil:
		folder.Close()
	case errors.Is(err, checkpoint.ErrNotModel):
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
			return nil
		}
		return usagef("--model %s: there is something else than a model; choose another folder", dir)
	case !errors.Is(err, checkpoint.ErrCorrupt) && !errors.Is(err, checkpoint.ErrVersion):
		return usagef("--model %s: %v", dir, err)
	}
	if !force {
		return usagef("--model %s: there is a model already; --force replaces it when the new one is done", dir)
	}
	return nil
}

// count makes a flag for a number that is not negative; 0 leaves the choice to the program.
func count(category, name, otherwise, usage string) *cli.IntFlag {
	return &cli.IntFlag{Category: category, Name: name, DefaultText: otherwise, Usage: usage, Action: func(_ *cli.Context, n int) error {
		if n < 0 {
			return usagef("--%s %d: want 0 or more", name, n)
		}
		return nil
	}}
}

// lossConstants returns the names of the constants of losses.
func lossConstants() []string {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[loss.Spec]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "kind" {
			names = append(names, name)
		}
	}
	return names
}

func lossParams(kind string, pairs []string) (map[string]float64, error) {
	if len(pairs) > 0 && kind == "auto" {
		return nil, usagef("--loss-param needs a --loss that it belongs to")
	}
	params := map[string]float64{}
	for _, pair := range pairs {
		name, text, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usagef("--loss-param %s: want NAME=VALUE", pair)
		}
		if !slices.Contains(lossConstants(), name) {
			return nil, unknown("constant of a loss", name, lossConstants())
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
			return nil, usagef("--loss-param %s: %q is not a number", pair, text)
		}
		params[name] = value
	}
	return params, nil
}

// metricNames returns the names of the metrics that training can go by.
func metricNames() []string {
	e, err := metrics.New(metrics.Options{TrainCounts: []int64{}})
	if err != nil {
		panic(err) // the defaults are valid
	}
	var names []string
	for _, m := range e.Result() {
		if m.Name != "abstained" {
			names = append(names, m.Name)
		}
	}
	return names
}
