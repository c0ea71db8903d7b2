package tracelog

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Export is what is kept of an ExportTraceServiceRequest, in the names of
// OTLP's JSON form. There, ids are hexadecimal and 64-bit numbers are text.
type Export struct {
	ResourceSpans []ResourceSpans `json:"resourceSpans"`
}

// Spans lists them all, with their services.
func (e Export) Spans() []Span {
	var spans []Span
	for _, rs := range e.ResourceSpans {
		service := ""
		for _, a := range rs.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Text()
			}
		}
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				s.Service = service
				spans = append(spans, s)
			}
		}
	}
	return spans
}

// ResourceSpans are the spans of one service.
type ResourceSpans struct {
	Resource struct {
		Attributes []Attribute `json:"attributes,omitempty"`
	} `json:"resource"`
	ScopeSpans []ScopeSpans `json:"scopeSpans"`
}

// ScopeSpans are the spans of one instrumentation library.
type ScopeSpans struct {
	Scope struct {
		Name string `json:"name,omitempty"`
	} `json:"scope"`
	Spans []Span `json:"spans"`
}

// Span is one span. Times are nanoseconds since the epoch.
type Span struct {
	Trace      string      `json:"traceId"`
	ID         string      `json:"spanId"`
	Parent     string      `json:"parentSpanId,omitempty"` // empty for a root
	Name       string      `json:"name"`
	Kind       int         `json:"kind,omitempty"`
	Start      Nanos       `json:"startTimeUnixNano"`
	End        Nanos       `json:"endTimeUnixNano"`
	Attributes []Attribute `json:"attributes,omitempty"`
	Events     []Event     `json:"events,omitempty"`
	Links      []Link      `json:"links,omitempty"`
	Status     Status      `json:"status,omitzero"`

	// Service is service.name of the resource; [Export.Spans] fills it in.
	Service string `json:"-"`
}

// Event happened within a span.
type Event struct {
	Time Nanos  `json:"timeUnixNano"`
	Name string `json:"name"`
}

// Link names a span of another trace, or of this one.
type Link struct {
	Trace string `json:"traceId"`
	ID    string `json:"spanId"`
}

// Status of a span; Code 2 is an error.
type Status struct {
	Code    int    `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// Attribute is a name and a value in OTLP's tagged form, such as
// {"stringValue":"x"}.
type Attribute struct {
	Key   string         `json:"key"`
	Value map[string]any `json:"value"`
}

// Text returns the value for people.
func (a Attribute) Text() string {
	for _, v := range a.Value {
		if f, ok := v.(float64); ok {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
		return fmt.Sprint(v)
	}
	return ""
}

// Nanos is a 64-bit number that JSON carries as text, and that some write as a
// number.
type Nanos uint64

// MarshalJSON implements [json.Marshaler].
func (n Nanos) MarshalJSON() ([]byte, error) {
	return []byte(`"` + strconv.FormatUint(uint64(n), 10) + `"`), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (n *Nanos) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseUint(strings.Trim(string(b), `"`), 10, 64)
	*n = Nanos(v)
	return err
}

// parseJSON reads OTLP's JSON form.
func parseJSON(data []byte) (Export, error) {
	var e Export
	if err := json.Unmarshal(data, &e); err != nil {
		return Export{}, fmt.Errorf("OTLP JSON: %w", err)
	}
	for _, rs := range e.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for i := range ss.Spans {
				s := &ss.Spans[i]
				s.Trace, s.ID, s.Parent = strings.ToLower(s.Trace), strings.ToLower(s.ID), parentID(s.Parent)
				for k := range s.Links {
					l := &s.Links[k]
					l.Trace, l.ID = strings.ToLower(l.Trace), strings.ToLower(l.ID)
				}
			}
		}
	}
	return e, nil
}

// parentID makes an id of zeros, which some exporters write for a root, empty.
func parentID(id string) string {
	if strings.Trim(id, "0") == "" {
		return ""
	}
	return strings.ToLower(id)
}

// parseProto reads OTLP's protobuf form.
func parseProto(data []byte) (Export, error) {
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(data, &request); err != nil {
		return Export{}, fmt.Errorf("OTLP protobuf: %w", err)
	}
	var e Export
	for _, rs := range request.GetResourceSpans() {
		var r ResourceSpans
		r.Resource.Attributes = attributes(rs.GetResource().GetAttributes())
		for _, ss := range rs.GetScopeSpans() {
			var scope ScopeSpans
			scope.Scope.Name = ss.GetScope().GetName()
			for _, s := range ss.GetSpans() {
				scope.Spans = append(scope.Spans, span(s))
			}
			r.ScopeSpans = append(r.ScopeSpans, scope)
		}
		e.ResourceSpans = append(e.ResourceSpans, r)
	}
	return e, nil
}

func span(s *trace.Span) Span {
	out := Span{
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()),
		Parent: hex.EncodeToString(s.GetParentSpanId()),
		Name:   s.GetName(), Kind: int(s.GetKind()), Start: Nanos(s.GetStartTimeUnixNano()),
		End:        Nanos(s.GetEndTimeUnixNano()),
		Attributes: attributes(s.GetAttributes()),
		Status:     Status{Code: int(s.GetStatus().GetCode()), Message: s.GetStatus().GetMessage()},
	}
	for _, e := range s.GetEvents() {
		out.Events = append(out.Events, Event{Time: Nanos(e.GetTimeUnixNano()), Name: e.GetName()})
	}
	for _, l := range s.GetLinks() {
		out.Links = append(out.Links, Link{Trace: hex.EncodeToString(l.GetTraceId()), ID: hex.EncodeToString(l.GetSpanId())})
	}
	return out
}

func attributes(in []*common.KeyValue) []Attribute {
	out := make([]Attribute, len(in))
	for i, kv := range in {
		out[i] = Attribute{Key: kv.GetKey(), Value: map[string]any{}}
		switch v := kv.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[i].Value["stringValue"] = v.StringValue
		case *common.AnyValue_IntValue:
			out[i].Value["intValue"] = strconv.FormatInt(v.IntValue, 10)
		case *common.AnyValue_DoubleValue:
			out[i].Value["doubleValue"] = v.DoubleValue
		case *common.AnyValue_BoolValue:
			out[i].Value["boolValue"] = v.BoolValue
		case *common.AnyValue_BytesValue:
			out[i].Value["bytesValue"] = base64.StdEncoding.EncodeToString(v.BytesValue)
		default: // lists and maps: in protobuf's text form
			out[i].Value["stringValue"] = kv.GetValue().String()
		}
	}
	return out
}
