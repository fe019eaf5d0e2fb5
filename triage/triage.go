// Package triage looks at labelled rows before anything is trained: how many labels rows have and rows labels have, what
// is doubtful in the data, and which loss, model and decision rule to begin with.
package triage

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
)

// Input is what the rows consist of besides labels.
type Input string

// The kinds of inputs.
const (
	Text   Input = "text"
	Sparse Input = "sparse" // sparse features
	Dense  Input = "dense"  // vectors of an encoder
)

// Task says how many labels a row has.
type Task string

// The kinds of tasks, by the share of the rows with more than one label.
const (
	Single Task = "single"
	Mixed  Task = "mixed"
	Multi  Task = "multi"
)

// Options for New. The zero value of a field means its default.
type Options struct {
	Input       Input   // default Text
	SingleBelow float64 // a share of multi-label rows below is task single; default 0.05
	MultiAbove  float64 // a share above is task multi; default 0.3
	// MaxInputs bounds the memory for finding duplicates, about 40 bytes for each different input; beyond it only a random
	// part of the inputs is watched and the numbers are estimates. Default 4 million.
	MaxInputs int
}

// Triage gathers rows one by one. Its memory grows with the labels, and with the different inputs up to a bound.
type Triage struct {
	opt      Options
	rows     int64
	empty    int64 // rows with an empty input
	perRow   map[int]int64
	ids      map[string]int
	names    []string
	perLabel []int64

	// Inputs whose hash begins with level zero bits, by hash: a random sample of 1 in 2^level different inputs, with all
	// of their rows (distinct sampling: Gibbons, VLDB 2001).
	inputs map[uint64]input
	level  int
}

// input is what is known of the rows with one input.
type input struct {
	labels      uint64 // hash of the first row's label set
	rows        int64
	conflicting int64 // rows with other labels than the first
}

// New returns an empty Triage.
func New(opt Options) *Triage {
	if opt.Input == "" {
		opt.Input = Text
	}
	if opt.SingleBelow == 0 {
		opt.SingleBelow = 0.05
	}
	if opt.MultiAbove == 0 {
		opt.MultiAbove = 0.3
	}
	if opt.MaxInputs == 0 {
		opt.MaxInputs = 4 << 20
	}
	return &Triage{opt: opt, perRow: map[int]int64{}, ids: map[string]int{}, inputs: map[uint64]input{}}
}

// Add takes one row: its input in any form that is equal for equal inputs (the text; the bytes of features or a vector),
// and its labels, none of them twice. It keeps neither slice.
func (t *Triage) Add(in []byte, labels []string) {
	t.rows++
	t.perRow[len(labels)]++
	var set uint64 // a sum, so that the order of the labels does not matter
	for _, l := range labels {
		id, ok := t.ids[l]
		if !ok {
			id = len(t.names)
			l = strings.Clone(l) // it may be part of a long line
			t.ids[l] = id
			t.names = append(t.names, l)
			t.perLabel = append(t.perLabel, 0)
		}
		t.perLabel[id]++
		set += xxh3.HashString(l)
	}
	if len(in) == 0 {
		t.empty++
		return
	}
	h := xxh3.Hash(in)
	if !sampled(h, t.level) {
		return
	}
	seen, ok := t.inputs[h]
	if !ok {
		seen.labels = set
	}
	seen.rows++
	if seen.labels != set {
		seen.conflicting++
	}
	t.inputs[h] = seen
	for len(t.inputs) > t.opt.MaxInputs && t.level < 63 {
		t.level++
		maps.DeleteFunc(t.inputs, func(h uint64, _ input) bool { return !sampled(h, t.level) })
	}
}

// sampled tells whether the hash begins with level zero bits.
func sampled(h uint64, level int) bool { return h>>(64-level) == 0 }

// Distribution holds the quantiles of whole numbers: the smallest value that at least that share of them does not exceed.
type Distribution struct {
	Mean   float64 `json:"mean"`
	Min    int64   `json:"min"`
	Q25    int64   `json:"q25"`
	Median int64   `json:"median"`
	Q75    int64   `json:"q75"`
	Q95    int64   `json:"q95"`
	Max    int64   `json:"max"`
}

