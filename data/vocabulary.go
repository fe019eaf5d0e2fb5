package data

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"gputrain/sparse"
)

// Vocabulary maps label names to ids from 0, and back. It does not change once it is made.
type Vocabulary struct {
	names []string
	ids   map[string]int32
}

// NewVocabulary returns the vocabulary of distinct names, in their order. A name is neither empty nor has it line breaks.
func NewVocabulary(names []string) (*Vocabulary, error) {
	v := &Vocabulary{names: slices.Clone(names), ids: make(map[string]int32, len(names))}
	for i, name := range v.names {
		if name == "" || strings.ContainsAny(name, "\r\n") {
			return nil, fmt.Errorf("data: label %d is %q: want a name without line breaks", i, name)
		}
		if j, ok := v.ids[name]; ok {
			return nil, fmt.Errorf("data: labels %d and %d are both %q", j, i, name)
		}
		v.ids[name] = int32(i)
	}
	return v, nil
}

// Len returns the number of labels.
func (v *Vocabulary) Len() int { return len(v.names) }

// Name returns the label with the id.
func (v *Vocabulary) Name(id int) string { return v.names[id] }

// Names returns all labels in the order of their ids. The caller must not change them.
func (v *Vocabulary) Names() []string { return v.names }

// ID returns the id of a label.
func (v *Vocabulary) ID(name string) (id int, ok bool) {
	i, ok := v.ids[name]
	return int(i), ok
}

// Encode returns the targets of labelled rows: in row i of y the ids of labels[i], each with the value 1. Labels that the
// vocabulary lacks are left out and counted by row.
func (v *Vocabulary) Encode(labels [][]string) (y *sparse.CSR, unseen []int32) {
	y, unseen = &sparse.CSR{Cols: v.Len(), Indptr: []int64{0}}, make([]int32, len(labels))
	var ids []int32
	for i, row := range labels {
		ids = ids[:0]
		for _, name := range row {
			if id, ok := v.ids[name]; ok {
				ids = append(ids, id)
			} else {
				unseen[i]++
			}
		}
		slices.Sort(ids)
		y.Append(slices.Compact(ids), nil)
	}
	return y, unseen
}

// EncodeSet is Encode for the labels of a set.
func (v *Vocabulary) EncodeSet(s *Set) (y *sparse.CSR, unseen []int32) {
	to := make([]int32, s.Labels.Len())
	for i, name := range s.Labels.names {
		to[i] = -1
		if id, ok := v.ids[name]; ok {
			to[i] = id
		}
	}
	y, unseen = renumber(s.Y, to, v.Len())
	return y, unseen
}

// renumber returns y with column j moved to to[j], or dropped and counted by row where that is −1.
func renumber(y *sparse.CSR, to []int32, cols int) (z *sparse.CSR, dropped []int32) {
	z = &sparse.CSR{Cols: cols, Indptr: make([]int64, 1, y.Rows()+1), Indices: make([]int32, 0, y.NNZ())}
	dropped = make([]int32, y.Rows())
	for i := range y.Rows() {
		row, _ := y.Row(i)
		start := len(z.Indices)
		for _, j := range row {
			if to[j] < 0 {
				dropped[i]++
				continue
			}
			z.Indices = append(z.Indices, to[j])
		}
		slices.Sort(z.Indices[start:])
		z.Indptr = append(z.Indptr, int64(len(z.Indices)))
	}
	return z, dropped
}

// WriteTo writes labels.txt: one label a line, in the order of the ids.
func (v *Vocabulary) WriteTo(w io.Writer) (int64, error) {
	b := bufio.NewWriter(w)
	var n int64
	for _, name := range v.names {
		k, err := b.WriteString(name + "\n")
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, b.Flush()
}

// LoadVocabulary reads what WriteTo wrote: UTF-8 text with one label a line, each once. Like all text inputs it may be
// compressed.
func LoadVocabulary(path string) (*Vocabulary, error) {
	src, err := openSource(path, 1<<20)
	if err != nil {
		return nil, err
	}
	defer src.close()
	v := &Vocabulary{ids: map[string]int32{}}
	for {
		line, err := src.nextLine()
		if err == io.EOF {
			return v, nil
		}
		if err == nil {
			name := string(line)
			if first, ok := v.ids[name]; ok {
				err = &fault{"label " + quote(name) + fmt.Sprintf(" again, as in line %d", first+1), "each label once"}
			} else if name == "" {
				err = &fault{"an empty line", "a label"}
			} else {
				v.ids[name] = int32(len(v.names))
				v.names = append(v.names, name)
			}
		}
		if f, ok := err.(*fault); ok {
			err = &InputError{File: path, Line: src.line, Found: f.found, Want: f.want, final: true}
		}
		if err != nil {
			return nil, err
		}
	}
}

// compareNames orders labels: numbers by size if both are digits, else by bytes.
func compareNames(a, b string) int {
	if isDigits(a) && isDigits(b) && len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return true
}
