package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// signalError says that a signal stopped the program in good order.
type signalError struct {
	signal syscall.Signal
	err    error
}

func (e *signalError) Error() string { return e.err.Error() }
func (e *signalError) Unwrap() error { return e.err }

// signals ends the program at the first SIGINT or SIGTERM, unless there is something to save: see hold.
type signals struct {
	caught chan os.Signal
	mu     sync.Mutex
	cancel context.CancelCauseFunc // not nil while held
}

func watchSignals() *signals {
	s := &signals{caught: make(chan os.Signal, 2)}
	// SIGPIPE: a terminal that went away must not end a training; writes fail with EPIPE instead, see exitCode.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signal.Notify(s.caught, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		for sig := range s.caught {
			s.mu.Lock()
			cancel := s.cancel
			s.cancel = nil
			s.mu.Unlock()
			if cancel == nil {
				os.Exit(exitSignal + int(sig.(syscall.Signal)))
			}
			cancel(&signalError{sig.(syscall.Signal), fmt.Errorf("stopped by %v", sig)})
		}
	}()
	return s
}

func (s *signals) stop() {
	signal.Stop(s.caught)
	close(s.caught)
}

// hold returns a context that the first signal cancels; the second one ends the program at once.
func (s *signals) hold() (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	s.mu.Lock()
	s.cancel = cancel
	s.mu.Unlock()
	return ctx, func() {
		s.mu.Lock()
		s.cancel = nil
		s.mu.Unlock()
		cancel(nil)
	}
}

// caughtSignal returns the signal that cancelled a context of hold.
func caughtSignal(ctx context.Context) (syscall.Signal, bool) {
	var s *signalError
	if errors.As(context.Cause(ctx), &s) {
		return s.signal, true
	}
	return 0, false
}
