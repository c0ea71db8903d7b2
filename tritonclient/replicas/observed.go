package replicas

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// observed is a connection for one call that keeps what gRPC reports of the
// call beside its reply.
type observed struct {
	grpc.ClientConnInterface
	peer            peer.Peer   // has an address once a connection was found
	header, trailer metadata.MD // one of them is there once the server answered
}

// Invoke implements [grpc.ClientConnInterface].
func (o *observed) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	opts = append(opts, grpc.Peer(&o.peer), grpc.Header(&o.header), grpc.Trailer(&o.trailer))
	return o.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

// sent reports whether the call went out on a connection.
func (o *observed) sent() bool { return o.peer.Addr != nil }

// answered reports whether the server itself ended the call. Without an answer
// the call was not sent, or its connection broke.
func (o *observed) answered() bool { return len(o.header)+len(o.trailer) > 0 }
