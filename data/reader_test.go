package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// readAll reads all rows; what they hold is copied.
func readAll(name, content string, opt Options) (rows []Row, info Info, err error) {
	r, err := NewReader(bytes.NewReader([]byte(content)), name, opt)
	if err != nil {
		return nil, Info{}, err
	}
	defer r.Close()
	for {
		var row Row
		if err := r.Next(&row); err == io.EOF {
			return rows, r.Info(), nil
		} else if err != nil {
			return rows, r.Info(), err
		}
		rows = append(rows, row)
	}
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// must stops the test at what cannot fail, such as writing to memory.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func gz(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.WriteString(z, s)
	must(err)
	must(z.Close())
	return b.String()
}

func zst(s string) string {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	must(err)
	_, err = io.WriteString(z, s)
	must(err)
	must(z.Close())
	return b.String()
}

var sameRows = cmp.Options{cmpopts.IgnoreUnexported(Row{}), cmpopts.EquateEmpty()}

// good are inputs of every format, each with the format and the rows that must come out.
var good = []struct {
	name, file, content string
	opt                 Options
	format              string
	kind                Kind
	base                string
	want                []Row
}{
	{
		name: "xmc with header", file: "a.txt", content: "3 5 4\n0,2 0:1 4:0.5\n 1:-2\n3 2:1e-3\n",
		format: "xmc", kind: Sparse, base: "0",
		want: []Row{
			{Line: 2, Indices: []int32{0, 4}, Values: []float32{1, 0.5}, Labels: []string{"0", "2"}, HasLabels: true},
			{Line: 3, Indices: []int32{1}, Values: []float32{-2}},
			{Line: 4, Indices: []int32{2}, Values: []float32{0.001}, Labels: []string{"3"}, HasLabels: true},
		},
	},
	{
		name: "xmc from 1, found by id D", file: "a.txt", content: "2 5 4\n4,2 1:1 5:0.5\n1 2:1\n",
		format: "xmc", kind: Sparse, base: "1",
		want: []Row{
			{Line: 2, Indices: []int32{0, 4}, Values: []float32{1, 0.5}, Labels: []string{"4", "2"}, HasLabels: true},
			{Line: 3, Indices: []int32{1}, Values: []float32{1}, Labels: []string{"1"}, HasLabels: true},
		},
	},
	{
		name: "xmc without header, unsorted, blanks", file: "a.xmc", content: "\n7  3:1\t1:2 \n\n8 2:1",
		format: "xmc", kind: Sparse, base: "0",
		want: []Row{
			{Line: 2, Indices: []int32{1, 3}, Values: []float32{2, 1}, Labels: []string{"7"}, HasLabels: true},
			{Line: 4, Indices: []int32{2}, Values: []float32{1}, Labels: []string{"8"}, HasLabels: true},
		},
	},
	{
		name: "xmc blank rows", file: "a.txt", content: "3 2 1\n0 0:1\n\n\n\n\n",
		format: "xmc", kind: Sparse, base: "0",
		want: []Row{
			{Line: 2, Indices: []int32{0}, Values: []float32{1}, Labels: []string{"0"}, HasLabels: true},
			{Line: 3}, {Line: 4},
		},
	},
	{
		name: "xmc first row is a pair", file: "a.xmc", content: "0:1 1:1\n", format: "xmc", kind: Sparse, base: "0",
		want: []Row{{Line: 1, Indices: []int32{0, 1}, Values: []float32{1, 1}}},
	},
	{
		name: "libsvm", file: "a.txt", content: "# made by hand\n1,3 1:1 4:0.25 # a note\n+1 2:1\n", opt: Options{Format: "libsvm"},
		format: "libsvm", kind: Sparse, base: "1",
		want: []Row{
			{Line: 2, Indices: []int32{0, 3}, Values: []float32{1, 0.25}, Labels: []string{"1", "3"}, HasLabels: true},
			{Line: 3, Indices: []int32{1}, Values: []float32{1}, Labels: []string{"+1"}, HasLabels: true},
		},
	},
	{
		name: "libsvm from 0, found in a later line", file: "a.txt", content: "1,3 1:1\n-1 0:1\n",
		format: "libsvm", kind: Sparse, base: "0",
		want: []Row{
			{Line: 1, Indices: []int32{1}, Values: []float32{1}, Labels: []string{"1", "3"}, HasLabels: true},
			{Line: 2, Indices: []int32{0}, Values: []float32{1}, Labels: []string{"-1"}, HasLabels: true},
		},
	},
	{
		name: "libsvm from 0 on request", file: "a.svm", content: "1 1:1\n", opt: Options{IndexBase: "0"},
		format: "libsvm", kind: Sparse, base: "0",
		want: []Row{{Line: 1, Indices: []int32{1}, Values: []float32{1}, Labels: []string{"1"}, HasLabels: true}},
	},
	{
		name: "fasttext", file: "a.txt", content: "__label__cast-iron __label__stove How do I, like, clean it?\nno label here\n  \n__label__x\nin __label__y the  middle\n",
		format: "fasttext", kind: Text,
		want: []Row{
			{Line: 1, Text: "How do I, like, clean it?", Labels: []string{"cast-iron", "stove"}, HasLabels: true},
			{Line: 2, Text: "no label here"},
			{Line: 4, Labels: []string{"x"}, HasLabels: true},
			{Line: 5, Text: "in the middle", Labels: []string{"y"}, HasLabels: true},
		},
	},
	{
		name: "plain text with BOM and CRLF", file: "-", content: "\ufeffeine Zeile\r\n二行目\r\n", format: "fasttext", kind: Text,
		want: []Row{{Line: 1, Text: "eine Zeile"}, {Line: 2, Text: "二行目"}},
	},
	{
		name: "plain text that speaks of text", file: "a.txt", content: "My title, text, body\n", format: "fasttext", kind: Text,
		want: []Row{{Line: 1, Text: "My title, text, body"}},
	},
	{
		name: "jsonl text", file: "a.json", format: "jsonl", kind: Text,
		content: `{"text": "a \"b\" \u00e4\ud83d\ude00", "labels": ["x, y: z", "tab\there"], "id": 7, "more": {"deep": [1, {}]}}` + "\n\n" +
			`{"labels": [], "id": "r2", "text": ""}` + "\r\n" + `{"text": "c", "label": "one"}` + "\n" + `{"text": "d", "labels": 3}` + "\n" +
			`{"text": "e", "labels": null}` + "\n" + `{"text": "f", "labels": [1, 2.5]}`,
		want: []Row{
			{Line: 1, ID: "7", HasID: true, Text: `a "b" ä😀`, Labels: []string{"x, y: z", "tab\there"}, HasLabels: true},
			{Line: 3, ID: "r2", HasID: true, HasLabels: true},
			{Line: 4, Text: "c", Labels: []string{"one"}, HasLabels: true},
			{Line: 5, Text: "d", Labels: []string{"3"}, HasLabels: true},
			{Line: 6, Text: "e"},
			{Line: 7, Text: "f", Labels: []string{"1", "2.5"}, HasLabels: true},
		},
	},
	{
		name: "jsonl with other keys", file: "a.jsonl", content: `{"body": "a", "tags": "x; y", "_id": "q", "text": 5}`, format: "jsonl", kind: Text,
		opt:  Options{TextColumn: "body", LabelColumns: []string{"tags"}, IDColumn: "_id", LabelSep: ";"},
		want: []Row{{Line: 1, ID: "q", HasID: true, Text: "a", Labels: []string{"x", "y"}, HasLabels: true}},
	},
	{
		name: "jsonl features", file: "a.jsonl", format: "jsonl", kind: Sparse, base: "0",
		content: `{"features": {"5": 0.5, "2": 1}, "labels": ["a"]}` + "\n" + `{"features": {"values": [1.5, -2], "indices": [0, 9]}}` + "\n" + `{"features": {}}`,
		want: []Row{
			{Line: 1, Indices: []int32{2, 5}, Values: []float32{1, 0.5}, Labels: []string{"a"}, HasLabels: true},
			{Line: 2, Indices: []int32{0, 9}, Values: []float32{1.5, -2}},
			{Line: 3},
		},
	},
	{
		name: "jsonl vector", file: "a.jsonl", content: `{"vector": [1, -0.5, 1e-3]}` + "\n" + `{"vector": [0, 0, 0]}`, format: "jsonl", kind: Dense,
		want: []Row{{Line: 1, Vector: []float32{1, -0.5, 0.001}}, {Line: 2, Vector: []float32{0, 0, 0}}},
	},
	{
		name: "csv", file: "a.csv", format: "csv", kind: Text,
		content: "ID,Title,Tags\n1,\"two\nlines, \"\"quoted\"\"\",a; b c\r\n2,plain,\n3,x,d\n",
		want: []Row{
			{Line: 2, ID: "1", HasID: true, Text: "two\nlines, \"quoted\"", Labels: []string{"a", "b c"}, HasLabels: true},
			{Line: 4, ID: "2", HasID: true, Text: "plain", HasLabels: true},
			{Line: 5, ID: "3", HasID: true, Text: "x", Labels: []string{"d"}, HasLabels: true},
		},
	},
	{
		name: "csv by content, semicolons", file: "a.txt", content: "text;label\nhello, you;a,b\n", format: "csv", kind: Text,
		want: []Row{{Line: 2, Text: "hello, you", Labels: []string{"a", "b"}, HasLabels: true}},
	},
	{
		name: "csv of indicators", file: "a.csv", content: "id,comment_text,toxic,insult\n9,bad,1,1\n8,fine,0,0\n", format: "csv", kind: Text,
		opt: Options{LabelColumns: []string{"toxic", "insult"}},
		want: []Row{
			{Line: 2, ID: "9", HasID: true, Text: "bad", Labels: []string{"toxic", "insult"}, HasLabels: true},
			{Line: 3, ID: "8", HasID: true, Text: "fine", HasLabels: true},
		},
	},
	{
		name: "csv without labels", file: "a.csv", content: "text\nhello\n", format: "csv", kind: Text,
		want: []Row{{Line: 2, Text: "hello"}},
	},
	{
		name: "tsv", file: "a.txt", content: "text\tlabels\nsay \"hi\tx|y, z\n\t\n", format: "tsv", kind: Text,
		want: []Row{
			{Line: 2, Text: `say "hi`, Labels: []string{"x", "y, z"}, HasLabels: true},
			{Line: 3, HasLabels: true},
		},
	},
}

