package cache

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Reason says in one word why a store failed: the value of a metric's label
// and of a span's error.type. The set is closed.
type Reason string

// The reasons.
const (
	ReasonTimeout     Reason = "timeout"     // no answer within the budget, or no free connection
	ReasonRefused     Reason = "refused"     // no connection: nobody listens, no such name, or too many clients
	ReasonClosed      Reason = "closed"      // the connection broke
	ReasonOOM         Reason = "oom"         // the server is at maxmemory and evicts nothing
	ReasonReadOnly    Reason = "readonly"    // a write to a replica
	ReasonLoading     Reason = "loading"     // the server starts, or its master is away
	ReasonNoAuth      Reason = "noauth"      // no, wrong or insufficient credentials
	ReasonMoved       Reason = "moved"       // a cluster, which this client does not speak to, or a cluster that is down
	ReasonWrongType   Reason = "wrongtype"   // the key holds something that is not a string
	ReasonProtocol    Reason = "protocol"    // the answer is not Redis's protocol, or not the expected TLS
	ReasonSize        Reason = "size"        // a value above the limit
	ReasonMAC         Reason = "mac"         // a value without a valid MAC: forged, damaged or moved
	ReasonInvalid     Reason = "invalid"     // a value that is not what its key promises
	ReasonUnavailable Reason = "unavailable" // not asked: the circuit breaker is open
	ReasonDropped     Reason = "dropped"     // not written: too many writes under way
	ReasonCancelled   Reason = "cancelled"   // the caller left
	ReasonOther       Reason = "other"
)

// ReasonOf classifies an error of a [Store]; nil has no reason, "".
func ReasonOf(err error) Reason {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrUnavailable):
		return ReasonUnavailable
	case errors.Is(err, ErrValueSize):
		return ReasonSize
	case errors.Is(err, errMAC):
		return ReasonMAC
	case errors.Is(err, errDropped):
		return ReasonDropped
	case errors.Is(err, context.Canceled):
		return ReasonCancelled
	}
	if _, ok := errors.AsType[*InvalidError](err); ok {
		return ReasonInvalid
	}
	if _, ok := errors.AsType[redis.Error](err); ok {
		return reasonOfReply(err)
	}
	return reasonOfTransport(err)
}

// explanations say for people what a reason means for the whole store, and what
// to do about it. They follow the word "Redis".
var explanations = map[Reason]string{
	ReasonTimeout:  "doesn't answer in time",
	ReasonRefused:  "accepts no connection: it doesn't run at this address, or has too many clients",
	ReasonClosed:   "closes the connection",
	ReasonOOM:      "is full and evicts nothing (OOM), so nothing new is stored: set maxmemory-policy to allkeys-lfu",
	ReasonReadOnly: "is a read-only replica (READONLY), so nothing new is stored: give the address of the primary",
	ReasonLoading:  "is loading its data, or its primary is away",
	ReasonNoAuth:   "refuses the user name or password, or the user lacks rights",
	ReasonMoved: "is a node of a Redis Cluster (MOVED or CLUSTERDOWN), which isn't supported: " +
		"give a single Redis server",
	ReasonWrongType: "holds something else under this server's keys",
	ReasonProtocol:  "doesn't speak the expected protocol: is it Redis, with TLS (rediss://) or without (redis://)?",
}

// Explain says in a sentence for people, without addresses, why a store on
// Redis can't be used.
func Explain(err error) string {
	text, ok := explanations[ReasonOf(err)]
	if !ok {
		text = "fails (" + string(ReasonOf(err)) + ")"
	}
	return "Redis " + text
}

// reasonOfReply classifies what the server said.
func reasonOfReply(err error) Reason {
	_, moved := redis.IsMovedError(err)
	_, ask := redis.IsAskError(err)
	switch {
	case redis.IsOOMError(err):
		return ReasonOOM
	case redis.IsReadOnlyError(err):
		return ReasonReadOnly
	case redis.IsLoadingError(err), redis.IsMasterDownError(err):
		return ReasonLoading
	case redis.IsAuthError(err), redis.IsPermissionError(err):
		return ReasonNoAuth
	case moved, ask, redis.IsClusterDownError(err), redis.IsTryAgainError(err):
		return ReasonMoved
	case redis.IsMaxClientsError(err):
		return ReasonRefused
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return ReasonWrongType
	}
	return ReasonOther
}

// reasonOfTransport classifies what happened on the way.
func reasonOfTransport(err error) Reason {
	netErr, isNet := errors.AsType[net.Error](err)
	opErr, isOp := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, redis.ErrPoolTimeout),
		errors.Is(err, redis.ErrPoolExhausted), isNet && netErr.Timeout():
		return ReasonTimeout
	case isTLS(err), errors.Is(err, errReply):
		return ReasonProtocol
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, redis.ErrClosed):
		return ReasonClosed
	case isOp && opErr.Op == "dial":
		return ReasonRefused
	case isNet:
		return ReasonOther
	case strings.HasPrefix(err.Error(), "redis: "):
		// The driver has no type for a reply that it cannot parse.
		return ReasonProtocol
	}
	return ReasonOther
}

// isTLS reports whether err is a failed handshake.
func isTLS(err error) bool {
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	return record || alert || certificate || authority
}

// outcomeOf says what the error of an operation means for the circuit breaker.
// A refusal of one command (a full server, a replica, a foreign type) comes
// from a server that can still be read.
func outcomeOf(err error) outcome {
	if err == nil || errors.Is(err, ErrNotFound) {
		return healthy
	}
	switch ReasonOf(err) {
	case ReasonOOM, ReasonReadOnly, ReasonWrongType, ReasonSize:
		return healthy
	case ReasonCancelled:
		return unknown
	}
	return failed
}

// replyPrefix returns the first word of an error reply ("OOM"), or "" when err
// is none. The rest of a reply may quote the command's arguments.
func replyPrefix(err error) string {
	reply, ok := errors.AsType[redis.Error](err)
	if !ok || errors.Is(err, redis.Nil) {
		return ""
	}
	word, _, _ := strings.Cut(reply.Error(), " ")
	if word == "" || len(word) > 32 || strings.ToUpper(word) != word {
		return "ERR"
	}
	return word
}
