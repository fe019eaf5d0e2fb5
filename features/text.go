package features

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"gputrain/sparse"
)

// Text turns texts into rows of features. It is fitted by FitText, never changes after, and serves any number of goroutines.
type Text struct {
	cfg    Config
	rows   int // fitted on
	blocks []block
}

// block is one family of n-grams and its vocabulary, which gets the columns first, …, first+len(keys)-1.
type block struct {
	name     string // in the state: "word" or "char"
	analyzer string // word, char or char_wb
	ngrams   [2]int
	minLen   int
	symbols  bool   // of words
	mask     uint64 // of the hashes

	first int32
	vocabulary
	idf   []float32 // by id; nil: all 1
	names []string  // by id; nil unless kept
}

func newText(cfg Config) *Text {
	mask := ^uint64(0)
	if cfg.HashBits > 0 {
		mask <<= 64 - cfg.HashBits
	}
	word := block{name: "word", analyzer: AnalyzerWord, ngrams: cfg.WordNGrams, minLen: cfg.MinWordLen, symbols: cfg.Symbols, mask: mask}
	char := block{name: "char", analyzer: AnalyzerCharWB, ngrams: cfg.CharNGrams, mask: mask}
	t := &Text{cfg: cfg}
	switch cfg.Analyzer {
	case AnalyzerWord:
		t.blocks = []block{word}
	case AnalyzerWordChar:
		t.blocks = []block{word, char}
	default:
		char.analyzer = cfg.Analyzer
		t.blocks = []block{char}
	}
	return t
}

// grams sets b.spans to the n-grams of the normalised text and returns what they are pieces of.
func (k *block) grams(b *Buffer) []byte {
	if k.analyzer == AnalyzerWord {
		b.wordGrams(k.minLen, k.symbols, k.ngrams[0], k.ngrams[1])
		return b.words
	}
	b.charGrams(k.analyzer == AnalyzerCharWB, k.ngrams[0], k.ngrams[1])
	return b.text
}

// FitText learns the vocabulary and the document frequencies of the texts and returns them with the texts' rows, the same as
// Transform would give. Workers below 1 is one per core; the result does not depend on it. Fitting on texts without a single
// n-gram in cfg.MinDF of them is an error.
func FitText(ctx context.Context, texts []string, cfg Config, workers int) (*Text, *sparse.CSR, error) {
	if err := cfg.check(); err != nil {
		return nil, nil, err
	}
	if len(texts) >= math.MaxInt32 {
		return nil, nil, fmt.Errorf("features: %d texts; want fewer than %d", len(texts), math.MaxInt32)
	}
	workers = workerCount(workers, len(texts))
	t := newText(cfg)
	t.rows = len(texts)

	// First pass: each worker cuts its texts into n-grams, which get ids of its own.
	ends := shards(texts, workers)
	counted := make([][]countedBlock, workers)
	errs := make([]error, workers)
	parallel(workers, func(w int) { counted[w], errs[w] = t.count(ctx, texts[ends[w]:ends[w+1]]) })
	if err := cmp.Or(errs...); err != nil {
		return nil, nil, err
	}

	// The common vocabulary, and the workers' ids in it.
	for k := range t.blocks {
		counters := make([]*counter, workers)
		for w := range counters {
			counters[w] = counted[w][k].counter
		}
		t.learn(k, merge(counters, cfg.MinDF, workers))
		parallel(workers, func(w int) { counted[w][k].rename(&t.blocks[k].vocabulary) })
	}
	if t.Features() == 0 {
		return nil, nil, fmt.Errorf("features: no n-gram occurs in %d or more of the %d texts; lower min-df or look at the texts", cfg.MinDF, len(texts))
	}
	if cfg.KeepNames {
		t.keepNames(texts)
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}

	// Second pass: each worker writes the weights of its rows to their place in the matrix.
	entries := make([]int, workers+1) // those of worker w lie from entries[w] to entries[w+1]
	for w, blocks := range counted {
		entries[w+1] = entries[w]
		for _, c := range blocks {
			entries[w+1] += c.distinct
		}
	}
	x := &sparse.CSR{
		Cols:    t.Features(),
		Indptr:  make([]int64, len(texts)+1),
		Indices: make([]int32, entries[workers]),
		Values:  make([]float32, entries[workers]),
	}
	parallel(workers, func(w int) { t.weighAll(counted[w], x, ends[w], entries[w]) })
	return t, x, nil
}

