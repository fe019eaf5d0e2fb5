package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"gputrain/backend"
)

// verb is one command of the program.
type verb struct {
	name, usage string
	examples    string // and what else stands above the flags in the help
	flags       func() []cli.Flag
	run         func(r *invocation) error
}

// invocation is what a verb gets: the flags, and the ways out.
type invocation struct {
	*cli.Context
	out     io.Writer      // results
	log     *logger        // everything else
	device  backend.Device // nil until openDevice
	signals *signals
}

// The categories of flags in the help.
const (
	catInput  = "Input"
	catOutput = "Output"
	catRun    = "Running"
)

func (v verb) command(signals *signals, verbErr *error) *cli.Command {
	flags := append(v.flags(), commonFlags()...)
	return &cli.Command{
		Name:            v.name,
		Usage:           v.usage,
		UsageText:       "gputrain " + v.name + " [flags]",
		Description:     v.examples,
		Flags:           flags,
		HideHelpCommand: true,
		OnUsageError:    func(c *cli.Context, err error, _ bool) error { return flagError(c, err) },
		Before: func(c *cli.Context) error {
			if c.Args().Present() {
				return &usageError{leftover(v.name, c.Args().Slice()), "gputrain " + v.name}
			}
			return applyConfig(c)
		},
		Action: func(c *cli.Context) error {
			*verbErr = (&invocation{Context: c, out: c.App.Writer, signals: signals}).carryOut(v)
			return nil
		},
	}
}

// carryOut runs the verb and closes what it has opened.
func (r *invocation) carryOut(v verb) (err error) {
	if err := r.oneStdin(); err != nil {
		return err
	}
	if r.log, err = newLogger(r.Context); err != nil {
		return err
	}
	err = v.run(r)
	if r.device != nil {
		err = errors.Join(err, r.device.Close())
	}
	return errors.Join(err, r.log.close())
}

// leftover says what is wrong with arguments that are no flags: the flag library silently stops at the first of them.
func leftover(verb string, args []string) string {
	msg := fmt.Sprintf("unexpected argument %q", args[0])
	if len(args) > 1 {
		msg += fmt.Sprintf(" (and what follows it: %s)", strings.Join(args[1:], " "))
	}
	input := map[string]string{"inspect": "data", "train": "train", "eval": "test", "predict": "input"}[verb]
	if _, err := os.Stat(args[0]); err == nil && input != "" {
		return msg + fmt.Sprintf("; a file is named by its flag: --%s %s", input, args[0])
	}
	return msg + "; all inputs are flags, and a switch takes a value only as in --json=false"
}

func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{DisableDefaultText: true, Category: catOutput, Name: "json", Usage: "print the result as one JSON object"},
		&cli.BoolFlag{DisableDefaultText: true, Category: catOutput, Name: "quiet", Usage: "print only warnings and errors beside the result"},
		choice(catOutput, "log-level", "info", "least important messages to print", levels...),
		&cli.StringFlag{Category: catRun, Name: "config", Usage: "read flags from a YAML `FILE` (name: value); a default < the file < the environment < a flag",
			EnvVars: []string{"GPUTRAIN_CONFIG"}},
	}
}

// need returns a usage error that names the first of the flags that was not given.
func (r *invocation) need(flags ...string) error {
	for _, f := range flags {
		if r.String(f) == "" {
			return &usageError{"--" + f + " is missing", "gputrain " + r.Command.Name}
		}
	}
	return nil
}
