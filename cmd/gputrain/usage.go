package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/urfave/cli/v2"
)

// usageError is a command line or configuration that cannot be carried out.
type usageError struct {
	msg  string
	help string // the command whose --help explains it
}

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return &usageError{msg: fmt.Sprintf(format, args...)} }

// unknown is the error for a value that is not among those known; it suggests the nearest one.
func unknown(what, value string, known []string) error {
	if near := nearest(value, known); near != "" {
		return usagef("unknown %s %q; did you mean %q?", what, value, near)
	}
	return usagef("unknown %s %q; there are %s", what, value, strings.Join(known, ", "))
}

// nearest returns the known name with the fewest edits to value, or "" where even that one differs in more than half.
func nearest(value string, known []string) string {
	best, distance := "", 0
	for _, k := range known {
		d := levenshtein.ComputeDistance(strings.ToLower(value), strings.ToLower(k))
		if best == "" || d < distance {
			best, distance = k, d
		}
	}
	if 2*distance > max(len(value), len(best)) {
		return ""
	}
	return best
}

// flagError turns what the flag library says into our words.
func flagError(c *cli.Context, err error) error {
	help := strings.TrimSpace("gputrain " + c.Command.Name)
	if c.Command.Name == "" || c.Command.Name == "gputrain" {
		help = "gputrain"
	}
	msg := err.Error()
	if name, ok := strings.CutPrefix(msg, "flag provided but not defined: -"); ok {
		name = strings.TrimLeft(name, "-")
		msg = fmt.Sprintf("unknown flag --%s", name)
		if near := nearest(name, flagNames(c.Command.Flags)); near != "" {
			msg += fmt.Sprintf("; did you mean --%s?", near)
		} else if help == "gputrain" { // here only -h and -v are known
			msg += "; flags follow the verb"
		}
	} else {
		// invalid value "x" for flag -epochs: parse error
		msg = strings.Replace(msg, " for flag -", " for flag --", 1)
		msg = strings.Replace(msg, "flag needs an argument: -", "no value for flag --", 1)
		msg = strings.Replace(msg, "---", "--", 1)
	}
	return &usageError{msg: msg, help: help}
}

func flagNames(flags []cli.Flag) []string {
	var names []string
	for _, f := range flags {
		names = append(names, f.Names()...)
	}
	return names
}

func commandNames(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
	}
	return names
}

// choice makes a flag that takes one of the known values.
func choice(category, name, value, usage string, known ...string) *cli.StringFlag {
	return &cli.StringFlag{
		Category: category, Name: name, Value: value, Usage: usage + ": " + strings.Join(known, ", "),
		Action: func(_ *cli.Context, got string) error {
			if slices.Contains(known, got) {
				return nil
			}
			return unknown("value of --"+name, got, known)
		},
	}
}

// parseInts reads numbers from 1 on, separated by commas.
func parseInts(flag, s string) ([]int, error) {
	var list []int
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 {
			return nil, usagef("--%s %s: want numbers from 1 on, as in 1,3,5", flag, s)
		}
		list = append(list, n)
	}
	return list, nil
}
