// Package metrics scores predictions against the truth: ranking metrics of each row's best labels and metrics of the
// decided label sets. All values are fractions in [0, 1].
//
// Conventions, each of them tested against scikit-learn or the formulas of pyxclib:
//
//   - Means over rows run over all rows, those without labels included. A row without labels scores 0 in P@k, R@k and
//     nDCG@k, whatever is ranked. P@k divides by k even where the row has fewer than k labels.
//   - nDCG@k: gain 1 for a hit, discount 1/log2(rank+1), divided by the best possible with the row's number of labels.
//   - PSP@k: hits weighted by the inverse propensity of Jain et al., "Extreme Multi-label Loss Functions" (KDD 2016),
//     w_l = 1 + C·(n_l + B)^−A with C = (ln N − 1)·(B + 1)^A, n_l training rows of label l out of N. As in pyxclib, the
//     sum over all rows is divided by the best possible sum over all rows. C is kept ≥ 0 (it is negative for N < 3).
//   - Micro metrics pool the decisions of all rows and labels; 0/0 is 0.
//   - Macro metrics are means over the labels that occur in the truth or in a decision; 0/0 is 0 for a label.
//   - Samples metrics are means over rows; a row with neither labels nor decisions is right and scores 1, otherwise 0/0
//     is 0.
//   - Coverage is the share of the labels in the truth that are decided correctly at least once.
//   - Abstained is the share of the rows with an empty decided set.
//
// Labels of the truth that the model does not know are misses: give them ids of Options.Labels and above, and they count
// in every denominator.
package metrics

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// DefaultK holds the ranking depths reported where nothing else is asked for.
var DefaultK = []int{1, 3, 5}

// Options say what to compute. The zero value is legal.
type Options struct {
	K      []int // ranking depths; nil means DefaultK
	Labels int   // number of labels that the model knows, a hint for memory

	// TrainCounts[l] is the number of training rows with label l, out of TrainRows. Nil leaves PSP@k out.
	TrainCounts []int64
	TrainRows   int
	// PropensityA and PropensityB are the constants of the propensity model; both 0 mean 0.55 and 1.5. Usual others:
	// 0.5 and 0.4 for Wikipedia data, 0.6 and 2.6 for Amazon data.
	PropensityA, PropensityB float64
}

// Evaluator gathers rows one by one; its memory is O(labels + depths). Not safe for concurrent use: give each goroutine
// its own and Merge them in a fixed order.
type Evaluator struct {
	k       []int // ascending
	counts  []int64
	a, b, c float64 // propensity model

	rows, abstained, subset      int64
	samplesP, samplesR, samplesF float64
	atK                          []atK // one per depth
	labels                       []labelCount

	discount []float64 // discount[i] of rank i+1
	ideal    []float64 // ideal[n] is the DCG of n hits at the top
	weights  []float64 // scratch: inverse propensities of a row's labels
}

// atK holds the sums over rows of the ranking metrics at one depth.
type atK struct{ p, r, ndcg, psp, pspBest float64 }

// labelCount holds the rows that have a label in the truth, in the decision, and in both.
type labelCount struct{ support, predicted, hits int64 }

// New returns an empty Evaluator. It refuses depths below 1 and propensity constants that give no finite weight.
func New(opt Options) (*Evaluator, error) {
	if opt.K == nil {
		opt.K = DefaultK
	}
	if opt.PropensityA == 0 && opt.PropensityB == 0 {
		opt.PropensityA, opt.PropensityB = 0.55, 1.5
	}
	e := &Evaluator{
		k:      slices.Compact(slices.Sorted(slices.Values(opt.K))),
		counts: opt.TrainCounts,
		a:      opt.PropensityA,
		b:      opt.PropensityB,
		labels: make([]labelCount, opt.Labels),
	}
	if len(e.k) > 0 && e.k[0] < 1 {
		return nil, fmt.Errorf("metrics: depth k = %d, want at least 1", e.k[0])
	}
	if !(e.a > 0 && e.b > 0) || math.IsInf(e.a, 0) || math.IsInf(e.b, 0) {
		return nil, fmt.Errorf("metrics: propensity constants A = %v, B = %v, want both finite and above 0", e.a, e.b)
	}
	e.c = max(0, (math.Log(float64(max(1, opt.TrainRows)))-1)*math.Pow(e.b+1, e.a))
	e.atK = make([]atK, len(e.k))
	e.ideal = []float64{0}
	if len(e.k) > 0 {
		for i := range e.k[len(e.k)-1] {
			e.discount = append(e.discount, 1/math.Log2(float64(i+2)))
			e.ideal = append(e.ideal, e.ideal[i]+e.discount[i])
		}
	}
	return e, nil
}

