package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
)

// levels of messages, the most important first.
var levels = []string{"error", "warn", "info", "debug"}

const (
	levelWarn = iota + 1
	levelInfo
	levelDebug
)

// logger writes messages for people to standard error and, with --log-json, what happens to a file for programs.
type logger struct {
	mu    sync.Mutex
	out   io.Writer // may change to a writer that keeps a progress bar below the lines
	level int
	file  *os.File
}

func newLogger(c *cli.Context) (*logger, error) {
	l := &logger{out: c.App.ErrWriter, level: slices.Index(levels, c.String("log-level"))}
	if c.Bool("quiet") {
		l.level = min(l.level, levelWarn)
	}
	if path := c.String("log-json"); path != "" {
		var err error
		if l.file, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666); err != nil {
			return nil, usagef("--log-json: %v", err)
		}
	}
	return l, nil
}

func (l *logger) setOut(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = w
}

func (l *logger) print(level int, format string, args ...any) {
	if level > l.level {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(l.out, format+"\n", args...) // there is no other place to complain
}

func (l *logger) warn(format string, args ...any)  { l.print(levelWarn, "warning: "+format, args...) }
func (l *logger) info(format string, args ...any)  { l.print(levelInfo, format, args...) }
func (l *logger) debug(format string, args ...any) { l.print(levelDebug, format, args...) }

// record adds a line {"time": ..., kind: value} to the log file. A log that cannot be written is given up with a warning: it
// must not end what it reports on.
func (l *logger) record(kind string, value any) {
	if l.file == nil {
		return
	}
	line, err := json.Marshal(map[string]any{"time": time.Now().Format(time.RFC3339Nano), kind: value})
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
	}
	if err != nil {
		l.warn("no more lines to the log: %v", err)
		l.file.Close()
		l.file = nil
	}
}

func (l *logger) close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
