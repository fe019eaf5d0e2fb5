package backendtest

import "fmt"

func (s *suite) testGemm() {
	type size struct{ m, n, k int }
	sizes := []size{{0, 3, 4}, {3, 0, 4}, {3, 4, 0}, {1, 1, 1}, {1, 735, 300}, {33, 735, 1}, {130, 7, 513}, {17, 6884, 9}}
	// One less, equal and one more than the tiles of implementations: 8 and 16 rows, 24, 32, 48 and 64 columns, 256 deep.
	for _, m := range []int{7, 8, 9, 17} {
		for _, n := range []int{23, 24, 25, 47, 48, 49, 65} {
			sizes = append(sizes, size{m, n, 37})
		}
	}
	for _, k := range []int{7, 8, 9, 255, 256, 257} {
		sizes = append(sizes, size{10, 50, k})
	}
	for _, x := range sizes {
		for _, transA := range []bool{false, true} {
			for _, transB := range []bool{false, true} {
				for _, f := range []struct{ alpha, beta float32 }{{1, 0}, {0.7, 0}, {1, 1}, {-2, 0.5}} {
					s.gemm(x.m, x.n, x.k, f.alpha, transA, transB, f.beta)
				}
			}
		}
	}
}

// gemm checks one product.
func (s *suite) gemm(m, n, k int, alpha float32, transA, transB bool, beta float32) {
	s.Helper()
	a, b, c := s.normal(m, k), s.normal(k, n), s.normal(m, n)
	if transA {
		a = s.normal(k, m)
	}
	if transB {
		b = s.normal(n, k)
	}
	if beta == 0 { // c is not read
		c = s.mat(m, n, func(int, int) float32 { return guard })
	}
	s.ok(s.dev.Gemm(c.Matrix, alpha, a.Matrix, transA, b.Matrix, transB, beta))
	factors := func(i, j int) func(p int) (x, y float64) {
		return func(p int) (x, y float64) {
			if transA {
				x = float64(a.get(p, i))
			} else {
				x = float64(a.get(i, p))
			}
			if transB {
				y = float64(b.get(j, p))
			} else {
				y = float64(b.get(p, j))
			}
			return x, y
		}
	}
	c.near(fmt.Sprintf("gemm %d×%d×%d, alpha %v, beta %v, transposed %v %v", m, n, k, alpha, beta, transA, transB),
		func(i, j int) float64 {
			start := 0.0
			if beta != 0 {
				start = float64(beta) * float64(c.get(i, j))
			}
			return start + float64(alpha)*dot64(0, k, factors(i, j))
		}, func(i, j int) float32 {
			start := float32(0)
			if beta != 0 {
				start = beta * c.get(i, j)
			}
			return start + alpha*dot32(0, k, factors(i, j))
		}, 1e-6)
}
