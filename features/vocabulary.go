package features

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// vocabulary maps the hashes of n-grams to feature ids: the id of a hash is its rank among the sorted hashes. That needs no ids beside
// the hashes, is the same whatever the order of the rows, and is ready to use straight from a mapped file.
type vocabulary struct {
	keys  []uint64 // strictly ascending
	start []uint32 // keys whose top bits are t are keys[start[t]:start[t+1]]; as many top bits as give about one key each
	shift int      // 64 less the number of top bits
}

// newVocabulary takes sorted keys, fewer than 2^31, and keeps them.
func newVocabulary(keys []uint64) vocabulary {
	top := bits.Len(uint(len(keys)))
	v := vocabulary{keys: keys, start: make([]uint32, 1<<top+1), shift: 64 - top}
	next := uint64(0)
	for i, k := range keys {
		for ; next <= k>>v.shift; next++ {
			v.start[next] = uint32(i)
		}
	}
	for ; next < uint64(len(v.start)); next++ {
		v.start[next] = uint32(len(keys))
	}
	return v
}

// find returns the id of key, or -1.
func (v *vocabulary) find(key uint64) int32 {
	top := key >> v.shift
	for i := v.start[top]; i < v.start[top+1]; i++ {
		if v.keys[i] == key {
			return int32(i)
		}
	}
	return -1
}

// checkKeys returns an error unless keys are strictly ascending.
func checkKeys(name string, keys []uint64) error {
	for i := 1; i < len(keys); i++ {
		if keys[i] <= keys[i-1] {
			return fmt.Errorf("features: state: tensor %q does not ascend at %d", name, i)
		}
	}
	return nil
}

// counter counts in how many rows each key occurs. Keys get local ids in the order of their first occurrence.
type counter struct {
	slots []slot   // open addressing, linear probing; the length is a power of two
	keys  []uint64 // by local id
	df    []uint32 // by local id
}

// slot holds a key, one more than its local id (0: the slot is free) and the last row that had it.
type slot struct {
	key      uint64
	id1, row uint32
}

func newCounter() *counter { return &counter{slots: make([]slot, 1<<12)} }

// slotOf returns the slot of key, or the free one where it belongs.
func (c *counter) slotOf(key uint64) *slot {
	mask := len(c.slots) - 1
	// Fibonacci hashing: all keys of a part share their top bits, and hashed features share their low bits.
	i := int((key * 0x9e3779b97f4a7c15) >> (64 - bits.Len(uint(mask))))
	for ; ; i = (i + 1) & mask {
		if s := &c.slots[i]; s.key == key || s.id1 == 0 {
			return s
		}
	}
}

// enter returns the slot of key after giving it one if it has none.
func (c *counter) enter(key uint64) *slot {
	s := c.slotOf(key)
	if s.id1 != 0 {
		return s
	}
	if len(c.keys) >= len(c.slots)/3*2 {
		old := c.slots
		c.slots = make([]slot, 2*len(old))
		for _, o := range old {
			if o.id1 != 0 {
				*c.slotOf(o.key) = o
			}
		}
		s = c.slotOf(key)
	}
	c.keys = append(c.keys, key)
	c.df = append(c.df, 0)
	*s = slot{key: key, id1: uint32(len(c.keys))}
	return s
}

// see counts key in a row, once however often it comes, and returns its local id. Rows count from 1.
func (c *counter) see(key uint64, row uint32) int32 {
	s := c.enter(key)
	if s.row != row {
		s.row = row
		c.df[s.id1-1]++
	}
	return int32(s.id1 - 1)
}

// keyDF is a key and the number of rows that have it.
type keyDF struct {
	key uint64
	df  uint32
}

// merge adds up the counts of all counters and returns the keys that at least minDF rows have, ascending. Worker p of several takes
// the p-th range of keys, so nothing is shared and the ranges' results only need joining.
func merge(counters []*counter, minDF, workers int) []keyDF {
	parts := make([][]keyDF, workers)
	parallel(workers, func(p int) {
		total := counters[0]
		if len(counters) > 1 || workers > 1 {
			total = newCounter()
			for _, c := range counters {
				for id, key := range c.keys {
					if part, _ := bits.Mul64(key, uint64(workers)); part == uint64(p) {
						total.df[total.enter(key).id1-1] += c.df[id]
					}
				}
			}
		}
		for id, df := range total.df {
			if int(df) >= minDF {
				parts[p] = append(parts[p], keyDF{total.keys[id], df})
			}
		}
		slices.SortFunc(parts[p], func(a, b keyDF) int { return cmp.Compare(a.key, b.key) })
	})
	return slices.Concat(parts...)
}
