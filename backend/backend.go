// Package backend is the contract between models and the devices that run them. A Device owns memory and carries out the
// operations below; cpu implements it in Go, gpu with CUDA kernels. Package backendtest holds one suite that every
// implementation passes, with a float64 oracle behind each operation.
//
// Conventions. Matrices are row-major float32 with a stride; elements between Cols and Stride are never read or written.
// Sparse matrices are CSR with strictly ascending ids. Empty matrices, rows and columns are legal everywhere. The same device
// and inputs give the same bits, whatever the number of threads. NaN in gives NaN out. Offsets are 64 bits wide.
// Operations run in order; results may be read after Download or Sync. Shapes that do not fit are reported as a *ShapeError
// before anything is written.
package backend

import (
	"errors"
	"fmt"

	"gputrain/loss"
	"gputrain/optim"
	"gputrain/sparse"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrOutOfMemory = errors.New("out of device memory")
	ErrUnavailable = errors.New("device not available")
)

// ShapeError says which operation was given operands that do not fit.
type ShapeError struct {
	Op     string // "cpu: loss grad"
	Detail string // "z=256×8192 y=255×670091"
}

func (e *ShapeError) Error() string { return fmt.Sprintf("%s: %s: shape mismatch", e.Op, e.Detail) }

// DType is the type of a buffer's elements.
type DType uint8

// The element types.
const (
	Float32 DType = iota + 1
	Float64
	Int32
	Int64
)

// Size returns the bytes of one element.
func (t DType) Size() int64 {
	if t == Float32 || t == Int32 {
		return 4
	}
	return 8
}

// Buffer is a vector of elements in device memory, owned by the device that allocated it.
type Buffer interface {
	DType() DType
	Len() int
}

// Matrix is a view of a Float32 buffer: element (i, j) is at Offset + i·Stride + j. Cols ≤ Stride.
type Matrix struct {
	Buf                        Buffer
	Offset, Rows, Cols, Stride int
}

// ColSlice returns the view of the columns [lo, hi).
func (m Matrix) ColSlice(lo, hi int) Matrix {
	m.Offset += lo
	m.Cols = hi - lo
	return m
}

// RowSlice returns the view of the rows [lo, hi).
func (m Matrix) RowSlice(lo, hi int) Matrix {
	m.Offset += lo * m.Stride
	m.Rows = hi - lo
	return m
}

func (m Matrix) String() string { return fmt.Sprintf("%d×%d", m.Rows, m.Cols) }

// CSR is a sparse matrix in device memory: Indptr Int64 of Rows+1, Indices Int32 and Values Float32 of NNZ; Values is nil
// where every stored value is 1.
type CSR struct {
	Rows, Cols, NNZ         int
	Indptr, Indices, Values Buffer
}

func (m CSR) String() string { return fmt.Sprintf("%d×%d", m.Rows, m.Cols) }

// Table is a sparse weight matrix, features × labels, with a pattern fixed at creation, in a layout of the device's own.
type Table interface {
	Shape() (features, labels int)
	Bytes() int64
}

// Device is all that a model needs. Each embedded interface is one group of operations with its own tests.
type Device interface {
	Name() string // one line for people: what it is and how it computes
	Memory
	Embedder
	TableOps
	Gemmer
	Rowwise
	Losser
	Stepper
	TopKer
	Close() error
}

// Memory allocates buffers and moves data between host and device.
type Memory interface {
	// Alloc returns n zeroed elements.
	Alloc(t DType, n int) (Buffer, error)
	// FreeBytes returns how much memory can still be allocated; 0 where that is not known.
	FreeBytes() int64
	// Free gives a buffer back. Views of it are dead. Nil is legal.
	Free(b Buffer)
	// Upload copies a host slice ([]float32, []float64, []int32 or []int64, as the buffer's type) to dst[offset:].
	Upload(dst Buffer, offset int, src any) error
	// Download copies src[offset:offset+len(dst)] to a host slice of the buffer's type.
	Download(dst any, src Buffer, offset int) error
	// UploadCSR makes a host matrix available to operations until the next call with the same slot: a slot is a small
	// number that names one of the caller's reusable places (features, targets, ...). The host matrix must stay as it is
	// until then: a device that shares the host's memory may use it in place. A matrix that breaks a promise of its type
	// (sparse.CSR.Check) is refused, so that operations may rely on its ids.
	UploadCSR(slot int, m *sparse.CSR) (CSR, error)
	// Sync waits until all operations are done and returns the first error among them.
	Sync() error
}

