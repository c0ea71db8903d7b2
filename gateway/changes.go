package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
)

// CheckpointChanges changes which checkpoints there are: a [lifecycle.Manager].
// by names who asks. Errors are *[quality.Error]; each method says which kinds
// besides those of the inference servers.
type CheckpointChanges interface {
	// ImportFiles takes a bundle in: checkpoint_invalid, encoder_mismatch, conflict.
	ImportFiles(ctx context.Context, manifest, weights []byte, in lifecycle.Import) (lifecycle.Report, error)
	// Activate makes a checkpoint the default: checkpoint_not_found, encoder_mismatch.
	Activate(ctx context.Context, name, by string) (lifecycle.Change, error)
	// Rollback goes back to the default before: conflict.
	Rollback(ctx context.Context, by string) (lifecycle.Change, error)
	// Remove takes a checkpoint out: checkpoint_not_found, conflict. It comes back
	// within a few seconds, also where others still use the models.
	Remove(ctx context.Context, name, by string) (lifecycle.Change, error)
	// Encoders says which encoders there are.
	Encoders(ctx context.Context) (lifecycle.Encoders, error)
	// UseEncoder makes every gateway use an encoder: conflict. precision is nil where
	// it doesn't matter.
	UseEncoder(ctx context.Context, digest quality.Digest, precision *string, by string) (lifecycle.Encoders, error)
	// Diff compares two checkpoints: checkpoint_not_found.
	Diff(a, b string) (lifecycle.Diff, error)
	// Standing says which revision of the desired state is wanted.
	Standing() lifecycle.Standing
}

// CheckpointChange says what became of the default.
type CheckpointChange struct {
	Checkpoint CheckpointRef `json:"checkpoint" doc:"The checkpoint that the change was about"`
	Default    string        `json:"default" doc:"Scores when a request names none"`
	Before     string        `json:"default_before" doc:"The default before this change"`
	Previous   string        `json:"previous" doc:"What a rollback goes to; empty: nothing"`
	Revision   int64         `json:"revision" doc:"Of the desired state with this change. Other gateways of the store follow within a second"`
	Unloaded   *bool         `json:"unloaded,omitempty" doc:"After a removal: whether its models are off the inference servers. They stay while another gateway or a request still uses them, and go then"`
}

// CheckpointReport says what an import did.
type CheckpointReport struct {
	CheckpointChange
	Known   bool             `json:"known" doc:"Whether it was there before, with the same content"`
	Steps   []CheckpointStep `json:"steps" nullable:"false" doc:"What was done, in order"`
	Golden  int              `json:"golden" doc:"Golden cases replayed on every inference server"`
	MaxDiff float64          `json:"golden_max_difference" doc:"Largest difference among them, in the score's unit"`
}

// CheckpointStep is a step of an import.
type CheckpointStep struct {
	Name string  `json:"name" example:"load"`
	MS   float64 `json:"ms" doc:"Time it took, in milliseconds"`
}

// CheckpointDiff says how two checkpoints differ.
type CheckpointDiff struct {
	A       CheckpointRef         `json:"a"`
	B       CheckpointRef         `json:"b"`
	Same    bool                  `json:"same" doc:"Whether every score is the same"`
	Fields  []CheckpointFieldDiff `json:"fields" nullable:"false" doc:"Facts of the manifests that differ"`
	Tensors []CheckpointTensors   `json:"tensors" nullable:"false" doc:"Every tensor"`
}

// CheckpointFieldDiff is a fact on which two manifests disagree.
type CheckpointFieldDiff struct {
	Field string `json:"field"`
	A     string `json:"a"`
	B     string `json:"b"`
}

// CheckpointTensors compares the numbers of one tensor.
type CheckpointTensors struct {
	Name   string  `json:"name" example:"head.0.weight"`
	ShapeA []int   `json:"shape_a" nullable:"false"`
	ShapeB []int   `json:"shape_b" nullable:"false"`
	Equal  bool    `json:"equal"`
	MaxAbs float64 `json:"max_abs" doc:"Largest difference; 0 where the shapes differ"`
	RMS    float64 `json:"rms" doc:"Root mean square of the differences"`
	Cosine float64 `json:"cosine" doc:"Of both tensors as long vectors"`
}

func checkpointChange(c lifecycle.Change) CheckpointChange {
	return CheckpointChange{Checkpoint: checkpointRef(c.Checkpoint), Default: c.Default,
		Before: c.Before, Previous: c.Previous, Revision: c.Revision}
}

