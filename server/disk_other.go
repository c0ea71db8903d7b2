//go:build !linux

package server

import "errors"

func diskOf(string) (disk, error) { return disk{}, errors.ErrUnsupported }
