package imageprep

import (
	"context"
	"time"
)

// Step is a part of the preparation of one image that takes time.
type Step string

// The steps.
const (
	StepDecode Step = "decode" // bytes to samples, by whatever decoder, a second try included
	StepResize Step = "resize" // samples to the encoder's pixels, cropping included
)

// Done is a step that ended, with the error that ended it, if one did.
type Done struct {
	Step       Step
	Start, End time.Time
	Decoder    string // of StepDecode, where it succeeded
	Err        error
}

type observerKey struct{}

// Observed returns a context under which [Preparer.PrepareViews] calls
// observe after every step, on its own goroutine.
func Observed(ctx context.Context, observe func(Done)) context.Context {
	return context.WithValue(ctx, observerKey{}, observe)
}

// step runs f and notifies the observer of ctx, if there is one.
func step(ctx context.Context, s Step, f func() (decoder string, err error)) error {
	observe, ok := ctx.Value(observerKey{}).(func(Done))
	if !ok {
		_, err := f()
		return err
	}
	done := Done{Step: s, Start: time.Now()}
	returned := false
	defer func() {
		if !returned { // it panicked; the caller makes an error of that
			done.Err = corrupt("")
		}
		done.End = time.Now()
		observe(done)
	}()
	done.Decoder, done.Err = f()
	returned = true
	return done.Err
}
