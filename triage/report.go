package triage

import (
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// What makes the data doubtful.
const (
	manyLabels       = 50   // labels on one row
	longTail         = 0.5  // share of the labels with fewer than 5 rows
	mostlyUnlabelled = 0.5  // share of the rows without labels
	manyDuplicates   = 0.01 // share of the rows
	strayRows        = 0.01 // share of the rows without labels that does not speak against MinLabels 1
)

// separator stands between the reasons in Recommended.Why.
const separator = "; "

// printer writes numbers with thousands separators.
var printer = message.NewPrinter(language.English)

// recommend says what to begin with, and by which evidence.
func (r *Report) recommend() Recommended {
	if r.Rows == r.RowsWithoutLabel {
		return Recommended{Why: "no row has a label: there is nothing to learn from"}
	}
	rec := Recommended{Loss: "squared-hinge", Model: "linear", Decision: "zero"}
	var why []string
	if r.Input == Dense {
		rec.Model = "dense"
		why = append(why, "on sentence vectors squared hinge by SGD ranked as well as one-vs-rest SVMs in a small part of their time")
	} else {
		why = append(why, "a sparse linear model with squared hinge was the best or within noise of the best of all losses and tools measured on six public sets with 28 to 6,884 labels")
	}

	if share(r.RowsWithoutLabel, r.Rows) < strayRows {
		rec.MinLabels = 1
	}
	switch {
	case r.Task == Single && rec.MinLabels == 1:
		rec.Decision = "argmax"
		why = append(why, "nearly every row has exactly one label: the best one is the answer (pure single-label sets were not measured, so try the loss softmax too)")
	case r.Task == Mixed:
		why = append(why, "some rows have several labels: softmax with post-processing, the usual choice here, was not better than squared hinge where it was measured")
	}
	if rec.Decision == "zero" {
		why = append(why, "with its margins of 1.5 and 0.5, s > 0 decides about as well as a tuned threshold, which training takes only where it is clearly better")
		if rec.MinLabels == 1 {
			why = append(why, "practically every row has a label: at least the best one (--min-labels 1) costs next to nothing in micro-F1 and raises subset accuracy")
		} else {
			why = append(why, "rows without labels exist, so an empty set must stay possible")
		}
	}
	rec.Why = strings.Join(why, separator)
	return rec
}

func (r *Report) warnings(t *Triage) []string {
	list := []string{}
	warn := func(format string, args ...any) { list = append(list, printer.Sprintf(format, args...)) }
	percent := func(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) }
	f := &r.Frequency
	switch {
	case r.Rows == 0:
		warn("no rows")
		return list
	case r.Labels == 0:
		warn("no row has a label")
	case r.Labels == 1:
		warn("only one label, %q: a model can only tell whether it applies", t.names[0])
	}
	if f.LabelsOnEveryRow > 0 {
		warn("labels on every row, which tell nothing: %d, as %q", f.LabelsOnEveryRow, f.MostFrequent[0].Label)
	}
	if r.Labels > 0 && share(r.RowsWithoutLabel, r.Rows) > mostlyUnlabelled {
		warn("rows without a label: %s", percent(share(r.RowsWithoutLabel, r.Rows)))
	}
	var many int64
	for labels, rows := range t.perRow {
		if labels > manyLabels {
			many += rows
		}
	}
	if many > 0 {
		warn("rows with more than %d labels: %d, the most has %d; is the separator right?", manyLabels, many, r.LabelsPerRow.Max)
	}
	if r.Labels > 1 && float64(f.LabelsBelow5Rows) >= longTail*float64(r.Labels) {
		warn("a long tail, labels with fewer than 5 rows: %d of %d, with only one: %d", f.LabelsBelow5Rows, r.Labels, f.LabelsWithOneRow)
	}
	if int64(r.Labels) > r.Rows {
		warn("more labels (%d) than rows (%d): is the label column right?", r.Labels, r.Rows)
	}
	if f.LabelsNearlyEqual > 0 {
		warn("labels that differ from another only in case or spaces: %d, as %q and %q", f.LabelsNearlyEqual, f.exampleNearlyEqual[0], f.exampleNearlyEqual[1])
	}
	if r.EmptyInputs > 0 {
		warn("rows with an empty input: %d", r.EmptyInputs)
	}
	if d := r.Duplicates; share(d.Rows, r.Rows) >= manyDuplicates {
		warn("rows that repeat the input of another: %d (%s)", d.Rows, percent(share(d.Rows, r.Rows)))
	}
	if d := r.Duplicates; d.Conflicting > 0 {
		warn("rows that repeat the input of another with other labels: %d", d.Conflicting)
	}
	if o := r.Overlap; o != nil {
		if o.TestRows == 0 {
			warn("no test rows")
		}
		if o.LabelsOnlyTest > 0 {
			warn("test labels that do not occur in training: %d, as %q; no model can find these %s of the test assignments", o.LabelsOnlyTest, o.exampleOnlyTest, percent(o.UnseenShare))
		}
		if o.SharedRows > 0 {
			warn("leakage, test rows with the input of a training row: %d (%s)", o.SharedRows, percent(o.SharedRowsShare))
		}
	}
	return list
}

