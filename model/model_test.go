package model

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gputrain/backend"
	"gputrain/cpu"
	"gputrain/loss"
	"gputrain/optim"
	"gputrain/sparse"
)

// device returns a device that ends with the test.
func device(t testing.TB, threads int) *cpu.Device {
	d := cpu.New(threads)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// problem is a batch, and starting weights for any model of its sizes.
type problem struct {
	rows, features, labels, dim int
	batch                       Batch
	table                       *sparse.CSR // features × labels
}

// newProblem draws a batch with empty rows on both sides; soft adds targets between 0 and 1, and a masked one.
func newProblem(seed uint64, rows, features, labels, dim int, soft bool) problem {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := problem{rows: rows, features: features, labels: labels, dim: dim}
	draw := func(rows, cols int, share float64, value func() float32) *sparse.CSR {
		m := &sparse.CSR{Cols: cols, Indptr: []int64{0}}
		if value != nil {
			m.Values = []float32{}
		}
		for i := range rows {
			var ids []int32
			var values []float32
			for j := range cols {
				if i != 1 && rng.Float64() < share {
					ids = append(ids, int32(j))
					if value != nil {
						values = append(values, value())
					}
				}
			}
			m.Append(ids, values)
		}
		return m
	}
	normal := func() float32 { return float32(rng.NormFloat64()) }
	p.batch = Batch{Rows: rows, X: draw(rows, features, 0.4, normal), Y: draw(rows, labels, 0.25, nil)}
	if soft {
		p.batch.Y = draw(rows, labels, 0.4, func() float32 { return []float32{1, 0.3, 0.75, 0, -1}[rng.IntN(5)] })
	}
	p.batch.V = make([]float32, rows*dim)
	for i := range p.batch.V {
		p.batch.V[i] = normal()
	}
	p.table = draw(features, labels, 0.5, normal)
	return p
}

// model builds a model whose weights are all random.
func (p problem) model(t testing.TB, dev backend.Device, cfg Config) *Model {
	t.Helper()
	patterns := make([]*sparse.CSR, len(cfg.Parts))
	for i := range cfg.Parts {
		patterns[i] = p.table
	}
	m, err := New(dev, cfg, patterns, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	start := map[string][]float32{}
	rng := rand.New(rand.NewPCG(7, 8))
	for _, w := range weights(t, m) {
		values := make([]float32, len(w))
		for i := range values {
			values[i] = float32(0.5 * rng.NormFloat64())
		}
		start[fmt.Sprint(len(start))] = values
	}
	next := 0
	if err := m.Restore(func(string) (any, bool) { next++; return start[fmt.Sprint(next-1)], true }, 0); err != nil {
		t.Fatal(err)
	}
	return m
}

// weights returns the dense weights in the order of Weights.
func weights(t testing.TB, m *Model) (all [][]float32) {
	t.Helper()
	tensors, err := m.Weights()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range tensors {
		if isDense(w.Name) {
			all = append(all, w.Data.([]float32))
		}
	}
	return all
}

func isDense(name string) bool {
	return !strings.HasSuffix(name, ".indptr") && !strings.HasSuffix(name, ".indices") && !strings.HasSuffix(name, ".values")
}

// host is a model in float64, written like the formulas.
type host struct {
	cfg Config
	w   map[string][]float64 // "part0" is a table as a dense matrix
}

func newHost(t testing.TB, m *Model) host {
	t.Helper()
	tensors, err := m.Weights()
	if err != nil {
		t.Fatal(err)
	}
	h := host{m.Config(), map[string][]float64{}}
	byName := map[string]any{}
	for _, w := range tensors {
		byName[w.Name] = w.Data
		if isDense(w.Name) {
			for _, v := range w.Data.([]float32) {
				h.w[w.Name] = append(h.w[w.Name], float64(v))
			}
		}
	}
	for i, p := range h.cfg.Parts {
		if p.Kind != Table {
			continue
		}
		name := fmt.Sprintf("part%d", i)
		w := &sparse.CSR{
			Cols: h.cfg.Labels, Indptr: byName[name+".indptr"].([]int64), Indices: byName[name+".indices"].([]int32), Values: byName[name+".values"].([]float32),
		}
		if err := w.Check(); err != nil {
			t.Fatal(err)
		}
		h.w[name] = densify(w)
	}
	return h
}

func densify(m *sparse.CSR) []float64 {
	out := make([]float64, m.Rows()*m.Cols)
	for i := range m.Rows() {
		ids, values := m.Row(i)
		for k, j := range ids {
			out[i*m.Cols+int(j)] = 1
			if values != nil {
				out[i*m.Cols+int(j)] = float64(values[k])
			}
		}
	}
	return out
}

// logits returns the scores of the rows; train applies the dropout of the first step.
func (h host) logits(b Batch, train bool) []float64 {
	labels := h.cfg.Labels
	z := make([]float64, b.Rows*labels)
	for i := range b.Rows {
		copy(z[i*labels:], h.w["bias"])
	}
	for n, p := range h.cfg.Parts {
		name := fmt.Sprintf("part%d", n)
		var in []float64
		if p.Sparse() {
			in = densify(b.X)
		} else {
			for _, v := range b.V {
				in = append(in, float64(v))
			}
		}
		layer := 0
		activate := func(x []float64, cols int) {
			mask := make([]float32, len(x))
			for i := range mask {
				mask[i] = 1
			}
			if train {
				backend.Dropout{P: float32(p.Dropout), Seed: h.cfg.Seed + uint64(n)<<32 + uint64(layer)<<16, Step: 1}.Apply(mask, 0)
			}
			for i, v := range x {
				switch p.Activation {
				case backend.ReLU:
					v = max(v, 0)
				case backend.Tanh:
					v = math.Tanh(v)
				}
				x[i] = v * float64(mask[i])
			}
			layer++
		}
		width, hidden := p.Inputs, p.Hidden
		switch p.Kind {
		case Table, Linear:
			addProduct(z, in, h.w[cmp.Or(map[Kind]string{Linear: name + ".weight"}[p.Kind], name)], b.Rows, width, labels, false)
			continue
		case Embed:
			x := make([]float64, b.Rows*hidden[0])
			addProduct(x, in, h.w[name+".embedding"], b.Rows, width, hidden[0], false)
			activate(x, hidden[0])
			in, width, hidden = x, hidden[0], hidden[1:]
		}
		for k, out := range hidden {
			x := make([]float64, 0, b.Rows*out)
			for range b.Rows {
				x = append(x, h.w[fmt.Sprintf("%s.hidden%d.bias", name, k)]...)
			}
			addProduct(x, in, h.w[fmt.Sprintf("%s.hidden%d.weight", name, k)], b.Rows, width, out, true)
			activate(x, out)
			in, width = x, out
		}
		addProduct(z, in, h.w[name+".head"], b.Rows, width, labels, true)
	}
	return z
}

// addProduct adds a (n×d) times w (d×m, or m×d where transposed) to c.
func addProduct(c, a, w []float64, n, d, m int, transposed bool) {
	for i := range n {
		for j := range m {
			for k := range d {
				at := k*m + j
				if transposed {
					at = j*d + k
				}
				c[i*m+j] += a[i*d+k] * w[at]
			}
		}
	}
}

// loss returns the sum of the rows' losses by the oracle of package loss.
func (h host) loss(b Batch) float64 {
	z, sum := h.logits(b, true), 0.0
	for i := range b.Rows {
		pos, values := b.Y.Row(i)
		var t []float64
		for _, v := range values {
			t = append(t, float64(v))
		}
		l, _ := h.cfg.Loss.Row(z[i*h.cfg.Labels:(i+1)*h.cfg.Labels], pos, t)
		sum += l
	}
	return sum
}

var sgd = optim.Default(optim.SGD)

// shapes are all kinds of models for a problem.
func shapes(p problem, rule optim.Rule) map[string][]Part {
	embed := Part{Kind: Embed, Inputs: p.features, Hidden: []int{4}, Activation: backend.Tanh, Rule: rule, LRScale: 1}
	deep := embed
	deep.Hidden, deep.Activation = []int{4, 3}, backend.ReLU
	dropped := deep
	dropped.Dropout = 0.4
	dense := Part{Kind: Dense, Inputs: p.dim, Rule: rule, LRScale: 1}
	hidden := dense
	hidden.Hidden, hidden.Activation = []int{4}, backend.ReLU
	identity := dense
	identity.Hidden, identity.Activation = []int{4, 5}, backend.Identity
	table := Part{Kind: Table, Inputs: p.features, Rule: sgd, LRScale: 1}
	half, slow := dense, embed
	half.LRScale, slow.LRScale = 0.5, 0.25
	return map[string][]Part{
		"table":       {table},
		"linear":      {{Kind: Linear, Inputs: p.features, Rule: rule, LRScale: 1}},
		"embed":       {embed},
		"embed deep":  {deep},
		"dropout":     {dropped},
		"dense":       {dense},
		"dense 1":     {hidden},
		"dense 2":     {identity},
		"table+dense": {table, half},
		"embed+dense": {embed, half},
		"dense+embed": {dense, slow},
	}
}

var losses = []loss.Kind{loss.SquaredHinge, loss.UnifiedHinge, loss.Unified, loss.Softmax, loss.BCE, loss.UnifiedSoftmax}

// eachModel calls f for every kind of model with every loss that it can be trained by.
func eachModel(t *testing.T, p problem, rule optim.Rule, f func(t *testing.T, cfg Config)) {
	t.Helper()
	all := shapes(p, rule)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, kind := range losses {
			cfg := Config{Labels: p.labels, Loss: loss.Default(kind), Parts: all[name], BatchSize: p.rows + 1, BiasRule: rule, BiasLR: 1, Seed: 5}
			if cfg.Parts[0].Kind == Table && !cfg.Loss.SparseGrad() {
				continue
			}
			t.Run(name+"/"+string(kind), func(t *testing.T) { f(t, cfg) })
		}
	}
}

// TestGradient compares one step of SGD with finite differences of the loss of the float64 model.
func TestGradient(t *testing.T) {
	dev := device(t, 2)
	for _, soft := range []bool{false, true} {
		p := newProblem(3, 6, 7, 9, 5, soft)
		for _, chunk := range []int{0, 4} {
			t.Run(fmt.Sprintf("soft=%v chunk=%d", soft, chunk), func(t *testing.T) {
				eachModel(t, p, sgd, func(t *testing.T, cfg Config) {
					cfg.Chunk = chunk
					m := p.model(t, dev, cfg)
					before := newHost(t, m)
					if err := m.Step(p.batch, 1, 1); err != nil {
						t.Fatal(err)
					}
					sum, rows, err := m.Loss()
					if want := before.loss(p.batch); err != nil || rows != p.rows || math.Abs(sum-want) > 1e-5*want {
						t.Errorf("loss %v of %d rows, %v; want %v of %d", sum, rows, err, want, p.rows)
					}
					after := newHost(t, m)
					for name, w := range before.w {
						scale := 1.0
						if strings.HasPrefix(name, "part1") {
							scale = cfg.Parts[1].LRScale
						}
						mass := 0.0
						for i, v := range w {
							if name == "part0" && v == 0 {
								if after.w[name][i] != 0 {
									t.Fatalf("%s[%d] is not stored, and became %v", name, i, after.w[name][i])
								}
								continue
							}
							const eps = 1e-5
							w[i] = v + eps
							up := before.loss(p.batch)
							w[i] = v - eps
							down := before.loss(p.batch)
							w[i] = v
							want := (up - down) / (2 * eps) / float64(cfg.BatchSize) * scale
							got := v - after.w[name][i]
							if math.Abs(got-want) > 2e-6+2e-5*math.Abs(want) {
								t.Errorf("∂L/∂%s[%d] = %v, finite differences %v", name, i, got, want)
							}
							mass += math.Abs(want)
						}
						if mass == 0 {
							t.Errorf("%s has no gradient: the test shows nothing", name)
						}
					}
				})
			})
		}
	}
}

// train takes some steps with falling step size and returns all weights and state, and the loss.
func train(t *testing.T, m *Model, p problem, steps int) ([]Tensor, float64) {
	t.Helper()
	for i := range steps {
		if err := m.Step(p.batch, 0.05/float64(i+1), 0.05); err != nil {
			t.Fatal(err)
		}
	}
	sum, _, err := m.Loss()
	if err != nil {
		t.Fatal(err)
	}
	return everything(t, m), sum
}

func everything(t *testing.T, m *Model) []Tensor {
	t.Helper()
	w, err := m.Weights()
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.State()
	if err != nil {
		t.Fatal(err)
	}
	return append(w, s...)
}

// compare returns the largest difference of the elements of two lists of tensors, relative to 1 and their size.
func compare(t *testing.T, a, b []Tensor) float64 {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%d tensors and %d", len(a), len(b))
	}
	worst := 0.0
	for i := range a {
		if a[i].Name != b[i].Name || !slices.Equal(a[i].Shape, b[i].Shape) {
			t.Fatalf("%s%v and %s%v", a[i].Name, a[i].Shape, b[i].Name, b[i].Shape)
		}
		x, ok := a[i].Data.([]float32)
		if !ok {
			if fmt.Sprint(a[i].Data) != fmt.Sprint(b[i].Data) {
				t.Fatalf("%s differs", a[i].Name)
			}
			continue
		}
		for k, v := range b[i].Data.([]float32) {
			d := math.Abs(float64(x[k]-v)) / math.Max(1, math.Abs(float64(v)))
			if math.IsNaN(d) {
				t.Fatalf("%s[%d] = %v and %v", a[i].Name, k, x[k], v)
			}
			worst = max(worst, d)
		}
	}
	return worst
}

