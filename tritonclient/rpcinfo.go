package tritonclient

import (
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// rpcInfo is what gRPC reports of a call beside its reply.
type rpcInfo struct {
	peer            peer.Peer   // has an address once a connection was found
	header, trailer metadata.MD // one of them is there once the server answered
}

// sent reports whether the call went out on a connection.
func (i *rpcInfo) sent() bool { return i.peer.Addr != nil }

// answered reports whether the server itself ended the call. Without an answer
// the call was not sent, or its connection broke.
func (i *rpcInfo) answered() bool { return len(i.header)+len(i.trailer) > 0 }
