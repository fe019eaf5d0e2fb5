package model

import (
	"errors"
	"fmt"
	"math"

	"gputrain/backend"
	"gputrain/loss"
	"gputrain/optim"
	"gputrain/sparse"
)

// Batch is some rows on the host. X holds their sparse features and V their vectors (row-major, Rows×D), as far as the model
// has parts that read them; Y holds the targets, and may be nil where only scores are wanted.
type Batch struct {
	Rows int
	X    *sparse.CSR
	V    []float32
	Y    *sparse.CSR
}

// Places of UploadCSR.
const (
	slotFeatures = iota
	slotTargets
)

// inputs is a batch in device memory.
type inputs struct {
	rows int
	x    backend.CSR
	v    backend.Matrix
}

// part is one summand of the logits. Its calls come in the order forward, then for each label chunk logits (and backward, in
// training), then finish (in training).
type part interface {
	forward(in inputs, train bool, step uint64) error
	logits(in inputs, z backend.Matrix, chunk int) error                // adds to z
	backward(in inputs, g backend.Matrix, chunk int, at optim.At) error // updates the chunk's weights from g = ∂L/∂z
	finish(in inputs, at optim.At) error
	params() []*param
}

// Model is a classifier on a device. It is not safe for concurrent use.
type Model struct {
	cfg       Config
	dev       backend.Device
	mem       *memory
	chunks    [][2]int
	parts     []part
	bias      *param
	biasGrad  backend.Buffer
	z         backend.Buffer // logits of a batch and a chunk
	v         backend.Buffer // vectors of a batch
	vectorDim int
	stats     backend.Buffer
	rowLoss   backend.Buffer
	lossRows  int // rows whose losses are in rowLoss
	topScores backend.Buffer
	topIDs    backend.Buffer
	depth     int
	step      int64
}

// New builds a model. Patterns gives, for each part of kind Table, the sparse weights to start from (features × labels;
// nil values mean zeros); other entries are ignored. Bias is each label's bias to start from; nil means zeros.
func New(dev backend.Device, cfg Config, patterns []*sparse.CSR, bias []float32) (*Model, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if bias != nil && len(bias) != cfg.Labels {
		return nil, fmt.Errorf("model: %d biases for %d labels", len(bias), cfg.Labels)
	}
	m := &Model{cfg: cfg, dev: dev, mem: &memory{dev: dev}, chunks: cfg.chunks()}
	if err := m.build(patterns, bias); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Model) build(patterns []*sparse.CSR, bias []float32) (err error) {
	mem, cfg := m.mem, &m.cfg
	m.bias = mem.param("bias", 1, cfg.Labels, cfg.BiasRule)
	m.biasGrad = mem.alloc(backend.Float32, cfg.Labels)
	widest := 0
	for _, c := range m.chunks {
		widest = max(widest, c[1]-c[0])
	}
	m.z = mem.alloc(backend.Float32, cfg.BatchSize*widest)
	m.stats = mem.alloc(backend.Float64, cfg.BatchSize*backend.StatsLen)
	m.rowLoss = mem.alloc(backend.Float64, cfg.BatchSize)
	for i, p := range cfg.Parts {
		name := fmt.Sprintf("part%d", i)
		seed := cfg.Seed + uint64(i)<<32
		var built part
		switch p.Kind {
		case Table:
			if i >= len(patterns) || patterns[i] == nil {
				return fmt.Errorf("model: part %d: no pattern for the sparse weights", i)
			}
			if patterns[i].Rows() != p.Inputs || patterns[i].Cols != cfg.Labels {
				return fmt.Errorf("model: part %d: sparse weights %d×%d for %d features and %d labels", i, patterns[i].Rows(), patterns[i].Cols, p.Inputs, cfg.Labels)
			}
			built, err = newTablePart(mem, name, p, patterns[i], m.chunks)
			if err != nil {
				return err
			}
		case Linear:
			built = newLinearPart(mem, name, p, cfg.Labels, m.chunks)
		default:
			built = newNetPart(mem, name, p, cfg, m.chunks, seed)
		}
		if !p.Sparse() {
			m.vectorDim = p.Inputs
		}
		m.parts = append(m.parts, built)
	}
	m.v = mem.alloc(backend.Float32, cfg.BatchSize*m.vectorDim)
	if bias != nil {
		mem.upload(m.bias.w.Buf, bias)
	}
	return mem.err
}

