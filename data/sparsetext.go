package data

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
)

// sparseText reads xmc and libsvm files.
type sparseText struct {
	*Reader
	libsvm    bool
	base      int64 // of feature ids
	labelBase int64
	numbers   bool  // labels are numbers below nLabels
	nLabels   int64 // declared by the header or by the file of names; −1 where not
	named     bool  // labels have names, which are the first nLabels entries of the label table
	nRows     int   // lines that were read as rows
	zeroLabel bool  // label id 0 occurred
	lastLabel bool  // label id nLabels occurred
}

func newLibSVM(r *Reader) (decoder, error) { return newSparseText(r, true) }
func newXMC(r *Reader) (decoder, error)    { return newSparseText(r, false) }

func newSparseText(r *Reader, libsvm bool) (decoder, error) {
	d := &sparseText{Reader: r, libsvm: libsvm, numbers: !libsvm, nLabels: -1}
	r.info.Kind = Sparse
	if !libsvm {
		if err := d.readHeader(); err != nil {
			return nil, err
		}
	}
	if r.opt.LabelNames != "" {
		if err := d.readNames(); err != nil {
			return nil, err
		}
	}
	d.findBases()
	return d, nil
}

// readHeader takes "N D L" off the input, if that is what it starts with.
func (d *sparseText) readHeader() error {
	first, _, _ := bytes.Cut(d.src.peek(false), []byte("\n"))
	if !xmcHeader.Match(first) {
		d.note("no header line: rows, features and labels are counted")
		return nil
	}
	line, err := d.src.nextLine()
	if err != nil {
		return err
	}
	var sizes [3]int
	for i, field := range bytes.Fields(line) {
		if sizes[i], err = strconv.Atoi(string(field)); err != nil || sizes[i] > math.MaxInt32 {
			return &InputError{File: d.src.name, Line: 1, Found: "the size " + quote(field) + " in the header",
				Want: fmt.Sprintf("at most %d", math.MaxInt32), final: true}
		}
	}
	d.info.Rows, d.info.Features, d.info.Labels = sizes[0], sizes[1], sizes[2]
	d.nLabels = int64(sizes[2])
	return nil
}

// readNames makes the label table of the file of label names.
func (d *sparseText) readNames() error {
	vocab, err := LoadVocabulary(d.opt.LabelNames)
	if err != nil {
		return err
	}
	if d.nLabels >= 0 && int64(vocab.Len()) != d.nLabels {
		return &InputError{File: d.opt.LabelNames, Found: fmt.Sprintf("%d names", vocab.Len()),
			Want: fmt.Sprintf("%d, the number of labels in the header of %s", d.nLabels, d.src.name), final: true}
	}
	for _, name := range vocab.names {
		d.labels.add(name)
	}
	d.numbers, d.named, d.nLabels = true, true, int64(vocab.Len())
	return nil
}

// findBases decides from the options or the first MiB where ids start. It waits for the MiB only where it must.
func (d *sparseText) findBases() {
	auto := func(s string) bool { return s == "" || s == "auto" }
	d.info.IndexBase, d.info.LabelBase = d.opt.IndexBase, d.opt.LabelBase
	if !d.named {
		d.info.LabelBase = ""
	}
	if auto(d.opt.IndexBase) || d.named && auto(d.opt.LabelBase) {
		f, l := scanIDs(d.src.peek(true), int64(d.info.Features), d.nLabels)
		if auto(d.opt.IndexBase) {
			switch {
			case f.zero:
				d.info.IndexBase = "0"
			case d.libsvm || f.last:
				d.info.IndexBase = "1"
			default:
				d.info.IndexBase = "0"
			}
			d.note("feature ids start at %s (%s); --index-base overrides", d.info.IndexBase, f.reason("D"))
		}
		if d.named && auto(d.opt.LabelBase) {
			d.info.LabelBase = "0"
			if l.last && !l.zero {
				d.info.LabelBase = "1"
			}
			d.note("label ids start at %s (%s); --label-base overrides", d.info.LabelBase, l.reason("L"))
		}
	}
	if d.info.IndexBase == "1" {
		d.base = 1
	}
	if d.info.LabelBase == "1" {
		d.labelBase = 1
	}
}

// seen tells which of the two ids occurred that show where ids start: 0, and their number.
type seen struct{ zero, last bool }

func (s seen) reason(number string) string {
	switch {
	case s.zero:
		return "id 0 occurs"
	case s.last:
		return "id " + number + " occurs"
	}
	return "assumed: no id 0 at the beginning of the file"
}

// scanIDs looks for telling feature and label ids in the lines of b, without judging them.
func scanIDs(b []byte, features, labels int64) (f, l seen) {
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		b = rest
		for first := true; len(line) > 0; first = false {
			var field []byte
			field, line, _ = bytes.Cut(line, []byte(" "))
			id, n := parseID(field)
			switch {
			case n > 0 && n < len(field) && field[n] == ':':
				f.zero = f.zero || id == 0
				f.last = f.last || id == features && features > 0
			case first && (whole || len(line) > 0):
				for label := range bytes.SplitSeq(field, []byte(",")) {
					if id, n := parseID(label); n > 0 && n == len(bytes.TrimRight(label, "\r")) {
						l.zero = l.zero || id == 0
						l.last = l.last || id == labels && labels > 0
					}
				}
			}
		}
	}
	return f, l
}

