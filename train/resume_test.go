package train

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gputrain/checkpoint"
	"gputrain/data"
)

var errStop = errors.New("stopped by the test")

// stopAt trains, and interrupts the training when it comes to these numbers of a training batch or a ranked batch of this call.
func stopAt(t *testing.T, threads int, set, valid *data.Set, dir string, opt Options, batch, scoring int) (r *Result, err error) {
	t.Helper()
	l := &log{}
	defer func() {
		if last := (*l)[len(*l)-1]; errors.Is(err, ErrInterrupted) && (last.Note == nil || !strings.HasPrefix(last.Note.Text, dir+".checkpoints")) {
			t.Errorf("interrupted without a checkpoint: %+v", last)
		}
	}()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	dev := newProbe(t, threads)
	dev.onBatch = func(n int) {
		if n == batch {
			cancel(errStop)
		}
	}
	dev.onScoring = func(n int) {
		if n == scoring {
			cancel(errStop)
		}
	}
	opt.Threads = threads
	return Run(ctx, dev, set, valid, dir, opt, l.add)
}

// TestResume interrupts trainings at random batches and in validations, again and again, and compares the model with that of a
// training that nobody disturbed.
func TestResume(t *testing.T) {
	type variant struct {
		trainingCase
		valid bool
	}
	var variants []variant
	for _, tt := range cases {
		variants = append(variants, variant{tt, false})
	}
	with := func(name string, base int, valid bool, change func(o *Options)) {
		tt := cases[base]
		before := tt.opt
		tt.name, tt.opt = tt.name+" "+name, func(o *Options) { before(o); change(o) }
		variants = append(variants, variant{tt, valid})
	}
	with("no refit", 0, false, func(o *Options) { o.NoRefit = true })
	with("no refit", 2, false, func(o *Options) { o.NoRefit = true })
	with("in good time", 0, false, func(o *Options) { o.MaxTime = time.Hour })
	with("with a validation file", 0, true, func(o *Options) {})
	with("with a validation file", 3, true, func(o *Options) {})
	with("with every epoch stored", 0, false, func(o *Options) { o.CheckpointEvery = 1 })
	with("few rows", 5, false, func(o *Options) { o.ValidShare = 1e-6 })
	rng := rand.New(rand.NewPCG(11, 12))
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			set := v.set(1, 260)
			var valid *data.Set
			if v.valid {
				valid = v.set(2, 150) // some batches
			}
			opt := options()
			v.opt(&opt)
			opt.Epochs = 3
			if opt.Encoder == "embed" || opt.Loss != "" {
				opt.BatchSize = 32
			}
			whole, err := stopAt(t, 1, set, valid, filepath.Join(t.TempDir(), "m"), opt, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer whole.Classifier.Close()

			dir := filepath.Join(t.TempDir(), "m")
			for stops := 0; ; stops++ {
				batch, scoring := 1+rng.IntN(20), 0
				if stops%3 == 2 {
					batch, scoring = 0, 1+rng.IntN(3)
				}
				r, err := stopAt(t, 1+stops%3, set, valid, dir, opt, batch, scoring)
				if err == nil {
					t.Cleanup(r.Classifier.Close)
					if stops < 2 {
						t.Errorf("stopped %d times only", stops)
					}
					compareRuns(t, whole, r)
					return
				}
				if !errors.Is(err, ErrInterrupted) || !errors.Is(err, errStop) {
					t.Fatalf("stop %d: %v", stops, err)
				}
				if _, err := os.Stat(dir); err == nil {
					t.Fatal("a model was written")
				}
				opt.Resume = true
			}
		})
	}
}

// compareRuns compares all but times.
func compareRuns(t *testing.T, want, got *Result) {
	t.Helper()
	if !cmp.Equal(weights(t, want.Classifier), weights(t, got.Classifier)) {
		t.Error("the weights differ")
	}
	a, b := want.Classifier.Info, got.Classifier.Info
	b.Made, b.Device = a.Made, a.Device
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("info (-undisturbed +resumed):\n%s", diff)
	}
	if diff := cmp.Diff([]any{want.Rule, want.Validation, want.Plain, want.Report}, []any{got.Rule, got.Validation, got.Plain, got.Report}); diff != "" {
		t.Errorf("(-undisturbed +resumed):\n%s", diff)
	}
}