// Embedder multiplies sparse rows with a dense table: the weighted embedding bag, and the dense linear model.
type Embedder interface {
	// Bag adds X·T to z: z[i,:] += Σ_f x[i,f]·t[f,:]. x is n×F, t F×D, z n×D.
	Bag(z Matrix, x CSR, t Matrix) error
	// BagUpdate applies the rule to the rows of t that x touches, with the gradient G_f = Σ_i x[i,f]·g[i,:], summed in row
	// order and applied once. The rows of state (one F×D matrix for each of rule's states; F×1 for row-adagrad) of
	// untouched features are left as they are (lazy updates; weight decay included).
	BagUpdate(t Matrix, state []Matrix, x CSR, g Matrix, rule optim.Rule, at optim.At) error
}

// TableOps are Embedder's operations for a sparse table: exact one-vs-rest over all labels with few weights.
type TableOps interface {
	// NewTable returns a table with the pattern and values of w (features × labels; nil values mean zeros).
	NewTable(w *sparse.CSR) (Table, error)
	// ReadTable returns the table's weights in host memory, without entries that are zero.
	ReadTable(t Table) (*sparse.CSR, error)
	FreeTable(t Table)
	// TableBag adds X·T to z. z has as many columns as t has labels.
	TableBag(z Matrix, x CSR, t Table) error
	// TableUpdate subtracts lr·XᵀG from the stored entries of t. It is fast where most of g is zero, as with hinge losses.
	TableUpdate(t Table, x CSR, g Matrix, lr float32) error
}

// Gemmer multiplies dense matrices.
type Gemmer interface {
	// Gemm computes c = alpha·op(a)·op(b) + beta·c, op being the transpose where the flag says so. With beta 0, c is
	// not read.
	Gemm(c Matrix, alpha float32, a Matrix, transA bool, b Matrix, transB bool, beta float32) error
}

// Activation names an elementwise function.
type Activation string

// The activations.
const (
	Identity Activation = "identity"
	ReLU     Activation = "relu"
	Tanh     Activation = "tanh"
)

// Dropout drops each element with probability P and scales the others by 1/(1−P). Which elements, is decided by
// Random(Seed, Step, element index) with the index i·Cols + j, so that every device drops the same ones.
type Dropout struct {
	P    float32
	Seed uint64
	Step uint64
}

// Rowwise holds the small dense operations.
type Rowwise interface {
	// SetRows sets each row of z to the vector b (its length is z.Cols) that starts at element offset of b; a nil b sets zeros.
	SetRows(z Matrix, b Buffer, offset int) error
	// ColSum sets out[j] = Σ_i g[i,j] at element offset of out.
	ColSum(out Buffer, offset int, g Matrix) error
	// Activate replaces h by dropout(act(h)).
	Activate(h Matrix, act Activation, drop Dropout) error
	// ActivateGrad replaces dh by the gradient before Activate; out is what Activate returned.
	ActivateGrad(dh, out Matrix, act Activation, drop Dropout) error
}

// StatsLen is the number of float64 in the statistics of one row: the four numbers of a loss.Side for the negatives, then those for
// the positives. What they mean depends on the loss; loss.Spec.Merge adds them.
const StatsLen = 8

// Losser computes losses over label chunks. z holds the logits of the labels [lo, lo+z.Cols); y holds the targets over all
// labels, y.Cols of them; its values are soft targets in [0,1], or negative for a masked label, which takes no part. Labels of
// y outside of the chunk are ignored.
type Losser interface {
	// LossStats adds the chunk's sums to stats (Float64, z.Rows·StatsLen). z is not changed.
	LossStats(spec loss.Spec, stats Buffer, z Matrix, y CSR, lo int) error
	// LossRows adds each row's loss, unscaled, to rows (Float64, one for each row), from the complete stats.
	LossRows(spec loss.Spec, rows Buffer, stats Buffer, y CSR) error
	// LossGrad replaces the logits by scale·∂L/∂z, from the complete stats.
	LossGrad(spec loss.Spec, stats Buffer, z Matrix, y CSR, lo int, scale float32) error
	// LossFwdBwd does all three for a chunk that holds all labels, or any chunk of a separable loss.
	LossFwdBwd(spec loss.Spec, rows Buffer, z Matrix, y CSR, lo int, scale float32) error
}

// Stepper applies optimisers to dense weights.
type Stepper interface {
	// Step applies the rule to w with the gradient g; state holds one matrix like w for each of rule's states (Rows×1 for row-adagrad).
	Step(w Matrix, state []Matrix, g Matrix, rule optim.Rule, at optim.At) error
}

// TopKer selects the best labels of each row.
type TopKer interface {
	// TopK merges the scores of the labels [lo, lo+z.Cols) into the k best so far: scores (n×k, best first) and ids (Int32, at least
	// n·k). Equal scores rank by lower id; NaN ranks first, so that it shows. A fresh list holds −Inf and −1.
	TopK(scores Matrix, ids Buffer, z Matrix, lo int) error
}
