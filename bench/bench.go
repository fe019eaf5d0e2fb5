// Package bench measures what a device does on this machine: the loss, matrix products and training steps, each beside the time
// it takes to copy the same logits once.
package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"gputrain/backend"
	"gputrain/loss"
	"gputrain/model"
	"gputrain/optim"
	"gputrain/sparse"
)

// Options say what to measure.
type Options struct {
	Shapes [][2]int // rows and labels of the losses; nil means DefaultShapes
	Head   [2]int   // inputs and labels of the matrix product and the training step; zero means DefaultHead
	// Tell, if not nil, is told what is measured next.
	Tell func(what string)
}

// Report is what was measured. Seconds are wall time and CPUSeconds user and system time of the whole process, each the median
// over repetitions.
type Report struct {
	CopyGBs    float64 `json:"copy_gb_s"` // bytes read plus bytes written by one thread that copies host memory
	Loss       []Loss  `json:"loss"`
	GemmGFlops float64 `json:"gemm_gflops"`     // a second of wall time; of the product that the head of Step needs
	GemmCPU    float64 `json:"gemm_gflops_cpu"` // a second of CPU time
	Step       []Step  `json:"step"`
}

// Loss is the forward and backward pass of a loss over all labels of some rows, in place.
type Loss struct {
	Name       string  `json:"name"`
	DType      string  `json:"dtype"`
	Rows       int     `json:"rows"`
	Labels     int     `json:"labels"`
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
	// Copies is CPUSeconds over the CPU time of one thread copying the logits once, measured in turn with it.
	Copies float64 `json:"copies"`
}

// Step is a training step of a head on given vectors: scores, loss, gradients and update.
type Step struct {
	Name       string  `json:"name"`
	Rows       int     `json:"rows"`
	Inputs     int     `json:"inputs"`
	Labels     int     `json:"labels"`
	Optimizer  string  `json:"optimizer"`
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
	GFlops     float64 `json:"gflops"` // wall, of the two matrix products
}

const (
	repetitions = 5
	rotate      = 64 << 20 // bytes of logits that take turns, so that none is in a cache
	maxTurns    = 64       // matrices of logits that take turns at most
	headRows    = 256      // of the matrix product and the training step
	positives   = 4        // labels of a row
)

// What is measured by default: some 20 seconds on two cores.
var (
	DefaultShapes = [][2]int{{256, 4096}, {256, 32768}, {16, 670091}}
	DefaultHead   = [2]int{768, 8192}
)

// What is measured with more time and 3 GB of memory.
var (
	LargeShapes = [][2]int{{256, 4096}, {256, 32768}, {256, 131072}, {64, 670091}}
	LargeHead   = [2]int{768, 32768}
)

// Run measures a device.
func Run(dev backend.Device, opt Options) (*Report, error) {
	tell := opt.Tell
	if tell == nil {
		tell = func(string) {}
	}
	r := &Report{}
	tell("copy")
	r.CopyGBs = copySpeed()

	shapes, head := opt.Shapes, opt.Head
	if shapes == nil {
		shapes = DefaultShapes
	}
	if head == [2]int{} {
		head = DefaultHead
	}
	for _, kind := range []loss.Kind{loss.Unified, loss.SquaredHinge} {
		for _, s := range shapes {
			tell(fmt.Sprintf("loss %s %d×%d", kind, s[0], s[1]))
			l, err := measureLoss(dev, loss.Default(kind), s[0], s[1])
			if err != nil {
				return nil, err
			}
			r.Loss = append(r.Loss, l)
		}
	}
	tell("gemm")
	var err error
	if r.GemmGFlops, r.GemmCPU, err = measureGemm(dev, headRows, head[0], head[1]); err != nil {
		return nil, err
	}
	for _, kind := range []loss.Kind{loss.Unified, loss.SquaredHinge} {
		tell(fmt.Sprintf("step %s %d→%d", kind, head[0], head[1]))
		s, err := measureStep(dev, loss.Default(kind), headRows, head[0], head[1])
		if err != nil {
			return nil, err
		}
		r.Step = append(r.Step, s)
	}
	return r, nil
}

// spent is what a piece of work took, in seconds.
type spent struct{ wall, cpu float64 }

func clock(work func() error) (spent, error) {
	cpu, began := cpuSeconds(), time.Now()
	err := work()
	return spent{time.Since(began).Seconds(), cpuSeconds() - cpu}, err
}

func median(all []spent, value func(spent) float64) float64 {
	list := make([]float64, len(all))
	for i, s := range all {
		list[i] = value(s)
	}
	slices.Sort(list)
	return list[len(list)/2]
}

func byWall(s spent) float64 { return s.wall }
func byCPU(s spent) float64  { return s.cpu }

func copySpeed() float64 {
	const n = rotate / 4
	from, to := random(n), make([]float32, n)
	var all []spent
	for range repetitions + 1 {
		s, _ := clock(func() error { copy(to, from); return nil })
		all = append(all, s)
	}
	return 2 * 4 * n / median(all[1:], byWall) / 1e9 // the first one also gets the pages of to
}

