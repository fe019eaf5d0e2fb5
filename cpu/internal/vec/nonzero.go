package vec

// AppendNonzero appends the positions and values of x's elements that are not zero; NaN is not zero.
func AppendNonzero(ids []int32, values []float32, x []float32) ([]int32, []float32) {
	for i := 0; i < len(x); {
		i += zeros(x[i:])
		for ; i < len(x) && x[i] != 0; i++ {
			ids, values = append(ids, int32(i)), append(values, x[i])
		}
	}
	return ids, values
}

func zerosPlain(x []float32) int {
	for i, v := range x {
		if v != 0 {
			return i
		}
	}
	return len(x)
}
