package features

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/cases"

	"gputrain/sparse"
)

// golden is what scripts/golden/features.py writes.
type golden struct {
	Texts []struct {
		Name   string
		Config json.RawMessage // what differs from the defaults
		Texts  []string
		Rows   []map[string]float64
	}
	Weights struct{ Counts, TFIDF [][]float64 }
}

func readGolden(t testing.TB) (g golden) {
	t.Helper()
	raw, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func defaults(t testing.TB, analyzer string) Config {
	t.Helper()
	cfg, err := DefaultConfig(analyzer)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func fit(t testing.TB, texts []string, cfg Config, workers int) (*Text, *sparse.CSR) {
	t.Helper()
	text, x, err := FitText(context.Background(), texts, cfg, workers)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
	return text, x
}

func TestScikitLearn(t *testing.T) {
	for _, c := range readGolden(t).Texts {
		t.Run(c.Name, func(t *testing.T) {
			cfg := defaults(t, AnalyzerWordChar)
			if err := json.Unmarshal(c.Config, &cfg); err != nil {
				t.Fatal(err)
			}
			cfg.KeepNames = true
			text, x := fit(t, c.Texts, cfg, 2)
			for i, want := range c.Rows {
				got := map[string]float64{}
				indices, values := x.Row(i)
				for k, column := range indices {
					name := text.Name(int(column))
					if cfg.Analyzer == AnalyzerWordChar {
						if int(column) < len(text.blocks[0].keys) {
							name = "word:" + name
						} else {
							name = "char:" + name
						}
					}
					got[name] = float64(values[k])
				}
				if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= 3e-7*max(1, math.Abs(a)) })); diff != "" {
					t.Errorf("row %d %q (-scikit-learn +got):\n%s", i, c.Texts[i], diff)
				}
			}
		})
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct {
		text string
		min  int
		want string // words between bars
	}{
		{"", 1, ""},
		{" \t\n", 1, ""},
		{"Don't stop_me, 3.14!", 1, "don|t|stop_me|3|14"},
		{"Don't stop_me, 3.14!", 2, "don|stop_me|14"},
		{"STRASSE Straße ﬁne", 2, "strasse|strasse|fine"},
		{"x\u0303y z\u0303", 2, "x\u0303y|z\u0303"},
		{"\u0301\u0301 a", 1, "a"},
		{"明月光 abc明b", 2, "明|月|光|abc|明"},
		{"カタカナ ひら", 2, "カタカナ|ひ|ら"},
		{"안녕 하", 2, "안녕|하"},
		{"नमस्ते दुनिया", 2, "नमस्ते|दुनिया"},
		{"می\u200cخواهم", 2, "می\u200cخواهم"},
		{"👍 👩\u200d👩 a👍b1", 1, "a|b1"},
		{"ab\xff\xfecd \x80", 2, "ab|cd"},
	} {
		var b Buffer
		b.normalize(c.text)
		b.splitWords(c.min, false)
		var got []string
		start := int32(0)
		for _, end := range b.ends {
			got = append(got, string(b.words[start:end]))
			start = end + 1
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("words of %q, min %d: %q; want %q", c.text, c.min, strings.Join(got, "|"), c.want)
		}
	}
}

// Folding by table is cases.Fold.
func TestFold(t *testing.T) {
	fold := cases.Fold()
	for r := rune(utf8.RuneSelf); r <= unicode.MaxRune; r++ {
		s := string(r)
		want, ok := folds()[r]
		if !ok {
			want = s
		}
		if utf8.ValidRune(r) && fold.String(s) != want {
			t.Fatalf("%U folds to %q; the table has %q", r, fold.String(s), want)
		}
	}
}

// The ASCII path and the path for any text must agree, so that a word does not change its features with its neighbours.
func TestPathsAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		raw := make([]byte, random.IntN(40))
		for i := range raw {
			raw[i] = byte(random.IntN(128))
		}
		var a, b Buffer
		a.normalize(string(raw))
		b.text = []byte(" ")
		b.normalizeUnicode(string(raw))
		if string(a.text) != string(b.text) || !b.ascii {
			t.Fatalf("%q normalises to %q and to %q", raw, a.text, b.text)
		}
		a.charGrams(true, 3, 6)
		b.ascii = false
		b.charGrams(true, 3, 6)
		if !slices.Equal(a.spans, b.spans) {
			t.Fatalf("%q: spans %v and %v", raw, a.spans, b.spans)
		}
	}
}

