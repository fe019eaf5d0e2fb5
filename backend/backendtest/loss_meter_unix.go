//go:build unix

package backendtest

import (
	"syscall"
	"time"
)

// now returns the processor time of the program so far.
func now() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