// distribution describes the numbers that histogram counts.
func distribution(histogram map[int64]int64) Distribution {
	values := slices.Sorted(maps.Keys(histogram))
	if len(values) == 0 {
		return Distribution{}
	}
	var n, sum int64
	for v, count := range histogram {
		n += count
		sum += v * count
	}
	quantile := func(q float64) int64 {
		rank, below := int64(math.Ceil(q*float64(n))), int64(0)
		for _, v := range values {
			if below += histogram[v]; below >= rank {
				return v
			}
		}
		return values[len(values)-1]
	}
	return Distribution{
		Mean: float64(sum) / float64(n), Min: values[0], Max: values[len(values)-1],
		Q25: quantile(0.25), Median: quantile(0.5), Q75: quantile(0.75), Q95: quantile(0.95),
	}
}

// Band is a group of labels by frequency.
type Band struct {
	Labels int     `json:"labels"`
	Share  float64 `json:"share"` // of all label assignments
}

// LabelCount is a label with the number of rows that have it.
type LabelCount struct {
	Label string `json:"label"`
	Rows  int64  `json:"rows"`
}

// Frequency describes how often labels occur.
type Frequency struct {
	RowsPerLabel Distribution `json:"rows_per_label"`
	// Head holds the fewest labels that make up half of all assignments, Middle those that follow up to nine tenths, Tail
	// the rest.
	Head   Band `json:"head"`
	Middle Band `json:"middle"`
	Tail   Band `json:"tail"`

	LabelsWithOneRow   int          `json:"labels_with_one_row"`
	LabelsBelow5Rows   int          `json:"labels_below_5_rows"`
	MostFrequent       []LabelCount `json:"most_frequent"` // up to five
	LabelsOnEveryRow   int          `json:"labels_on_every_row"`
	LabelsNearlyEqual  int          `json:"labels_nearly_equal"` // that differ from another one in case or spaces only
	exampleNearlyEqual [2]string
}

// Duplicates counts rows that repeat an input.
type Duplicates struct {
	Rows        int64 `json:"rows"`        // beyond the first of each input
	Conflicting int64 `json:"conflicting"` // of these, rows with other labels than the first one of their input
	// SampledShare is the share of the inputs that was watched; below 1 the counts are estimates.
	SampledShare float64 `json:"sampled_share"`
}

// Overlap compares a second file, the test rows, with the first one, the training rows.
type Overlap struct {
	TestRows        int64   `json:"test_rows"`
	TestLabels      int     `json:"test_labels"`
	LabelsOnlyTest  int     `json:"labels_only_test"`  // no model can find these
	LabelsOnlyTrain int     `json:"labels_only_train"` // nothing tests these
	UnseenShare     float64 `json:"unseen_share"`      // of the test rows' label assignments, to labels not in training
	SharedRows      int64   `json:"shared_rows"`       // test rows whose input is also a training input
	SharedRowsShare float64 `json:"shared_rows_share"` // of the test rows
	SampledShare    float64 `json:"sampled_share"`     // as in Duplicates
	exampleOnlyTest string
}

// Recommended is what to begin with.
type Recommended struct {
	Loss      string `json:"loss"`
	Model     string `json:"model"`
	Decision  string `json:"decision"`   // a rule of package decide
	MinLabels int    `json:"min_labels"` // 1: decide at least the best label
	Why       string `json:"why"`
}

// Report is what there is to say about the rows.
type Report struct {
	Rows             int64        `json:"rows"`
	Labels           int          `json:"labels"`
	RowsWithoutLabel int64        `json:"rows_without_label"`
	RowsSingle       int64        `json:"rows_single"`
	RowsMulti        int64        `json:"rows_multi"`
	MultiShare       float64      `json:"multi_share"` // of all rows
	Task             Task         `json:"task"`
	Input            Input        `json:"input"`
	EmptyInputs      int64        `json:"empty_inputs"`
	LabelsPerRow     Distribution `json:"labels_per_row"`
	Frequency        Frequency    `json:"frequency"`
	Duplicates       Duplicates   `json:"duplicates"`
	Overlap          *Overlap     `json:"overlap,omitempty"`
	Recommended      Recommended  `json:"recommended"`
	Warnings         []string     `json:"warnings"`
}

