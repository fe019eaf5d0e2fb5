package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// DType names the type of a tensor's elements as safetensors does.
type DType string

// The element types. BF16, F16 and the types that Go code here has no use for are carried as raw bytes.
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	I64  DType = "I64"
	I32  DType = "I32"
	I16  DType = "I16"
	I8   DType = "I8"
	U64  DType = "U64"
	U32  DType = "U32"
	U16  DType = "U16"
	U8   DType = "U8"
	Bool DType = "BOOL"
)

// Size returns the size of one element in bytes, 0 for an unknown type.
func (t DType) Size() int {
	switch t {
	case F64, I64, U64:
		return 8
	case F32, I32, U32:
		return 4
	case F16, BF16, I16, U16:
		return 2
	case I8, U8, Bool:
		return 1
	}
	return 0
}

// Element lists the Go types that tensors are made from and read into.
type Element interface {
	float64 | float32 | int64 | int32 | uint64 | uint8
}

func dtypeOf[E Element]() DType {
	switch any(*new(E)).(type) {
	case float64:
		return F64
	case float32:
		return F32
	case int64:
		return I64
	case int32:
		return I32
	case uint64:
		return U64
	default:
		return U8
	}
}

// Tensor is a named array of numbers in row-major order, little endian.
type Tensor struct {
	Name  string
	DType DType
	Shape []int // empty for a scalar
	Data  []byte
}

// NewTensor returns a tensor of the given values, which it aliases where the host is little endian. WriteTensors checks that
// the shape fits.
func NewTensor[E Element](name string, values []E, shape ...int) Tensor {
	return Tensor{Name: name, DType: dtypeOf[E](), Shape: shape, Data: encode(values)}
}

// The safetensors format (https://github.com/huggingface/safetensors): a little-endian uint64 with the length of the header;
// the header, a JSON object {name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {string: string}}, padded with
// spaces; the data, to which the offsets refer and which the tensors fill without holes or overlap.
const (
	metadataKey = "__metadata__"
	maxHeader   = 100_000_000 // the reference implementation's limit
)

// tensorInfo is a header entry.
type tensorInfo struct {
	DType   DType   `json:"dtype"`
	Shape   []int   `json:"shape"`
	Offsets []int64 `json:"data_offsets"` // begin, end
}

// byteLen returns the size of the tensor's data.
func (t *tensorInfo) byteLen() (int64, error) {
	size := int64(t.DType.Size())
	if size == 0 {
		return 0, fmt.Errorf("unknown dtype %q", t.DType)
	}
	for _, d := range t.Shape {
		if d < 0 {
			return 0, fmt.Errorf("negative dimension in shape %v", t.Shape)
		}
		if d > 0 && size > math.MaxInt64/int64(d) {
			return 0, fmt.Errorf("shape %v is too large", t.Shape)
		}
		size *= int64(d)
	}
	return size, nil
}

// WriteTensors writes the tensors and the metadata, which may be nil, in safetensors format. The bytes depend on names, types,
// shapes and values only: tensors are ordered by falling element size and then by name, so that each is aligned.
func WriteTensors(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	order := slices.Clone(tensors)
	slices.SortFunc(order, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(b.DType.Size(), a.DType.Size()), strings.Compare(a.Name, b.Name))
	})

	header := bytes.NewBufferString("{")
	field := func(name string, value any) error {
		if header.Len() > 1 {
			header.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return err
		}
		val, err := json.Marshal(value)
		header.Write(key)
		header.WriteByte(':')
		header.Write(val)
		return err
	}
	if len(metadata) > 0 {
		if err := field(metadataKey, metadata); err != nil {
			return err
		}
	}
	seen := map[string]bool{metadataKey: true}
	var end int64
	for _, t := range order {
		if seen[t.Name] || !utf8.ValidString(t.Name) {
			return fmt.Errorf("tensor name %q is taken or not UTF-8", t.Name)
		}
		seen[t.Name] = true
		info := tensorInfo{DType: t.DType, Shape: t.Shape, Offsets: []int64{end, end + int64(len(t.Data))}}
		if info.Shape == nil {
			info.Shape = []int{}
		}
		switch size, err := info.byteLen(); {
		case err != nil:
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		case size != int64(len(t.Data)):
			return fmt.Errorf("tensor %q: %d bytes of data for %s%v, expected %d", t.Name, len(t.Data), t.DType, t.Shape, size)
		}
		end = info.Offsets[1]
		if err := field(t.Name, info); err != nil {
			return err
		}
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	if header.Len() > maxHeader {
		return fmt.Errorf("header of %d bytes, at most %d are allowed", header.Len(), maxHeader)
	}

	if err := binary.Write(w, binary.LittleEndian, uint64(header.Len())); err != nil {
		return err
	}
	if _, err := w.Write(header.Bytes()); err != nil {
		return err
	}
	for _, t := range order {
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
	}
	return nil
}

