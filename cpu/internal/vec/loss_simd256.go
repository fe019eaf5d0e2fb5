//go:build goexperiment.simd && amd64

package vec

import "simd/archsimd"

// The loops of loss.go on 8 lanes. They take their numbers from memory and leave their sums there, and are not inlined: a
// scalar float instruction costs a hundred times its own time while the upper halves of the vector registers are in use.

// broadcast256 returns the number v[i] in all lanes.
func broadcast256(v *args, i int) archsimd.Float32x8 {
	return archsimd.LoadFloat32x4((*[4]float32)(v[i:])).Broadcast1To8()
}

// load256 loads a constant.
func load256(c *[16]float32) archsimd.Float32x8 { return archsimd.LoadFloat32x8((*[8]float32)(c[:8])) }

// part256 loads fewer than 8 elements. −Inf takes the place of the missing ones: it adds 0 to every sum.
func part256(x []float32) archsimd.Float32x8 {
	return archsimd.LoadFloat32x8SlicePart(x).Add(archsimd.LoadFloat32x8((*[8]float32)(lossConst.edge[16-len(x):])))
}

// flush256 adds the lanes of a tile to float64 sums.
func flush256(sum archsimd.Float64x4, s archsimd.Float32x8) archsimd.Float64x4 {
	return sum.Add(s.GetLo().ConvertToFloat64().Add(s.GetHi().ConvertToFloat64()))
}

// exp256 returns e^x = p·2^n, p within 1 unit in the last place and in [0.7, 1.5): x = n·ln 2 + r, and e^r by a polynomial. The
// caller scales by 2^n last, so that overflow becomes +Inf. Below lo the result is 0: processors take hundreds of cycles for a
// denormal one. NaN passes; comparisons bound x, because the compiler takes Min and Max to commute, and with NaN they do not.
func exp256(x, lo archsimd.Float32x8) (p, n archsimd.Float32x8) {
	c := lossConst
	x = load256(&c.bound).Merge(x, x.Greater(load256(&c.bound)))
	x = load256(&c.zero).Merge(x, x.Less(lo))
	n = x.MulAdd(load256(&c.log2e), load256(&c.magic)).Sub(load256(&c.magic))
	r := n.MulAdd(load256(&c.ln2Hi), x)
	r = n.MulAdd(load256(&c.ln2Lo), r)
	p = r.MulAdd(load256(&c.exp6), load256(&c.exp5))
	p = p.MulAdd(r, load256(&c.exp4))
	p = p.MulAdd(r, load256(&c.exp3))
	p = p.MulAdd(r, load256(&c.exp2))
	p = p.MulAdd(r, load256(&c.one))
	return p.MulAdd(r, load256(&c.one)), n
}

// ldexp256 returns p·2^n, n integral. AVX2 has no such instruction: it multiplies by two powers, of half the exponent each, built
// from bits.
func ldexp256(p, n archsimd.Float32x8) archsimd.Float32x8 {
	n = n.Max(load256(&lossConst.minExp)).Min(load256(&lossConst.maxExp)) // with NaN in n, p is NaN too
	i := n.ConvertToInt32()
	half := i.ShiftAllRight(1)
	one := archsimd.LoadInt32x8((*[8]int32)(lossConst.oneBits[:8]))
	return p.Mul(half.ShiftAllLeft(23).Add(one).AsFloat32x8()).Mul(i.Sub(half).ShiftAllLeft(23).Add(one).AsFloat32x8())
}

//go:noinline
func sumExp256(x []float32, v *args, out *[8]float64) {
	a, k, lo := broadcast256(v, 0), broadcast256(v, 1), broadcast256(v, 2)
	var sum archsimd.Float64x4
	for len(x) >= 8 {
		t := x[:min(len(x)&^7, tile)]
		x = x[len(t):]
		var s archsimd.Float32x8
		for ; len(t) >= 8; t = t[8:] {
			p, n := exp256(archsimd.LoadFloat32x8((*[8]float32)(t)).Mul(a), lo)
			s = s.Add(ldexp256(p, n.Add(k)))
		}
		sum = flush256(sum, s)
	}
	if len(x) > 0 {
		p, n := exp256(part256(x).Mul(a), lo)
		sum = flush256(sum, ldexp256(p, n.Add(k)))
	}
	sum.StoreSlice(out[:4])
	archsimd.ClearAVXUpperBits()
}

//go:noinline
func scaleExp256(x []float32, v *args) {
	a, k, lo, c := broadcast256(v, 0), broadcast256(v, 1), broadcast256(v, 2), broadcast256(v, 3)
	for ; len(x) >= 8; x = x[8:] {
		q := (*[8]float32)(x)
		p, n := exp256(archsimd.LoadFloat32x8(q).Mul(a), lo)
		ldexp256(p.Mul(c), n.Add(k)).Store(q)
	}
	if len(x) > 0 {
		p, n := exp256(part256(x).Mul(a), lo)
		ldexp256(p.Mul(c), n.Add(k)).StoreSlicePart(x)
	}
	archsimd.ClearAVXUpperBits()
}

//go:noinline
func max256(x []float32, out *[16]float32) {
	m := load256(&lossConst.negInf)
	for ; len(x) >= 8; x = x[8:] {
		m = m.Max(archsimd.LoadFloat32x8((*[8]float32)(x)))
	}
	if len(x) > 0 {
		m = m.Max(part256(x))
	}
	m.StoreSlice(out[:8])
	archsimd.ClearAVXUpperBits()
}

