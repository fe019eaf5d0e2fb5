package backendtest

import "time"

// meter adds up the time between start and stop: of the processor where that can be had, so that other programs do not count.
type meter struct{ began, total time.Duration }

func (m *meter) start() { m.began = now() }
func (m *meter) stop()  { m.total += now() - m.began }
