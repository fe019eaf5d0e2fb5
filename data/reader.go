package data

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Options say how to read an input. The zero value detects all it can, and refuses an input with any bad row.
type Options struct {
	Format string // "auto" (or ""), "xmc", "libsvm", "fasttext", "jsonl", "csv", "tsv", "npy", "npz"

	// LabelsFile holds the labels of the rows, one row a line, separated by tabs; an empty line is a row without labels.
	// It may accompany any format, whose rows then have no labels of their own.
	LabelsFile string
	// LabelNames names the label ids of xmc and libsvm files: one name a line, in the order of the ids.
	LabelNames string

	// The columns of csv and tsv, without which usual names are looked for ("text", "title", …; "labels", "tags", …; "id"),
	// and the keys of jsonl ("text"; "labels" or "label"; "id"). Several label columns of csv and tsv that hold only 0 and 1
	// in the first row say whether a row has the label that the column is named after; else each column holds labels.
	TextColumn   string
	LabelColumns []string
	IDColumn     string
	// LabelSep separates the labels in a csv or tsv cell ("" means ";" or "|" or ",", the first of them that the first labels
	// hold) and in a jsonl string ("" means that the string is one label).
	LabelSep string

	IndexBase string // where feature ids start: "auto" (or ""), "0", "1"
	LabelBase string // where label ids start, for LabelNames: "auto" (or ""), "0", "1"

	RequireLabels bool   // a row that does not state its labels is bad, and so is an input in which no row states any
	OnError       string // "fail" (or ""), "skip"
	MaxErrors     int    // with skip: give up after more bad rows than this; 0 means never
	MaxLine       int    // the longest line, or csv record, in bytes; 0 means 64 MiB
}

// Kind is what the rows of an input hold.
type Kind string

// The kinds of rows.
const (
	Unknown Kind = ""       // no row of a jsonl file was read yet
	Text    Kind = "text"   // Row.Text
	Sparse  Kind = "sparse" // Row.Indices and Row.Values
	Dense   Kind = "dense"  // Row.Vector
)

// Info describes an opened input.
type Info struct {
	File        string
	Format      string
	Compression string // "gzip", "zstd" or ""
	Kind        Kind
	Size        int64 // bytes as stored, −1 where unknown (a pipe)
	Rows        int   // as declared by a header or a shape, and likewise the next two; −1 where not declared
	Features    int   // columns of X, or of the vectors
	Labels      int
	IndexBase   string   // "0" or "1" for sparse rows: pass it on to files that belong together
	LabelBase   string   // likewise for label ids that have names
	Skipped     int      // bad rows so far, with OnError "skip"
	Notes       []string // what was detected or assumed, to be shown to the user
}

// Row is one row of an input. Next overwrites it and reuses its memory; the strings stay valid.
type Row struct {
	Line    int // where it starts, from 1; the row's number in a binary file
	ID      string
	HasID   bool
	Text    string
	Indices []int32 // feature ids from 0, strictly ascending
	Values  []float32
	Vector  []float32
	Labels  []string // in the order of the file, each once

	// HasLabels tells that the row states its labels, be it that it has none. In xmc, libsvm and fasttext a row without labels
	// looks like one whose labels are not known: false.
	HasLabels bool

	ids []int32 // the labels as ids of the reader's label table
}

func (r *Row) reset() {
	*r = Row{Indices: r.Indices[:0], Values: r.Values[:0], Vector: r.Vector[:0], Labels: r.Labels[:0], ids: r.ids[:0]}
}

// decoder reads the rows of one format.
type decoder interface {
	// next fills row, which is empty. It returns io.EOF after the last row, a *fault for a bad row that was passed over, and
	// any other error where reading cannot go on.
	next(row *Row) error
}

// Reader reads one input, row by row. It is not safe for concurrent use.
type Reader struct {
	src     *source
	dec     decoder
	side    *source // the labels file, or nil
	opt     Options
	info    Info
	labels  labelTable
	rows    int // good rows
	stated  int // of them, those that state labels
	bad     InputErrors
	err     error // what Next returns from now on
	scratch []uint64
	sorted  []int32
}

// Open opens the file at path, or standard input for "-", and finds out its format. The file's own faults are *InputError;
// others are those of package os.
func Open(path string, opt Options) (*Reader, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	src, err := openSource(path, cmp.Or(opt.MaxLine, 64<<20))
	if err != nil {
		return nil, err
	}
	return newReader(src, opt)
}

// NewReader is Open for bytes from elsewhere; name stands for the file in messages. Only an *os.File or a *bytes.Reader may
// hold an npz file.
func NewReader(r io.Reader, name string, opt Options) (*Reader, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	src, err := newSource(r, name, cmp.Or(opt.MaxLine, 64<<20))
	if err != nil {
		return nil, err
	}
	return newReader(src, opt)
}

