// Package features turns texts, or given sparse counts, into TF-IDF rows.
//
// A text goes through four steps: Unicode normalisation (NFKC, full case folding, white space collapsed), n-grams (of words, of
// characters, or both), lookup of each n-gram's 64-bit hash in the vocabulary, and weighting
//
//	w = (1 + ln tf) · (ln((1 + rows) / (1 + df)) + 1),  then the row divided by its Euclidean length,
//
// which is what scikit-learn's TfidfVectorizer(sublinear_tf=True) computes. N-grams live only as their xxh3 hashes, so no string is
// kept or compared; two n-grams that share a 64-bit hash are one feature (at a million features the chance that this happens
// anywhere is about 3 in 100 million).
//
// Everything is deterministic: fit and transform give the same bits for any number of workers, and after State and FromState.
package features

import (
	"encoding/json"
	"fmt"
	"math"
	"unicode"
)

// What the analyzers cut a text into.
const (
	AnalyzerWord     = "word"      // words
	AnalyzerChar     = "char"      // characters over the whole text: scripts without spaces
	AnalyzerCharWB   = "char_wb"   // characters within the boundaries of space-delimited words, padded by one space
	AnalyzerWordChar = "word+char" // words and, as a second block of features, char_wb
)

// How the values of a row are scaled.
const (
	NormJoint = "joint" // the whole row has length 1
	NormBlock = "block" // each of n blocks has length 1/√n, so that words weigh as much as characters; joint for a single block
	NormNone  = "none"
)

// Config says how texts become features. The zero value is not valid; start from DefaultConfig or Detect.
type Config struct {
	Analyzer    string `json:"analyzer"`               // one of the Analyzer constants
	WordNGrams  [2]int `json:"word_ngrams"`            // shortest and longest n-gram of words
	CharNGrams  [2]int `json:"char_ngrams"`            // shortest and longest n-gram of characters
	MinWordLen  int    `json:"min_word_len"`           // characters that a word of a script with spaces must have
	Symbols     bool   `json:"symbols"`                // punctuation marks, emoji and other symbols are words of one character
	MinDF       int    `json:"min_df"`                 // rows in which an n-gram must occur
	MaxFeatures int    `json:"max_features,omitempty"` // per block: keep those in most rows; 0 is no limit
	HashBits    int    `json:"hash_bits,omitempty"`    // per block: hash n-grams into at most 2^HashBits features; 0 keeps all 64 bits
	SublinearTF bool   `json:"sublinear_tf"`           // 1 + ln tf in the place of tf
	IDF         bool   `json:"idf"`                    // multiply by the smoothed inverse document frequency
	Norm        string `json:"norm"`                   // one of the Norm constants
	KeepNames   bool   `json:"keep_names,omitempty"`   // keep the text of each feature, for explanations; costs a second pass
}

// DefaultConfig returns the measured defaults of an analyzer: 1-2 grams of words; 3-6 grams of char_wb; 1-2 grams of char; of
// word+char, both in blocks of the same length. On validation rows of cooking and goemotions, for a linear model with squared
// hinge, that gave a better micro-F1 than joint length in most splits, where the many characters drown the words; its P@1 was
// better on goemotions and mixed on cooking.
func DefaultConfig(analyzer string) (Config, error) {
	c := Config{
		Analyzer: analyzer, WordNGrams: [2]int{1, 2}, CharNGrams: [2]int{3, 6}, MinWordLen: 1, MinDF: 2, Symbols: true,
		SublinearTF: true, IDF: true, Norm: NormBlock,
	}
	if analyzer == AnalyzerChar {
		c.CharNGrams = [2]int{1, 2}
	}
	return c, c.check()
}

func (c Config) check() error {
	switch c.Analyzer {
	case AnalyzerWord, AnalyzerChar, AnalyzerCharWB, AnalyzerWordChar:
	default:
		return fmt.Errorf("features: unknown analyzer %q; known: word, word+char, char, char_wb", c.Analyzer)
	}
	switch c.Norm {
	case NormJoint, NormBlock, NormNone:
	default:
		return fmt.Errorf("features: unknown norm %q; known: joint, block, none", c.Norm)
	}
	const longest = 16 // of an n-gram; keeps the cost of a hostile configuration in bounds
	for _, n := range []struct {
		name string
		r    [2]int
	}{{"word", c.WordNGrams}, {"character", c.CharNGrams}} {
		if n.r[0] < 1 || n.r[1] < n.r[0] || n.r[1] > longest {
			return fmt.Errorf("features: %s n-grams from %d to %d; want 1 <= shortest <= longest <= %d", n.name, n.r[0], n.r[1], longest)
		}
	}
	switch {
	case c.MinWordLen < 1:
		return fmt.Errorf("features: shortest word of %d characters; want at least 1", c.MinWordLen)
	case c.MinDF < 1:
		return fmt.Errorf("features: min-df %d; want at least 1", c.MinDF)
	case c.MaxFeatures < 0:
		return fmt.Errorf("features: max-features %d; want at least 1, or 0 for no limit", c.MaxFeatures)
	case c.HashBits < 0 || c.HashBits > 30:
		return fmt.Errorf("features: hash-bits %d; want 1 to 30, or 0 for no hashing", c.HashBits)
	}
	return nil
}

