package cpu

import (
	"sync"
	"sync/atomic"
)

// pool divides loops over threads. Its workers sleep between loops. It serves one goroutine at a time, and loops do not nest.
type pool struct {
	threads int
	wake    chan struct{} // one token for each worker that a loop employs
	done    sync.WaitGroup
	once    sync.Once

	// The loop that runs.
	fn      func(lo, hi int)
	n, step int64
	next    atomic.Int64
	failure atomic.Pointer[failure]
}

// failure is a panic on its way from a worker to the caller of run.
type failure struct{ value any }

func newPool(threads int) *pool {
	p := &pool{threads: threads, wake: make(chan struct{}, threads)}
	for range threads - 1 {
		go p.work()
	}
	return p
}

// run calls fn for ranges that cover [0, n), on several threads where n is larger than grain. Ranges hold at least grain
// indices, the last one perhaps fewer; which ranges those are, and in which order they run, is not defined: fn must compute
// each index independently of the others.
func (p *pool) run(n, grain int, fn func(lo, hi int)) {
	if n <= 0 {
		return
	}
	if n <= grain || p.threads == 1 {
		fn(0, n)
		return
	}
	// Four ranges for each thread even out rows of unequal work.
	step := max(grain, (n+4*p.threads-1)/(4*p.threads), 1)
	p.fn, p.n, p.step = fn, int64(n), int64(step)
	p.next.Store(0)
	helpers := min(p.threads, (n+step-1)/step) - 1
	p.done.Add(helpers)
	for range helpers {
		p.wake <- struct{}{}
	}
	p.loop()
	p.done.Wait()
	p.fn = nil
	if f := p.failure.Swap(nil); f != nil {
		panic(f.value)
	}
}

func (p *pool) work() {
	for range p.wake {
		p.loop()
		p.done.Done()
	}
}

// loop takes ranges until none is left. A panic ends the loop on all threads and is kept for the caller.
func (p *pool) loop() {
	defer func() {
		if r := recover(); r != nil {
			p.next.Store(p.n)
			p.failure.Store(&failure{r})
		}
	}()
	for {
		hi := p.next.Add(p.step)
		lo := hi - p.step
		if lo >= p.n {
			return
		}
		p.fn(int(lo), int(min(hi, p.n)))
	}
}

func (p *pool) close() {
	p.once.Do(func() { close(p.wake) })
}
