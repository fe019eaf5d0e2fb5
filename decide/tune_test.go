package decide

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gputrain/sparse"
)

// random makes rows with 0 to 3 true labels of which the last few ids are unknown to the model. Scores lie on a coarse
// grid, so that there are many ties, and some are NaN or −Inf.
func random(rng *rand.Rand, rows, labels, unknown int) Validation {
	v := Validation{Labels: labels, Truth: &sparse.CSR{Cols: labels + unknown}}
	for range rows {
		truth := rng.Perm(labels + unknown)[:rng.IntN(min(3, labels+unknown)+1)]
		slices.Sort(truth)
		var ids []int32
		for _, l := range truth {
			ids = append(ids, int32(l))
		}
		v.Truth.Append(ids, nil)
		var cands []Candidate
		for l := range int32(labels) {
			score := float32(math.Round(4*rng.NormFloat64()-2)) / 2
			if slices.Contains(ids, l) {
				score += 1.5
			}
			cands = append(cands, Candidate{l, score})
		}
		slices.SortStableFunc(cands, func(a, b Candidate) int { return cmp.Compare(b.Score, a.Score) })
		cands = cands[:rng.IntN(labels+1)] // not every label is kept
		if rng.IntN(8) == 0 {
			cands = slices.Concat([]Candidate{{0, nan}}, slices.DeleteFunc(cands, func(c Candidate) bool { return c.Label == 0 }), []Candidate{{-1, -inf}})
		}
		v.Rows = append(v.Rows, cands)
	}
	return v
}

