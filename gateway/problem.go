package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// statusClientClosedRequest is seen in logs and metrics only: nobody is left
// to read it.
const statusClientClosedRequest = 499

// statuses is the only place where an error's kind becomes a status.
var statuses = map[quality.Kind]int{
	quality.KindBadRequest:      http.StatusBadRequest,
	quality.KindJSONTooDeep:     http.StatusBadRequest,
	quality.KindInvalidUTF8:     http.StatusBadRequest,
	quality.KindBadBase64:       http.StatusBadRequest,
	quality.KindUnknownField:    http.StatusBadRequest,
	quality.KindUnauthenticated: http.StatusUnauthorized,
	quality.KindForbidden:       http.StatusForbidden,

	quality.KindNotFound:             http.StatusNotFound,
	quality.KindCheckpointNotFound:   http.StatusNotFound,
	quality.KindMethodNotAllowed:     http.StatusMethodNotAllowed,
	quality.KindNotAcceptable:        http.StatusNotAcceptable,
	quality.KindRequestTimeout:       http.StatusRequestTimeout,
	quality.KindMisdirected:          http.StatusMisdirectedRequest,
	quality.KindCrossOrigin:          http.StatusForbidden,
	quality.KindConflict:             http.StatusConflict,
	quality.KindEncoderMismatch:      http.StatusConflict,
	quality.KindPayloadTooLarge:      http.StatusRequestEntityTooLarge,
	quality.KindUnsupportedMediaType: http.StatusUnsupportedMediaType,

	quality.KindUnsupportedImageFormat: http.StatusUnsupportedMediaType,
	quality.KindImageCorrupt:           http.StatusUnprocessableEntity,
	quality.KindImageTruncated:         http.StatusUnprocessableEntity,
	quality.KindImageZeroDimension:     http.StatusUnprocessableEntity,
	quality.KindImageTooManyPixels:     http.StatusUnprocessableEntity,
	quality.KindImageTooManyScans:      http.StatusUnprocessableEntity,
	quality.KindImageTooManyFrames:     http.StatusUnprocessableEntity,
	quality.KindImageTooExpensive:      http.StatusUnprocessableEntity,
	quality.KindPromptTooLong:          http.StatusUnprocessableEntity,
	quality.KindImageURLForbidden:      http.StatusUnprocessableEntity,
	quality.KindCheckpointInvalid:      http.StatusUnprocessableEntity,
	quality.KindExperimentInvalid:      http.StatusUnprocessableEntity,
	quality.KindFeedbackInvalid:        http.StatusUnprocessableEntity,

	quality.KindRateLimited:         http.StatusTooManyRequests,
	quality.KindClientClosedRequest: statusClientClosedRequest,
	quality.KindInternal:            http.StatusInternalServerError,
	quality.KindModelBadOutput:      http.StatusBadGateway,
	quality.KindOverloaded:          http.StatusServiceUnavailable,
	quality.KindDraining:            http.StatusServiceUnavailable,
	quality.KindModelUnavailable:    http.StatusServiceUnavailable,
	quality.KindStoreUnavailable:    http.StatusServiceUnavailable,
	quality.KindDeadlineExceeded:    http.StatusGatewayTimeout,
}

// StatusOf returns the HTTP status of a kind.
func StatusOf(kind quality.Kind) int {
	if status, ok := statuses[kind]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// Problem is an RFC 9457 problem document, with the members that this API
// adds: code, retryable, retry_after_ms, request_id, trace_id and errors.
type Problem struct {
	Type         string         `json:"type" doc:"URI reference of the kind of problem" example:"urn:agiqa:problem:image_corrupt"`
	Title        string         `json:"title" doc:"The kind of problem in words" example:"Image is corrupt"`
	Status       int            `json:"status" doc:"HTTP status" example:"422"`
	Detail       string         `json:"detail" doc:"What happened this time"`
	Code         quality.Kind   `json:"code" doc:"Stable name of the kind of problem" example:"image_corrupt"`
	Retryable    bool           `json:"retryable" doc:"Whether the same request may succeed later"`
	RetryAfterMS int64          `json:"retry_after_ms,omitempty" doc:"When to try again, in milliseconds from now"`
	RequestID    string         `json:"request_id" doc:"Also in the X-Request-ID header"`
	TraceID      string         `json:"trace_id" doc:"Trace of this request"`
	Errors       []ProblemField `json:"errors,omitempty" nullable:"false" doc:"Every fault found in the request, where there are several; all that a promotion lacks"`
}

// ProblemField is one fault in a request, or one condition of a promotion that is
// not met.
type ProblemField struct {
	Location string `json:"location" doc:"Where, such as body.images[0].data"`
	Message  string `json:"message"`
}

var (
	_ huma.StatusError       = (*Problem)(nil)
	_ huma.HeadersError      = (*Problem)(nil)
	_ huma.ContentTypeFilter = (*Problem)(nil)
)

// Error implements error.
func (p *Problem) Error() string { return string(p.Code) + ": " + p.Detail }

// GetStatus implements [huma.StatusError].
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements [huma.ContentTypeFilter].
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders implements [huma.HeadersError]: Retry-After in whole seconds.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.RetryAfterMS > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(float64(p.RetryAfterMS)/1000)), 10))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	return h
}

