package features

import (
	"runtime"
	"slices"
	"sync"

	"gputrain/sparse"
)

// parallel calls do(0), …, do(n-1) at the same time and waits.
func parallel(n int, do func(i int)) {
	if n == 1 {
		do(0)
		return
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

// workerCount returns the number of workers to use for rows: as asked, or one per core where asked is below 1.
func workerCount(asked, rows int) int {
	if asked < 1 {
		asked = runtime.GOMAXPROCS(0)
	}
	return max(1, min(asked, rows))
}

// shards cuts the texts into consecutive ranges of about the same number of bytes: range i is texts[ends[i]:ends[i+1]].
func shards(texts []string, n int) (ends []int) {
	const perText = 16 // what a text costs beside its bytes, in bytes
	total := 0
	for _, t := range texts {
		total += len(t) + perText
	}
	ends = append(ends, 0)
	sum := 0
	for i, t := range texts {
		if sum >= total/n*len(ends) && len(ends) < n {
			ends = append(ends, i)
		}
		sum += len(t) + perText
	}
	for len(ends) <= n {
		ends = append(ends, len(texts))
	}
	return ends
}

// join sets dst to the rows of all parts in order, and frees each part once it is copied.
func join(dst *sparse.CSR, cols int, parts []*sparse.CSR) {
	rows, nnz := 0, 0
	for _, p := range parts {
		rows += p.Rows()
		nnz += p.NNZ()
	}
	dst.Reset(cols)
	dst.Indptr = slices.Grow(dst.Indptr, rows)
	dst.Indices = slices.Grow(dst.Indices, nnz)
	dst.Values = slices.Grow(dst.Values, nnz)
	for i, p := range parts {
		base := int64(len(dst.Indices))
		dst.Indices = append(dst.Indices, p.Indices...)
		dst.Values = append(dst.Values, p.Values...)
		for _, end := range p.Indptr[1:] {
			dst.Indptr = append(dst.Indptr, base+end)
		}
		parts[i] = nil
	}
}