func checkpointReport(r lifecycle.Report) CheckpointReport {
	out := CheckpointReport{
		CheckpointChange: checkpointChange(r.Change), Known: r.Known, Steps: []CheckpointStep{},
		Golden: r.Golden, MaxDiff: r.MaxDiff,
	}
	for _, s := range r.Steps {
		out.Steps = append(out.Steps, CheckpointStep{Name: string(s.Name), MS: float64(s.Took) / float64(time.Millisecond)})
	}
	return out
}

func checkpointDiff(d lifecycle.Diff) CheckpointDiff {
	out := CheckpointDiff{
		A: checkpointRef(d.A.Checkpoint), B: checkpointRef(d.B.Checkpoint),
		Same:   d.A.Checkpoint.Digest == d.B.Checkpoint.Digest,
		Fields: []CheckpointFieldDiff{}, Tensors: []CheckpointTensors{},
	}
	for _, f := range d.Fields {
		out.Fields = append(out.Fields, CheckpointFieldDiff(f))
	}
	for _, t := range d.Tensors {
		out.Tensors = append(out.Tensors, CheckpointTensors(t))
	}
	return out
}

// Bounds of administration where the configuration gives none.
const (
	defaultBundleBytes   = 72 << 20
	defaultChangeTimeout = 5 * time.Minute
)

type importInput struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte `contentType:"multipart/form-data"`
}

type importOutput struct {
	Status int
	Body   CheckpointReport
}

type changeOutput struct{ Body CheckpointChange }

type diffInput struct {
	Name  string `path:"name"`
	Other string `path:"other"`
}

type diffOutput struct{ Body CheckpointDiff }

func (g *Gateway) registerChanges(api huma.API) {
	change := func(op huma.Operation) huma.Operation {
		op.Tags = []string{"Checkpoints"}
		op.Errors = append(op.Errors, 409, 502, 503, 504)
		return op
	}
	huma.Register(api, change(huma.Operation{
		OperationID: "import-checkpoint", Method: http.MethodPost, Path: "/v1/checkpoints", Summary: "Import a checkpoint",
		Description: "Takes a bundle in while the server runs. Everything is validated before anything changes; then its " +
			"prompts are encoded, " +
			"its models are loaded into every inference server and its golden scores are replayed there; only then can it be " +
			"named. " +
			"When a step fails, everything is as it was, and the detail names the step.",
		DefaultStatus: http.StatusCreated, Errors: []int{400, 408, 413, 415, 422},
		MaxBodyBytes:     g.cfg.MaxBundleBytes + 1,
		SkipValidateBody: true, RequestBody: bundleBody(),
	}), func(ctx context.Context, in *importInput) (*importOutput, error) {
		body, charge := gatheredOf(ctx)
		manifest, weights, request, err := readBundle(in.ContentType, body)
		if err == nil {
			err = charge(int64(len(weights))) // the tensors that are decoded from it
		}
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		request.By = access.From(ctx).By()
		report, err := g.changes.ImportFiles(ctx, manifest, weights, request)
		g.measures.countChange(ctx, "import", err)
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		out := &importOutput{Status: http.StatusCreated, Body: checkpointReport(report)}
		if report.Known {
			out.Status = http.StatusOK
		}
		return out, nil
	})
	huma.Register(api, change(huma.Operation{
		OperationID: "activate-checkpoint", Method: http.MethodPost, Path: "/v1/checkpoints/{name}/activate",
		Summary:     "Make a checkpoint the default",
		Description: "Requests that have begun keep the default that they began with. The old default stays loaded.",
		Errors:      []int{404},
	}), func(ctx context.Context, in *showInput) (*changeOutput, error) {
		change, err := g.changes.Activate(ctx, in.Name, access.From(ctx).By())
		g.measures.countChange(ctx, "activate", err)
		return changed(ctx, change, err)
	})
	// A name begins with a letter or a digit, so "-" is none.
	huma.Register(api, change(huma.Operation{
		OperationID: "rollback-checkpoint", Method: http.MethodPost, Path: "/v1/checkpoints/-/rollback",
		Summary:     "Go back to the previous default",
		Description: "Once more goes forth again.",
	}), func(ctx context.Context, _ *struct{}) (*changeOutput, error) {
		change, err := g.changes.Rollback(ctx, access.From(ctx).By())
		g.measures.countChange(ctx, "rollback", err)
		return changed(ctx, change, err)
	})
	huma.Register(api, change(huma.Operation{
		OperationID: "remove-checkpoint", Method: http.MethodDelete, Path: "/v1/checkpoints/{name}",
		Summary: "Remove an imported checkpoint",
		Description: "The default and the checkpoints that were shipped with the server stay. Requests that have begun, " +
			"also on other gateways, are answered.", Errors: []int{404},
		DefaultStatus: http.StatusOK,
	}), func(ctx context.Context, in *showInput) (*changeOutput, error) {
		change, err := g.changes.Remove(ctx, in.Name, access.From(ctx).By())
		g.measures.countChange(ctx, "remove", err)
		out, err := changed(ctx, change, err)
		if err == nil {
			out.Body.Unloaded = &change.Unloaded
		}
		return out, err
	})
	huma.Register(api, huma.Operation{
		OperationID: "diff-checkpoints", Method: http.MethodGet, Path: "/v1/checkpoints/{name}/diff/{other}",
		Summary: "Compare two checkpoints", Tags: []string{"Checkpoints"}, Errors: []int{404},
	}, func(ctx context.Context, in *diffInput) (*diffOutput, error) {
		diff, err := g.changes.Diff(in.Name, in.Other)
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		return &diffOutput{Body: checkpointDiff(diff)}, nil
	})
}

