package data

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// sniffSize is how much of an input may be looked at before its first row is read.
const sniffSize = 1 << 20

// source is an opened and decompressed input.
type source struct {
	name        string
	compression string            // "gzip", "zstd" or ""
	size        int64             // bytes as stored, −1 where unknown
	read        atomic.Int64      // bytes read so far, as stored
	random      *io.SectionReader // the stored bytes, where they can be read in any order
	r           *bufio.Reader     // the decompressed bytes
	maxLine     int
	line        int // the number of the last line read
	long        []byte
	closers     []func()
}

// openSource opens the file at path, or standard input for "-".
func openSource(path string, maxLine int) (*source, error) {
	if path == "-" {
		return newSource(os.Stdin, "stdin", maxLine)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := newSource(f, path, maxLine)
	if err != nil {
		f.Close()
		return nil, err
	}
	s.closers = append(s.closers, func() { f.Close() })
	return s, nil
}

// newSource reads r, decompressed if its first bytes are those of a gzip or zstd file.
func newSource(r io.Reader, name string, maxLine int) (*source, error) {
	s := &source{name: name, size: -1, maxLine: maxLine}
	switch f := r.(type) {
	case *os.File:
		if info, err := f.Stat(); err == nil {
			if info.IsDir() {
				return nil, &InputError{File: name, Found: "a directory", Want: "a file", final: true}
			}
			if info.Mode().IsRegular() {
				s.size = info.Size()
				s.random = io.NewSectionReader(f, 0, s.size)
			}
		}
	case *bytes.Reader:
		s.size = f.Size()
		s.random = io.NewSectionReader(f, 0, s.size)
	}
	stored := bufio.NewReaderSize(&counter{r, &s.read}, 64<<10)
	var unpacked io.Reader = stored
	magic, err := stored.Peek(4)
	switch {
	case len(magic) == 0 && err == io.EOF:
		return nil, s.whole("an empty file", "rows")
	case len(magic) == 0:
		return nil, s.broken(err)
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		s.compression = "gzip"
		z, err := gzip.NewReader(stored)
		if err != nil {
			return nil, s.broken(err)
		}
		unpacked = z
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		s.compression = "zstd"
		z, err := zstd.NewReader(stored, zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, s.broken(err)
		}
		s.closers = append(s.closers, z.Close)
		unpacked = z
	}
	s.r = bufio.NewReaderSize(unpacked, sniffSize)
	if bom, _ := s.r.Peek(3); string(bom) == "\ufeff" {
		_, _ = s.r.Discard(3) // cannot fail: they are buffered
	}
	if s.compression != "" {
		s.random = nil
		if _, err := s.r.Peek(1); err == io.EOF {
			s.close()
			return nil, s.whole("an empty file in "+s.compression, "rows")
		}
	}
	return s, nil
}

func (s *source) close() {
	for _, c := range s.closers {
		c()
	}
	s.closers = nil
}

// peek returns what can be looked at ahead of the first row: the first line that is not blank, or, where more is asked for,
// as much as the buffer holds. It waits for no more than it needs, so that a person can type at a pipe's other end.
func (s *source) peek(more bool) []byte {
	for n := 1; ; {
		_, err := s.r.Peek(n)
		head, _ := s.r.Peek(s.r.Buffered())
		if err != nil || !more && bytes.IndexByte(bytes.TrimLeft(head, " \t\r\n"), '\n') >= 0 {
			return head
		}
		n = len(head) + 1
	}
}

// nextLine returns the next line without its end; it is valid until the next call. It returns io.EOF after the last line, a
// *fault for a line that is too long or no text, and an *InputError where the file cannot be read on.
func (s *source) nextLine() ([]byte, error) {
	b, err := s.r.ReadSlice('\n')
	size := len(b)
	if err == bufio.ErrBufferFull {
		s.long = append(s.long[:0], b...)
		for err == bufio.ErrBufferFull {
			b, err = s.r.ReadSlice('\n')
			if size += len(b); size <= s.maxLine+2 {
				s.long = append(s.long, b...)
			}
		}
		b = s.long
	}
	if err == io.EOF && size == 0 {
		return nil, io.EOF
	}
	s.line++
	if err != nil && err != io.EOF {
		return nil, s.broken(err)
	}
	if size > s.maxLine+2 { // 2 for the line's end
		return nil, &fault{fmt.Sprintf("a line of %d bytes", size), fmt.Sprintf("at most %d bytes a line", s.maxLine)}
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	b = bytes.TrimSuffix(b, []byte("\r"))
	if f := checkText(b); f != nil {
		return nil, f
	}
	return b, nil
}

// nextFilled returns the next line that is not blank, like nextLine.
func (s *source) nextFilled() ([]byte, error) {
	for {
		line, err := s.nextLine()
		if err != nil || len(bytes.TrimSpace(line)) > 0 {
			return line, err
		}
	}
}

// checkText returns a fault for bytes that are not UTF-8 text.
func checkText(b []byte) error {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return &fault{fmt.Sprintf("a NUL byte at byte %d of the line", i+1), "text"}
	}
	if utf8.Valid(b) {
		return nil
	}
	i := 0
	for {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return &fault{fmt.Sprintf("byte 0x%02x at byte %d of the line", b[i], i+1), "UTF-8 text"}
		}
		i += n
	}
}

// whole returns an error about the file as a whole.
func (s *source) whole(found, want string) error {
	return &InputError{File: s.name, Found: found, Want: want, final: true}
}

// broken returns the error for an input that cannot be read on.
func (s *source) broken(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%s: line %d: %w", s.name, s.line, err)
	}
	found, want := err.Error(), "a readable file"
	if s.compression != "" {
		want = "a whole " + s.compression + " file"
	}
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		found = "its end too early"
		if s.compression != "" {
			found = "the end of the " + s.compression + " data too early"
		}
	}
	return &InputError{File: s.name, Line: s.line, Found: strings.TrimSpace(found), Want: want, Err: err, final: true}
}

// counter counts the bytes that pass.
type counter struct {
	r io.Reader
	n *atomic.Int64 // read by progress displays, written by the decompressor's goroutine
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