// Depth returns how many ranked labels of each row the metrics look at: the largest k.
func (e *Evaluator) Depth() int { return len(e.discount) }

// Rows returns the number of rows added.
func (e *Evaluator) Rows() int { return int(e.rows) }

// Add scores one row. Truth holds the row's label ids, strictly ascending; ranked the predicted ids, best first, at least
// Depth of them where the model knows as many; decided the ids of the decided set in any order. Ranked and decided hold
// no id twice.
func (e *Evaluator) Add(truth, ranked, decided []int32) {
	e.rows++
	e.addRanking(truth, ranked)
	e.addDecision(truth, decided)
}

func (e *Evaluator) addRanking(truth, ranked []int32) {
	if e.counts != nil {
		e.weights = e.weights[:0]
		for _, l := range truth {
			e.weights = append(e.weights, e.InversePropensity(l))
		}
		slices.SortFunc(e.weights, func(x, y float64) int { return cmp.Compare(y, x) })
	}
	var hits int
	var dcg, psp, best float64
	next := 0 // depth being gathered
	for i := range e.Depth() {
		if i < len(ranked) && has(truth, ranked[i]) {
			hits++
			dcg += e.discount[i]
			if e.counts != nil {
				psp += e.InversePropensity(ranked[i])
			}
		}
		if e.counts != nil && i < len(e.weights) {
			best += e.weights[i]
		}
		k := e.k[next]
		if i+1 < k {
			continue
		}
		s := &e.atK[next]
		next++
		s.p += float64(hits) / float64(k)
		s.psp += psp / float64(k)
		s.pspBest += best / float64(k)
		if len(truth) > 0 {
			s.r += float64(hits) / float64(len(truth))
			s.ndcg += dcg / e.ideal[min(k, len(truth))]
		}
	}
}

func (e *Evaluator) addDecision(truth, decided []int32) {
	hits := 0
	for _, l := range truth {
		e.label(l).support++
	}
	for _, l := range decided {
		c := e.label(l)
		c.predicted++
		if has(truth, l) {
			c.hits++
			hits++
		}
	}
	if len(decided) == 0 {
		e.abstained++
	}
	if hits == len(truth) && hits == len(decided) {
		e.subset++
	}
	if len(truth) == 0 && len(decided) == 0 {
		e.samplesP++
		e.samplesR++
		e.samplesF++
		return
	}
	p, r, f := PRF(hits, len(decided), len(truth))
	e.samplesP += p
	e.samplesR += r
	e.samplesF += f
}

// label returns the counts of label l, growing the table for labels that the model does not know.
func (e *Evaluator) label(l int32) *labelCount {
	if n := int(l) + 1; n > len(e.labels) {
		e.labels = append(e.labels, make([]labelCount, n-len(e.labels))...)
	}
	return &e.labels[l]
}

// InversePropensity returns the weight of a hit on label l in PSP@k; labels unseen in training weigh most.
func (e *Evaluator) InversePropensity(l int32) float64 {
	n := 0.0
	if int(l) < len(e.counts) {
		n = float64(e.counts[l])
	}
	return 1 + e.c*math.Pow(n+e.b, -e.a)
}

// Merge adds the rows of o, which must have been made with the same Options.
func (e *Evaluator) Merge(o *Evaluator) {
	e.rows += o.rows
	e.abstained += o.abstained
	e.subset += o.subset
	e.samplesP += o.samplesP
	e.samplesR += o.samplesR
	e.samplesF += o.samplesF
	for i, s := range o.atK {
		t := &e.atK[i]
		t.p += s.p
		t.r += s.r
		t.ndcg += s.ndcg
		t.psp += s.psp
		t.pspBest += s.pspBest
	}
	for l, c := range o.labels {
		t := e.label(int32(l))
		t.support += c.support
		t.predicted += c.predicted
		t.hits += c.hits
	}
}

