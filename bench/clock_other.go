//go:build !unix

package bench

import "time"

var start = time.Now()

// cpuSeconds returns wall time, where the system does not tell the time of the process.
func cpuSeconds() float64 { return time.Since(start).Seconds() }