// hinge256 returns [x]₊. NaN passes.
func hinge256(x archsimd.Float32x8) archsimd.Float32x8 {
	var zero archsimd.Float32x8
	return zero.Merge(x, x.Less(zero))
}

//go:noinline
func sumHinge256(x []float32, v *args, out *[8]float64) {
	m := broadcast256(v, 0)
	var sum archsimd.Float64x4
	for len(x) >= 8 {
		t := x[:min(len(x)&^7, tile)]
		x = x[len(t):]
		var s archsimd.Float32x8
		for ; len(t) >= 8; t = t[8:] {
			h := hinge256(archsimd.LoadFloat32x8((*[8]float32)(t)).Add(m))
			s = h.MulAdd(h, s)
		}
		sum = flush256(sum, s)
	}
	if len(x) > 0 {
		h := hinge256(part256(x).Add(m))
		sum = flush256(sum, h.Mul(h))
	}
	sum.StoreSlice(out[:4])
	archsimd.ClearAVXUpperBits()
}

//go:noinline
func scaleHinge256(x []float32, v *args, out *[8]float64) {
	m, c := broadcast256(v, 0), broadcast256(v, 1)
	var sum archsimd.Float64x4
	for len(x) >= 8 {
		t := x[:min(len(x)&^7, tile)]
		x = x[len(t):]
		var s archsimd.Float32x8
		for ; len(t) >= 8; t = t[8:] {
			q := (*[8]float32)(t)
			h := hinge256(archsimd.LoadFloat32x8(q).Add(m))
			s = h.MulAdd(h, s)
			h.Mul(c).Store(q)
		}
		sum = flush256(sum, s)
	}
	if len(x) > 0 {
		h := hinge256(part256(x).Add(m))
		sum = flush256(sum, h.Mul(h))
		h.Mul(c).StoreSlicePart(x)
	}
	sum.StoreSlice(out[:4])
	archsimd.ClearAVXUpperBits()
}

// softplus256 takes x into the sums of a tile: positive += [x]₊ and, since log1p(e^x) = [x]₊ + log1p(e^−|x|), also
// 1 + product *= 1 + e^−|x|. It returns e^−|x|.
func softplus256(x, lo, positive, product archsimd.Float32x8) (e, positive1, product1 archsimd.Float32x8) {
	var zero archsimd.Float32x8
	p, n := exp256(x.Min(zero.Sub(x)), lo)
	e = ldexp256(p, n)
	return e, positive.Add(x.Max(zero)), e.MulAdd(product.Add(load256(&lossConst.one)), product)
}

// flushProduct256 multiplies 1 + sum by the lanes 1 + s.
func flushProduct256(sum archsimd.Float64x4, s archsimd.Float32x8) archsimd.Float64x4 {
	a, b := s.GetLo().ConvertToFloat64(), s.GetHi().ConvertToFloat64()
	a = a.MulAdd(b, a.Add(b))
	return sum.MulAdd(a, sum.Add(a))
}

//go:noinline
func sumSoftplus256(x []float32, v *args, out, product *[8]float64) {
	lo := broadcast256(v, 2)
	var sum, prod archsimd.Float64x4
	for len(x) >= 8 {
		t := x[:min(len(x)&^7, tile)]
		x = x[len(t):]
		var s, q archsimd.Float32x8
		for ; len(t) >= 8; t = t[8:] {
			_, s, q = softplus256(archsimd.LoadFloat32x8((*[8]float32)(t)), lo, s, q)
		}
		sum, prod = flush256(sum, s), flushProduct256(prod, q)
	}
	if len(x) > 0 {
		var s, q archsimd.Float32x8
		_, s, q = softplus256(part256(x), lo, s, q)
		sum, prod = flush256(sum, s), flushProduct256(prod, q)
	}
	sum.StoreSlice(out[:4])
	prod.StoreSlice(product[:4])
	archsimd.ClearAVXUpperBits()
}

// sigmoid256 returns σ(x), given e^−|x|.
func sigmoid256(x, e archsimd.Float32x8) archsimd.Float32x8 {
	var zero archsimd.Float32x8
	one := load256(&lossConst.one)
	return one.Merge(e, x.Greater(zero)).Div(one.Add(e))
}

//go:noinline
func scaleSigmoid256(x []float32, v *args, out, product *[8]float64) {
	lo, c := broadcast256(v, 2), broadcast256(v, 3)
	var sum, prod archsimd.Float64x4
	for len(x) >= 8 {
		t := x[:min(len(x)&^7, tile)]
		x = x[len(t):]
		var s, q, e archsimd.Float32x8
		for ; len(t) >= 8; t = t[8:] {
			y := archsimd.LoadFloat32x8((*[8]float32)(t))
			e, s, q = softplus256(y, lo, s, q)
			sigmoid256(y, e).Mul(c).Store((*[8]float32)(t))
		}
		sum, prod = flush256(sum, s), flushProduct256(prod, q)
	}
	if len(x) > 0 {
		var s, q, e archsimd.Float32x8
		y := part256(x)
		e, s, q = softplus256(y, lo, s, q)
		sigmoid256(y, e).Mul(c).StoreSlicePart(x)
		sum, prod = flush256(sum, s), flushProduct256(prod, q)
	}
	sum.StoreSlice(out[:4])
	prod.StoreSlice(product[:4])
	archsimd.ClearAVXUpperBits()
}
