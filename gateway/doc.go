// Package gateway is agiqa's HTTP API: gin routes whose operations are declared
// once with huma, which derives OpenAPI 3.1, validation and the docs page from
// them; the wire types; the middleware that gives each request its span, id and
// log line; and the only table that maps error kinds to HTTP statuses.
//
// A handler decodes, calls one use case, and encodes. The package doesn't know
// the inference servers or the caches: it imports neither gRPC nor Redis.
// Package server builds it and passes in what it calls.
package gateway
