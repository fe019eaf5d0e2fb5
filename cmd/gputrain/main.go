// Command gputrain trains, evaluates and applies classifiers that give each row its set of labels out of many.
//
// This package holds flags, wiring, messages and exit codes; it computes nothing.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"

	"gputrain/backend"
	"gputrain/checkpoint"
	"gputrain/data"
	"gputrain/train"
)

// The exit codes. 128 plus a signal's number follows the shells' custom: 130 SIGINT, 143 SIGTERM, 141 SIGPIPE.
const (
	exitDone        = 0
	exitFailure     = 1
	exitUsage       = 2
	exitData        = 3
	exitDevice      = 4
	exitMemory      = 5
	exitDiverged    = 6
	exitModel       = 7
	exitBug         = 70
	exitSignal      = 128
	exitCodesInHelp = `Exit codes:
   0 done   1 other failure   2 usage or configuration   3 bad input data   4 device not available   5 out of memory
   6 diverged   7 model or checkpoint unreadable   70 a bug of this program   130, 143 stopped by SIGINT, SIGTERM`
)

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

// run carries out one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) (code int) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(stderr, format, args...) }
	defer func() {
		if bug := recover(); bug != nil {
			say("error: bug in gputrain %s: %v\n%s\nPlease report this with the lines above and the command line: %q\n",
				version(), bug, debug.Stack(), args)
			code = exitBug
		}
	}()
	checkpoint.MadeBy = "gputrain " + version()
	err := execute(args, stdout, stderr)
	code = exitCode(err)
	if code == exitDone || errors.Is(err, syscall.EPIPE) {
		return code
	}
	var signal *signalError
	if errors.As(err, &signal) {
		say("%v\n", err)
		return code
	}
	say("error: %v\n", err)
	var usage *usageError
	if errors.As(err, &usage) && usage.help != "" {
		say("See: %s --help\n", usage.help)
	}
	return code
}

// execute runs the verb that the arguments name. What the flag library refuses is a usage error; what the verb returns is not,
// unless it says so.
func execute(args []string, stdout, stderr io.Writer) error {
	signals := watchSignals()
	defer signals.stop()
	var verbErr error
	app := &cli.App{
		Name:                      "gputrain",
		Usage:                     "train classifiers that give each row its set of labels",
		UsageText:                 "gputrain VERB [flags]",
		Description:               description,
		Version:                   version(),
		DisableSliceFlagSeparator: true, // labels and columns may hold commas
		Writer:                    stdout,
		ErrWriter:                 stderr,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              func(c *cli.Context, err error, _ bool) error { return flagError(c, err) },
	}
	for _, v := range []verb{inspectVerb, trainVerb, evalVerb, predictVerb, benchVerb, versionVerb} {
		app.Commands = append(app.Commands, v.command(signals, &verbErr))
	}
	app.Action = func(c *cli.Context) error {
		if !c.Args().Present() {
			app.Writer = stderr
			_ = cli.ShowAppHelp(c)
			return &usageError{msg: "no verb given"}
		}
		return unknown("verb", c.Args().First(), commandNames(app.Commands))
	}
	if err := app.Run(args); err != nil {
		var usage *usageError
		if !errors.As(err, &usage) {
			err = &usageError{msg: err.Error(), help: "gputrain"}
		}
		return err
	}
	return verbErr
}

const description = `Start here:
   gputrain inspect --data train.jsonl.gz                            what kind of data is it?
   gputrain train   --train train.jsonl.gz --model m                 train, with a validation split
   gputrain eval    --model m --test test.jsonl.gz                   measure
   gputrain predict --model m --input new.jsonl > predictions.jsonl  label new rows
Results go to standard output, everything else to standard error.

` + exitCodesInHelp

// exitCode is the one place that turns errors into exit codes.
func exitCode(err error) int {
	var (
		usage    *usageError
		option   *train.OptionError
		input    *inputError
		misfit   *misfitError
		row      *data.InputError
		rows     *data.InputErrors
		diverged *train.DivergedError
		signal   *signalError
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &signal):
		return exitSignal + int(signal.signal)
	case errors.Is(err, syscall.EPIPE):
		return exitSignal + int(syscall.SIGPIPE)
	case errors.As(err, &usage), errors.As(err, &option):
		return exitUsage
	case errors.Is(err, backend.ErrUnavailable):
		return exitDevice
	case errors.Is(err, backend.ErrOutOfMemory), errors.Is(err, syscall.ENOMEM):
		return exitMemory
	case errors.As(err, &diverged):
		return exitDiverged
	case errors.Is(err, checkpoint.ErrNotModel), errors.Is(err, checkpoint.ErrCorrupt), errors.Is(err, checkpoint.ErrVersion), errors.As(err, &misfit):
		return exitModel
	case errors.As(err, &row), errors.As(err, &rows), errors.As(err, &input):
		return exitData
	default:
		return exitFailure
	}
}

// inputError marks an error of opening or reading the user's data.
type inputError struct{ err error }

func (e *inputError) Error() string {
	var path *fs.PathError
	if errors.As(e.err, &path) && errors.Is(e.err, fs.ErrNotExist) {
		return path.Path + ": no such file"
	}
	return e.err.Error()
}

func (e *inputError) Unwrap() error { return e.err }

// misfitError says that a model reads another kind of input than it was given.
type misfitError struct{ err error }

func (e *misfitError) Error() string { return e.err.Error() }
func (e *misfitError) Unwrap() error { return e.err }