// Config returns what the model was built from.
func (m *Model) Config() Config { return m.cfg }

// Steps returns the number of training steps taken, those before a restored checkpoint included.
func (m *Model) Steps() int64 { return m.step }

// Close gives the device memory back.
func (m *Model) Close() { m.mem.freeAll() }

func (m *Model) upload(b Batch) (in inputs, err error) {
	if b.Rows > m.cfg.BatchSize {
		return in, fmt.Errorf("model: batch of %d rows, built for %d", b.Rows, m.cfg.BatchSize)
	}
	in.rows = b.Rows
	if b.X != nil {
		if in.x, err = m.dev.UploadCSR(slotFeatures, b.X); err != nil {
			return in, err
		}
	}
	if m.vectorDim > 0 {
		if len(b.V) != b.Rows*m.vectorDim {
			return in, fmt.Errorf("model: %d vector elements for %d rows of %d dimensions", len(b.V), b.Rows, m.vectorDim)
		}
		if err := m.dev.Upload(m.v, 0, b.V); err != nil {
			return in, err
		}
		in.v = backend.Matrix{Buf: m.v, Rows: b.Rows, Cols: m.vectorDim, Stride: m.vectorDim}
	}
	return in, nil
}

// logits computes the scores of a chunk of labels.
func (m *Model) logits(in inputs, chunk int) (backend.Matrix, error) {
	lo, hi := m.chunks[chunk][0], m.chunks[chunk][1]
	z := backend.Matrix{Buf: m.z, Rows: in.rows, Cols: hi - lo, Stride: hi - lo}
	if err := m.dev.SetRows(z, m.bias.w.Buf, lo); err != nil {
		return z, err
	}
	for _, p := range m.parts {
		if err := p.logits(in, z, chunk); err != nil {
			return z, err
		}
	}
	return z, nil
}

// Step trains on one batch: gradients of the sum of the rows' losses over BatchSize, and one update of every weight that they
// reach. Lr is the step size now and peak the schedule's largest. Losses are added up for Loss.
func (m *Model) Step(b Batch, lr, peak float64) error {
	if b.Y == nil {
		return errors.New("model: no targets to train on")
	}
	in, err := m.upload(b)
	if err != nil {
		return err
	}
	y, err := m.dev.UploadCSR(slotTargets, b.Y)
	if err != nil {
		return err
	}
	if y.Rows != in.rows || y.Cols != m.cfg.Labels {
		return fmt.Errorf("model: targets %v for %d rows and %d labels", y, in.rows, m.cfg.Labels)
	}
	m.step++
	at := optim.At{Step: m.step, LR: lr}
	for _, p := range m.parts {
		if err := p.forward(in, true, uint64(m.step)); err != nil {
			return err
		}
	}
	spec, scale := m.cfg.Loss, 1/float32(m.cfg.BatchSize)
	// A row-coupled loss needs the sums over all labels before the first gradient: with several chunks, two sweeps.
	twoSweeps := len(m.chunks) > 1 && !spec.Separable()
	if twoSweeps {
		if err := m.sweepStats(in, y); err != nil {
			return err
		}
	}
	biasAt := optim.At{Step: m.step, LR: m.cfg.BiasLR * lr / peak}
	for c, span := range m.chunks {
		z, err := m.logits(in, c)
		if err != nil {
			return err
		}
		if twoSweeps {
			err = m.dev.LossGrad(spec, m.stats, z, y, span[0], scale)
		} else {
			err = m.dev.LossFwdBwd(spec, m.rowLoss, z, y, span[0], scale)
		}
		if err != nil {
			return err
		}
		for _, p := range m.parts {
			if err := p.backward(in, z, c, at); err != nil {
				return err
			}
		}
		if m.bias.rule.Kind != "" {
			if err := m.dev.ColSum(m.biasGrad, span[0], z); err != nil {
				return err
			}
			g := backend.Matrix{Buf: m.biasGrad, Rows: 1, Cols: m.cfg.Labels, Stride: m.cfg.Labels}
			b := m.bias.cols(span[0], span[1])
			if err := m.dev.Step(b.w, b.state, g.ColSlice(span[0], span[1]), b.rule, biasAt); err != nil {
				return err
			}
		}
	}
	for _, p := range m.parts {
		if err := p.finish(in, at); err != nil {
			return err
		}
	}
	m.lossRows += in.rows
	return nil
}

