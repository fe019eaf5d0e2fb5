// Package classifier holds what a user trains, keeps and applies: a model with its labels, the way from input to features, and
// the rule that turns scores into label sets.
package classifier

import (
	"context"
	"fmt"
	"slices"

	"gorgonia.org/tensor"

	"gputrain/checkpoint"
	"gputrain/data"
	"gputrain/decide"
	"gputrain/features"
	"gputrain/model"
	"gputrain/sparse"
)

// Info is how a classifier was made and what was measured while making it. It is stored for people; only TrainRows (in PSP@k) and the bases
// of ids are used.
type Info struct {
	Made       string             `json:"made"`    // date and time, RFC 3339
	Program    string             `json:"program"` // name and version
	Device     string             `json:"device"`
	TrainRows  int                `json:"train_rows"`
	ValidRows  int                `json:"valid_rows"`
	IndexBase  string             `json:"index_base,omitempty"` // where the ids of given sparse features started: "0" or "1"
	LabelBase  string             `json:"label_base,omitempty"` // likewise those of numbered labels
	Seed       uint64             `json:"seed"`
	Epochs     int                `json:"epochs"`
	LR         float64            `json:"lr"`
	Choices    []string           `json:"choices"` // what was chosen, and why
	Validation map[string]float64 `json:"validation,omitempty"`
}

// Classifier is a trained model with all that it takes to use it. It is not safe for concurrent use.
type Classifier struct {
	Info        Info
	Labels      []string
	LabelCounts []int64          // training rows of each label
	Encoder     features.Encoder // from texts or given counts to features; nil where a model reads vectors only
	Model       *model.Model
	Rule        decide.Rule
	Threads     int // for encoding; 0: all

	features *checkpoint.File // that a loaded Encoder reads from
	scores   []float32
	ids      []int32
}

// Close gives back the model's device memory and what a loaded encoder holds.
func (c *Classifier) Close() {
	if c.Model != nil {
		c.Model.Close()
	}
	if c.features != nil {
		c.features.Close()
	}
	c.Model, c.Encoder, c.features = nil, nil, nil
}

// Encoded is rows as the model reads them.
type Encoded struct {
	Rows int
	X    *sparse.CSR
	V    *tensor.Dense // Rows×D
	Note string        // something the user should know: inputs that the model does not know
}

// Encode turns the rows of a set into what the model reads, or says which kind of input is missing.
func (c *Classifier) Encode(set *data.Set) (Encoded, error) {
	needSparse, dim := false, 0
	for _, p := range c.Model.Config().Parts {
		if p.Sparse() {
			needSparse = true
		} else {
			dim = p.Inputs
		}
	}
	e := Encoded{Rows: set.Rows()}
	if dim > 0 {
		if set.V == nil {
			return e, fmt.Errorf("classifier: the model reads vectors of %d dimensions, and the input has none", dim)
		}
		if got := set.V.Shape()[1]; got != dim {
			return e, fmt.Errorf("classifier: the model reads vectors of %d dimensions, the input's have %d", dim, got)
		}
		e.V = set.V
	}
	if !needSparse {
		return e, nil
	}
	var err error
	e.X, e.Note, err = EncodeSparse(c.Encoder, set, c.Threads)
	return e, err
}

// EncodeSparse turns texts or given features into the encoder's features. Given features that were not seen in training are
// dropped; the note says how many.
func EncodeSparse(enc features.Encoder, set *data.Set, threads int) (x *sparse.CSR, note string, err error) {
	switch enc := enc.(type) {
	case *features.Text:
		if set.Texts == nil {
			return nil, "", fmt.Errorf("classifier: the model reads text, and the input has none")
		}
		x = &sparse.CSR{}
		enc.Transform(set.Texts, x, threads)
		return x, "", nil
	case *features.Weights:
		if set.X == nil {
			return nil, "", fmt.Errorf("classifier: the model reads sparse features, and the input has none")
		}
		x, dropped := clip(set.X, enc.Features())
		if dropped > 0 {
			note = fmt.Sprintf("%d values of features that were not seen in training were dropped", dropped)
		}
		return x, note, enc.Apply(x)
	default:
		return nil, "", fmt.Errorf("classifier: no encoder for sparse features")
	}
}