func TestChunksMakeNoDifference(t *testing.T) {
	dev := device(t, 2)
	p := newProblem(9, 8, 12, 23, 6, false)
	for _, rule := range []optim.Rule{sgd, optim.Default(optim.Adagrad)} {
		eachModel(t, p, rule, func(t *testing.T, cfg Config) {
			cfg.BiasLR = 0.05
			whole, wholeLoss := train(t, p.model(t, dev, cfg), p, 5)
			for _, chunk := range []int{1, 7, 22} {
				cfg.Chunk = chunk
				got, gotLoss := train(t, p.model(t, dev, cfg), p, 5)
				if d := compare(t, got, whole); d > 2e-5 {
					t.Errorf("chunks of %d: weights differ by %v", chunk, d)
				}
				if math.Abs(gotLoss-wholeLoss) > 1e-5*wholeLoss {
					t.Errorf("chunks of %d: loss %v, want %v", chunk, gotLoss, wholeLoss)
				}
			}
		})
	}
}

func TestThreadsMakeNoDifference(t *testing.T) {
	p := newProblem(4, 70, 200, 311, 40, false)
	eachModel(t, p, optim.Default(optim.AdamW), func(t *testing.T, cfg Config) {
		if cfg.Loss.Kind == loss.BCE || cfg.Loss.Kind == loss.UnifiedSoftmax {
			t.Skip("nothing new")
		}
		cfg.BiasLR = 0.01
		var want []Tensor
		for threads := 1; threads <= 3; threads++ {
			m := p.model(t, device(t, threads), cfg)
			got, _ := train(t, m, p, 3)
			m.Close()
			if threads == 1 {
				want = got
			} else if d := compare(t, got, want); d != 0 {
				t.Errorf("%d threads: weights differ by %v from those of one", threads, d)
			}
		}
	})
}

