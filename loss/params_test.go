package loss

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
)

// A parameter changes the loss or its gradient exactly where Params names it.
func TestParams(t *testing.T) {
	logits := []float64{-1.2, 0.3, 0.9, -0.1, 2.1, -0.7}
	for _, name := range Names() {
		kind := Kind(name)
		base, baseGrad := Default(kind).Row(logits, []int32{1, 4}, nil)
		for param, value := range map[string]float64{
			"scale": 1.7, "margin": 0.3, "margin_pos": 2.5, "margin_neg": 1.25, "c": 9, "pos_weight": 3,
			"gamma_pos": 3, "gamma_neg": 3, "alpha_pos": 0.6, "clip": 0.3,
		} {
			spec := Default(kind)
			if err := json.Unmarshal(fmt.Appendf(nil, `{%q:%v}`, param, value), &spec); err != nil {
				t.Fatal(err)
			}
			l, grad := spec.Row(logits, []int32{1, 4}, nil)
			changed := math.Abs(l-base) > 1e-9
			for i := range grad {
				changed = changed || math.Abs(grad[i]-baseGrad[i]) > 1e-9
			}
			if named := slices.Contains(kind.Params(), param); named != changed {
				t.Errorf("%s: %s changes the row: %v; Params names it: %v", kind, param, changed, named)
			}
		}
	}
}
