// Package gpu is the backend for NVIDIA GPUs. This build is without it: both functions say so.
package gpu

import (
	"fmt"

	"gputrain/backend"
)

var errNoBackend = fmt.Errorf("gpu: %w: this build has no GPU backend", backend.ErrUnavailable)

// Open returns the GPU with this index, in the order of Devices. The error wraps backend.ErrUnavailable where there is none.
func Open(index int) (backend.Device, error) { return nil, errNoBackend }

// Devices names the GPUs that Open takes. The error wraps backend.ErrUnavailable where there can be none, and says why.
func Devices() ([]string, error) { return nil, errNoBackend }
