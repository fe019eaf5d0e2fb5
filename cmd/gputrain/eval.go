package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"gputrain/classifier"
	"gputrain/decide"
	"gputrain/metrics"
)

var evalVerb = verb{
	name:  "eval",
	usage: "measure a model on labelled rows",
	examples: `Examples:
   gputrain eval --model m --test test.jsonl.gz
   gputrain eval --model m --test test.jsonl.gz --decide global:0.3 --k 1,5,10 --json
   gputrain eval --model m --test test.jsonl.gz --per-label labels.tsv`,
	flags: func() []cli.Flag {
		return slices.Concat(inputFlags(true), decisionFlags(), deviceFlags(), []cli.Flag{
			&cli.StringFlag{Category: catModel, Name: "model", Usage: "`DIR` of the model"},
			&cli.StringFlag{Category: catInput, Name: "test", Usage: "`FILE` of labelled rows, or - for standard input"},
			&cli.StringFlag{Category: catMetrics, Name: "k", Value: "1,3,5", Usage: "`DEPTHS` of the ranking metrics"},
			&cli.Float64Flag{Category: catMetrics, Name: "propensity-a", Value: 0.55, Usage: "constant A of the propensity model of PSP@k"},
			&cli.Float64Flag{Category: catMetrics, Name: "propensity-b", Value: 1.5, Usage: "constant B of the same"},
			&cli.StringFlag{Category: catOutput, Name: "per-label", Usage: "write a table with a line for each label to `FILE` (TSV), or - to print it in the place of the metrics"},
		})
	},
	run: eval,
}

const catMetrics = "Metrics"

// evaluation is what eval --json prints.
type evaluation struct {
	Rows     int            `json:"rows"`
	Labels   int            `json:"labels"` // of the model
	Decision decision       `json:"decision"`
	Metrics  metrics.Result `json:"metrics"`
	// UnseenLabels are labels of the rows that the model does not know; they count as misses.
	UnseenLabels  int      `json:"unseen_labels"`
	Warnings      []string `json:"warnings"`
	Seconds       float64  `json:"seconds"` // of encoding, scoring and measuring
	RowsPerSecond float64  `json:"rows_per_second"`
	usedDevice
}

func eval(r *invocation) error {
	if err := r.need("model", "test"); err != nil {
		return err
	}
	depths, err := parseInts("k", r.String("k"))
	if err != nil {
		return err
	}
	perLabel := r.String("per-label")
	if perLabel == "-" && r.Bool("json") {
		return usagef("--per-label - and --json both print to standard output")
	}
	c, rule, used, err := r.openModel()
	if err != nil {
		return err
	}
	defer c.Close()
	scores, err := metrics.New(metrics.Options{
		K: depths, Labels: len(c.Labels), TrainCounts: c.LabelCounts, TrainRows: c.Info.TrainRows,
		PropensityA: r.Float64("propensity-a"), PropensityB: r.Float64("propensity-b"),
	})
	if err != nil {
		return usagef("%v", err)
	}
	opt := sameBase(r.inputOptions(), c.Info.IndexBase, c.Info.LabelBase)
	opt.RequireLabels = true
	ctx := context.Background()
	set, err := r.load(ctx, r.String("test"), r.String("vectors"), opt)
	if err != nil {
		return err
	}

	result := evaluation{Rows: set.Rows(), Labels: len(c.Labels), Decision: showDecision(rule), Warnings: []string{}, usedDevice: used}
	truth, unseen := classifier.Truth(c.Labels, set)
	if len(unseen) > 0 {
		result.UnseenLabels = len(unseen)
		result.Warnings = append(result.Warnings, fmt.Sprintf("labels of the test rows that were not seen in training, and count as misses: %d (%s)",
			len(unseen), firstFew(unseen)))
	}
	began := time.Now()
	rows, err := c.Encode(set)
	if err != nil {
		return &misfitError{err}
	}
	if rows.Note != "" {
		result.Warnings = append(result.Warnings, rows.Note)
	}
	bar := r.log.bar()
	var ranked, decided []int32
	err = c.RankEncoded(ctx, rows, nil, max(decide.Depth, scores.Depth()), func(row int, cands []decide.Candidate) error {
		ranked = ranked[:0]
		for _, k := range cands[:min(len(cands), scores.Depth())] {
			ranked = append(ranked, k.Label)
		}
		decided = rule.Decide(decided[:0], cands)
		ids, _ := truth.Row(row)
		scores.Add(ids, ranked, decided)
		if row%1024 == 0 {
			bar.show("scoring", int64(row), int64(set.Rows()))
		}
		return nil
	})
	bar.close()
	if err != nil {
		return err
	}
	result.Metrics = scores.Result()
	result.Seconds = time.Since(began).Seconds()
	result.RowsPerSecond = float64(result.Rows) / max(result.Seconds, 1e-9)
	for _, w := range result.Warnings {
		r.log.warn("%s", w)
	}

	if perLabel != "" {
		names := slices.Concat(c.Labels, unseen)
		table := scores.PerLabel(func(id int32) string { return names[id] })
		if perLabel == "-" {
			return r.print(perLabelTSV(table))
		}
		if err := os.WriteFile(perLabel, []byte(perLabelTSV(table)), 0o666); err != nil {
			return err
		}
	}
	if r.Bool("json") {
		return r.printJSON(result)
	}
	return r.print(fields("rows", fmt.Sprint(result.Rows), "labels", fmt.Sprint(result.Labels), "decision", result.Decision.Text,
		"time", fmt.Sprintf("%s, %.0f rows/s", duration(result.Seconds), result.RowsPerSecond)), "\n", metricsTable(result.Metrics))
}

// firstFew quotes up to three names.
func firstFew(names []string) string {
	var few []string
	for _, n := range names[:min(3, len(names))] {
		few = append(few, strconv.Quote(n))
	}
	s := strings.Join(few, ", ")
	if len(names) > 3 {
		s += ", …"
	}
	return s
}

func perLabelTSV(table []metrics.LabelScore) string {
	var b strings.Builder
	b.WriteString("label\tsupport\tpredicted\tprecision\trecall\tf1\n")
	for _, l := range table {
		fmt.Fprintf(&b, "%s\t%d\t%d\t%.4f\t%.4f\t%.4f\n", escapeTSV(l.Label), l.Support, l.Predicted, l.Precision, l.Recall, l.F1)
	}
	return b.String()
}
