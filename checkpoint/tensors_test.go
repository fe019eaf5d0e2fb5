package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// sample has every type that has a Go form, a raw one, a scalar, an empty tensor, and values at the ends of their ranges.
func sample() []Tensor {
	return []Tensor{
		NewTensor("u8", []uint8{0, 1, 255}, 3),
		NewTensor("w", []float32{1, -2.5, float32(math.Inf(1)), math.SmallestNonzeroFloat32, math.MaxFloat32, 0}, 2, 3),
		NewTensor("scalar", []float64{math.Pi}),
		NewTensor("empty", []float32{}, 0, 7),
		NewTensor("i32", []int32{math.MinInt32, -1, math.MaxInt32}, 3, 1),
		NewTensor("i64", []int64{math.MinInt64, math.MaxInt64}, 2),
		NewTensor("rng \"state\" é", []uint64{math.MaxUint64, 1}, 1, 2, 1),
		{Name: "bf16", DType: BF16, Shape: []int{1}, Data: []byte{0x80, 0x3f}},
	}
}

func encodeTensors(t testing.TB, tensors []Tensor, metadata map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := WriteTensors(&buf, tensors, metadata); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func writeFile(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.safetensors")
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTensorsRoundTrip(t *testing.T) {
	f, err := OpenTensors(writeFile(t, encodeTensors(t, sample(), map[string]string{"made by": "test"})))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if diff := cmp.Diff(map[string]string{"made by": "test"}, f.Metadata()); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	// By falling element size, then by name.
	if want := []string{"i64", "rng \"state\" é", "scalar", "empty", "i32", "w", "bf16", "u8"}; !slices.Equal(want, f.Names()) {
		t.Errorf("names %q, want %q", f.Names(), want)
	}
	check := func(name string, want any, shape []int, got any, gotShape []int, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff([]any{want, shape}, []any{got, gotShape}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, want := range sample() {
		switch want.DType {
		case F64:
			got, shape, err := f.Float64(want.Name)
			check(want.Name, []float64{math.Pi}, []int{}, got, shape, err)
		case F32:
			got, shape, err := f.Float32(want.Name)
			check(want.Name, decode[float32](want.Data), want.Shape, got, shape, err)
		case I64:
			got, shape, err := f.Int64(want.Name)
			check(want.Name, []int64{math.MinInt64, math.MaxInt64}, want.Shape, got, shape, err)
		case I32:
			got, shape, err := f.Int32(want.Name)
			check(want.Name, []int32{math.MinInt32, -1, math.MaxInt32}, want.Shape, got, shape, err)
		case U64:
			got, shape, err := f.Uint64(want.Name)
			check(want.Name, []uint64{math.MaxUint64, 1}, want.Shape, got, shape, err)
		case U8:
			got, shape, err := f.Uint8(want.Name)
			check(want.Name, []uint8{0, 1, 255}, want.Shape, got, shape, err)
		default:
			got, err := f.Tensor(want.Name)
			check(want.Name, want.Data, want.Shape, got.Data, got.Shape, err)
		}
	}

	for _, tc := range []struct{ name, want string }{
		{"absent", `no tensor "absent"`}, {"u8", "found U8, expected F32"},
	} {
		if _, _, err := f.Float32(tc.name); !errors.Is(err, ErrCorrupt) || !strings.Contains(fmt.Sprint(err), tc.want) {
			t.Errorf("Float32(%q): %v, want ErrCorrupt with %q", tc.name, err, tc.want)
		}
	}
}

func TestTensorsAreViewsWhereAligned(t *testing.T) {
	f, err := OpenTensors(writeFile(t, encodeTensors(t, sample(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, _, err := f.Float32("w")
	if err != nil {
		t.Fatal(err)
	}
	within := func(p unsafe.Pointer) bool {
		lo := uintptr(unsafe.Pointer(unsafe.SliceData(f.buf)))
		return uintptr(p) >= lo && uintptr(p) < lo+uintptr(len(f.buf))
	}
	if littleEndian && !within(unsafe.Pointer(&got[0])) {
		t.Error("aligned values were copied")
	}

	// A header whose length is not a multiple of 4, as other writers may leave, costs a copy and gives the same values.
	header := `{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`
	for len(header)%4 != 1 {
		header += " "
	}
	odd, err := OpenTensors(writeFile(t, raw(header, "\x00\x00\x80\x3f")))
	if err != nil {
		t.Fatal(err)
	}
	defer odd.Close()
	if got, _, err := odd.Float32("w"); err != nil || len(got) != 1 || got[0] != 1 {
		t.Errorf("unaligned: %v, %v; want [1]", got, err)
	}
}

// The bytes are a promise: the same model gives the same file on every machine.
func TestWriteTensorsBytes(t *testing.T) {
	header := `{"__metadata__":{"a":"1","b":"2"},"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},"b":{"dtype":"U8","shape":[],"data_offsets":[16,17]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	want := raw(header, "\x02\x00\x00\x00\x00\x00\x00\x00"+"\x00\x00\x80\x3f\x00\x00\x00\xc0"+"\x07")
	tensors := []Tensor{NewTensor("a", []float32{1, -2}, 2), NewTensor("b", []uint8{7}), NewTensor("n", []int64{2}, 1)}
	for range 3 {
		got := encodeTensors(t, tensors, map[string]string{"b": "2", "a": "1"})
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		tensors = append(tensors[1:], tensors[0])
	}
}

func TestWriteTensorsRefuses(t *testing.T) {
	one := NewTensor("a", []float32{1}, 1)
	for name, tc := range map[string]struct {
		tensors []Tensor
		want    string
	}{
		"duplicate":     {[]Tensor{one, one}, "taken"},
		"reserved":      {[]Tensor{NewTensor("__metadata__", []float32{1}, 1)}, "taken"},
		"not UTF-8":     {[]Tensor{NewTensor("\xff", []float32{1}, 1)}, "not UTF-8"},
		"shape too big": {[]Tensor{NewTensor("a", []float32{1}, 2)}, "4 bytes of data for F32[2], expected 8"},
		"negative":      {[]Tensor{NewTensor("a", []float32{1}, -1, -1)}, "negative"},
		"overflow":      {[]Tensor{NewTensor("a", []float32{}, math.MaxInt, 4)}, "too large"},
		"type":          {[]Tensor{{Name: "a", DType: "F8", Shape: []int{1}, Data: []byte{1}}}, "unknown dtype"},
	} {
		if err := WriteTensors(&bytes.Buffer{}, tc.tensors, nil); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
	}
}

// raw returns a file with that header, correctly counted, and data.
func raw(header, data string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header+data...)
}

// hostile lists files that break the format, with a part of the message.
var hostile = map[string]struct {
	file []byte
	want string
}{
	"empty file":          {nil, "0 bytes"},
	"cut length":          {[]byte{1, 0, 0}, "3 bytes"},
	"huge header length":  {append(bytes.Repeat([]byte{0xff}, 8), '{', '}'), "header claims 18446744073709551615 bytes"},
	"long header length":  {append([]byte{200, 0, 0, 0, 0, 0, 0, 0}, '{', '}'), "header claims 200 bytes, the file has 10"},
	"empty header":        {raw(``, ``), "begin with {"},
	"leading space":       {raw(` {}`, ``), "begin with {"},
	"not an object":       {raw(`[]`, ``), "begin with {"},
	"cut header":          {raw(`{"a":{"dtype":"F32"`, ``), "header"},
	"rubbish after":       {raw(`{} x`, ``), "after the closing brace"},
	"duplicate":           {raw(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, ``), "twice"},
	"duplicate metadata":  {raw(`{"__metadata__":{},"__metadata__":{}}`, ``), "twice"},
	"metadata number":     {raw(`{"__metadata__":{"a":1}}`, ``), "__metadata__"},
	"unknown field":       {raw(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}}`, ``), "unknown field"},
	"no shape":            {raw(`{"a":{"dtype":"U8","data_offsets":[0,1]}}`, `x`), "expected dtype, shape"},
	"null shape":          {raw(`{"a":{"dtype":"U8","shape":null,"data_offsets":[0,1]}}`, `x`), "expected dtype, shape"},
	"no offsets":          {raw(`{"a":{"dtype":"U8","shape":[0]}}`, ``), "data_offsets"},
	"one offset":          {raw(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}}`, ``), "two data_offsets"},
	"three offsets":       {raw(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}`, ``), "two data_offsets"},
	"unknown dtype":       {raw(`{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,1]}}`, `x`), `unknown dtype "F7"`},
	"fractional shape":    {raw(`{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, `x`), "number 1.5"},
	"negative shape":      {raw(`{"a":{"dtype":"U8","shape":[-1,-1],"data_offsets":[0,1]}}`, `x`), "negative"},
	"shape over 64 bits":  {raw(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}`, `xxxx`), "too large"},
	"shape wraps to size": {raw(`{"a":{"dtype":"U8","shape":[9223372036854775807,2,2],"data_offsets":[0,4]}}`, `xxxx`), "too large"},
	"shape too small":     {raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}`, `xxxxxxxx`), "8 bytes of data for F32[1], expected 4"},
	"beyond the file":     {raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, `x`), "within 1 bytes"},
	"far beyond the file": {raw(`{"a":{"dtype":"U8","shape":[4611686018427387904],"data_offsets":[0,4611686018427387904]}}`, `x`), "within 1 bytes"},
	"negative offset":     {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}`, `x`), "expected it to begin at 0"},
	"backwards":           {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,-1]}}`, `x`), "data at [0, -1)"},
	"hole":                {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, `xx`), "expected it to begin at 0"},
	"overlap":             {raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, `xxx`), "expected it to begin at 2"},
	"left over":           {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, `xy`), "1 bytes of data belong to no tensor"},
	"no tensors, data":    {raw(`{}`, `xy`), "2 bytes of data belong to no tensor"},
}

func TestOpenTensorsRefuses(t *testing.T) {
	for name, tc := range hostile {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, tc.file)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f, err := OpenTensors(path)
			runtime.ReadMemStats(&after)
			if err == nil {
				f.Close()
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(fmt.Sprint(err), tc.want) || !strings.Contains(fmt.Sprint(err), path) {
				t.Errorf("error %v, want ErrCorrupt with the path and %q", err, tc.want)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
				t.Errorf("%d bytes allocated for a file of %d", used, len(tc.file))
			}
		})
	}
	if _, err := OpenTensors(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}

func FuzzTensors(f *testing.F) {
	f.Add(encodeTensors(f, sample(), map[string]string{"a": "b"}))
	for _, tc := range hostile {
		f.Add(tc.file)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file := &File{path: "fuzz", buf: content}
		if err := file.parse(); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error %v, want ErrCorrupt", err)
			}
			return
		}
		// What is accepted can be written again, and then reads the same.
		var tensors []Tensor
		for _, name := range file.Names() {
			tensor, err := file.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = file.Float32(name)
			if (err == nil) != (tensor.DType == F32) {
				t.Fatalf("Float32 of a %s: %v", tensor.DType, err)
			}
			tensors = append(tensors, tensor)
		}
		again := &File{path: "again", buf: encodeTensors(t, tensors, file.Metadata())}
		if err := again.parse(); err != nil {
			t.Fatal(err)
		}
		for _, want := range tensors {
			got, err := again.Tensor(want.Name)
			if err != nil || got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) || !bytes.Equal(got.Data, want.Data) {
				t.Fatalf("got %v, %v; want %v", got, err, want)
			}
		}
	})
}

// python runs a script with the given arguments. It skips the test where Python or the packages are missing, unless the
// environment variable GPUTRAIN_REQUIRE lists python.
func python(t *testing.T, script string, args ...string) string {
	t.Helper()
	const name = "python3"
	if out, err := exec.Command(name, "-c", "import numpy, safetensors").CombinedOutput(); err != nil {
		reason := fmt.Sprintf("%s with numpy and safetensors: %v\n%s", name, err, out)
		if slices.Contains(strings.Split(os.Getenv("GPUTRAIN_REQUIRE"), ","), "python") {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	out, err := exec.Command(name, append([]string{"-c", script}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestPythonReadsOurs(t *testing.T) {
	path := writeFile(t, encodeTensors(t, slices.DeleteFunc(sample(), func(x Tensor) bool { return x.DType == BF16 }), map[string]string{"k": "v"}))
	got := python(t, `
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], framework="np") as f:
    print(f.metadata())
    for k in sorted(f.keys()):
        v = f.get_tensor(k)
        print(ascii(k), v.dtype, v.shape, v.ravel().tolist())
`, path)
	want := `{'k': 'v'}
'empty' float32 (0, 7) []
'i32' int32 (3, 1) [-2147483648, -1, 2147483647]
'i64' int64 (2,) [-9223372036854775808, 9223372036854775807]
'rng "state" \xe9' uint64 (1, 2, 1) [18446744073709551615, 1]
'scalar' float64 () [3.141592653589793]
'u8' uint8 (3,) [0, 1, 255]
'w' float32 (2, 3) [1.0, -2.5, inf, 1.401298464324817e-45, 3.4028234663852886e+38, 0.0]
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWeReadPythons(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.safetensors")
	python(t, `
import sys, numpy as np
from safetensors.numpy import save_file
save_file({"w": np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5, "n": np.array([-1, 2**40], dtype=np.int64),
    "b": np.array([1, 2, 3], dtype=np.uint8), "half": np.array([1], dtype=np.float16), "flag": np.array([True])}, sys.argv[1], {"from": "python"})
`, path)
	f, err := OpenTensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, shape, err := f.Float32("w")
	if err != nil || !slices.Equal(w, []float32{-2.5, -1.5, -0.5, 0.5, 1.5, 2.5}) || !slices.Equal(shape, []int{2, 3}) {
		t.Errorf("w = %v %v, %v", w, shape, err)
	}
	if n, _, err := f.Int64("n"); err != nil || !slices.Equal(n, []int64{-1, 1 << 40}) {
		t.Errorf("n = %v, %v", n, err)
	}
	if b, _, err := f.Uint8("b"); err != nil || !slices.Equal(b, []uint8{1, 2, 3}) {
		t.Errorf("b = %v, %v", b, err)
	}
	if half, err := f.Tensor("half"); err != nil || half.DType != F16 || !bytes.Equal(half.Data, []byte{0, 0x3c}) {
		t.Errorf("half = %v, %v", half, err)
	}
	if f.Metadata()["from"] != "python" {
		t.Errorf("metadata %v", f.Metadata())
	}
}
