//go:build goexperiment.simd && amd64

package vec

import "simd/archsimd"

// The loops of loss.go on 16 lanes. They take their numbers from memory and leave their sums there, and are not inlined: a
// scalar float instruction costs a hundred times its own time while the upper halves of the vector registers are in use.

// broadcast512 returns the number v[i] in all lanes.
func broadcast512(v *args, i int) archsimd.Float32x16 {
	return archsimd.LoadFloat32x4((*[4]float32)(v[i:])).Broadcast1To16()
}

// load512 loads a constant.
func load512(c *[16]float32) archsimd.Float32x16 { return archsimd.LoadFloat32x16(c) }

// part512 loads fewer than 16 elements. −Inf takes the place of the missing ones: it adds 0 to every sum.
func part512(x []float32) archsimd.Float32x16 {
	return archsimd.LoadFloat32x16SlicePart(x).Add(archsimd.LoadFloat32x16((*[16]float32)(lossConst.edge[16-len(x):])))
}

// flush512 adds the lanes of a tile to float64 sums.
func flush512(sum archsimd.Float64x8, s archsimd.Float32x16) archsimd.Float64x8 {
	return sum.Add(s.GetLo().ConvertToFloat64().Add(s.GetHi().ConvertToFloat64()))
}

// exp512 returns e^x = p·2^n, p within 1 unit in the last place and in [0.7, 1.5): x = n·ln 2 + r, and e^r by a polynomial. The
// caller scales by 2^n last, so that overflow becomes +Inf. Below lo the result is 0: processors take hundreds of cycles for a
// denormal one. NaN passes; comparisons bound x, because the compiler takes Min and Max to commute, and with NaN they do not.
func exp512(x, lo archsimd.Float32x16) (p, n archsimd.Float32x16) {
	c := lossConst
	x = load512(&c.bound).Merge(x, x.Greater(load512(&c.bound)))
	x = load512(&c.zero).Merge(x, x.Less(lo))
	n = x.MulAdd(load512(&c.log2e), load512(&c.magic)).Sub(load512(&c.magic))
	r := n.MulAdd(load512(&c.ln2Hi), x)
	r = n.MulAdd(load512(&c.ln2Lo), r)
	p = r.MulAdd(load512(&c.exp6), load512(&c.exp5))
	p = p.MulAdd(r, load512(&c.exp4))
	p = p.MulAdd(r, load512(&c.exp3))
	p = p.MulAdd(r, load512(&c.exp2))
	p = p.MulAdd(r, load512(&c.one))
	return p.MulAdd(r, load512(&c.one)), n
}

// ldexp512 returns p·2^n, n integral.
func ldexp512(p, n archsimd.Float32x16) archsimd.Float32x16 { return p.Scale(n) }

//go:noinline
func sumExp512(x []float32, v *args, out *[8]float64) {
	a, k, lo := broadcast512(v, 0), broadcast512(v, 1), broadcast512(v, 2)
	var sum archsimd.Float64x8
	for len(x) >= 16 {
		t := x[:min(len(x)&^15, tile)]
		x = x[len(t):]
		var s archsimd.Float32x16
		for ; len(t) >= 16; t = t[16:] {
			p, n := exp512(archsimd.LoadFloat32x16((*[16]float32)(t)).Mul(a), lo)
			s = s.Add(ldexp512(p, n.Add(k)))
		}
		sum = flush512(sum, s)
	}
	if len(x) > 0 {
		p, n := exp512(part512(x).Mul(a), lo)
		sum = flush512(sum, ldexp512(p, n.Add(k)))
	}
	sum.StoreSlice(out[:])
	archsimd.ClearAVXUpperBits()
}

//go:noinline
func scaleExp512(x []float32, v *args) {
	a, k, lo, c := broadcast512(v, 0), broadcast512(v, 1), broadcast512(v, 2), broadcast512(v, 3)
	for ; len(x) >= 16; x = x[16:] {
		q := (*[16]float32)(x)
		p, n := exp512(archsimd.LoadFloat32x16(q).Mul(a), lo)
		ldexp512(p.Mul(c), n.Add(k)).Store(q)
	}
	if len(x) > 0 {
		p, n := exp512(part512(x).Mul(a), lo)
		ldexp512(p.Mul(c), n.Add(k)).StoreSlicePart(x)
	}
	archsimd.ClearAVXUpperBits()
}

//go:noinline
func max512(x []float32, out *[16]float32) {
	m := load512(&lossConst.negInf)
	for ; len(x) >= 16; x = x[16:] {
		m = m.Max(archsimd.LoadFloat32x16((*[16]float32)(x)))
	}
	if len(x) > 0 {
		m = m.Max(part512(x))
	}
	m.StoreSlice(out[:])
	archsimd.ClearAVXUpperBits()
}

// hinge512 returns [x]₊. NaN passes.
func hinge512(x archsimd.Float32x16) archsimd.Float32x16 {
	var zero archsimd.Float32x16
	return zero.Merge(x, x.Less(zero))
}

