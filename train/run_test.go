package train

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/tensor"

	"gputrain/backend"
	"gputrain/checkpoint"
	"gputrain/classifier"
	"gputrain/cpu"
	"gputrain/data"
	"gputrain/decide"
	"gputrain/loss"
	"gputrain/metrics"
	"gputrain/model"
	"gputrain/sparse"
)

// probe is a processor that counts what is held on it, and can do something at a batch or at a validation.
type probe struct {
	backend.Device
	held       map[any]bool
	batches    int // trained, over all phases
	scored     int // batches that were ranked
	onBatch    func(n int)
	onScoring  func(n int)
	outOfAlloc int // allocations left; 0: no limit
	poisoned   int // the batch whose loss is NaN; −1: all
}

func newProbe(t *testing.T, threads int) *probe {
	dev := cpu.New(threads)
	p := &probe{Device: dev, held: map[any]bool{}, onBatch: func(int) {}, onScoring: func(int) {}}
	t.Cleanup(func() {
		if len(p.held) > 0 {
			t.Errorf("%d allocations leak", len(p.held))
		}
		_ = dev.Close()
	})
	return p
}

func (p *probe) Alloc(t backend.DType, n int) (backend.Buffer, error) {
	if p.outOfAlloc--; p.outOfAlloc == 0 {
		return nil, fmt.Errorf("probe: %w", backend.ErrOutOfMemory)
	}
	b, err := p.Device.Alloc(t, n)
	p.held[b] = true
	return b, err
}

func (p *probe) NewTable(w *sparse.CSR) (backend.Table, error) {
	t, err := p.Device.NewTable(w)
	p.held[t] = true
	return t, err
}

func (p *probe) Free(b backend.Buffer)     { delete(p.held, b); p.Device.Free(b) }
func (p *probe) FreeTable(t backend.Table) { delete(p.held, t); p.Device.FreeTable(t) }
func (p *probe) FreeBytes() int64          { return 0 }

func (p *probe) LossFwdBwd(spec loss.Spec, rows backend.Buffer, z backend.Matrix, y backend.CSR, lo int, scale float32) error {
	p.batches++
	p.onBatch(p.batches)
	if err := p.Device.LossFwdBwd(spec, rows, z, y, lo, scale); err != nil || p.poisoned != p.batches && p.poisoned != -1 {
		return err
	}
	return p.Upload(rows, 0, []float64{math.NaN()})
}

func (p *probe) TopK(scores backend.Matrix, ids backend.Buffer, z backend.Matrix, lo int) error {
	p.scored++
	p.onScoring(p.scored)
	return p.Device.TopK(scores, ids, z, lo)
}

const (
	testLabels   = 12
	testFeatures = 80
)

// counts makes rows of which each label shows in three features of its own, mostly; the others are noise.
func counts(seed uint64, rows int) *data.Set {
	rng := rand.New(rand.NewPCG(seed, 3))
	names := make([]string, testLabels)
	for k := range names {
		names[k] = fmt.Sprintf("label %02d", k)
	}
	labels, err := data.NewVocabulary(names)
	if err != nil {
		panic(err)
	}
	s := &data.Set{
		Info: data.Info{File: fmt.Sprintf("rows%d.txt", seed), Kind: data.Sparse},
		X:    &sparse.CSR{Cols: testFeatures, Values: []float32{}}, Y: &sparse.CSR{Cols: testLabels}, Labels: labels, Stated: rows,
	}
	for range rows {
		var x [testFeatures]float32
		var ids []int32
		for k := range int32(testLabels) {
			if rng.Float64() < 0.15 {
				ids = append(ids, k)
				for q := range int32(3) {
					if rng.Float64() < 0.8 {
						x[3*k+q] += float32(1 + rng.IntN(2))
					}
				}
			}
		}
		for range 4 {
			x[rng.IntN(testFeatures)]++
		}
		s.Y.Append(ids, nil)
		var fs []int32
		var values []float32
		for f, v := range x {
			if v > 0 {
				fs, values = append(fs, int32(f)), append(values, v)
			}
		}
		s.X.Append(fs, values)
	}
	return s
}

