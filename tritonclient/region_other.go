//go:build !linux

package tritonclient

import "errors"

// regionsWork: shared memory with Triton is for Linux, as Triton is.
const regionsWork = false

type region struct {
	name string
	mem  []byte
}

func newRegion(int) (*region, error) { return nil, errors.ErrUnsupported }

func (r *region) close(bool) error { return nil }

func removeLeftovers() {}
