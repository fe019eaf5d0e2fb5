package triage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// row is one row in short: the input, a colon, the labels separated by commas.
func gather(opt Options, rows ...string) *Triage {
	t := New(opt)
	for _, row := range rows {
		in, labels, _ := strings.Cut(row, ":")
		t.Add([]byte(in), slices.DeleteFunc(strings.Split(labels, ","), func(l string) bool { return l == "" }))
	}
	return t
}

func TestReport(t *testing.T) {
	r := gather(Options{}, "x1:a", "x2:a,b", "x3:", "x4:a,b,c", "x1:a", "x2:b", "x2:b,a", "x5:c").Report(nil)
	if r.Rows != 8 || r.Labels != 3 || r.RowsWithoutLabel != 1 || r.RowsSingle != 4 || r.RowsMulti != 3 || r.MultiShare != 0.375 || r.Task != Multi {
		t.Errorf("counts: %+v", r)
	}
	if diff := cmp.Diff(Distribution{Mean: 11. / 8, Min: 0, Q25: 1, Median: 1, Q75: 2, Q95: 3, Max: 3}, r.LabelsPerRow); diff != "" {
		t.Errorf("labels per row (-want +got):\n%s", diff)
	}
	// a: 5 rows, b: 4, c: 2; half of the 11 assignments are reached with b, nine tenths with c.
	want := Frequency{
		RowsPerLabel: Distribution{Mean: 11. / 3, Min: 2, Q25: 2, Median: 4, Q75: 5, Q95: 5, Max: 5},
		Head:         Band{2, 9. / 11}, Middle: Band{1, 2. / 11},
		LabelsBelow5Rows: 2,
		MostFrequent:     []LabelCount{{"a", 5}, {"b", 4}, {"c", 2}},
	}
	if diff := cmp.Diff(want, r.Frequency, cmp.AllowUnexported(Frequency{})); diff != "" {
		t.Errorf("frequency (-want +got):\n%s", diff)
	}
	// x1 repeats with the same labels; x2 once with others and once with the same in another order.
	if want := (Duplicates{Rows: 3, Conflicting: 1, SampledShare: 1}); r.Duplicates != want {
		t.Errorf("duplicates %+v, want %+v", r.Duplicates, want)
	}
}

func TestBands(t *testing.T) {
	// 100 rows: label i of 10 has 10 rows each, so the head is 5 labels, the middle 4, the tail 1.
	tr := New(Options{})
	for i := range 100 {
		tr.Add(fmt.Append(nil, i), []string{fmt.Sprint(i % 10)})
	}
	f := tr.Report(nil).Frequency
	if f.Head != (Band{5, 0.5}) || f.Middle != (Band{4, 0.4}) || f.Tail != (Band{1, 0.1}) {
		t.Errorf("bands %+v %+v %+v", f.Head, f.Middle, f.Tail)
	}
}

func TestTaskAndRecommendation(t *testing.T) {
	rowsOf := func(single, multi, none int) []string {
		var rows []string
		for range single {
			rows = append(rows, fmt.Sprintf("x%d:a", len(rows)))
		}
		for range multi {
			rows = append(rows, fmt.Sprintf("x%d:a,b", len(rows)))
		}
		for range none {
			rows = append(rows, fmt.Sprintf("x%d:", len(rows)))
		}
		return rows
	}
	for _, tt := range []struct {
		name      string
		opt       Options
		rows      []string
		task      Task
		model     string
		decision  string
		minLabels int
		why       string
	}{
		{"all single", Options{}, rowsOf(100, 0, 0), Single, "linear", "argmax", 1, "exactly one label"},
		{"4.9 % multi", Options{}, rowsOf(951, 49, 0), Single, "linear", "argmax", 1, "exactly one label"},
		{"5 % multi", Options{}, rowsOf(950, 50, 0), Mixed, "linear", "zero", 1, "softmax"},
		{"30 % multi", Options{}, rowsOf(70, 30, 0), Mixed, "linear", "zero", 1, "softmax"},
		{"31 % multi", Options{}, rowsOf(69, 31, 0), Multi, "linear", "zero", 1, "s > 0"},
		{"single or none", Options{}, rowsOf(80, 0, 20), Single, "linear", "zero", 0, "empty set"},
		{"multi or none", Options{}, rowsOf(40, 40, 20), Multi, "linear", "zero", 0, "empty set"},
		{"a stray row without labels", Options{}, rowsOf(100, 900, 5), Multi, "linear", "zero", 1, "--min-labels 1"},
		{"vectors", Options{Input: Dense}, rowsOf(10, 90, 0), Multi, "dense", "zero", 1, "sentence vectors"},
		{"sparse features", Options{Input: Sparse}, rowsOf(10, 90, 0), Multi, "linear", "zero", 1, "sparse linear"},
		{"own borders", Options{SingleBelow: 0.5, MultiAbove: 0.9}, rowsOf(51, 49, 0), Single, "linear", "argmax", 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := gather(tt.opt, tt.rows...).Report(nil)
			rec := r.Recommended
			if r.Task != tt.task || rec.Loss != "squared-hinge" || rec.Model != tt.model || rec.Decision != tt.decision || rec.MinLabels != tt.minLabels {
				t.Errorf("task %s, recommended %+v", r.Task, rec)
			}
			if !strings.Contains(rec.Why, tt.why) {
				t.Errorf("why %q lacks %q", rec.Why, tt.why)
			}
		})
	}
	for _, rows := range [][]string{nil, {"x:", "y:"}} {
		if rec := gather(Options{}, rows...).Report(nil).Recommended; rec.Loss != "" || !strings.Contains(rec.Why, "nothing to learn") {
			t.Errorf("recommended without labels: %+v", rec)
		}
	}
}

