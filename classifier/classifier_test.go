package classifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/tensor"

	"gputrain/backend"
	"gputrain/checkpoint"
	"gputrain/cpu"
	"gputrain/data"
	"gputrain/decide"
	"gputrain/features"
	"gputrain/loss"
	"gputrain/model"
	"gputrain/optim"
	"gputrain/sparse"
)

const (
	xmcFile  = "../testdata/tiny/goemotions.xmc.txt"
	textFile = "../testdata/tiny/goemotions.jsonl"
)

func device(t testing.TB) backend.Device {
	d := cpu.New(1)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func load(t testing.TB, path string) *data.Set {
	t.Helper()
	set, err := data.Load(context.Background(), path, data.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// fit trains a small classifier, for some steps: all that matters is that no weight is what it was at the start.
func fit(t testing.TB, dev backend.Device, set *data.Set, kinds ...model.Kind) *Classifier {
	t.Helper()
	c := &Classifier{
		Info:   Info{Made: "2026-01-02T03:04:05Z", Program: "test", Device: dev.Name(), TrainRows: set.Rows(), Seed: 1<<63 + 1, Choices: []string{"by hand"}},
		Labels: set.Labels.Names(), LabelCounts: set.Y.ColCounts(), Threads: 1,
	}
	var err error
	var x *sparse.CSR
	switch {
	case set.Texts != nil:
		cfg, err := features.DefaultConfig(features.AnalyzerWord)
		if err != nil {
			t.Fatal(err)
		}
		cfg.MinDF = 2
		if c.Encoder, x, err = features.FitText(context.Background(), set.Texts, cfg, 1); err != nil {
			t.Fatal(err)
		}
	case set.X != nil:
		if c.Encoder, _, err = features.FitWeights(set.X, features.WeightAuto); err != nil {
			t.Fatal(err)
		}
		if x, _, err = EncodeSparse(c.Encoder, set, 1); err != nil {
			t.Fatal(err)
		}
	}
	cfg := model.Config{Labels: len(c.Labels), Loss: loss.Default(loss.SquaredHinge), BatchSize: 16, BiasRule: optim.Default(optim.AdamW), BiasLR: 0.01}
	patterns := make([]*sparse.CSR, len(kinds))
	for i, kind := range kinds {
		p := model.Part{Kind: kind, Rule: optim.Default(optim.AdamW), LRScale: 1}
		if p.Sparse() {
			p.Inputs = x.Cols
		} else {
			p.Inputs = set.V.Shape()[1]
		}
		switch kind {
		case model.Table:
			p.Rule = optim.Default(optim.SGD)
			patterns[i] = model.Pattern(x, set.Y)
		case model.Embed:
			p.Hidden, p.Activation, p.Dropout = []int{8, 6}, backend.ReLU, 0.25
		}
		cfg.Parts = append(cfg.Parts, p)
	}
	if c.Model, err = model.New(dev, cfg, patterns, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	batches, err := data.NewBatches(x, set.V, set.Y, nil, cfg.BatchSize)
	if err != nil {
		t.Fatal(err)
	}
	for epoch := range 3 {
		for b := range batches.Epoch(context.Background(), 1, epoch, 0) {
			m := model.Batch{Rows: len(b.Rows), X: b.X, Y: b.Y}
			if b.V != nil {
				m.V = b.V.Float32s()
			}
			if err := c.Model.Step(m, 0.05, 0.05); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.Rule = decide.Rule{Kind: decide.PerLabel, Thresholds: make([]float32, len(c.Labels)), MinLabels: 1}
	for k := range c.Rule.Thresholds {
		c.Rule.Thresholds[k] = float32(k) / 7
	}
	return c
}

// withVectors gives the rows of a set vectors too.
func withVectors(set *data.Set) *data.Set {
	const dim = 5
	v := make([]float32, set.Rows()*dim)
	for i := range v {
		v[i] = float32(math.Sin(float64(i * i)))
	}
	set.V = tensor.New(tensor.WithShape(set.Rows(), dim), tensor.WithBacking(v))
	return set
}

// vectorSet has labels and vectors only.
func vectorSet(t testing.TB) *data.Set {
	set := withVectors(load(t, textFile))
	set.Texts = nil
	return set
}

// rank returns all candidates of all rows.
func rank(t testing.TB, c *Classifier, set *data.Set) (all [][]decide.Candidate) {
	t.Helper()
	err := c.Rank(context.Background(), set, 1000, func(row int, cands []decide.Candidate) error {
		if row != len(all) {
			t.Fatalf("row %d after %d", row, len(all)-1)
		}
		all = append(all, slices.Clone(cands))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSaveAndLoad(t *testing.T) {
	for _, tt := range []struct {
		name  string
		set   *data.Set
		kinds []model.Kind
	}{
		{"table", load(t, xmcFile), []model.Kind{model.Table}},
		{"linear", load(t, xmcFile), []model.Kind{model.Linear}},
		{"embed of text", load(t, textFile), []model.Kind{model.Embed}},
		{"table of text and dense", withVectors(load(t, textFile)), []model.Kind{model.Table, model.Dense}},
		{"dense", vectorSet(t), []model.Kind{model.Dense}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dev, dir := device(t), filepath.Join(t.TempDir(), "m")
			c := fit(t, dev, tt.set, tt.kinds...)
			want := rank(t, c, tt.set)
			if len(want) != tt.set.Rows() || len(want[0]) != len(c.Labels) {
				t.Fatalf("%d rows of %d candidates", len(want), len(want[0]))
			}
			if err := c.Save(dir); err != nil {
				t.Fatal(err)
			}
			loaded, err := Load(dir, dev)
			if err != nil {
				t.Fatal(err)
			}
			defer loaded.Close()
			if diff := cmp.Diff(want, rank(t, loaded, tt.set)); diff != "" {
				t.Errorf("scores after loading (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]any{c.Info, c.Rule, c.Labels, c.LabelCounts, c.Model.Config()},
				[]any{loaded.Info, loaded.Rule, loaded.Labels, loaded.LabelCounts, loaded.Model.Config()}); diff != "" {
				t.Errorf("after loading (-want +got):\n%s", diff)
			}
			// Again, over the folder from which the classifier was loaded and whose files it has mapped.
			if err := loaded.Save(dir); err != nil {
				t.Fatal(err)
			}
			again, err := Load(dir, dev)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if diff := cmp.Diff(want, rank(t, again, tt.set)); diff != "" {
				t.Errorf("scores after saving twice (-want +got):\n%s", diff)
			}
		})
	}
}

// contents returns the files of a model folder, for a test to change one.
func contents(t *testing.T, c *Classifier) checkpoint.Files {
	t.Helper()
	files, err := c.Files()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// edit changes model.json.
func edit(change func(doc *document)) func(*testing.T, *Classifier, checkpoint.Files) {
	return func(_ *testing.T, c *Classifier, files checkpoint.Files) {
		doc := document{c.Info, c.Rule, c.Model.Config()}
		doc.Model.Parts = slices.Clone(doc.Model.Parts)
		change(&doc)
		files[modelFile] = checkpoint.JSON(doc)
	}
}

// editTensors changes the weights; the change may return fewer.
func editTensors(change func(all []checkpoint.Tensor) []checkpoint.Tensor) func(*testing.T, *Classifier, checkpoint.Files) {
	return func(t *testing.T, c *Classifier, files checkpoint.Files) {
		weights, err := c.Model.Weights()
		if err != nil {
			t.Fatal(err)
		}
		tensors, err := Tensors(weights)
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, checkpoint.NewTensor(countsTensor, c.LabelCounts, len(c.LabelCounts)))
		files[weightsFile] = checkpoint.TensorFile(change(tensors), nil)
	}
}

func without(name string) func([]checkpoint.Tensor) []checkpoint.Tensor {
	return func(all []checkpoint.Tensor) []checkpoint.Tensor {
		return slices.DeleteFunc(all, func(x checkpoint.Tensor) bool { return x.Name == name })
	}
}

func instead(name string, values any) func([]checkpoint.Tensor) []checkpoint.Tensor {
	return func(all []checkpoint.Tensor) []checkpoint.Tensor {
		x, err := newTensor(name, values, nil)
		if err != nil {
			panic(err)
		}
		return append(without(name)(all), x)
	}
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

// TestLoadDamaged: a folder whose checksums hold but whose contents do not fit together is refused, without a panic.
func TestLoadDamaged(t *testing.T) {
	dev := device(t)
	set := withVectors(load(t, xmcFile))
	c := fit(t, dev, set, model.Table, model.Dense)
	embed := fit(t, dev, load(t, textFile), model.Embed)
	labels := len(c.Labels)
	for _, tt := range []struct {
		name   string
		c      *Classifier
		change func(*testing.T, *Classifier, checkpoint.Files)
	}{
		{"no model.json", c, func(_ *testing.T, _ *Classifier, f checkpoint.Files) { delete(f, modelFile) }},
		{"not JSON", c, func(_ *testing.T, _ *Classifier, f checkpoint.Files) { f[modelFile] = text("{") }},
		{"an unknown field", c, func(_ *testing.T, _ *Classifier, f checkpoint.Files) { f[modelFile] = text(`{"modell":{}}`) }},
		{"an empty model", c, func(_ *testing.T, _ *Classifier, f checkpoint.Files) { f[modelFile] = text(`{}`) }},
		{"no labels.txt", c, func(_ *testing.T, _ *Classifier, f checkpoint.Files) { delete(f, labelsFile) }},
		{"empty labels.txt", c, func(_ *testing.T, _ *Classifier, f checkpoint.Files) { f[labelsFile] = text("") }},
		{"a label too few", c, func(_ *testing.T, c *Classifier, f checkpoint.Files) {
			f[labelsFile] = text(strings.Join(c.Labels[1:], "\n") + "\n")
		}},
		{"a label twice", c, func(_ *testing.T, c *Classifier, f checkpoint.Files) {
			f[labelsFile] = text(strings.Join(append(slices.Clone(c.Labels[1:]), c.Labels[1]), "\n") + "\n")
		}},
		{"more labels in model.json", c, edit(func(d *document) { d.Model.Labels++ })},
		{"unknown rule", c, edit(func(d *document) { d.Rule.Kind = "magic" })},
		{"thresholds of other labels", c, edit(func(d *document) { d.Rule.Thresholds = d.Rule.Thresholds[1:] })},
		{"unknown loss", c, edit(func(d *document) { d.Model.Loss.Kind = "magic" })},
		{"other features", c, edit(func(d *document) { d.Model.Parts[0].Inputs++ })},
		{"other vectors", c, edit(func(d *document) { d.Model.Parts[1].Inputs++ })},
		{"unknown kind", c, edit(func(d *document) { d.Model.Parts[0].Kind = "magic" })},
		{"absurd width", embed, edit(func(d *document) { d.Model.Parts[0].Hidden = []int{1 << 60} })},
		{"another width", embed, edit(func(d *document) { d.Model.Parts[0].Hidden = []int{9, 6} })},
		{"no batch", c, edit(func(d *document) { d.Model.BatchSize = 0 })},
		{"no features.json", c, func(_ *testing.T, _ *Classifier, f checkpoint.Files) { delete(f, featuresFile) }},
		{"empty features.json", c, func(_ *testing.T, _ *Classifier, f checkpoint.Files) { f[featuresFile] = text("{}") }},
		{"no features' tensors", c, func(_ *testing.T, _ *Classifier, f checkpoint.Files) { delete(f, featuresDataFile) }},
		{"half of the features' tensors", embed, func(_ *testing.T, _ *Classifier, f checkpoint.Files) {
			f[featuresDataFile] = checkpoint.TensorFile(nil, nil)
		}},
		{"no weights", c, func(_ *testing.T, _ *Classifier, f checkpoint.Files) { delete(f, weightsFile) }},
		{"weights that are not tensors", c, func(_ *testing.T, _ *Classifier, f checkpoint.Files) { f[weightsFile] = text("hello") }},
		{"no counts", c, editTensors(without(countsTensor))},
		{"counts of other labels", c, editTensors(instead(countsTensor, []int64{1, 2}))},
		{"counts of a wrong type", c, editTensors(instead(countsTensor, []float32{1, 2}))},
		{"no bias", c, editTensors(without("bias"))},
		{"bias of other labels", c, editTensors(instead("bias", make([]float32, labels+1)))},
		{"bias of a wrong type", c, editTensors(instead("bias", make([]int32, labels)))},
		{"no indptr", c, editTensors(without("part0.indptr"))},
		{"no indices", c, editTensors(without("part0.indices"))},
		{"no values", c, editTensors(without("part0.values"))},
		{"empty indptr", c, editTensors(instead("part0.indptr", []int64{}))},
		{"indptr that falls", c, editTensors(instead("part0.indptr", []int64{0, 5, 3}))},
		{"indptr of no weights", c, editTensors(instead("part0.indptr", []int64{0}))},
		{"weights of no features", c, editTensors(func(all []checkpoint.Tensor) []checkpoint.Tensor {
			all = instead("part0.indices", []int32{})(instead("part0.values", []float32{})(all))
			return instead("part0.indptr", []int64{0})(all)
		})},
		{"values of a wrong type", c, editTensors(instead("part0.values", []int32{1}))},
		{"no head", c, editTensors(without("part1.head"))},
		{"no embedding", embed, editTensors(without("part0.embedding"))},
		{"no hidden bias", embed, editTensors(without("part0.hidden0.bias"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := contents(t, tt.c)
			tt.change(t, tt.c, files)
			dir := filepath.Join(t.TempDir(), "m")
			if err := checkpoint.Write(dir, files); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(dir, dev); !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), dev); !errors.Is(err, checkpoint.ErrNotModel) {
		t.Errorf("no folder: %v", err)
	}
}

func TestTruth(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.jsonl")
	if err := os.WriteFile(path, []byte(`{"text":"1","labels":["a","b"]}
{"text":"2","labels":["new","z","older"]}
{"text":"3","labels":[]}
{"text":"4","labels":["older"]}
`), 0o666); err != nil {
		t.Fatal(err)
	}
	truth, unseen := Truth([]string{"z", "b", "a"}, load(t, path))
	if diff := cmp.Diff([]string{"new", "older"}, unseen); diff != "" {
		t.Errorf("unseen:\n%s", diff)
	}
	want := &sparse.CSR{Cols: 5, Indptr: []int64{0, 2, 5, 5, 6}, Indices: []int32{1, 2, 0, 3, 4, 4}}
	if diff := cmp.Diff(want, truth); diff != "" {
		t.Errorf("truth (-want +got):\n%s", diff)
	}
}

// A spoiled model takes the place of no good one.
func TestSaveNotFinite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	c := fit(t, device(t), load(t, textFile), model.Embed)
	if err := c.Save(dir); err != nil {
		t.Fatal(err)
	}
	weights, err := c.Model.Weights()
	if err != nil {
		t.Fatal(err)
	}
	weights[0].Data.([]float32)[1] = float32(math.NaN())
	if err := c.Model.Restore(LookupAmong(weights), 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(dir); !errors.Is(err, ErrNotFinite) {
		t.Errorf("error %v, want ErrNotFinite", err)
	}
	if _, err := Load(dir, device(t)); err != nil {
		t.Errorf("the earlier model: %v", err)
	}
}

func TestUnseenFeatures(t *testing.T) {
	train := &data.Set{X: &sparse.CSR{Cols: 3, Indptr: []int64{0, 2, 3}, Indices: []int32{0, 2, 1}, Values: []float32{0.5, -2, 1}}}
	enc, _, err := features.FitWeights(train.X, features.WeightNone)
	if err != nil {
		t.Fatal(err)
	}
	wide := &data.Set{X: &sparse.CSR{Cols: 9, Indptr: []int64{0, 3, 3, 4}, Indices: []int32{1, 3, 8, 0}, Values: []float32{1.5, 2, 3, 4}}}
	x, note, err := EncodeSparse(enc, wide, 1)
	if err != nil || !strings.HasPrefix(note, "2 values") {
		t.Errorf("note %q, %v", note, err)
	}
	want := &sparse.CSR{Cols: 3, Indptr: []int64{0, 1, 1, 2}, Indices: []int32{1, 0}, Values: []float32{1.5, 4}}
	if diff := cmp.Diff(want, x); diff != "" {
		t.Errorf("clipped (-want +got):\n%s", diff)
	}
	if wide.X.Cols != 9 || wide.X.NNZ() != 4 {
		t.Error("the input was changed")
	}
	ones := &data.Set{X: &sparse.CSR{Cols: 2, Indptr: []int64{0, 1}, Indices: []int32{1}}}
	x, note, err = EncodeSparse(enc, ones, 1)
	if diff := cmp.Diff(&sparse.CSR{Cols: 3, Indptr: []int64{0, 1}, Indices: []int32{1}, Values: []float32{1}}, x); diff != "" || note != "" || err != nil {
		t.Errorf("fewer features, %q, %v:\n%s", note, err, diff)
	}
}

// TestWrongInput: rows that lack what the model reads are an error that says what.
func TestWrongInput(t *testing.T) {
	dev := device(t)
	text, counts, vectors := load(t, textFile), load(t, xmcFile), vectorSet(t)
	wide := vectorSet(t)
	wide.V = tensor.New(tensor.WithShape(wide.Rows(), 2), tensor.Of(tensor.Float32))
	ofText, ofCounts, ofVectors := fit(t, dev, text, model.Table), fit(t, dev, counts, model.Table), fit(t, dev, vectors, model.Dense)
	for _, tt := range []struct {
		c    *Classifier
		set  *data.Set
		want string
	}{
		{ofText, counts, "reads text"},
		{ofText, vectors, "reads text"},
		{ofCounts, text, "reads sparse features"},
		{ofVectors, text, "reads vectors of 5 dimensions, and the input has none"},
		{ofVectors, wide, "the input's have 2"},
	} {
		err := tt.c.Rank(context.Background(), tt.set, 1, func(int, []decide.Candidate) error { return nil })
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v", tt.want, err)
		}
	}
}

func TestRankEncoded(t *testing.T) {
	dev := device(t)
	set := load(t, xmcFile)
	c := fit(t, dev, set, model.Table)
	all := rank(t, c, set)
	for _, row := range all {
		if !slices.IsSortedFunc(row, func(a, b decide.Candidate) int { return int(math.Copysign(1, float64(b.Score-a.Score))) }) {
			t.Fatalf("not best first: %v", row)
		}
	}
	e, err := c.Encode(set)
	if err != nil {
		t.Fatal(err)
	}
	rows := []int{59, 3, 3, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 0} // more than a batch
	next := 0
	err = c.RankEncoded(context.Background(), e, rows, 4, func(i int, cands []decide.Candidate) error {
		if i != next || !slices.Equal(cands, all[rows[i]][:4]) {
			t.Errorf("row %d: %v, want %v", rows[i], cands, all[rows[i]][:4])
		}
		next++
		return nil
	})
	if err != nil || next != len(rows) {
		t.Errorf("%d rows, %v", next, err)
	}
	stop := errors.New("enough")
	if err := c.RankEncoded(context.Background(), e, nil, 1, func(int, []decide.Candidate) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("visit's error became %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stop)
	if err := c.RankEncoded(ctx, e, nil, 1, func(int, []decide.Candidate) error { return nil }); !errors.Is(err, stop) {
		t.Errorf("the context's cause became %v", err)
	}
}

func TestProb(t *testing.T) {
	dev := device(t)
	cands := []decide.Candidate{{Label: 2, Score: 1.5}, {Label: 0, Score: 0}, {Label: 1, Score: -3}}
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	total := math.Exp(1.5) + 1 + math.Exp(-3)
	for _, tt := range []struct {
		spec loss.Spec
		want [3]float64
	}{
		{loss.Default(loss.Unified), [3]float64{sigmoid(3), 0.5, sigmoid(-6)}},
		{loss.Spec{Kind: loss.Unified, Scale: 2}, [3]float64{sigmoid(6), 0.5, sigmoid(-12)}},
		{loss.Default(loss.BCE), [3]float64{sigmoid(1.5), 0.5, sigmoid(-3)}},
		{loss.Default(loss.SquaredHinge), [3]float64{sigmoid(3), 0.5, sigmoid(-6)}},
		{loss.Default(loss.Softmax), [3]float64{math.Exp(1.5) / total, 1 / total, math.Exp(-3) / total}},
		{loss.Default(loss.UnifiedSoftmax), [3]float64{math.Exp(1.5) / total, 1 / total, math.Exp(-3) / total}},
	} {
		m, err := model.New(dev, model.Config{
			Labels: 3, Loss: tt.spec, BatchSize: 1, Parts: []model.Part{{Kind: model.Linear, Inputs: 1, Rule: optim.Default(optim.SGD)}},
		}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		c := &Classifier{Model: m}
		for i, p := range c.Prob(cands) {
			if math.Abs(float64(p)-tt.want[i]) > 1e-6 {
				t.Errorf("%s: score %v has probability %v, want %v", tt.spec.Kind, cands[i].Score, p, tt.want[i])
			}
		}
		if p := c.Prob(nil); len(p) != 0 {
			t.Errorf("%s: %v", tt.spec.Kind, p)
		}
		c.Close()
	}
}

// noPython says why Python cannot be used.
var noPython = sync.OnceValue(func() string {
	out, err := exec.Command("python3", "-c", "import numpy, safetensors").CombinedOutput()
	if err != nil {
		return fmt.Sprintf("python3 with numpy and safetensors: %v\n%s", err, out)
	}
	return ""
})

// python runs a script with the given arguments. It skips the test where Python or the packages are missing, unless the
// environment variable GPUTRAIN_REQUIRE lists python.
func python(t *testing.T, script string, args ...string) string {
	t.Helper()
	if reason := noPython(); reason != "" {
		if slices.Contains(strings.Split(os.Getenv("GPUTRAIN_REQUIRE"), ","), "python") {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	out, err := exec.Command("python3", append([]string{"-c", script}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// scoreInPython computes scores from the files of a model folder and rows of encoded features, with numpy alone.
const scoreInPython = `
import json, sys, numpy as np
from safetensors.numpy import load_file
folder, rows = sys.argv[1], json.load(open(sys.argv[2]))
model = json.load(open(folder + "/model.json"))["model"]
labels = open(folder + "/labels.txt", encoding="utf-8").read().split("\n")[:-1]
w = load_file(folder + "/weights.safetensors")
x = np.zeros((len(rows), model["parts"][0]["inputs"]))
for i, row in enumerate(rows):
    x[i, row["ids"]] = row["values"]
assert len(labels) == model["labels"] == len(w["bias"]) == len(w["label_counts"])
if model["parts"][0]["kind"] == "table":
    dense = np.zeros((x.shape[1], len(labels)))
    for f in range(x.shape[1]):
        at = slice(w["part0.indptr"][f], w["part0.indptr"][f + 1])
        dense[f, w["part0.indices"][at]] = w["part0.values"][at]
    z = w["bias"] + x @ dense
else:
    h = np.maximum(x @ w["part0.embedding"], 0)
    for i in range(len(model["parts"][0]["hidden"]) - 1):
        h = np.maximum(h @ w[f"part0.hidden{i}.weight"].T + w[f"part0.hidden{i}.bias"], 0)
    z = w["bias"] + h @ w["part0.head"].T
print(json.dumps(z.tolist()))
`

func TestPythonScoresOurModels(t *testing.T) {
	dev := device(t)
	for _, tt := range []struct {
		name, file string
		kind       model.Kind
	}{
		{"table of counts", xmcFile, model.Table},
		{"embed of counts", xmcFile, model.Embed},
		{"table of text", textFile, model.Table},
		{"embed of text", textFile, model.Embed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := load(t, tt.file)
			c := fit(t, dev, set, tt.kind)
			dir := filepath.Join(t.TempDir(), "m")
			if err := c.Save(dir); err != nil {
				t.Fatal(err)
			}
			e, err := c.Encode(set)
			if err != nil {
				t.Fatal(err)
			}
			type row struct {
				IDs    []int32   `json:"ids"`
				Values []float32 `json:"values"`
			}
			rows := make([]row, 10)
			for i := range rows {
				ids, values := e.X.Row(i)
				rows[i] = row{append([]int32{}, ids...), append([]float32{}, values...)}
			}
			doc, err := json.Marshal(rows)
			if err != nil {
				t.Fatal(err)
			}
			exported := filepath.Join(t.TempDir(), "rows.json")
			if err := os.WriteFile(exported, doc, 0o666); err != nil {
				t.Fatal(err)
			}
			var z [][]float64
			if err := json.Unmarshal([]byte(python(t, scoreInPython, dir, exported)), &z); err != nil {
				t.Fatal(err)
			}
			spread := 0.0
			for i, cands := range rank(t, c, set)[:len(rows)] {
				for _, k := range cands {
					if want := z[i][k.Label]; math.Abs(float64(k.Score)-want) > 1e-5*(1+math.Abs(want)) {
						t.Errorf("row %d label %q: score %v, numpy %v", i, c.Labels[k.Label], k.Score, want)
					}
				}
				spread = max(spread, float64(cands[0].Score-cands[len(cands)-1].Score))
			}
			if spread < 0.1 {
				t.Errorf("all scores lie within %v: the test shows nothing", spread)
			}
		})
	}
}
