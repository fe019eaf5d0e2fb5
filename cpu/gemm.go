package cpu

import (
	"gputrain/backend"
	"gputrain/cpu/internal/vec"
)

// A product is computed block by block: blockK of the inner dimension at a time, for at most blockM×blockN of c. Both factors of
// a block are packed into panels in the order in which vec.Tile reads them, so that transposes and strides matter nowhere else.
// A tile takes all of blockK from one panel of a, which stays in the first cache, and one of b, which stays in the second.
//
// Why not a library: go-highway v0.0.12, the well-kept one, takes dense factors only, transposes neither, allocates its panels
// for each call, and is slower. GFLOP/s for each CPU second of a Xeon (Sapphire Rapids, two cores, under load), for the head
// h·Wᵀ and the gradient of its weights; the plain loop adds rows of b to rows of c:
//
//	m×n×k              AVX-512  AVX2  plain Go  go-highway (best of three ways)  plain loop
//	32×735×384              74    61         6                               30           6
//	128×6884×256            77    51         6                               27           5
//	256×32768×768           85    56         7                               44
//	32768×768×256           96    63         6                               40
const (
	blockK = 256
	blockM = 1024
	blockN = 85 * 48
	taskM  = 128 // rows of c in the unit of work of a thread
)

// operand is a factor of the product: element (i, p) of a, or (j, p) of b, with p the inner index.
type operand struct {
	matrix
	inner bool // rows of the matrix run along p
}

// gemm is the product that runs. It lives in the Device, so that neither the threads' functions nor the panels are allocated
// for each call.
type gemm struct {
	a, b             operand
	c                matrix
	alpha, beta      float32
	i0, j0, p0       int // where the block begins
	m, n, k          int // its size
	packedA, packedB []float32

	packA, packB, multiply func(lo, hi int)
}

// Gemm computes c = alpha·op(a)·op(b) + beta·c. Each element is a sum of the sums over blocks of the inner index, which keeps
// its error far below that of one running sum.
func (d *Device) Gemm(c backend.Matrix, alpha float32, a backend.Matrix, transA bool, b backend.Matrix, transB bool, beta float32) error {
	const op = "gemm"
	am, ak, bk, bn := a.Rows, a.Cols, b.Rows, b.Cols
	if transA {
		am, ak = ak, am
	}
	if transB {
		bk, bn = bn, bk
	}
	if c.Rows != am || c.Cols != bn || ak != bk {
		return shape(op, "c=%v a=%v (transposed: %v) b=%v (transposed: %v)", c, a, transA, b, transB)
	}
	g := &d.gemm
	var err error
	if g.c, err = view(op, "c", c); err != nil {
		return err
	}
	if g.a.matrix, err = view(op, "a", a); err != nil {
		return err
	}
	if g.b.matrix, err = view(op, "b", b); err != nil {
		return err
	}
	if g.packA == nil {
		g.packA, g.packB, g.multiply = g.packPanelsA, g.packPanelsB, g.multiplyTasks
	}
	g.a.inner, g.b.inner = !transA, transB
	g.alpha, g.beta = alpha, beta
	g.run(d.pool, ak)
	g.a.data, g.b.data, g.c.data = nil, nil, nil
	return nil
}

// run computes the product with inner dimension k.
func (g *gemm) run(p *pool, k int) {
	if g.c.empty() {
		return
	}
	if k == 0 {
		for i := range g.c.rows {
			scaleRow(g.beta, g.c.row(i))
		}
		return
	}
	tm, tn := vec.TileSize()
	for g.j0 = 0; g.j0 < g.c.cols; g.j0 += blockN {
		g.n = min(blockN, g.c.cols-g.j0)
		for g.p0 = 0; g.p0 < k; g.p0 += blockK {
			g.k = min(blockK, k-g.p0)
			panels := ceilDiv(g.n, tn)
			g.packedB = grow(g.packedB, panels*tn*g.k)
			p.run(panels, ceilDiv(1<<14, tn*g.k), g.packB)
			for g.i0 = 0; g.i0 < g.c.rows; g.i0 += blockM {
				g.m = min(blockM, g.c.rows-g.i0)
				panels := ceilDiv(g.m, tm)
				g.packedA = grow(g.packedA, panels*tm*g.k)
				p.run(panels, ceilDiv(1<<14, tm*g.k), g.packA)
				p.run(ceilDiv(g.n, tn)*ceilDiv(g.m, taskM), ceilDiv(1<<16, min(g.m, taskM)*tn*g.k), g.multiply)
			}
		}
	}
}

