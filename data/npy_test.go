package data

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNPY(t *testing.T) {
	for name, want := range map[string][][]float32{
		"half.npy":   {{0, 1, -0.5}, {65504, 0x1p-24, 0.33300781}},
		"single.npy": {{0, 1, -0.5}, {65504, 6e-8, 0.333}},
		"double.npy": {{0, 1, -0.5}, {65504, 6e-8, 0.333}},
		"big.npy":    {{0, 1, -0.5}, {65504, 6e-8, 0.333}},
	} {
		for _, content := range []string{sample(t, name), gz(sample(t, name))} {
			rows, info, err := readAll("noname", content, Options{})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if info.Format != "npy" || info.Kind != Dense || info.Rows != 2 || info.Features != 3 {
				t.Errorf("%s: %+v", name, info)
			}
			for i := range want {
				if !cmp.Equal(rows[i].Vector, want[i]) || rows[i].Line != i+1 {
					t.Errorf("%s row %d: got %v, want %v", name, rows[i].Line, rows[i].Vector, want[i])
				}
			}
		}
	}
}

func TestNPZ(t *testing.T) {
	for name, want := range map[string][]Row{
		"csr.npz":      {{Line: 1, Indices: []int32{0, 3}, Values: []float32{1.5, 2}}, {Line: 2}, {Line: 3, Indices: []int32{1}, Values: []float32{-3}}},
		"stored.npz":   {{Line: 1, Indices: []int32{0, 3}, Values: []float32{1, 2}}, {Line: 2}, {Line: 3, Indices: []int32{1}, Values: []float32{-3}}},
		"unsorted.npz": {{Line: 1, Indices: []int32{0, 2}, Values: []float32{1, 4}}},
	} {
		rows, info, err := readAll("noname", sample(t, name), Options{})
		if diff := cmp.Diff(want, rows, sameRows); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
		if info.Format != "npz" || info.Kind != Sparse || info.Rows != len(want) || info.IndexBase != "0" {
			t.Errorf("%s: %+v", name, info)
		}
	}
}

// npy makes a file with the header and float32 data.
func npy(header string, data ...float32) string {
	var b bytes.Buffer
	b.WriteString("\x93NUMPY\x01\x00")
	must(binary.Write(&b, binary.LittleEndian, uint16(len(header))))
	b.WriteString(header)
	must(binary.Write(&b, binary.LittleEndian, data))
	return b.String()
}

func npyHeader(descr, shape string) string {
	return fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n", descr, shape)
}

// npz makes an archive of int64 arrays and float32 data, as save_npz would.
func npz(shape, indptr, indices []int64, data []float32) string {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	add := func(name, header string, data any) {
		w, err := z.Create(name + ".npy")
		must(err)
		_, err = io.WriteString(w, npy(header))
		must(err)
		must(binary.Write(w, binary.LittleEndian, data))
	}
	for name, ints := range map[string][]int64{"shape": shape, "indptr": indptr, "indices": indices} {
		add(name, npyHeader("<i8", fmt.Sprintf("(%d,)", len(ints))), ints)
	}
	add("format", npyHeader("|S3", "()"), []byte("csr"))
	add("data", npyHeader("<f4", fmt.Sprintf("(%d,)", len(data))), data)
	must(z.Close())
	return b.String()
}

