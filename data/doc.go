// Package data reads labelled rows from files and hands them on as host matrices.
//
// Open reads any supported format row by row in bounded memory; Load reads a whole file into a Set; Vocabulary maps label
// names to ids; Split and Batches cut the rows of a Set into validation rows and shuffled batches.
//
// Formats (Options.Format, or "auto"). Text formats may be compressed with gzip or zstd, which is found by magic bytes, not
// by name; they are UTF-8 and may have a byte order mark and CRLF line ends.
//
//	xmc       "3,17 0:1.5 4:2": label ids, then id:value pairs; first line "N D L" (rows, features, labels) optional
//	libsvm    the same without the header, ids usually from 1; a "#" starts a comment; labels are names, not numbers
//	fasttext  "__label__a __label__b some text"; lines without labels are plain text
//	jsonl     one object a line: "text", or "features" ({"id": value} or {"indices": [], "values": []}), or "vector";
//	          "labels" (an array of strings or numbers, or one of them alone); "id"
//	csv, tsv  a header names the columns; csv quotes as in RFC 4180 with comma or semicolon, tsv never quotes
//	npy       a float16, float32 or float64 matrix of N×D, labels in Options.LabelsFile
//	npz       a CSR matrix as scipy.sparse.save_npz writes it, labels in Options.LabelsFile
//
// Blank lines are skipped, except that in an xmc file with a header they are rows without labels and features until N rows
// were read, and that in a labels file they are rows without labels.
//
// Ids that start at 0 or 1. Feature ids are handed on from 0. An option decides; otherwise the first MiB does: in xmc an id D
// (of the header) without an id 0 means that they start at 1, else at 0; in libsvm an id 0 means that they start at 0, else
// at 1. Info.IndexBase tells, and a later contradiction is an error with its line. A second file of the same data should be
// opened with the first one's IndexBase: a small file may not show where its ids start.
package data
