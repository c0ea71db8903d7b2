package embedded

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

const loopback = "127.0.0.1"

// heldPorts keeps three ports for a server that does not listen yet.
//
// A port is held by a socket that is bound and does not listen. That keeps the
// kernel from using it as the source port of a connection while the server is
// down. That matters most for agiqa's own clients: on loopback, a client that
// keeps trying to connect to a free port of the ephemeral range may eventually
// connect to itself and occupy the port for good.
type heldPorts struct {
	Ports
	fds []int
}

// holdPorts binds the given ports, and a free port for each 0.
func holdPorts(want Ports) (heldPorts, error) {
	held := heldPorts{Ports: want}
	for _, p := range []struct {
		name string
		port *int
	}{{"HTTP", &held.HTTP}, {"gRPC", &held.GRPC}, {"metrics", &held.Metrics}} {
		fd, port, err := bindLoopback(*p.port)
		if err != nil {
			held.release()
			return heldPorts{}, fmt.Errorf("%s port %d: %w", p.name, *p.port, err)
		}
		held.fds, *p.port = append(held.fds, fd), port
	}
	return held, nil
}

// release closes the sockets, so that the server can bind the ports.
func (h *heldPorts) release() {
	for _, fd := range h.fds {
		unix.Close(fd)
	}
	h.fds = nil
}

func bindLoopback(port int) (fd, bound int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, 0, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if port != 0 {
		// Connections of an earlier server may linger in TIME_WAIT. Not for
		// port 0: the kernel could then choose a port that another socket holds.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fd, 0, err
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fd, 0, err
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return fd, 0, err
	}
	inet, ok := addr.(*unix.SockaddrInet4)
	if !ok {
		return fd, 0, errors.New("not an IPv4 address")
	}
	return fd, inet.Port, nil
}

// taken reports whether another process uses one of the ports.
func (p Ports) taken() bool {
	held, err := holdPorts(p)
	held.release()
	return errors.Is(err, unix.EADDRINUSE)
}

func onLoopback(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }
