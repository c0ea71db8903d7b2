package quality

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind says what went wrong, in words that a client may see. The set is
// closed: it grows only together with the gateway's status table.
type Kind string

// The kinds. The gateway's table gives each its HTTP status.
const (
	KindBadRequest           Kind = "bad_request"
	KindJSONTooDeep          Kind = "json_too_deep"
	KindInvalidUTF8          Kind = "invalid_utf8"
	KindBadBase64            Kind = "bad_base64"
	KindUnknownField         Kind = "unknown_field"
	KindUnauthenticated      Kind = "unauthenticated"
	KindNotFound             Kind = "not_found"
	KindCheckpointNotFound   Kind = "checkpoint_not_found"
	KindMethodNotAllowed     Kind = "method_not_allowed"
	KindNotAcceptable        Kind = "not_acceptable"
	KindRequestTimeout       Kind = "request_timeout"
	KindConflict             Kind = "conflict"
	KindEncoderMismatch      Kind = "encoder_mismatch"
	KindPayloadTooLarge      Kind = "payload_too_large"
	KindUnsupportedMediaType Kind = "unsupported_media_type"

	KindUnsupportedImageFormat Kind = "unsupported_image_format"
	KindImageCorrupt           Kind = "image_corrupt"
	KindImageTruncated         Kind = "image_truncated"
	KindImageZeroDimension     Kind = "image_zero_dimension"
	KindImageTooManyPixels     Kind = "image_too_many_pixels"
	KindImageTooManyScans      Kind = "image_too_many_scans"
	KindImageTooManyFrames     Kind = "image_too_many_frames"
	KindImageTooExpensive      Kind = "image_decode_too_expensive"
	KindPromptTooLong          Kind = "prompt_too_long"
	KindImageURLForbidden      Kind = "image_url_forbidden"
	KindCheckpointInvalid      Kind = "checkpoint_invalid"
	KindExperimentInvalid      Kind = "experiment_invalid"
	KindFeedbackInvalid        Kind = "feedback_invalid"

	KindRateLimited         Kind = "rate_limited"
	KindClientClosedRequest Kind = "client_closed_request"
	KindInternal            Kind = "internal"
	KindModelBadOutput      Kind = "model_bad_output"
	KindOverloaded          Kind = "overloaded"
	KindDraining            Kind = "draining"
	KindModelUnavailable    Kind = "model_unavailable"
	KindStoreUnavailable    Kind = "store_unavailable"
	KindDeadlineExceeded    Kind = "deadline_exceeded"
)

// Kinds lists every kind, in the order of their declaration.
func Kinds() []Kind {
	return []Kind{
		KindBadRequest, KindJSONTooDeep, KindInvalidUTF8, KindBadBase64, KindUnknownField,
		KindUnauthenticated, KindNotFound, KindCheckpointNotFound, KindMethodNotAllowed,
		KindNotAcceptable, KindRequestTimeout, KindConflict, KindEncoderMismatch,
		KindPayloadTooLarge, KindUnsupportedMediaType,
		KindUnsupportedImageFormat, KindImageCorrupt, KindImageTruncated, KindImageZeroDimension,
		KindImageTooManyPixels, KindImageTooManyScans, KindImageTooManyFrames, KindImageTooExpensive,
		KindPromptTooLong, KindImageURLForbidden, KindCheckpointInvalid, KindExperimentInvalid, KindFeedbackInvalid,
		KindRateLimited, KindClientClosedRequest, KindInternal, KindModelBadOutput,
		KindOverloaded, KindDraining, KindModelUnavailable, KindStoreUnavailable, KindDeadlineExceeded,
	}
}

// Error is a failure with two audiences: Kind and Detail are for the caller,
// the cause is for whoever reads the logs and is never shown to a client.
type Error struct {
	Kind       Kind
	Detail     string        // one sentence for the caller; holds no secret and no internal address
	RetryAfter time.Duration // 0: no advice
	cause      error
}

// Errorf returns an Error whose Detail is the formatted text. A %w operand
// becomes the cause, and its text part of the Detail: wrap only what the
// caller may read, and use [Error.Because] for the rest.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Detail: err.Error(), cause: errors.Unwrap(err)}
}

// Because returns a copy of e with a cause that is logged, not shown.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// After returns a copy of e that advises to try again after d.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// Error returns kind, detail and cause: the operator's view.
func (e *Error) Error() string {
	s := string(e.Kind) + ": " + e.Detail
	if e.cause != nil && e.cause.Error() != e.Detail {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is matches any *Error of the same kind, so that
// errors.Is(err, &Error{Kind: k}) asks for a kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Detail == ""
}

// KindOf classifies any error: the kind of the first *Error in its chain, the
// two context errors by their meaning, and everything else as internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return KindDeadlineExceeded
	case errors.Is(err, context.Canceled):
		return KindClientClosedRequest
	}
	return KindInternal
}

// Temporary reports whether the same request may succeed later.
func (k Kind) Temporary() bool {
	switch k {
	case KindRequestTimeout, KindRateLimited, KindOverloaded, KindDraining, KindModelUnavailable, KindStoreUnavailable, KindDeadlineExceeded:
		return true
	}
	return false
}
