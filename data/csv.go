package data

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The names under which columns are found without options, in the order of preference, in any case.
var (
	textColumns  = []string{"text", "title", "sentence", "content", "body", "document", "abstract", "comment_text", "comment", "question", "description"}
	labelColumns = []string{"labels", "label", "tags", "tag", "categories", "category", "topics", "topic", "classes", "class", "genres", "genre", "subjects", "keywords"}
	idColumns    = []string{"id", "_id", "uid", "doc_id", "row_id"}
)

// table reads csv and tsv files.
type table struct {
	*Reader
	record func() ([]string, error) // the next record; row.Line is src.line
	header []string
	text   int
	id     int   // −1 where there is none
	labels []int // empty where there is none
	sep    string
	binary bool // the label columns hold 0 and 1
	first  bool // no record was read yet
}

func newCSV(r *Reader) (decoder, error) {
	head, _, _ := bytes.Cut(bytes.TrimLeft(r.src.peek(false), "\r\n"), []byte("\n"))
	limited := &budget{r: r.src.r}
	c := csv.NewReader(limited)
	c.ReuseRecord = true
	if bytes.Count(head, []byte(";")) > bytes.Count(head, []byte(",")) {
		c.Comma = ';'
		r.note("columns are separated by semicolons")
	}
	return newTable(r, func() ([]string, error) {
		limited.left = r.src.maxLine
		record, err := c.Read()
		var bad *csv.ParseError
		switch {
		case err == io.EOF:
			return nil, io.EOF
		case errors.Is(err, errSpent): // its memory is spent, and the rest of the record is of unknown length
			return nil, &InputError{File: r.src.name, Line: r.src.line + 1, Found: fmt.Sprintf("a record of more than %d bytes", r.src.maxLine),
				Want: "shorter ones; perhaps a quote is not closed", final: true}
		case errors.As(err, &bad):
			r.src.line = bad.StartLine
			if bad.Err != csv.ErrFieldCount {
				return nil, &fault{fmt.Sprintf("%v at byte %d of line %d", bad.Err, bad.Column, bad.Line), "fields as in RFC 4180"}
			}
			return record, nil // newTable's decoder compares
		case err != nil:
			return nil, r.src.broken(err)
		}
		r.src.line, _ = c.FieldPos(0)
		for _, field := range record {
			if f := checkText([]byte(field)); f != nil {
				return nil, f
			}
		}
		return record, nil
	})
}

// budget bounds how much a record may read.
type budget struct {
	r    io.Reader
	left int
}

var errSpent = errors.New("data: record too long")

func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errSpent
	}
	n, err := b.r.Read(p)
	b.left -= n
	return n, err
}

func newTSV(r *Reader) (decoder, error) {
	var fields []string
	return newTable(r, func() ([]string, error) {
		line, err := r.src.nextLine()
		for err == nil && len(line) == 0 {
			line, err = r.src.nextLine()
		}
		if err != nil {
			return nil, err
		}
		fields = fields[:0]
		for field := range strings.SplitSeq(string(line), "\t") {
			fields = append(fields, field)
		}
		return fields, nil
	})
}

// newTable reads the header and finds the columns.
func newTable(r *Reader, record func() ([]string, error)) (decoder, error) {
	r.info.Kind = Text
	header, err := record()
	if err != nil {
		if f, ok := err.(*fault); ok {
			err = &InputError{File: r.src.name, Line: r.src.line, Found: f.found, Want: f.want, final: true}
		} else if err == io.EOF {
			err = r.src.whole("no rows", "a header and rows")
		}
		return nil, err
	}
	d := &table{Reader: r, record: record, header: slices.Clone(header), sep: r.opt.LabelSep, first: true}
	for i := range d.header {
		d.header[i] = strings.TrimSpace(d.header[i])
	}
	if d.text, err = d.column("text", r.opt.TextColumn, textColumns); err != nil {
		return nil, err
	}
	if d.text < 0 {
		return nil, &InputError{File: r.src.name, Line: 1, Found: "the columns " + strings.Join(d.header, ", "),
			Want: `one named "text" or "title"; --text-column names another`, final: true}
	}
	if d.id, err = d.column("id", r.opt.IDColumn, idColumns); err != nil {
		return nil, err
	}
	for _, name := range r.opt.LabelColumns {
		i, err := d.column("label", name, nil)
		if err != nil {
			return nil, err
		}
		d.labels = append(d.labels, i)
	}
	if len(d.labels) == 0 && r.opt.LabelsFile == "" {
		i, err := d.column("labels", "", labelColumns)
		if err != nil {
			return nil, err
		}
		if i >= 0 {
			d.labels = append(d.labels, i)
		} else if r.opt.RequireLabels {
			return nil, &InputError{File: r.src.name, Line: 1, Found: "the columns " + strings.Join(d.header, ", "),
				Want: `one named "labels" or "tags"; --label-column names another`, final: true}
		}
	}
	names := []string{"text column " + quote(d.header[d.text])}
	for _, i := range d.labels {
		names = append(names, "label column "+quote(d.header[i]))
	}
	if d.id >= 0 {
		names = append(names, "id column "+quote(d.header[d.id]))
	}
	r.note("%s", strings.Join(names, ", "))
	return d, nil
}

