package data

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonLines reads one JSON object a line. Keys that it does not know are passed over.
type jsonLines struct {
	*Reader
	textKey, idKey string
	labelKeys      []string
	base           int64

	in      bytes.Buffer
	dec     *jsontext.Decoder
	key     []byte
	scratch []byte
}

func newJSONL(r *Reader) (decoder, error) {
	d := &jsonLines{Reader: r, textKey: cmp.Or(r.opt.TextColumn, "text"), idKey: cmp.Or(r.opt.IDColumn, "id")}
	d.labelKeys = r.opt.LabelColumns
	if len(d.labelKeys) == 0 {
		d.labelKeys = []string{"labels", "label"}
	}
	if r.opt.IndexBase == "1" {
		d.base = 1
	}
	d.dec = jsontext.NewDecoder(&d.in)
	return d, nil
}

func (d *jsonLines) next(row *Row) error {
	line, err := d.src.nextFilled()
	row.Line = d.src.line
	if err != nil {
		return err
	}
	d.in = *bytes.NewBuffer(line)
	d.dec.Reset(&d.in)
	err = d.object(row)
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax):
		return &fault{fmt.Sprintf("%v at byte %d of the line", syntax.Err, syntax.ByteOffset+1), "a JSON object"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &fault{fmt.Sprintf("the end of the line at byte %d", len(line)+1), "a whole JSON object"}
	case err == nil:
		end := d.dec.InputOffset()
		if _, err := d.dec.ReadToken(); err != io.EOF {
			return &fault{fmt.Sprintf("more after the object's end at byte %d of the line", end), "one JSON object a line"}
		}
	}
	return err
}

// object reads the line's object. Errors are faults, or those of the JSON decoder.
func (d *jsonLines) object(row *Row) error {
	if err := d.begin('{', "the line"); err != nil {
		return err
	}
	kind, second := Unknown, Unknown
	for d.dec.PeekKind() != '}' {
		key, err := d.name()
		if err != nil {
			return err
		}
		found := Unknown
		switch k := string(key); k { // no allocation: k does not escape
		case d.textKey:
			found = Text
			if d.scratch, err = d.str("text", d.scratch[:0]); err == nil {
				row.Text = string(d.scratch)
			}
		case "features":
			found = Sparse
			err = d.features(row)
		case "vector":
			found = Dense
			row.Vector, err = d.floats("vector", row.Vector)
		case d.idKey:
			err = d.id(row)
		case d.labelKeys[0]:
			err = d.labelSet(row)
		default:
			if len(d.labelKeys) > 1 && k == d.labelKeys[1] {
				err = d.labelSet(row)
				break
			}
			err = d.dec.SkipValue()
		}
		if err != nil {
			return err
		}
		if found != Unknown {
			kind, second = found, kind
		}
		if second != Unknown {
			return &fault{fmt.Sprintf("both %s and %s", d.keyOf(second), d.keyOf(kind)), "one of them"}
		}
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return err
	}
	return d.checkKind(row, kind)
}

// checkKind sees to it that all rows are of the first one's kind.
func (d *jsonLines) checkKind(row *Row, kind Kind) error {
	if kind == Unknown {
		return &fault{"none of " + d.keyOf(Text) + `, "features", "vector"`, "one of them; --text-column names another key for the text"}
	}
	if d.info.Kind == Unknown {
		d.info.Kind = kind
		switch kind {
		case Sparse:
			d.info.IndexBase = "0"
			if d.base == 1 {
				d.info.IndexBase = "1"
			}
		case Dense:
			d.info.Features = len(row.Vector)
		}
	}
	if kind != d.info.Kind {
		return &fault{"a row with " + d.keyOf(kind), d.keyOf(d.info.Kind) + ", as in the first row"}
	}
	if kind == Dense && (len(row.Vector) != d.info.Features || len(row.Vector) == 0) {
		return &fault{fmt.Sprintf("a vector of %d numbers", len(row.Vector)), fmt.Sprintf("%d, as in the first row", max(d.info.Features, 1))}
	}
	return nil
}

func (d *jsonLines) keyOf(kind Kind) string {
	switch kind {
	case Sparse:
		return `"features"`
	case Dense:
		return `"vector"`
	}
	return quote(d.textKey)
}

// name reads the key of an object's next member.
func (d *jsonLines) name() ([]byte, error) {
	raw, err := d.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	d.key, err = jsontext.AppendUnquote(d.key[:0], raw)
	return d.key, err
}

// expect refuses a next value that is not of the kind. What is no JSON at all is left to the read that follows.
func (d *jsonLines) expect(kind jsontext.Kind, what string) error {
	if found := d.dec.PeekKind(); found != kind && found > 0 {
		return &fault{article(found) + " as " + what, article(kind)}
	}
	return nil
}

// value reads the next value, which must be of the kind.
func (d *jsonLines) value(kind jsontext.Kind, what string) (jsontext.Value, error) {
	if err := d.expect(kind, what); err != nil {
		return nil, err
	}
	return d.dec.ReadValue()
}

