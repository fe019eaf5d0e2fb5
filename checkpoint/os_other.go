//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package checkpoint

import (
	"errors"
	"os"
)

// On systems without these calls files are read whole, two trainings into one folder are not told apart, and the durability of
// a rename is the system's own.

func mmap(*os.File, int) ([]byte, error) { return nil, errors.ErrUnsupported }
func munmap([]byte) error                { return nil }
func flock(*os.File) (bool, error)       { return true, nil }
func syncDir(string) error               { return nil }
