package data

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gputrain/sparse"
)

// randomSparse returns the features and labels of some rows, each with one of them at least.
func randomSparse(n, features, labels int) (x, y *sparse.CSR) {
	rng := rand.New(rand.NewPCG(7, 7))
	pick := func(least, most int) []int32 {
		ids := make([]int32, least+rng.IntN(6))
		for i := range ids {
			ids[i] = int32(rng.IntN(most))
		}
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	x, y = &sparse.CSR{Cols: features}, &sparse.CSR{Cols: labels}
	x.Append([]int32{0, int32(features) - 1}, []float32{1, 0.5}) // shows where ids start
	y.Append([]int32{0, 1}, nil)
	for i := 1; i < n; i++ {
		ids := pick(i%2, features)
		values := make([]float32, len(ids))
		for k := range values {
			values[k] = rng.Float32()*2 - 1
		}
		x.Append(ids, values)
		y.Append(pick(1-i%2, labels), nil)
	}
	return x, y
}

// The same rows come out of every sparse format.
func TestSparseRoundTrips(t *testing.T) {
	x, y := randomSparse(300, 50, 9)
	files := map[string]*strings.Builder{}
	out := func(format, s string, args ...any) {
		if files[format] == nil {
			files[format] = &strings.Builder{}
		}
		fmt.Fprintf(files[format], s, args...)
	}
	var values []float32
	var indices, indptr []int64
	out("xmc", "%d %d %d\n", x.Rows(), x.Cols, y.Cols)
	for i := range x.Rows() {
		ids, vals := x.Row(i)
		labels, _ := y.Row(i)
		names := strings.Trim(strings.ReplaceAll(fmt.Sprint(labels), " ", ","), "[]")
		out("xmc", "%s", names)
		out("libsvm", "%s ", names)
		object := map[string]float32{}
		for k, id := range ids {
			out("xmc", " %d:%v", id, vals[k])
			out("libsvm", " %d:%v", id+1, vals[k])
			object[fmt.Sprint(id)] = vals[k]
			indices, values = append(indices, int64(id)), append(values, vals[k])
		}
		indptr = append(indptr, int64(len(indices)))
		out("xmc", "\n")
		out("libsvm", "\n")
		a, _ := json.Marshal(map[string]any{"features": object, "labels": labels})
		b, _ := json.Marshal(map[string]any{"features": map[string]any{"indices": ids, "values": vals}, "labels": labels})
		if len(ids) == 0 {
			b = a
		}
		out("pairs.jsonl", "%s\n", a)
		out("lists.jsonl", "%s\n", b)
		out("labels", "%s\n", strings.ReplaceAll(names, ",", "\t"))
	}
	out("npz", "%s", npz([]int64{int64(x.Rows()), int64(x.Cols)}, append([]int64{0}, indptr...), indices, values))
	for name, content := range files {
		if name == "labels" {
			continue
		}
		opt := Options{}
		if name == "npz" {
			opt.LabelsFile = writeFile(t, "labels", files["labels"].String())
		}
		s, err := Load(t.Context(), writeFile(t, "rows."+name, content.String()), opt, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := errors.Join(s.X.Check(), s.Y.Check()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if s.X.Cols != x.Cols || s.Labels.Len() != y.Cols {
			t.Errorf("%s: %d features, %d labels, want %d, %d", name, s.X.Cols, s.Labels.Len(), x.Cols, y.Cols)
		}
		for i := range x.Rows() {
			gotIDs, gotValues := s.X.Row(i)
			wantIDs, wantValues := x.Row(i)
			if !slices.Equal(gotIDs, wantIDs) || !slices.Equal(gotValues, wantValues) {
				t.Fatalf("%s row %d: got %v %v, want %v %v", name, i, gotIDs, gotValues, wantIDs, wantValues)
			}
			got, _ := s.Y.Row(i)
			want, _ := y.Row(i)
			if !slices.Equal(got, want) {
				t.Fatalf("%s row %d: got labels %v, want %v", name, i, got, want)
			}
		}
	}
}

// The same rows come out of every text format.
func TestTextRoundTrips(t *testing.T) {
	texts := []string{"plain words", "with, comma; and \"quotes\"", "中文 文本", "ends"}
	labels := [][]string{{"a", "b"}, {}, {"标签"}, {"b"}}
	var fast, jsonl, tab, comma strings.Builder
	tab.WriteString("text\tlabels\n")
	w := csv.NewWriter(&comma)
	must(w.Write([]string{"labels", "text"}))
	for i, text := range texts {
		for _, l := range labels[i] {
			fast.WriteString("__label__" + l + " ")
		}
		fast.WriteString(text + "\n")
		line, _ := json.Marshal(map[string]any{"text": text, "labels": labels[i]})
		jsonl.Write(append(line, '\n'))
		tab.WriteString(text + "\t" + strings.Join(labels[i], ";") + "\n")
		must(w.Write([]string{strings.Join(labels[i], ";"), text}))
	}
	w.Flush()
	for name, content := range map[string]string{"a.txt": fast.String(), "a.jsonl": jsonl.String(), "a.tsv": tab.String(), "a.csv": comma.String()} {
		s, err := Load(t.Context(), writeFile(t, name, content), Options{}, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(texts, s.Texts); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for i := range texts {
			if got := s.LabelsOf(i); !slices.Equal(got, labels[i]) {
				t.Errorf("%s row %d: got %q, want %q", name, i, got, labels[i])
			}
		}
		if want := []string{"a", "b", "标签"}; !cmp.Equal(s.Labels.Names(), want) || s.X != nil || s.V != nil || s.IDs != nil {
			t.Errorf("%s: %q %v %v %v", name, s.Labels.Names(), s.X, s.V, s.IDs)
		}
	}
}

func TestLoad(t *testing.T) {
	content := `{"vector": [1, 2], "labels": ["b", "a"]}` + "\n" + `{"vector": [3], "id": "x"}` + "\n" + `{"vector": [3, 4], "labels": [], "id": "y"}` + "\n" + `{"vector": [5, 6]}`
	path := writeFile(t, "v.jsonl", content)
	var rows int
	var read int64
	s, err := Load(t.Context(), path, Options{OnError: "skip"}, func(n int, b int64) { rows, read = n, b })
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.V.Float32s(), []float32{1, 2, 3, 4, 5, 6}; !slices.Equal(got, want) || !s.V.Shape().Eq([]int{3, 2}) {
		t.Errorf("V %v of shape %v", got, s.V.Shape())
	}
	if !cmp.Equal(s.IDs, []string{"", "y", ""}) || !cmp.Equal(s.Lines, []int32{1, 3, 4}) || s.Stated != 2 || s.Skipped.Count != 1 || s.Info.Skipped != 1 {
		t.Errorf("ids %q, lines %v, %d stated, %d skipped", s.IDs, s.Lines, s.Stated, s.Skipped.Count)
	}
	if rows != 3 || read != int64(len(content)) || s.Info.Size != read {
		t.Errorf("progress ended at %d rows, %d bytes", rows, read)
	}
	if want := []string{"a", "b"}; !cmp.Equal(s.LabelsOf(0), want) {
		t.Errorf("labels %q", s.LabelsOf(0))
	}
}

// A matrix of one number is still a matrix.
func TestLoadOneNumber(t *testing.T) {
	s, err := Load(t.Context(), writeFile(t, "v.npy", npy(npyHeader("<f4", "(1, 1)"), 7)), Options{}, nil)
	if err != nil || s.V.Dims() != 2 || s.V.Float32s()[0] != 7 {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := NewBatches(nil, s.V, nil, nil, 4); err != nil {
		t.Error(err)
	}
}

func TestVocabulary(t *testing.T) {
	s, err := Load(t.Context(), writeFile(t, "a.svm", "10,9 1:1\n2 1:1\n 1:1\n"), Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"2", "9", "10"}; !cmp.Equal(s.Labels.Names(), want) {
		t.Errorf("names %q, want %q", s.Labels.Names(), want)
	}
	v, err := NewVocabulary([]string{"10", "with space", "2"})
	if err != nil {
		t.Fatal(err)
	}
	y, unseen := v.EncodeSet(s)
	want := &sparse.CSR{Cols: 3, Indptr: []int64{0, 1, 2, 2}, Indices: []int32{0, 2}}
	if diff := cmp.Diff(want, y); diff != "" || !slices.Equal(unseen, []int32{1, 0, 0}) {
		t.Errorf("unseen %v (-want +got):\n%s", unseen, diff)
	}
	y2, unseen2 := v.Encode([][]string{{"10", "9"}, {"2"}, nil})
	if !cmp.Equal(y, y2) || !slices.Equal(unseen, unseen2) {
		t.Errorf("by names: %v %v, by ids: %v %v", y2, unseen2, y, unseen)
	}
	if id, ok := v.ID("with space"); id != 1 || !ok || v.Name(1) != "with space" || v.Len() != 3 {
		t.Errorf("id %d %v", id, ok)
	}
	if _, ok := v.ID("none"); ok {
		t.Error("found a label that is not there")
	}

	path := writeFile(t, "labels.txt", "")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	n, err := v.WriteTo(f)
	f.Close()
	if err != nil || n != 16 {
		t.Errorf("%d bytes, %v", n, err)
	}
	again, err := LoadVocabulary(path)
	if err != nil || !cmp.Equal(again.Names(), v.Names()) {
		t.Errorf("%v, %v", again, err)
	}

	for _, c := range []struct {
		names []string
		want  string
	}{
		{[]string{"a", "a"}, `data: labels 0 and 1 are both "a"`},
		{[]string{"a", ""}, `data: label 1 is "": want a name without line breaks`},
		{[]string{"a\nb"}, `data: label 0 is "a\nb": want a name without line breaks`},
	} {
		if _, err := NewVocabulary(c.names); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
	for content, want := range map[string]string{
		"a\nb\na\n": `:3: found label "a" again, as in line 1, want each label once`,
		"a\n\nb\n":  `:2: found an empty line, want a label`,
	} {
		path := writeFile(t, "labels.txt", content)
		if _, err := LoadVocabulary(path); err == nil || err.Error() != path+want {
			t.Errorf("got  %v\nwant %s", err, path+want)
		}
	}
}
