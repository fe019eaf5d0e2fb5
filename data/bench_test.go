package data

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// BenchmarkRead reads generated rows of about the make-up of public data sets, from memory.
func BenchmarkRead(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	var svm, jsonl, fast, comma strings.Builder
	comma.WriteString("text,labels\n")
	for range 5000 {
		fmt.Fprintf(&svm, "%d,%d", rng.IntN(5000), 5000+rng.IntN(5000))
		for id := rng.IntN(500); id < 20000; id += 1 + rng.IntN(500) {
			fmt.Fprintf(&svm, " %d:%.6g", id, rng.Float32())
		}
		svm.WriteByte('\n')
		text := strings.Repeat("some words of a sentence ", 1+rng.IntN(6))
		fmt.Fprintf(&jsonl, `{"text": "%s", "labels": ["label %d", "other %d"]}`+"\n", text, rng.IntN(1000), rng.IntN(10))
		fmt.Fprintf(&fast, "__label__%d __label__o%d %s\n", rng.IntN(1000), rng.IntN(10), text)
		fmt.Fprintf(&comma, "\"%s\",label %d;other %d\n", text, rng.IntN(1000), rng.IntN(10))
	}
	for _, c := range []struct{ format, content string }{
		{"libsvm", svm.String()}, {"xmc", svm.String()}, {"jsonl", jsonl.String()}, {"fasttext", fast.String()}, {"csv", comma.String()},
		{"tsv", strings.ReplaceAll(strings.ReplaceAll(comma.String(), ",", "\t"), `"`, "")},
	} {
		b.Run(c.format, func(b *testing.B) {
			b.SetBytes(int64(len(c.content)))
			for b.Loop() {
				r, err := NewReader(bytes.NewReader([]byte(c.content)), "b", Options{Format: c.format, IndexBase: "0"})
				if err != nil {
					b.Fatal(err)
				}
				var row Row
				for err == nil {
					err = r.Next(&row)
				}
				if err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
}