func TestGood(t *testing.T) {
	for _, pack := range []struct {
		name string
		by   func(string) string
	}{{"", func(s string) string { return s }}, {"gzip", gz}, {"zstd", zst}} {
		for _, c := range good {
			t.Run(strings.TrimSpace(pack.name+" "+c.name), func(t *testing.T) {
				rows, info, err := readAll(c.file, pack.by(c.content), c.opt)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, rows, sameRows); diff != "" {
					t.Errorf("rows (-want +got):\n%s", diff)
				}
				if info.Format != c.format || info.Kind != c.kind || info.IndexBase != c.base || info.Compression != pack.name {
					t.Errorf("format %q kind %q base %q compression %q, want %q %q %q %q",
						info.Format, info.Kind, info.IndexBase, info.Compression, c.format, c.kind, c.base, pack.name)
				}
			})
		}
	}
}

func TestBad(t *testing.T) {
	huge := strings.Repeat("x", 3<<20)
	for _, c := range []struct {
		name, file, content string
		opt                 Options
		want                string
	}{
		{"empty", "a.txt", "", Options{}, `a.txt: found an empty file, want rows`},
		{"empty gz", "a.gz", gz(""), Options{}, `a.gz: found an empty file in gzip, want rows`},
		{"blank", "a.jsonl", "\n\n", Options{}, `a.jsonl: found no rows, want rows`},
		{"binary", "a.txt", "\x7fELF\x02\x01\x01\x00\x00\xff", Options{}, `a.txt: found a binary file, want fasttext text`},
		{"utf-16", "a.csv", "\xff\xfet\x00e\x00x\x00t\x00", Options{}, `a.csv: found UTF-16 text, want UTF-8 text`},
		{"utf-8", "a.txt", "good\nbad \xff byte\n", Options{}, `a.txt:2: found byte 0xff at byte 5 of the line, want UTF-8 text`},
		{"nul", "a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"\x00\"}\n", Options{}, `a.jsonl:2: found a NUL byte at byte 11 of the line, want text`},
		{"long line", "a.jsonl", `{"text": "a"}` + "\n" + huge + "\n", Options{MaxLine: 1 << 20}, `a.jsonl:2: found a line of 3145729 bytes, want at most 1048576 bytes a line`},
		{"truncated gz", "a.gz", gz("one\ntwo\n" + huge)[:40], Options{}, `a.gz:3: found the end of the gzip data too early, want a whole gzip file`},
		{"truncated zstd", "a.zst", zst("one\ntwo\n" + huge)[:20], Options{Format: "fasttext"}, `a.zst:1: found the end of the zstd data too early, want a whole zstd file`},
		{"corrupt gz", "a.gz", "\x1f\x8b not really", Options{}, `a.gz: found gzip: invalid header, want a whole gzip file`},

		{"xmc too few rows", "a.txt", "3 4 2\n0 1:1\n1 2:1\n", Options{}, `a.txt: found 2 rows, want 3, as the header says`},
		{"xmc too many rows", "a.txt", "1 4 2\n0 1:1\n1 2:1\n", Options{}, `a.txt: found 2 rows, want 1, as the header says`},
		{"xmc feature out of range", "a.txt", "1 4 2\n0 0:1 5:1\n", Options{}, `a.txt:2: found feature id 5, want ids from 0 to 3, as the header says`},
		{"xmc both 0 and D", "a.txt", "1 4 2\n0 0:1 4:1\n", Options{}, `a.txt:2: found feature id 4, want ids from 0 to 3, as the header says; where they start at 1, say --index-base 1`},
		{"xmc 0 in base 1", "a.txt", "1 4 2\n0 0:1 2:1\n", Options{IndexBase: "1"}, `a.txt:2: found feature id 0, want ids from 1; where they start at 0, say --index-base 0`},
		{"xmc label out of range", "a.txt", "1 4 2\n3 0:1\n", Options{}, `a.txt:2: found label id 3, want at most 2 different ids from 0 or 1, as the header says`},
		{"xmc labels 0 and L", "a.txt", "2 4 2\n0 0:1\n2 1:1\n", Options{}, `a.txt:3: found label id 2, want at most 2 different ids from 0 or 1, as the header says`},
		{"xmc label twice", "a.txt", "1 4 2\n1,1 0:1\n", Options{}, `a.txt:2: found label "1" twice, want each label once`},
		{"xmc label of no digits", "a.txt", "1 4 2\nx 0:1\n", Options{}, `a.txt:2: found label "x", want a label id of digits`},
		{"xmc empty label", "a.txt", "1 4 2\n0, 0:1\n", Options{}, `a.txt:2: found label "", want a label id of digits`},
		{"xmc huge size", "a.txt", "1 99999999999 2\n", Options{}, `a.txt:1: found the size "99999999999" in the header, want at most 2147483647`},
		{"xmc feature twice", "a.txt", "1 4 2\n0 2:1 1:1 2:3\n", Options{}, `a.txt:2: found feature id 2 twice, want each feature once`},
		{"xmc nan", "a.txt", "1 4 2\n0 2:NaN\n", Options{}, `a.txt:2: found value "NaN" of feature 2, want a finite number`},
		{"xmc inf", "a.txt", "1 4 2\n0 2:1e39\n", Options{}, `a.txt:2: found value "1e39" of feature 2, want a finite number`},
		{"xmc no value", "a.txt", "1 4 2\n0 2:\n", Options{}, `a.txt:2: found value "" of feature 2, want a finite number`},
		{"xmc no pair", "a.txt", "1 4 2\n0 2\n", Options{}, `a.txt:2: found "2", want id:value with an id of digits`},
		{"xmc negative id", "a.txt", "1 4 2\n0 -1:2\n", Options{}, `a.txt:2: found "-1:2", want id:value with an id of digits`},
		{"libsvm late 0", "a.svm", "1 1:1\n" + strings.Repeat("1 2:1\n", 200000) + "1 0:1\n", Options{}, `a.svm:200002: found feature id 0, want ids from 1; where they start at 0, say --index-base 0`},
		{"libsvm feature twice from 1", "a.svm", "1 3:1 3:1\n", Options{}, `a.svm:1: found feature id 3 twice, want each feature once`},
		{"libsvm large id", "a.svm", "1 2147483648:1\n", Options{}, `a.svm:1: found feature id 2147483648, want at most 2147483647`},
		{"libsvm qid", "a.svm", "1 qid:4 1:1\n", Options{}, `a.svm:1: found "qid:4", want id:value with an id of digits`},

		{"fasttext label twice", "a.txt", "__label__a __label__a x\n", Options{}, `a.txt:1: found label "a" twice, want each label once`},
		{"fasttext empty label", "a.txt", "__label__ x\n", Options{}, `a.txt:1: found an empty label, want a name`},
		{"no labels at all", "a.txt", "x\ny\n", Options{RequireLabels: true}, `a.txt: found no labels in 2 rows, want labelled rows`},

		{"jsonl array", "a.json", "[1]\n", Options{}, `a.json: found a JSON array, want one JSON object a line`},
		{"jsonl not an object", "a.jsonl", "17\n", Options{}, `a.jsonl:1: found a number as the line, want an object`},
		{"jsonl text type", "a.jsonl", `{"text": 1}`, Options{}, `a.jsonl:1: found a number as text, want a string`},
		{"jsonl label type", "a.jsonl", `{"text": "a", "labels": [true]}`, Options{}, `a.jsonl:1: found a boolean as label, want a string`},
		{"jsonl labels type", "a.jsonl", `{"text": "a", "labels": {"a": 1}}`, Options{}, `a.jsonl:1: found an object as label, want a string`},
		{"jsonl label twice", "a.jsonl", `{"text": "a", "labels": ["x", "y", "x"]}`, Options{}, `a.jsonl:1: found label "x" twice, want each label once`},
		{"jsonl label with a break", "a.jsonl", `{"text": "a", "labels": ["x\ny"]}`, Options{}, `a.jsonl:1: found label "x\ny", want a label without line breaks`},
		{"jsonl label and labels", "a.jsonl", `{"text": "a", "labels": ["x"], "label": "x"}`, Options{}, `a.jsonl:1: found labels under two keys, want one of labels, label`},
		{"jsonl nul", "a.jsonl", `{"text": "a\u0000"}`, Options{}, `a.jsonl:1: found a NUL character in the text, want text`},
		{"jsonl no row", "a.jsonl", `{"title": "a"}`, Options{}, `a.jsonl:1: found none of "text", "features", "vector", want one of them; --text-column names another key for the text`},
		{"jsonl two kinds", "a.jsonl", `{"text": "a", "vector": [1]}`, Options{}, `a.jsonl:1: found both "text" and "vector", want one of them`},
		{"jsonl other kind", "a.jsonl", `{"text": "a"}` + "\n" + `{"vector": [1]}`, Options{}, `a.jsonl:2: found a row with "vector", want "text", as in the first row`},
		{"jsonl vector length", "a.jsonl", `{"vector": [1, 2]}` + "\n" + `{"vector": [1]}`, Options{}, `a.jsonl:2: found a vector of 1 numbers, want 2, as in the first row`},
		{"jsonl empty vector", "a.jsonl", `{"vector": []}`, Options{}, `a.jsonl:1: found a vector of 0 numbers, want 1, as in the first row`},
		{"jsonl large number", "a.jsonl", `{"vector": [1e99]}`, Options{}, `a.jsonl:1: found the number "1e99" in vector, want a number that a float32 can hold`},
		{"jsonl feature id", "a.jsonl", `{"features": {"x": 1}}`, Options{}, `a.jsonl:1: found feature id "x", want a number from 0 to 2147483646`},
		{"jsonl negative index", "a.jsonl", `{"features": {"indices": [-1], "values": [1]}}`, Options{}, `a.jsonl:1: found feature id "-1", want a number from 0 to 2147483646`},
		{"jsonl lengths", "a.jsonl", `{"features": {"indices": [1, 2], "values": [1]}}`, Options{}, `a.jsonl:1: found 2 feature ids and 1 values, want as many "values" as "indices", or {"id": value}`},
		{"jsonl no labels", "a.jsonl", `{"text": "a"}`, Options{RequireLabels: true}, `a.jsonl:1: found no labels, want labels, be it an empty set`},
		{"jsonl two objects", "a.jsonl", `{"text": "a"} {"text": "b"}`, Options{}, `a.jsonl:1: found more after the object's end at byte 13 of the line, want one JSON object a line`},

		{"csv columns", "a.csv", "name,stars\nx,3\n", Options{}, `a.csv:1: found the columns name, stars, want one named "text" or "title"; --text-column names another`},
		{"csv no such column", "a.csv", "text,stars\nx,3\n", Options{LabelColumns: []string{"tag"}}, `a.csv:1: found the columns text, stars, want the label column "tag"`},
		{"csv column twice", "a.csv", "text,tags,text\nx,3,y\n", Options{}, `a.csv:1: found two columns "text", want one`},
		{"csv no labels", "a.csv", "text,stars\nx,3\n", Options{RequireLabels: true}, `a.csv:1: found the columns text, stars, want one named "labels" or "tags"; --label-column names another`},
		{"csv width", "a.csv", "text,tags\nx,3,4\n", Options{}, `a.csv:2: found 3 columns, want 2, as in the header`},
		{"csv quote", "a.csv", "text,tags\na\"b,3\n", Options{}, `a.csv:2: found bare " in non-quoted-field at byte 2 of line 2, want fields as in RFC 4180`},
		{"csv open quote", "a.csv", "text,tags\n\"a,3\n" + huge, Options{MaxLine: 1 << 20}, `a.csv:2: found a record of more than 1048576 bytes, want shorter ones; perhaps a quote is not closed`},
		{"csv utf-8", "a.csv", "text,tags\nx,3\n\xff,3\n", Options{}, `a.csv:3: found byte 0xff at byte 1 of the line, want UTF-8 text`},
		{"csv header only", "a.csv", "text,tags\n", Options{}, `a.csv: found no rows, want rows`},
		{"csv label twice", "a.csv", "text,tags\nx,a;a\n", Options{}, `a.csv:2: found label "a" twice, want each label once`},
		{"csv empty label", "a.csv", "text,tags\nx,a;;b\n", Options{}, `a.csv:2: found an empty label, want a name`},
		{"csv trailing separator", "a.csv", "text,tags\nx,a;\n", Options{}, `a.csv:2: found labels that end with a separator: "a;", want a label after it`},
		{"csv indicator", "a.csv", "text,p,q\nx,1,0\ny,2,0\n", Options{LabelColumns: []string{"p", "q"}}, `a.csv:3: found "2" in column "p", want 0 or 1, as in the first row`},
		{"tsv width", "a.tsv", "text\ttags\nx\n", Options{}, `a.tsv:2: found 1 columns, want 2, as in the header`},

		{"first few", "a.svm", strings.Repeat("1 x\n", 7), Options{}, "a.svm:1: found \"x\", want id:value with an id of digits\n" +
			"a.svm:2: found \"x\", want id:value with an id of digits\na.svm:3: found \"x\", want id:value with an id of digits\n" +
			"a.svm:4: found \"x\", want id:value with an id of digits\na.svm:5: found \"x\", want id:value with an id of digits\n" +
			"and 2 more like these: 7 errors in all"},
		{"max errors", "a.svm", "1 1:1\n" + strings.Repeat("1 x\n", 3), Options{OnError: "skip", MaxErrors: 1}, "a.svm:2: found \"x\", want id:value with an id of digits\n" +
			"a.svm:3: found \"x\", want id:value with an id of digits\ngiving up after 2 bad rows (--max-errors 1)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := readAll(c.file, c.content, c.opt)
			if err == nil {
				t.Fatalf("no error, want %s", c.want)
			}
			if err.Error() != c.want {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
			var input *InputError
			if !errors.As(err, &input) {
				t.Errorf("%T holds no *InputError", err)
			}
		})
	}
}

