package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"gputrain/data"
)

// Formats of --format.
var formats = []string{"auto", "xmc", "libsvm", "fasttext", "jsonl", "csv", "tsv", "npy", "npz"}

// inputFlags are the flags that say how to read rows. With labelled, the rows are expected to have labels.
func inputFlags(labelled bool) []cli.Flag {
	flags := []cli.Flag{
		choice(catInput, "format", "auto", "format of the rows", formats...),
		&cli.StringFlag{Category: catInput, Name: "text-column", Usage: "`NAME` of the column or key with the text"},
		&cli.StringFlag{Category: catInput, Name: "id-column", Usage: "`NAME` of the column or key with the row's id"},
		choice(catInput, "index-base", "auto", "where feature ids start", "auto", "0", "1"),
		choice(catInput, "on-error", "fail", "what to do with a bad row", "fail", "skip"),
		&cli.StringFlag{Category: catInput, Name: "vectors", Usage: "a `FILE.npy` with a vector for each row, beside its text or features"},
	}
	if labelled {
		flags = append(flags,
			&cli.StringSliceFlag{Category: catInput, Name: "label-column", Usage: "`NAME` of a column or key with labels; may be repeated"},
			&cli.StringFlag{Category: catInput, Name: "label-sep", Usage: "`TEXT` between the labels of a cell (default: what the first rows use of ; | ,)"},
			&cli.StringFlag{Category: catInput, Name: "labels-file", Usage: "`FILE` with the labels, a line for each row, separated by tabs"},
			&cli.StringFlag{Category: catInput, Name: "label-names", Usage: "`FILE` with the names of numbered labels, one a line"},
			choice(catInput, "label-base", "auto", "where the ids of labels with names start", "auto", "0", "1"),
		)
	}
	return flags
}

func (r *invocation) inputOptions() data.Options {
	return data.Options{
		Format:       r.String("format"),
		LabelsFile:   r.String("labels-file"),
		LabelNames:   r.String("label-names"),
		TextColumn:   r.String("text-column"),
		LabelColumns: r.StringSlice("label-column"),
		IDColumn:     r.String("id-column"),
		LabelSep:     r.String("label-sep"),
		IndexBase:    r.String("index-base"),
		LabelBase:    r.String("label-base"),
		OnError:      r.String("on-error"),
	}
}

// oneStdin refuses to read two inputs from standard input, where the second would find nothing.
func (r *invocation) oneStdin() error {
	first := ""
	for _, name := range []string{"data", "train", "valid", "test", "input", "vectors", "valid-vectors", "labels-file", "valid-labels-file", "test-labels-file", "label-names"} {
		switch {
		case r.String(name) != "-":
		case first != "":
			return usagef("--%s and --%s cannot both be standard input", first, name)
		default:
			first = name
		}
	}
	return nil
}

// load reads all rows of a file, and of the file of their vectors if there is one, and says what was noticed.
func (r *invocation) load(ctx context.Context, path, vectors string, opt data.Options) (*data.Set, error) {
	set, err := r.loadFile(ctx, path, opt)
	if err != nil || vectors == "" {
		return set, err
	}
	if err := r.checkVectors(); err != nil {
		return nil, err
	}
	v, err := r.loadFile(ctx, vectors, data.Options{Format: "npy"})
	switch {
	case err != nil:
		return nil, err
	case set.V != nil:
		return nil, usagef("%s holds vectors already: --vectors is for rows of text or features", path)
	case v.Rows() != set.Rows():
		return nil, &data.InputError{File: vectors, Found: fmt.Sprintf("%d rows", v.Rows()), Want: fmt.Sprintf("%d, as in %s", set.Rows(), path)}
	}
	set.V = v.V
	return set, nil
}

// checkVectors refuses what would put vectors beside the wrong rows.
func (r *invocation) checkVectors() error {
	if r.String("on-error") == "skip" {
		return usagef("--on-error skip does not go with vectors: they would belong to other rows than the text")
	}
	return nil
}

func (r *invocation) loadFile(ctx context.Context, path string, opt data.Options) (*data.Set, error) {
	bar := r.log.bar()
	defer bar.close()
	size := fileSize(path)
	set, err := data.Load(ctx, path, opt, func(rows int, bytes int64) { bar.show("reading "+path, bytes, size) })
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &inputError{err}
	}
	r.tellInput(set.Info, set.Skipped)
	return set, nil
}

// tellInput says what was detected in an input, and which of its rows were skipped.
func (r *invocation) tellInput(info data.Info, skipped *data.InputErrors) {
	r.log.debug("%s: format %s %s", info.File, info.Format, info.Compression)
	for _, note := range info.Notes {
		r.log.info("%s: %s", info.File, note)
	}
	if skipped != nil && skipped.Count > 0 {
		r.log.warn("%s: %d bad rows were skipped:\n%v", info.File, skipped.Count, skipped)
	}
}

// sameBase makes the options of a later file read ids as those of the first were, unless they say otherwise.
func sameBase(opt data.Options, indexBase, labelBase string) data.Options {
	if opt.IndexBase == "auto" || opt.IndexBase == "" {
		opt.IndexBase = indexBase
	}
	if opt.LabelBase == "auto" || opt.LabelBase == "" {
		opt.LabelBase = labelBase
	}
	return opt
}