// TestResumeAfterCrash goes on from a checkpoint that was written in passing.
func TestResumeAfterCrash(t *testing.T) {
	set := counts(1, 260)
	opt := options()
	opt.CheckpointEvery, opt.Keep = 2, 9
	dir := filepath.Join(t.TempDir(), "m")
	copied := 0
	r, err := Run(context.Background(), newProbe(t, 1), set, nil, dir, opt, func(e Event) {
		if e.Note != nil && e.Note.Topic == "checkpoint" {
			copied++
			other := filepath.Join(filepath.Dir(dir), "copy", string(rune('a'+copied)), "m.checkpoints")
			if err := os.CopyFS(other, os.DirFS(dir+".checkpoints")); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Classifier.Close()
	if copied < 2 {
		t.Fatalf("%d checkpoints", copied)
	}
	opt.Resume = true
	for i := range copied {
		again := filepath.Join(filepath.Dir(dir), "copy", string(rune('b'+i)), "m")
		l := &log{}
		got, err := Run(context.Background(), newProbe(t, 2), set, nil, again, opt, l.add)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(got.Classifier.Close)
		compareRuns(t, r, got)
		if !strings.Contains(l.notes("checkpoint"), "going on from") || len(l.epochs("")) >= 4*4 {
			t.Errorf("%d epochs, %q", len(l.epochs("")), l.notes("checkpoint"))
		}
	}
}

func TestResumeRefused(t *testing.T) {
	set, valid := counts(1, 260), counts(2, 60)
	dir := filepath.Join(t.TempDir(), "m")
	opt := options()
	if _, err := stopAt(t, 1, set, valid, dir, opt, 12, 0); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	before := tree(t, filepath.Dir(dir))
	opt.Resume = true
	otherLabels := counts(1, 260)
	names := slices.Clone(otherLabels.Labels.Names())
	names[3] = "renamed"
	var err error
	if otherLabels.Labels, err = data.NewVocabulary(names); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		set, valid *data.Set
		change     func(o *Options)
		want       string
	}{
		{"other rows", counts(3, 260), valid, func(*Options) {}, "other data"},
		{"other labels", otherLabels, valid, func(*Options) {}, "other data"},
		{"other validation rows", set, counts(4, 60), func(*Options) {}, "other data"},
		{"no validation rows", set, nil, func(*Options) {}, "other data"},
		{"other epochs", set, valid, func(o *Options) { o.Epochs++ }, "other options"},
		{"another seed", set, valid, func(o *Options) { o.Seed++ }, "other options"},
		{"another loss", set, valid, func(o *Options) { o.Loss = "unified-hinge" }, "other options"},
		{"a time limit", set, valid, func(o *Options) { o.MaxTime = time.Minute }, "without --max-time"},
	} {
		o := opt
		tt.change(&o)
		_, err := Run(context.Background(), newProbe(t, 1), tt.set, tt.valid, dir, o, func(Event) {})
		if !errors.Is(err, checkpoint.ErrNotModel) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if diff := cmp.Diff(before, tree(t, filepath.Dir(dir))); diff != "" {
		t.Errorf("the checkpoint changed:\n%s", diff)
	}
	if _, err := Run(context.Background(), newProbe(t, 1), set, valid, filepath.Join(t.TempDir(), "m"), opt, func(Event) {}); !errors.Is(err, checkpoint.ErrNotModel) {
		t.Errorf("without a checkpoint: %v", err)
	}
	r, err := Run(context.Background(), newProbe(t, 1), set, valid, dir, opt, func(Event) {})
	if err != nil {
		t.Fatalf("the right data and options: %v", err)
	}
	r.Classifier.Close()
	if _, err := os.Stat(dir + ".checkpoints"); err == nil {
		t.Error("the checkpoints stay")
	}
}

// TestDamagedCheckpoint passes over the newest checkpoint if it is damaged, and says so.
func TestDamagedCheckpoint(t *testing.T) {
	set := counts(1, 260)
	dir := filepath.Join(t.TempDir(), "m")
	opt := options()
	opt.CheckpointEvery, opt.Keep = 1, 9
	whole, err := stopAt(t, 1, set, nil, filepath.Join(t.TempDir(), "m"), opt, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Classifier.Close()
	if _, err := stopAt(t, 1, set, nil, dir, opt, 30, 0); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir + ".checkpoints")
	if err != nil || len(entries) < 2 {
		t.Fatal(entries, err)
	}
	newest := filepath.Join(dir+".checkpoints", entries[len(entries)-1].Name())
	if err := os.Truncate(filepath.Join(newest, weightsFile), 9); err != nil {
		t.Fatal(err)
	}
	opt.Resume = true
	l := &log{}
	r, err := Run(context.Background(), newProbe(t, 1), set, nil, dir, opt, l.add)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Classifier.Close()
	if !strings.Contains(l.notes("warning"), newest) {
		t.Errorf("warnings %q", l.notes("warning"))
	}
	compareRuns(t, whole, r)
}

// TestInterruptedBeforeTraining: there is nothing to store then.
func TestInterruptedBeforeTraining(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errStop)
	dir := t.TempDir()
	_, err := Run(ctx, newProbe(t, 1), goemotions(t, "train", 100), nil, filepath.Join(dir, "m"), options(), func(Event) {})
	if !errors.Is(err, ErrInterrupted) || !errors.Is(err, errStop) {
		t.Errorf("error %v", err)
	}
}

// TestTrialsOnSample: where rows are many, step sizes are compared on some of them, and the best one is used on all.
func TestTrialsOnSample(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time under the race detector")
	}
	const kept = maxTrialRows + 700
	set := counts(1, kept*10/9)
	opt := options()
	opt.Epochs, opt.NoRefit = 1, true
	dir := filepath.Join(t.TempDir(), "m")
	l := &log{}
	whole, err := Run(context.Background(), newProbe(t, 2), set, nil, dir, opt, l.add)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Classifier.Close()
	trials, runs := l.epochs("trial on 20000 rows, step size"), l.epochs("validation run")
	if len(trials) < 2 || len(runs) != 1 || len(l.epochs("")) != len(trials)+1 {
		t.Fatalf("%d trials, %d validation runs, %d epochs", len(trials), len(runs), len(l.epochs("")))
	}
	best := 0.0
	for _, x := range trials {
		best = max(best, value(t, x.Metrics, "micro_f1"))
	}
	if f := value(t, whole.Validation, "micro_f1"); f < best-0.02 || f < 0.8 {
		t.Errorf("micro-F1 %.3f, in trials up to %.3f", f, best)
	}
	perTrial := (maxTrialRows + linearBatch - 1) / linearBatch
	dir = filepath.Join(t.TempDir(), "m")
	for _, stop := range []int{perTrial + 20, 2 * perTrial} { // in the second trial, and in the last run
		if _, err := stopAt(t, 2, set, nil, dir, opt, stop, 0); !errors.Is(err, ErrInterrupted) {
			t.Fatal(err)
		}
		opt.Resume = true
	}
	r, err := stopAt(t, 1, set, nil, dir, opt, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Classifier.Close()
	compareRuns(t, whole, r)
}

// TestTrialDiverges: a step size by which training diverges is not chosen, and the others are.
func TestTrialDiverges(t *testing.T) {
	set := counts(1, 260)
	opt := options()
	opt.NoRefit = true
	train := func(poisoned, stop int, dir string) (*Result, *log, error) {
		ctx, cancel := context.WithCancelCause(context.Background())
		defer cancel(nil)
		dev, l := newProbe(t, 1), &log{}
		dev.poisoned = poisoned
		dev.onBatch = func(n int) {
			if n == stop {
				cancel(errStop)
			}
		}
		r, err := Run(ctx, dev, set, nil, dir, opt, l.add)
		if err == nil {
			t.Cleanup(r.Classifier.Close)
		}
		return r, l, err
	}
	dir := filepath.Join(t.TempDir(), "m")
	whole, l, err := train(3, 0, dir) // in the first epoch
	if err != nil {
		t.Fatal(err)
	}
	if n := len(l.epochs("")); n == 0 || !strings.Contains(l.notes("warning"), "training diverged: validation run, step size") {
		t.Errorf("%d epochs, warnings %q", n, l.notes("warning"))
	}
	if value(t, whole.Validation, "micro_f1") < 0.5 {
		t.Errorf("validation %v", whole.Validation)
	}
	dir = filepath.Join(t.TempDir(), "m")
	if _, _, err := train(3, perEpoch(set, opt)+5, dir); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	opt.Resume = true
	r, _, err := train(0, 0, dir)
	if err != nil {
		t.Fatal(err)
	}
	compareRuns(t, whole, r)

	// With the time up right after the trial that diverged, there is nothing to end with.
	opt.Resume, opt.MaxTime = false, time.Hour
	dir = filepath.Join(t.TempDir(), "m")
	if _, _, err := train(3, perEpoch(set, opt)+5, dir); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	opt.Resume, opt.MaxTime = true, 1
	var diverged *DivergedError
	if _, _, err := train(0, 0, dir); !errors.As(err, &diverged) || !strings.Contains(err.Error(), "training diverged") {
		t.Errorf("only a trial that diverged: %v", err)
	}

	opt.Resume, opt.MaxTime = false, 0
	if _, _, err := train(-1, 0, filepath.Join(t.TempDir(), "m")); !errors.As(err, &diverged) {
		t.Errorf("all diverge: %v", err)
	}
}

// perEpoch returns the number of batches of an epoch on the rows that are not kept back.
func perEpoch(set *data.Set, opt Options) int {
	kept, _ := data.Split(set.Rows(), 0.1, opt.Seed)
	return (len(kept) + linearBatch - 1) / linearBatch
}