// PRF returns precision, recall and F1 of hits right decisions out of predicted, with support labels to be found; 0/0
// is 0.
func PRF[T int | int64](hits, predicted, support T) (precision, recall, f1 float64) {
	return ratio(float64(hits), float64(predicted)), ratio(float64(hits), float64(support)),
		ratio(float64(2*hits), float64(predicted+support))
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// has tells whether the ascending ids hold l.
func has(ids []int32, l int32) bool {
	_, ok := slices.BinarySearch(ids, l)
	return ok
}

// Result returns the metrics of the rows so far, in the order in which they are shown. Without rows every value is 0.
func (e *Evaluator) Result() Result {
	n := float64(e.rows)
	var r Result
	add := func(name string, value float64) { r = append(r, Metric{name, value}) }
	perK := func(name string, value func(s atK) float64) {
		for i, k := range e.k {
			add(fmt.Sprintf("%s@%d", name, k), value(e.atK[i]))
		}
	}
	perK("p", func(s atK) float64 { return ratio(s.p, n) })
	perK("r", func(s atK) float64 { return ratio(s.r, n) })
	perK("ndcg", func(s atK) float64 { return ratio(s.ndcg, n) })
	if e.counts != nil {
		perK("psp", func(s atK) float64 { return ratio(s.psp, s.pspBest) })
	}

	var all labelCount
	var active, inTruth, found, macroP, macroR, macroF float64
	for _, c := range e.labels {
		if c.support == 0 && c.predicted == 0 {
			continue
		}
		active++
		if c.support > 0 {
			inTruth++
		}
		if c.hits > 0 {
			found++
		}
		all.support += c.support
		all.predicted += c.predicted
		all.hits += c.hits
		p, r, f := PRF(c.hits, c.predicted, c.support)
		macroP += p
		macroR += r
		macroF += f
	}
	microP, microR, microF := PRF(all.hits, all.predicted, all.support)
	add("micro_f1", microF)
	add("micro_precision", microP)
	add("micro_recall", microR)
	add("macro_f1", ratio(macroF, active))
	add("macro_precision", ratio(macroP, active))
	add("macro_recall", ratio(macroR, active))
	add("samples_f1", ratio(e.samplesF, n))
	add("samples_precision", ratio(e.samplesP, n))
	add("samples_recall", ratio(e.samplesR, n))
	add("subset_accuracy", ratio(float64(e.subset), n))
	add("coverage", ratio(found, inTruth))
	add("abstained", ratio(float64(e.abstained), n))
	return r
}

// LabelScore is one line of the per-label table.
type LabelScore struct {
	Label     string  `json:"label"`
	Support   int64   `json:"support"`   // rows with the label
	Predicted int64   `json:"predicted"` // rows for which it was decided
	Precision float64 `json:"precision"`
	Recall    float64 `json:"recall"`
	F1        float64 `json:"f1"`
}

// PerLabel returns a line for each label that occurs in the truth or in a decision, by ascending id; name tells the name
// of an id.
func (e *Evaluator) PerLabel(name func(id int32) string) []LabelScore {
	var table []LabelScore
	for l, c := range e.labels {
		if c.support == 0 && c.predicted == 0 {
			continue
		}
		p, r, f := PRF(c.hits, c.predicted, c.support)
		table = append(table, LabelScore{name(int32(l)), c.support, c.predicted, p, r, f})
	}
	return table
}

// Metric is one named value.
type Metric struct {
	Name  string
	Value float64
}

// Result holds metrics in the order in which they are shown. In JSON it is one object, name to value, in that order.
type Result []Metric

// Value returns the metric of that name, as in "p@1". The error for a wrong name suggests the nearest one.
func (r Result) Value(name string) (float64, error) {
	nearest, distance := "", math.MaxInt
	names := make([]string, len(r))
	for i, m := range r {
		if m.Name == name {
			return m.Value, nil
		}
		names[i] = m.Name
		if d := levenshtein.ComputeDistance(strings.ToLower(name), m.Name); d < distance {
			nearest, distance = m.Name, d
		}
	}
	// Farther than half of the name, a suggestion is a guess: list what there is.
	if 2*distance <= len(nearest) {
		return 0, fmt.Errorf("metrics: no metric %q; did you mean %q?", name, nearest)
	}
	return 0, fmt.Errorf("metrics: no metric %q; there are %s", name, strings.Join(names, " "))
}

// MarshalJSON writes one object with the metrics in order.
func (r Result) MarshalJSON() ([]byte, error) {
	buf := []byte{'{'}
	for i, m := range r {
		name, err := json.Marshal(m.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.Value)
		if err != nil {
			return nil, fmt.Errorf("metrics: %s: %w", m.Name, err)
		}
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = append(append(append(buf, name...), ':'), value...)
	}
	return append(buf, '}'), nil
}

// UnmarshalJSON reads such an object and keeps its order.
func (r *Result) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(strings.NewReader(string(data)))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("metrics: result is not a JSON object")
	}
	*r = nil
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		m := Metric{Name: name.(string)} // the decoder refuses keys of other types
		if err := dec.Decode(&m.Value); err != nil {
			return fmt.Errorf("metrics: %s: %w", m.Name, err)
		}
		*r = append(*r, m)
	}
	return nil
}
