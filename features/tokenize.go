package features

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"github.com/zeebo/xxh3"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Buffer is the working memory of one goroutine. The zero value is ready; reuse spares the allocations.
type Buffer struct {
	text     []byte    // the normalised text between two spaces: " a b "
	ascii    bool      // whether text is known to be
	composed norm.Iter // its NFKC, on the way

	words []byte  // the words of text, each followed by one space
	ends  []int32 // where each word ends in words
	spans []span  // the n-grams, pieces of text or of words
	runes []int32 // where the characters of a piece of text start, and its end

	keys    []uint64
	ids     []int32
	indices []int32
	values  []float32
}

// lower maps an ASCII byte to its normal form: lower case, every white space a space.
var lower = func() (t [utf8.RuneSelf]byte) {
	for c := range t {
		t[c] = byte(unicode.ToLower(rune(c)))
		if unicode.IsSpace(rune(c)) {
			t[c] = ' '
		}
	}
	return t
}()

// wordByte tells the ASCII bytes that words are made of, those of \w. Bytes from 0x80 are not ASCII and not in it.
var wordByte = func() (t [256]bool) {
	for c := range utf8.RuneSelf {
		t[c] = isWordStart(rune(c))
	}
	return t
}()

// maxText is how many bytes of a text count: even where normalisation makes it longer, offsets fit spans.
const maxText = 16 << 20

// normalize sets b.text to NFKC and full case folding of s, white space collapsed and trimmed, between two spaces. Bytes that
// are not UTF-8 become U+FFFD.
func (b *Buffer) normalize(s string) {
	s = s[:min(len(s), maxText)]
	b.text, b.ascii = append(b.text[:0], ' '), true
	last := byte(' ')
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf {
			b.normalizeUnicode(s)
			return
		}
		if c = lower[c]; c != ' ' || last != ' ' {
			b.text = append(b.text, c)
		}
		last = c
	}
	if last != ' ' {
		b.text = append(b.text, ' ')
	}
}

// normalizeUnicode is normalize for any text.
func (b *Buffer) normalizeUnicode(s string) {
	fold := folds()
	b.text, b.ascii = append(b.text[:0], ' '), true
	space := true
	// An Iter in the place of norm.NFKC.AppendString, which allocates.
	for b.composed.InitString(norm.NFKC, strings.ToValidUTF8(s, string(utf8.RuneError))); !b.composed.Done(); {
		for src := b.composed.Next(); len(src) > 0; {
			r, size := utf8.DecodeRune(src)
			switch {
			case r < utf8.RuneSelf:
				c := lower[r]
				if c != ' ' || !space {
					b.text = append(b.text, c)
				}
				space = c == ' '
			case unicode.IsSpace(r):
				if !space {
					b.text = append(b.text, ' ')
				}
				space = true
			default:
				if folded, ok := fold[r]; ok {
					b.text = append(b.text, folded...)
				} else {
					b.text = append(b.text, src[:size]...)
				}
				b.ascii, space = false, false
			}
			src = src[size:]
		}
	}
	if !space {
		b.text = append(b.text, ' ')
	}
}

// folds holds the characters from U+0080 that full case folding changes. Folding does not look at neighbours, so a table does what
// cases.Fold does, without its allocation for each text.
var folds = sync.OnceValue(func() map[rune]string {
	table, fold := map[rune]string{}, cases.Fold()
	add := func(lo, hi rune) {
		for r := max(lo, utf8.RuneSelf); r <= hi; r++ {
			if s := string(r); fold.String(s) != s {
				table[r] = fold.String(s)
			}
		}
	}
	for _, cased := range unicode.CaseRanges {
		add(rune(cased.Lo), rune(cased.Hi))
	}
	// Characters of one case that fold to several.
	add(0x0080, 0x0587)
	add(0x1e00, 0x1fff)
	add(0xfb00, 0xfb17)
	return table
})

// firstUnspaced is the first character of the scripts written without spaces (Thai); below it, a run of word characters is one
// word by UAX #29 too.
const firstUnspaced = 0x0E00

func isWordStart(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) || r == '_' }

// isWordPart also takes the marks, and the two joiners of Persian and of Indic scripts.
func isWordPart(r rune) bool {
	return isWordStart(r) || unicode.IsMark(r) || r == '\u200c' || r == '\u200d'
}

