package server

import "golang.org/x/sys/unix"

func diskOf(folder string) (disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return disk{}, err
	}
	return disk{free: int64(s.Bavail) * s.Bsize, size: int64(s.Blocks) * s.Bsize}, nil
}