func TestWarnings(t *testing.T) {
	var many []string
	for i := range 51 {
		many = append(many, fmt.Sprint(i))
	}
	good := []string{}
	for i := range 30 {
		good = append(good, fmt.Sprintf("x%d:%c", i, 'a'+i%3))
	}
	with := func(rows ...string) []string { return slices.Concat(good, rows) }
	for _, tt := range []struct {
		name string
		rows []string
		test []string // nil: no test rows
		want []string
	}{
		{"nothing to say", good, nil, []string{}},
		{"nothing to say about the test", good, []string{"y:a"}, []string{}},
		{"no rows", nil, nil, []string{"no rows"}},
		{"no labels", []string{"x:", "y:"}, nil, []string{"no row has a label"}},
		{"one label", []string{"1:a", "2:a", "3:a", "4:a", "5:"}, nil, []string{`only one label, "a"`}},
		{"a label on every row", []string{"1:a,b", "2:a,c", "3:a", "4:a,b", "5:a"}, nil,
			[]string{`labels on every row, which tell nothing: 1, as "a"`, "labels with fewer than 5 rows: 2 of 3, with only one: 1"}},
		{"mostly without labels", slices.Concat(good, make([]string, 31)), nil, []string{"rows without a label: 50.8 %", "rows with an empty input: 31"}},
		{"a wrong separator", with("x99:" + strings.Join(many, ",")), nil,
			[]string{"rows with more than 50 labels: 1, the most has 51", "a long tail, labels with fewer than 5 rows: 51 of 54, with only one: 51", "more labels (54) than rows (31)"}},
		{"nearly equal labels", with("n:New  York", "o:new york", "p:new york", "q:new york", "r:new york", "s:new york"), nil, []string{`only in case or spaces: 1, as "new york" and "New  York"`}},
		{"repeated rows", with("x0:a"), nil, []string{"rows that repeat the input of another: 1 (3.2 %)"}},
		{"conflict", with("x0:b"), nil, []string{"another: 1 (3.2 %)", "rows that repeat the input of another with other labels: 1"}},
		{"empty test", good, []string{}, []string{"no test rows"}},
		{"unseen labels", good, []string{"y:a,z", "w:b"}, []string{`test labels that do not occur in training: 1, as "z"; no model can find these 33.3 %`}},
		{"leakage", good, []string{"x1:b", "x1:b", "y:b", "z:b"}, []string{"leakage, test rows with the input of a training row: 2 (50.0 %)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var test *Triage
			if tt.test != nil {
				test = gather(Options{}, tt.test...)
			}
			got := gather(Options{}, tt.rows...).Report(test).Warnings
			if len(got) != len(tt.want) {
				t.Fatalf("warnings %q, want %q", got, tt.want)
			}
			for i, want := range tt.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("warning %q, want %q", got[i], want)
				}
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	train := gather(Options{}, "x1:a", "x2:b", "x3:c,d", ":a")
	test := gather(Options{}, "x1:a", "x1:q", "y:c,r,q", ":b")
	want := &Overlap{
		TestRows: 4, TestLabels: 5, LabelsOnlyTest: 2, LabelsOnlyTrain: 1, UnseenShare: 0.5,
		SharedRows: 2, SharedRowsShare: 0.5, SampledShare: 1, exampleOnlyTest: "q",
	}
	if diff := cmp.Diff(want, train.Report(test).Overlap, cmp.AllowUnexported(Overlap{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Beyond MaxInputs the counts are estimates from a sample of the inputs, in bounded memory.
func TestSampledDuplicates(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	train, test := New(Options{MaxInputs: 2000}), New(Options{MaxInputs: 500})
	const rows, inputs = 60000, 20000
	seen := map[int]bool{}
	for range rows {
		i := rng.IntN(inputs)
		seen[i] = true
		train.Add(fmt.Append(nil, i), []string{"a", "b"}[:1+rng.IntN(2)])
	}
	for i := range 10000 { // half of them among the training inputs
		test.Add(fmt.Append(nil, inputs-5000+i), []string{"a"})
	}
	if len(train.inputs) > 2000 || len(test.inputs) > 500 {
		t.Errorf("%d and %d inputs kept", len(train.inputs), len(test.inputs))
	}
	r := train.Report(test)
	if r.Duplicates.SampledShare > 0.1 || r.Overlap.SampledShare > 0.05 {
		t.Errorf("sampled shares %v, %v", r.Duplicates.SampledShare, r.Overlap.SampledShare)
	}
	near := func(name string, got int64, want, tolerance float64) {
		if math.Abs(float64(got)-want) > tolerance*want {
			t.Errorf("%s %d, want about %.0f", name, got, want)
		}
	}
	near("duplicates", r.Duplicates.Rows, float64(rows-len(seen)), 0.1)
	near("conflicting", r.Duplicates.Conflicting, float64(rows-len(seen))/2, 0.1)
	near("shared rows", r.Overlap.SharedRows, 5000*float64(len(seen))/inputs, 0.2)
}

func TestAddKeepsNothing(t *testing.T) {
	tr := New(Options{})
	in, labels := []byte("x"), []string{"a"}
	tr.Add(in, labels)
	in[0], labels[0] = 'y', "b"
	tr.Add([]byte("x"), []string{"a"})
	if r := tr.Report(nil); r.Labels != 1 || r.Duplicates.Rows != 1 || r.Duplicates.Conflicting != 0 {
		t.Errorf("%+v", r)
	}
}

func TestJSONNames(t *testing.T) {
	data, err := json.Marshal(gather(Options{}, "x:a,b", "y:a").Report(nil))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"rows": 2., "labels": 2., "rows_without_label": 0., "rows_single": 1., "rows_multi": 1., "multi_share": 0.5, "task": "multi",
	} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
	recommended, ok := got["recommended"].(map[string]any)
	if !ok {
		t.Fatalf("recommended = %v", got["recommended"])
	}
	for _, name := range []string{"loss", "decision", "model", "why"} {
		if s, ok := recommended[name].(string); !ok || s == "" {
			t.Errorf("recommended.%s = %v", name, recommended[name])
		}
	}
	if _, ok := got["warnings"].([]any); !ok {
		t.Errorf("warnings = %v, want an array", got["warnings"])
	}
	if data, err := json.Marshal(New(Options{}).Report(nil)); err != nil || !bytes.Contains(data, []byte(`"warnings":["no rows"]`)) {
		t.Errorf("empty report %s (%v)", data, err)
	}
}

func TestWriteText(t *testing.T) {
	tr := New(Options{})
	for i := range 12000 {
		tr.Add(fmt.Append(nil, i%11000), []string{"soup\nof the day", fmt.Sprint(i % 700)})
	}
	tr.Add(nil, nil)
	test := gather(Options{}, "5:soup", "zzz:8")
	r := tr.Report(test)
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"rows             12,001\n", "no label       1 (0.0 %)", "several        12,000 (100.0 %)", "task             multi",
		`"soup\nof the day" (12,000)`, "1,000 rows repeat an input, 1,000 of them with other labels",
		"2, 1 (50.0 %) with the input of a training row", "2, 1 not in training; 700 training labels not in test",
		"loss squared-hinge, model linear, decision zero, min-labels 1", "leakage",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, b.String())
		}
	}
	if err := r.WriteText(failing{}); err == nil {
		t.Error("no error from a failing writer")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }

// Everything that can be wrong at once still fits on a screen.
func TestWriteTextIsShort(t *testing.T) {
	tr := New(Options{})
	var labels []string
	for i := range 60 {
		labels = append(labels, fmt.Sprint("Label ", i), fmt.Sprint("label ", i))
	}
	tr.Add(nil, labels)
	tr.Add([]byte("x"), labels)
	tr.Add([]byte("x"), labels[:1])
	r := tr.Report(gather(Options{}, "x:new"))
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n > 40 || len(r.Warnings) < 8 {
		t.Errorf("%d lines, %d warnings:\n%s", n, len(r.Warnings), b.String())
	}
}
