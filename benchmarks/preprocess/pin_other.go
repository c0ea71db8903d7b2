//go:build !linux

package preprocess

import (
	"errors"
	"time"
)

var start = time.Now()

// processTime is wall-clock time where processor time is not at hand.
func processTime() time.Duration { return time.Since(start) }

// Pin is for Linux.
func Pin(int) (unpin func(), err error) {
	return nil, errors.New("processes can be pinned to a processor on Linux only: use --cpu -1")
}

// LastProcessor is -1: any.
func LastProcessor() int { return -1 }