//go:noinline
func sumHinge512(x []float32, v *args, out *[8]float64) {
	m := broadcast512(v, 0)
	var sum archsimd.Float64x8
	for len(x) >= 16 {
		t := x[:min(len(x)&^15, tile)]
		x = x[len(t):]
		var s archsimd.Float32x16
		for ; len(t) >= 16; t = t[16:] {
			h := hinge512(archsimd.LoadFloat32x16((*[16]float32)(t)).Add(m))
			s = h.MulAdd(h, s)
		}
		sum = flush512(sum, s)
	}
	if len(x) > 0 {
		h := hinge512(part512(x).Add(m))
		sum = flush512(sum, h.Mul(h))
	}
	sum.StoreSlice(out[:])
	archsimd.ClearAVXUpperBits()
}

//go:noinline
func scaleHinge512(x []float32, v *args, out *[8]float64) {
	m, c := broadcast512(v, 0), broadcast512(v, 1)
	var sum archsimd.Float64x8
	for len(x) >= 16 {
		t := x[:min(len(x)&^15, tile)]
		x = x[len(t):]
		var s archsimd.Float32x16
		for ; len(t) >= 16; t = t[16:] {
			q := (*[16]float32)(t)
			h := hinge512(archsimd.LoadFloat32x16(q).Add(m))
			s = h.MulAdd(h, s)
			h.Mul(c).Store(q)
		}
		sum = flush512(sum, s)
	}
	if len(x) > 0 {
		h := hinge512(part512(x).Add(m))
		sum = flush512(sum, h.Mul(h))
		h.Mul(c).StoreSlicePart(x)
	}
	sum.StoreSlice(out[:])
	archsimd.ClearAVXUpperBits()
}

// softplus512 takes x into the sums of a tile: positive += [x]₊ and, since log1p(e^x) = [x]₊ + log1p(e^−|x|), also
// 1 + product *= 1 + e^−|x|. It returns e^−|x|.
func softplus512(x, lo, positive, product archsimd.Float32x16) (e, positive1, product1 archsimd.Float32x16) {
	var zero archsimd.Float32x16
	p, n := exp512(x.Min(zero.Sub(x)), lo)
	e = ldexp512(p, n)
	return e, positive.Add(x.Max(zero)), e.MulAdd(product.Add(load512(&lossConst.one)), product)
}

// flushProduct512 multiplies 1 + sum by the lanes 1 + s.
func flushProduct512(sum archsimd.Float64x8, s archsimd.Float32x16) archsimd.Float64x8 {
	a, b := s.GetLo().ConvertToFloat64(), s.GetHi().ConvertToFloat64()
	a = a.MulAdd(b, a.Add(b))
	return sum.MulAdd(a, sum.Add(a))
}

//go:noinline
func sumSoftplus512(x []float32, v *args, out, product *[8]float64) {
	lo := broadcast512(v, 2)
	var sum, prod archsimd.Float64x8
	for len(x) >= 16 {
		t := x[:min(len(x)&^15, tile)]
		x = x[len(t):]
		var s, q archsimd.Float32x16
		for ; len(t) >= 16; t = t[16:] {
			_, s, q = softplus512(archsimd.LoadFloat32x16((*[16]float32)(t)), lo, s, q)
		}
		sum, prod = flush512(sum, s), flushProduct512(prod, q)
	}
	if len(x) > 0 {
		var s, q archsimd.Float32x16
		_, s, q = softplus512(part512(x), lo, s, q)
		sum, prod = flush512(sum, s), flushProduct512(prod, q)
	}
	sum.StoreSlice(out[:])
	prod.StoreSlice(product[:])
	archsimd.ClearAVXUpperBits()
}

// sigmoid512 returns σ(x), given e^−|x|.
func sigmoid512(x, e archsimd.Float32x16) archsimd.Float32x16 {
	var zero archsimd.Float32x16
	one := load512(&lossConst.one)
	return one.Merge(e, x.Greater(zero)).Div(one.Add(e))
}

//go:noinline
func scaleSigmoid512(x []float32, v *args, out, product *[8]float64) {
	lo, c := broadcast512(v, 2), broadcast512(v, 3)
	var sum, prod archsimd.Float64x8
	for len(x) >= 16 {
		t := x[:min(len(x)&^15, tile)]
		x = x[len(t):]
		var s, q, e archsimd.Float32x16
		for ; len(t) >= 16; t = t[16:] {
			y := archsimd.LoadFloat32x16((*[16]float32)(t))
			e, s, q = softplus512(y, lo, s, q)
			sigmoid512(y, e).Mul(c).Store((*[16]float32)(t))
		}
		sum, prod = flush512(sum, s), flushProduct512(prod, q)
	}
	if len(x) > 0 {
		var s, q, e archsimd.Float32x16
		y := part512(x)
		e, s, q = softplus512(y, lo, s, q)
		sigmoid512(y, e).Mul(c).StoreSlicePart(x)
		sum, prod = flush512(sum, s), flushProduct512(prod, q)
	}
	sum.StoreSlice(out[:])
	prod.StoreSlice(product[:])
	archsimd.ClearAVXUpperBits()
}
