package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// layer is a store whose every answer is verified and counted. Nothing that
// goes wrong in it reaches its caller.
type layer struct {
	name   Layer
	store  Store
	record *recorder
	faults *faultLog
}

// read returns the rows in s and the bytes they came from.
func (l *layer) read(ctx context.Context, s slot) (rows []quality.Embedding, value []byte, ok bool) {
	value, err := l.store.Get(ctx, s.key)
	if err == nil {
		if rows, err = Decode(s.id, value); err == nil {
			l.record.read(ctx, l.name, readHit)
			return rows, value, true
		}
	}
	if errors.Is(err, ErrNotFound) {
		l.record.read(ctx, l.name, readMiss)
		return nil, nil, false
	}
	reason := ReasonOf(err)
	l.fault(ctx, opRead, reason, err)
	switch reason {
	case ReasonMAC, ReasonInvalid, ReasonWrongType, ReasonSize:
		// What is there will never be right, and would be fetched again by
		// everybody who asks.
		l.record.read(ctx, l.name, readInvalid)
		if err := l.store.Delete(ctx, s.key); err != nil {
			l.fault(ctx, opDelete, ReasonOf(err), err)
		}
	default:
		l.record.read(ctx, l.name, readError)
	}
	return nil, nil, false
}

// write keeps value in s.
func (l *layer) write(ctx context.Context, s slot, value []byte, ttl time.Duration) {
	if err := l.store.Set(ctx, s.key, value, ttl); err != nil {
		l.fault(ctx, opWrite, ReasonOf(err), err)
	}
}

func (l *layer) fault(ctx context.Context, op operation, reason Reason, err error) {
	l.record.fault(ctx, l.name, op, reason)
	l.faults.note(ctx, l.name, op, reason, err)
}

// jittered returns ttl less a random part of it, up to fraction, so that what
// was written together does not expire together.
func jittered(ttl time.Duration, fraction float64) time.Duration {
	return ttl - time.Duration(rand.Float64()*fraction*float64(ttl))
}
