package gateway

import (
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// TableKinds returns the kinds that the status table has a row for.
func TableKinds() map[quality.Kind]bool {
	out := map[quality.Kind]bool{}
	for kind, status := range statuses {
		out[kind] = kind.Title() != "" && status >= 400 && status < 600
	}
	return out
}

// ReadBody reads a body as the scoring routes do.
func ReadBody(maxImages int,
	maxImageBytes int64) func(contentType, contentEncoding string, body []byte) (items []scoring.Item, checkpoints,
	include []string, err error) {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	r := newBodyReader(maxImages, maxImageBytes, registry)
	return func(contentType, contentEncoding string, body []byte) ([]scoring.Item, []string, []string, error) {
		b, err := r.read(contentType, contentEncoding, body)
		return b.items, b.checkpoints, b.include, err
	}
}

// MaxFaults is how many faults of a body are told at most.
const MaxFaults = maxFaults

// RateLimitKey is whom the rate limit of a request holds for.
var RateLimitKey = clientKey

// ClientOf names whom a request counts for, behind trusted proxies.
func ClientOf(r *http.Request, proxies []netip.Prefix) string {
	return clientOf(clientAddress(r, proxies))
}
