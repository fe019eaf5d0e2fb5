package decide

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gputrain/metrics"
	"gputrain/sparse"
)

// Metrics lists what Tune can maximise, by the names of package metrics.
var Metrics = []string{"micro_f1", "macro_f1", "samples_f1", "subset_accuracy"}

const (
	maxTopN = 64 // beyond so many labels a row, top-n is what one global threshold does anyway
	shrink  = 10 // positive rows at which a label's own threshold and the global one weigh the same
	// The sweeps keep running sums: a gain below epsilon is rounding.
	epsilon = 1e-12
)

// Validation holds scored rows with their truth.
type Validation struct {
	// Rows[i] holds the best candidates of row i, best first, as many as the caller keeps; labels that are not among
	// them are never decided. Scores that are NaN or −Inf may stand anywhere and never count.
	Rows [][]Candidate
	// Truth holds the label ids of each row. Ids of Labels and above, unknown to the model, count as misses.
	Truth  *sparse.CSR
	Labels int // number of labels that the model knows
}

func (v Validation) check() error {
	if n := v.Truth.Rows(); len(v.Rows) != n {
		return fmt.Errorf("decide: %d rows of scores for %d rows of labels", len(v.Rows), n)
	}
	for i, cands := range v.Rows {
		for _, c := range cands {
			if c.valid() && (c.Label < 0 || int(c.Label) >= v.Labels) {
				return fmt.Errorf("decide: row %d has a score for label %d, of %d labels", i, c.Label, v.Labels)
			}
		}
	}
	return nil
}

// Tune returns the best rule of a kind on v, and the metric's value there: an optimistic value, since these rows chose
// the rule (Choose gives an honest one).
//
//   - global: the exact optimum over all thresholds, by one sweep over the sorted scores, O(n log n). The threshold lies
//     midway between the last score that is decided and the first that is not.
//   - top-n: the exact optimum over n ≤ 64 and all thresholds.
//   - per-label: for each label alone the threshold t_l with the best F1 (SCut: Yang, "A study of thresholding strategies
//     for text categorization", SIGIR 2001), shrunk towards the best global threshold t by the label's n positive rows,
//     (n·t_l + 10·t)/(n + 10), since own thresholds of rare labels are noise. A label that no threshold finds gets t.
//   - zero, argmax: nothing to tune, only the value.
//
// Of equally good rules the one with the highest threshold, then the smallest n, wins. Without any scores the threshold
// is 0.
func Tune(v Validation, kind Kind, metric string, minLabels int) (Rule, float64, error) {
	rule := Rule{Kind: kind, MinLabels: minLabels}
	if !slices.Contains(Metrics, metric) {
		return rule, 0, fmt.Errorf("decide: cannot tune for %q, want one of %q", metric, Metrics)
	}
	if err := v.check(); err != nil {
		return rule, 0, err
	}
	switch kind {
	case Global:
		rule.Threshold = bestThreshold(v.sorted(), v.objective(metric), minLabels).threshold
	case TopN:
		rule.N, rule.Threshold = v.bestTopN(metric, minLabels)
	case PerLabel:
		rule.Thresholds = v.perLabel(metric, minLabels)
	}
	if err := rule.Validate(v.Labels); err != nil {
		return rule, 0, err
	}
	result, err := v.Evaluate(setsOnly, Always(rule))
	if err != nil {
		return rule, 0, err
	}
	value, err := result.Value(metric)
	return rule, value, err
}

// Evaluate measures the ranking of the rows, and the sets that the rule of each row decides.
func (v Validation) Evaluate(opt metrics.Options, rule func(row int) Rule) (metrics.Result, error) {
	e, err := metrics.New(opt)
	if err != nil {
		return nil, err
	}
	var ranked, decided []int32
	for i, cands := range v.Rows {
		truth, _ := v.Truth.Row(i)
		ranked = ranked[:0]
		for _, c := range cands[:min(len(cands), e.Depth())] {
			ranked = append(ranked, c.Label)
		}
		decided = rule(i).Decide(decided[:0], cands)
		e.Add(truth, ranked, decided)
	}
	return e.Result(), nil
}

// Always gives every row the same rule.
func Always(r Rule) func(row int) Rule { return func(int) Rule { return r } }

// setsOnly leaves the ranking out.
var setsOnly = metrics.Options{K: []int{}}

// scored is one candidate of one row, with what a sweep must know of it.
type scored struct {
	Candidate
	row, rank int32 // rank among the row's candidates that may be decided, from 0
	hit       bool
}

// sorted returns the candidates of all rows that may be decided, best first.
func (v Validation) sorted() []scored {
	var all []scored
	for i, cands := range v.Rows {
		truth, _ := v.Truth.Row(i)
		rank := int32(0)
		for _, c := range cands {
			if c.valid() {
				all = append(all, scored{c, int32(i), rank, contains(truth, c.Label)})
				rank++
			}
		}
	}
	slices.SortFunc(all, func(a, b scored) int { return cmp.Compare(b.Score, a.Score) })
	return all
}

// contains tells whether the ascending ids hold l.
func contains(ids []int32, l int32) bool {
	_, ok := slices.BinarySearch(ids, l)
	return ok
}

// optimum is where a sweep found the highest value.
type optimum struct {
	threshold float32
	value     float64
}

// bestThreshold finds the threshold that maximises o over cands, best first.
func bestThreshold(cands []scored, o *objective, minLabels int) optimum {
	if minLabels == 0 {
		return sweep(cands, o)
	}
	for _, c := range cands {
		if c.rank == 0 {
			o.add(c) // decided whatever the threshold
		}
	}
	return sweep(filter(cands, func(c scored) bool { return c.rank > 0 }), o)
}

