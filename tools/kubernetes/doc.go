// Package kubernetes tests the Helm chart in deploy/chart and the examples in
// deploy/kserve. The tests of chart_test.go need helm only and are part of make
// test; those of server_test.go install the chart into a real API server (make
// test-kubernetes).
//
// It is a module of its own because its go.mod pins Kubernetes, etcd and Helm,
// which nothing else of the project needs.
package kubernetes