// splitWords fills b.words and b.ends with the words of b.text of at least minLen characters. A word is a run of letters, digits, marks
// and '_', as \w+ would find it; runs of scripts from Thai on, many of which do not use spaces, are cut by UAX #29 (so that a
// Chinese character is a word), and minLen does not bind them. With symbols, every other character but space, marks and joiners
// is a word, too.
func (b *Buffer) splitWords(minLen int, symbols bool) {
	b.words, b.ends = b.words[:0], b.ends[:0]
	text := b.text // ends in a space, so that every run of words ends before len(text)
	for i := 0; i < len(text); {
		start := i
		for wordByte[text[i]] {
			i++
		}
		if text[i] < utf8.RuneSelf {
			if i-start >= minLen {
				b.addWord(text[start:i])
			}
			if symbols && text[i] != ' ' {
				b.addWord(text[i : i+1])
			}
			i++
			continue
		}
		i = b.splitRun(start, i, minLen, symbols)
	}
}

// splitRun adds the words of the run that starts at start and is ASCII up to i, and returns where it ends.
func (b *Buffer) splitRun(start, i, minLen int, symbols bool) int {
	text, count, unspaced := b.text, i-start, false
	for {
		r, size := utf8.DecodeRune(text[i:])
		if i == start && !isWordStart(r) {
			if symbols && !isWordPart(r) {
				b.addWord(text[i : i+size])
			}
			return i + size
		}
		if !isWordPart(r) {
			break
		}
		i += size
		count++
		unspaced = unspaced || r >= firstUnspaced
	}
	if !unspaced {
		if count >= minLen {
			b.addWord(text[start:i])
		}
		return i
	}
	run, state := text[start:i], -1
	for len(run) > 0 {
		var word []byte
		word, run, state = uniseg.FirstWord(run, state)
		if r, _ := utf8.DecodeRune(word); r >= firstUnspaced || utf8.RuneCount(word) >= minLen {
			b.addWord(word)
		}
	}
	return i
}

func (b *Buffer) addWord(word []byte) {
	b.words = append(b.words, word...)
	b.ends = append(b.ends, int32(len(b.words)))
	b.words = append(b.words, ' ')
}

// span is a piece of a byte slice.
type span struct{ lo, hi int32 }

// wordGrams sets b.spans to the n-grams of shortest to longest words, as pieces of b.words.
func (b *Buffer) wordGrams(minLen int, symbols bool, shortest, longest int) {
	b.splitWords(minLen, symbols)
	b.spans = b.spans[:0]
	start := int32(0)
	for i, end := range b.ends {
		for _, last := range b.ends[min(i+shortest-1, len(b.ends)):min(i+longest, len(b.ends))] {
			b.spans = append(b.spans, span{start, last})
		}
		start = end + 1
	}
}

// charGrams sets b.spans to the n-grams of shortest to longest characters, as pieces of b.text: over the trimmed text, or, within
// words, over each space-delimited word with the spaces around it. There, as in scikit-learn, a word with its spaces that is not
// longer than an n-gram stands for itself, once.
func (b *Buffer) charGrams(withinWords bool, shortest, longest int) {
	b.spans = b.spans[:0]
	text := b.text
	if len(text) < 3 { // " a " is the shortest text that is not empty
		return
	}
	if !withinWords {
		b.slide(1, len(text)-1, shortest, longest)
		return
	}
	for start := 0; start+1 < len(text); {
		end := start + 1
		for text[end] != ' ' {
			end++
		}
		if b.slide(start, end+1, shortest, longest) < shortest {
			b.spans = append(b.spans, span{int32(start), int32(end + 1)})
		}
		start = end
	}
}

// slide adds the n-grams of text[lo:hi] to b.spans and returns how many characters text[lo:hi] has.
func (b *Buffer) slide(lo, hi, shortest, longest int) int {
	if b.ascii {
		for n := shortest; n <= min(longest, hi-lo); n++ {
			for i := lo; i+n <= hi; i++ {
				b.spans = append(b.spans, span{int32(i), int32(i + n)})
			}
		}
		return hi - lo
	}
	b.runes = b.runes[:0]
	for i := lo; i < hi; i++ {
		if utf8.RuneStart(b.text[i]) {
			b.runes = append(b.runes, int32(i))
		}
	}
	b.runes = append(b.runes, int32(hi))
	count := len(b.runes) - 1
	for n := shortest; n <= min(longest, count); n++ {
		for i := 0; i+n <= count; i++ {
			b.spans = append(b.spans, span{b.runes[i], b.runes[i+n]})
		}
	}
	return count
}

// hash sets b.keys to the hashes of the n-grams b.spans of from; mask clears the bits that feature hashing gives up.
func (b *Buffer) hash(from []byte, mask uint64) {
	b.keys = b.keys[:0]
	for _, s := range b.spans {
		b.keys = append(b.keys, xxh3.Hash(from[s.lo:s.hi])&mask)
	}
}
