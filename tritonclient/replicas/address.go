package replicas

import (
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// An address is host:port, or unix:///PATH of a Unix socket.

func validAddress(a string) bool {
	if path, ok := socketPath(a); ok {
		return filepath.IsAbs(path)
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// socketPath returns the path of an address that is a Unix socket's.
func socketPath(a string) (path string, ok bool) { return strings.CutPrefix(a, "unix://") }

// target returns an address as gRPC takes it.
func target(a string) string {
	if path, ok := socketPath(a); ok {
		return (&url.URL{Scheme: "unix", Path: path}).String()
	}
	return "dns:///" + a
}
