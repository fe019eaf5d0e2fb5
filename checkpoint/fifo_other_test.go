//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package checkpoint

import "errors"

func mkfifo(string) error { return errors.ErrUnsupported }
