package decide

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	nan = float32(math.NaN())
	inf = float32(math.Inf(1))
)

// row makes candidates with the labels 0, 1, … in order.
func row(scores ...float32) []Candidate {
	var cands []Candidate
	for l, s := range scores {
		cands = append(cands, Candidate{int32(l), s})
	}
	return cands
}

func TestDecide(t *testing.T) {
	ids := func(l ...int32) []int32 { return l }
	tests := []struct {
		name  string
		rule  Rule
		cands []Candidate
		want  []int32
	}{
		{"zero", Rule{Kind: Zero}, row(2, 1, 0, -1), ids(0, 1)},
		{"zero ignores a stored threshold", Rule{Kind: Zero, Threshold: 1.5}, row(2, 1), ids(0, 1)},
		{"zero, none", Rule{Kind: Zero}, row(-1, -2), nil},
		{"zero or the best", Rule{Kind: Zero, MinLabels: 1}, row(-1, -2), ids(0)},
		{"at least one adds nothing to one", Rule{Kind: Zero, MinLabels: 1}, row(1, -2), ids(0)},
		{"global", Rule{Kind: Global, Threshold: -1}, row(2, 0, -1, -2), ids(0, 1)},
		{"tie at the threshold", Rule{Kind: Global, Threshold: 1}, row(1, 1, 1), nil},
		{"ties above the threshold", Rule{Kind: Global, Threshold: 0.5}, row(1, 1, 1), ids(0, 1, 2)},
		{"per label", Rule{Kind: PerLabel, Thresholds: []float32{3, -1, 0}}, row(2, 1, -1), ids(1)},
		{"per label, none, at least one", Rule{Kind: PerLabel, Thresholds: []float32{3, 3}, MinLabels: 1}, row(2, 1), ids(0)},
		{"top 2", Rule{Kind: TopN, N: 2, Threshold: -5}, row(3, 2, 1), ids(0, 1)},
		{"top 2 with a threshold", Rule{Kind: TopN, N: 2, Threshold: 2}, row(3, 2, 1), ids(0)},
		{"top 9 of 3", Rule{Kind: TopN, N: 9, Threshold: 0}, row(3, 2, 1), ids(0, 1, 2)},
		{"argmax", Rule{Kind: Argmax}, row(-3, -4), ids(0)},
		{"argmax of ties is the first", Rule{Kind: Argmax}, []Candidate{{4, 1}, {7, 1}}, ids(4)},
		{"no candidates", Rule{Kind: Argmax, MinLabels: 1}, nil, nil},
		{"NaN first never decides", Rule{Kind: Argmax}, row(nan, 2, 1), ids(1)},
		{"NaN does not use up a rank", Rule{Kind: TopN, N: 1}, row(nan, 2, 1), ids(1)},
		{"NaN is not the best", Rule{Kind: Zero, MinLabels: 1}, row(nan, -2), ids(1)},
		{"only NaN", Rule{Kind: Global, Threshold: -1e30, MinLabels: 1}, row(nan, nan), nil},
		{"padding never decides", Rule{Kind: PerLabel, Thresholds: []float32{0}, MinLabels: 1}, []Candidate{{-1, -inf}}, nil},
		{"an excluded label is not the best", Rule{Kind: Argmax}, row(-inf, -inf), nil},
		{"infinite score", Rule{Kind: Zero}, row(inf, 1), ids(0, 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.rule.Decide([]int32{99}, tt.cands)
			if diff := cmp.Diff(append(ids(99), tt.want...), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		rule Rule
		want string // "" for a valid rule
	}{
		{Rule{Kind: Zero}, ""},
		{Rule{Kind: Argmax, MinLabels: 1}, ""},
		{Rule{Kind: Global, Threshold: -3}, ""},
		{Rule{Kind: TopN, N: 1}, ""},
		{Rule{Kind: PerLabel, Thresholds: []float32{1, 2, 3}}, ""},
		{Rule{}, `unknown rule ""`},
		{Rule{Kind: "best"}, `unknown rule "best"`},
		{Rule{Kind: Zero, MinLabels: 2}, "min_labels is 2"},
		{Rule{Kind: Zero, MinLabels: -1}, "min_labels is -1"},
		{Rule{Kind: TopN}, "n = 0"},
		{Rule{Kind: TopN, N: 2, Threshold: nan}, "threshold is NaN"},
		{Rule{Kind: Global, Threshold: inf}, "threshold is +Inf"},
		{Rule{Kind: PerLabel, Thresholds: []float32{1}}, "1 thresholds, the model has 3 labels"},
		{Rule{Kind: PerLabel, Thresholds: []float32{1, nan, 2}}, "threshold of label 1 is NaN"},
	} {
		err := tt.rule.Validate(3)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, want an error with %q", tt.rule, err, tt.want)
		}
	}
}

func TestRuleJSON(t *testing.T) {
	for _, tt := range []struct {
		rule       Rule
		json, text string
	}{
		{Rule{Kind: Zero, MinLabels: 1}, `{"kind":"zero","min_labels":1}`, "s > 0, at least the best"},
		{Rule{Kind: Global, Threshold: -0.25}, `{"kind":"global","threshold":-0.25}`, "s > -0.25"},
		{Rule{Kind: PerLabel, Thresholds: []float32{1, 0.5}}, `{"kind":"per-label","thresholds":[1,0.5]}`, "s > the label's threshold"},
		{Rule{Kind: TopN, N: 3, Threshold: 0.125}, `{"kind":"top-n","threshold":0.125,"n":3}`, "the 3 best with s > 0.125"},
		{Rule{Kind: Argmax}, `{"kind":"argmax"}`, "the best label"},
	} {
		data, err := json.Marshal(tt.rule)
		if err != nil || string(data) != tt.json {
			t.Errorf("%+v as JSON: %s (%v), want %s", tt.rule, data, err, tt.json)
		}
		var back Rule
		if err := json.Unmarshal(data, &back); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(tt.rule, back); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
		if tt.rule.String() != tt.text {
			t.Errorf("%+v reads %q, want %q", tt.rule, tt.rule, tt.text)
		}
	}
}
