package loss

import "math"

// Row computes the loss of one row and its gradient in float64, written like the formulas: this is what backends are held to.
// s are the logits of all labels; pos the labels that have a target, without duplicates; t their targets, nil meaning 1 each
// (see the package comment for soft and masked ones). Speed is no concern here.
func (s Spec) Row(logits []float64, pos []int32, t []float64) (loss float64, grad []float64) {
	// Every label is a negative of weight wn and a positive of weight wp.
	wn, wp := make([]float64, len(logits)), make([]float64, len(logits))
	for i := range wn {
		wn[i] = 1
	}
	for k, j := range pos {
		switch {
		case t == nil:
			wn[j], wp[j] = 0, 1
		case t[k] < 0:
			wn[j], wp[j] = 0, 0
		default:
			wn[j], wp[j] = 1-t[k], t[k]
		}
	}
	grad = make([]float64, len(logits))
	if s.Separable() {
		for i, x := range logits {
			if wn[i] != 0 {
				f, df := s.Neg(x)
				loss += wn[i] * f
				grad[i] += wn[i] * df
			}
			if wp[i] != 0 {
				f, df := s.Pos(x)
				loss += wp[i] * f
				grad[i] += wp[i] * df
			}
		}
		return loss, grad
	}
	switch s.Kind {
	case UnifiedHinge:
		var sn, sp float64
		for i, x := range logits {
			hn, hp := hinge(x+s.MarginNeg), hinge(s.MarginPos-x)
			if wn[i] != 0 {
				sn += wn[i] * hn * hn
			}
			if wp[i] != 0 {
				sp += wp[i] * hp * hp
			}
		}
		rn, rp := math.Sqrt(1+2*sn/s.C), math.Sqrt(1+2*sp/s.C)
		for i, x := range logits {
			if wn[i] != 0 {
				grad[i] += wn[i] * 2 * hinge(x+s.MarginNeg) / rn
			}
			if wp[i] != 0 {
				grad[i] -= wp[i] * 2 * hinge(s.MarginPos-x) / rp
			}
		}
		return 2*sn/(rn+1) + 2*sp/(rp+1), grad // c(√(1+2S/c) − 1), without the cancellation at small S
	case Softmax:
		all, total := math.Inf(-1), 0.0
		for i, x := range logits {
			if wn[i]+wp[i] != 0 {
				all = lseAdd(all, x)
			}
			total += wp[i]
		}
		if total == 0 {
			return 0, grad
		}
		for i, x := range logits {
			if wn[i]+wp[i] != 0 {
				grad[i] = math.Exp(x-all) - wp[i]/total
				if wp[i] != 0 {
					loss += wp[i] / total * (all - x)
				}
			}
		}
		return loss, grad
	}
	// The unified family. xn and xp are the logs of the terms of each side; −Inf where a label takes no part.
	g, m := s.Gamma(), s.Margin
	xn, xp := make([]float64, len(logits)), make([]float64, len(logits))
	for i, x := range logits {
		xn[i], xp[i] = math.Inf(-1), math.Inf(-1)
		if wn[i] != 0 {
			xn[i] = g*(x+m) + math.Log(wn[i])
		}
		if wp[i] != 0 {
			xp[i] = g*(m-x) + math.Log(wp[i])
		}
	}
	order := 1
	switch s.Kind {
	case UnifiedSoftmax:
		ln, lp := logSumExp(xn), logSumExp(xp)
		if !math.IsNaN(ln+lp) && (math.IsInf(ln, -1) || math.IsInf(lp, -1)) {
			return 0, grad // log1p(0·S)
		}
		both := sigmoid(ln + lp)
		for i := range grad {
			grad[i] = g * both * (math.Exp(xn[i]-ln) - math.Exp(xp[i]-lp))
		}
		return softplus(ln + lp), grad
	case UnifiedM2:
		order = 2
	case UnifiedM3:
		order = 3
	}
	ln, dn := symmetricLog(xn, order)
	lp, dp := symmetricLog(xp, order)
	for i := range grad {
		grad[i] = g * (dn[i] - dp[i])
	}
	return ln + lp, grad
}

// lseAdd is logAddExp that lets NaN out.
func lseAdd(a, b float64) float64 {
	if math.IsNaN(a) || math.IsNaN(b) {
		return math.NaN()
	}
	return logAddExp(a, b)
}

// symmetricLog returns log(1 + e_1 + … + e_m) of the terms e^{x_i}, and its derivatives by the x_i. For the polynomials of all
// terms but one it multiplies those before it with those after it: positive numbers only are added and multiplied, never
// subtracted, all as logarithms.
func symmetricLog(x []float64, m int) (float64, []float64) {
	type poly [4]float64 // logs of e_0 … e_3
	one := poly{0, math.Inf(-1), math.Inf(-1), math.Inf(-1)}
	with := func(p poly, v float64) poly { // p·(1 + e^v z)
		for k := 3; k >= 1; k-- {
			p[k] = lseAdd(p[k], p[k-1]+v)
		}
		return p
	}
	before := make([]poly, len(x)+1)
	before[0] = one
	for i, v := range x {
		before[i+1] = with(before[i], v)
	}
	all := math.Inf(-1)
	for k := 1; k <= m; k++ {
		all = lseAdd(all, before[len(x)][k])
	}
	total := softplus(all) // log(1 + rest), exact for a small rest
	d := make([]float64, len(x))
	after := one
	for i := len(x) - 1; i >= 0; i-- {
		num := math.Inf(-1) // log(1 + e_1 + … + e_{m−1}) of the others
		for a := range m {
			for b := range m - a {
				num = lseAdd(num, before[i][a]+after[b])
			}
		}
		d[i] = math.Exp(x[i] + num - total)
		after = with(after, x[i])
	}
	return total, d
}