func (g *gemm) packPanelsA(lo, hi int) {
	w, _ := vec.TileSize()
	for i := lo; i < hi; i++ {
		g.a.pack(g.packedA[i*w*g.k:(i+1)*w*g.k], w, g.i0+i*w, min(w, g.m-i*w), g.p0, g.k)
	}
}

func (g *gemm) packPanelsB(lo, hi int) {
	_, w := vec.TileSize()
	for j := lo; j < hi; j++ {
		g.b.pack(g.packedB[j*w*g.k:(j+1)*w*g.k], w, g.j0+j*w, min(w, g.n-j*w), g.p0, g.k)
	}
}

// pack writes the panel dst[p·w+i] = element (i0+i, p0+p), for i < n and p < k. The rest, n ≤ i < w, may hold anything: it
// meets only those parts of a tile that are not used.
func (o *operand) pack(dst []float32, w, i0, n, p0, k int) {
	switch {
	case !o.inner && n == 8: // a copy of known size needs no call
		for p := range k {
			*(*[8]float32)(dst[p*w:]) = [8]float32(o.data[(p0+p)*o.stride+i0:])
		}
	case !o.inner:
		for p := range k {
			lo := (p0+p)*o.stride + i0
			copy(dst[p*w:p*w+n], o.data[lo:lo+n])
		}
	default:
		i := 0
		for ; i+8 <= n; i += 8 {
			p := 0
			for ; p+8 <= k; p += 8 {
				vec.Transpose8(dst[p*w+i:], w, o.data[(i0+i)*o.stride+p0+p:], o.stride)
			}
			for r := i; r < i+8; r++ {
				o.packRow(dst, w, i0, r, p0, p, k)
			}
		}
		for ; i < n; i++ {
			o.packRow(dst, w, i0, i, p0, 0, k)
		}
	}
}

// packRow writes the elements p ≤ q < k of row i0+i.
func (o *operand) packRow(dst []float32, w, i0, i, p0, p, k int) {
	src := o.data[(i0+i)*o.stride+p0:]
	for q, v := range src[p:k] {
		dst[(p+q)*w+i] = v
	}
}

// multiplyTasks computes tasks of taskM rows and one panel of columns. Tasks that share columns follow each other.
func (g *gemm) multiplyTasks(lo, hi int) {
	tm, tn := vec.TileSize()
	rowTasks := ceilDiv(g.m, taskM)
	var t [vec.TileMax]float32
	for task := lo; task < hi; task++ {
		j := task / rowTasks * tn
		b := g.packedB[j*g.k:]
		cols := min(tn, g.n-j)
		first := task % rowTasks * taskM
		for i := first; i < min(first+taskM, g.m); i += tm {
			vec.Tile(g.k, g.packedA[i*g.k:], b, &t)
			for r := range min(tm, g.m-i) {
				at := (g.i0+i+r)*g.c.stride + g.j0 + j
				g.merge(g.c.data[at:at+cols], t[r*tn:])
			}
		}
	}
}

// merge adds alpha·t to c, which the first block scales by beta.
func (g *gemm) merge(c, t []float32) {
	t = t[:len(c)]
	if g.p0 == 0 {
		scaleRow(g.beta, c)
	}
	vec.Axpy(g.alpha, t, c)
}

// scaleRow multiplies x by beta; with beta 0, x is not read.
func scaleRow(beta float32, x []float32) {
	switch beta {
	case 0:
		clear(x)
	case 1:
	default:
		vec.Scale(beta, x)
	}
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// grow returns a slice of n elements, s where that is large enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
