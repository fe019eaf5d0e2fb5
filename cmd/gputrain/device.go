package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"gputrain/backend"
	"gputrain/cpu"
	"gputrain/gpu"
)

// usedDevice is what JSON results say about the device.
type usedDevice struct {
	Device         string `json:"device"`
	FallbackReason string `json:"fallback_reason,omitempty"` // why --device auto took the processor
}

func deviceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Category: catRun, Name: "device", Value: "auto", EnvVars: []string{"GPUTRAIN_DEVICE"},
			Usage: "`DEVICE` to compute on: auto (a GPU if there is one), cpu, cuda, cuda:N"},
		&cli.IntFlag{Category: catRun, Name: "threads", EnvVars: []string{"GPUTRAIN_THREADS"}, Usage: "threads of the processor to use; 0: all",
			Action: func(_ *cli.Context, n int) error {
				if n < 0 {
					return usagef("--threads %d: want 0 or more", n)
				}
				return nil
			}},
	}
}

// openDevice opens the device that --device names, and says which it is in the first line on standard error. Only auto falls
// back to the processor. The device is closed when the verb is done.
func (r *invocation) openDevice() (backend.Device, usedDevice, error) {
	name := r.String("device")
	kind, index, _ := strings.Cut(name, ":")
	n, err := strconv.Atoi(index)
	if index != "" && (kind != "cuda" || err != nil || n < 0) {
		return nil, usedDevice{}, usagef("--device %s: want auto, cpu, cuda or cuda:N", name)
	}
	var used usedDevice
	switch kind {
	case "auto", "cuda":
		dev, err := gpu.Open(n)
		if err == nil {
			r.device, used.Device = dev, dev.Name()
			r.log.info("device: %s", used.Device)
			return dev, used, nil
		}
		if kind == "cuda" {
			return nil, used, fmt.Errorf("%w; --device cpu works without one", err)
		}
		used.FallbackReason = err.Error()
	case "cpu":
	default:
		return nil, used, unknown("device", name, []string{"auto", "cpu", "cuda", "cuda:0"})
	}
	dev := cpu.New(r.Int("threads"))
	r.device, used.Device = dev, dev.Name()
	if used.FallbackReason != "" {
		r.log.info("device: %s (no GPU: %s)", used.Device, used.FallbackReason)
	} else {
		r.log.info("device: %s", used.Device)
	}
	return dev, used, nil
}