// File is an open safetensors file. The slices it hands out are views of its memory where the host allows it: they must not be
// written to, and not be used after Close.
type File struct {
	path     string
	buf      []byte
	unmap    func() error
	tensors  map[string]Tensor
	names    []string
	metadata map[string]string
}

// OpenTensors opens the safetensors file at path, mapped into memory where the system can, and checks its header. A file that
// breaks the format in any way gives an error that wraps ErrCorrupt.
func OpenTensors(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	defer file.Close()
	return readTensors(file)
}

func readTensors(file *os.File) (*File, error) {
	buf, unmap, err := mapFile(file)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	f := &File{path: file.Name(), buf: buf, unmap: unmap}
	if err := f.parse(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// mapFile returns the contents of a file and a function that lets go of them.
func mapFile(file *os.File) ([]byte, func() error, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	if size := info.Size(); info.Mode().IsRegular() && size > 0 && size <= math.MaxInt {
		if buf, err := mmap(file, int(size)); err == nil {
			return buf, func() error { return munmap(buf) }, nil
		}
	}
	buf, err := io.ReadAll(file) // a pipe, or a file system that cannot map
	return buf, func() error { return nil }, err
}

// parse reads the header. It allocates in proportion to the header's real size, whatever the file claims.
func (f *File) parse() error {
	if len(f.buf) < 8 {
		return corrupt(f.path, "%d bytes, a safetensors file has at least 8", len(f.buf))
	}
	length := binary.LittleEndian.Uint64(f.buf)
	if length > maxHeader || length > uint64(len(f.buf)-8) {
		return corrupt(f.path, "header claims %d bytes, the file has %d", length, len(f.buf))
	}
	header, data := f.buf[8:8+length], f.buf[8+length:]

	infos, metadata, err := parseHeader(header)
	if err != nil {
		return corrupt(f.path, "header: %v", err)
	}
	f.metadata = metadata
	f.names = slices.SortedFunc(maps.Keys(infos), func(a, b string) int {
		x, y := infos[a].Offsets, infos[b].Offsets
		return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1]), strings.Compare(a, b))
	})
	f.tensors = make(map[string]Tensor, len(infos))
	var end int64
	for _, name := range f.names {
		info := infos[name]
		size, err := info.byteLen()
		if err != nil {
			return corrupt(f.path, "tensor %q: %v", name, err)
		}
		lo, hi := info.Offsets[0], info.Offsets[1]
		if lo != end || hi < lo || hi > int64(len(data)) {
			return corrupt(f.path, "tensor %q: data at [%d, %d), expected it to begin at %d and to end within %d bytes", name, lo, hi, end, len(data))
		}
		if hi-lo != size {
			return corrupt(f.path, "tensor %q: %d bytes of data for %s%v, expected %d", name, hi-lo, info.DType, info.Shape, size)
		}
		f.tensors[name] = Tensor{Name: name, DType: info.DType, Shape: info.Shape, Data: data[lo:hi:hi]}
		end = hi
	}
	if end != int64(len(data)) {
		return corrupt(f.path, "%d bytes of data belong to no tensor", int64(len(data))-end)
	}
	return nil
}