// problemOf turns any error into the problem that a client sees, and leaves
// the error itself for the log line of the request. Errors that carry no kind
// are internal, and their text is not shown.
func problemOf(ctx context.Context, err error) *Problem {
	ids := idsOf(ctx)
	ids.fail(err)
	return ids.problem(err)
}

// problem says what err was, of the request or of one image in it.
func (i *ids) problem(err error) *Problem {
	err = i.explain(err)
	kind := quality.KindOf(err)
	p := &Problem{
		Type: "urn:agiqa:problem:" + string(kind), Title: kind.Title(), Status: StatusOf(kind), Code: kind,
		Retryable: kind.Temporary(), RequestID: i.Request, TraceID: i.Trace,
	}
	switch e, ok := errors.AsType[*quality.Error](err); {
	case ok:
		p.Detail = e.Detail
		p.RetryAfterMS = e.RetryAfter.Milliseconds()
	case kind == quality.KindDeadlineExceeded:
		p.Detail = "the request used up its time budget"
	case kind == quality.KindClientClosedRequest:
		p.Detail = "the client disconnected"
	default:
		p.Detail = "internal error; the server logged the cause with this request_id"
	}
	if body, ok := errors.AsType[*InvalidRequest](err); ok {
		p.Errors = body.Fields
	}
	if arm, ok := errors.AsType[*experiment.NotReady](err); ok {
		for _, text := range arm.Missing[:min(len(arm.Missing), maxFaults)] {
			p.Errors = append(p.Errors, ProblemField{Location: "promotion", Message: clip(text, 256)})
		}
	}
	if p.Retryable && p.RetryAfterMS == 0 {
		p.RetryAfterMS = time.Second.Milliseconds()
	}
	return p
}

// abort answers with a problem outside of huma's operations.
func abort(c *gin.Context, err error) {
	p := problemOf(c.Request.Context(), err)
	for name, values := range p.GetHeaders() {
		for _, v := range values {
			c.Writer.Header().Add(name, v)
		}
	}
	body, jsonErr := json.Marshal(p)
	if jsonErr != nil { // a Problem holds nothing that cannot be marshalled
		body = []byte("{}")
	}
	c.Abort()
	c.Data(p.Status, p.ContentType(""), body)
}

// humaProblem translates the faults that huma finds by itself (bodies it could
// not read, parameters that do not fit their schema) into problems.
func humaProblem(hctx huma.Context, status int, message string, errs ...error) huma.StatusError {
	p := problemOf(hctx.Context(), humaFault(hctx, status, message, errs))
	for _, err := range errs {
		if d, ok := errors.AsType[*huma.ErrorDetail](err); ok && p.Code == quality.KindBadRequest && !aboutBody(errs) {
			p.Errors = append(p.Errors, ProblemField{Location: clip(d.Location, 128), Message: clip(d.Message, 256)})
		}
	}
	for name := range p.GetHeaders() { // huma asks handlers' errors only
		hctx.SetHeader(name, p.GetHeaders().Get(name))
	}
	return p
}

// aboutBody reports whether huma found a fault in the body.
func aboutBody(faults []error) bool {
	return slices.ContainsFunc(faults, func(err error) bool {
		d, ok := errors.AsType[*huma.ErrorDetail](err)
		return ok && (d.Location == "body" || strings.HasPrefix(d.Location, "body.") ||
			strings.HasPrefix(d.Location, "body["))
	})
}

func humaFault(hctx huma.Context, status int, message string, errs []error) error {
	ids := idsOf(hctx.Context())
	kind := quality.KindBadRequest
	switch status {
	case http.StatusRequestEntityTooLarge:
		return bodyTooLarge(hctx.Operation().MaxBodyBytes - 1)
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		if bodies, ok := hctx.Context().Value(bodiesKey{}).(*bodyReader); ok && aboutBody(errs) {
			return bodies.text.invalidBody(bodies.registry, jsonSchema(hctx.Operation()), errs)
		}
	case http.StatusRequestTimeout:
		kind = quality.KindRequestTimeout
	case http.StatusUnsupportedMediaType:
		kind = quality.KindUnsupportedMediaType
	case http.StatusNotAcceptable:
		kind = quality.KindNotAcceptable
	case http.StatusInternalServerError:
		if ids.bodyErr != nil {
			return bodyFault(ids.bodyErr)
		}
		return quality.Errorf(quality.KindInternal, "internal error; the server logged the cause with this request_id").
			Because(errors.Join(append(errs, errors.New(message))...))
	}
	return quality.Errorf(kind, "%s", message)
}