// value computes a metric of the rule's sets the slow way, with maps and nothing of package metrics.
func value(v Validation, rule Rule, metric string) float64 {
	type pair struct {
		row   int
		label int32
	}
	truth, decided := map[pair]bool{}, map[pair]bool{}
	labels := map[int32]bool{}
	for i, cands := range v.Rows {
		ids, _ := v.Truth.Row(i)
		for _, l := range ids {
			truth[pair{i, l}], labels[l] = true, true
		}
		for _, l := range rule.Decide(nil, cands) {
			decided[pair{i, l}], labels[l] = true, true
		}
	}
	score := func(in func(p pair) bool) (f1 float64, same bool) {
		var both, sizes float64
		for p := range truth {
			if in(p) {
				sizes++
				if decided[p] {
					both++
				}
			}
		}
		for p := range decided {
			if in(p) {
				sizes++
			}
		}
		if sizes == 0 {
			return 0, true
		}
		return 2 * both / sizes, 2*both == sizes
	}
	var sum, n float64
	switch metric {
	case "micro_f1":
		f1, _ := score(func(pair) bool { return true })
		return f1
	case "macro_f1":
		for l := range labels {
			f1, _ := score(func(p pair) bool { return p.label == l })
			sum += f1
			n++
		}
	default:
		for i := range v.Rows {
			f1, same := score(func(p pair) bool { return p.row == i })
			if same {
				sum++
			} else if metric == "samples_f1" {
				sum += f1
			}
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return sum / n
}

// thresholds returns one threshold for each distinct way to cut the scores.
func thresholds(v Validation) []float32 {
	ts := []float32{-math.MaxFloat32}
	for _, cands := range v.Rows {
		for _, c := range cands {
			if finite(c.Score) {
				ts = append(ts, c.Score)
			}
		}
	}
	slices.Sort(ts)
	return slices.Compact(ts)
}

func TestTuneFindsTheBest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for trial := range 40 {
		v := random(rng, 1+rng.IntN(12), 1+rng.IntN(5), rng.IntN(2))
		for _, metric := range Metrics {
			for minLabels := range 2 {
				// Brute force: every threshold, and for top-n every n.
				best := map[Kind]float64{}
				for _, th := range thresholds(v) {
					global := Rule{Kind: Global, Threshold: th, MinLabels: minLabels}
					best[Global] = max(best[Global], value(v, global, metric))
					for n := 1; n <= v.Labels; n++ {
						top := Rule{Kind: TopN, N: n, Threshold: th, MinLabels: minLabels}
						best[TopN] = max(best[TopN], value(v, top, metric))
					}
				}
				for kind, want := range best {
					rule, got, err := Tune(v, kind, metric, minLabels)
					if err != nil {
						t.Fatal(err)
					}
					name := fmt.Sprintf("trial %d, %s for %s, at least %d: %v", trial, kind, metric, minLabels, rule)
					if math.Abs(got-value(v, rule, metric)) > 1e-12 {
						t.Errorf("%s: reported value %v, the rule gives %v", name, got, value(v, rule, metric))
					}
					if math.Abs(got-want) > 1e-9 {
						t.Errorf("%s: value %v, brute force finds %v", name, got, want)
					}
				}
			}
		}
	}
}

// The threshold keeps a distance from both neighbours, so that rounding at prediction time changes nothing.
func TestThresholdLiesMidway(t *testing.T) {
	v := Validation{Rows: [][]Candidate{row(3, 1)}, Truth: csr(2, []int32{0}), Labels: 2}
	rule, got, err := Tune(v, Global, "micro_f1", 0)
	if err != nil || rule.Threshold != 2 || got != 1 {
		t.Errorf("%v, value %v (%v), want threshold 2, value 1", rule, got, err)
	}
}

func TestBetween(t *testing.T) {
	const big = math.MaxFloat32
	next := math.Nextafter32(1, 2)
	for _, p := range [][2]float32{{0, 1}, {-1, 1}, {1, next}, {-inf, 3}, {-inf, -3}, {-inf, inf}, {2, inf}, {-big, big}, {big, inf}, {-inf, big}, {0, math.SmallestNonzeroFloat32}} {
		lo, hi := p[0], p[1]
		if got := between(lo, hi); !finite(got) || !(hi > got) || got < lo {
			t.Errorf("between(%v, %v) = %v", lo, hi, got)
		}
	}
}

func csr(cols int, rows ...[]int32) *sparse.CSR {
	m := &sparse.CSR{Cols: cols}
	for _, ids := range rows {
		m.Append(ids, nil)
	}
	return m
}

func TestPerLabelThresholds(t *testing.T) {
	// Label 0 is right above 1 (cut at 0.5), label 1 above −1 (cut at −2), label 2 has no positives, label 3 only positives,
	// and label 4 is scored in the wrong rows only.
	v := Validation{Labels: 5, Truth: &sparse.CSR{Cols: 5}}
	for i := range 40 {
		high := i%2 == 0
		ids, a, b := []int32{3}, float32(0), float32(-3)
		if high {
			ids, a, b = []int32{0, 1, 3, 4}, 1, -1
		}
		v.Truth.Append(ids, nil)
		cands := []Candidate{{0, a}, {1, b}, {2, -0.5}, {3, 0.75}}
		if !high {
			cands = append(cands, Candidate{4, -0.25})
		}
		slices.SortFunc(cands, func(a, b Candidate) int { return cmp.Compare(b.Score, a.Score) })
		v.Rows = append(v.Rows, cands)
	}
	global, globalF1, err := Tune(v, Global, "micro_f1", 0)
	if err != nil {
		t.Fatal(err)
	}
	rule, f1, err := Tune(v, PerLabel, "micro_f1", 0)
	if err != nil {
		t.Fatal(err)
	}
	g := float64(global.Threshold)
	below := float64(math.Nextafter32(0.75, 0)) // every score of label 3 is right
	for l, want := range []float64{(20*0.5 + 10*g) / 30, (20*-2 + 10*g) / 30, g, (40*below + 10*g) / 50, g} {
		if got := float64(rule.Thresholds[l]); math.Abs(got-want) > 1e-6 {
			t.Errorf("threshold of label %d = %v, want %v (global %v)", l, got, want, g)
		}
	}
	if math.Abs(f1-8./9) > 1e-12 || globalF1 != 0.75 {
		t.Errorf("micro-F1 %v with own thresholds, %v with one, want 8/9 and 3/4", f1, globalF1)
	}
}

func TestTuneDegenerate(t *testing.T) {
	for name, v := range map[string]Validation{
		"no rows":         {Truth: csr(3), Labels: 3},
		"no labels":       {Rows: [][]Candidate{nil, nil}, Truth: csr(0, nil, nil)},
		"no candidates":   {Rows: [][]Candidate{nil, {}}, Truth: csr(2, []int32{0}, []int32{1}), Labels: 2},
		"only NaN":        {Rows: [][]Candidate{row(nan, nan)}, Truth: csr(2, []int32{0}), Labels: 2},
		"no positives":    {Rows: [][]Candidate{row(1, 0), row(2)}, Truth: csr(2, nil, nil), Labels: 2},
		"only positives":  {Rows: [][]Candidate{row(1, 0), row(2, 1)}, Truth: csr(2, []int32{0, 1}, []int32{0, 1}), Labels: 2},
		"only unknown":    {Rows: [][]Candidate{row(1, 0)}, Truth: csr(9, []int32{5, 8}), Labels: 2},
		"infinite scores": {Rows: [][]Candidate{row(inf, -inf)}, Truth: csr(2, []int32{0}), Labels: 2},
	} {
		for _, kind := range Kinds {
			for _, metric := range Metrics {
				for minLabels := range 2 {
					rule, got, err := Tune(v, kind, metric, minLabels)
					if err != nil {
						t.Errorf("%s, %s for %s: %v", name, kind, metric, err)
					} else if want := value(v, rule, metric); math.Abs(got-want) > 1e-12 {
						t.Errorf("%s, %s for %s: value %v, want %v", name, kind, metric, got, want)
					} else if name == "only positives" && kind == Global && got != 1 {
						t.Errorf("%s for %s: %v decides not all, value %v", name, metric, rule, got)
					}
				}
			}
		}
		if _, report, err := Choose(v, 0); err != nil || report.Clear {
			t.Errorf("Choose with %s: %+v (%v)", name, report, err)
		}
	}
}

func TestTuneRefuses(t *testing.T) {
	good := Validation{Rows: [][]Candidate{row(1, 0)}, Truth: csr(2, []int32{0}), Labels: 2}
	few, wide := good, good
	few.Truth = csr(2)
	wide.Labels = 1
	for _, tt := range []struct {
		v         Validation
		kind      Kind
		metric    string
		minLabels int
		want      string
	}{
		{good, Global, "p@1", 0, `cannot tune for "p@1"`},
		{good, "magic", "micro_f1", 0, `unknown rule "magic"`},
		{good, Global, "micro_f1", 3, "min_labels is 3"},
		{few, Global, "micro_f1", 0, "1 rows of scores for 0 rows of labels"},
		{wide, PerLabel, "micro_f1", 0, "row 0 has a score for label 1, of 1 labels"},
	} {
		if _, _, err := Tune(tt.v, tt.kind, tt.metric, tt.minLabels); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Tune(%s, %s, %d): %v, want an error with %q", tt.kind, tt.metric, tt.minLabels, err, tt.want)
		}
	}
	if _, _, err := Choose(few, 0); err == nil {
		t.Error("Choose with rows of scores and no truth: no error")
	}
}