// The words of the JSON library may change; what matters is that its faults come with line and byte.
func TestBadJSON(t *testing.T) {
	for _, line := range []string{`{"text": "a"`, `{"text" "a"}`, `{"text": "a",}`, `{"text": "a", "text": "b"}`, `{"text": "\ud800"}`, `{"vector": [1`, `{`, `{"vector": [NaN]}`} {
		_, _, err := readAll("a.jsonl", `{"text": "good"}`+"\n"+line+"\n", Options{})
		if err == nil || !strings.HasPrefix(err.Error(), "a.jsonl:2: found ") || !strings.Contains(err.Error(), " at byte ") {
			t.Errorf("%s: got %v", line, err)
		}
	}
}

func TestOptionsAndFiles(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		path string
		opt  Options
		want string
	}{
		{dir, Options{}, dir + ": found a directory, want a file"},
		{"a", Options{Format: "parquet", OnError: "ignore"}, "--format parquet: want one of auto, xmc, libsvm, fasttext, jsonl, csv, tsv, npy, npz\n--on-error ignore: want one of fail, skip"},
		{"a", Options{IndexBase: "2"}, "--index-base 2: want one of auto, 0, 1"},
	} {
		if _, err := Open(c.path, c.opt); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
	if _, err := Open(filepath.Join(dir, "none"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want a missing file", err)
	}
}

func TestSkip(t *testing.T) {
	r, err := NewReader(strings.NewReader("1 1:1\n1 x\n2 2:1\n2 y\n"), "a.svm", Options{OnError: "skip"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var lines []int
	var row Row
	for err = r.Next(&row); err == nil; err = r.Next(&row) {
		lines = append(lines, row.Line)
	}
	if err != io.EOF || !cmp.Equal(lines, []int{1, 3}) || r.Info().Skipped != 2 || r.Errors().First[1].Line != 4 {
		t.Errorf("rows of lines %v, %d skipped, %v: want lines 1 and 3, 2 skipped, EOF", lines, r.Info().Skipped, err)
	}
	if err := r.Next(&row); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// Under "fail", a bad row is reported when it is met, but not before the rows ahead of it were handed out.
func TestFailAfterGoodRows(t *testing.T) {
	rows, _, err := readAll("a.svm", "1 1:1\n1 x\n2 2:1\n", Options{})
	if len(rows) != 1 || err == nil {
		t.Errorf("%d rows, %v: want 1 and an error", len(rows), err)
	}
}

func TestStdin(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func(f *os.File) { os.Stdin = f }(os.Stdin)
	os.Stdin = in
	defer out.Close()
	_, err = fmt.Fprintln(out, `{"text": "first"}`)
	must(err)
	r, err := Open("-", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var row Row
	if err := r.Next(&row); err != nil || row.Text != "first" { // while the pipe is still open
		t.Fatalf("%+v, %v", row, err)
	}
	_, err = fmt.Fprintln(out, `{"text": 2}`)
	must(err)
	out.Close()
	if err := r.Next(&row); err == nil || err.Error() != "stdin:2: found a number as text, want a string" {
		t.Errorf("got %v", err)
	}
	if info := r.Info(); info.File != "stdin" || info.Size != -1 || info.Format != "jsonl" {
		t.Errorf("%+v", info)
	}
}

func TestLabelNames(t *testing.T) {
	names := writeFile(t, "names.txt", "alpha\nbeta, too\ngamma\n")
	rows, info, err := readAll("a.txt", "2 3 3\n0,1 1:1\n2 2:1\n", Options{LabelNames: names})
	if err != nil || !cmp.Equal(rows[0].Labels, []string{"alpha", "beta, too"}) || info.LabelBase != "0" {
		t.Errorf("%v, base %q, %v", rows, info.LabelBase, err)
	}
	rows, info, err = readAll("a.svm", "1,3 1:1\n2 2:1\n", Options{LabelNames: names})
	if err != nil || !cmp.Equal(rows[0].Labels, []string{"alpha", "gamma"}) || info.LabelBase != "1" {
		t.Errorf("%v, base %q, %v", rows, info.LabelBase, err)
	}
	for content, want := range map[string]string{
		"1 3 4\n0 1:1\n":     names + ": found 3 names, want 4, the number of labels in the header of a.txt",
		"1 3 3\n0,3 1:1\n":   "a.txt:2: found label id 3, want ids from 0 to 2, as " + names + " has names; where they start at 1, say --label-base 1",
		"1 3 3\n7 1:1\n":     "a.txt:2: found label id 7, want ids from 0 to 2, as " + names + " has names",
		"1 3 3\nalpha 1:1\n": `a.txt:2: found label "alpha", want a label id of digits`,
	} {
		if _, _, err := readAll("a.txt", content, Options{LabelNames: names}); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestLabelsFile(t *testing.T) {
	labels := writeFile(t, "labels.txt", gz("a b\tc\n\nd\n"))
	rows, _, err := readAll("a.txt", "one\ntwo\nthree\n", Options{LabelsFile: labels, RequireLabels: true})
	want := []Row{
		{Line: 1, Text: "one", Labels: []string{"a b", "c"}, HasLabels: true},
		{Line: 2, Text: "two", HasLabels: true},
		{Line: 3, Text: "three", Labels: []string{"d"}, HasLabels: true},
	}
	if diff := cmp.Diff(want, rows, sameRows); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	twice := writeFile(t, "twice.txt", "a\t\tb\n")
	for _, c := range []struct{ file, content, want string }{
		{labels, "one\ntwo\n", labels + ": found more than 2 lines, want one line for each of the 2 rows of a.txt"},
		{labels, "1\n2\n3\n4\n", labels + ": found 3 lines, want one line for each row of a.txt, which has more"},
		{labels, "__label__x one\ntwo\nthree\n", "a.txt:1: found labels in the row, want labels in " + labels + " only"},
		{twice, "one\n", "a.txt:1: found an empty label (" + twice + ":1), want a name"},
	} {
		if _, _, err := readAll("a.txt", c.content, Options{LabelsFile: c.file}); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
	// A skipped row takes its line of labels with it.
	rows, _, err = readAll("a.jsonl", `{"text": "one"}`+"\nbroken\n"+`{"text": "three"}`, Options{LabelsFile: labels, OnError: "skip"})
	if err != nil || len(rows) != 2 || !cmp.Equal(rows[1].Labels, []string{"d"}) {
		t.Errorf("%v, %v", rows, err)
	}
}

func TestRowMemoryIsReused(t *testing.T) {
	names := writeFile(t, "names.txt", "a\nb\nc\nd\n")
	rows := strings.Repeat("1,2,3 1:1 2:0.5 3:0.25 4:7 5:8\n", 1000)
	for _, c := range []struct {
		file, content string
		opt           Options
	}{
		{"a.svm", rows, Options{}},
		{"a.xmc", "1000 6 4\n" + rows, Options{}},
		{"a.xmc", "1000 6 4\n" + rows, Options{LabelNames: names}},
	} {
		r, err := NewReader(strings.NewReader(c.content), c.file, c.opt)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		var row Row
		if err := r.Next(&row); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(500, func() {
			if err := r.Next(&row); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s %+v: %v allocations a row", c.file, c.opt, n)
		}
	}
}

func TestLoadCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Load(ctx, writeFile(t, "a.txt", "x\n"), Options{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