// vectors makes rows of dense vectors of the same kind.
func vectors(seed uint64, rows int) *data.Set {
	s := counts(seed, rows)
	v := make([]float32, rows*testFeatures)
	for i := range rows {
		ids, values := s.X.Row(i)
		for k, f := range ids {
			v[i*testFeatures+int(f)] = values[k] / 3
		}
	}
	s.X, s.V, s.Info.Kind = nil, tensor.New(tensor.WithShape(rows, testFeatures), tensor.WithBacking(v)), data.Dense
	return s
}

// both makes rows of counts and of vectors.
func both(seed uint64, rows int) *data.Set {
	s := counts(seed, rows)
	s.V = vectors(seed, rows).V
	return s
}

// goemotions loads the first rows of a sample.
func goemotions(t *testing.T, part string, rows int) *data.Set {
	t.Helper()
	f, err := os.Open("../testdata/goemotions/" + part + ".jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var head strings.Builder
	lines := bufio.NewScanner(z)
	for range rows {
		lines.Scan()
		head.WriteString(lines.Text() + "\n")
	}
	path := filepath.Join(t.TempDir(), part+".jsonl")
	if err := os.WriteFile(path, []byte(head.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	set, err := data.Load(context.Background(), path, data.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// options returns those of a short training.
func options() Options { return Options{Dropout: -1, MinLabels: -1, Epochs: 4, Seed: 1} }

// log keeps the events of a run.
type log []Event

func (l *log) add(e Event) { *l = append(*l, e) }

// notes returns the texts of a topic, joined.
func (l *log) notes(topic string) string {
	var s strings.Builder
	for _, e := range *l {
		if e.Note != nil && e.Note.Topic == topic {
			s.WriteString(e.Note.Text + "\n")
		}
	}
	return s.String()
}

// epochs returns the epoch lines of the phases whose names have the prefix.
func (l *log) epochs(phase string) (lines []Epoch) {
	for _, e := range *l {
		if e.Epoch != nil && strings.HasPrefix(e.Epoch.Phase, phase) {
			lines = append(lines, *e.Epoch)
		}
	}
	return lines
}

// mustRun trains on one thread in a fresh folder.
func mustRun(t *testing.T, set, valid *data.Set, opt Options) (*Result, *log) {
	t.Helper()
	l := &log{}
	r, err := Run(context.Background(), newProbe(t, 1), set, valid, filepath.Join(t.TempDir(), "m"), opt, l.add)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Classifier.Close)
	return r, l
}

// measure returns the metrics of a classifier on some rows, nil meaning all.
func measure(t *testing.T, r *Result, set *data.Set, rows []int) metrics.Result {
	t.Helper()
	c := r.Classifier
	v := decide.Validation{Labels: len(c.Labels)}
	v.Truth, _ = classifier.Truth(c.Labels, set)
	if rows != nil {
		v.Truth = v.Truth.Select(rows)
	}
	e, err := c.Encode(set)
	if err != nil {
		t.Fatal(err)
	}
	err = c.RankEncoded(context.Background(), e, rows, decide.Depth, func(_ int, cands []decide.Candidate) error {
		v.Rows = append(v.Rows, slices.Clone(cands))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := v.Evaluate(metrics.Options{Labels: len(c.Labels), TrainCounts: c.LabelCounts, TrainRows: c.Info.TrainRows}, decide.Always(c.Rule))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func value(t *testing.T, r metrics.Result, name string) float64 {
	t.Helper()
	v, err := r.Value(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// weights returns all weights of a classifier, for comparison by bits.
func weights(t *testing.T, c *classifier.Classifier) []model.Tensor {
	t.Helper()
	w, err := c.Model.Weights()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// cases are one training of each kind.
type trainingCase struct {
	name string
	set  func(seed uint64, rows int) *data.Set
	opt  func(o *Options)
}

var cases = []trainingCase{
	{"linear", counts, func(o *Options) {}},
	{"linear unified", counts, func(o *Options) { o.Encoder, o.Loss = "linear", "unified" }},
	{"embed", counts, func(o *Options) { o.Encoder, o.Hidden = "embed", []int{24} }},
	{"embed deep", counts, func(o *Options) { o.Encoder, o.Hidden, o.Dropout = "embed", []int{24, 16}, 0.1 }},
	{"embed softmax", counts, func(o *Options) { o.Encoder, o.Loss, o.Hidden = "embed", "softmax", []int{24} }},
	{"dense", vectors, func(o *Options) {}},
	{"dense hidden", vectors, func(o *Options) { o.Hidden, o.Loss, o.Dropout = []int{24}, "bce", 0.1 }},
	{"linear and vectors", both, func(o *Options) {}},
	{"embed and vectors", both, func(o *Options) { o.Encoder, o.Hidden = "embed", []int{24} }},
}

func TestLearns(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector sees the same in TestSeedDecidesAll")
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			opt := options()
			tt.opt(&opt)
			opt.Epochs = 30
			if opt.Loss == "unified" || opt.Encoder == "embed" {
				opt.LR, opt.BatchSize = 0.03, 32 // for few rows
			}
			r, l := mustRun(t, tt.set(1, 1200), nil, opt)
			m := measure(t, r, tt.set(2, 400), nil)
			// A row has 1.8 labels; saying them all of each row has a micro-F1 of 0.26.
			if f := value(t, m, "micro_f1"); f < 0.78 {
				t.Errorf("micro-F1 %.3f on new rows", f)
			}
			if valid, test := value(t, r.Validation, "micro_f1"), value(t, m, "micro_f1"); valid > test+0.1 || valid < test-0.1 {
				t.Errorf("micro-F1 %.3f was measured on validation rows, it is %.3f on new ones", valid, test)
			}
			lines := l.epochs("training on all rows")
			if len(lines) == 0 || !(lines[len(lines)-1].Loss < lines[0].Loss || len(lines) == 1) {
				t.Errorf("the loss does not fall: %v", lines)
			}
		})
	}
}

func TestLearnsFromText(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time under the race detector")
	}
	opt := options()
	opt.Epochs = 10
	r, l := mustRun(t, goemotions(t, "train", 700), nil, opt)
	test := goemotions(t, "test", 400)
	most := 0.0 // what always the same label would reach
	for _, n := range test.Y.ColCounts() {
		most = max(most, float64(n)/float64(test.Rows()))
	}
	if p := value(t, measure(t, r, test, nil), "p@1"); p < most+0.03 {
		t.Errorf("p@1 is %.3f, the most frequent label alone has %.3f", p, most)
	}
	if !strings.Contains(l.notes("features"), "analyzer") {
		t.Errorf("notes on features: %q", l.notes("features"))
	}
	if r.Classifier.Info.TrainRows != 700 || r.Classifier.Info.ValidRows != 70 {
		t.Errorf("%d rows, %d of them for validation", r.Classifier.Info.TrainRows, r.Classifier.Info.ValidRows)
	}
}

func TestSeedDecidesAll(t *testing.T) {
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			set := tt.set(1, 300)
			run := func(seed uint64, threads int) []model.Tensor {
				opt := options()
				tt.opt(&opt)
				opt.Seed, opt.Threads = seed, threads
				r, err := Run(context.Background(), newProbe(t, threads), set, nil, filepath.Join(t.TempDir(), "m"), opt, func(Event) {})
				if err != nil {
					t.Fatal(err)
				}
				defer r.Classifier.Close()
				return weights(t, r.Classifier)
			}
			want := run(1, 1)
			if !cmp.Equal(want, run(1, 3)) {
				t.Error("three threads gave other weights")
			}
			if cmp.Equal(want, run(2, 1)) {
				t.Error("another seed gave the same weights")
			}
		})
	}
}

// TestEvents: choices come first, then the phases in order, each epoch once; metrics belong to validation.
func TestEvents(t *testing.T) {
	opt := options()
	opt.Patience = -1
	r, l := mustRun(t, counts(1, 400), nil, opt)
	var phases []string
	begun := false
	for _, e := range *l {
		set := 0
		if e.Note != nil {
			set++
			if begun && slices.Contains([]string{"features", "encoder", "loss"}, e.Note.Topic) {
				t.Errorf("after training began: %+v", *e.Note)
			}
		}
		if e.Progress != nil {
			set++
			begun = true
			if e.Progress.Done < 0 || e.Progress.Done > e.Progress.Total {
				t.Errorf("progress %+v", *e.Progress)
			}
		}
		if x := e.Epoch; x != nil {
			set++
			begun = true
			if len(phases) == 0 || phases[len(phases)-1] != x.Phase {
				phases = append(phases, x.Phase)
			}
			if validates := x.Phase != "training on all rows"; validates != (x.Metrics != nil) {
				t.Errorf("%s: metrics %v", x.Phase, x.Metrics)
			}
			if x.Rate <= 0 || x.Seconds <= 0 || x.ETA < 0 || x.Loss <= 0 {
				t.Errorf("epoch %+v", *x)
			}
		}
		if set != 1 {
			t.Errorf("event with %d parts: %+v", set, e)
		}
	}
	if len(phases) < 2 || phases[len(phases)-1] != "training on all rows" || !strings.HasPrefix(phases[0], "validation run") {
		t.Errorf("phases %q", phases)
	}
	for _, phase := range phases {
		lines := slices.DeleteFunc(l.epochs(phase), func(x Epoch) bool { return x.Phase != phase })
		for i, x := range lines {
			if x.Epoch != i+1 || x.Epochs < x.Epoch {
				t.Errorf("%s: epoch %d of %d at place %d", phase, x.Epoch, x.Epochs, i)
			}
		}
	}
	if n := len(l.epochs("training on all rows")); n != r.Classifier.Info.Epochs {
		t.Errorf("%d epochs on all rows, the best had number %d", n, r.Classifier.Info.Epochs)
	}
	for _, topic := range []string{"features", "encoder", "loss"} {
		if note := l.notes(topic); note == "" || !strings.Contains(strings.Join(r.Classifier.Info.Choices, "\n")+"\n", topic+": "+note) {
			t.Errorf("%s: %q is not among the choices %q", topic, note, r.Classifier.Info.Choices)
		}
	}
}

// misled returns rows whose labels move on by one, so that what is learnt on others misleads.
func misled(seed uint64, rows int) *data.Set {
	s := counts(seed, rows)
	y := &sparse.CSR{Cols: testLabels, Indptr: []int64{0}}
	for i := range s.Rows() {
		ids, _ := s.Y.Row(i)
		moved := slices.Clone(ids)
		for k := range moved {
			moved[k] = (moved[k] + 1) % testLabels
		}
		slices.Sort(moved)
		y.Append(moved, nil)
	}
	s.Y = y
	return s
}

func TestEarlyStopping(t *testing.T) {
	opt := options()
	opt.Epochs, opt.Patience, opt.Metric, opt.Encoder, opt.Hidden, opt.LR = 50, 3, "ndcg@5", "embed", []int{16}, 0.002
	valid := misled(2, 300)
	r, l := mustRun(t, counts(1, 500), valid, opt)
	lines := l.epochs("validation run")
	best := r.Classifier.Info.Epochs
	if len(lines) != best+3 || len(lines) == 50 {
		t.Errorf("%d epochs, the best has number %d", len(lines), best)
	}
	if len(l.epochs("training on all rows")) > 0 {
		t.Error("with validation rows of their own there is nothing to train again")
	}
	top, last, slow := 0.0, 0.0, 0
	for _, x := range lines {
		v := value(t, x.Metrics, "ndcg@5")
		// As good as the top, up to half a standard error; it does not count how good the one before was.
		noise := math.Sqrt(v*(1-v)/300) / 2
		if want := x.Epoch == 1 || v > top-noise; x.Best != want {
			t.Errorf("epoch %d with %.4f, the top is %.4f: marked as best %v", x.Epoch, v, top, x.Best)
		}
		if !x.Best && v > last-noise {
			slow++
		}
		if x.Best {
			last = v
		}
		top = max(top, v)
	}
	if slow == 0 || !lines[best-1].Best {
		t.Errorf("%d epochs of slow decline, number %d is marked as best: %v", slow, best, lines[best-1].Best)
	}
	if diff := cmp.Diff(r.Validation, measure(t, r, valid, nil)); diff != "" {
		t.Errorf("the model is not that of the best epoch (-said +measured):\n%s", diff)
	}
	if diff := cmp.Diff(r.Validation, lines[best-1].Metrics); diff != "" {
		t.Errorf("validation (-result +epoch line):\n%s", diff)
	}
}

func TestNoRefit(t *testing.T) {
	for _, tt := range cases[:3] {
		t.Run(tt.name, func(t *testing.T) {
			set := tt.set(1, 400)
			opt := options()
			tt.opt(&opt)
			opt.NoRefit = true
			r, l := mustRun(t, set, nil, opt)
			if len(l.epochs("training on all rows")) > 0 {
				t.Error("trained on all rows")
			}
			_, held := data.Split(400, 0.1, opt.Seed)
			if diff := cmp.Diff(r.Validation, measure(t, r, set, held)); diff != "" {
				t.Errorf("the model is not that of the best epoch (-said +measured):\n%s", diff)
			}
		})
	}
}

func TestValidationFile(t *testing.T) {
	valid := counts(2, 100)
	valid.X.Cols += 5 // features that training rows do not have
	ids, values := valid.X.Row(99)
	ids, values = append(slices.Clone(ids), testFeatures+2), append(slices.Clone(values), 1)
	valid.X = valid.X.Select(seq(99))
	valid.X.Append(ids, values)
	names := append(slices.Clone(valid.Labels.Names()), "unheard of")
	var err error
	if valid.Labels, err = data.NewVocabulary(names); err != nil {
		t.Fatal(err)
	}
	valid.Y.Cols++
	valid.Y = valid.Y.Select(seq(99))
	valid.Y.Append([]int32{3, testLabels}, nil)
	opt := options()
	opt.Epochs = 15
	r, l := mustRun(t, counts(1, 500), valid, opt)
	if w := l.notes("warning"); !strings.Contains(w, `1 labels do not occur in the training rows, "unheard of"`) || !strings.Contains(w, "1 values of features") {
		t.Errorf("warnings %q", w)
	}
	if r.Classifier.Info.ValidRows != 100 || len(r.Classifier.Labels) != testLabels {
		t.Errorf("%d rows, %d labels", r.Classifier.Info.ValidRows, len(r.Classifier.Labels))
	}
	if diff := cmp.Diff(r.Validation, measure(t, r, valid, nil)); diff != "" {
		t.Errorf("the model is not that of the best epoch (-said +measured):\n%s", diff)
	}
	if f := value(t, r.Validation, "micro_f1"); f < 0.75 {
		t.Errorf("micro-F1 %.3f", f)
	}
	if len(r.Plain) == 0 || len(r.Report.Options) == 0 {
		t.Error("no comparison of decisions")
	}
}

func seq(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestFewRows(t *testing.T) {
	r, l := mustRun(t, counts(1, 9), nil, options())
	if !strings.Contains(l.notes("warning"), "9 rows are too few") {
		t.Errorf("warnings %q", l.notes("warning"))
	}
	if r.Validation != nil || r.Classifier.Info.ValidRows != 0 || r.Rule.Kind != decide.Zero {
		t.Errorf("validation %v of %d rows, rule %v", r.Validation, r.Classifier.Info.ValidRows, r.Rule)
	}
	if n := len(l.epochs("training on all rows")); n != 4 || r.Classifier.Info.Epochs != 4 {
		t.Errorf("%d epochs, %d are said", n, r.Classifier.Info.Epochs)
	}
}

// relabel gives the rows of a set other labels.
func relabel(s *data.Set, names []string, label func(row int) []int32) *data.Set {
	var err error
	if s.Labels, err = data.NewVocabulary(names); err != nil {
		panic(err)
	}
	y := &sparse.CSR{Cols: len(names), Indptr: []int64{0}}
	for i := range s.X.Rows() {
		y.Append(label(i), nil)
	}
	s.Y = y
	return s
}

func TestOneLabel(t *testing.T) {
	set := counts(1, 300)
	spam := relabel(counts(1, 300), []string{"spam"}, func(row int) []int32 {
		ids, _ := set.Y.Row(row)
		if slices.Contains(ids, 0) || slices.Contains(ids, 1) {
			return []int32{0}
		}
		return nil
	})
	for _, encoder := range []string{"linear", "embed"} {
		opt := options()
		opt.Encoder, opt.Epochs = encoder, 15
		r, l := mustRun(t, spam, nil, opt)
		if f := value(t, measure(t, r, spam, nil), "micro_f1"); f < 0.8 || !strings.Contains(l.notes("warning"), `only one label, "spam"`) {
			t.Errorf("%s: micro-F1 %.3f, warnings %q", encoder, f, l.notes("warning"))
		}
	}
}

// TestBadInput: what cannot be learnt from is an error about the input, and leaves nothing behind.
func TestBadInput(t *testing.T) {
	good, other := vectors(1, 30), vectors(2, 20)
	other.V = tensor.New(tensor.WithShape(20, 3), tensor.Of(tensor.Float32))
	bare := counts(1, 30)
	bare.X = nil
	for _, tt := range []struct {
		name       string
		set, valid *data.Set
		want       string
	}{
		{"no rows", counts(1, 0), nil, "no rows"},
		{"no labels", relabel(counts(1, 30), nil, func(int) []int32 { return nil }), nil, "no labels"},
		{"one label on every row", relabel(counts(1, 30), []string{"x"}, func(int) []int32 { return []int32{0} }), nil, "every row"},
		{"nothing to read", bare, nil, "no text, features or vectors"},
		{"validation rows without vectors", good, counts(2, 20), "vectors of 0 dimensions"},
		{"validation rows with other vectors", good, other, "vectors of 3 dimensions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Run(context.Background(), newProbe(t, 1), tt.set, tt.valid, filepath.Join(dir, "m"), options(), func(Event) {})
			var input *data.InputError
			if !errors.As(err, &input) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v", err)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestBadOptions(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"unknown encoder":        func(o *Options) { o.Encoder = "magic" },
		"no metric":              func(o *Options) { o.Metric = "magic" },
		"unknown loss":           func(o *Options) { o.Loss = "magic" },
		"need a loss":            func(o *Options) { o.LossParam = map[string]float64{"c": 1} },
		"no parameter \"magic\"": func(o *Options) { o.Loss, o.LossParam = "unified", map[string]float64{"magic": 1} },
		"unknown optimiser":      func(o *Options) { o.Optimizer = "magic" },
		"share of validation":    func(o *Options) { o.ValidShare = 1 },
		"needs vectors":          func(o *Options) { o.Encoder = "dense" },
		"dropout":                func(o *Options) { o.Encoder, o.Dropout = "embed", 1 },
		"step size":              func(o *Options) { o.LR = -1 },
		"width":                  func(o *Options) { o.Encoder, o.Hidden = "embed", []int{0} },
		"gamma_neg is 1e+09: e":  func(o *Options) { o.Loss, o.LossParam = "asl", map[string]float64{"gamma_neg": 1e9} },
	} {
		opt := options()
		change(&opt)
		if _, err := Run(context.Background(), newProbe(t, 1), counts(1, 30), nil, filepath.Join(t.TempDir(), "m"), opt, func(Event) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestMaxTime(t *testing.T) {
	opt := options()
	opt.MaxTime = 1 // over before the first epoch is
	set := counts(1, 400)
	r, l := mustRun(t, set, nil, opt)
	if lines := l.epochs(""); len(lines) != 1 || r.Classifier.Info.Epochs != 1 {
		t.Errorf("%d epochs", len(lines))
	}
	_, held := data.Split(400, 0.1, opt.Seed)
	if diff := cmp.Diff(r.Validation, measure(t, r, set, held)); diff != "" || !strings.Contains(l.notes("warning"), "the time was up") {
		t.Errorf("warnings %q; the model is not that of the best epoch (-said +measured):\n%s", l.notes("warning"), diff)
	}

	r, l = mustRun(t, counts(1, 9), nil, opt) // without validation rows
	if r.Classifier.Info.Epochs != 1 || !strings.Contains(l.notes("warning"), "the time was up in epoch 1 of 4") {
		t.Errorf("%d epochs, warnings %q", r.Classifier.Info.Epochs, l.notes("warning"))
	}

	t.Run("in the last phase", func(t *testing.T) {
		opt.MaxTime = 1500 * time.Millisecond
		opt.LR, opt.Metric = 0.05, "ndcg@5" // so small that the last epoch is the best
		l := &log{}
		began := time.Now()
		r, err := Run(context.Background(), newProbe(t, 1), set, nil, filepath.Join(t.TempDir(), "m"), opt, func(e Event) {
			l.add(e)
			if e.Epoch != nil && e.Epoch.Phase == "training on all rows" && e.Epoch.Epoch == 1 {
				time.Sleep(time.Until(began.Add(opt.MaxTime + 50*time.Millisecond)))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Classifier.Close)
		if diff := cmp.Diff(r.Validation, measure(t, r, set, held)); diff != "" || !strings.Contains(l.notes("warning"), "the model is that of the validation run") {
			t.Errorf("warnings %q; the model is not that of the best epoch (-said +measured):\n%s", l.notes("warning"), diff)
		}
	})
}

// TestModelFolder: what Run returns is what it saved, and the checkpoints are gone.
func TestModelFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "above", "m")
	dev := newProbe(t, 1)
	set := counts(1, 300)
	opt := options()
	opt.CheckpointEvery = 1
	var seen []string
	l := &log{}
	r, err := Run(context.Background(), dev, set, nil, dir+"/", opt, func(e Event) {
		l.add(e)
		if e.Note != nil && e.Note.Topic == "checkpoint" {
			entries, err := os.ReadDir(dir + ".checkpoints")
			if err != nil || len(entries) != 1 {
				t.Errorf("checkpoints %v, %v; want one", entries, err)
			}
			seen = append(seen, e.Note.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Classifier.Close()
	if want := len(l.epochs("")) - 3; len(seen) < want-1 || len(seen) == 0 { // all but the last of a phase
		t.Errorf("%d checkpoints of %d epochs", len(seen), len(l.epochs("")))
	}
	loaded, err := classifier.Load(dir, dev)
	if err != nil {
		t.Fatal(err)
	}
	defer loaded.Close()
	if !cmp.Equal(weights(t, r.Classifier), weights(t, loaded)) {
		t.Error("other weights were saved")
	}
	if diff := cmp.Diff([]any{r.Classifier.Info, r.Classifier.Rule, r.Rule}, []any{loaded.Info, loaded.Rule, loaded.Rule}); diff != "" {
		t.Errorf("(-returned +saved):\n%s", diff)
	}
	for _, c := range loaded.Info.Choices {
		if strings.Contains(c, "checkpoint") {
			t.Errorf("choice %q", c)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 1 {
		t.Errorf("left beside the model: %v, %v", left, err)
	}
}

func TestLockedFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	target, err := checkpoint.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	run := func() error {
		r, err := Run(context.Background(), newProbe(t, 1), counts(1, 30), nil, dir, options(), func(Event) {})
		if r != nil {
			r.Classifier.Close()
		}
		return err
	}
	if err := run(); !errors.Is(err, checkpoint.ErrLocked) {
		t.Errorf("error %v", err)
	}
	if err := target.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := run(); err != nil {
		t.Errorf("after unlocking: %v", err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "thesis.tex"), []byte("precious"), 0o666); err != nil {
		t.Fatal(err)
	}
	dir = other
	if err := run(); !errors.Is(err, checkpoint.ErrNotModel) {
		t.Errorf("a folder of something else: %v", err)
	}
}

// tree returns the names and contents of all files under dir.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestDivergence(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	r, err := Run(context.Background(), newProbe(t, 1), counts(1, 60), nil, dir, options(), func(Event) {})
	if err != nil {
		t.Fatal(err)
	}
	r.Classifier.Close()
	before := tree(t, filepath.Dir(dir))
	for _, rows := range []int{200, 9} { // with validation rows and without
		opt := options()
		opt.Encoder, opt.Loss, opt.LR = "embed", "unified", 1e38
		_, err := Run(context.Background(), newProbe(t, 1), counts(1, rows), nil, dir, opt, func(Event) {})
		var diverged *DivergedError
		if !errors.As(err, &diverged) || diverged.LR <= 0 || diverged.Step < 1 || !strings.Contains(err.Error(), "smaller --lr") {
			t.Errorf("%d rows: %v", rows, err)
		}
	}
	if diff := cmp.Diff(before, tree(t, filepath.Dir(dir))); diff != "" {
		t.Errorf("the earlier model changed:\n%s", diff)
	}
}

func TestOutOfMemory(t *testing.T) {
	for _, at := range []int{1, 3, 9, 12} {
		dev := newProbe(t, 1)
		dev.outOfAlloc = at
		if _, err := Run(context.Background(), dev, counts(1, 200), nil, filepath.Join(t.TempDir(), "m"), options(), func(Event) {}); !errors.Is(err, backend.ErrOutOfMemory) {
			t.Errorf("allocation %d failed: %v", at, err)
		}
	}
}
