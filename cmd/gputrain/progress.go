package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"gputrain/train"
)

// bar is a progress bar on a terminal; nil, and silent, elsewhere.
type bar struct {
	log       *logger
	out       io.Writer // of the log, before
	container *mpb.Progress
	line      *mpb.Bar
	phase     string
}

// bar returns a bar at the bottom of the terminal, or nil where messages do not go to one or are not wanted.
func (l *logger) bar() *bar {
	file, ok := l.out.(*os.File)
	if !ok || l.level < levelInfo || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	b := &bar{log: l, out: l.out, container: mpb.New(mpb.WithOutput(file), mpb.WithWidth(40))}
	l.setOut(b.container)
	return b
}

// show says how far a phase is.
func (b *bar) show(phase string, done, total int64) {
	if b == nil || total <= 0 {
		return
	}
	if b.line == nil || phase != b.phase {
		b.drop()
		b.phase = phase
		b.line = b.container.AddBar(total, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(phase+" ")),
			mpb.AppendDecorators(decor.NewPercentage("%d"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	b.line.SetCurrent(done)
}

func (b *bar) drop() {
	if b.line != nil {
		b.line.Abort(true)
		b.line.Wait()
	}
}

// close takes the bar away.
func (b *bar) close() {
	if b == nil {
		return
	}
	b.drop()
	b.container.Wait()
	b.log.setOut(b.out)
}

// follow returns a receiver of training's events, which shows and records them.
func (l *logger) follow(b *bar) func(train.Event) {
	return func(e train.Event) {
		switch {
		case e.Note != nil:
			if e.Note.Topic == "warning" {
				l.warn("%s", e.Note.Text)
			} else {
				l.info("%s: %s", e.Note.Topic, e.Note.Text)
			}
			l.record("note", e.Note)
		case e.Progress != nil:
			b.show(e.Progress.Phase, e.Progress.Done, e.Progress.Total)
		case e.Epoch != nil:
			l.info("%s", epochLine(e.Epoch))
			l.record("epoch", e.Epoch)
		}
	}
}

func epochLine(e *train.Epoch) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: epoch %d/%d  loss %.4f", e.Phase, e.Epoch, e.Epochs, e.Loss)
	for _, m := range []struct{ name, label string }{{"p@1", "P@1"}, {"micro_f1", "micro-F1"}} {
		if v, err := e.Metrics.Value(m.name); err == nil {
			fmt.Fprintf(&s, "  %s %s", m.label, percent(v))
		}
	}
	fmt.Fprintf(&s, "  %.0f rows/s", e.Rate)
	if e.ETA > 0 {
		fmt.Fprintf(&s, "  ETA %s", duration(e.ETA))
	}
	if e.Best {
		s.WriteString("  best")
	}
	return s.String()
}

// duration writes seconds for people.
func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// fileSize returns the size of a regular file, or 0.
func fileSize(path string) int64 {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return info.Size()
	}
	return 0
}