// Truth returns the labels of a set as positions in labels. Those that are not among them get ids from len(labels) on, so that they
// count as missed, and are returned by name.
func Truth(labels []string, set *data.Set) (truth *sparse.CSR, unseen []string) {
	known := make(map[string]int32, len(labels))
	for i, name := range labels {
		known[name] = int32(i)
	}
	to := make([]int32, set.Labels.Len())
	for i, name := range set.Labels.Names() {
		id, ok := known[name]
		if !ok {
			id = int32(len(labels) + len(unseen))
			unseen = append(unseen, name)
		}
		to[i] = id
	}
	truth = &sparse.CSR{Cols: len(labels) + len(unseen)}
	var ids []int32
	for i := range set.Rows() {
		given, _ := set.Y.Row(i)
		ids = ids[:0]
		for _, k := range given {
			ids = append(ids, to[k])
		}
		slices.Sort(ids)
		truth.Append(ids, nil)
	}
	return truth, unseen
}

// clip copies x without the columns from cols on.
func clip(x *sparse.CSR, cols int) (out *sparse.CSR, dropped int) {
	out = &sparse.CSR{Cols: cols, Indptr: make([]int64, 1, x.Rows()+1), Values: []float32{}}
	for i := range x.Rows() {
		ids, values := x.Row(i)
		for k, f := range ids {
			if int(f) >= cols {
				dropped++
				continue
			}
			v := float32(1)
			if values != nil {
				v = values[k]
			}
			out.Indices, out.Values = append(out.Indices, f), append(out.Values, v)
		}
		out.Indptr = append(out.Indptr, int64(len(out.Indices)))
	}
	return out, dropped
}

// Rank scores the rows of a set and calls visit for each in order, with its best depth labels (or all, if there are
// fewer), best first. The candidates are valid during the call only.
func (c *Classifier) Rank(ctx context.Context, set *data.Set, depth int, visit func(row int, cands []decide.Candidate) error) error {
	e, err := c.Encode(set)
	if err != nil {
		return err
	}
	return c.RankEncoded(ctx, e, nil, depth, visit)
}

// RankEncoded is Rank for encoded rows, and of these only the given ones where rows is not nil; visit gets positions in rows then.
func (c *Classifier) RankEncoded(ctx context.Context, e Encoded, rows []int, depth int, visit func(row int, cands []decide.Candidate) error) error {
	cfg := c.Model.Config()
	depth = min(depth, cfg.Labels)
	size := cfg.BatchSize
	if len(c.scores) < size*depth {
		c.scores, c.ids = make([]float32, size*depth), make([]int32, size*depth)
	}
	if e.Rows == 0 {
		return nil
	}
	batches, err := data.NewBatches(e.X, e.V, nil, rows, size)
	if err != nil {
		return err
	}
	cands := make([]decide.Candidate, depth)
	for b := range batches.InOrder(ctx) {
		n := len(b.Rows)
		scores, ids := c.scores[:n*depth], c.ids[:n*depth]
		if err := c.Model.TopK(ModelBatch(b), depth, scores, ids); err != nil {
			return err
		}
		for i := range n {
			for k := range depth {
				cands[k] = decide.Candidate{Label: ids[i*depth+k], Score: scores[i*depth+k]}
			}
			if err := visit(b.Number*size+i, cands); err != nil {
				return err
			}
		}
	}
	return context.Cause(ctx) // nil unless the batches ended early
}

// ModelBatch hands a batch of rows on to a model.
func ModelBatch(b *data.Batch) model.Batch {
	m := model.Batch{Rows: len(b.Rows), X: b.X, Y: b.Y}
	if b.V != nil {
		m.V = b.V.Float32s()
	}
	return m
}

// Prob returns the probabilities shown to users, see loss.Spec.Prob; for the softmax losses they are shares among the given
// candidates.
func (c *Classifier) Prob(cands []decide.Candidate) []float32 {
	row := make([]float64, len(cands))
	for i, k := range cands {
		row[i] = float64(k.Score)
	}
	c.Model.Config().Loss.Probs(row)
	out := make([]float32, len(cands))
	for i, p := range row {
		out[i] = float32(p)
	}
	return out
}