// parseHeader reads the header's JSON; unlike json.Unmarshal it refuses duplicate names.
func parseHeader(header []byte) (map[string]tensorInfo, map[string]string, error) {
	if len(header) == 0 || header[0] != '{' {
		return nil, nil, errors.New("expected it to begin with {")
	}
	dec := json.NewDecoder(bytes.NewReader(header))
	dec.DisallowUnknownFields()
	if _, err := dec.Token(); err != nil {
		return nil, nil, err
	}
	infos := map[string]tensorInfo{}
	var metadata map[string]string
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		name, ok := token.(string)
		if !ok {
			return nil, nil, fmt.Errorf("found %v, expected a name", token)
		}
		if name == metadataKey {
			if metadata != nil {
				return nil, nil, fmt.Errorf("%s appears twice", metadataKey)
			}
			metadata = map[string]string{}
			if err := dec.Decode(&metadata); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", metadataKey, err)
			}
			continue
		}
		if _, ok := infos[name]; ok {
			return nil, nil, fmt.Errorf("tensor %q appears twice", name)
		}
		var info tensorInfo
		if err := dec.Decode(&info); err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		if info.Shape == nil || len(info.Offsets) != 2 {
			return nil, nil, fmt.Errorf("tensor %q: expected dtype, shape and two data_offsets", name)
		}
		infos[name] = info
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, err
	}
	if rest := bytes.Trim(header[dec.InputOffset():], " "); len(rest) > 0 {
		return nil, nil, fmt.Errorf("found %q after the closing brace, expected spaces", rest[:min(len(rest), 20)])
	}
	return infos, metadata, nil
}

// Close releases the file's memory.
func (f *File) Close() error {
	f.buf, f.tensors = nil, nil
	return f.unmap()
}

// Names returns the names of the tensors in the order of their data.
func (f *File) Names() []string { return f.names }

// Metadata returns the file's free-form strings, nil where it has none.
func (f *File) Metadata() map[string]string { return f.metadata }

// Tensor returns the tensor called name. Its data is not to be written to.
func (f *File) Tensor(name string) (Tensor, error) {
	t, ok := f.tensors[name]
	if !ok {
		return Tensor{}, corrupt(f.path, "no tensor %q, found %s", name, strings.Join(f.names, ", "))
	}
	return t, nil
}

// Float64 returns the values and the shape of the tensor called name; an error if there is none or it has another type.
func (f *File) Float64(name string) ([]float64, []int, error) { return values[float64](f, name) }

// Float32 is Float64 for float32.
func (f *File) Float32(name string) ([]float32, []int, error) { return values[float32](f, name) }

// Int64 is Float64 for int64.
func (f *File) Int64(name string) ([]int64, []int, error) { return values[int64](f, name) }

// Int32 is Float64 for int32.
func (f *File) Int32(name string) ([]int32, []int, error) { return values[int32](f, name) }

// Uint64 is Float64 for uint64.
func (f *File) Uint64(name string) ([]uint64, []int, error) { return values[uint64](f, name) }

// Uint8 is Float64 for uint8.
func (f *File) Uint8(name string) ([]uint8, []int, error) { return values[uint8](f, name) }

func values[E Element](f *File, name string) ([]E, []int, error) {
	t, err := f.Tensor(name)
	if err != nil {
		return nil, nil, err
	}
	if want := dtypeOf[E](); t.DType != want {
		return nil, nil, corrupt(f.path, "tensor %q: found %s, expected %s", name, t.DType, want)
	}
	return decode[E](t.Data), t.Shape, nil
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// encode returns the little-endian bytes of the values, a view of them where possible.
func encode[E Element](values []E) []byte {
	size := dtypeOf[E]().Size()
	if littleEndian {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), len(values)*size)
	}
	out, _ := binary.Append(make([]byte, 0, len(values)*size), binary.LittleEndian, values) // fixed-size values always fit
	return out
}

// decode is the inverse of encode: a view where the bytes are aligned, else a copy.
func decode[E Element](data []byte) []E {
	size := dtypeOf[E]().Size()
	n := len(data) / size
	p := unsafe.Pointer(unsafe.SliceData(data))
	if littleEndian && uintptr(p)%uintptr(size) == 0 {
		return unsafe.Slice((*E)(p), n)
	}
	out := make([]E, n)
	_, _ = binary.Decode(data, binary.LittleEndian, out) // fixed-size values, and data is long enough
	return out
}
