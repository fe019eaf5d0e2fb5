package main

import (
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"gputrain/cpu"
	"gputrain/gpu"
)

var versionVerb = verb{
	name:  "version",
	usage: "print the version, and what this build can do",
	flags: func() []cli.Flag { return nil },
	run: func(r *invocation) error {
		v, err := about()
		if err != nil {
			return err
		}
		if r.Bool("json") {
			return r.printJSON(v)
		}
		return r.print(fields(
			"version", v.Version, "revision", v.Revision, "go", v.Go, "platform", v.Platform,
			"simd", onOff(v.SIMD), "cpu", v.CPU, "gpus", strings.Join(v.GPUs, ", "), "no gpu", v.NoGPU))
	},
}

// build describes this program.
type build struct {
	Version  string   `json:"version"`
	Revision string   `json:"revision,omitempty"` // of the sources, with "+" where they were changed
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	SIMD     bool     `json:"simd"` // built with GOEXPERIMENT=simd
	CPU      string   `json:"cpu"`
	GPUs     []string `json:"gpus"`
	NoGPU    string   `json:"no_gpu,omitempty"` // why GPUs cannot be used
}

// releaseVersion is the version of the sources.
const releaseVersion = "0.1.0"

func version() string { return releaseVersion }

func about() (build, error) {
	b := build{GPUs: []string{}, Version: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "GOEXPERIMENT":
				b.SIMD = slices.Contains(strings.Split(s.Value, ","), "simd")
			case s.Key == "vcs.revision":
				b.Revision = s.Value + b.Revision
			case s.Key == "vcs.modified" && s.Value == "true":
				b.Revision += "+"
			}
		}
	}
	if names, err := gpu.Devices(); err != nil {
		b.NoGPU = err.Error()
	} else {
		b.GPUs = names
	}
	dev := cpu.New(0)
	b.CPU = dev.Name()
	return b, dev.Close()
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
