package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// errEnded means that the server ended before it was ready.
var errEnded = errors.New("tritonserver ended")

const (
	// readyPoll is the interval of readiness checks. The server answers one in
	// well under a millisecond, and doesn't answer before its models are loaded.
	readyPoll = 20 * time.Millisecond
	// readyTimeout bounds one check.
	readyTimeout = 5 * time.Second
)

// awaitReady returns the server's version once it is ready, or errEnded if ended
// is closed first.
func awaitReady(ctx context.Context, addr string, ended <-chan struct{}) (version string, err error) {
	conn, err := grpc.NewClient(addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // it is this machine's kernel
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: readyPoll, MaxDelay: readyPoll, Multiplier: 1},
			MinConnectTimeout: readyTimeout,
		}))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	client := pb.NewGRPCInferenceServiceClient(conn)
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	last := errors.New("none")
	for {
		select {
		case <-ended:
			return "", errEnded
		case <-ctx.Done():
			return "", fmt.Errorf("tritonserver is not ready: %w, last answer: %w", ctx.Err(), last)
		case <-tick.C:
		}
		if version, last = askReady(ctx, client); last == nil {
			return version, nil
		}
	}
}

// askReady returns the version of a server that is ready.
func askReady(ctx context.Context, client pb.GRPCInferenceServiceClient) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	answer, err := client.ServerReady(ctx, &pb.ServerReadyRequest{})
	if err != nil {
		return "", err
	}
	if !answer.GetReady() {
		return "", errors.New("not ready")
	}
	metadata, err := client.ServerMetadata(ctx, &pb.ServerMetadataRequest{})
	if err != nil {
		return "", fmt.Errorf("server metadata: %w", err)
	}
	return metadata.GetVersion(), nil
}
