package gateway

import (
	"bytes"
	"context"
	"image"
	"image/png"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agiqa/agiqa/quality"
)

type preprocessInput struct {
	ContentType     string `header:"Content-Type" hidden:"true"`
	ContentEncoding string `header:"Content-Encoding" hidden:"true"`
	Format          string `query:"format" enum:"png,raw" default:"png" doc:"png, or raw: 150,528 bytes, uint8 [224,224,3] RGB"`
	Preprocess      string `query:"preprocess" enum:"exact,fast" doc:"How the image becomes pixels; the server's way when absent"`
	View            string `query:"view" maxLength:"48" doc:"Which square of the picture: 224, or a cell of a larger square such as 448/r0c1, row 0 and column 1 of 448x448 pixels; 224 when absent. Another recipe than pillow12-bicubic-224 follows a colon: 224:pillow13-bicubic-224"`
	RawBody         []byte
}

type preprocessOutput struct {
	ContentType string `header:"Content-Type"`
	Preprocess  string `header:"X-Preprocess" doc:"Names the exact way from file to pixels"`
	Decoder     string `header:"X-Decoder" doc:"What decoded the image: go, or a library with its version"`
	Body        []byte
}

func (g *Gateway) registerPreprocess(api huma.API) {
	op := huma.Operation{
		OperationID: "preprocess", Method: http.MethodPost, Path: "/v1/preprocess", Tags: []string{"Scoring"},
		Summary: "See what the model sees",
		Description: "Returns the exact 224x224 pixels that the encoder gets for one view of an image. The body is that of " +
			"/v1/score with one image.",
		MaxBodyBytes: g.cfg.MaxBodyBytes + 1, SkipValidateBody: true, Errors: []int{400, 408, 413, 415, 422, 429, 503, 504},
		RequestBody: g.scoreBody(),
		Responses: map[string]*huma.Response{"200": {Description: "The pixels", Content: map[string]*huma.MediaType{
			"image/png":                {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
			"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		}}},
	}
	huma.Register(api, op, func(ctx context.Context, in *preprocessInput) (*preprocessOutput, error) {
		out, err := g.preprocess(ctx, in)
		if err != nil {
			g.limits.hold(ctx, err)
			return nil, problemOf(ctx, err)
		}
		return out, nil
	})
	op.RequestBody.Required = false // huma set it; see scoreBody
}

func (g *Gateway) preprocess(ctx context.Context, in *preprocessInput) (*preprocessOutput, error) {
	raw, charge := gatheredOf(ctx)
	b, err := g.bodies.read(in.ContentType, in.ContentEncoding, raw, charge)
	if err != nil {
		return nil, err
	}
	if len(b.items) != 1 {
		return nil, quality.Errorf(quality.KindBadRequest, "preprocess takes one image, not %d", len(b.items))
	}
	if b.items[0].Err != nil {
		return nil, b.items[0].Err
	}
	mode, err := b.mode(in.Preprocess)
	if err != nil {
		return nil, err
	}
	var view quality.View
	if in.View != "" {
		if view, err = quality.ParseView(in.View); err != nil {
			return nil, quality.Errorf(quality.KindBadRequest, "%w", err)
		}
	}
	prepared, err := g.scorer.Prepare(ctx, b.items[0].Data, mode, view)
	if err != nil {
		return nil, err
	}
	way := g.scorer.PreprocessID(mode, view.Recipe()).At(view)
	out := &preprocessOutput{Preprocess: string(way), Decoder: prepared.Decoder}
	if in.Format == "raw" {
		out.ContentType, out.Body = "application/octet-stream", prepared.Pixels.Bytes()
		return out, nil
	}
	out.ContentType = "image/png"
	out.Body, err = PNG(prepared.Pixels)
	return out, err
}

// PNG encodes pixels without loss.
func PNG(p quality.Pixels) ([]byte, error) {
	img := image.NewNRGBA(image.Rect(0, 0, quality.ImageSize, quality.ImageSize))
	rgb := p.Bytes()
	for i := range quality.ImageSize * quality.ImageSize {
		copy(img.Pix[4*i:], rgb[3*i:3*i+3])
		img.Pix[4*i+3] = 0xff
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
