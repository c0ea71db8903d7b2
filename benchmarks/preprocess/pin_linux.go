package preprocess

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// processTime is the processor time that this process took so far.
func processTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// Pin moves every thread of this process to one processor; threads that start
// later follow. unpin takes them back.
func Pin(processor int) (unpin func(), err error) {
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("reading the processors of this process: %w", err)
	}
	only.Set(processor)
	if !before.IsSet(processor) {
		return nil, fmt.Errorf("processor %d is not one of this process's", processor)
	}
	if err := bind(&only); err != nil {
		return nil, fmt.Errorf("moving to processor %d: %w", processor, err)
	}
	return func() { _ = bind(&before) }, nil // it ran there before
}

func bind(set *unix.CPUSet) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, set); err != nil && err != unix.ESRCH { // a thread may end meanwhile
			return err
		}
	}
	return nil
}

// LastProcessor is the one to measure on by default: the first serves most
// interrupts. It is -1 if that's unknown.
func LastProcessor() int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return -1
	}
	for i := 64*len(set) - 1; i >= 0; i-- {
		if set.IsSet(i) {
			return i
		}
	}
	return -1
}
