package data

import (
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"

	"gorgonia.org/tensor"

	"gputrain/sparse"
)

// splitStream keeps the random numbers of Split apart from those of epochs.
const splitStream = 0x9e3779b97f4a7c15

// Split divides n rows at random into training and validation rows, both ascending; share is the part of the latter in
// [0, 1]. Any share above 0 gives each side a row, if there are two. The result depends on the arguments only.
func Split(n int, share float64, seed uint64) (train, valid []int) {
	k := int(math.Round(share * float64(n)))
	if share > 0 && share < 1 && n > 1 {
		k = min(max(k, 1), n-1)
	}
	order := rand.New(rand.NewPCG(seed, splitStream)).Perm(n)
	valid, train = order[:k:k], order[k:]
	slices.Sort(valid)
	slices.Sort(train)
	return train, valid
}

// Batches deals out the rows of host matrices, batch by batch, gathered by a goroutine ahead of their use.
type Batches struct {
	x    *sparse.CSR
	v    *tensor.Dense
	y    *sparse.CSR
	rows []int
	size int

	order []int
	bufs  [2]*Batch
}

// Batch is some rows of the matrices given to NewBatches; what was nil there is nil here. It is valid until the loop that
// ranges over the epoch goes on to the next one.
type Batch struct {
	Number int           // from 0 in the epoch
	Rows   []int         // the row numbers
	X      *sparse.CSR   // n×F
	V      *tensor.Dense // float32, n×D
	Y      *sparse.CSR   // n×L

	whole, rest *tensor.Dense // V of a full batch, and of the last, short one
	x, y        sparse.CSR
}

// NewBatches returns the batches of size rows each, the last one shorter, over those rows of the matrices that are listed;
// nil means all. Any of x, v and y may be nil, but not all.
func NewBatches(x *sparse.CSR, v *tensor.Dense, y *sparse.CSR, rows []int, size int) (*Batches, error) {
	if size < 1 {
		return nil, fmt.Errorf("data: batch size %d: want at least 1", size)
	}
	n := -1
	have := func(what string, rows int) error {
		if n >= 0 && rows != n {
			return fmt.Errorf("data: %s has %d rows, others have %d", what, rows, n)
		}
		n = rows
		return nil
	}
	if x != nil {
		if err := have("x", x.Rows()); err != nil {
			return nil, err
		}
	}
	if v != nil {
		if v.Dtype() != tensor.Float32 || v.Dims() != 2 || !v.DataOrder().IsRowMajor() || len(v.Float32s()) != v.Shape().TotalSize() {
			return nil, fmt.Errorf("data: v is %v of shape %v: want a contiguous, row-major float32 matrix", v.Dtype(), v.Shape())
		}
		if err := have("v", v.Shape()[0]); err != nil {
			return nil, err
		}
	}
	if y != nil {
		if err := have("y", y.Rows()); err != nil {
			return nil, err
		}
	}
	if n < 0 {
		return nil, fmt.Errorf("data: no matrix to take batches from")
	}
	if rows == nil {
		rows = make([]int, n)
		for i := range rows {
			rows[i] = i
		}
	}
	for _, i := range rows {
		if i < 0 || i >= n {
			return nil, fmt.Errorf("data: row %d of %d", i, n)
		}
	}
	return &Batches{x: x, v: v, y: y, rows: rows, size: size}, nil
}

// Len returns the number of batches in an epoch.
func (b *Batches) Len() int { return (len(b.rows) + b.size - 1) / b.size }

// Epoch yields the batches of one epoch from number start on, in an order that depends on seed and epoch only: a run that is
// resumed in the middle sees what it would have seen. It ends early when ctx is done. One epoch at a time may run.
func (b *Batches) Epoch(ctx context.Context, seed uint64, epoch, start int) iter.Seq[*Batch] {
	return func(yield func(*Batch) bool) {
		b.order = append(b.order[:0], b.rows...)
		rand.New(rand.NewPCG(seed, uint64(epoch))).Shuffle(len(b.order), func(i, j int) {
			b.order[i], b.order[j] = b.order[j], b.order[i]
		})
		b.run(ctx, b.order, start, yield)
	}
}

// InOrder yields the batches once, in the order of the rows given to NewBatches.
func (b *Batches) InOrder(ctx context.Context) iter.Seq[*Batch] {
	return func(yield func(*Batch) bool) { b.run(ctx, b.rows, 0, yield) }
}

// run gathers one batch while yield works on the one before.
func (b *Batches) run(ctx context.Context, order []int, start int, yield func(*Batch) bool) {
	ctx, cancel := context.WithCancel(ctx)
	free, ready := make(chan *Batch, len(b.bufs)), make(chan *Batch, len(b.bufs))
	for i := range b.bufs {
		if b.bufs[i] == nil {
			b.bufs[i] = &Batch{}
		}
		free <- b.bufs[i]
	}
	go func() {
		defer close(ready)
		for number := max(start, 0); number < b.Len(); number++ {
			select {
			case <-ctx.Done():
				return
			case batch := <-free:
				lo := number * b.size
				b.gather(batch, number, order[lo:min(lo+b.size, len(order))])
				ready <- batch
			}
		}
	}()
	defer func() { // the buffers are ours again when the goroutine has ended
		cancel()
		for range ready {
		}
	}()
	for batch := range ready {
		if ctx.Err() != nil || !yield(batch) {
			return
		}
		free <- batch
	}
}

func (b *Batches) gather(batch *Batch, number int, rows []int) {
	batch.Number, batch.Rows = number, rows
	if b.x != nil {
		b.x.Gather(&batch.x, rows)
		batch.X = &batch.x
	}
	if b.y != nil {
		b.y.Gather(&batch.y, rows)
		batch.Y = &batch.y
	}
	if b.v == nil {
		return
	}
	keep := &batch.whole
	if len(rows) < b.size {
		keep = &batch.rest
	}
	dim := b.v.Shape()[1]
	if *keep == nil {
		*keep = tensor.New(tensor.WithShape(len(rows), dim), tensor.Of(tensor.Float32))
	}
	batch.V = *keep
	from, to := b.v.Float32s(), batch.V.Float32s()
	for k, i := range rows {
		copy(to[k*dim:(k+1)*dim], from[i*dim:(i+1)*dim])
	}
}
