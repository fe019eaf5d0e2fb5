package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
	"gorgonia.org/tensor"

	"gputrain/classifier"
	"gputrain/data"
	"gputrain/decide"
	"gputrain/sparse"
)

var predictVerb = verb{
	name:  "predict",
	usage: "label new rows",
	examples: `Examples:
   gputrain predict --model m --input new.jsonl > predictions.jsonl
   zcat titles.txt.gz | gputrain predict --model m --input - --output tsv --top-k 3

A line for each row, in order, with memory that does not grow with the input:
   {"id":"7","labels":[{"label":"a","score":3.1,"prob":0.998}, ...],"decided":["a"]}
labels holds the best ones by score, decided the set of labels that the decision rule gives. prob is σ(2·score) for the unified
losses, σ(score) for bce, focal and asl, the share of e^score among the 100 best labels for softmax. For the hinge losses it is
σ(2·score) too, which orders labels and is ½ at the border, but is not calibrated: 0.9 does not mean right in 9 of 10 cases.
TSV has the columns id (or the row's number), decided (separated by |), and label, score, prob for each of the best ones; a
tab, line break, | or \ in a label is written \t, \n, \| or \\.`,
	flags: func() []cli.Flag {
		return slices.Concat(inputFlags(false), decisionFlags(), deviceFlags(), []cli.Flag{
			&cli.StringFlag{Category: catModel, Name: "model", Usage: "`DIR` of the model"},
			&cli.StringFlag{Category: catInput, Name: "input", Usage: "`FILE` of rows, or - for standard input"},
			&cli.IntFlag{Category: catOutput, Name: "top-k", Value: 5, Usage: "how many of a row's best labels to print"},
			choice(catOutput, "output", "jsonl", "form of the lines", "jsonl", "tsv"),
		})
	},
	run: predict,
}

// blockRows is how many rows are scored and written together.
const blockRows = 1024

func predict(r *invocation) error {
	if err := r.need("model", "input"); err != nil {
		return err
	}
	topK := r.Int("top-k")
	if topK < 0 {
		return usagef("--top-k %d: want 0 or more", topK)
	}
	if r.Bool("json") && r.String("output") == "tsv" {
		return usagef("--json and --output tsv exclude each other")
	}
	c, rule, _, err := r.openModel()
	if err != nil {
		return err
	}
	defer c.Close()
	in, err := r.openBlocks(r.String("input"), r.String("vectors"), sameBase(r.inputOptions(), c.Info.IndexBase, c.Info.LabelBase))
	if err != nil {
		return err
	}
	defer in.close()

	bar := r.predictionBar()
	defer bar.close()
	p := &predictor{c: c, rule: rule, topK: topK, out: newLineWriter(r.out, c.Labels, r.String("output") == "tsv")}
	for more := true; more; {
		set, err := in.next(blockRows)
		if scoreErr := p.score(set, in.hasID); scoreErr != nil { // also the rows before a bad one
			return scoreErr
		}
		if err != nil && err != io.EOF {
			return err
		}
		more = err == nil
		bar.show("predicting", in.rows.BytesRead(), in.rows.Info().Size)
	}
	bar.close()
	r.tellInput(in.rows.Info(), in.rows.Errors())
	return nil
}

// predictionBar returns a bar, unless its terminal shows the predictions.
func (r *invocation) predictionBar() *bar {
	if file, ok := r.out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return r.log.bar()
}

// predictor scores and writes rows, block by block.
type predictor struct {
	c       *classifier.Classifier
	rule    decide.Rule
	topK    int
	out     *lineWriter
	rows    int // so far
	decided []int32
}

func (p *predictor) score(set *data.Set, hasID []bool) error {
	if set.Rows() == 0 {
		return nil
	}
	rows, err := p.c.Encode(set)
	if err != nil {
		return &misfitError{err}
	}
	err = p.c.RankEncoded(context.Background(), rows, nil, max(decide.Depth, p.topK), func(row int, cands []decide.Candidate) error {
		p.rows++
		best := cands[:min(p.topK, len(cands))]
		p.decided = p.rule.Decide(p.decided[:0], cands)
		return p.out.write(p.rows, set.IDs[row], hasID[row], best, p.c.Prob(cands), p.decided)
	})
	if err != nil {
		return err
	}
	return p.out.w.Flush()
}

// blocks reads an input, and the vectors of the same rows if there are any, in sets of some rows.
type blocks struct {
	rows, vectors *data.Reader
	hasID         []bool // of the rows of the last block
	row, vector   data.Row
}

func (r *invocation) openBlocks(path, vectors string, opt data.Options) (*blocks, error) {
	var b blocks
	var err error
	if b.rows, err = data.Open(path, opt); err != nil {
		return nil, &inputError{err}
	}
	if vectors == "" {
		return &b, nil
	}
	if err := r.checkVectors(); err != nil {
		b.close()
		return nil, err
	}
	if b.vectors, err = data.Open(vectors, data.Options{Format: "npy"}); err != nil {
		b.close()
		return nil, &inputError{err}
	}
	return &b, nil
}

func (b *blocks) close() {
	b.rows.Close()
	if b.vectors != nil {
		b.vectors.Close()
	}
}

