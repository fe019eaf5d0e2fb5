package cpu

import "sync"

// scratch lends vectors to threads, so that nothing is allocated once the first ones exist.
type scratch struct {
	mu   sync.Mutex
	free []*lent
}

type lent struct{ f []float32 }

// get returns a vector of n elements with any content.
func (s *scratch) get(n int) *lent {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &lent{}
	if last := len(s.free) - 1; last >= 0 {
		l, s.free = s.free[last], s.free[:last]
	}
	l.f = grow(l.f, n)
	return l
}

func (s *scratch) put(l *lent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, l)
}