// shifted makes rows of one or two labels whose best cut lies at the score cut: with 18.5 wrong labels to 1.5 right ones
// and normal scores, micro-F1 (0.8) is best where a label is right with probability 0.4, at +0.22 between means −2 and 1.
func shifted(rng *rand.Rand, rows int, cut float64) Validation {
	const labels = 20
	v := Validation{Labels: labels, Truth: &sparse.CSR{Cols: labels}}
	for range rows {
		ids := []int32{int32(rng.IntN(labels))}
		if second := ids[0] + 1 + int32(rng.IntN(labels)); second < labels {
			ids = append(ids, second)
		}
		v.Truth.Append(ids, nil)
		var cands []Candidate
		for l := range int32(labels) {
			score := cut - 2.22 + rng.NormFloat64()
			if slices.Contains(ids, l) {
				score = cut + 0.78 + rng.NormFloat64()
			}
			cands = append(cands, Candidate{l, float32(score)})
		}
		slices.SortFunc(cands, func(a, b Candidate) int { return cmp.Compare(b.Score, a.Score) })
		v.Rows = append(v.Rows, cands)
	}
	return v
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rows  int
		cut   float64
		clear bool
	}{
		{"0 is the best cut", 400, 0, false},
		{"scores too low", 400, -1.5, true},
		{"scores too high", 400, 1.5, true},
		{"too few rows to tell", 30, -1.5, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := shifted(rand.New(rand.NewPCG(3, 4)), tt.rows, tt.cut)
			for minLabels := range 2 {
				rule, report, err := Choose(v, minLabels)
				if err != nil {
					t.Fatal(err)
				}
				if report.Clear != tt.clear || (rule.Kind == Global) != tt.clear || rule.MinLabels != minLabels {
					t.Errorf("at least %d: chose %v, report %+v, want clear %v", minLabels, rule, report, tt.clear)
				}
				if tt.clear && math.Abs(float64(rule.Threshold)-tt.cut) > 0.5 {
					t.Errorf("at least %d: threshold %v, the best cut is %v", minLabels, rule.Threshold, tt.cut)
				}
				f1 := make([]float64, 3)
				for i, o := range report.Options {
					if f1[i], err = o.Metrics.Value("micro_f1"); err != nil {
						t.Fatal(err)
					}
					if want := value(v, o.Rule, "micro_f1"); i < 2 && math.Abs(f1[i]-want) > 1e-12 {
						t.Errorf("%s: micro-F1 %v, want %v", o.Name, f1[i], want)
					}
				}
				if gain := f1[2] - f1[minLabels]; math.Abs(gain-report.Gain) > 1e-12 {
					t.Errorf("gain %v, the options differ by %v", report.Gain, gain)
				}
				if _, optimistic, _ := Tune(v, Global, "micro_f1", minLabels); f1[2] > optimistic {
					t.Errorf("cross-fitted micro-F1 %v exceeds the optimum %v", f1[2], optimistic)
				}
			}
		})
	}
}