// begin reads the bracket that opens an array or an object.
func (d *jsonLines) begin(kind jsontext.Kind, what string) error {
	if err := d.expect(kind, what); err != nil {
		return err
	}
	_, err := d.dec.ReadToken()
	return err
}

func article(kind jsontext.Kind) string {
	switch kind {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 'n':
		return "null"
	}
	return "a boolean"
}

// str appends a string to dst.
func (d *jsonLines) str(what string, dst []byte) ([]byte, error) {
	raw, err := d.value('"', what)
	if err != nil {
		return dst, err
	}
	if dst, err = jsontext.AppendUnquote(dst, raw); err == nil && bytes.IndexByte(dst, 0) >= 0 {
		err = &fault{"a NUL character in the " + what, "text"}
	}
	return dst, err
}

// id reads the row's id: a string, or a number as it is written.
func (d *jsonLines) id(row *Row) (err error) {
	if d.dec.PeekKind() == '0' {
		raw, err := d.dec.ReadValue()
		row.ID, row.HasID = string(raw), true
		return err
	}
	d.scratch, err = d.str("id", d.scratch[:0])
	row.ID, row.HasID = string(d.scratch), true
	return err
}

// labelSet reads the row's labels: an array, or one label; null states none.
func (d *jsonLines) labelSet(row *Row) error {
	if row.HasLabels {
		return &fault{"labels under two keys", "one of " + strings.Join(d.labelKeys, ", ")}
	}
	switch d.dec.PeekKind() {
	case 'n':
		return d.dec.SkipValue()
	case '[':
		row.HasLabels = true
		if _, err := d.dec.ReadToken(); err != nil {
			return err
		}
		for d.dec.PeekKind() != ']' {
			if err := d.label(row); err != nil {
				return err
			}
		}
		_, err := d.dec.ReadToken()
		return err
	}
	row.HasLabels = true
	if d.opt.LabelSep == "" || d.dec.PeekKind() == '0' {
		return d.label(row)
	}
	var err error
	if d.scratch, err = d.str("labels", d.scratch[:0]); err != nil {
		return err
	}
	return d.splitLabels(row, d.scratch, d.opt.LabelSep)
}

// label reads one label: a string, or a number as it is written.
func (d *jsonLines) label(row *Row) (err error) {
	if d.dec.PeekKind() == '0' {
		raw, err := d.dec.ReadValue()
		if err != nil {
			return err
		}
		return d.addLabel(row, raw)
	}
	if d.scratch, err = d.str("label", d.scratch[:0]); err != nil {
		return err
	}
	return d.addLabel(row, d.scratch)
}

// features reads {"17": 0.5} or {"indices": [17], "values": [0.5]}.
func (d *jsonLines) features(row *Row) error {
	if err := d.begin('{', "features"); err != nil {
		return err
	}
	lists, pairs := false, false
	for d.dec.PeekKind() != '}' {
		key, err := d.name()
		if err != nil {
			return err
		}
		switch string(key) {
		case "indices":
			lists = true
			err = d.indices(row)
		case "values":
			lists = true
			row.Values, err = d.floats("values", row.Values)
		default:
			pairs = true
			var id int32
			if id, err = d.featureID(key); err != nil {
				return err
			}
			row.Indices = append(row.Indices, id)
			var v float32
			if v, err = d.float("features"); err == nil {
				row.Values = append(row.Values, v)
			}
		}
		if err != nil {
			return err
		}
	}
	_, err := d.dec.ReadToken()
	if err == nil && (len(row.Indices) != len(row.Values) || lists && pairs) {
		return &fault{fmt.Sprintf("%d feature ids and %d values", len(row.Indices), len(row.Values)), `as many "values" as "indices", or {"id": value}`}
	}
	return err
}

func (d *jsonLines) indices(row *Row) error {
	if err := d.begin('[', "indices"); err != nil {
		return err
	}
	for d.dec.PeekKind() != ']' {
		raw, err := d.value('0', "indices")
		if err != nil {
			return err
		}
		id, err := d.featureID(raw)
		if err != nil {
			return err
		}
		row.Indices = append(row.Indices, id)
	}
	_, err := d.dec.ReadToken()
	return err
}

func (d *jsonLines) featureID(b []byte) (int32, error) {
	id, n := parseID(b)
	if id -= d.base; n == 0 || n < len(b) || id < 0 || id >= math.MaxInt32 {
		return 0, &fault{"feature id " + quote(b), fmt.Sprintf("a number from %d to %d", d.base, math.MaxInt32-1+d.base)}
	}
	return int32(id), nil
}

func (d *jsonLines) floats(what string, dst []float32) ([]float32, error) {
	if err := d.begin('[', what); err != nil {
		return dst, err
	}
	for d.dec.PeekKind() != ']' {
		v, err := d.float(what)
		if err != nil {
			return dst, err
		}
		dst = append(dst, v)
	}
	_, err := d.dec.ReadToken()
	return dst, err
}

func (d *jsonLines) float(what string) (float32, error) {
	raw, err := d.value('0', what)
	if err != nil {
		return 0, err
	}
	v, ok := parseFloat(raw)
	if !ok {
		return 0, &fault{"the number " + quote(raw) + " in " + what, "a number that a float32 can hold"}
	}
	return v, nil
}
