package replicas

import (
	"context"
	"crypto/tls"
	"log/slog"

	"google.golang.org/grpc/connectivity"
)

// Classify is Failure on a made-up replica.
func Classify(model string, err error) error {
	return (&Replica{addr: "192.0.2.1:8001"}).Failure(context.Background(), model, err)
}

// MayGoElsewhere reports whether a request that failed with err may be sent
// to another replica. answered says that the server sent the error.
func MayGoElsewhere(err error, answered bool) bool { return meaningOf(err).again(answered) }

// Watch does what a pool does when the first connection to addr reaches the
// given states, and returns the cause of an outage that it knows in the end.
func Watch(ctx context.Context, addr string, secure *tls.Config, logger *slog.Logger,
	states ...connectivity.State) (cause string) {
	r := &Replica{addr: addr, tls: secure}
	for _, state := range states {
		r.look(ctx, logger, state)
	}
	return r.outage.why()
}

// Family is what a name with addresses of both families stands for.
var Family = family
