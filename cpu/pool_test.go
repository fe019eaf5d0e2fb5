package cpu

import (
	"sync/atomic"
	"testing"
)

func TestPool(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		p := newPool(threads)
		t.Cleanup(p.close)
		for _, n := range []int{0, 1, 2, 7, 100, 1001} {
			for _, grain := range []int{0, 1, 7, 100, 5000} {
				counts := make([]atomic.Int32, n)
				p.run(n, grain, func(lo, hi int) {
					for i := lo; i < hi; i++ {
						counts[i].Add(1)
					}
				})
				for i := range counts {
					if c := counts[i].Load(); c != 1 {
						t.Fatalf("%d threads, n = %d, grain %d: index %d ran %d times", threads, n, grain, i, c)
					}
				}
			}
		}
	}
}

// A panic in any thread reaches the caller, and the pool works on.
func TestPoolPanic(t *testing.T) {
	p := newPool(3)
	defer p.close()
	for bad := range 30 {
		func() {
			defer func() {
				if r := recover(); r != "bad" {
					t.Errorf("recovered %v", r)
				}
			}()
			p.run(30, 1, func(lo, hi int) {
				if lo <= bad && bad < hi {
					panic("bad")
				}
			})
			t.Error("no panic")
		}()
		var n atomic.Int32
		p.run(30, 1, func(lo, hi int) { n.Add(int32(hi - lo)) })
		if n.Load() != 30 {
			t.Fatalf("after a panic, %d of 30 indices ran", n.Load())
		}
	}
}