// unspacedShare is the share of letters in scripts without spaces from which Detect takes characters: one such letter carries
// about as much as a word's worth of Latin letters, so a Chinese text with Latin names in it must still count as Chinese.
const unspacedShare = 0.3

// Detect chooses the analyzer from the letters of the texts (at most 10,000 of them, evenly spread): char where at least 30 % of the
// letters belong to scripts that are written without spaces (Han, Kana, Thai, …), else word+char; or word where the caller says that
// words must do, as with label spaces so large that each feature costs many weights. It also says why.
func Detect(texts []string, wordsOnly bool) (cfg Config, why string) {
	letters, unspaced := 0, 0
	for i := 0; i < len(texts); i += len(texts)/10_000 + 1 {
		for _, r := range texts[i] {
			switch {
			case r < 0x80 && (r|0x20 < 'a' || r|0x20 > 'z') || !unicode.IsLetter(r):
			case r >= firstUnspaced && unicode.In(r, unspacedScripts...):
				unspaced++
				fallthrough
			default:
				letters++
			}
		}
	}
	share := 0.0
	if letters > 0 {
		share = float64(unspaced) / float64(letters)
	}
	analyzer, note := AnalyzerWordChar, ""
	switch {
	case share >= unspacedShare:
		analyzer = AnalyzerChar
	case wordsOnly:
		analyzer, note = AnalyzerWord, "; no character n-grams beside words, for many labels"
	}
	cfg, _ = DefaultConfig(analyzer)       // known analyzers are valid
	cfg.Symbols = analyzer != AnalyzerWord // they occur with most labels, which many weights would pay for
	return cfg, fmt.Sprintf("analyzer %s: %.0f %% of the letters belong to scripts written without spaces (char from %.0f %%)%s",
		analyzer, 100*share, 100*unspacedShare, note)
}

var unspacedScripts = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Bopomofo, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan,
}

// Encoder is what a model folder stores of the way to its features: a *Text or a *Weights.
type Encoder interface {
	// Features returns the number of columns of the rows that come out.
	Features() int
	// State returns the fitted state: a JSON document for people and programs, and tensors by name ([]uint64, []float32,
	// []int64, []uint8). The slices are views, not to be changed.
	State() (config []byte, tensors map[string]any, err error)
}

var (
	_ Encoder = (*Text)(nil)
	_ Encoder = (*Weights)(nil)
)

// formatVersion is that of the state document. A reader refuses any other.
const formatVersion = 1

// stateDoc is the JSON part of a state. Exactly one of Text and Weights is set.
type stateDoc struct {
	Format  int           `json:"format"`
	Text    *textState    `json:"text,omitempty"`
	Weights *weightsState `json:"weights,omitempty"`
}

func marshalState(doc stateDoc) ([]byte, error) {
	doc.Format = formatVersion
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("features: state: %w", err)
	}
	return append(b, '\n'), nil
}

// FromState builds the encoder that State described. It keeps views of the slices, which may be read-only memory. A state that is
// damaged, of another version or does not fit together is an error, whatever it holds.
func FromState(config []byte, tensors map[string]any) (Encoder, error) {
	var doc stateDoc
	if err := json.Unmarshal(config, &doc); err != nil {
		return nil, fmt.Errorf("features: state: %w", err)
	}
	switch {
	case doc.Format != formatVersion:
		return nil, fmt.Errorf("features: state has format %d; this program reads format %d", doc.Format, formatVersion)
	case (doc.Text == nil) == (doc.Weights == nil):
		return nil, fmt.Errorf("features: state must hold either text or weights")
	case doc.Text != nil:
		return textFromState(doc.Text, tensors)
	default:
		return weightsFromState(doc.Weights, tensors)
	}
}

// tensor returns tensors[name] as a []T of length n.
func tensor[T any](tensors map[string]any, name string, n int) ([]T, error) {
	t, ok := tensors[name]
	if !ok {
		return nil, fmt.Errorf("features: state: tensor %q is missing", name)
	}
	s, ok := t.([]T)
	if !ok {
		return nil, fmt.Errorf("features: state: tensor %q is a %T; want %T", name, t, s)
	}
	if len(s) != n {
		return nil, fmt.Errorf("features: state: tensor %q has %d elements; want %d", name, len(s), n)
	}
	return s, nil
}

// idfTensor returns tensors[name] checked to be what inverseDF gives.
func idfTensor(tensors map[string]any, name string, n int) ([]float32, error) {
	idf, err := tensor[float32](tensors, name, n)
	if err != nil {
		return nil, err
	}
	for i, v := range idf {
		if !(v >= 1 && v < 64) { // ln of at most 2^63, plus 1
			return nil, fmt.Errorf("features: state: tensor %q holds %v at %d; want 1 to 64", name, v, i)
		}
	}
	return idf, nil
}

// inverseDF returns ln((1 + rows) / (1 + df)) + 1, the smoothed inverse document frequency of scikit-learn.
func inverseDF(rows, df int) float32 {
	return float32(math.Log(float64(1+rows)/float64(1+df)) + 1)
}

// l2 scales values to a Euclidean length; all zeros stay.
func l2(values []float32, length float64) {
	sum := 0.0
	for _, v := range values {
		sum += float64(v) * float64(v)
	}
	if sum == 0 {
		return
	}
	scale := length / math.Sqrt(sum)
	for i, v := range values {
		values[i] = float32(float64(v) * scale)
	}
}
