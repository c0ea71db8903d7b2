package cli

import (
	"bytes"
	"errors"
	"mime/multipart"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/gateway"
)

// CheckpointList is the answer of GET /v1/checkpoints.
type CheckpointList struct {
	Checkpoints []gateway.CheckpointView `json:"checkpoints"`
	Default     string                   `json:"default"`
	Encoder     *gateway.EncoderRef      `json:"encoder,omitempty"`
}

// ImportBody returns the body of POST /v1/checkpoints, and its Content-Type: the
// bundle under a name ("": its own), which activate makes the default.
func ImportBody(b *checkpoint.Bundle, name string, activate bool) (body []byte, contentType string, err error) {
	manifest, weights, err := checkpoint.Encode(b)
	if err != nil {
		return nil, "", err
	}
	var buffer bytes.Buffer
	w := multipart.NewWriter(&buffer)
	file := func(field, file string, content []byte) {
		part, e := w.CreateFormFile(field, file)
		if e == nil {
			_, e = part.Write(content)
		}
		err = errors.Join(err, e)
	}
	file("manifest", checkpoint.ManifestFile, manifest)
	file("weights", checkpoint.WeightsFile, weights)
	if name != "" {
		err = errors.Join(err, w.WriteField("name", name))
	}
	if activate {
		err = errors.Join(err, w.WriteField("activate", "true"))
	}
	err = errors.Join(err, w.Close()) // writes the end
	return buffer.Bytes(), w.FormDataContentType(), err
}
