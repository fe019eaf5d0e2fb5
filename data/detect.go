package data

import (
	"bytes"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	xmcHeader  = regexp.MustCompile(`^\s*\d+\s+\d+\s+\d+\s*$`)
	sparseLine = regexp.MustCompile(`^\s*[^\s:]*(\s+\d+:\S+)+\s*(#.*)?$|^\d+:\S+(\s+\d+:\S+)*\s*$`)
)

// byExt are the formats that a name's ending tells.
var byExt = map[string]string{
	".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".npy": "npy", ".npz": "npz",
	".svm": "libsvm", ".libsvm": "libsvm", ".svmlight": "libsvm", ".xmc": "xmc", ".fasttext": "fasttext",
}

// detect returns the format of src: the one asked for, else what the first bytes show without doubt, else what the name's
// ending says, else what the first line looks like.
func detect(src *source, opt Options, note func(string, ...any)) (string, error) {
	head := src.peek(false)
	if opt.Format != "" && opt.Format != "auto" {
		return opt.Format, checkHead(src, opt.Format, head)
	}
	line, _, _ := bytes.Cut(bytes.TrimLeft(head, "\r\n"), []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	name := strings.ToLower(src.name)
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	format := byExt[filepath.Ext(name)]
	switch {
	case bytes.HasPrefix(head, npyMagic):
		format = "npy"
	case bytes.HasPrefix(head, zipMagic):
		format = "npz"
	case bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("{")):
		format = "jsonl"
	case format != "":
	case xmcHeader.Match(line):
		format = "xmc"
	case bytes.HasPrefix(line, []byte(labelPrefix)):
		format = "fasttext"
	case sparseLine.Match(line):
		format = "libsvm"
		note("sparse rows without a header: read as libsvm; --format xmc if ids start at 0")
	case hasTextColumn(line, "\t", opt):
		format = "tsv"
	case hasTextColumn(line, ",", opt), hasTextColumn(line, ";", opt):
		format = "csv"
	case bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("[")) && strings.HasSuffix(name, ".json"):
		return "", src.whole("a JSON array", "one JSON object a line")
	default:
		format = "fasttext"
		note("read as plain text, one row a line")
	}
	return format, checkHead(src, format, head)
}

// checkHead refuses a file whose first bytes cannot be of the format, with a better message than its first row would get.
func checkHead(src *source, format string, head []byte) error {
	if format == "npy" || format == "npz" {
		return nil
	}
	line, _, _ := bytes.Cut(head, []byte("\n"))
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return src.whole("UTF-16 text", "UTF-8 text")
	case bytes.IndexByte(line, 0) >= 0:
		return src.whole("a binary file", format+" text")
	}
	return nil
}

// hasTextColumn tells whether a line looks like the header of a table with a column of text. A blank after the separator
// speaks for a sentence.
func hasTextColumn(line []byte, sep string, opt Options) bool {
	if !bytes.Contains(line, []byte(sep)) {
		return false
	}
	for column := range strings.SplitSeq(string(line), sep) {
		column = strings.Trim(column, `"`)
		if column == opt.TextColumn && column != "" || slices.Contains(textColumns, strings.ToLower(column)) {
			return true
		}
	}
	return false
}
