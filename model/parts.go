package model

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gputrain/backend"
	"gputrain/optim"
	"gputrain/sparse"
)

// tablePart is the linear model with static sparse weights, one table for each label chunk.
type tablePart struct {
	dev     backend.Device
	lrScale float64
	w       *param
}

func newTablePart(mem *memory, name string, cfg Part, pattern *sparse.CSR, chunks [][2]int) (*tablePart, error) {
	p := &tablePart{dev: mem.dev, lrScale: cfg.LRScale, w: &param{name: name, rule: cfg.Rule}}
	for c := range chunks {
		t, err := mem.dev.NewTable(colRange(pattern, chunks[c][0], chunks[c][1]))
		if err != nil {
			return nil, fmt.Errorf("model: sparse weights, %d of them: %w", pattern.NNZ(), err)
		}
		mem.tables = append(mem.tables, t)
		mem.bytes += t.Bytes()
		p.w.tables = append(p.w.tables, t)
	}
	return p, nil
}

// colRange returns the columns [lo, hi) of w, renumbered from 0.
func colRange(w *sparse.CSR, lo, hi int) *sparse.CSR {
	if lo == 0 && hi == w.Cols {
		return w
	}
	out := &sparse.CSR{Cols: hi - lo, Indptr: make([]int64, 1, w.Rows()+1)}
	for f := range w.Rows() {
		ids, values := w.Row(f)
		for q, k := range ids {
			if int(k) >= lo && int(k) < hi {
				out.Indices = append(out.Indices, k-int32(lo))
				if values != nil {
					out.Values = append(out.Values, values[q])
				}
			}
		}
		out.Indptr = append(out.Indptr, int64(len(out.Indices)))
	}
	return out
}

func (p *tablePart) forward(inputs, bool, uint64) error { return nil }

func (p *tablePart) logits(in inputs, z backend.Matrix, chunk int) error {
	return p.dev.TableBag(z, in.x, p.w.tables[chunk])
}

func (p *tablePart) backward(in inputs, g backend.Matrix, chunk int, at optim.At) error {
	return p.dev.TableUpdate(p.w.tables[chunk], in.x, g, float32(at.LR*p.lrScale))
}

func (p *tablePart) finish(inputs, optim.At) error { return nil }
func (p *tablePart) params() []*param              { return []*param{p.w} }

// linearPart is the linear model on sparse features with dense weights, one row for each feature.
type linearPart struct {
	dev     backend.Device
	lrScale float64
	chunks  [][2]int
	w       *param // features × labels
}

func newLinearPart(mem *memory, name string, cfg Part, labels int, chunks [][2]int) *linearPart {
	return &linearPart{dev: mem.dev, lrScale: cfg.LRScale, chunks: chunks, w: mem.param(name+".weight", cfg.Inputs, labels, cfg.Rule)}
}

func (p *linearPart) forward(inputs, bool, uint64) error { return nil }

func (p *linearPart) logits(in inputs, z backend.Matrix, chunk int) error {
	return p.dev.Bag(z, in.x, p.w.w.ColSlice(p.chunks[chunk][0], p.chunks[chunk][1]))
}

func (p *linearPart) backward(in inputs, g backend.Matrix, chunk int, at optim.At) error {
	w := p.w.cols(p.chunks[chunk][0], p.chunks[chunk][1])
	at.LR *= p.lrScale
	return p.dev.BagUpdate(w.w, w.state, in.x, g, p.w.rule, at)
}

func (p *linearPart) finish(inputs, optim.At) error { return nil }
func (p *linearPart) params() []*param              { return []*param{p.w} }

// layer is h_out = dropout(act(h_in·Wᵀ + b)).
type layer struct {
	w, b    *param
	out, dh backend.Matrix // of a whole batch
}

// netPart is an embedding bag or given vectors, hidden layers, and a head with one row of weights for each label.
type netPart struct {
	dev     backend.Device
	cfg     Part
	seed    uint64
	chunks  [][2]int
	bag     *layer // its w is features × width, and it has no b; nil where the input is vectors
	hidden  []*layer
	head    *param         // labels × width
	grad    backend.Matrix // scratch: of a hidden layer's weights or bias, or of a chunk of a head that plain SGD does not step
	drop    func(layer int) backend.Dropout
	touched bool // dh of the last layer holds this batch's gradient
}

func newNetPart(mem *memory, name string, cfg Part, model *Config, chunks [][2]int, seed uint64) *netPart {
	p := &netPart{dev: mem.dev, cfg: cfg, seed: seed, chunks: chunks}
	rng := rand.New(rand.NewPCG(seed, 0x6e6574)) // weights depend on the seed alone
	width, hidden := cfg.Inputs, cfg.Hidden
	newLayer := func(w, b *param, out int) *layer {
		return &layer{w: w, b: b, out: mem.matrix(model.BatchSize, out), dh: mem.matrix(model.BatchSize, out)}
	}
	if cfg.Kind == Embed {
		width, hidden = hidden[0], hidden[1:]
		w := mem.param(name+".embedding", cfg.Inputs, width, cfg.Rule)
		scale := cfg.InitScale
		if scale == 0 {
			scale = 2
		}
		initNormal(mem, w, scale/math.Sqrt(float64(width)), rng)
		p.bag = newLayer(w, nil, width)
	}
	largest := 0
	for i, out := range hidden {
		w := mem.param(fmt.Sprintf("%s.hidden%d.weight", name, i), out, width, cfg.Rule)
		b := mem.param(fmt.Sprintf("%s.hidden%d.bias", name, i), 1, out, cfg.Rule)
		initNormal(mem, w, math.Sqrt(2/float64(width)), rng) // He et al. 2015
		p.hidden = append(p.hidden, newLayer(w, b, out))
		largest = max(largest, out*width)
		width = out
	}
	p.head = mem.param(name+".head", model.Labels, width, cfg.Rule)
	if !plainSGD(cfg.Rule) {
		for _, c := range chunks {
			largest = max(largest, (c[1]-c[0])*width)
		}
	}
	p.grad = mem.matrix(1, largest)
	return p
}

