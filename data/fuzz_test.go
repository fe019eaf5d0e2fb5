package data

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// fuzz feeds an input to the reader of a format, or to detection. Whatever it holds, there must be an end, rows that keep the
// promises of Row, and errors that say where.
func fuzz(f *testing.F, format string) {
	for _, c := range good {
		if c.format == format || format == "auto" {
			f.Add([]byte(c.content), false)
			f.Add([]byte(gz(c.content)), true)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, skip bool) {
		opt := Options{Format: format, MaxLine: 1 << 16}
		if skip {
			opt.OnError = "skip"
		}
		r, err := NewReader(bytes.NewReader(content), "f", opt)
		var row Row
		for rows := 0; err == nil; rows++ {
			if err = r.Next(&row); err == nil {
				checkRow(t, r, &row)
			}
			if rows > 1<<20 {
				t.Fatal("no end")
			}
		}
		var input *InputError
		if err != io.EOF && !errors.As(err, &input) {
			t.Fatalf("%T: %v", err, err)
		}
	})
}

func checkRow(t *testing.T, r *Reader, row *Row) {
	if row.Line < 1 || len(row.Indices) != len(row.Values) || r.info.Kind == Unknown {
		t.Fatalf("%+v", row)
	}
	for k, id := range row.Indices {
		if id < 0 || k > 0 && id <= row.Indices[k-1] || r.info.Features >= 0 && int(id) >= r.info.Features {
			t.Fatalf("ids %v of %d", row.Indices, r.info.Features)
		}
	}
	for _, v := range append(row.Values, row.Vector...) {
		if !finite(v) {
			t.Fatalf("value %v", v)
		}
	}
	if r.info.Kind == Dense && len(row.Vector) != r.info.Features {
		t.Fatalf("%d of %d numbers", len(row.Vector), r.info.Features)
	}
	seen := map[string]bool{}
	for _, l := range row.Labels {
		if l == "" || seen[l] || checkText([]byte(l)) != nil {
			t.Fatalf("labels %q", row.Labels)
		}
		seen[l] = true
	}
	if checkText([]byte(row.Text)) != nil || checkText([]byte(row.ID)) != nil {
		t.Fatalf("text %q, id %q", row.Text, row.ID)
	}
}

func FuzzAuto(f *testing.F)     { fuzz(f, "auto") }
func FuzzXMC(f *testing.F)      { fuzz(f, "xmc") }
func FuzzLibSVM(f *testing.F)   { fuzz(f, "libsvm") }
func FuzzFastText(f *testing.F) { fuzz(f, "fasttext") }
func FuzzJSONL(f *testing.F)    { fuzz(f, "jsonl") }
func FuzzCSV(f *testing.F)      { fuzz(f, "csv") }
func FuzzTSV(f *testing.F)      { fuzz(f, "tsv") }

func FuzzNPY(f *testing.F) {
	f.Add([]byte(sample(f, "half.npy")), false)
	f.Add([]byte(npy(npyHeader("<f4", "(1, 2)"), 1, 2)), true)
	fuzz(f, "npy")
}

func FuzzNPZ(f *testing.F) {
	for _, name := range []string{"csr.npz", "stored.npz", "unsorted.npz", "csc.npz"} {
		f.Add([]byte(sample(f, name)), false)
	}
	fuzz(f, "npz")
}
