package replicas

import (
	"context"

	"google.golang.org/grpc/credentials"
)

// controlKeyHeader carries the key of a Triton that was started with
// --grpc-restricted-protocol=PROTOCOLS:control-key=KEY.
const controlKeyHeader = "triton-grpc-protocol-control-key"

// controlKey goes with every call, whichever protocols Triton restricts.
type controlKey string

var _ credentials.PerRPCCredentials = controlKey("")

// GetRequestMetadata implements [credentials.PerRPCCredentials].
func (k controlKey) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{controlKeyHeader: string(k)}, nil
}

// RequireTransportSecurity implements [credentials.PerRPCCredentials]. Whether
// the network is trusted is for the settings to say.
func (controlKey) RequireTransportSecurity() bool { return false }