// countedBlock holds the n-grams of one worker's texts in one block.
type countedBlock struct {
	*counter
	ids  []int32 // every occurrence in order: first local ids, then those of the vocabulary
	ends []int   // of each text in ids

	distinct int // ids, summed over the texts
}

// count cuts the texts into n-grams and counts them.
func (t *Text) count(ctx context.Context, texts []string) ([]countedBlock, error) {
	counted := make([]countedBlock, len(t.blocks))
	for k := range counted {
		counted[k] = countedBlock{counter: newCounter(), ends: make([]int, 0, len(texts))}
	}
	var b Buffer
	for i, text := range texts {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		b.normalize(text)
		for k := range counted {
			c := &counted[k]
			b.hash(t.blocks[k].grams(&b), t.blocks[k].mask)
			for _, key := range b.keys {
				c.ids = append(c.ids, c.see(key, uint32(i+1)))
			}
			c.ends = append(c.ends, len(c.ids))
			if len(c.keys) > math.MaxInt32/2 {
				return nil, fmt.Errorf("features: more than %d different n-grams; use hash-bits, fewer n-grams or fewer texts", math.MaxInt32/2)
			}
		}
	}
	return counted, nil
}

// learn gives block k its vocabulary and its columns, which follow those of block k-1.
func (t *Text) learn(k int, found []keyDF) {
	if limit := t.cfg.MaxFeatures; limit > 0 && len(found) > limit {
		slices.SortFunc(found, func(a, b keyDF) int { return cmp.Or(cmp.Compare(b.df, a.df), cmp.Compare(a.key, b.key)) })
		found = found[:limit]
		slices.SortFunc(found, func(a, b keyDF) int { return cmp.Compare(a.key, b.key) })
	}
	keys := make([]uint64, len(found))
	for i, f := range found {
		keys[i] = f.key
	}
	block := &t.blocks[k]
	block.vocabulary = newVocabulary(keys)
	if t.cfg.IDF {
		block.idf = make([]float32, len(found))
		for i, f := range found {
			block.idf[i] = inverseDF(t.rows, int(f.df))
		}
	}
	if k > 0 {
		block.first = t.blocks[k-1].first + int32(len(t.blocks[k-1].keys))
	}
}

// rename replaces local ids by those of the vocabulary, drops those of n-grams that are not in it, sorts each text's, and drops the
// counter.
func (c *countedBlock) rename(v *vocabulary) {
	id := make([]int32, len(c.keys))
	for local, key := range c.keys {
		id[local] = v.find(key)
	}
	start, kept := 0, 0
	for i, end := range c.ends {
		row := c.ids[kept:kept]
		for _, local := range c.ids[start:end] {
			if f := id[local]; f >= 0 {
				row = append(row, f)
			}
		}
		slices.Sort(row)
		for k, f := range row {
			if k == 0 || f != row[k-1] {
				c.distinct++
			}
		}
		kept += len(row)
		start, c.ends[i] = end, kept
	}
	c.ids, c.counter = c.ids[:kept], nil
}

// weighAll writes the rows of the counted texts to x, from the given row and entry on.
func (t *Text) weighAll(counted []countedBlock, x *sparse.CSR, row, entry int) {
	var b Buffer
	for i := range counted[0].ends {
		b.clear()
		for k, c := range counted {
			start := 0
			if i > 0 {
				start = c.ends[i-1]
			}
			t.weigh(&b, k, c.ids[start:c.ends[i]])
		}
		indices, values := t.scale(&b)
		copy(x.Indices[entry:], indices)
		entry += copy(x.Values[entry:], values)
		x.Indptr[row+i+1] = int64(entry)
	}
}

