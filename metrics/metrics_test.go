package metrics

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// golden is one case of testdata/golden.json, which scripts/golden/metrics.py writes.
type golden struct {
	Name        string             `json:"name"`
	K           []int              `json:"k"`
	Labels      int                `json:"labels"`
	TrainRows   int                `json:"train_rows"`
	A           float64            `json:"a"`
	B           float64            `json:"b"`
	TrainCounts []int64            `json:"train_counts"`
	Truth       [][]int32          `json:"truth"`
	Ranked      [][]int32          `json:"ranked"`
	Decided     [][]int32          `json:"decided"`
	Want        map[string]float64 `json:"want"`
}

func (g golden) evaluator(t *testing.T) *Evaluator {
	t.Helper()
	return newEvaluator(t, Options{K: g.K, Labels: g.Labels, TrainCounts: g.TrainCounts, TrainRows: g.TrainRows, PropensityA: g.A, PropensityB: g.B})
}

func newEvaluator(t *testing.T, opt Options) *Evaluator {
	t.Helper()
	e, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func readGolden(t *testing.T) []golden {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []golden
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("no golden cases")
	}
	return cases
}

func TestGolden(t *testing.T) {
	for _, g := range readGolden(t) {
		t.Run(g.Name, func(t *testing.T) {
			e := g.evaluator(t)
			for i := range g.Truth {
				e.Add(g.Truth[i], g.Ranked[i], g.Decided[i])
			}
			got := e.Result()
			if len(got) != len(g.Want) {
				t.Errorf("%d metrics, golden file has %d", len(got), len(g.Want))
			}
			for name, want := range g.Want {
				value, err := got.Value(name)
				if err != nil {
					t.Error(err)
				} else if math.Abs(value-want) > 1e-12 {
					t.Errorf("%s = %v, want %v", name, value, want)
				}
			}
		})
	}
}

func TestMergeEqualsOneEvaluator(t *testing.T) {
	for _, g := range readGolden(t) {
		whole, left, right := g.evaluator(t), g.evaluator(t), g.evaluator(t)
		for i := range g.Truth {
			whole.Add(g.Truth[i], g.Ranked[i], g.Decided[i])
			part := left
			if i%3 == 0 {
				part = right
			}
			part.Add(g.Truth[i], g.Ranked[i], g.Decided[i])
		}
		left.Merge(right)
		name := func(id int32) string { return fmt.Sprint(id) }
		if diff := cmp.Diff(whole.PerLabel(name), left.PerLabel(name)); diff != "" {
			t.Errorf("%s: per-label table (-whole +merged):\n%s", g.Name, diff)
		}
		if left.Rows() != whole.Rows() {
			t.Errorf("%s: %d rows, want %d", g.Name, left.Rows(), whole.Rows())
		}
		merged := left.Result()
		for i, m := range whole.Result() {
			if merged[i].Name != m.Name || math.Abs(merged[i].Value-m.Value) > 1e-12 {
				t.Errorf("%s: merged %v, whole %v", g.Name, merged[i], m)
			}
		}
	}
}

// Values by hand, one row each.
func TestOneRow(t *testing.T) {
	ids := func(l ...int32) []int32 { return l }
	tests := []struct {
		name                   string
		truth, ranked, decided []int32
		want                   map[string]float64
	}{
		{"perfect", ids(1, 4), ids(4, 1, 0), ids(1, 4), map[string]float64{
			"p@1": 1, "p@3": 2. / 3, "r@1": 0.5, "r@3": 1, "ndcg@3": 1, "micro_f1": 1, "macro_f1": 1, "samples_f1": 1, "subset_accuracy": 1, "coverage": 1, "abstained": 0}},
		{"second place only", ids(1), ids(0, 1, 2), ids(0), map[string]float64{
			"p@1": 0, "p@3": 1. / 3, "r@3": 1, "ndcg@3": 1 / math.Log2(3), "micro_f1": 0, "macro_f1": 0, "subset_accuracy": 0, "coverage": 0, "abstained": 0}},
		{"abstained", ids(1), ids(1, 0), nil, map[string]float64{
			"p@1": 1, "micro_f1": 0, "samples_f1": 0, "subset_accuracy": 0, "abstained": 1}},
		{"nothing to find, nothing decided", nil, ids(1, 0), nil, map[string]float64{
			"p@1": 0, "r@1": 0, "ndcg@3": 0, "micro_f1": 0, "samples_f1": 1, "subset_accuracy": 1, "coverage": 0, "abstained": 1}},
		{"nothing to find, one decided", nil, ids(1, 0), ids(1), map[string]float64{
			"micro_f1": 0, "samples_f1": 0, "samples_recall": 0, "subset_accuracy": 0, "abstained": 0}},
		{"label unknown to the model", ids(1, 9), ids(1, 0, 2), ids(1), map[string]float64{
			"r@3": 0.5, "ndcg@3": 1 / (1 + 1/math.Log2(3)), "micro_recall": 0.5, "macro_f1": 0.5, "subset_accuracy": 0, "coverage": 0.5}},
		{"fewer ranked than k, padding id", ids(1), ids(1, -1), ids(1), map[string]float64{
			"p@3": 1. / 3, "r@3": 1, "ndcg@3": 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEvaluator(t, Options{K: []int{3, 1, 3}, Labels: 5})
			e.Add(tt.truth, tt.ranked, tt.decided)
			for name, want := range tt.want {
				if got, err := e.Result().Value(name); err != nil || math.Abs(got-want) > 1e-15 {
					t.Errorf("%s = %v (%v), want %v", name, got, err, want)
				}
			}
		})
	}
}

