package backendtest

import (
	"fmt"
	"math"
	"slices"

	"gputrain/backend"
)

// scored is a label with its score.
type scored struct {
	id    int32
	score float32
}

// ranking orders labels: NaN first, then higher scores, then lower ids.
func ranking(a, b scored) int {
	aNaN, bNaN := a.score != a.score, b.score != b.score
	switch {
	case aNaN && !bNaN:
		return -1
	case bNaN && !aNaN:
		return 1
	case a.score > b.score:
		return -1
	case a.score < b.score:
		return 1
	default:
		return int(a.id) - int(b.id)
	}
}

func (s *suite) testTopK() {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	fills := map[string]func(i, j int) float32{
		"normal":     func(int, int) float32 { return float32(s.rng.NormFloat64()) },
		"equal":      func(int, int) float32 { return -1.5 },
		"few values": func(int, int) float32 { return float32(s.rng.IntN(3)) },
		"ascending":  func(_, j int) float32 { return float32(j) },
		"descending": func(_, j int) float32 { return float32(-j) },
		"specials": func(int, int) float32 {
			return []float32{nan, inf, -inf, 0, 1, float32(math.Copysign(0, -1))}[s.rng.IntN(6)]
		},
		"all nan": func(int, int) float32 { return nan },
	}
	for name, fill := range fills {
		for _, size := range []struct{ rows, cols, k int }{
			{0, 5, 2}, {2, 0, 2}, {1, 1, 1}, {3, 4, 5}, {3, 15, 5}, {3, 16, 5}, {3, 17, 1}, {2, 65, 64}, {3, 735, 5}, {2, 6884, 100}, {1, 30011, 1000},
		} {
			z := s.mat(size.rows, size.cols, fill)
			// Whole, in ascending chunks, and in descending chunks.
			cuts := []int{0, size.cols / 3, size.cols * 3 / 4, size.cols}
			orders := [][][2]int{{{0, size.cols}}, {}, {}}
			for c := range 3 {
				orders[1] = append(orders[1], [2]int{cuts[c], cuts[c+1]})
				orders[2] = append(orders[2], [2]int{cuts[2-c], cuts[3-c]})
			}
			for o, chunks := range orders {
				const shift = 11 // the chunk's labels begin somewhere
				scores, ids := s.freshTopK(size.rows, size.k)
				for _, c := range chunks {
					s.ok(s.dev.TopK(scores.Matrix, ids, z.ColSlice(c[0], c[1]), shift+c[0]))
				}
				s.checkTopK(fmt.Sprintf("%s %d×%d k=%d order %d", name, size.rows, size.cols, size.k, o), z, shift, scores, ids)
			}
		}
	}
}

// freshTopK returns an empty list of k labels for each row.
func (s *suite) freshTopK(rows, k int) (*mat, backend.Buffer) {
	scores := s.mat(rows, k, func(int, int) float32 { return float32(math.Inf(-1)) })
	ids := s.alloc(backend.Int32, rows*k)
	none := make([]int32, rows*k)
	for i := range none {
		none[i] = -1
	}
	s.ok(s.dev.Upload(ids, 0, none))
	return scores, ids
}

func (s *suite) checkTopK(what string, z *mat, shift int, scores *mat, ids backend.Buffer) {
	s.Helper()
	k := scores.Cols
	gotScores, gotIDs := scores.download(), make([]int32, z.Rows*k)
	s.ok(s.dev.Download(gotIDs, ids, 0))
	for i := range z.Rows {
		var want []scored
		for j := range z.Cols {
			if v := z.get(i, j); !math.IsInf(float64(v), -1) { // as bad as an empty place, which keeps its lower id
				want = append(want, scored{int32(shift + j), v})
			}
		}
		slices.SortFunc(want, ranking)
		for len(want) < k {
			want = append(want, scored{-1, float32(math.Inf(-1))})
		}
		for p, w := range want[:k] {
			g := scored{gotIDs[i*k+p], gotScores.get(i, p)}
			if g.id != w.id || g.score != w.score && (g.score == g.score || w.score == w.score) {
				s.Fatalf("%s: row %d place %d is %+v, want %+v", what, i, p, g, w)
			}
		}
	}
}
