package data

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
)

var (
	npyMagic = []byte("\x93NUMPY")
	zipMagic = []byte("PK\x03\x04")

	npyDescr   = regexp.MustCompile(`'descr':\s*('[^']*'|\[)`)
	npyFortran = regexp.MustCompile(`'fortran_order':\s*(True|False)`)
	npyShape   = regexp.MustCompile(`'shape':\s*\(([^)]*)\)`)
)

// npyArray reads one array in NumPy's format (numpy.lib.format, versions 1 to 3), element by element. The libraries at hand
// know no float16 and panic on malformed headers.
type npyArray struct {
	name  string
	r     io.Reader
	dtype string // "f2", "f4", "f8", "i4", …
	order binary.ByteOrder
	size  int // bytes of an element
	shape []int
	buf   []byte
}

// newNPYArray reads the header.
func newNPYArray(r io.Reader, name string) (*npyArray, error) {
	bad := func(found, want string) error {
		return &InputError{File: name, Found: found, Want: want, final: true}
	}
	start := make([]byte, 8)
	if _, err := io.ReadFull(r, start); err != nil || !bytes.Equal(start[:6], npyMagic) {
		return nil, bad("no NumPy array", "a file as numpy.save writes it")
	}
	var length uint32
	var err error
	switch start[6] {
	case 1:
		var short uint16
		err = binary.Read(r, binary.LittleEndian, &short)
		length = uint32(short)
	case 2, 3:
		err = binary.Read(r, binary.LittleEndian, &length)
	default:
		return nil, bad(fmt.Sprintf("NumPy format version %d", start[6]), "1, 2 or 3")
	}
	if err == nil && length > 1<<16 {
		return nil, bad(fmt.Sprintf("a header of %d bytes", length), "at most 65536")
	}
	header := make([]byte, length)
	if err == nil {
		_, err = io.ReadFull(r, header)
	}
	if err != nil {
		return nil, bad("the end of the file in the header", "a whole NumPy array")
	}
	descr, fortran, shape := npyDescr.FindSubmatch(header), npyFortran.FindSubmatch(header), npyShape.FindSubmatch(header)
	if descr == nil || fortran == nil || shape == nil {
		return nil, bad("the header "+quote(header), "'descr', 'fortran_order' and 'shape'")
	}
	a := &npyArray{name: name, r: r, order: binary.LittleEndian}
	a.dtype = strings.Trim(string(descr[1]), "'")
	if a.dtype != "" && strings.IndexByte("<>=|", a.dtype[0]) >= 0 {
		if a.dtype[0] == '>' {
			a.order = binary.BigEndian
		}
		a.dtype = a.dtype[1:]
	}
	if a.size = itemSize(a.dtype); a.size == 0 {
		return nil, bad("elements of type "+quote(descr[1]), "float16, float32, float64 or integers")
	}
	total := 1
	for dim := range strings.SplitSeq(string(shape[1]), ",") {
		if dim = strings.TrimSpace(dim); dim == "" {
			continue
		}
		n, err := strconv.Atoi(dim)
		if err != nil || n < 0 || n > 0 && total > math.MaxInt/16/n {
			return nil, bad("the shape ("+string(shape[1])+")", "sizes that a matrix can have")
		}
		total *= max(n, 1)
		a.shape = append(a.shape, n)
	}
	if string(fortran[1]) == "True" && len(a.shape) > 1 {
		return nil, bad("an array in Fortran order", "C order: numpy.ascontiguousarray makes it so")
	}
	return a, nil
}

// itemSize returns the bytes of an element, 0 for a type that is not supported.
func itemSize(dtype string) int {
	switch dtype {
	case "i1", "u1", "b1":
		return 1
	case "f2", "i2", "u2":
		return 2
	case "f4", "i4", "u4":
		return 4
	case "f8", "i8", "u8":
		return 8
	}
	if n, ok := strings.CutPrefix(dtype, "S"); ok { // the name of the format in .npz files
		size, _ := strconv.Atoi(n)
		return min(max(size, 0), 16)
	}
	if n, ok := strings.CutPrefix(dtype, "U"); ok {
		size, _ := strconv.Atoi(n)
		return 4 * min(max(size, 0), 4)
	}
	return 0
}

// raw reads the next n elements' bytes, valid until the next call.
func (a *npyArray) raw(n int) ([]byte, error) {
	if cap(a.buf) < n*a.size {
		a.buf = make([]byte, n*a.size)
	}
	b := a.buf[:n*a.size]
	_, err := io.ReadFull(a.r, b)
	return b, err
}