func newReader(src *source, opt Options) (_ *Reader, err error) {
	r := &Reader{src: src, opt: opt, labels: labelTable{ids: map[string]int32{}}}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	r.info = Info{File: src.name, Compression: src.compression, Size: src.size, Rows: -1, Features: -1, Labels: -1}
	if r.info.Format, err = detect(src, opt, r.note); err != nil {
		return nil, err
	}
	if opt.LabelsFile != "" {
		if r.side, err = openSource(opt.LabelsFile, src.maxLine); err != nil {
			return nil, err
		}
	}
	if r.dec, err = decoders[r.info.Format](r); err != nil {
		return nil, err
	}
	return r, nil
}

// formats are the names of Options.Format, in the order of the documentation.
var formats = []string{"xmc", "libsvm", "fasttext", "jsonl", "csv", "tsv", "npy", "npz"}

var decoders = map[string]func(*Reader) (decoder, error){
	"xmc":      newXMC,
	"libsvm":   newLibSVM,
	"fasttext": newFastText,
	"jsonl":    newJSONL,
	"csv":      newCSV,
	"tsv":      newTSV,
	"npy":      newNPY,
	"npz":      newNPZ,
}

func (o Options) check() error {
	oneOf := func(flag, value string, want ...string) error {
		if value == "" || slices.Contains(want, value) {
			return nil
		}
		return fmt.Errorf("--%s %s: want one of %s", flag, value, strings.Join(want, ", "))
	}
	return errors.Join(
		oneOf("format", o.Format, append([]string{"auto"}, formats...)...),
		oneOf("index-base", o.IndexBase, "auto", "0", "1"),
		oneOf("label-base", o.LabelBase, "auto", "0", "1"),
		oneOf("on-error", o.OnError, "fail", "skip"),
	)
}

// Close closes the files.
func (r *Reader) Close() error {
	r.src.close()
	if r.side != nil {
		r.side.close()
	}
	if r.err == nil {
		r.err = errors.New("data: reader is closed")
	}
	return nil
}

// Info describes the input, as far as it is known by now.
func (r *Reader) Info() Info {
	info := r.info
	if r.opt.OnError == "skip" {
		info.Skipped = r.bad.Count
	}
	info.Notes = slices.Clone(info.Notes)
	return info
}

// BytesRead returns how much of Info.Size was read. It may be called while another goroutine reads.
func (r *Reader) BytesRead() int64 { return r.src.read.Load() }

// Errors returns the bad rows that were skipped: the first few, and the count.
func (r *Reader) Errors() *InputErrors { return &r.bad }

func (r *Reader) note(format string, args ...any) {
	r.info.Notes = append(r.info.Notes, fmt.Sprintf(format, args...))
}

// Next reads the next row. It returns io.EOF after the last one. On a bad row it reads on to the end of the input, to return
// *InputErrors with the first few bad rows and their number; with OnError "skip" it goes on to the next good row. An input
// that cannot be read on is an *InputError, or an error of package os.
func (r *Reader) Next(row *Row) error {
	for r.err == nil {
		err := r.read(row)
		if err == nil {
			if r.bad.Count > 0 && r.opt.OnError != "skip" {
				continue
			}
			r.rows++
			if row.HasLabels {
				r.stated++
			}
			return nil
		}
		if f, ok := err.(*fault); ok {
			r.bad.add(&InputError{File: r.src.name, Line: row.Line, Found: f.found, Want: f.want})
			if r.opt.OnError == "skip" && r.opt.MaxErrors > 0 && r.bad.Count > r.opt.MaxErrors {
				r.err = fmt.Errorf("%w\ngiving up after %d bad rows (--max-errors %d)", &r.bad, r.bad.Count, r.opt.MaxErrors)
			}
			continue
		}
		r.err = r.end(err)
	}
	return r.err
}

// read reads one row with its labels from the side file, and checks what all formats have in common.
func (r *Reader) read(row *Row) error {
	row.reset()
	err := r.dec.next(row)
	if r.side != nil {
		if done, err := r.readSide(row, err); done {
			return err
		}
	}
	if err != nil {
		return err
	}
	if r.opt.RequireLabels && !row.HasLabels && (r.info.Format == "jsonl" || r.info.Format == "csv" || r.info.Format == "tsv") {
		return &fault{"no labels", "labels, be it an empty set"}
	}
	if err := r.sortFeatures(row); err != nil {
		return err
	}
	return r.checkLabels(row)
}