// column finds a column by its name, or by the first known name; −1 means that there is none.
func (d *table) column(what, name string, known []string) (int, error) {
	if name != "" {
		i := slices.Index(d.header, name)
		if i < 0 {
			return 0, &InputError{File: d.src.name, Line: 1, Found: "the columns " + strings.Join(d.header, ", "),
				Want: fmt.Sprintf("the %s column %s", what, quote(name)), final: true}
		}
		if slices.Contains(d.header[i+1:], name) {
			return 0, &InputError{File: d.src.name, Line: 1, Found: "two columns " + quote(name), Want: "one", final: true}
		}
		return i, nil
	}
	for _, name := range known {
		for _, column := range d.header {
			if strings.EqualFold(column, name) {
				return d.column(what, column, nil) // which refuses two of the same name
			}
		}
	}
	return -1, nil
}

func (d *table) next(row *Row) error {
	record, err := d.record()
	row.Line = d.src.line
	if err != nil {
		return err
	}
	if len(record) != len(d.header) {
		return &fault{fmt.Sprintf("%d columns", len(record)), fmt.Sprintf("%d, as in the header", len(d.header))}
	}
	if d.first {
		d.first = false
		d.binary = len(d.labels) > 1
		for _, i := range d.labels {
			d.binary = d.binary && (record[i] == "0" || record[i] == "1")
		}
		if d.binary {
			d.note("the label columns hold 0 and 1: each names its label")
		}
	}
	row.Text = strings.Clone(record[d.text])
	if d.id >= 0 {
		row.ID, row.HasID = strings.Clone(record[d.id]), true
	}
	row.HasLabels = len(d.labels) > 0
	for _, i := range d.labels {
		if err := d.cell(row, d.header[i], record[i]); err != nil {
			return err
		}
	}
	return nil
}

// cell reads the labels in one cell.
func (d *table) cell(row *Row, name, cell string) error {
	if d.binary {
		switch cell {
		case "0":
			return nil
		case "1":
			return d.addLabel(row, []byte(name))
		}
		return &fault{quote(cell) + " in column " + quote(name), "0 or 1, as in the first row"}
	}
	if d.sep == "" {
		if i := strings.IndexAny(cell, ";|,"); i >= 0 {
			for _, sep := range []string{";", "|", ","} {
				if strings.Contains(cell, sep) {
					d.sep = sep
					break
				}
			}
			d.note("labels are separated by %q, as in line %d; --label-sep overrides", d.sep, row.Line)
		}
	}
	return d.splitLabels(row, []byte(cell), d.sep)
}

// splitLabels adds the labels of a cell, without the blanks around them. An empty cell holds none; no separator means one.
func (r *Reader) splitLabels(row *Row, cell []byte, sep string) error {
	cell = bytes.TrimSpace(cell)
	for len(cell) > 0 {
		label, rest := cell, []byte(nil)
		if sep != "" {
			var more bool
			if label, rest, more = bytes.Cut(cell, []byte(sep)); more && len(rest) == 0 {
				return &fault{"labels that end with a separator: " + quote(cell), "a label after it"}
			}
		}
		if err := r.addLabel(row, bytes.TrimSpace(label)); err != nil {
			return err
		}
		cell = rest
	}
	return nil
}