// Report describes the rows so far and, where test is not nil, how the test rows relate to them.
func (t *Triage) Report(test *Triage) Report {
	r := Report{
		Rows: t.rows, Labels: len(t.names), Input: t.opt.Input, EmptyInputs: t.empty,
		RowsWithoutLabel: t.perRow[0], RowsSingle: t.perRow[1],
		Frequency: t.frequency(), Duplicates: t.duplicates(),
	}
	r.RowsMulti = r.Rows - r.RowsWithoutLabel - r.RowsSingle
	r.MultiShare = share(r.RowsMulti, r.Rows)
	switch {
	case r.MultiShare < t.opt.SingleBelow:
		r.Task = Single
	case r.MultiShare <= t.opt.MultiAbove:
		r.Task = Mixed
	default:
		r.Task = Multi
	}
	histogram := map[int64]int64{}
	for labels, rows := range t.perRow {
		histogram[int64(labels)] = rows
	}
	r.LabelsPerRow = distribution(histogram)
	if test != nil {
		r.Overlap = t.overlap(test)
	}
	r.Recommended = r.recommend()
	r.Warnings = r.warnings(t)
	return r
}

func (t *Triage) frequency() Frequency {
	f := Frequency{MostFrequent: []LabelCount{}}
	histogram := map[int64]int64{}
	var total int64
	order := make([]int, len(t.names)) // most frequent first, then by name
	for id, n := range t.perLabel {
		order[id] = id
		histogram[n]++
		total += n
	}
	slices.SortFunc(order, func(a, b int) int {
		if d := t.perLabel[b] - t.perLabel[a]; d != 0 {
			return int(d)
		}
		return strings.Compare(t.names[a], t.names[b])
	})
	f.RowsPerLabel = distribution(histogram)

	var before int64 // assignments of the more frequent labels
	var sums [3]int64
	bands := [3]*Band{&f.Head, &f.Middle, &f.Tail}
	folded := map[string]string{}
	for rank, id := range order {
		n := t.perLabel[id]
		band := 2
		switch {
		case 2*before < total:
			band = 0
		case 10*before < 9*total:
			band = 1
		}
		bands[band].Labels++
		sums[band] += n
		before += n

		if rank < 5 {
			f.MostFrequent = append(f.MostFrequent, LabelCount{t.names[id], n})
		}
		if n == 1 {
			f.LabelsWithOneRow++
		}
		if n < 5 {
			f.LabelsBelow5Rows++
		}
		if n == t.rows {
			f.LabelsOnEveryRow++
		}
		key := strings.ToLower(strings.Join(strings.Fields(t.names[id]), " "))
		if other, ok := folded[key]; ok {
			f.LabelsNearlyEqual++
			if f.LabelsNearlyEqual == 1 {
				f.exampleNearlyEqual = [2]string{other, t.names[id]}
			}
		} else {
			folded[key] = t.names[id]
		}
	}
	for i, b := range bands {
		b.Share = share(sums[i], total)
	}
	return f
}

func (t *Triage) duplicates() Duplicates {
	var d Duplicates
	for _, in := range t.inputs {
		d.Rows += in.rows - 1
		d.Conflicting += in.conflicting
	}
	d.Rows <<= t.level
	d.Conflicting <<= t.level
	d.SampledShare = math.Ldexp(1, -t.level)
	return d
}

func (t *Triage) overlap(test *Triage) *Overlap {
	o := &Overlap{TestRows: test.rows, TestLabels: len(test.names), LabelsOnlyTrain: len(t.names)}
	var total, unseen int64
	for id, name := range test.names {
		n := test.perLabel[id]
		total += n
		if _, ok := t.ids[name]; ok {
			o.LabelsOnlyTrain--
			continue
		}
		unseen += n
		if o.LabelsOnlyTest++; o.LabelsOnlyTest == 1 {
			o.exampleOnlyTest = name
		}
	}
	o.UnseenShare = share(unseen, total)
	level := max(t.level, test.level)
	for h, in := range test.inputs {
		if _, ok := t.inputs[h]; ok && sampled(h, level) {
			o.SharedRows += in.rows
		}
	}
	o.SharedRows <<= level
	o.SharedRowsShare = share(o.SharedRows, test.rows)
	o.SampledShare = math.Ldexp(1, -level)
	return o
}

func share(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}