// TestRestore goes on from stored weights and state to the same bits.
func TestRestore(t *testing.T) {
	dev := device(t, 1)
	p := newProblem(6, 8, 12, 11, 6, false)
	for _, rule := range []optim.Rule{sgd, optim.Default(optim.AdamW), optim.Default(optim.RowAdagrad)} {
		eachModel(t, p, rule, func(t *testing.T, cfg Config) {
			m := p.model(t, dev, cfg)
			stored, _ := train(t, m, p, 3)
			want, _ := train(t, m, p, 2)
			find := func(name string) (any, bool) {
				i := slices.IndexFunc(stored, func(x Tensor) bool { return x.Name == name })
				if i < 0 {
					return nil, false
				}
				return stored[i].Data, true
			}
			q := p
			if cfg.Parts[0].Kind == Table { // the zeros of the pattern are not stored
				q.table = &sparse.CSR{Cols: p.labels, Indptr: stored[1].Data.([]int64), Indices: stored[2].Data.([]int32), Values: stored[3].Data.([]float32)}
			}
			again := q.model(t, dev, cfg)
			if err := again.Restore(find, m.Steps()-2); err != nil {
				t.Fatal(err)
			}
			got, _ := train(t, again, p, 2)
			if d := compare(t, got, want); d != 0 {
				t.Errorf("differs by %v", d)
			}
			if again.Steps() != m.Steps() {
				t.Errorf("%d steps, want %d", again.Steps(), m.Steps())
			}
			if err := again.Restore(func(name string) (any, bool) { return []float32{1, 2}, true }, 0); err == nil {
				t.Error("tensors of a wrong size were taken")
			}
			if err := again.Restore(func(name string) (any, bool) { return nil, false }, 0); err == nil {
				t.Error("missing tensors were no error")
			}
		})
	}
}

