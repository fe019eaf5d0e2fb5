//go:build !linux

package checkpoint

import "errors"

func exchange(_, _ string) error { return errors.ErrUnsupported }
func isMount(string) bool        { return false }