// end turns the error that ends the reading into what Next returns.
func (r *Reader) end(err error) error {
	skip := r.opt.OnError == "skip"
	switch {
	case err != io.EOF && (skip || r.bad.Count == 0):
		return err
	case err != io.EOF:
		return errors.Join(&r.bad, err)
	case r.bad.Count > 0 && (!skip || r.rows == 0):
		return &r.bad
	case r.rows == 0:
		return r.src.whole("no rows", "rows")
	case r.opt.RequireLabels && r.stated == 0:
		return r.src.whole(fmt.Sprintf("no labels in %d rows", r.rows), "labelled rows")
	}
	return io.EOF
}

// readSide reads the row's line of the labels file; rowErr is what the row itself met. Done means to return the error.
func (r *Reader) readSide(row *Row, rowErr error) (done bool, err error) {
	_, faulty := rowErr.(*fault)
	if rowErr != nil && rowErr != io.EOF && !faulty {
		return true, rowErr
	}
	line, sideErr := r.side.nextLine()
	switch {
	case rowErr == io.EOF && sideErr == io.EOF:
		return true, io.EOF
	case rowErr == io.EOF: // no more rows, but labels
		return true, r.side.whole(fmt.Sprintf("more than %d lines", r.side.line-1),
			fmt.Sprintf("one line for each of the %d rows of %s", r.side.line-1, r.src.name))
	case sideErr == io.EOF:
		return true, r.side.whole(fmt.Sprintf("%d lines", r.side.line), "one line for each row of "+r.src.name+", which has more")
	case faulty:
		return true, rowErr
	}
	if f, ok := sideErr.(*fault); ok {
		return true, &fault{f.found + r.sideLine(), f.want}
	}
	if sideErr != nil {
		return true, sideErr
	}
	if row.HasLabels {
		return true, &fault{"labels in the row", "labels in " + r.side.name + " only"}
	}
	row.HasLabels = true
	for len(line) > 0 {
		label, rest, _ := bytes.Cut(line, []byte("\t"))
		if err := r.addLabel(row, label); err != nil {
			f := err.(*fault)
			return true, &fault{f.found + r.sideLine(), f.want}
		}
		line = rest
	}
	return false, nil
}

func (r *Reader) sideLine() string { return fmt.Sprintf(" (%s:%d)", r.side.name, r.side.line) }

// sortFeatures puts the features in ascending order and refuses an id that occurs twice.
func (r *Reader) sortFeatures(row *Row) error {
	ids := row.Indices
	ascending := true
	for k := 1; k < len(ids) && ascending; k++ {
		ascending = ids[k-1] < ids[k]
	}
	if ascending {
		return nil
	}
	pairs := r.scratch[:0]
	for k, id := range ids {
		pairs = append(pairs, uint64(id)<<32|uint64(math.Float32bits(row.Values[k])))
	}
	slices.Sort(pairs)
	r.scratch = pairs
	for k, p := range pairs {
		ids[k], row.Values[k] = int32(p>>32), math.Float32frombits(uint32(p))
		if k > 0 && ids[k] == ids[k-1] {
			base := int32(0)
			if r.info.IndexBase == "1" {
				base = 1
			}
			return &fault{fmt.Sprintf("feature id %d twice", ids[k]+base), "each feature once"}
		}
	}
	return nil
}

// checkLabels refuses a label that occurs twice, and fills in the names.
func (r *Reader) checkLabels(row *Row) error {
	r.sorted = append(r.sorted[:0], row.ids...)
	slices.Sort(r.sorted)
	for k := 1; k < len(r.sorted); k++ {
		if r.sorted[k] == r.sorted[k-1] {
			return &fault{"label " + quote(r.labels.names[r.sorted[k]]) + " twice", "each label once"}
		}
	}
	for _, id := range row.ids {
		row.Labels = append(row.Labels, r.labels.names[id])
	}
	return nil
}

// addLabel adds a label by name.
func (r *Reader) addLabel(row *Row, name []byte) error {
	id, ok := r.labels.ids[string(name)]
	if !ok {
		if len(name) == 0 {
			return &fault{"an empty label", "a name"}
		}
		if bytes.ContainsAny(name, "\r\n") {
			return &fault{"label " + quote(name), "a label without line breaks"}
		}
		id = r.labels.add(string(name))
	}
	row.ids = append(row.ids, id)
	return nil
}

// labelTable numbers the labels of one input in the order of their first appearance, and holds each name once.
type labelTable struct {
	ids   map[string]int32
	names []string
}

func (t *labelTable) add(name string) int32 {
	id := int32(len(t.names))
	t.ids[name] = id
	t.names = append(t.names, name)
	return id
}