// TestSeed: weights and dropout depend on the seed, and on it alone.
func TestSeed(t *testing.T) {
	dev := device(t, 1)
	p := newProblem(6, 8, 12, 11, 6, false)
	run := func(seed uint64, dropout float64) []Tensor {
		part := shapes(p, sgd)["embed"][0]
		part.Dropout = dropout
		m, err := New(dev, Config{Labels: p.labels, Loss: loss.Default(loss.Unified), Parts: []Part{part}, BatchSize: 8, Seed: seed}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		w, _ := train(t, m, p, 3)
		return w
	}
	if compare(t, run(1, 0.5), run(1, 0.5)) != 0 {
		t.Error("the same seed gave other weights")
	}
	if compare(t, run(1, 0.5), run(2, 0.5)) == 0 {
		t.Error("another seed gave the same weights")
	}
	if compare(t, run(1, 0.5), run(1, 0)) == 0 {
		t.Error("dropout changed nothing")
	}
	m := p.model(t, dev, Config{Labels: p.labels, Loss: loss.Default(loss.Unified), Parts: shapes(p, sgd)["dropout"], BatchSize: 8})
	var sums [2]float64
	for i := range sums { // the step size is too small for any change of the weights
		if err := m.Step(p.batch, 1e-30, 1e-30); err != nil {
			t.Fatal(err)
		}
		var err error
		if sums[i], _, err = m.Loss(); err != nil {
			t.Fatal(err)
		}
	}
	if sums[0] == sums[1] {
		t.Error("each step drops the same units")
	}
}

func TestTopK(t *testing.T) {
	dev := device(t, 2)
	p := newProblem(8, 9, 12, 17, 6, false)
	eachModel(t, p, sgd, func(t *testing.T, cfg Config) {
		for _, chunk := range []int{0, 5} {
			cfg.Chunk = chunk
			m := p.model(t, dev, cfg)
			z := newHost(t, m).logits(p.batch, false)
			b := p.batch
			b.Y = nil
			for _, k := range []int{3, 1, 20} { // 20 of 17 labels
				scores, ids := make([]float32, p.rows*k), make([]int32, p.rows*k)
				if err := m.TopK(b, k, scores, ids); err != nil {
					t.Fatal(err)
				}
				for i := range p.rows {
					row := z[i*p.labels : (i+1)*p.labels]
					order := make([]int32, p.labels)
					for j := range order {
						order[j] = int32(j)
					}
					slices.SortFunc(order, func(a, b int32) int { return cmp.Or(cmp.Compare(row[b], row[a]), cmp.Compare(a, b)) })
					for j := range k {
						id, score := ids[i*k+j], float64(scores[i*k+j])
						if j >= p.labels {
							if id != -1 || !math.IsInf(score, -1) {
								t.Errorf("row %d place %d: label %d with %v beyond all labels", i, j, id, score)
							}
						} else if id != order[j] || math.Abs(score-row[id]) > 1e-5 {
							t.Errorf("row %d place %d: label %d with %v, want %d with %v", i, j, id, score, order[j], row[order[j]])
						}
					}
				}
			}
			if err := m.TopK(b, 2, make([]float32, 1), make([]int32, 1)); err == nil {
				t.Error("too little room was no error")
			}
		}
	})
}

// TestBadBatches: a batch that does not fit is an error, never a panic.
func TestBadBatches(t *testing.T) {
	dev := device(t, 1)
	p := newProblem(8, 4, 6, 5, 3, false)
	cfg := Config{Labels: p.labels, Loss: loss.Default(loss.SquaredHinge), BatchSize: 4, Parts: shapes(p, sgd)["table+dense"]}
	m := p.model(t, dev, cfg)
	other := newProblem(9, 4, 7, 6, 4, false).batch
	for name, b := range map[string]Batch{
		"too many rows":   newProblem(9, 5, 6, 5, 3, false).batch,
		"features":        {Rows: 4, X: other.X, V: p.batch.V, Y: p.batch.Y},
		"no features":     {Rows: 4, V: p.batch.V, Y: p.batch.Y},
		"rows":            {Rows: 3, X: p.batch.X, V: p.batch.V[:9], Y: p.batch.Y},
		"labels":          {Rows: 4, X: p.batch.X, V: p.batch.V, Y: other.Y},
		"rows of targets": {Rows: 4, X: p.batch.X, V: p.batch.V, Y: p.batch.Y.Select([]int{0})},
		"vectors":         {Rows: 4, X: p.batch.X, V: other.V, Y: p.batch.Y},
		"no vectors":      {Rows: 4, X: p.batch.X, Y: p.batch.Y},
		"no targets":      {Rows: 4, X: p.batch.X, V: p.batch.V},
	} {
		if err := m.Step(b, 1, 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := m.Step(p.batch, 1, 1); err != nil {
		t.Errorf("after bad batches: %v", err)
	}
	if err := m.Step(Batch{X: &sparse.CSR{Cols: 6}, Y: &sparse.CSR{Cols: 5}}, 1, 1); err != nil {
		t.Errorf("a batch without rows: %v", err)
	}
}

func TestDivergedLossShows(t *testing.T) {
	p := newProblem(8, 4, 6, 5, 3, false)
	m := p.model(t, device(t, 1), Config{Labels: p.labels, Loss: loss.Default(loss.SquaredHinge), BatchSize: 4, Parts: shapes(p, sgd)["linear"]})
	p.batch.X = p.batch.X.Select([]int{0, 0, 2, 2}) // equal rows with other labels: they cannot both be right
	for range 3 {
		if err := m.Step(p.batch, 1e30, 1e30); err != nil {
			t.Fatal(err)
		}
	}
	if sum, _, err := m.Loss(); err != nil || !math.IsNaN(sum) && !math.IsInf(sum, 0) {
		t.Errorf("loss %v, %v", sum, err)
	}
}

func TestConfigErrors(t *testing.T) {
	dev := device(t, 1)
	p := newProblem(8, 4, 6, 5, 3, false)
	good := func() Config {
		return Config{Labels: p.labels, Loss: loss.Default(loss.SquaredHinge), BatchSize: 4, Parts: slices.Clone(shapes(p, sgd)["table+dense"])}
	}
	embed := shapes(p, sgd)["embed deep"][0]
	for _, tt := range []struct {
		want   string // part of the message
		change func(*Config)
	}{
		{"no labels", func(c *Config) { c.Labels = 0 }},
		{"batch size 0", func(c *Config) { c.BatchSize = 0 }},
		{"batch size", func(c *Config) { c.BatchSize = 1 << 60 }},
		{"no parts", func(c *Config) { c.Parts = nil }},
		{"unknown loss", func(c *Config) { c.Loss.Kind = "squared" }},
		{"unknown kind", func(c *Config) { c.Parts[0].Kind = "tree" }},
		{"part 1: 0 inputs", func(c *Config) { c.Parts[1].Inputs = 0 }},
		{"inputs", func(c *Config) { c.Parts[1].Inputs = 1 << 40 }},
		{"part 0: dropout 1", func(c *Config) { c.Parts[0].Dropout = 1 }},
		{"dropout NaN", func(c *Config) { c.Parts[0].Dropout = math.NaN() }},
		{"no hidden layers", func(c *Config) { c.Parts[0].Hidden = []int{3} }},
		{"needs the embedding's width", func(c *Config) { c.Parts[0] = embed; c.Parts[0].Hidden = nil }},
		{"width 0", func(c *Config) { c.Parts[0] = embed; c.Parts[0].Hidden = []int{4, 0} }},
		{"width", func(c *Config) { c.Parts[0] = embed; c.Parts[0].Hidden = []int{1 << 60} }},
		{"unknown activation", func(c *Config) { c.Parts[0] = embed; c.Parts[0].Activation = "gelu" }},
		{"plain sgd", func(c *Config) { c.Parts[0].Rule = optim.Default(optim.AdamW) }},
		{"plain sgd", func(c *Config) { c.Parts[0].Rule.Momentum = 0.9 }},
		{"plain sgd", func(c *Config) { c.Parts[0].Rule.WeightDecay = 0.1 }},
		{"hinge loss", func(c *Config) { c.Loss = loss.Default(loss.Unified) }},
		{"unknown optimiser", func(c *Config) { c.Parts[1].Rule.Kind = "adan" }},
		{"bias: unknown optimiser", func(c *Config) { c.BiasRule.Kind = "adan" }},
		{"bias: row-adagrad", func(c *Config) { c.BiasRule, c.Chunk = optim.Default(optim.RowAdagrad), 2 }},
		{"dimensions", func(c *Config) { c.Parts = append(c.Parts, c.Parts[1]); c.Parts[2].Inputs++ }},
		{"6×5 for 7 features", func(c *Config) { c.Parts[0].Inputs = 7 }},
		{"5 biases for 6 labels", func(c *Config) { c.Labels = 6 }},
	} {
		cfg := good()
		tt.change(&cfg)
		m, err := New(dev, cfg, []*sparse.CSR{p.table}, make([]float32, 5))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v", tt.want, err)
		}
		if m != nil {
			t.Errorf("%q: a model as well", tt.want)
		}
	}
	cfg := good()
	if _, err := New(dev, cfg, nil, nil); err == nil || !strings.Contains(err.Error(), "no pattern") {
		t.Errorf("no pattern: %v", err)
	}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

// meter counts what is held on a device, and fails the allocation number failAt.
type meter struct {
	backend.Device
	calls, failAt int
	held          map[any]int64
}

func (d *meter) next() error {
	d.calls++
	if d.calls == d.failAt {
		return fmt.Errorf("meter: %w", backend.ErrOutOfMemory)
	}
	return nil
}

func (d *meter) Alloc(t backend.DType, n int) (backend.Buffer, error) {
	if err := d.next(); err != nil {
		return nil, err
	}
	b, err := d.Device.Alloc(t, n)
	d.held[b] = int64(n) * t.Size()
	return b, err
}

func (d *meter) NewTable(w *sparse.CSR) (backend.Table, error) {
	if err := d.next(); err != nil {
		return nil, err
	}
	t, err := d.Device.NewTable(w)
	d.held[t] = t.Bytes()
	return t, err
}

func (d *meter) Free(b backend.Buffer) {
	if _, ok := d.held[b]; !ok {
		panic("freed twice, or never held")
	}
	delete(d.held, b)
	d.Device.Free(b)
}

func (d *meter) FreeTable(t backend.Table) {
	if _, ok := d.held[t]; !ok {
		panic("freed twice, or never held")
	}
	delete(d.held, t)
	d.Device.FreeTable(t)
}

// TestOutOfMemory fails every allocation in turn: that is an error that says so, and nothing leaks.
func TestOutOfMemory(t *testing.T) {
	p := newProblem(8, 4, 6, 5, 3, false)
	all := shapes(p, optim.Default(optim.AdamW))
	for name, parts := range all {
		for failAt := 1; ; failAt++ {
			dev := &meter{Device: device(t, 1), failAt: failAt, held: map[any]int64{}}
			use := func() error {
				cfg := Config{Labels: p.labels, Loss: loss.Default(loss.SquaredHinge), BatchSize: 4, Chunk: 2, Parts: parts, BiasRule: optim.Default(optim.AdamW), BiasLR: 0.1}
				m, err := New(dev, cfg, []*sparse.CSR{p.table}, make([]float32, p.labels))
				if err != nil {
					return err
				}
				defer m.Close()
				if err := m.Step(p.batch, 0.1, 0.1); err != nil {
					return err
				}
				for _, k := range []int{1, 3} {
					scores, ids := make([]float32, k*p.rows), make([]int32, k*p.rows)
					if err := m.TopK(p.batch, k, scores, ids); err != nil {
						if again := m.TopK(p.batch, 1, scores[:p.rows], ids[:p.rows]); !errors.Is(again, backend.ErrOutOfMemory) && again != nil {
							t.Errorf("%s: after the memory ran out: %v", name, again)
						}
						return err
					}
				}
				weights, work := m.Bytes()
				sum := int64(0)
				for _, n := range dev.held {
					sum += n
				}
				if weights+work != sum || weights <= 0 || work <= 0 {
					t.Errorf("%s: Bytes says %d + %d, the device %d", name, weights, work, sum)
				}
				return nil
			}
			err := use()
			if len(dev.held) != 0 {
				t.Fatalf("%s: %d allocations leak when number %d of %d fails", name, len(dev.held), failAt, dev.calls)
			}
			if err == nil {
				if failAt <= dev.calls {
					t.Errorf("%s: allocation %d failed and nobody noticed", name, failAt)
				}
				break
			}
			if !errors.Is(err, backend.ErrOutOfMemory) {
				t.Fatalf("%s: allocation %d: %v", name, failAt, err)
			}
		}
	}
}

// TestOutOfMemoryOfHost: starting weights that the device has no room for are not drawn on the host either.
func TestOutOfMemoryOfHost(t *testing.T) {
	cfg := Config{Labels: 3, Loss: loss.Default(loss.Unified), BatchSize: 1}
	cfg.Parts = []Part{{Kind: Embed, Inputs: maxSize, Hidden: []int{1 << 20}, Activation: backend.ReLU, Rule: sgd, LRScale: 1}}
	if _, err := New(device(t, 1), cfg, nil, nil); !errors.Is(err, backend.ErrOutOfMemory) {
		t.Errorf("error %v", err)
	}
}

func TestLogPrior(t *testing.T) {
	counts := []int64{0, 1, 30, 99, 100}
	for _, spec := range []loss.Spec{
		loss.Default(loss.Unified), {Kind: loss.Unified, Scale: 3}, loss.Default(loss.UnifiedM2), {Kind: loss.UnifiedM3, Scale: 0.5}, loss.Default(loss.BCE),
	} {
		for k, s := range LogPrior(spec, counts, 100) {
			want := (float64(counts[k]) + 0.5) / 101
			if got := spec.Prob(float64(s)); math.Abs(got-want) > 1e-6 {
				t.Errorf("%s with scale %v: probability %v of label %d, want %v", spec.Kind, spec.Scale, got, k, want)
			}
		}
	}
	// The odds of two labels are those of their counts.
	for _, spec := range []loss.Spec{loss.Default(loss.Softmax), {Kind: loss.UnifiedSoftmax, Scale: 2}} {
		s := LogPrior(spec, []int64{10, 20}, 1000000)
		row := []float64{float64(s[0]), float64(s[1])}
		spec.Probs(row)
		if math.Abs(row[1]/row[0]-20.5/10.5) > 1e-4 {
			t.Errorf("%s: %v", spec.Kind, row)
		}
	}
}