// floats appends the next n elements. Integers and doubles are rounded to float32.
func (a *npyArray) floats(dst []float32, n int) ([]float32, error) {
	if a.dtype[0] != 'f' {
		for range n {
			v, err := a.int()
			if err != nil {
				return dst, err
			}
			dst = append(dst, float32(v))
		}
		return dst, nil
	}
	b, err := a.raw(n)
	if err != nil {
		return dst, err
	}
	for i := range n {
		switch a.size {
		case 2:
			dst = append(dst, float16(a.order.Uint16(b[2*i:])))
		case 4:
			dst = append(dst, math.Float32frombits(a.order.Uint32(b[4*i:])))
		default:
			dst = append(dst, float32(math.Float64frombits(a.order.Uint64(b[8*i:]))))
		}
	}
	return dst, nil
}

// int reads the next element of an array of integers.
func (a *npyArray) int() (int64, error) {
	b, err := a.raw(1)
	if err != nil {
		return 0, err
	}
	switch a.dtype {
	case "i1":
		return int64(int8(b[0])), nil
	case "u1", "b1":
		return int64(b[0]), nil
	case "i2":
		return int64(int16(a.order.Uint16(b))), nil
	case "u2":
		return int64(a.order.Uint16(b)), nil
	case "i4":
		return int64(int32(a.order.Uint32(b))), nil
	case "u4":
		return int64(a.order.Uint32(b)), nil
	}
	return int64(a.order.Uint64(b)), nil
}

// float16 converts an IEEE 754 half. Its values are float32's, exactly.
func float16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, fraction := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0: // zero or subnormal: fraction · 2⁻²⁴
		v := float32(fraction) * 0x1p-24
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// broken returns the error for an array that ends within a row.
func (a *npyArray) broken(row int, err error) error {
	found := err.Error()
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		found = "the end of the data"
	}
	return &InputError{File: a.name, Line: row, Found: found, Want: fmt.Sprintf("%v, as the header says", a.shape), Err: err, final: true}
}

// npyRows reads a dense matrix.
type npyRows struct {
	*Reader
	a   *npyArray
	row int
}

func newNPY(r *Reader) (decoder, error) {
	a, err := newNPYArray(r.src.r, r.src.name)
	if err != nil {
		return nil, err
	}
	if len(a.shape) != 2 || a.shape[1] == 0 {
		return nil, r.src.whole(fmt.Sprintf("an array of shape %v", a.shape), "a matrix: [rows features]")
	}
	if a.dtype[0] != 'f' {
		return nil, r.src.whole("elements of type "+a.dtype, "float16, float32 or float64")
	}
	if a.shape[1] > r.src.maxLine/a.size {
		return nil, r.src.whole(fmt.Sprintf("rows of %d numbers", a.shape[1]), fmt.Sprintf("at most %d bytes a row", r.src.maxLine))
	}
	if err := r.needLabelsFile(); err != nil {
		return nil, err
	}
	r.info.Kind, r.info.Rows, r.info.Features = Dense, a.shape[0], a.shape[1]
	return &npyRows{Reader: r, a: a}, nil
}

func (r *Reader) needLabelsFile() error {
	if r.opt.RequireLabels && r.side == nil {
		return r.src.whole("no labels in an ."+r.info.Format+" file", "a file of labels beside it: --labels-file")
	}
	return nil
}

func (d *npyRows) next(row *Row) (err error) {
	d.row++
	row.Line = d.row
	if d.row > d.info.Rows {
		if _, err := d.src.r.ReadByte(); err == nil {
			return d.src.whole("more data", fmt.Sprintf("the shape %v, as the header says", d.a.shape))
		}
		return io.EOF
	}
	if row.Vector, err = d.a.floats(row.Vector, d.info.Features); err != nil {
		return d.a.broken(d.row, err)
	}
	for j, v := range row.Vector {
		if !finite(v) {
			return &fault{fmt.Sprintf("%v in column %d (from 0)", v, j), "finite float32 numbers"}
		}
	}
	return nil
}

// npzRows reads a CSR matrix, whose three arrays are read side by side.
type npzRows struct {
	*Reader
	indptr, indices, data *npyArray
	row                   int
	at                    int64 // the offset where the row starts
}

