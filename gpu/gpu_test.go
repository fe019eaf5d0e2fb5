package gpu

import (
	"errors"
	"strings"
	"testing"

	"gputrain/backend"
)

func TestUnavailable(t *testing.T) {
	_, openErr := Open(0)
	_, listErr := Devices()
	for _, err := range []error{openErr, listErr} {
		if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "no GPU backend") {
			t.Errorf("error %v: want ErrUnavailable and the reason", err)
		}
	}
}