// WriteText writes the report for people, at most 40 lines.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-16s ", name)
		b.WriteString(printer.Sprintf(format, args...))
		b.WriteByte('\n')
	}
	percent := func(part, whole int64) float64 { return 100 * share(part, whole) }
	estimated := func(sampled float64) string {
		if sampled < 1 {
			return " (estimated)"
		}
		return ""
	}
	d, f, p := r.LabelsPerRow, r.Frequency, r.Frequency.RowsPerLabel
	line("rows", "%d", r.Rows)
	line("  no label", "%d (%.1f %%)", r.RowsWithoutLabel, percent(r.RowsWithoutLabel, r.Rows))
	line("  one label", "%d (%.1f %%)", r.RowsSingle, percent(r.RowsSingle, r.Rows))
	line("  several", "%d (%.1f %%)", r.RowsMulti, 100*r.MultiShare)
	line("labels per row", "mean %.2f, median %d, 95 %% at most %d, max %d", d.Mean, d.Median, d.Q95, d.Max)
	line("task", "%s", r.Task)
	line("labels", "%d", r.Labels)
	line("rows per label", "min %d, quartiles %d %d %d, max %d", p.Min, p.Q25, p.Median, p.Q75, p.Max)
	line("  head", "%d labels make up %.0f %% of all assignments", f.Head.Labels, 100*f.Head.Share)
	line("  middle", "%d labels, %.0f %%", f.Middle.Labels, 100*f.Middle.Share)
	line("  tail", "%d labels, %.0f %%", f.Tail.Labels, 100*f.Tail.Share)
	line("  rare", "%d labels have one row, %d fewer than 5", f.LabelsWithOneRow, f.LabelsBelow5Rows)
	var frequent []string
	for _, l := range f.MostFrequent {
		frequent = append(frequent, printer.Sprintf("%q (%d)", l.Label, l.Rows))
	}
	line("  most frequent", "%s", strings.Join(frequent, ", "))
	line("duplicates", "%d rows repeat an input, %d of them with other labels%s", r.Duplicates.Rows, r.Duplicates.Conflicting, estimated(r.Duplicates.SampledShare))
	if o := r.Overlap; o != nil {
		line("test rows", "%d, %d (%.1f %%) with the input of a training row%s", o.TestRows, o.SharedRows, 100*o.SharedRowsShare, estimated(o.SampledShare))
		line("test labels", "%d, %d not in training; %d training labels not in test", o.TestLabels, o.LabelsOnlyTest, o.LabelsOnlyTrain)
	}
	if rec := r.Recommended; rec.Loss != "" {
		line("recommended", "loss %s, model %s, decision %s, min-labels %d", rec.Loss, rec.Model, rec.Decision, rec.MinLabels)
	}
	for _, why := range strings.Split(r.Recommended.Why, separator) {
		line("  why", "%s", why)
	}
	for _, warning := range r.Warnings {
		line("warning", "%s", warning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