// corpus returns texts of random words with a skewed distribution, some of them not English.
func corpus(rows int) []string {
	random := rand.New(rand.NewPCG(3, 4))
	words := make([]string, 500)
	for i := range words {
		words[i] = fmt.Sprintf("w%x", i*i)
		if i%50 == 7 {
			words[i] = string(rune('一' + i))
		}
	}
	texts := make([]string, rows)
	for i := range texts {
		for range random.IntN(30) {
			f := random.Float64()
			texts[i] += words[int(f*f*f*float64(len(words)))] + " "
		}
	}
	return texts
}

func allConfigs(t testing.TB) map[string]Config {
	configs := map[string]Config{}
	for _, analyzer := range []string{AnalyzerWord, AnalyzerChar, AnalyzerCharWB, AnalyzerWordChar} {
		configs[analyzer] = defaults(t, analyzer)
	}
	c := defaults(t, AnalyzerWordChar)
	c.HashBits, c.Norm, c.KeepNames = 10, NormJoint, true
	configs["hashed"] = c
	c = defaults(t, AnalyzerWordChar)
	c.MaxFeatures, c.IDF, c.KeepNames = 100, false, true
	configs["limited"] = c
	return configs
}

func TestSameForAnyWorkersAndAfterReload(t *testing.T) {
	texts, fresh := corpus(700), slices.Concat(corpus(900)[700:], []string{"", "never seen", "ﬁsh \xff 明月"})
	for name, cfg := range allConfigs(t) {
		t.Run(name, func(t *testing.T) {
			text, x := fit(t, texts, cfg, 1)
			var want sparse.CSR
			text.Transform(fresh, &want, 1)
			if want.Rows() != len(fresh) || want.NNZ() == 0 {
				t.Fatalf("%d rows with %d entries", want.Rows(), want.NNZ())
			}
			config, tensors, err := text.State()
			if err != nil {
				t.Fatal(err)
			}
			for _, workers := range []int{0, 2, 3, 7, 1000} {
				again, y := fit(t, texts, cfg, workers)
				sameMatrix(t, x, y)
				againConfig, againTensors, err := again.State()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tensors, againTensors); diff != "" || string(config) != string(againConfig) {
					t.Fatalf("%d workers give another state: %s", workers, diff)
				}
				var got sparse.CSR
				text.Transform(texts, &got, workers)
				sameMatrix(t, x, &got)
			}
			reloaded, err := FromState(config, tensors)
			if err != nil {
				t.Fatal(err)
			}
			var got sparse.CSR
			reloaded.(*Text).Transform(fresh, &got, 2)
			sameMatrix(t, &want, &got)
			var b Buffer
			for i, s := range fresh { // the streaming path, one buffer for all
				indices, values := want.Row(i)
				gotIndices, gotValues := reloaded.(*Text).Row(s, &b)
				if !slices.Equal(indices, gotIndices) || !slices.Equal(values, gotValues) {
					t.Fatalf("Row(%q) is not row %d of Transform", s, i)
				}
			}
			for column := range text.Features() {
				if a, b := text.Name(column), reloaded.(*Text).Name(column); a != b || (a != "") != cfg.KeepNames {
					t.Fatalf("column %d is named %q, reloaded %q", column, a, b)
				}
			}
		})
	}
}

