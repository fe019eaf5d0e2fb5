package decide

import (
	"math"

	"gputrain/metrics"
)

// What makes a tuned threshold clearly better than 0, see Choose.
const (
	folds    = 5
	minRows  = 50
	minGain  = 0.005
	minSigma = 2
)

// Report says how Choose chose.
type Report struct {
	Options []Option `json:"options"` // s > 0; s > 0 or the best label; tuned
	// Gain is the micro-F1 of the tuned threshold less that of s > 0, and StdErr the standard error of this difference.
	Gain   float64 `json:"gain"`
	StdErr float64 `json:"std_err"`
	Clear  bool    `json:"clear"` // the tuned threshold was chosen
}

// Option is one way to decide, with the metrics of its sets on the validation rows: for the tuned rule those of the
// cross-fitted sets, see Choose.
type Option struct {
	Name    string         `json:"name"`
	Rule    Rule           `json:"rule"`
	Metrics metrics.Result `json:"metrics"`
}

// Choose returns the rule for a model whose loss puts the border at 0: s > 0, unless one global threshold is clearly
// better in micro-F1. Clearly means: by more than 0.005 and by more than two standard errors, on at least 50 rows.
//
// The comparison is honest. The rows fall into five folds (row i into fold i mod 5), and each fold is decided with the
// threshold tuned on the four others; the metrics of the tuned option are those of these sets. The chosen threshold is
// then tuned on all rows. The standard error is that of the paired difference over rows by the infinitesimal jackknife
// (Jaeckel 1972; Efron, "The Jackknife, the Bootstrap and Other Resampling Plans", 1982), which needs no random numbers.
func Choose(v Validation, minLabels int) (Rule, Report, error) {
	var report Report
	zero := Rule{Kind: Zero, MinLabels: minLabels}
	tuned, _, err := Tune(v, Global, "micro_f1", minLabels)
	if err != nil {
		return zero, report, err
	}
	thresholds := v.crossFit(minLabels)
	crossFit := func(row int) Rule {
		return Rule{Kind: Global, Threshold: thresholds[row%folds], MinLabels: minLabels}
	}
	bare, best := Rule{Kind: Zero}, Rule{Kind: Zero, MinLabels: 1}
	for _, o := range []struct {
		name   string
		rule   Rule
		decide func(row int) Rule
	}{
		{"s > 0", bare, Always(bare)},
		{"s > 0 or the best label", best, Always(best)},
		{"tuned", tuned, crossFit},
	} {
		result, err := v.Evaluate(setsOnly, o.decide)
		if err != nil {
			return zero, report, err
		}
		report.Options = append(report.Options, Option{o.name, o.rule, result})
	}
	report.Gain, report.StdErr = difference(v.rowCounts(crossFit), v.rowCounts(Always(zero)))
	report.Clear = len(v.Rows) >= minRows && report.Gain > minGain && report.Gain > minSigma*report.StdErr
	if report.Clear {
		return tuned, report, nil
	}
	return zero, report, nil
}

// crossFit returns for each fold the threshold tuned on the rows of the others.
func (v Validation) crossFit(minLabels int) (thresholds [folds]float32) {
	all := v.sorted()
	for f := range folds {
		var support int64
		for i := range v.Rows {
			if i%folds != f {
				truth, _ := v.Truth.Row(i)
				support += int64(len(truth))
			}
		}
		others := filter(all, func(c scored) bool { return int(c.row)%folds != f })
		thresholds[f] = bestThreshold(others, pooled(support), minLabels).threshold
	}
	return thresholds
}

// rowCounts returns the counts of each row's decided set.
func (v Validation) rowCounts(rule func(row int) Rule) []counts {
	all := make([]counts, len(v.Rows))
	var decided []int32
	for i, cands := range v.Rows {
		truth, _ := v.Truth.Row(i)
		decided = rule(i).Decide(decided[:0], cands)
		all[i] = counts{predicted: int64(len(decided)), support: int64(len(truth))}
		for _, l := range decided {
			if contains(truth, l) {
				all[i].hits++
			}
		}
	}
	return all
}

// difference returns the micro-F1 of a less that of b, and its standard error over rows. Micro-F1 is 2·Σh/Σd with the
// row's hits h and d = predicted + support, so that row i moves it by (2h_i − F·d_i)/Σd.
func difference(a, b []counts) (gain, stdErr float64) {
	fa, da := pool(a)
	fb, db := pool(b)
	if da == 0 || db == 0 || len(a) < 2 {
		return fa - fb, 0
	}
	var sum float64
	for i := range a {
		move := a[i].influence(fa)/da - b[i].influence(fb)/db
		sum += move * move
	}
	n := float64(len(a))
	return fa - fb, math.Sqrt(sum * n / (n - 1))
}

func (c counts) influence(f1 float64) float64 {
	return 2*float64(c.hits) - f1*float64(c.predicted+c.support)
}

// pool returns the F1 of all rows together and its denominator.
func pool(rows []counts) (f, denominator float64) {
	var all counts
	for _, c := range rows {
		all.hits += c.hits
		all.predicted += c.predicted
		all.support += c.support
	}
	return f1(all), float64(all.predicted + all.support)
}
