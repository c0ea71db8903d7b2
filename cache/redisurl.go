package cache

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
)

// urlParameters are the query parameters that a Redis URL may carry. The
// driver knows many more, timeouts and retries among them, which are settings
// of [RedisConfig] here: having them in two places would hide which one wins.
var urlParameters = []string{"db", "skip_verify"}

// parseRedisURL returns the driver's options for redis://, rediss:// and
// unix://. A password may stand anywhere in a mistyped URL, so that no error
// quotes any part of it.
func parseRedisURL(raw string) (*redis.Options, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("invalid URL; want redis://[user:password@]host[:port][/db], rediss:// for TLS, or " +
			"unix:///path")
	}
	switch u.Scheme {
	case "redis", "rediss", "unix":
	default:
		return nil, errors.New("URL has an unknown scheme; want redis, rediss or unix")
	}
	for name := range u.Query() {
		if !slices.Contains(urlParameters, name) {
			return nil, fmt.Errorf("URL has an unsupported parameter; supported are %s", strings.Join(urlParameters, ", "))
		}
	}
	options, err := redis.ParseURL(raw)
	if err != nil {
		return nil, errors.New("URL has no valid path or database number")
	}
	return options, nil
}

// serverAttributes returns server.address and server.port, or the path of a
// Unix socket as the address.
func serverAttributes(o *redis.Options) []attribute.KeyValue {
	host, port, err := net.SplitHostPort(o.Addr)
	if o.Network == "unix" || err != nil {
		return []attribute.KeyValue{semconv.ServerAddress(o.Addr)}
	}
	attributes := []attribute.KeyValue{semconv.ServerAddress(host)}
	if n, err := strconv.Atoi(port); err == nil {
		attributes = append(attributes, semconv.ServerPort(n))
	}
	return attributes
}