// next reads up to n rows. With an error, io.EOF after the last row, it returns the rows before.
func (b *blocks) next(n int) (*data.Set, error) {
	set := &data.Set{Y: &sparse.CSR{Indptr: []int64{0}}}
	x := &sparse.CSR{Values: []float32{}}
	var (
		texts   []string
		vectors []float32
		dim     int
		readErr error
	)
	b.hasID = b.hasID[:0]
	for len(b.hasID) < n {
		if readErr = b.read(); readErr != nil {
			break
		}
		b.hasID = append(b.hasID, b.row.HasID)
		set.IDs = append(set.IDs, b.row.ID)
		set.Y.Append(nil, nil)
		switch b.rows.Info().Kind {
		case data.Text:
			texts = append(texts, b.row.Text)
		case data.Sparse:
			x.Append(b.row.Indices, b.row.Values)
			if k := len(b.row.Indices); k > 0 {
				x.Cols = max(x.Cols, int(b.row.Indices[k-1])+1)
			}
		case data.Dense:
			vectors, dim = append(vectors, b.row.Vector...), len(b.row.Vector)
		}
		if b.vectors != nil {
			vectors, dim = append(vectors, b.vector.Vector...), len(b.vector.Vector)
		}
	}
	set.Info = b.rows.Info()
	set.Texts = texts
	if x.Indptr != nil {
		set.X = x
	}
	if dim > 0 {
		set.V = tensor.New(tensor.WithShape(len(b.hasID), dim), tensor.WithBacking(vectors))
	}
	return set, readErr
}

// read reads one row of each input.
func (b *blocks) read() error {
	err := b.rows.Next(&b.row)
	if b.vectors != nil && (err == nil || err == io.EOF) {
		vectorErr := b.vectors.Next(&b.vector)
		if (err == io.EOF) != (vectorErr == io.EOF) {
			return &data.InputError{File: b.vectors.Info().File, Found: "another number of rows", Want: "as many as in " + b.rows.Info().File}
		}
		if vectorErr != nil {
			err = vectorErr
		}
	}
	if err == nil || err == io.EOF {
		return err
	}
	return &inputError{err}
}

// lineWriter writes predictions, a line for each row.
type lineWriter struct {
	w      *bufio.Writer
	labels []string
	tsv    bool
	quoted []string // labels as the format writes them; "" until needed
	buf    []byte
}

func newLineWriter(w io.Writer, labels []string, tsv bool) *lineWriter {
	return &lineWriter{w: bufio.NewWriterSize(w, 1<<16), labels: labels, tsv: tsv, quoted: make([]string, len(labels))}
}

func (l *lineWriter) write(number int, id string, hasID bool, best []decide.Candidate, probs []float32, decided []int32) error {
	if l.tsv {
		l.buf = l.appendTSV(l.buf[:0], number, id, hasID, best, probs, decided)
	} else {
		l.buf = l.appendJSON(l.buf[:0], id, hasID, best, probs, decided)
	}
	_, err := l.w.Write(l.buf)
	return err
}

func (l *lineWriter) appendJSON(b []byte, id string, hasID bool, best []decide.Candidate, probs []float32, decided []int32) []byte {
	b = append(b, '{')
	if hasID {
		b = append(b, `"id":`...)
		b = append(b, quoteJSON(id)...)
		b = append(b, ',')
	}
	b = append(b, `"labels":[`...)
	for i, k := range best {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"label":`...)
		b = append(b, l.label(k.Label)...)
		b = append(b, `,"score":`...)
		b = appendNumber(b, k.Score, "null")
		b = append(b, `,"prob":`...)
		b = appendNumber(b, probs[i], "null")
		b = append(b, '}')
	}
	b = append(b, `],"decided":[`...)
	for i, d := range decided {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, l.label(d)...)
	}
	return append(b, "]}\n"...)
}

func (l *lineWriter) appendTSV(b []byte, number int, id string, hasID bool, best []decide.Candidate, probs []float32, decided []int32) []byte {
	if hasID {
		b = append(b, escapeTSV(id)...)
	} else {
		b = strconv.AppendInt(b, int64(number), 10)
	}
	b = append(b, '\t')
	for i, d := range decided {
		if i > 0 {
			b = append(b, '|')
		}
		b = append(b, l.label(d)...)
	}
	for i, k := range best {
		b = append(append(b, '\t'), l.label(k.Label)...)
		b = appendNumber(append(b, '\t'), k.Score, "nan")
		b = appendNumber(append(b, '\t'), probs[i], "nan")
	}
	return append(b, '\n')
}

// label returns a label as the format writes it.
func (l *lineWriter) label(id int32) string {
	if l.quoted[id] == "" {
		if l.tsv {
			l.quoted[id] = escapeTSV(l.labels[id])
		} else {
			l.quoted[id] = quoteJSON(l.labels[id])
		}
	}
	return l.quoted[id]
}

// appendNumber appends the shortest decimal that reads back as v, or none for what is not a finite number.
func appendNumber(b []byte, v float32, none string) []byte {
	if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, none...)
	}
	format := byte('f')
	if a := math.Abs(float64(v)); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, float64(v), format, -1, 32)
}

func quoteJSON(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string never fails
	return strings.TrimSuffix(b.String(), "\n")
}

var tsvEscaper = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "|", `\|`)

func escapeTSV(s string) string { return tsvEscaper.Replace(s) }
