// Package cpu is the backend in Go. Built with GOEXPERIMENT=simd it computes with AVX-512 or AVX2, as the processor allows;
// built without, with plain Go. Work is divided over threads so that each result is computed by one thread in a fixed order:
// the number of threads never changes a bit.
package cpu

import (
	"fmt"
	"runtime"

	"gputrain/backend"
	"gputrain/cpu/internal/vec"
	"gputrain/sparse"
)

// Device is the processor as a backend.Device. It serves one goroutine at a time.
type Device struct {
	pool    *pool
	threads int
	slots   map[int]*slot

	gemm      gemm
	updates   bagUpdate
	violators []violators
	scratch   scratch
	loss      lossJob
}

// New returns a device with this many threads; 0 means as many as Go uses (GOMAXPROCS).
func New(threads int) *Device {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	return &Device{pool: newPool(threads), threads: threads, slots: map[int]*slot{}}
}

// Name says which instructions and how many threads the device uses.
func (d *Device) Name() string {
	unit := "threads"
	if d.threads == 1 {
		unit = "thread"
	}
	s := fmt.Sprintf("cpu: %s, %d %s", vec.Instructions(), d.threads, unit)
	if !vec.Experiment {
		s += " (built without GOEXPERIMENT=simd)"
	}
	return s
}

// Close ends the device's threads.
func (d *Device) Close() error {
	d.pool.close()
	return nil
}

// buffer is a vector in host memory; the slice of its type is set, the others are nil.
type buffer struct {
	t   backend.DType
	f32 []float32
	f64 []float64
	i32 []int32
	i64 []int64
}

func (b *buffer) DType() backend.DType { return b.t }

func (b *buffer) Len() int { return len(b.f32) + len(b.f64) + len(b.i32) + len(b.i64) }

// matrix is a backend.Matrix whose bounds have been checked.
type matrix struct {
	data               []float32 // from element (0, 0) on
	rows, cols, stride int
}

// row returns the row i, without its padding.
func (m *matrix) row(i int) []float32 {
	if m.cols == 0 {
		return nil
	}
	lo := i * m.stride
	return m.data[lo : lo+m.cols : lo+m.cols]
}

// empty says whether there is nothing to do.
func (m *matrix) empty() bool { return m.rows == 0 || m.cols == 0 }

// shape returns the *backend.ShapeError of the operation op.
func shape(op, format string, args ...any) error {
	return &backend.ShapeError{Op: "cpu: " + op, Detail: fmt.Sprintf(format, args...)}
}

// view checks the operand called name of the operation op against its buffer. An empty matrix needs no buffer.
func view(op, name string, m backend.Matrix) (matrix, error) {
	if m.Rows < 0 || m.Cols < 0 || m.Offset < 0 || m.Cols > m.Stride && m.Rows > 0 {
		return matrix{}, shape(op, "%s=%v with stride %d at offset %d", name, m, m.Stride, m.Offset)
	}
	v := matrix{rows: m.Rows, cols: m.Cols, stride: m.Stride}
	if v.empty() {
		return v, nil
	}
	f, err := floats(op, name, m.Buf, 0, 0)
	if err != nil {
		return matrix{}, err
	}
	// Divisions, because the product of absurd sizes overflows.
	if m.Offset > len(f)-m.Cols || m.Rows-1 > (len(f)-m.Offset-m.Cols)/m.Stride {
		return matrix{}, shape(op, "%s=%v with stride %d at offset %d of %d elements", name, m, m.Stride, m.Offset, len(f))
	}
	v.data = f[m.Offset : m.Offset+(m.Rows-1)*m.Stride+m.Cols]
	return v, nil
}

// csr checks the sparse operand called name of the operation op and returns it as a host matrix, whose slices alias the buffers.
// Its ids were checked at upload.
func csr(op, name string, m backend.CSR) (sparse.CSR, error) {
	if m.Rows == 0 {
		return sparse.CSR{Cols: m.Cols, Indptr: noRows}, nil
	}
	indptr, ok1 := m.Indptr.(*buffer)
	indices, ok2 := m.Indices.(*buffer)
	if m.Rows < 0 || !ok1 || !ok2 || len(indptr.i64) != m.Rows+1 || len(indices.i32) != m.NNZ {
		return sparse.CSR{}, shape(op, "%s=%v with %d entries", name, m, m.NNZ)
	}
	s := sparse.CSR{Cols: m.Cols, Indptr: indptr.i64, Indices: indices.i32}
	if m.Values != nil {
		values, ok := m.Values.(*buffer)
		if !ok || len(values.f32) != m.NNZ {
			return sparse.CSR{}, shape(op, "%s=%v: %d entries, but other values", name, m, m.NNZ)
		}
		s.Values = values.f32
	}
	return s, nil
}

var noRows = []int64{0}

// floats returns n elements of a Float32 buffer from offset on; n 0 means all.
func floats(op, name string, b backend.Buffer, offset, n int) ([]float32, error) {
	v, ok := b.(*buffer)
	if !ok || v.t != backend.Float32 {
		return nil, shape(op, "%s is not a Float32 buffer of this device", name)
	}
	if n == 0 {
		return v.f32, nil
	}
	if offset < 0 || offset > len(v.f32)-n {
		return nil, shape(op, "%s holds %d elements, but %d are needed from %d on", name, len(v.f32), n, offset)
	}
	return v.f32[offset : offset+n : offset+n], nil
}

// float64s returns the first n elements of a Float64 buffer.
func float64s(op, name string, b backend.Buffer, n int) ([]float64, error) {
	v, ok := b.(*buffer)
	if n == 0 && b == nil {
		return nil, nil
	}
	if !ok || v.t != backend.Float64 || len(v.f64) < n {
		return nil, shape(op, "%s does not hold %d Float64 of this device", name, n)
	}
	return v.f64[:n:n], nil
}