func newNPZ(r *Reader) (decoder, error) {
	if r.src.random == nil {
		return nil, r.src.whole("an .npz file in a pipe or compressed once more", "a plain file")
	}
	z, err := zip.NewReader(r.src.random, r.src.size)
	if err != nil {
		return nil, r.src.broken(err)
	}
	arrays := map[string]*npyArray{}
	for _, name := range []string{"format", "shape", "indptr", "indices", "data"} {
		f, err := z.Open(name + ".npy")
		if err != nil {
			return nil, &InputError{File: r.src.name, Found: "no member " + name, Want: "a CSR matrix as scipy.sparse.save_npz writes it",
				Err: err, final: true}
		}
		r.src.closers = append(r.src.closers, func() { f.Close() })
		if arrays[name], err = newNPYArray(bufio.NewReaderSize(f, 64<<10), r.src.name+"/"+name); err != nil {
			return nil, err
		}
	}
	d := &npzRows{Reader: r, indptr: arrays["indptr"], indices: arrays["indices"], data: arrays["data"]}
	if err := d.checkFormat(arrays["format"]); err != nil {
		return nil, err
	}
	if err := d.readShape(arrays["shape"]); err != nil {
		return nil, err
	}
	if err := r.needLabelsFile(); err != nil {
		return nil, err
	}
	r.info.Kind, r.info.IndexBase = Sparse, "0"
	return d, nil
}

func (d *npzRows) checkFormat(a *npyArray) error {
	b, err := a.raw(1)
	if name := strings.ReplaceAll(string(b), "\x00", ""); err != nil || name != "csr" {
		return d.src.whole("a sparse matrix in the format "+quote(name), "csr: its tocsr method makes one")
	}
	return nil
}

// readShape reads the shape, and compares the arrays' lengths with it.
func (d *npzRows) readShape(a *npyArray) error {
	for _, array := range []*npyArray{a, d.indptr, d.indices} {
		if len(array.shape) != 1 || strings.IndexByte("iu", array.dtype[0]) < 0 {
			return d.src.whole(fmt.Sprintf("%s of type %s and shape %v", array.name, array.dtype, array.shape), "a vector of integers")
		}
	}
	rows, err := a.int()
	cols, err2 := a.int()
	if err = errors.Join(err, err2); err != nil || a.shape[0] != 2 || rows < 0 || cols < 0 || rows > math.MaxInt32 || cols > math.MaxInt32 {
		return d.src.whole(fmt.Sprintf("the shape (%d, %d)", rows, cols), fmt.Sprintf("two sizes up to %d", math.MaxInt32))
	}
	if int64(d.indptr.shape[0]) != rows+1 || len(d.data.shape) != 1 || d.data.shape[0] != d.indices.shape[0] {
		return d.src.whole(fmt.Sprintf("%d offsets, %v indices and %v values", d.indptr.shape[0], d.indices.shape, d.data.shape),
			fmt.Sprintf("%d offsets, and as many indices as values", rows+1))
	}
	if strings.IndexByte("fiub", d.data.dtype[0]) < 0 {
		return d.src.whole("values of type "+d.data.dtype, "numbers")
	}
	if d.at, err = d.indptr.int(); err != nil {
		return d.indptr.broken(0, err)
	}
	if d.at != 0 {
		return d.src.whole(fmt.Sprintf("the first offset %d", d.at), "0")
	}
	d.info.Rows, d.info.Features = int(rows), int(cols)
	return nil
}

func (d *npzRows) next(row *Row) error {
	d.row++
	row.Line = d.row
	stored := int64(d.indices.shape[0])
	if d.row > d.info.Rows {
		if d.at != stored {
			return d.src.whole(fmt.Sprintf("%d entries in the rows", d.at), fmt.Sprintf("%d, as many as there are", stored))
		}
		return io.EOF
	}
	end, err := d.indptr.int()
	if err != nil {
		return d.indptr.broken(d.row, err)
	}
	if end < d.at || end > stored || (end-d.at)*8 > int64(d.src.maxLine) {
		return &InputError{File: d.src.name, Line: d.row, Found: fmt.Sprintf("entries %d to %d", d.at, end),
			Want: fmt.Sprintf("offsets that rise up to %d, and at most %d bytes a row", stored, d.src.maxLine), final: true}
	}
	n := int(end - d.at)
	d.at = end
	if row.Values, err = d.data.floats(row.Values, n); err != nil {
		return d.data.broken(d.row, err)
	}
	var bad error // the arrays must be read to the row's end all the same
	for range n {
		id, err := d.indices.int()
		if err != nil {
			return d.indices.broken(d.row, err)
		}
		if (id < 0 || id >= int64(d.info.Features)) && bad == nil {
			bad = &fault{fmt.Sprintf("feature id %d", id), fmt.Sprintf("ids from 0 to %d, as the shape says", d.info.Features-1)}
		}
		row.Indices = append(row.Indices, int32(id))
	}
	for k, v := range row.Values {
		if !finite(v) && bad == nil {
			bad = &fault{fmt.Sprintf("%v for feature %d", v, row.Indices[k]), "finite float32 numbers"}
		}
	}
	return bad
}
