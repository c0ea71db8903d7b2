package lifecycle_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
)

// callList notes what readiness asks for, and fails where it is told to.
type callList struct {
	calls []string
	fail  string // the call that fails
}

func (c *callList) do(call string) error {
	c.calls = append(c.calls, call)
	if call == c.fail {
		return errors.New("no " + call)
	}
	return nil
}

func (c *callList) ModelReady(_ context.Context, model string) error {
	kind, _, _ := strings.Cut(model, "_")
	return c.do("ready " + kind)
}

func (c *callList) CheckCheckpoint(context.Context, quality.Encoder, quality.Checkpoint) error {
	return c.do("check")
}

func (c *callList) TextEmbeddings(context.Context, quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
	return quality.TextEmbeddings{}, false, c.do("texts")
}

// TestReadiness: the whole check once for each encoder, and after it only
// whether the models are there. A check that failed is made again.
func TestReadiness(t *testing.T) {
	one := quality.Encoder{Name: "one", Digest: quality.DigestOf([]byte("one"))}
	renamed := one
	renamed.Name = "one, renamed"
	other := quality.Encoder{Name: "other", Digest: quality.DigestOf([]byte("other"))}
	c := quality.Checkpoint{Name: "c", Digest: quality.DigestOf([]byte("c")), Encoder: one.Digest}
	headOnly := c
	headOnly.HeadOnly = true

	servers := &callList{}
	r := lifecycle.NewReadiness(servers, servers)
	for _, step := range []struct {
		name       string
		encoder    quality.Encoder
		checkpoint quality.Checkpoint
		fail       string
		want       []string
		kind       quality.Kind
	}{
		{"another encoder's checkpoint", other, c, "", nil, quality.KindEncoderMismatch},
		{"the models are others", one, c, "check", []string{"check"}, quality.KindInternal},
		{"no text embeddings", one, c, "texts", []string{"check", "texts"}, quality.KindInternal},
		{"all is there", one, c, "", []string{"check", "texts"}, ""},
		{"again", one, c, "", []string{"ready prompt", "ready clip"}, ""},
		{"the head is gone", one, c, "ready prompt", []string{"ready prompt", "ready clip"}, quality.KindInternal},
		{"without an ensemble", one, headOnly, "", []string{"ready prompt"}, ""},
		{"the encoder was exchanged", renamed, c, "", []string{"check", "texts"}, ""},
		{"and exchanged back", one, c, "", []string{"check", "texts"}, ""},
	} {
		servers.calls, servers.fail = nil, step.fail
		err := r.Check(t.Context(), step.encoder, step.checkpoint)
		if (err == nil) != (step.kind == "") || err != nil && quality.KindOf(err) != step.kind {
			t.Errorf("%s: error %v, want kind %q", step.name, err, step.kind)
		}
		if diff := cmp.Diff(step.want, servers.calls); diff != "" {
			t.Errorf("%s: calls (-want +got):\n%s", step.name, diff)
		}
	}
}
