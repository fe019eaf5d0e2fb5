package data

import (
	"math"
	"strconv"
)

// pow10 are the powers of ten that float32 holds exactly.
var pow10 = [...]float32{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10}

// parseFloat parses a finite float32. Digits that float32 holds exactly, divided by an exact power of ten, are rounded once
// and thus as strconv would (Clinger 1990, the fast path); the rest is left to strconv.
func parseFloat(b []byte) (float32, bool) {
	mantissa, digits, point := uint32(0), 0, -1
	i := 0
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		i++
	}
	for ; i < len(b); i++ {
		if c := b[i] - '0'; c <= 9 && mantissa < 1<<24/10 {
			mantissa = mantissa*10 + uint32(c)
			digits++
		} else if b[i] == '.' && point < 0 {
			point = digits
		} else {
			break
		}
	}
	if i == len(b) && digits > 0 && (point < 0 || digits-point < len(pow10)) {
		v := float32(mantissa)
		if point >= 0 {
			v /= pow10[digits-point]
		}
		if negative {
			v = -v
		}
		return v, true
	}
	v, err := strconv.ParseFloat(string(b), 32)
	return float32(v), err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
}

// parseID parses the decimal digits at the start of b and returns how many they are. It stops in time for the number to be
// below 1e10.
func parseID(b []byte) (id int64, n int) {
	for n < len(b) && n < 10 {
		c := b[n] - '0'
		if c > 9 {
			break
		}
		id = id*10 + int64(c)
		n++
	}
	return id, n
}

// finite tells whether v is neither NaN nor infinite.
func finite(v float32) bool { return math.Float32bits(v)&0x7f800000 != 0x7f800000 }
