//go:build !linux

package main

import "errors"

func diskOf(string) (disk, error) { return disk{}, errors.ErrUnsupported }
