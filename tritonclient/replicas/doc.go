// Package replicas sends calls to one or more Triton servers that hold the
// same models. It owns the connections, knows the health of each server,
// chooses the least busy one, stops sending work to one that fails and tries
// it again later, and sends a call that a server refused or lost to another
// one, once. It bounds the inferences in flight.
//
// It knows no tensors and no models: a call is a function that is given a
// connection. tritonclient makes the calls and knows nothing of health.
//
// Every gRPC code becomes a [quality.Kind] here, in the one table of
// classify.go, because the same table says what a failure means for the server
// and whether another one may be asked.
package replicas