func plainSGD(r optim.Rule) bool {
	return r.Kind == optim.SGD && r.Momentum == 0 && r.WeightDecay == 0
}

func initNormal(mem *memory, p *param, sigma float64, rng *rand.Rand) {
	if mem.err != nil {
		return // what the device has no room for, the host may have none for either
	}
	values := make([]float32, p.w.Rows*p.w.Cols)
	for i := range values {
		values[i] = float32(rng.NormFloat64() * sigma)
	}
	mem.upload(p.w.Buf, values)
}

// layers returns the layers in order of computation.
func (p *netPart) layers() []*layer {
	if p.bag == nil {
		return p.hidden
	}
	return append([]*layer{p.bag}, p.hidden...)
}

// top returns the input of the head.
func (p *netPart) top(in inputs) backend.Matrix {
	layers := p.layers()
	if len(layers) == 0 {
		return in.v
	}
	return layers[len(layers)-1].out.RowSlice(0, in.rows)
}

func (p *netPart) forward(in inputs, train bool, step uint64) error {
	p.drop = func(i int) backend.Dropout {
		if !train {
			return backend.Dropout{}
		}
		return backend.Dropout{P: float32(p.cfg.Dropout), Seed: p.seed + uint64(i)<<16, Step: step}
	}
	below := in.v
	for i, l := range p.layers() {
		out := l.out.RowSlice(0, in.rows)
		var err error
		if l == p.bag {
			if err = p.dev.SetRows(out, nil, 0); err == nil {
				err = p.dev.Bag(out, in.x, l.w.w)
			}
		} else {
			if err = p.dev.SetRows(out, l.b.w.Buf, 0); err == nil {
				err = p.dev.Gemm(out, 1, below, false, l.w.w, true, 1)
			}
		}
		if err != nil {
			return err
		}
		if err := p.dev.Activate(out, p.cfg.Activation, p.drop(i)); err != nil {
			return err
		}
		below = out
	}
	p.touched = false
	return nil
}

func (p *netPart) logits(in inputs, z backend.Matrix, chunk int) error {
	w := p.head.w.RowSlice(p.chunks[chunk][0], p.chunks[chunk][1])
	return p.dev.Gemm(z, 1, p.top(in), false, w, true, 1)
}

func (p *netPart) backward(in inputs, g backend.Matrix, chunk int, at optim.At) error {
	head := p.head.rows(p.chunks[chunk][0], p.chunks[chunk][1])
	if layers := p.layers(); len(layers) > 0 {
		// Before the head's weights change.
		beta := float32(0)
		if p.touched {
			beta = 1
		}
		if err := p.dev.Gemm(layers[len(layers)-1].dh.RowSlice(0, in.rows), 1, g, false, head.w, false, beta); err != nil {
			return err
		}
		p.touched = true
	}
	return p.update(head, g, p.top(in), at)
}

// update steps w with the gradient gᵀ·below.
func (p *netPart) update(w param, g, below backend.Matrix, at optim.At) error {
	at.LR *= p.cfg.LRScale
	if plainSGD(w.rule) {
		return p.dev.Gemm(w.w, float32(-at.LR), g, true, below, false, 1)
	}
	grad := p.grad
	grad.Rows, grad.Cols, grad.Stride = w.w.Rows, w.w.Cols, w.w.Cols
	if err := p.dev.Gemm(grad, 1, g, true, below, false, 0); err != nil {
		return err
	}
	return p.dev.Step(w.w, w.state, grad, w.rule, at)
}

func (p *netPart) finish(in inputs, at optim.At) error {
	layers := p.layers()
	for i := len(layers) - 1; i >= 0; i-- {
		l := layers[i]
		dh, out := l.dh.RowSlice(0, in.rows), l.out.RowSlice(0, in.rows)
		if err := p.dev.ActivateGrad(dh, out, p.cfg.Activation, p.drop(i)); err != nil {
			return err
		}
		if l == p.bag {
			at.LR *= p.cfg.LRScale
			return p.dev.BagUpdate(l.w.w, l.w.state, in.x, dh, l.w.rule, at)
		}
		below := in.v
		if i > 0 {
			below = layers[i-1].out.RowSlice(0, in.rows)
			if err := p.dev.Gemm(layers[i-1].dh.RowSlice(0, in.rows), 1, dh, false, l.w.w, false, 0); err != nil {
				return err
			}
		}
		if err := p.update(l.w.rows(0, l.w.w.Rows), dh, below, at); err != nil {
			return err
		}
		grad := backend.Matrix{Buf: p.grad.Buf, Rows: 1, Cols: l.b.w.Cols, Stride: l.b.w.Cols}
		if err := p.dev.ColSum(grad.Buf, 0, dh); err != nil {
			return err
		}
		scaled := at
		scaled.LR *= p.cfg.LRScale
		if err := p.dev.Step(l.b.w, l.b.state, grad, l.b.rule, scaled); err != nil {
			return err
		}
	}
	return nil
}

func (p *netPart) params() []*param {
	var out []*param
	for _, l := range p.layers() {
		out = append(out, l.w)
		if l.b != nil {
			out = append(out, l.b)
		}
	}
	return append(out, p.head)
}