// Transform sets dst to the rows of the texts. Dst keeps its memory. Workers below 1 is one per core; the result does not depend
// on it.
func (t *Text) Transform(texts []string, dst *sparse.CSR, workers int) {
	workers = workerCount(workers, len(texts))
	ends := shards(texts, workers)
	parts := make([]*sparse.CSR, workers)
	parts[0] = dst
	if workers > 1 {
		parts[0] = &sparse.CSR{}
	}
	parallel(workers, func(w int) {
		if parts[w] == nil {
			parts[w] = &sparse.CSR{}
		}
		parts[w].Reset(t.Features())
		var b Buffer
		for _, text := range texts[ends[w]:ends[w+1]] {
			parts[w].Append(t.Row(text, &b))
		}
	})
	if workers > 1 {
		join(dst, t.Features(), parts)
	}
}

// Row returns the features of one text, of which the first 16 MiB count: columns ascending, and values. Both are views of b, good until its next use. Once b has
// seen a text of the size, nothing is allocated.
func (t *Text) Row(text string, b *Buffer) (indices []int32, values []float32) {
	b.normalize(text)
	b.clear()
	for k := range t.blocks {
		block := &t.blocks[k]
		b.hash(block.grams(b), block.mask)
		b.ids = b.ids[:0]
		for _, key := range b.keys {
			if id := block.find(key); id >= 0 {
				b.ids = append(b.ids, id)
			}
		}
		slices.Sort(b.ids)
		t.weigh(b, k, b.ids)
	}
	return t.scale(b)
}

func (b *Buffer) clear() { b.indices, b.values = b.indices[:0], b.values[:0] }

// weigh adds the columns and weights of block k to the row in b. Ids ascend, one for each occurrence.
func (t *Text) weigh(b *Buffer, k int, ids []int32) {
	block, from := &t.blocks[k], len(b.values)
	for i := 0; i < len(ids); {
		id, start := ids[i], i
		for i < len(ids) && ids[i] == id {
			i++
		}
		w := float64(i - start)
		if t.cfg.SublinearTF {
			w = sublinear(i - start)
		}
		if block.idf != nil {
			w *= float64(block.idf[id])
		}
		b.indices = append(b.indices, block.first+id)
		b.values = append(b.values, float32(w))
	}
	if t.cfg.Norm == NormBlock {
		l2(b.values[from:], 1/math.Sqrt(float64(len(t.blocks))))
	}
}

// scale ends the row in b and returns it.
func (t *Text) scale(b *Buffer) (indices []int32, values []float32) {
	if t.cfg.Norm == NormJoint {
		l2(b.values, 1)
	}
	return b.indices, b.values
}

// sublinear returns 1 + ln tf.
func sublinear(tf int) float64 {
	if tf == 1 { // nearly always
		return 1
	}
	return 1 + math.Log(float64(tf))
}

// Features returns the number of columns.
func (t *Text) Features() int {
	n := 0
	for k := range t.blocks {
		n += len(t.blocks[k].keys)
	}
	return n
}

// Config returns the configuration that t was fitted with.
func (t *Text) Config() Config { return t.cfg }

// Name returns the n-gram of a column, or "" if names were not kept. Characters within words keep their spaces; among hashed
// features, the n-gram is the first of possibly several.
func (t *Text) Name(column int) string {
	for k := range t.blocks {
		block := &t.blocks[k]
		if id := column - int(block.first); id >= 0 && id < len(block.names) {
			return block.names[id]
		}
	}
	return ""
}

