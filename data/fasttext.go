package data

import "bytes"

const labelPrefix = "__label__"

// fastText reads lines of text in which each word with the prefix __label__ is a label; as in fastText, they may stand
// anywhere.
type fastText struct {
	*Reader
	words []byte
}

func newFastText(r *Reader) (decoder, error) {
	r.info.Kind = Text
	return &fastText{Reader: r}, nil
}

func (d *fastText) next(row *Row) error {
	line, err := d.src.nextFilled()
	row.Line = d.src.line
	if err != nil {
		return err
	}
	rest := bytes.TrimLeft(line, " \t")
	for bytes.HasPrefix(rest, []byte(labelPrefix)) {
		word := rest
		if end := bytes.IndexAny(rest, " \t"); end >= 0 {
			word = rest[:end]
		}
		if err := d.addLabel(row, word[len(labelPrefix):]); err != nil {
			return err
		}
		rest = bytes.TrimLeft(rest[len(word):], " \t")
	}
	if bytes.Contains(rest, []byte(labelPrefix)) {
		if rest, err = d.takeLabels(row, rest); err != nil {
			return err
		}
	}
	row.Text = string(rest)
	row.HasLabels = len(row.ids) > 0
	return nil
}

// takeLabels moves the labels out of a text.
func (d *fastText) takeLabels(row *Row, text []byte) ([]byte, error) {
	d.words = d.words[:0]
	for word := range bytes.FieldsSeq(text) {
		if bytes.HasPrefix(word, []byte(labelPrefix)) {
			if err := d.addLabel(row, word[len(labelPrefix):]); err != nil {
				return nil, err
			}
			continue
		}
		if len(d.words) > 0 {
			d.words = append(d.words, ' ')
		}
		d.words = append(d.words, word...)
	}
	return d.words, nil
}