// The optimum on the rows themselves always looks better than 0; cross-fitting must not fall for it.
func TestChooseIsHonest(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	chosen := 0
	for range 200 {
		v := shifted(rng, 60, 0)
		_, report, err := Choose(v, 0)
		if err != nil {
			t.Fatal(err)
		}
		if report.Clear {
			chosen++
		}
	}
	if chosen > 8 { // two standard errors: 2.5 % by chance; without cross-fitting it would be several times that
		t.Errorf("a tuned threshold called clearly better in %d of 200 sets where 0 is the best cut", chosen)
	}
}

// The standard error agrees with a bootstrap over rows.
func TestStandardError(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	v := shifted(rng, 500, -1)
	a := v.rowCounts(func(int) Rule { return Rule{Kind: Global, Threshold: -1} })
	b := v.rowCounts(func(int) Rule { return Rule{Kind: Zero} })
	_, got := difference(a, b)
	var sum, squares float64
	const draws = 2000
	for range draws {
		ra, rb := make([]counts, len(a)), make([]counts, len(a))
		for i := range ra {
			k := rng.IntN(len(a))
			ra[i], rb[i] = a[k], b[k]
		}
		gain, _ := difference(ra, rb)
		sum += gain
		squares += gain * gain
	}
	want := math.Sqrt(squares/draws - sum*sum/draws/draws)
	if got < 0.9*want || got > 1.1*want {
		t.Errorf("standard error %v, bootstrap %v", got, want)
	}
}

func BenchmarkChoose(b *testing.B) {
	v := shifted(rand.New(rand.NewPCG(9, 10)), 5000, -1)
	for b.Loop() {
		if _, _, err := Choose(v, 0); err != nil {
			b.Fatal(err)
		}
	}
}
