package quality

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind says what went wrong, in words that a client may see. The set is
// closed: a new kind needs a row in the table below and a status in the
// gateway's.
type Kind string

// The kinds; see the table for what they are called and which are temporary.
const (
	KindBadRequest           Kind = "bad_request"
	KindJSONTooDeep          Kind = "json_too_deep"
	KindInvalidUTF8          Kind = "invalid_utf8"
	KindBadBase64            Kind = "bad_base64"
	KindUnknownField         Kind = "unknown_field"
	KindUnauthenticated      Kind = "unauthenticated"
	KindForbidden            Kind = "forbidden"
	KindNotFound             Kind = "not_found"
	KindCheckpointNotFound   Kind = "checkpoint_not_found"
	KindMethodNotAllowed     Kind = "method_not_allowed"
	KindNotAcceptable        Kind = "not_acceptable"
	KindRequestTimeout       Kind = "request_timeout"
	KindMisdirected          Kind = "misdirected_request"
	KindCrossOrigin          Kind = "cross_origin"
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

// Whether the same request may succeed later.
const (
	temporary = true
	lasting   = false
)

// kinds is the one table of kinds: their titles, and which are temporary.
var kinds = []struct {
	kind      Kind
	title     string
	temporary bool
}{
	{KindBadRequest, "Bad request", lasting},
	{KindJSONTooDeep, "JSON is nested too deeply", lasting},
	{KindInvalidUTF8, "Text is not UTF-8", lasting},
	{KindBadBase64, "Image is not valid base64", lasting},
	{KindUnknownField, "Unknown field", lasting},
	{KindUnauthenticated, "Authentication required", lasting},
	{KindForbidden, "Not allowed with this key", lasting},
	{KindNotFound, "Not found", lasting},
	{KindCheckpointNotFound, "Checkpoint not found", lasting},
	{KindMethodNotAllowed, "Method not allowed", lasting},
	{KindNotAcceptable, "Not acceptable", lasting},
	{KindRequestTimeout, "Request body too slow", temporary},
	{KindMisdirected, "The request is for another server", lasting},
	{KindCrossOrigin, "Web pages of this origin may not call", lasting},
	{KindConflict, "Conflict", lasting},
	{KindEncoderMismatch, "Checkpoint is for another encoder", lasting},
	{KindPayloadTooLarge, "Payload too large", lasting},
	{KindUnsupportedMediaType, "Unsupported media type", lasting},
	{KindUnsupportedImageFormat, "Unsupported image format", lasting},
	{KindImageCorrupt, "Image is corrupt", lasting},
	{KindImageTruncated, "Image is truncated", lasting},
	{KindImageZeroDimension, "Image has no pixels", lasting},
	{KindImageTooManyPixels, "Image has too many pixels", lasting},
	{KindImageTooManyScans, "JPEG has too many scans", lasting},
	{KindImageTooManyFrames, "Image has too many frames", lasting},
	{KindImageTooExpensive, "Image is too expensive to decode", lasting},
	{KindPromptTooLong, "Prompt too long", lasting},
	{KindImageURLForbidden, "Image URL forbidden", lasting},
	{KindCheckpointInvalid, "Checkpoint is invalid", lasting},
	{KindExperimentInvalid, "Experiment is invalid", lasting},
	{KindFeedbackInvalid, "Feedback is invalid", lasting},
	{KindRateLimited, "Too many requests", temporary},
	{KindClientClosedRequest, "Client closed request", lasting},
	{KindInternal, "Internal error", lasting},
	{KindModelBadOutput, "Bad output from the model", lasting},
	{KindOverloaded, "Overloaded", temporary},
	{KindDraining, "Shutting down", temporary},
	{KindModelUnavailable, "Model unavailable", temporary},
	{KindStoreUnavailable, "Store unavailable", temporary},
	{KindDeadlineExceeded, "Deadline exceeded", temporary},
}

// Kinds lists every kind, in the order of the table.
func Kinds() []Kind {
	all := make([]Kind, len(kinds))
	for i, row := range kinds {
		all[i] = row.kind
	}
	return all
}

// Title is the kind in words, for people; "" for one that isn't in the table.
func (k Kind) Title() string {
	for _, row := range kinds {
		if row.kind == k {
			return row.title
		}
	}
	return ""
}

// Temporary reports whether the same request may succeed later.
func (k Kind) Temporary() bool {
	for _, row := range kinds {
		if row.kind == k {
			return row.temporary
		}
	}
	return false
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