func TestBadArrays(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, c := range []struct{ name, content, want string }{
		{"fortran", sample(t, "fortran.npy"), "m.npy: found an array in Fortran order, want C order: numpy.ascontiguousarray makes it so"},
		{"int", sample(t, "int.npy"), "m.npy: found elements of type i4, want float16, float32 or float64"},
		{"cube", sample(t, "cube.npy"), "m.npy: found an array of shape [1 2 3], want a matrix: [rows features]"},
		{"object", sample(t, "object.npy"), `m.npy: found elements of type "'|O'", want float16, float32, float64 or integers`},
		{"nan", npy(npyHeader("<f4", "(2, 2)"), 1, 2, 3, nan), "m.npy:2: found NaN in column 1 (from 0), want finite float32 numbers"},
		{"inf", npy(npyHeader("<f4", "(1, 2)"), inf, 2), "m.npy:1: found -Inf in column 0 (from 0), want finite float32 numbers"},
		{"short", npy(npyHeader("<f4", "(2, 2)"), 1, 2, 3), "m.npy:2: found the end of the data, want [2 2], as the header says"},
		{"long", npy(npyHeader("<f4", "(1, 2)"), 1, 2, 3), "m.npy: found more data, want the shape [1 2], as the header says"},
		{"negative", npy(npyHeader("<f4", "(-1, 2)")), "m.npy: found the shape (-1, 2), want sizes that a matrix can have"},
		{"overflow", npy(npyHeader("<f4", "(4294967296, 4294967296)")), "m.npy: found the shape (4294967296, 4294967296), want sizes that a matrix can have"},
		{"wide", npy(npyHeader("<f4", "(1, 999999999)")), "m.npy: found rows of 999999999 numbers, want at most 67108864 bytes a row"},
		{"no header", npy("hello"), `m.npy: found the header "hello", want 'descr', 'fortran_order' and 'shape'`},
		{"version", "\x93NUMPY\x09\x00", "m.npy: found NumPy format version 9, want 1, 2 or 3"},
		{"cut header", npy(npyHeader("<f4", "(1, 2)"))[:20], "m.npy: found the end of the file in the header, want a whole NumPy array"},

		{"csc", sample(t, "csc.npz"), `m.npy: found a sparse matrix in the format "csc", want csr: its tocsr method makes one`},
		{"twice", sample(t, "twice.npz"), "m.npy:1: found feature id 2 twice, want each feature once"},
		{"gz", gz(sample(t, "csr.npz")), "m.npy: found an .npz file in a pipe or compressed once more, want a plain file"},
		{"cut zip", sample(t, "csr.npz")[:300], "m.npy: found zip: not a valid zip file, want a readable file"},
		{"id", npz([]int64{1, 3}, []int64{0, 1}, []int64{3}, []float32{1}), "m.npy:1: found feature id 3, want ids from 0 to 2, as the shape says"},
		{"negative id", npz([]int64{1, 3}, []int64{0, 1}, []int64{-1}, []float32{1}), "m.npy:1: found feature id -1, want ids from 0 to 2, as the shape says"},
		{"value", npz([]int64{2, 3}, []int64{0, 1, 2}, []int64{0, 2}, []float32{1, inf}), "m.npy:2: found -Inf for feature 2, want finite float32 numbers"},
		{"offsets", npz([]int64{1, 3}, []int64{0, 9}, []int64{0}, []float32{1}), "m.npy:1: found entries 0 to 9, want offsets that rise up to 1, and at most 67108864 bytes a row"},
		{"offsets fall", npz([]int64{2, 3}, []int64{0, 1, 0}, []int64{0}, []float32{1}), "m.npy:2: found entries 1 to 0, want offsets that rise up to 1, and at most 67108864 bytes a row"},
		{"offsets short", npz([]int64{1, 3}, []int64{0, 1}, []int64{0, 1}, []float32{1, 1}), "m.npy: found 1 entries in the rows, want 2, as many as there are"},
		{"rows", npz([]int64{2, 3}, []int64{0, 1}, []int64{0}, []float32{1}), "m.npy: found 2 offsets, [1] indices and [1] values, want 3 offsets, and as many indices as values"},
		{"shape", npz([]int64{1 << 40, 3}, []int64{0, 1}, []int64{0}, []float32{1}), "m.npy: found the shape (1099511627776, 3), want two sizes up to 2147483647"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := readAll("m.npy", c.content, Options{}); err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	for _, name := range []string{"half.npy", "csr.npz"} {
		_, _, err := readAll(name, sample(t, name), Options{RequireLabels: true})
		if err == nil || !strings.HasSuffix(err.Error(), "want a file of labels beside it: --labels-file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// All halfs, against the definition in IEEE 754.
func TestFloat16(t *testing.T) {
	for h := range 1 << 16 {
		exponent, fraction := h>>10&0x1f, float64(h&0x3ff)
		want := math.Ldexp(1+fraction/1024, exponent-15)
		switch {
		case exponent == 0:
			want = math.Ldexp(fraction/1024, -14)
		case exponent == 31 && fraction == 0:
			want = math.Inf(1)
		case exponent == 31:
			want = math.NaN()
		}
		if h>>15 == 1 {
			want = -want
		}
		got := float16(uint16(h))
		if math.Float32bits(got) != math.Float32bits(float32(want)) && !(got != got && want != want) {
			t.Fatalf("%#04x: got %v, want %v", h, got, want)
		}
	}
}