func (m *Model) sweepStats(in inputs, y backend.CSR) error {
	zero := make([]float64, in.rows*backend.StatsLen)
	if err := m.dev.Upload(m.stats, 0, zero); err != nil {
		return err
	}
	for c, span := range m.chunks {
		z, err := m.logits(in, c)
		if err != nil {
			return err
		}
		if err := m.dev.LossStats(m.cfg.Loss, m.stats, z, y, span[0]); err != nil {
			return err
		}
	}
	return m.dev.LossRows(m.cfg.Loss, m.rowLoss, m.stats, y)
}

// Loss returns the sum of the rows' losses over the steps since the last call, and the number of those rows. The sum is NaN or
// infinite where training diverged.
func (m *Model) Loss() (sum float64, rows int, err error) {
	losses := make([]float64, m.cfg.BatchSize)
	if err := m.dev.Download(losses, m.rowLoss, 0); err != nil {
		return 0, 0, err
	}
	for _, l := range losses {
		sum += l
	}
	clear(losses)
	rows, m.lossRows = m.lossRows, 0
	return sum, rows, m.dev.Upload(m.rowLoss, 0, losses)
}

// TopK scores a batch and fills in the k best labels of each row, best first: scores and ids of row i at [i·k, (i+1)·k). Where there
// are fewer than k labels, the rest is −Inf and −1.
func (m *Model) TopK(b Batch, k int, scores []float32, ids []int32) error {
	in, err := m.upload(b)
	if err != nil {
		return err
	}
	if len(scores) != b.Rows*k || len(ids) != b.Rows*k {
		return fmt.Errorf("model: room for %d scores and %d ids, want %d rows × %d", len(scores), len(ids), b.Rows, k)
	}
	if k > m.depth {
		m.mem.free(m.topScores)
		m.mem.free(m.topIDs)
		m.depth = 0
		m.topScores = m.mem.alloc(backend.Float32, m.cfg.BatchSize*k)
		m.topIDs = m.mem.alloc(backend.Int32, m.cfg.BatchSize*k)
		if m.mem.err != nil {
			return m.mem.err
		}
		m.depth = k
	}
	for i := range scores {
		scores[i], ids[i] = float32(math.Inf(-1)), -1
	}
	if err := m.dev.Upload(m.topScores, 0, scores); err != nil {
		return err
	}
	if err := m.dev.Upload(m.topIDs, 0, ids); err != nil {
		return err
	}
	for _, p := range m.parts {
		if err := p.forward(in, false, 0); err != nil {
			return err
		}
	}
	top := backend.Matrix{Buf: m.topScores, Rows: in.rows, Cols: k, Stride: k}
	for c, span := range m.chunks {
		z, err := m.logits(in, c)
		if err != nil {
			return err
		}
		if err := m.dev.TopK(top, m.topIDs, z, span[0]); err != nil {
			return err
		}
	}
	if err := m.dev.Download(scores, m.topScores, 0); err != nil {
		return err
	}
	return m.dev.Download(ids, m.topIDs, 0)
}

// Bytes returns the device memory that a model holds: weights and optimiser state, and the rest.
func (m *Model) Bytes() (weights, work int64) {
	for _, p := range m.allParams() {
		weights += p.bytes()
	}
	return weights, m.mem.bytes - weights
}

func (m *Model) allParams() []*param {
	out := []*param{m.bias}
	for _, p := range m.parts {
		out = append(out, p.params()...)
	}
	return out
}

// LogPrior returns the bias at which an untrained model predicts each label with its share of the training rows under the
// loss's own probability, given the labels' row counts: logit/2γ for the unified losses, whose probability is σ(2γs), and logit
// otherwise (over γ for unified-softmax), with add-half smoothing.
func LogPrior(spec loss.Spec, counts []int64, rows int) []float32 {
	bias := make([]float32, len(counts))
	scale := 1.0
	switch spec.Kind {
	case loss.Unified, loss.UnifiedM2, loss.UnifiedM3:
		scale = 1 / (2 * spec.Gamma())
	case loss.UnifiedSoftmax:
		scale = 1 / spec.Gamma()
	}
	for k, n := range counts {
		bias[k] = float32(scale * math.Log((float64(n)+0.5)/(float64(rows)-float64(n)+0.5)))
	}
	return bias
}