func changed(ctx context.Context, change lifecycle.Change, err error) (*changeOutput, error) {
	if err != nil {
		return nil, problemOf(ctx, err)
	}
	return &changeOutput{Body: checkpointChange(change)}, nil
}

// administrative reports whether a request may take the time and the bytes of
// a change. A report of many arms and images takes minutes too.
func administrative(c *gin.Context) bool {
	if strings.HasPrefix(c.FullPath(), "/v1/experiments/:id/report") {
		return true
	}
	return c.Request.Method != http.MethodGet && c.Request.Method != http.MethodHead &&
		(strings.HasPrefix(c.FullPath(), "/v1/checkpoints") || strings.HasPrefix(c.FullPath(), "/v1/experiments"))
}

// bundleBody describes the body of an import.
func bundleBody() *huma.RequestBody {
	binary := &huma.Schema{Type: huma.TypeString, Format: "binary"}
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"multipart/form-data": {Schema: &huma.Schema{
			Type: huma.TypeObject,
			Properties: map[string]*huma.Schema{
				"manifest": {Type: huma.TypeString, Format: "binary", Description: "manifest.json of the bundle"},
				"weights":  binary,
				"name":     {Type: huma.TypeString, Description: "Name on this server; the manifest's when absent"},
				"activate": {Type: huma.TypeString, Enum: []any{"true", "false"}, Description: "Whether it becomes the default"},
			},
			Required: []string{"manifest", "weights"}, AdditionalProperties: false,
		}},
	}}
}

// readBundle takes the parts of an import apart, in the memory of body. Each may come once, and no
// other may come.
func readBundle(contentType string, body []byte) (manifest, weights []byte, in lifecycle.Import, err error) {
	kind, params, err := mime.ParseMediaType(contentType)
	boundary := cmp.Or(params["boundary"], leadingBoundary(body))
	if err != nil || kind != "multipart/form-data" || boundary == "" {
		return nil, nil, in, quality.Errorf(quality.KindUnsupportedMediaType, "a checkpoint is imported as "+
			"multipart/form-data with parts manifest and weights")
	}
	parts, free := map[string][]byte{}, body
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, in,
				quality.Errorf(quality.KindBadRequest, "the multipart body is truncated or malformed").Because(err)
		}
		name, err := partName(part)
		if err != nil {
			return nil, nil, in, err
		}
		if known := []string{"activate", "manifest", "name", "weights"}; !slices.Contains(known, name) {
			return nil, nil, in, quality.Errorf(quality.KindUnknownField, "unknown part %s of an import; %s",
				quality.Quote(name), suggestion(name, known))
		}
		if _, twice := parts[name]; twice {
			return nil, nil, in, quality.Errorf(quality.KindBadRequest, "part %s appears twice", name)
		}
		if parts[name], err = readPart(part, int64(len(body)), &free); err != nil {
			return nil, nil, in, quality.Errorf(quality.KindBadRequest, "part %s is truncated", name).Because(err)
		}
	}
	for _, name := range []string{"manifest", "weights"} {
		if len(parts[name]) == 0 {
			return nil, nil, in, quality.Errorf(quality.KindBadRequest, "part %s is missing or empty", name)
		}
	}
	if name, given := parts["name"]; given {
		if in.Name = string(name); !quality.ValidCheckpointName(in.Name) {
			return nil, nil, in,
				quality.Errorf(quality.KindCheckpointInvalid, "name %s does not match [a-z0-9][a-z0-9._-]{0,63}", clip(in.Name, 64))
		}
	}
	switch string(parts["activate"]) {
	case "", "false":
	case "true":
		in.Activate = true
	default:
		return nil, nil, in, quality.Errorf(quality.KindBadRequest, "activate must be true or false")
	}
	return parts["manifest"], parts["weights"], in, nil
}
