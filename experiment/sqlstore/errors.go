package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// retryAfter is what a client is advised when the store is unavailable.
const retryAfter = time.Second

// unavailable gives an error its kind: what has one keeps it, a caller that
// left is told so, and whatever else happened is the database's.
func unavailable(ctx context.Context, d dialect, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*quality.Error](err); ok {
		return e
	}
	if ctx.Err() != nil {
		return left(ctx)
	}
	detail := "the experiment store"
	if d.where != "" {
		detail += " (" + d.where + ")"
	}
	detail += " is unavailable"
	if d.why != nil {
		if why := d.why(err); why != "" {
			detail += ": " + why
		}
	}
	return quality.Errorf(quality.KindStoreUnavailable, "%s", detail).After(retryAfter).Because(err)
}

func left(ctx context.Context) error {
	return quality.Errorf(quality.KindOf(ctx.Err()),
		"the request ended before the experiment store answered").Because(ctx.Err())
}

func closed() error {
	return quality.Errorf(quality.KindStoreUnavailable, "the experiment store is closed")
}
