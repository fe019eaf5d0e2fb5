//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package checkpoint

import "golang.org/x/sys/unix"

func mkfifo(path string) error { return unix.Mkfifo(path, 0o666) }
