package cache

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// reply is an error as the server sends it, for the ones that the driver has
// no type for. The typed ones are made by real servers in the tests of Redis.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

func TestReasonAndOutcome(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	read := func(err error) error {
		return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", err)}
	}
	for _, test := range []struct {
		name    string
		err     error
		reason  Reason
		outcome outcome
	}{
		{"the context's deadline", context.DeadlineExceeded, ReasonTimeout, failed},
		{"a read that timed out", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, ReasonTimeout, failed},
		{"a dial that timed out", dial(syscall.ETIMEDOUT), ReasonTimeout, failed},
		{"no free connection", redis.ErrPoolTimeout, ReasonTimeout, failed},
		{"nobody listens", dial(syscall.ECONNREFUSED), ReasonRefused, failed},
		{"no route", dial(syscall.EHOSTUNREACH), ReasonRefused, failed},
		{"no such name", &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}, ReasonRefused,
			failed},
		{"no socket file", dial(syscall.ENOENT), ReasonRefused, failed},
		{"end of file", io.EOF, ReasonClosed, failed},
		{"end of file within a reply", io.ErrUnexpectedEOF, ReasonClosed, failed},
		{"reset", read(syscall.ECONNRESET), ReasonClosed, failed},
		{"broken pipe", read(syscall.EPIPE), ReasonClosed, failed},
		{"client closed", redis.ErrClosed, ReasonClosed, failed},
		{"foreign type", reply("WRONGTYPE Operation against a key holding the wrong kind of value"), ReasonWrongType,
			healthy},
		{"unknown reply", reply("ERR unknown command 'GETRANGE'"), ReasonOther, failed},
		{"a cross-slot reply", redis.ErrCrossSlot, ReasonOther, failed},
		{"a reply that is none", errors.New(`redis: can't parse reply="HTTP/1.1 400 Bad Request"`), ReasonProtocol, failed},
		{"no TLS where some was expected", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"},
			ReasonProtocol, failed},
		{"an unknown authority", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, ReasonProtocol,
			failed},
		{"the caller left", context.Canceled, ReasonCancelled, unknown},
		{"the breaker is open", ErrUnavailable, ReasonUnavailable, failed},
		{"too large", ErrValueSize, ReasonSize, healthy},
		{"dropped", errDropped, ReasonDropped, failed},
		{"not a value of ours", &InvalidError{Part: "magic"}, ReasonInvalid, failed},
		{"something else", errors.New("odd"), ReasonOther, failed},
		{"some other network error", read(syscall.EIO), ReasonOther, failed},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, err := range []error{test.err, fmt.Errorf("wrapped: %w", test.err)} {
				if test.reason == ReasonProtocol && err != test.err {
					continue // told by its text, which the driver does not wrap
				}
				if got := ReasonOf(err); got != test.reason {
					t.Errorf("ReasonOf(%v) = %s, want %s", err, got, test.reason)
				}
				if got := outcomeOf(err); got != test.outcome {
					t.Errorf("outcomeOf(%v) = %d, want %d", err, got, test.outcome)
				}
			}
		})
	}
	for _, err := range []error{nil, ErrNotFound, fmt.Errorf("wrapped: %w", ErrNotFound)} {
		if got := outcomeOf(err); got != healthy {
			t.Errorf("outcomeOf(%v) = %d, want healthy", err, got)
		}
	}
}

func TestReplyPrefix(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"none", nil, ""},
		{"not a reply", io.EOF, ""},
		{"an absent key", redis.Nil, ""},
		{"a word", reply("OOM command not allowed"), "OOM"},
		{"a word alone", reply("LOADING"), "LOADING"},
		{"no prefix", reply("max number of clients"), "ERR"},
		{"a long word", reply("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA x"), "ERR"},
		{"empty", reply(""), "ERR"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := replyPrefix(test.err); got != test.want {
				t.Errorf("replyPrefix(%v) = %q, want %q", test.err, got, test.want)
			}
		})
	}
}