// measureLoss lets several matrices of logits take turns, and copies as many in turn with it.
func measureLoss(dev backend.Device, spec loss.Spec, rows, labels int) (Loss, error) {
	out := Loss{Name: string(spec.Kind), DType: "float32", Rows: rows, Labels: labels}
	n := rows * labels
	turns := min(max(1, rotate/(4*n)), maxTurns)
	logits := random(n)
	to := make([]float32, n*turns)
	z := make([]backend.Matrix, turns)
	defer func() {
		for _, m := range z {
			dev.Free(m.Buf)
		}
	}()
	for i := range z {
		buf, err := dev.Alloc(backend.Float32, n)
		if err != nil {
			return out, err
		}
		z[i] = backend.Matrix{Buf: buf, Rows: rows, Cols: labels, Stride: labels}
	}
	rowLoss, err := dev.Alloc(backend.Float64, rows)
	if err != nil {
		return out, err
	}
	defer dev.Free(rowLoss)
	y, err := dev.UploadCSR(0, targets(rows, labels))
	if err != nil {
		return out, err
	}
	var losses, copies []spent
	for i := range repetitions + 1 {
		for _, m := range z { // the loss replaces logits by gradients
			if err := dev.Upload(m.Buf, 0, logits); err != nil {
				return out, err
			}
		}
		if err := dev.Sync(); err != nil {
			return out, err
		}
		c, _ := clock(func() error {
			for k := range turns {
				copy(to[k*n:(k+1)*n], logits)
			}
			return nil
		})
		l, err := clock(func() error {
			for _, m := range z {
				if err := dev.LossFwdBwd(spec, rowLoss, m, y, 0, 1); err != nil {
					return err
				}
			}
			return dev.Sync()
		})
		if err != nil {
			return out, err
		}
		if i > 0 { // the first one warms up
			losses, copies = append(losses, l), append(copies, c)
		}
	}
	out.Seconds = median(losses, byWall) / float64(turns)
	out.CPUSeconds = median(losses, byCPU) / float64(turns)
	out.Copies = out.CPUSeconds * float64(turns) / max(median(copies, byCPU), 1e-9)
	return out, nil
}

// measureGemm multiplies rows×inputs by the transpose of labels×inputs.
func measureGemm(dev backend.Device, rows, inputs, labels int) (perWall, perCPU float64, err error) {
	matrix := func(rows, cols int) (m backend.Matrix) {
		if err != nil {
			return m
		}
		m = backend.Matrix{Rows: rows, Cols: cols, Stride: cols}
		if m.Buf, err = dev.Alloc(backend.Float32, rows*cols); err == nil {
			err = dev.Upload(m.Buf, 0, random(rows*cols))
		}
		return m
	}
	a, b, c := matrix(rows, inputs), matrix(labels, inputs), matrix(rows, labels)
	defer func() {
		for _, m := range []backend.Matrix{a, b, c} {
			dev.Free(m.Buf)
		}
	}()
	var all []spent
	for range repetitions + 1 {
		if err != nil {
			return 0, 0, err
		}
		var s spent
		s, err = clock(func() error {
			if err := dev.Gemm(c, 1, a, false, b, true, 0); err != nil {
				return err
			}
			return dev.Sync()
		})
		all = append(all, s)
	}
	gflop := 2 * float64(rows) * float64(inputs) * float64(labels) / 1e9
	return gflop / median(all[1:], byWall), gflop / max(median(all[1:], byCPU), 1e-9), err
}

func measureStep(dev backend.Device, spec loss.Spec, rows, inputs, labels int) (Step, error) {
	out := Step{Name: string(spec.Kind), Rows: rows, Inputs: inputs, Labels: labels, Optimizer: string(optim.SGD)}
	m, err := model.New(dev, model.Config{
		Labels: labels, Loss: spec, BatchSize: rows,
		Parts: []model.Part{{Kind: model.Dense, Inputs: inputs, Rule: optim.Rule{Kind: optim.SGD}, LRScale: 1}},
	}, nil, nil)
	if err != nil {
		return out, err
	}
	defer m.Close()
	batch := model.Batch{Rows: rows, V: random(rows * inputs), Y: targets(rows, labels)}
	var all []spent
	for range repetitions + 1 {
		s, err := clock(func() error {
			if err := m.Step(batch, 1e-3, 1e-3); err != nil {
				return err
			}
			return dev.Sync()
		})
		if err != nil {
			return out, err
		}
		all = append(all, s)
	}
	out.Seconds, out.CPUSeconds = median(all[1:], byWall), median(all[1:], byCPU)
	out.GFlops = 4 * float64(rows) * float64(inputs) * float64(labels) / out.Seconds / 1e9
	return out, nil
}

// random returns n numbers around −2, as logits are.
func random(n int) []float32 {
	rng := rand.New(rand.NewPCG(1, 2))
	period := make([]float32, min(n, 1<<16+1))
	for i := range period {
		period[i] = float32(rng.NormFloat64() - 2)
	}
	out := make([]float32, n)
	for i := 0; i < n; i += len(period) {
		copy(out[i:], period)
	}
	return out
}

// targets gives each row some labels, frequent ones more often.
func targets(rows, labels int) *sparse.CSR {
	rng := rand.New(rand.NewPCG(3, 4))
	y := &sparse.CSR{Cols: labels}
	for range rows {
		var ids []int32
		for range positives {
			u := rng.Float64()
			ids = append(ids, int32(float64(labels)*u*u*u))
		}
		slices.Sort(ids)
		y.Append(slices.Compact(ids), nil)
	}
	return y
}
