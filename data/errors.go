package data

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// InputError says what is wrong with an input, and where.
type InputError struct {
	File  string
	Line  int // from 1; the row in a binary file; 0 where the whole file is meant
	Found string
	Want  string
	Err   error // the cause, where another package found the fault

	final bool // reading cannot go on after it
}

func (e *InputError) Error() string {
	at := e.File
	if e.Line > 0 {
		at += ":" + strconv.Itoa(e.Line)
	}
	return fmt.Sprintf("%s: found %s, want %s", at, e.Found, e.Want)
}

func (e *InputError) Unwrap() error { return e.Err }

// maxKept is the number of bad rows that are kept and shown; the rest is only counted.
const maxKept = 5

// InputErrors are the bad rows of one input: the first few, and how many there are.
type InputErrors struct {
	First []*InputError
	Count int
}

func (e *InputErrors) Error() string {
	var b strings.Builder
	for i, bad := range e.First {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(bad.Error())
	}
	if more := e.Count - len(e.First); more > 0 {
		fmt.Fprintf(&b, "\nand %d more like these: %d errors in all", more, e.Count)
	}
	return b.String()
}

// Unwrap returns the errors that were kept, so that errors.As finds an *InputError.
func (e *InputErrors) Unwrap() []error {
	errs := make([]error, len(e.First))
	for i, bad := range e.First {
		errs[i] = bad
	}
	return errs
}

func (e *InputErrors) add(bad *InputError) {
	if len(e.First) < maxKept {
		e.First = append(e.First, bad)
	}
	e.Count++
}

// fault is what a format's decoder reports about one row; the Reader adds file and line.
type fault struct{ found, want string }

func (f *fault) Error() string { return "found " + f.found + ", want " + f.want }

// quote shows a piece of the input, shortened.
func quote[T ~string | ~[]byte](s T) string {
	const limit = 40
	if len(s) <= limit {
		return strconv.Quote(string(s))
	}
	cut := limit
	for cut > limit-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(string(s[:cut])) + "…"
}
