package tritonclient

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"

	"github.com/agiqa/agiqa/quality"
)

// Models names the two encoders on Triton.
type Models struct {
	ImageEncoder string
	TextEncoder  string
}

// Config is what a [Client] needs. Start from [DefaultConfig] and set
// Addresses.
type Config struct {
	// Addresses of Triton's gRPC endpoints, host:port each. Work goes
	// to the least busy one, and a host name that resolves to several addresses is balanced
	// over these as well.
	Addresses []string

	// Models names the encoders.
	Models Models

	// RequestTimeout is the budget of an inference whose context has no
	// deadline.
	RequestTimeout time.Duration

	// Margin is the part of a budget that is kept back for the way home:
	// Triton is told to give up this much earlier than the caller does.
	Margin time.Duration

	// MinBudget is the least time worth handing to Triton. An inference with
	// less than Margin + MinBudget left is refused without being sent.
	MinBudget time.Duration

	// StatusTimeout bounds health, metadata, statistics, index and unload calls.
	StatusTimeout time.Duration

	// LoadTimeout bounds the load of one model. A TensorRT engine may have to
	// be built in it.
	LoadTimeout time.Duration

	// MaxBatch caps the items of one request, below what a model allows.
	MaxBatch int

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

	// Meter takes the client's metrics; nil for none.
	Meter metric.MeterProvider

	// Now is the clock of ejections; nil is time.Now.
	Now func() time.Time

	// DialOptions are appended to the client's own, so that they win. TLS and
	// the tracing stats handler come from here. Triton traces whatever carries
	// a valid trace context, sampled or not, so the handler's propagator
	// should inject sampled contexts only.
	DialOptions []grpc.DialOption
}

// DefaultConfig returns a Config without addresses.
func DefaultConfig() Config {
	return Config{
		Models:          Models{ImageEncoder: "clip_image_encoder", TextEncoder: "clip_text_encoder"},
		RequestTimeout:  10 * time.Second,
		Margin:          20 * time.Millisecond,
		MinBudget:       5 * time.Millisecond,
		StatusTimeout:   5 * time.Second,
		LoadTimeout:     10 * time.Minute,
		MaxBatch:        64,
		MaxInFlight:     256,
		Connections:     1,
		MaxMessageBytes: 64 << 20,
	}
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
	fault(len(c.Addresses) > 0, "Addresses: empty, want at least one host:port")
	seen := map[string]bool{}
	for i, a := range c.Addresses {
		fault(validAddress(a), "Addresses[%d]: %q is not host:port", i, a)
		fault(!seen[a], "Addresses[%d]: %q is given twice", i, a)
		seen[a] = true
	}
	fault(c.Models.ImageEncoder != "", "Models.ImageEncoder: empty")
	fault(c.Models.TextEncoder != "", "Models.TextEncoder: empty")
	fault(c.Margin >= 0, "Margin: %v is negative", c.Margin)
	fault(c.MinBudget > 0, "MinBudget: %v, want more than 0", c.MinBudget)
	fault(c.RequestTimeout >= c.Margin+c.MinBudget,
		"RequestTimeout: %v is less than Margin + MinBudget, %v", c.RequestTimeout, c.Margin+c.MinBudget)
	fault(c.StatusTimeout > 0, "StatusTimeout: %v, want more than 0", c.StatusTimeout)
	fault(c.LoadTimeout > 0, "LoadTimeout: %v, want more than 0", c.LoadTimeout)
	fault(c.MaxBatch > 0, "MaxBatch: %d, want at least 1", c.MaxBatch)
	fault(c.MaxInFlight > 0, "MaxInFlight: %d, want at least 1", c.MaxInFlight)
	fault(c.Connections > 0 && c.Connections <= 64, "Connections: %d, want 1 to 64", c.Connections)
	fault(c.MaxMessageBytes >= minMessageBytes,
		"MaxMessageBytes: %d, want at least %d, which one image needs", c.MaxMessageBytes, minMessageBytes)
	return errors.Join(faults...)
}

// messageOverhead is room for everything in a message that is not tensor
// data: names, shapes, parameters and framing come to a few hundred bytes.
const messageOverhead = 16 << 10

const minMessageBytes = quality.PixelsLen + 128<<10 + messageOverhead

func validAddress(a string) bool {
	host, port, err := net.SplitHostPort(a)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
