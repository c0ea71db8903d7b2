// Package gateway is the HTTP face of agiqa: gin routes whose operations are
// described once with huma, from which OpenAPI 3.1, validation and the docs
// page follow; wire types; the middleware that gives every request its span,
// its id and its log line; and the only table from error kinds to statuses.
//
// A handler decodes, calls one use case of package scoring, and encodes. The
// package refuses to know what stands behind the use case: no gRPC, no Redis,
// no inference server. It stands between cmd, which builds it, and scoring.
package gateway