func (d *sparseText) next(row *Row) error {
	for {
		line, err := d.src.nextLine()
		row.Line = d.src.line
		if err == io.EOF {
			return d.end()
		}
		if err == nil {
			if d.libsvm {
				line, _, _ = bytes.Cut(line, []byte("#"))
			}
			if len(bytes.TrimSpace(line)) == 0 && d.nRows >= d.info.Rows {
				continue // Rows is −1 without a header
			}
			err = d.parse(row, line)
		}
		d.nRows++
		return err
	}
}

// end compares the number of rows with the header's.
func (d *sparseText) end() error {
	if d.info.Rows >= 0 && d.nRows != d.info.Rows {
		return d.src.whole(fmt.Sprintf("%d rows", d.nRows), fmt.Sprintf("%d, as the header says", d.info.Rows))
	}
	return io.EOF
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// parse reads "label,label id:value id:value". A line that starts with a blank, or with a pair, has no labels.
func (d *sparseText) parse(row *Row, b []byte) error {
	i := 0
	for i < len(b) && !isBlank(b[i]) && b[i] != ':' {
		i++
	}
	switch {
	case i == len(b) || b[i] != ':':
		if i > 0 {
			if err := d.parseLabels(row, b[:i]); err != nil {
				return err
			}
		}
	default:
		i = 0
	}
	features := int64(d.info.Features)
	if features < 0 {
		features = math.MaxInt32
	}
	for i < len(b) {
		if isBlank(b[i]) {
			i++
			continue
		}
		id, n := parseID(b[i:])
		end := i + n
		for end < len(b) && !isBlank(b[end]) {
			end++
		}
		if n == 0 || i+n >= end || b[i+n] != ':' {
			return &fault{quote(b[i:end]), "id:value with an id of digits"}
		}
		if id -= d.base; id < 0 || id >= features {
			return d.badFeature(id)
		}
		value, ok := parseFloat(b[i+n+1 : end])
		if !ok {
			return &fault{fmt.Sprintf("value %s of feature %d", quote(b[i+n+1:end]), id+d.base), "a finite number"}
		}
		row.Indices = append(row.Indices, int32(id))
		row.Values = append(row.Values, value)
		i = end
	}
	return nil
}

// badFeature returns the fault for an id that is out of range.
func (d *sparseText) badFeature(id int64) error {
	found := fmt.Sprintf("feature id %d", id+d.base)
	switch {
	case id < 0:
		return &fault{found, "ids from 1; where they start at 0, say --index-base 0"}
	case d.info.Features < 0:
		return &fault{found, fmt.Sprintf("at most %d", math.MaxInt32-1+d.base)}
	case d.base == 0 && id == int64(d.info.Features):
		return &fault{found, fmt.Sprintf("ids from 0 to %d, as the header says; where they start at 1, say --index-base 1", id-1)}
	}
	return &fault{found, fmt.Sprintf("ids from %d to %d, as the header says", d.base, int64(d.info.Features)-1+d.base)}
}

// parseLabels reads "3,17".
func (d *sparseText) parseLabels(row *Row, b []byte) error {
	row.HasLabels = true
	for more := true; more; {
		var label []byte
		label, b, more = bytes.Cut(b, []byte(","))
		if !d.numbers {
			if err := d.addLabel(row, label); err != nil {
				return err
			}
			continue
		}
		id, n := parseID(label)
		if n == 0 || n < len(label) {
			return &fault{"label " + quote(label), "a label id of digits"}
		}
		if err := d.checkLabel(id); err != nil {
			return err
		}
		if d.named {
			row.ids = append(row.ids, int32(id-d.labelBase))
			continue
		}
		for len(label) > 1 && label[0] == '0' {
			label = label[1:]
		}
		if err := d.addLabel(row, label); err != nil {
			return err
		}
	}
	return nil
}

// checkLabel refuses a label id out of the declared range. Without names it does not matter where ids start, but they cannot
// start at both 0 and 1.
func (d *sparseText) checkLabel(id int64) error {
	if d.nLabels < 0 {
		return nil
	}
	if !d.named {
		d.zeroLabel = d.zeroLabel || id == 0
		d.lastLabel = d.lastLabel || id == d.nLabels
		if id > d.nLabels || d.zeroLabel && d.lastLabel {
			return &fault{fmt.Sprintf("label id %d", id), fmt.Sprintf("at most %d different ids from 0 or 1, as the header says", d.nLabels)}
		}
		return nil
	}
	if id >= d.labelBase && id < d.nLabels+d.labelBase {
		return nil
	}
	found, hint := fmt.Sprintf("label id %d", id), ""
	if id < d.labelBase {
		return &fault{found, "ids from 1; where they start at 0, say --label-base 0"}
	}
	if d.labelBase == 0 && id == d.nLabels {
		hint = "; where they start at 1, say --label-base 1"
	}
	return &fault{found, fmt.Sprintf("ids from %d to %d, as %s has names%s", d.labelBase, d.nLabels-1+d.labelBase, d.opt.LabelNames, hint)}
}
