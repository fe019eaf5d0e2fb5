package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"gputrain/bench"
)

var benchVerb = verb{
	name:  "bench",
	usage: "measure this machine: memory copy, losses, matrix product, training step",
	examples: `Examples:
   gputrain bench
   gputrain bench --full --json

copies is the CPU time of a loss, forward and backward, over that of one thread copying the same logits once. Values are
medians; CPU time is user and system time of all threads.`,
	flags: func() []cli.Flag {
		return append(deviceFlags(),
			&cli.BoolFlag{DisableDefaultText: true, Category: catRun, Name: "full", Usage: "the large shapes (minutes, and 3 GB of memory)"},
			&cli.StringSliceFlag{Category: catRun, Name: "shape", Usage: "measure losses on `ROWSxLABELS` instead, as in 256x4096; may be repeated"},
			&cli.StringFlag{Category: catRun, Name: "head", Usage: "measure the step of a head of `INPUTSxLABELS` instead, as in 768x8192"},
		)
	},
	run: func(r *invocation) error {
		opt, err := r.benchOptions()
		if err != nil {
			return err
		}
		dev, used, err := r.openDevice()
		if err != nil {
			return err
		}
		report, err := bench.Run(dev, opt)
		if err != nil {
			return err
		}
		if r.Bool("json") {
			return r.printJSON(struct {
				*bench.Report
				usedDevice
			}{report, used})
		}
		return printBench(r, report)
	},
}

func (r *invocation) benchOptions() (bench.Options, error) {
	opt := bench.Options{Tell: func(what string) { r.log.info("measuring %s", what) }}
	if r.Bool("full") {
		opt.Shapes, opt.Head = bench.LargeShapes, bench.LargeHead
	}
	if list := r.StringSlice("shape"); len(list) > 0 {
		opt.Shapes = nil
		for _, s := range list {
			shape, err := parseShape("shape", s)
			if err != nil {
				return opt, err
			}
			opt.Shapes = append(opt.Shapes, shape)
		}
	}
	var err error
	if s := r.String("head"); s != "" {
		opt.Head, err = parseShape("head", s)
	}
	return opt, err
}

func parseShape(flag, s string) (shape [2]int, err error) {
	a, b, _ := strings.Cut(s, "x")
	for i, part := range []string{a, b} {
		if shape[i], err = strconv.Atoi(part); err != nil || shape[i] < 1 {
			return shape, usagef("--%s %s: want two numbers from 1 on, as in 256x4096", flag, s)
		}
	}
	return shape, nil
}

func printBench(r *invocation, b *bench.Report) error {
	ms := func(seconds float64) string { return fmt.Sprintf("%.2f", 1000*seconds) }
	var g grid
	g.row("", "rows", "labels", "ms", "CPU ms", "")
	for _, l := range b.Loss {
		g.row("loss "+l.Name, fmt.Sprint(l.Rows), fmt.Sprint(l.Labels), ms(l.Seconds), ms(l.CPUSeconds), fmt.Sprintf("%.1f copies", l.Copies))
	}
	for _, s := range b.Step {
		g.row(fmt.Sprintf("step %s, %d inputs, %s", s.Name, s.Inputs, s.Optimizer), fmt.Sprint(s.Rows), fmt.Sprint(s.Labels),
			ms(s.Seconds), ms(s.CPUSeconds), fmt.Sprintf("%.1f GFLOP/s", s.GFlops))
	}
	return r.print(g.String(), fields("copy", fmt.Sprintf("%.1f GB/s read and written, one thread", b.CopyGBs), "matrix product", fmt.Sprintf("%.1f GFLOP/s, %.1f in a CPU second", b.GemmGFlops, b.GemmCPU)))
}
