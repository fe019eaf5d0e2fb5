package cpu

import (
	"math"

	"gputrain/backend"
	"gputrain/cpu/internal/vec"
)

// TopK runs through each row with the score to beat, which few elements do, and inserts those into the sorted list. Labels come
// in ascending order, so that a score equal to the last of the list loses, unless the list holds higher labels from a call before.
func (d *Device) TopK(scores backend.Matrix, ids backend.Buffer, z backend.Matrix, lo int) error {
	const op = "top k"
	if scores.Rows != z.Rows || lo < 0 || lo > math.MaxInt32-z.Cols {
		return shape(op, "scores=%v z=%v from label %d on", scores, z, lo)
	}
	sv, err := view(op, "scores", scores)
	if err != nil {
		return err
	}
	zv, err := view(op, "z", z)
	if err != nil {
		return err
	}
	if sv.empty() || zv.empty() {
		return nil
	}
	b, ok := ids.(*buffer)
	if !ok || len(b.i32) < sv.rows*sv.cols {
		return shape(op, "scores=%v, but ids is not an Int32 buffer of at least %d elements", scores, sv.rows*sv.cols)
	}
	d.pool.run(zv.rows, ceilDiv(1<<14, zv.cols), func(first, end int) {
		for i := first; i < end; i++ {
			topK(sv.row(i), b.i32[i*sv.cols:(i+1)*sv.cols], zv.row(i), int32(lo))
		}
	})
	return nil
}

// topK merges z, the scores of the labels from lo on, into the list of best scores and their ids.
func topK(scores []float32, ids []int32, z []float32, lo int32) {
	last := len(scores) - 1
	ascending := true
	for _, id := range ids {
		ascending = ascending && id < lo
	}
	for j := 0; ; j++ {
		limit := scores[last]
		if limit != limit && ascending {
			return // NaN everywhere, of lower labels
		}
		if !ascending {
			limit = math.Nextafter32(limit, float32(math.Inf(-1)))
		}
		j += vec.FirstAbove(z[j:], limit)
		if j == len(z) {
			return
		}
		s, id := z[j], lo+int32(j)
		if !before(s, id, scores[last], ids[last]) {
			continue
		}
		// Binary search for the place among the k best.
		a, b := 0, last
		for a < b {
			if mid := (a + b) / 2; before(s, id, scores[mid], ids[mid]) {
				b = mid
			} else {
				a = mid + 1
			}
		}
		copy(scores[a+1:], scores[a:last])
		copy(ids[a+1:], ids[a:last])
		scores[a], ids[a] = s, id
	}
}

// before says whether the label id with score s ranks before another: NaN first, then high scores, then low ids.
func before(s float32, id int32, otherScore float32, otherID int32) bool {
	switch sNaN, otherNaN := s != s, otherScore != otherScore; {
	case sNaN != otherNaN:
		return sNaN
	case sNaN || s == otherScore:
		return id < otherID
	default:
		return s > otherScore
	}
}
