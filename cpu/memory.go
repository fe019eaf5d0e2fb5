package cpu

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"gputrain/backend"
	"gputrain/sparse"
)

// Alloc returns n zeroed elements, or an error wrapping backend.ErrOutOfMemory: a request beyond the free memory is refused
// here, because the Go runtime ends the process where the system has none left.
func (d *Device) Alloc(t backend.DType, n int) (backend.Buffer, error) {
	size := map[backend.DType]int64{backend.Float32: 4, backend.Float64: 8, backend.Int32: 4, backend.Int64: 8}[t]
	if size == 0 {
		return nil, fmt.Errorf("cpu: alloc: unknown element type %d", t)
	}
	if n < 0 {
		return nil, fmt.Errorf("cpu: alloc: %d elements", n)
	}
	const small = 16 << 20 // not worth a look at the system
	if int64(n) > small/size {
		if free := freeMemory(); int64(n) > free/size {
			return nil, fmt.Errorf("cpu: %w: %d elements of %d bytes asked for, %d MB free", backend.ErrOutOfMemory, n, size, free>>20)
		}
	}
	b := &buffer{t: t}
	switch t {
	case backend.Float32:
		b.f32 = make([]float32, n)
	case backend.Float64:
		b.f64 = make([]float64, n)
	case backend.Int32:
		b.i32 = make([]int32, n)
	case backend.Int64:
		b.i64 = make([]int64, n)
	}
	return b, nil
}

// FreeBytes returns what the system, or the limit of the container, leaves to the process.
func (d *Device) FreeBytes() int64 {
	if free := freeMemory(); free < addressSpace {
		return free
	}
	return 0
}

// addressSpace is what freeMemory returns where it cannot tell.
const addressSpace = int64(1) << 46

// freeMemory returns how many bytes the process may still take: what the system has available, within the limit of the
// container (cgroup v2). Where neither can be read, it is what an address space holds.
func freeMemory() int64 {
	free := addressSpace
	if s, err := os.ReadFile("/proc/meminfo"); err == nil {
		if kB, ok := field(string(s), "MemAvailable:"); ok {
			free = kB << 10
		}
	}
	if s, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		limit, err := strconv.ParseInt(strings.TrimSpace(string(s)), 10, 64)
		stat, _ := os.ReadFile("/sys/fs/cgroup/memory.stat")
		if used, ok := field(string(stat), "anon "); ok && err == nil { // "max" is no number: no limit
			free = min(free, max(limit-used, 0))
		}
	}
	return free
}

// field returns the number after the name in a text of lines "name number ...".
func field(text, name string) (int64, bool) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				n, err := strconv.ParseInt(f[0], 10, 64)
				return n, err == nil
			}
		}
	}
	return 0, false
}

// Free drops the buffer's memory, so that the garbage collector may have it even while views are around.
func (d *Device) Free(b backend.Buffer) {
	if v, ok := b.(*buffer); ok && v != nil {
		*v = buffer{t: v.t}
	}
}

// Upload copies a host slice of the buffer's type to dst[offset:].
func (d *Device) Upload(dst backend.Buffer, offset int, src any) error {
	b, ok := dst.(*buffer)
	if !ok {
		return shape("upload", "not a buffer of this device")
	}
	switch s := src.(type) {
	case []float32:
		return transfer("upload", b, backend.Float32, offset, b.f32, s, true)
	case []float64:
		return transfer("upload", b, backend.Float64, offset, b.f64, s, true)
	case []int32:
		return transfer("upload", b, backend.Int32, offset, b.i32, s, true)
	case []int64:
		return transfer("upload", b, backend.Int64, offset, b.i64, s, true)
	}
	return shape("upload", "a host %T has no device type", src)
}

// Download copies src[offset:offset+len(dst)] to a host slice of the buffer's type.
func (d *Device) Download(dst any, src backend.Buffer, offset int) error {
	b, ok := src.(*buffer)
	if !ok {
		return shape("download", "not a buffer of this device")
	}
	switch s := dst.(type) {
	case []float32:
		return transfer("download", b, backend.Float32, offset, b.f32, s, false)
	case []float64:
		return transfer("download", b, backend.Float64, offset, b.f64, s, false)
	case []int32:
		return transfer("download", b, backend.Int32, offset, b.i32, s, false)
	case []int64:
		return transfer("download", b, backend.Int64, offset, b.i64, s, false)
	}
	return shape("download", "a host %T has no device type", dst)
}

// transfer copies between a host slice, whose elements are of type t, and the device slice dev of the buffer b.
func transfer[T any](op string, b *buffer, t backend.DType, offset int, dev, host []T, up bool) error {
	if b.t != t {
		return shape(op, "a host %T does not fit the device's type %d", host, b.t)
	}
	if offset < 0 || offset > len(dev)-len(host) {
		return shape(op, "host=%d elements, device=%d, offset %d", len(host), len(dev), offset)
	}
	if up {
		copy(dev[offset:], host)
	} else {
		copy(host, dev[offset:])
	}
	return nil
}

// slot is the place of an uploaded sparse matrix: buffers that alias the host's memory.
type slot struct{ indptr, indices, values buffer }

// UploadCSR checks the matrix, so that operations can rely on its ids, and uses its memory in place.
func (d *Device) UploadCSR(n int, m *sparse.CSR) (backend.CSR, error) {
	if err := m.Check(); err != nil {
		return backend.CSR{}, fmt.Errorf("cpu: upload of a sparse matrix: %w", err)
	}
	s := d.slots[n]
	if s == nil {
		s = &slot{}
		d.slots[n] = s
	}
	s.indptr = buffer{t: backend.Int64, i64: m.Indptr}
	if len(m.Indptr) == 0 {
		s.indptr.i64 = noRows
	}
	s.indices = buffer{t: backend.Int32, i32: m.Indices}
	s.values = buffer{t: backend.Float32, f32: m.Values}
	c := backend.CSR{Rows: m.Rows(), Cols: m.Cols, NNZ: m.NNZ(), Indptr: &s.indptr, Indices: &s.indices}
	if m.Values != nil {
		c.Values = &s.values
	}
	return c, nil
}

// Sync has nothing to wait for: operations are done when they return.
func (d *Device) Sync() error { return nil }