func (v Validation) bestTopN(metric string, minLabels int) (n int, threshold float32) {
	all := v.sorted()
	best := math.Inf(-1)
	for k := 1; k <= maxTopN; k++ {
		cands := filter(all, func(c scored) bool { return int(c.rank) < k })
		if o := bestThreshold(cands, v.objective(metric), minLabels); o.value > best+epsilon {
			n, threshold, best = k, o.threshold, o.value
		}
		if len(cands) == len(all) {
			break // no row has more
		}
	}
	return n, threshold
}

// filter returns the candidates to keep, in order, as a new list.
func filter(cands []scored, keep func(c scored) bool) []scored {
	kept := make([]scored, 0, len(cands))
	for _, c := range cands {
		if keep(c) {
			kept = append(kept, c)
		}
	}
	return kept
}

func (v Validation) perLabel(metric string, minLabels int) []float32 {
	all := v.sorted()
	global := bestThreshold(all, v.objective(metric), minLabels).threshold
	positives := make([]int64, max(v.Labels, v.Truth.Cols))
	for _, l := range v.Truth.Indices {
		positives[l]++
	}
	byLabel := make([][]scored, v.Labels)
	for _, c := range all {
		byLabel[c.Label] = append(byLabel[c.Label], c)
	}
	thresholds := make([]float32, v.Labels)
	for l, cands := range byLabel {
		thresholds[l] = global
		if own := sweep(cands, pooled(positives[l])); own.value > 0 {
			n := float64(positives[l])
			thresholds[l] = float32((n*float64(own.threshold) + shrink*float64(global)) / (n + shrink))
		}
	}
	return thresholds
}

// sweep lowers a threshold over cands, best first, and returns the first of the highest values of o.
func sweep(cands []scored, o *objective) optimum {
	if len(cands) == 0 {
		return optimum{0, o.value()}
	}
	top := cands[0].Score
	best := optimum{min(top, math.MaxFloat32), o.value()} // decides nothing
	for i := 0; i < len(cands); {
		score := cands[i].Score
		for ; i < len(cands) && cands[i].Score == score; i++ {
			o.add(cands[i])
		}
		if value := o.value(); value > best.value+epsilon {
			next := float32(math.Inf(-1))
			if i < len(cands) {
				next = cands[i].Score
			}
			best = optimum{between(next, score), value}
		}
	}
	return best
}

// between returns a finite threshold that hi exceeds and lo, the next lower score, does not: their midpoint, if there is
// one. Lo may be −Inf and hi +Inf.
func between(lo, hi float32) float32 {
	if math.IsInf(float64(lo), -1) {
		lo = max(math.Nextafter32(min(hi, math.MaxFloat32), float32(math.Inf(-1))), -math.MaxFloat32)
	}
	if mid := float32((float64(lo) + float64(hi)) / 2); mid < hi && finite(mid) {
		return mid
	}
	return lo
}

// objective is a metric of decided sets that follows each added decision in O(1): the mean over groups (the rows, the
// labels, or just one) of a score of the group's counts.
type objective struct {
	group   func(c scored) int32
	score   func(g counts) float64
	groups  []counts
	sum     float64
	n       int  // groups that count
	growing bool // groups count from their first label or decision on
}

type counts struct{ hits, predicted, support int64 }

func f1(g counts) float64 {
	_, _, f := metrics.PRF(g.hits, g.predicted, g.support)
	return f
}

// pooled returns the F1 of all decisions together, with so many labels to be found.
func pooled(support int64) *objective {
	return &objective{
		group: func(scored) int32 { return 0 }, score: f1,
		groups: []counts{{support: support}}, n: 1,
	}
}

// objective returns the metric before anything is decided.
func (v Validation) objective(metric string) *objective {
	if metric == "micro_f1" {
		return pooled(int64(v.Truth.NNZ()))
	}
	o := &objective{}
	if metric == "macro_f1" {
		o.group, o.score, o.growing = func(c scored) int32 { return c.Label }, f1, true
		o.groups = make([]counts, max(v.Labels, v.Truth.Cols))
		for _, l := range v.Truth.Indices {
			o.groups[l].support++
		}
	} else {
		o.group = func(c scored) int32 { return c.row }
		o.score = exact
		if metric == "samples_f1" {
			o.score = func(g counts) float64 { return max(f1(g), exact(g)) } // exact: a row without labels and decisions
		}
		o.groups = make([]counts, len(v.Rows))
		for i := range v.Rows {
			truth, _ := v.Truth.Row(i)
			o.groups[i].support = int64(len(truth))
		}
	}
	for _, g := range o.groups {
		if !o.growing || g.support > 0 {
			o.n++
		}
		o.sum += o.score(g)
	}
	return o
}

func exact(g counts) float64 {
	if g.support == g.hits && g.predicted == g.hits {
		return 1
	}
	return 0
}

// add decides c.
func (o *objective) add(c scored) {
	g := &o.groups[o.group(c)]
	if o.growing && g.support == 0 && g.predicted == 0 {
		o.n++
	}
	o.sum -= o.score(*g)
	g.predicted++
	if c.hit {
		g.hits++
	}
	o.sum += o.score(*g)
}

func (o *objective) value() float64 {
	if o.n == 0 {
		return 0
	}
	return o.sum / float64(o.n)
}
