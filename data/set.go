package data

import (
	"context"
	"io"
	"slices"

	"gorgonia.org/tensor"

	"gputrain/sparse"
)

// Set is a whole input in memory. Of Texts, X and V one is not nil, by Info.Kind.
type Set struct {
	Info  Info
	Lines []int32  // where each row starts in the file, from 1
	IDs   []string // nil if no row has one
	Texts []string
	X     *sparse.CSR   // N×D; D as declared, or the highest id + 1
	V     *tensor.Dense // float32, N×D

	// Y holds the labels of the rows as ids of Labels, the labels that occur: sorted, numbers by size, the rest by bytes.
	Y      *sparse.CSR
	Labels *Vocabulary
	Stated int // the number of rows that state their labels (Row.HasLabels)

	// Skipped are the bad rows that were left out (Options.OnError "skip"): the first few and the count.
	Skipped *InputErrors
}

// Rows returns the number of rows.
func (s *Set) Rows() int { return s.Y.Rows() }

// Kind returns what the rows hold.
func (s *Set) Kind() Kind { return s.Info.Kind }

// LabelsOf returns the labels of row i by name.
func (s *Set) LabelsOf(i int) []string {
	ids, _ := s.Y.Row(i)
	names := make([]string, len(ids))
	for k, id := range ids {
		names[k] = s.Labels.names[id]
	}
	return names
}

// Load reads the file at path as a whole. Progress, if not nil, is told now and then, and at the end, how many rows and how
// many of Info.Size bytes were read.
func Load(ctx context.Context, path string, opt Options, progress func(rows int, bytes int64)) (*Set, error) {
	r, err := Open(path, opt)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.load(ctx, progress)
}

// progressRows is the number of rows between two looks at the context and two reports of progress.
const progressRows = 1024

func (r *Reader) load(ctx context.Context, progress func(rows int, bytes int64)) (*Set, error) {
	s := &Set{Y: &sparse.CSR{Indptr: []int64{0}}}
	x := &sparse.CSR{Indptr: []int64{0}}
	var vectors []float32
	if n := int64(r.info.Rows) * int64(r.info.Features); r.info.Kind == Dense && n > 0 && n <= r.info.Size {
		vectors = make([]float32, 0, n) // the header can be believed: the file is as large
	}
	if r.info.Kind == Unknown || r.info.Kind == Text {
		s.Texts = []string{}
	}
	var row Row
	highest := int32(-1)
	for n := 0; ; n++ {
		if n%progressRows == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if progress != nil {
				progress(n, r.BytesRead())
			}
		}
		err := r.Next(&row)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		s.Lines = append(s.Lines, int32(row.Line))
		switch r.info.Kind {
		case Text:
			s.Texts = append(s.Texts, row.Text)
		case Sparse:
			x.Append(row.Indices, row.Values)
			if k := len(row.Indices); k > 0 {
				highest = max(highest, row.Indices[k-1])
			}
		case Dense:
			vectors = append(vectors, row.Vector...)
		}
		if row.HasID && s.IDs == nil {
			s.IDs = make([]string, n, n+1)
		}
		if s.IDs != nil {
			s.IDs = append(s.IDs, row.ID)
		}
		if row.HasLabels {
			s.Stated++
		}
		s.Y.Append(row.ids, nil) // in any order: renumbered below
	}
	s.Info, s.Skipped = r.Info(), &r.bad
	switch r.info.Kind {
	case Sparse:
		if x.Cols = r.info.Features; x.Cols < 0 {
			x.Cols = int(highest) + 1
		}
		if x.Values == nil {
			x.Values = []float32{} // a nil slice would say that all values are 1
		}
		s.X, s.Texts = x, nil
	case Dense:
		s.V = tensor.New(tensor.WithShape(s.Rows(), r.info.Features), tensor.WithBacking(vectors))
		s.Texts = nil
	}
	s.sortLabels(r.labels.names)
	if progress != nil {
		progress(s.Rows(), r.BytesRead())
	}
	return s, nil
}

// sortLabels makes the vocabulary of the names that occur, and renumbers Y accordingly.
func (s *Set) sortLabels(names []string) {
	s.Y.Cols = len(names)
	counts := s.Y.ColCounts()
	order := make([]int32, 0, len(names))
	for id := range names {
		if counts[id] > 0 {
			order = append(order, int32(id))
		}
	}
	slices.SortFunc(order, func(a, b int32) int { return compareNames(names[a], names[b]) })
	v := &Vocabulary{names: make([]string, len(order)), ids: make(map[string]int32, len(order))}
	to := make([]int32, len(names))
	for id, old := range order {
		to[old] = int32(id)
		v.names[id] = names[old]
		v.ids[names[old]] = int32(id)
	}
	s.Labels = v
	s.Y, _ = renumber(s.Y, to, v.Len())
}