// sameMatrix compares bits.
func sameMatrix(t *testing.T, want, got *sparse.CSR) {
	t.Helper()
	if want.Cols != got.Cols || !slices.Equal(want.Indptr, got.Indptr) || !slices.Equal(want.Indices, got.Indices) || !slices.Equal(want.Values, got.Values) {
		t.Fatalf("matrices differ: %d×%d with %d entries, %d×%d with %d", want.Rows(), want.Cols, want.NNZ(), got.Rows(), got.Cols, got.NNZ())
	}
	if err := got.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestLimits(t *testing.T) {
	texts := corpus(700)
	all, _ := fit(t, texts, defaults(t, AnalyzerWord), 2)

	cfg := defaults(t, AnalyzerWord)
	cfg.MaxFeatures = 50
	few, x := fit(t, texts, cfg, 2)
	if few.Features() != 50 {
		t.Errorf("%d features; want 50", few.Features())
	}
	// What was kept is at least as frequent as anything that was not.
	leastKept, mostDropped := int64(math.MaxInt64), int64(0)
	for _, n := range x.ColCounts() {
		leastKept = min(leastKept, n)
	}
	var full sparse.CSR
	all.Transform(texts, &full, 1)
	for column, n := range full.ColCounts() {
		if few.blocks[0].find(all.blocks[0].keys[column]) < 0 {
			mostDropped = max(mostDropped, n)
		}
	}
	if leastKept < mostDropped {
		t.Errorf("kept a feature of %d rows and dropped one of %d", leastKept, mostDropped)
	}

	cfg = defaults(t, AnalyzerWord)
	cfg.HashBits = 8
	hashed, _ := fit(t, texts, cfg, 2)
	if n := hashed.Features(); n > 256 || n < 200 {
		t.Errorf("%d features with 8 bits", n)
	}
}

// expiring is cancelled once Err was asked for so many times.
type expiring struct {
	context.Context
	left *atomic.Int64
}

func (e expiring) Err() error {
	if e.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// Whichever worker sees the end first, FitText must say so.
func TestCancelAnywhere(t *testing.T) {
	texts := corpus(2500)
	cancelled := 0
	for asks := int64(0); ; asks++ {
		left := &atomic.Int64{}
		left.Store(asks)
		text, x, err := FitText(expiring{context.Background(), left}, texts, defaults(t, AnalyzerWord), 2)
		if err == nil {
			if text == nil || x.Rows() != len(texts) {
				t.Fatalf("%d asks: no error and no result", asks)
			}
			break
		}
		if !errors.Is(err, context.Canceled) || text != nil || x != nil {
			t.Fatalf("%d asks: %v", asks, err)
		}
		cancelled++
	}
	if cancelled < 4 {
		t.Errorf("looked for the end only %d times", cancelled)
	}
}

func TestFitErrors(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := FitText(cancelled, corpus(10), defaults(t, AnalyzerWord), 2); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, texts := range [][]string{nil, {"", " "}, {"each word", "comes once"}} {
		if _, _, err := FitText(context.Background(), texts, defaults(t, AnalyzerWord), 2); err == nil || !strings.Contains(err.Error(), "no n-gram occurs in 2") {
			t.Errorf("%q: %v", texts, err)
		}
	}
	for want, change := range map[string]func(*Config){
		"analyzer":         func(c *Config) { c.Analyzer = "auto" },
		"norm":             func(c *Config) { c.Norm = "l1" },
		"word n-grams":     func(c *Config) { c.WordNGrams = [2]int{2, 1} },
		"character n-gram": func(c *Config) { c.CharNGrams = [2]int{1, 99} },
		"min-df":           func(c *Config) { c.MinDF = 0 },
		"max-features":     func(c *Config) { c.MaxFeatures = -1 },
		"hash-bits":        func(c *Config) { c.HashBits = 31 },
		"shortest word":    func(c *Config) { c.MinWordLen = 0 },
	} {
		cfg := defaults(t, AnalyzerWord)
		change(&cfg)
		if _, _, err := FitText(context.Background(), corpus(10), cfg, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := DefaultConfig("sentence"); err == nil {
		t.Error("no error for an unknown analyzer")
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		texts []string
		want  string
	}{
		{[]string{"plain English", "more of it"}, AnalyzerWordChar},
		{[]string{"床前明月光", "疑是地上霜 ABC 123"}, AnalyzerChar},
		{[]string{"これはテストです"}, AnalyzerChar},
		{[]string{"สวัสดีชาวโลก"}, AnalyzerChar},
		{[]string{"안녕하세요 세계"}, AnalyzerWordChar},
		{[]string{"an English text that names 北京 once"}, AnalyzerWordChar},
		{[]string{"Привет мир"}, AnalyzerWordChar},
		{[]string{"", "123 !!!", "\xff\xff"}, AnalyzerWordChar},
		{nil, AnalyzerWordChar},
	} {
		cfg, why := Detect(c.texts, false)
		if cfg.Analyzer != c.want || !strings.Contains(why, c.want) || cfg.check() != nil {
			t.Errorf("Detect(%q) = %s (%s); want %s", c.texts, cfg.Analyzer, why, c.want)
		}
		want := AnalyzerWord
		if c.want == AnalyzerChar { // there are no words to take
			want = AnalyzerChar
		}
		if cfg, _ := Detect(c.texts, true); cfg.Analyzer != want {
			t.Errorf("Detect(%q, words only) = %s; want %s", c.texts, cfg.Analyzer, want)
		}
	}
}

func TestRowDoesNotAllocate(t *testing.T) {
	texts := []string{"How do I cover up the white spots?", "Straße naïve café 👍 x\u0303y", "床前明月光，疑是地上霜"}
	for name, cfg := range allConfigs(t) {
		cfg.MinDF = 1
		text, _ := fit(t, texts, cfg, 1)
		var b Buffer
		for _, s := range texts {
			text.Row(s, &b)
			if n := testing.AllocsPerRun(20, func() { text.Row(s, &b) }); n != 0 {
				t.Errorf("%s: %v allocations for %q", name, n, s)
			}
		}
	}
}

func TestHostileState(t *testing.T) {
	cfg := defaults(t, AnalyzerWordChar)
	cfg.KeepNames = true
	text, _ := fit(t, corpus(50), cfg, 1)
	weights, _, err := FitWeights(counts(), WeightTFIDF)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, with string) func(string, map[string]any) string {
		return func(config string, _ map[string]any) string { return strings.Replace(config, old, with, 1) }
	}
	set := func(name string, value any) func(string, map[string]any) string {
		return func(config string, tensors map[string]any) string { tensors[name] = value; return config }
	}
	words := len(text.blocks[0].keys)
	nan := slices.Clone(text.blocks[0].idf)
	nan[3] = float32(math.NaN())
	for name, c := range map[string]struct {
		of     Encoder
		want   string
		damage func(config string, tensors map[string]any) string
	}{
		"not JSON":        {text, "state", func(string, map[string]any) string { return "{" }},
		"version":         {text, "format 2", replace(`"format": 1`, `"format": 2`)},
		"nothing":         {text, "either", func(string, map[string]any) string { return `{"format": 1}` }},
		"analyzer":        {text, "analyzer", replace(`"word+char"`, `"bytes"`)},
		"other analyzer":  {text, "blocks", replace(`"word+char"`, `"word"`)},
		"hostile size":    {text, "features", replace(`"features": `, `"features": 99999999999`)},
		"negative size":   {text, "features", replace(`"features": `, `"features": -`)},
		"wrong size":      {text, "elements", replace(`"features": `, `"features": 1`)},
		"missing":         {text, "missing", func(c string, m map[string]any) string { delete(m, "word.idf"); return c }},
		"wrong type":      {text, "[]float32", set("word.keys", make([]float32, words))},
		"keys not sorted": {text, "ascend", set("word.keys", make([]uint64, words))},
		"NaN":             {text, "NaN", set("word.idf", nan)},
		"name ends fall": {text, "ascend", func(config string, tensors map[string]any) string {
			tensors["word.name_ends"].([]int64)[5] = -1
			return config
		}},
		"name ends beyond": {text, "elements", set("char.names", []uint8("abc"))},
		"mode":             {weights, "weighting", replace(`"tf-idf"`, `"bm25"`)},
		"weights missing":  {weights, "missing", set("other", nil)},
		"weights size":     {weights, "features", replace(`"features": `, `"features": -`)},
	} {
		t.Run(name, func(t *testing.T) {
			config, tensors, err := c.of.State()
			if err != nil {
				t.Fatal(err)
			}
			if name == "weights missing" {
				delete(tensors, "weights.idf")
			}
			damaged := c.damage(string(config), tensors)
			if _, err := FromState([]byte(damaged), tensors); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want one about %q", err, c.want)
			}
		})
	}
}

func BenchmarkRow(b *testing.B) {
	texts := corpus(1000)
	text, _ := fit(b, texts, defaults(b, AnalyzerWordChar), 1)
	var buffer Buffer
	for i := 0; b.Loop(); i++ {
		text.Row(texts[i%len(texts)], &buffer)
	}
}

// FuzzText checks on any text and analyzer that nothing panics, that rows are valid, and that names lead back to their features.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a b", "Straße x\u0303", "明月 abc", "\xff\xc3", "👩\u200d👩\ufe0f", "ŉ İ ΐ \u0345", strings.Repeat("\u0301", 80), "\u2028\u0085x"} {
		f.Add(s, uint8(0))
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, s string, which uint8) {
		cfg := defaults(t, []string{AnalyzerWord, AnalyzerChar, AnalyzerCharWB, AnalyzerWordChar}[which%4])
		cfg.MinDF, cfg.KeepNames = 1, true
		text, x, err := FitText(context.Background(), []string{s, "so that there is a feature 明"}, cfg, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Check(); err != nil {
			t.Fatal(err)
		}
		var b Buffer
		indices, values := text.Row(s, &b)
		wantIndices, wantValues := x.Row(0)
		if !slices.Equal(indices, wantIndices) || !slices.Equal(values, wantValues) {
			t.Fatal("Row differs from the fitted row")
		}
		for column := range text.Features() {
			if text.Name(column) == "" {
				t.Fatalf("column %d has no name", column)
			}
		}
	})
}
