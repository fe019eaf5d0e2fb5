package vec

// TileMax is the most elements that a tile has.
const TileMax = 8 * 48

// TileSize returns the rows and columns of the tile that Tile computes.
func TileSize() (m, n int) {
	switch level {
	case avx512:
		return 8, 48
	case avx2:
		return 4, 24
	default:
		return 2, 4
	}
}

// Tile computes the product of two packed panels: t[i·n+j] = Σ_k a[k·m+i]·b[k·n+j], with m and n from TileSize.
func Tile(k int, a, b []float32, t *[TileMax]float32) {
	switch level {
	case avx512:
		a, b = a[:k*8], b[:k*48]
		if k > 0 {
			tile8x48(k, &a[0], &b[0], &t[0])
		}
	case avx2:
		a, b = a[:k*4], b[:k*24]
		if k > 0 {
			tile4x24(k, &a[0], &b[0], &t[0])
		}
	default:
		tile2x4(k, a, b, t)
	}
}

// tile2x4 is as large as the registers of plain Go allow.
func tile2x4(k int, a, b []float32, t *[TileMax]float32) {
	var c00, c01, c02, c03, c10, c11, c12, c13 float32
	for range k {
		p, q := (*[2]float32)(a), (*[4]float32)(b)
		c00 += p[0] * q[0]
		c01 += p[0] * q[1]
		c02 += p[0] * q[2]
		c03 += p[0] * q[3]
		c10 += p[1] * q[0]
		c11 += p[1] * q[1]
		c12 += p[1] * q[2]
		c13 += p[1] * q[3]
		a, b = a[2:], b[4:]
	}
	*(*[8]float32)(t[:]) = [8]float32{c00, c01, c02, c03, c10, c11, c12, c13}
}

// Transpose8 copies the transposed 8×8 block at src to dst; the strides are the distances of their rows.
func Transpose8(dst []float32, dstStride int, src []float32, srcStride int) {
	if level != plain {
		transpose8(dst, dstStride, src, srcStride)
		return
	}
	for i := range 8 {
		row := (*[8]float32)(src[i*srcStride:])
		for j, v := range row {
			dst[j*dstStride+i] = v
		}
	}
}