func TestPropensity(t *testing.T) {
	e := newEvaluator(t, Options{TrainCounts: []int64{0, 10, 1000}, TrainRows: 1000})
	c := (math.Log(1000) - 1) * math.Pow(2.5, 0.55) // the default constants
	for l, n := range map[int32]float64{0: 0, 1: 10, 2: 1000, 7: 0} {
		if got, want := e.InversePropensity(l), 1+c/math.Pow(n+1.5, 0.55); math.Abs(got-want) > 1e-12 {
			t.Errorf("weight of label %d = %v, want %v", l, got, want)
		}
	}
	// One training row would make C negative and weights with it.
	e = newEvaluator(t, Options{TrainCounts: []int64{1}, TrainRows: 1})
	if got := e.InversePropensity(0); got != 1 {
		t.Errorf("weight with one training row = %v, want 1", got)
	}
}

func TestNoRows(t *testing.T) {
	for _, opt := range []Options{{}, {TrainCounts: []int64{1, 2}, TrainRows: 3}, {K: []int{}}} {
		for _, m := range newEvaluator(t, opt).Result() {
			if m.Value != 0 {
				t.Errorf("%s of no rows = %v, want 0", m.Name, m.Value)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		opt  Options
		want string
	}{
		{Options{K: []int{1, 0}}, "k = 0"},
		{Options{K: []int{-3}}, "k = -3"},
		{Options{PropensityA: -1, PropensityB: 1}, "A = -1"},
		{Options{PropensityA: 0.5}, "B = 0"},
		{Options{PropensityA: math.NaN(), PropensityB: 1}, "A = NaN"},
		{Options{PropensityA: 1, PropensityB: math.Inf(1)}, "B = +Inf"},
	} {
		if _, err := New(tt.opt); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New(%+v): %v, want an error with %q", tt.opt, err, tt.want)
		}
	}
}

func TestValueSuggests(t *testing.T) {
	r := newEvaluator(t, Options{TrainCounts: []int64{1}, TrainRows: 1}).Result()
	for name, want := range map[string]string{
		"micro-f1":  `did you mean "micro_f1"?`,
		"P@1":       `did you mean "p@1"?`,
		"psp@4":     `did you mean "psp@1"?`,
		"ndgc@5":    `did you mean "ndcg@5"?`,
		"accuracy!": "there are p@1 p@3 p@5 r@1",
		"":          "there are p@1",
	} {
		if _, err := r.Value(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Value(%q): %v, want an error with %q", name, err, want)
		}
	}
}

func TestResultJSON(t *testing.T) {
	e := newEvaluator(t, Options{K: []int{1}, Labels: 3})
	e.Add([]int32{0, 2}, []int32{2, 1, 0}, []int32{2})
	got, err := json.Marshal(e.Result())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"p@1":1,"r@1":0.5,"ndcg@1":1,"micro_f1":0.6666666666666666,"micro_precision":1,"micro_recall":0.5,` +
		`"macro_f1":0.5,"macro_precision":0.5,"macro_recall":0.5,"samples_f1":0.6666666666666666,"samples_precision":1,` +
		`"samples_recall":0.5,"subset_accuracy":0,"coverage":0.5,"abstained":0}`
	if string(got) != want {
		t.Errorf("JSON\n%s, want\n%s", got, want)
	}
	var back Result
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e.Result(), back); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	for _, bad := range []string{`[1]`, `{"p@1":"x"}`, `3`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("Unmarshal(%s): no error", bad)
		}
	}
}

func TestPerLabel(t *testing.T) {
	e := newEvaluator(t, Options{Labels: 4})
	e.Add([]int32{0, 5}, nil, []int32{0, 1})
	e.Add([]int32{0}, nil, []int32{1})
	name := func(id int32) string { return string('a' + id) }
	want := []LabelScore{
		{"a", 2, 1, 1, 0.5, 2. / 3},
		{"b", 0, 2, 0, 0, 0},
		{"f", 1, 0, 0, 0, 0},
	}
	if diff := cmp.Diff(want, e.PerLabel(name)); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func BenchmarkAdd(b *testing.B) {
	e, err := New(Options{Labels: 100, TrainCounts: make([]int64, 100), TrainRows: 1000})
	if err != nil {
		b.Fatal(err)
	}
	truth, ranked, decided := []int32{3, 40, 77}, []int32{3, 77, 5, 40, 9}, []int32{3, 77}
	b.ReportAllocs()
	for b.Loop() {
		e.Add(truth, ranked, decided)
	}
}