// keepNames finds the first n-gram of each feature.
func (t *Text) keepNames(texts []string) {
	missing := t.Features()
	for k := range t.blocks {
		t.blocks[k].names = make([]string, len(t.blocks[k].keys))
	}
	var b Buffer
	for _, text := range texts {
		if missing == 0 {
			return
		}
		b.normalize(text)
		for k := range t.blocks {
			block := &t.blocks[k]
			from := block.grams(&b)
			b.hash(from, block.mask)
			for i, key := range b.keys {
				if id := block.find(key); id >= 0 && block.names[id] == "" {
					block.names[id] = string(from[b.spans[i].lo:b.spans[i].hi])
					missing--
				}
			}
		}
	}
}

// textState is the JSON part of a fitted Text. The tensors are, for each block, NAME.keys (uint64, the sorted xxh3 hashes),
// NAME.idf (float32, if Config.IDF), and NAME.names (uint8, the n-grams one after the other) with NAME.name_ends (int64), if
// Config.KeepNames.
type textState struct {
	Config Config       `json:"config"`
	Rows   int          `json:"rows"`
	Blocks []blockState `json:"blocks"`
}

type blockState struct {
	Name     string `json:"name"`
	Features int    `json:"features"`
}

// State implements Encoder.
func (t *Text) State() (config []byte, tensors map[string]any, err error) {
	state := &textState{Config: t.cfg, Rows: t.rows}
	tensors = map[string]any{}
	for k := range t.blocks {
		block := &t.blocks[k]
		state.Blocks = append(state.Blocks, blockState{block.name, len(block.keys)})
		tensors[block.name+".keys"] = block.keys
		if block.idf != nil {
			tensors[block.name+".idf"] = block.idf
		}
		if block.names != nil {
			ends := make([]int64, len(block.names))
			end := int64(0)
			for i, name := range block.names {
				end += int64(len(name))
				ends[i] = end
			}
			tensors[block.name+".names"] = []uint8(strings.Join(block.names, ""))
			tensors[block.name+".name_ends"] = ends
		}
	}
	config, err = marshalState(stateDoc{Text: state})
	return config, tensors, err
}

func textFromState(state *textState, tensors map[string]any) (*Text, error) {
	if err := state.Config.check(); err != nil {
		return nil, err
	}
	t := newText(state.Config)
	t.rows = state.Rows
	if len(state.Blocks) != len(t.blocks) {
		return nil, fmt.Errorf("features: state: %d blocks; analyzer %s has %d", len(state.Blocks), t.cfg.Analyzer, len(t.blocks))
	}
	first := 0
	for k := range t.blocks {
		block, n := &t.blocks[k], state.Blocks[k].Features
		if state.Blocks[k].Name != block.name {
			return nil, fmt.Errorf("features: state: block %q; want %q", state.Blocks[k].Name, block.name)
		}
		if n < 0 || n > math.MaxInt32-first {
			return nil, fmt.Errorf("features: state: block %q has %d features", block.name, n)
		}
		keys, err := tensor[uint64](tensors, block.name+".keys", n)
		if err != nil {
			return nil, err
		}
		if err := checkKeys(block.name+".keys", keys); err != nil {
			return nil, err
		}
		block.vocabulary, block.first = newVocabulary(keys), int32(first)
		first += n
		if t.cfg.IDF {
			if block.idf, err = idfTensor(tensors, block.name+".idf", n); err != nil {
				return nil, err
			}
		}
		if t.cfg.KeepNames {
			if block.names, err = namesFromState(tensors, block.name, n); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

func namesFromState(tensors map[string]any, name string, n int) ([]string, error) {
	ends, err := tensor[int64](tensors, name+".name_ends", n)
	if err != nil {
		return nil, err
	}
	size := 0
	if n > 0 {
		size = int(ends[n-1])
	}
	text, err := tensor[uint8](tensors, name+".names", size)
	if err != nil {
		return nil, err
	}
	names, all, start := make([]string, n), string(text), int64(0)
	for i, end := range ends {
		if end < start || end > int64(len(all)) {
			return nil, fmt.Errorf("features: state: tensor %q does not ascend at %d", name+".name_ends", i)
		}
		names[i], start = all[start:end], end
	}
	return names, nil
}
