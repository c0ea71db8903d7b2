// Command fleet simulates gateways, Tritons and their autoscaling in a spike of
// load, and says where queues form (make bench NAME=fleet). docs/capacity.md has
// what came out of it.
//
// It is a discrete-event simulation: requests arrive at random (Poisson), a
// balancer gives each to the gateway with the fewest, which admits it as the
// gateway does (slots, a bounded queue, a bound on the estimated completion
// time), decodes it on one of its processors and sends it to the least busy
// Triton, which computes what waits for it in batches. Autoscalers look at what
// Kubernetes' and KEDA's would see: averages over past seconds, every 15
// seconds, and pods that take their time to start. The same seed gives the same
// figures.
package main
