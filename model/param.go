package model

import (
	"fmt"

	"gputrain/backend"
	"gputrain/optim"
	"gputrain/sparse"
)

// memory allocates on a device and remembers what to give back. After the first error it does nothing; err says why.
type memory struct {
	dev    backend.Device
	held   []backend.Buffer
	tables []backend.Table
	bytes  int64
	err    error
}

func (m *memory) alloc(t backend.DType, n int) backend.Buffer {
	if m.err != nil {
		return nil
	}
	b, err := m.dev.Alloc(t, n)
	if err != nil {
		m.err = fmt.Errorf("model: %d elements: %w", n, err)
		return nil
	}
	m.held = append(m.held, b)
	m.bytes += int64(n) * t.Size()
	return b
}

func (m *memory) matrix(rows, cols int) backend.Matrix {
	return backend.Matrix{Buf: m.alloc(backend.Float32, rows*cols), Rows: rows, Cols: cols, Stride: cols}
}

func (m *memory) upload(b backend.Buffer, src []float32) {
	if m.err == nil {
		m.err = m.dev.Upload(b, 0, src)
	}
}

func (m *memory) free(b backend.Buffer) {
	for i, h := range m.held {
		if h == b && b != nil {
			m.held = append(m.held[:i], m.held[i+1:]...)
			m.bytes -= int64(b.Len()) * b.DType().Size()
			m.dev.Free(b)
			return
		}
	}
}

func (m *memory) freeAll() {
	for _, b := range m.held {
		m.dev.Free(b)
	}
	for _, t := range m.tables {
		m.dev.FreeTable(t)
	}
	m.held, m.tables = nil, nil
}

// param is a weight matrix with the state of its optimiser, or a sparse table (with neither).
type param struct {
	name   string
	rule   optim.Rule
	w      backend.Matrix
	state  []backend.Matrix
	tables []backend.Table // in place of w: one for each label chunk
}

// param allocates a matrix of zeros and the rule's state.
func (m *memory) param(name string, rows, cols int, rule optim.Rule) *param {
	p := &param{name: name, rule: rule, w: m.matrix(rows, cols)}
	for range rule.States() {
		if rule.Kind == optim.RowAdagrad {
			p.state = append(p.state, m.matrix(rows, 1))
		} else {
			p.state = append(p.state, m.matrix(rows, cols))
		}
	}
	return p
}

func (p *param) bytes() int64 {
	n := int64(p.w.Rows) * int64(p.w.Cols)
	for _, s := range p.state {
		n += int64(s.Rows) * int64(s.Cols)
	}
	n *= 4
	for _, t := range p.tables {
		n += t.Bytes()
	}
	return n
}

// rows and cols are views of a part of the weights and of their state.
func (p *param) rows(lo, hi int) param {
	v := param{name: p.name, rule: p.rule, w: p.w.RowSlice(lo, hi)}
	for _, s := range p.state {
		v.state = append(v.state, s.RowSlice(lo, hi))
	}
	return v
}

func (p *param) cols(lo, hi int) param {
	v := param{name: p.name, rule: p.rule, w: p.w.ColSlice(lo, hi)}
	for _, s := range p.state {
		if p.rule.Kind == optim.RowAdagrad {
			v.state = append(v.state, s) // one accumulator for the whole row
		} else {
			v.state = append(v.state, s.ColSlice(lo, hi))
		}
	}
	return v
}

// Tensor is a host copy of some weights or optimiser state: Data is []float32, []int32 or []int64 in row-major order.
type Tensor struct {
	Name  string
	Shape []int
	Data  any
}

// Weights returns host copies of all weights: "bias" (labels), and for part i "part<i>.weight" and so on; sparse weights as
// "part<i>.indptr" (features+1), "part<i>.indices" (labels) and "part<i>.values", without zeros.
func (m *Model) Weights() ([]Tensor, error) {
	var out []Tensor
	for _, p := range m.allParams() {
		if p.tables != nil {
			w, err := m.readTables(p)
			if err != nil {
				return nil, err
			}
			out = append(out,
				Tensor{p.name + ".indptr", []int{len(w.Indptr)}, w.Indptr},
				Tensor{p.name + ".indices", []int{len(w.Indices)}, w.Indices},
				Tensor{p.name + ".values", []int{len(w.Values)}, w.Values})
			continue
		}
		t, err := m.read(p.name, p.w)
		if err != nil {
			return nil, err
		}
		if p == m.bias {
			t.Shape = t.Shape[1:]
		}
		out = append(out, t)
	}
	return out, nil
}

// State returns host copies of the optimisers' state; with Weights and Steps it is all that a later Restore needs.
func (m *Model) State() ([]Tensor, error) {
	var out []Tensor
	for _, p := range m.allParams() {
		for i, s := range p.state {
			t, err := m.read(fmt.Sprintf("%s.state%d", p.name, i), s)
			if err != nil {
				return nil, err
			}
			out = append(out, t)
		}
	}
	return out, nil
}

func (m *Model) read(name string, w backend.Matrix) (Tensor, error) {
	data := make([]float32, w.Rows*w.Cols)
	return Tensor{name, []int{w.Rows, w.Cols}, data}, m.dev.Download(data, w.Buf, w.Offset)
}

// readTables joins the label chunks of sparse weights.
func (m *Model) readTables(p *param) (*sparse.CSR, error) {
	joined := &sparse.CSR{Cols: m.cfg.Labels, Values: []float32{}}
	chunks := make([]*sparse.CSR, len(p.tables))
	for c, t := range p.tables {
		w, err := m.dev.ReadTable(t)
		if err != nil {
			return nil, err
		}
		if len(p.tables) == 1 {
			return w, nil
		}
		chunks[c] = w
	}
	joined.Indptr = append(joined.Indptr, 0)
	for f := range chunks[0].Rows() {
		for c, w := range chunks {
			ids, values := w.Row(f)
			for _, id := range ids {
				joined.Indices = append(joined.Indices, id+int32(m.chunks[c][0]))
			}
			joined.Values = append(joined.Values, values...)
		}
		joined.Indptr = append(joined.Indptr, int64(len(joined.Indices)))
	}
	return joined, nil
}

// Lookup finds a tensor's elements by name: a slice of float32, int32 or int64.
type Lookup func(name string) (data any, ok bool)

// Restore sets weights, and with steps > 0 also optimiser state and the step count, from tensors as Weights and State return them.
// Sparse weights are not among them: they are given to New.
func (m *Model) Restore(find Lookup, steps int64) error {
	set := func(name string, w backend.Matrix) error {
		data, ok := find(name)
		if !ok {
			return fmt.Errorf("model: tensor %q is missing", name)
		}
		values, ok := data.([]float32)
		if !ok || len(values) != w.Rows*w.Cols {
			return fmt.Errorf("model: tensor %q holds %T, want %d×%d float32", name, data, w.Rows, w.Cols)
		}
		return m.dev.Upload(w.Buf, w.Offset, values)
	}
	for _, p := range m.allParams() {
		if p.tables == nil {
			if err := set(p.name, p.w); err != nil {
				return err
			}
		}
		if steps == 0 {
			continue
		}
		for i, s := range p.state {
			if err := set(fmt.Sprintf("%s.state%d", p.name, i), s); err != nil {
				return err
			}
		}
	}
	m.step = steps
	return nil
}
