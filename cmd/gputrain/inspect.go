package main

import (
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/urfave/cli/v2"

	"gputrain/data"
	"gputrain/triage"
)

var inspectVerb = verb{
	name:  "inspect",
	usage: "look at labelled rows: what they are, what is doubtful, and what to begin with",
	examples: `Examples:
   gputrain inspect --data train.jsonl.gz
   gputrain inspect --data train.csv --text-column title --label-column tags --label-sep ';'
   gputrain inspect --data train.txt --test test.txt --json`,
	flags: func() []cli.Flag {
		return append(inputFlags(true),
			&cli.StringFlag{Category: catInput, Name: "data", Usage: "`FILE` of labelled rows, or - for standard input"},
			&cli.StringFlag{Category: catInput, Name: "test", Usage: "`FILE` of test rows, to compare with: labels and rows that both have"},
			&cli.StringFlag{Category: catInput, Name: "test-labels-file", Usage: "--labels-file for the rows of --test"},
		)
	},
	run: inspect,
}

func inspect(r *invocation) error {
	if err := r.need("data"); err != nil {
		return err
	}
	if r.String("vectors") != "" {
		return usagef("inspect looks at one input at a time: name the vectors by --data, with --labels-file")
	}
	opt := r.inputOptions()
	rows, info, err := r.triage(r.String("data"), opt)
	if err != nil {
		return err
	}
	var test *triage.Triage
	if path := r.String("test"); path != "" {
		opt.LabelsFile = r.String("test-labels-file")
		if test, _, err = r.triage(path, sameBase(opt, info.IndexBase, info.LabelBase)); err != nil {
			return err
		}
	}
	report := rows.Report(test)
	if r.Bool("json") {
		return r.printJSON(report)
	}
	return report.WriteText(r.out)
}

// triage reads an input row by row; its memory does not grow with the texts.
func (r *invocation) triage(path string, opt data.Options) (*triage.Triage, data.Info, error) {
	opt.RequireLabels = true
	in, err := data.Open(path, opt)
	if err != nil {
		return nil, data.Info{}, &inputError{err}
	}
	defer in.Close()
	bar := r.log.bar()
	defer bar.close()
	var (
		t   *triage.Triage
		row data.Row
		key []byte
	)
	for n := 0; ; n++ {
		err := in.Next(&row)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, data.Info{}, &inputError{err}
		}
		if t == nil { // a jsonl file tells by its first row what it holds
			t = triage.New(triage.Options{Input: triage.Input(in.Info().Kind)})
		}
		key = appendKey(key[:0], &row)
		t.Add(key, row.Labels)
		if n%4096 == 0 {
			bar.show("reading "+path, in.BytesRead(), in.Info().Size)
		}
	}
	r.tellInput(in.Info(), in.Errors())
	return t, in.Info(), nil
}

// appendKey appends bytes that are equal for rows with equal inputs.
func appendKey(b []byte, row *data.Row) []byte {
	b = append(b, row.Text...)
	for k, id := range row.Indices {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(row.Values[k]))
	}
	for _, v := range row.Vector {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}
