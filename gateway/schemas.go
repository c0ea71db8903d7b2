package gateway

import (
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/stats"
	"github.com/agiqa/agiqa/quality"
)

const schemaPrefix = "#/components/schemas/"

// newSchemas returns the registry from which the document's schemas come.
func newSchemas() huma.Registry {
	r := huma.NewMapRegistry(schemaPrefix, schemaName)
	// A figure that isn't known is written as null.
	r.RegisterTypeAlias(reflect.TypeFor[analysis.Number](), reflect.TypeFor[*float64]())
	return r
}

// schemaName keeps the types of a report apart from those of the same name
// that an experiment is made of.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[analysis.Report]():
		return "ExperimentReport"
	case t == reflect.TypeFor[experiment.Definition]():
		return "ExperimentDefinition"
	case t.Kind() == reflect.Struct && strings.Contains(t.PkgPath(), "/experiment/"):
		return "Report" + name
	}
	return name
}

// enums are the string types with a closed set of values.
var enums = map[reflect.Type][]any{
	reflect.TypeFor[access.Scope](): values(access.Scopes()...),
	reflect.TypeFor[access.State](): values(access.States()...),
	reflect.TypeFor[experiment.State](): values(experiment.Draft, experiment.Running, experiment.Paused,
		experiment.Stopped, experiment.Promoted, experiment.RolledBack),
	reflect.TypeFor[experiment.Role](): values(experiment.Control, experiment.Treatment),
	reflect.TypeFor[experiment.Mode](): values(experiment.Live, experiment.Shadow, experiment.Interleave),
	reflect.TypeFor[experiment.UnitKind](): values(experiment.UnitHeader, experiment.UnitAPIKey,
		experiment.UnitImage, experiment.UnitRequest),
	reflect.TypeFor[experiment.Primary](): values(experiment.PrimaryCalibrated, experiment.PrimaryLoss,
		experiment.PrimarySRCC, experiment.PrimaryKRCC, experiment.PrimaryPreference, experiment.PrimaryUser),
	reflect.TypeFor[experiment.Auto](): values(experiment.AutoOff, experiment.AutoRecommend, experiment.AutoAct),
	reflect.TypeFor[experiment.GuardrailKind](): values(experiment.GuardErrors,
		experiment.GuardLatency, experiment.GuardDrift,
		experiment.GuardSaturation, experiment.GuardConstant, experiment.GuardSRM, experiment.GuardExposure,
		experiment.GuardTraffic, experiment.GuardStore),
	reflect.TypeFor[experiment.Action](): values(experiment.ActWarn, experiment.ActHold, experiment.ActRollback),
	reflect.TypeFor[analysis.Mapping]():  values(analysis.Raw, analysis.Logistic4, analysis.Logistic5),
	reflect.TypeFor[analysis.Basis]():    values(analysis.BasisBlind, analysis.BasisAll, analysis.BasisUsers),
	reflect.TypeFor[stats.Metric]():      values(stats.Metrics()...),
	reflect.TypeFor[stats.Decision](): values(stats.Continue, stats.Superior, stats.Inferior, stats.NonInferior,
		stats.Equivalent, stats.NoPracticalDifference),
	reflect.TypeFor[quality.Kind](): sentKinds(),
}

func values[T ~string](all ...T) []any {
	out := make([]any, len(all))
	for i, v := range all {
		out[i] = string(v)
	}
	return out
}

// sentKinds are the kinds of problem that a client can see: nobody receives
// client_closed_request.
func sentKinds() []any {
	var out []any
	for _, kind := range quality.Kinds() {
		if StatusOf(kind) != statusClientClosedRequest {
			out = append(out, string(kind))
		}
	}
	return out
}

// correctSchemas makes every schema say what encoding/json writes: null for a
// pointer, slice or map that is nil, unless the member is then left out or the
// field's tag says that it's never nil. huma itself doesn't know nullable
// objects, and takes every slice for nullable.
func correctSchemas(r huma.Registry) {
	for name, schema := range r.Map() {
		t := r.TypeFromRef(schemaPrefix + name)
		for _, f := range reflect.VisibleFields(t) {
			member, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			property := schema.Properties[member]
			if f.Anonymous || property == nil {
				continue
			}
			absent := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
			schema.Properties[member] = corrected(f.Type, property, !absent && f.Tag.Get("nullable") != "false")
		}
	}
	correctDefinitions(r)
	if audit := r.Map()["Audit"]; audit != nil { // a server that runs experiments
		from := audit.Properties["from"]
		from.Enum = append([]any{""}, from.Enum...)
		from.Description = "Empty for the audit of a creation."
	}
}

// corrected returns the schema of a value of type t; nullable says whether it
// is sent when it is nil.
func corrected(t reflect.Type, s *huma.Schema, nullable bool) *huma.Schema {
	switch t {
	case reflect.TypeFor[quality.Digest]():
		s.Pattern = "^sha256:[0-9a-f]{64}$"
	case reflect.TypeFor[time.Duration]():
		s.Description = strings.TrimSpace(s.Description + " In nanoseconds.")
	}
	if values := enums[t]; values != nil {
		s.Enum = values
	}
	switch t.Kind() {
	case reflect.Pointer:
		s = corrected(t.Elem(), s, false)
		s.Nullable = nullable && s.Ref == ""
		if nullable && s.Ref != "" {
			return &huma.Schema{
				Description: s.Description,
				AnyOf:       []*huma.Schema{{Ref: s.Ref}, {Type: "null"}},
			}
		}
	case reflect.Slice, reflect.Array:
		if s.Items != nil {
			s.Items = corrected(t.Elem(), s.Items, true)
			s.Nullable = nullable && t.Kind() == reflect.Slice
		}
	case reflect.Map:
		if values, ok := s.AdditionalProperties.(*huma.Schema); ok {
			s.AdditionalProperties = corrected(t.Elem(), values, true)
			s.Nullable = nullable
		}
	}
	return s
}

// correctDefinitions makes the schemas of a definition say how shares and
// durations are written there.
func correctDefinitions(r huma.Registry) {
	for name, schema := range r.Map() {
		if !strings.HasSuffix(name, "Definition") {
			continue
		}
		for _, f := range reflect.VisibleFields(r.TypeFromRef(schemaPrefix + name)) {
			member, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			t := f.Type
			if t.Kind() == reflect.Pointer {
				t = t.Elem()
			}
			about := f.Tag.Get("doc")
			switch t {
			case reflect.TypeFor[experiment.Share]():
				most := float64(experiment.Whole)
				schema.Properties[member] = &huma.Schema{Description: about, AnyOf: []*huma.Schema{
					{Type: huma.TypeString, Pattern: `^ *[0-9.]+%? *$`, Description: "A percentage, such as 12.5%"},
					{Type: huma.TypeInteger, Minimum: new(float64), Maximum: &most, Description: "Parts per million"},
				}}
			case reflect.TypeFor[time.Duration]():
				schema.Properties[member] = &huma.Schema{
					Type: huma.TypeString, Pattern: experiment.DurationPattern,
					Description: about, Examples: []any{"36h", "3d"},
				}
			}
		}
	}
}
