package data

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"gorgonia.org/tensor"

	"gputrain/sparse"
)

// numbered returns matrices in whose row i all is made of i.
func numbered(n int) (x *sparse.CSR, v *tensor.Dense, y *sparse.CSR) {
	x, y = &sparse.CSR{Cols: n}, &sparse.CSR{Cols: 3}
	backing := make([]float32, 0, 2*n)
	for i := range n {
		x.Append([]int32{int32(i)}, []float32{float32(i)})
		y.Append([]int32{int32(i % 3)}, nil)
		backing = append(backing, float32(i), float32(-i))
	}
	return x, tensor.New(tensor.WithShape(n, 2), tensor.WithBacking(backing)), y
}

// epoch returns the rows of each batch, after it checked that the matrices hold those rows.
func epoch(t *testing.T, b *Batches, seed uint64, number, start int) (batches [][]int) {
	t.Helper()
	for batch := range b.Epoch(t.Context(), seed, number, start) {
		if batch.Number != start+len(batches) {
			t.Fatalf("batch %d, want %d", batch.Number, start+len(batches))
		}
		vectors := batch.V.Float32s()
		if batch.X.Rows() != len(batch.Rows) || batch.Y.Rows() != len(batch.Rows) || len(vectors) != 2*len(batch.Rows) {
			t.Fatalf("%d rows: X %d, Y %d, V %v", len(batch.Rows), batch.X.Rows(), batch.Y.Rows(), batch.V.Shape())
		}
		for k, i := range batch.Rows {
			ids, values := batch.X.Row(k)
			labels, _ := batch.Y.Row(k)
			if ids[0] != int32(i) || values[0] != float32(i) || labels[0] != int32(i%3) || vectors[2*k] != float32(i) || vectors[2*k+1] != float32(-i) {
				t.Fatalf("row %d of the batch is not row %d", k, i)
			}
		}
		batches = append(batches, slices.Clone(batch.Rows))
	}
	return batches
}

func TestBatches(t *testing.T) {
	x, v, y := numbered(103)
	rows := []int{}
	for i := range 103 {
		if i%5 != 0 {
			rows = append(rows, i)
		}
	}
	b, err := NewBatches(x, v, y, rows, 10)
	if err != nil {
		t.Fatal(err)
	}
	first := epoch(t, b, 1, 0, 0)
	if len(first) != b.Len() || b.Len() != 9 || len(first[8]) != 2 {
		t.Errorf("%d batches, the last of %d", len(first), len(first[8]))
	}
	all := slices.Concat(first...)
	if slices.IsSorted(all) {
		t.Error("the rows are not shuffled")
	}
	slices.Sort(all)
	if !slices.Equal(all, rows) {
		t.Error("an epoch is not each row once")
	}
	equal := func(a, b [][]int) bool { return slices.EqualFunc(a, b, slices.Equal[[]int]) }
	if equal(first, epoch(t, b, 1, 1, 0)) || equal(first, epoch(t, b, 2, 0, 0)) {
		t.Error("the order does not depend on seed and epoch")
	}
	if !equal(first[4:], epoch(t, b, 1, 0, 4)) {
		t.Error("an epoch that starts at batch 4 differs from there on")
	}
	if len(epoch(t, b, 1, 0, 9)) != 0 {
		t.Error("batches after the end")
	}
	for _, procs := range []int{1, 2, 7} {
		old := runtime.GOMAXPROCS(procs)
		again := epoch(t, b, 1, 0, 0)
		runtime.GOMAXPROCS(old)
		if !equal(first, again) {
			t.Errorf("another order with GOMAXPROCS %d", procs)
		}
	}
	// The order is part of what a checkpoint relies on.
	if got, want := fmt.Sprint(first[0][:5]), "[78 31 39 89 3]"; got != want {
		t.Errorf("the first rows are %s, want %s", got, want)
	}
	var inOrder []int
	for batch := range b.InOrder(t.Context()) {
		inOrder = append(inOrder, batch.Rows...)
	}
	if !slices.Equal(inOrder, rows) {
		t.Errorf("in order: %v", inOrder)
	}
}

func TestBatchesStop(t *testing.T) {
	x, v, y := numbered(100)
	b, err := NewBatches(x, v, y, nil, 3)
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	for range 20 { // break at once, and go on with the same buffers
		for batch := range b.Epoch(t.Context(), 3, 0, 0) {
			if batch.Number == 1 {
				break
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for range b.Epoch(ctx, 3, 0, 0) {
		if n++; n == 4 {
			cancel()
		}
	}
	if n != 4 {
		t.Errorf("%d batches after the context was done in the fourth", n)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

func TestBatchesDoNotAllocate(t *testing.T) {
	x, v, y := numbered(10000)
	b, err := NewBatches(x, v, y, nil, 16)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	run := func() {
		for range b.Epoch(ctx, 1, 0, 0) {
		}
	}
	run()
	if n := testing.AllocsPerRun(3, run); n > 40 { // of 625 batches
		t.Errorf("%v allocations an epoch", n)
	}
}

func TestBadBatches(t *testing.T) {
	x, v, y := numbered(10)
	short, _, _ := numbered(9)
	doubles := tensor.New(tensor.WithShape(10, 2), tensor.Of(tensor.Float64))
	for _, c := range []struct {
		x    *sparse.CSR
		v    *tensor.Dense
		y    *sparse.CSR
		rows []int
		size int
		want string
	}{
		{x, v, y, nil, 0, "data: batch size 0: want at least 1"},
		{short, v, y, nil, 1, "data: v has 10 rows, others have 9"},
		{nil, nil, nil, nil, 1, "data: no matrix to take batches from"},
		{x, nil, y, []int{0, 10}, 1, "data: row 10 of 10"},
		{x, doubles, y, nil, 1, "data: v is float64 of shape (10, 2): want a contiguous, row-major float32 matrix"},
	} {
		if _, err := NewBatches(c.x, c.v, c.y, c.rows, c.size); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		n     int
		share float64
		valid int
	}{{100, 0.1, 10}, {3, 0.01, 1}, {3, 0.99, 2}, {1, 0.5, 1}, {10, 0, 0}, {0, 0.5, 0}, {10, 1, 10}} {
		train, valid := Split(c.n, c.share, 5)
		if len(valid) != c.valid || len(train)+len(valid) != c.n || !slices.IsSorted(train) || !slices.IsSorted(valid) {
			t.Errorf("Split(%d, %v): %v, %v", c.n, c.share, train, valid)
		}
		all := append(slices.Clone(train), valid...)
		slices.Sort(all)
		for i := range c.n {
			if all[i] != i {
				t.Fatalf("Split(%d, %v) is not each row once: %v, %v", c.n, c.share, train, valid)
			}
		}
	}
	_, a := Split(1000, 0.1, 1)
	_, b := Split(1000, 0.1, 1)
	_, c := Split(1000, 0.1, 2)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Error("the split does not depend on the seed alone")
	}
}
