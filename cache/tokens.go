package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// takeTokens is a token bucket, kept as the time in microseconds at which it will
// be full (generic cell rate algorithm). The clock is the server's, so those of
// the gateways don't matter. A value that is no such time is an empty debt.
//
// KEYS: the bucket. ARGV: microseconds until a token is back, tokens that a bucket
// holds, tokens to take, 1 if they are owed whether or not there are any. Reply:
// microseconds to wait; tokens were taken if it is 0, and those that are owed
// always.
var takeTokens = redis.NewScript(`
local per, burst, tokens = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local full = tonumber(redis.call('GETRANGE', KEYS[1], 0, 31)) or now
if not (full > now and full < now + 1e15) then
	full = now
end
local missing = full - now - (burst - math.min(tokens, burst)) * per
local owed = ARGV[4] == '1'
if missing > 0 and not owed then
	return string.format('%.0f', missing)
end
full = math.min(full + tokens * per, now + 1e15 - 1)
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', (full - now) / 1000 + 1))
return string.format('%.0f', owed and math.max(0, full - now - burst * per) or 0)
`)

// Bucket is the size of each client's token bucket.
type Bucket struct {
	PerSecond float64 // tokens that come back in a second, above 0
	Burst     int     // tokens that it holds
}

// Tokens are token buckets that all gateways with the same Redis have in common,
// one for each client. The server forgets those that are full.
type Tokens struct {
	redis    *Redis
	bucket   Bucket
	logger   *slog.Logger
	throttle throttle
}

// Tokens returns the buckets of this size. Those of another size are others.
func (r *Redis) Tokens(b Bucket) *Tokens {
	return &Tokens{redis: r, bucket: b, logger: loggerOr(r.config.Logger),
		throttle: throttle{interval: r.config.LogInterval, now: time.Now}}
}

// Take takes tokens from a client's bucket and returns 0, or takes none and
// returns how long it will be until there are that many (a full bucket is enough
// for more than it holds). With owed it takes them in any case, and returns how
// long it will be until nothing is owed. The errors are those of [Redis.Get]; a
// user without the rights for it speaks against nobody's cache.
func (t *Tokens) Take(ctx context.Context, client string, tokens float64, owed bool) (wait time.Duration, err error) {
	flag := 0
	if owed {
		flag = 1
	}
	var refused error
	err = t.redis.do(ctx, func(ctx context.Context) error {
		micros, err := takeTokens.Run(ctx, t.redis.client, []string{t.key(client)},
			1e6/t.bucket.PerSecond, t.bucket.Burst, tokens, flag).Float64()
		if redis.IsPermissionError(err) {
			refused, err = err, nil
		}
		wait = time.Duration(micros) * time.Microsecond
		return err
	})
	if refused == nil {
		return wait, err
	}
	if _, ok := t.throttle.allow("rights"); ok {
		t.logger.WarnContext(ctx, "the user of Redis may not run scripts, so gateways don't share rate limits; "+
			"it needs +eval +evalsha +time", "error", refused.Error())
	}
	return 0, refused
}

// key is the name of a client's bucket. Nothing in it comes from the client.
func (t *Tokens) key(client string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "agiqa tokens %g %d %s", t.bucket.PerSecond, t.bucket.Burst, client))
	return "agiqa:" + schema + ":tokens:" + hex.EncodeToString(sum[:16])
}
