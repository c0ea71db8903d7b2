package replicas

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
)

// Config is what a [Pool] needs. Start from [DefaultConfig] and set Addresses.
type Config struct {
	// Addresses of Triton's gRPC endpoints, host:port or unix:///PATH each. Work
	// goes to the least busy one. A host name is looked up again and again; each
	// address that it stands for is a server of its own.
	Addresses []string

	// TLS encrypts the connections; nil: plain text.
	TLS *tls.Config

	// ControlKey is what Triton's --grpc-restricted-protocol asks for under the
	// name control-key; empty: none.
	ControlKey string

	// MaxInFlight bounds inferences that Triton has not answered yet, those
	// included that no caller waits for any more. It is a backstop: set it well
	// above what the gateway admits, so that only abandoned calls reach it.
	MaxInFlight int

	// MaxMessageBytes bounds one gRPC message, either way.
	MaxMessageBytes int

	// Connections is how many connections are kept to each address. One carries
	// a hundred inferences at a time.
	Connections int

	// Logger takes the cause and the end of each replica's outage; nil for
	// silence.
	Logger *slog.Logger

	// Meter takes the metrics; nil for none.
	Meter metric.MeterProvider

	// Now is the clock of ejections; nil is time.Now.
	Now func() time.Time

	// Lookup returns the IP addresses of a host name; nil asks the system's
	// resolver.
	Lookup func(ctx context.Context, host string) ([]string, error)

	// DialOptions are appended to the pool's own, so that they win. The tracing
	// stats handler comes from here. Triton traces whatever carries
	// a valid trace context, sampled or not, so the handler's propagator
	// should inject sampled contexts only.
	DialOptions []grpc.DialOption
}

// DefaultConfig returns a Config without addresses.
func DefaultConfig() Config {
	return Config{MaxInFlight: 256, Connections: 1, MaxMessageBytes: 64 << 20}
}

// Validate reports every fault of the configuration at once, each with the
// name of its field.
func (c Config) Validate() error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(len(c.Addresses) > 0, "Addresses: empty, want at least one host:port or unix:///PATH")
	seen := map[string]bool{}
	for i, a := range c.Addresses {
		fault(validAddress(a), "Addresses[%d]: %q is neither host:port nor unix:///PATH", i, a)
		fault(!seen[a], "Addresses[%d]: %q is given twice", i, a)
		seen[a] = true
	}
	fault(c.MaxInFlight > 0, "MaxInFlight: %d, want at least 1", c.MaxInFlight)
	fault(c.Connections > 0 && c.Connections <= 64, "Connections: %d, want 1 to 64", c.Connections)
	return errors.Join(faults...)
}
