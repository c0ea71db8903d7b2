// Package inferencepb is the wire format of Triton's gRPC protocol: messages
// and stubs generated from the two .proto files beside this one, which were
// written for this project and are wire-compatible with the public
// definition (see their heads for what is left out, and why).
//
// It holds no behaviour. Package tritonclient is its only user, with
// tritontest.
package inferencepb
