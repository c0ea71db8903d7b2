package lifecycle

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/quality"
)

// Encoders says which encoders there are.
type Encoders struct {
	InUse  quality.Encoder // here; the zero value: none yet
	Chosen desired.Encoder // in the desired state; the zero value: nobody chose
	// Held are those of the inference servers of this gateway, in a fixed order.
	Held     []HeldEncoder
	Silent   bool  // other servers gave no answer
	Revision int64 // of the desired state
}

// HeldEncoder is an encoder and how many servers hold it.
type HeldEncoder struct {
	Encoder quality.Encoder
	Servers int
}

// Encoders asks the servers which encoders they hold. Where none answers, the
// error is theirs.
func (m *Manager) Encoders(ctx context.Context) (Encoders, error) {
	held, err := m.Servers.Encoders(ctx)
	if len(held) == 0 && err != nil {
		return Encoders{}, err
	}
	s := m.Library.Snapshot()
	out := Encoders{Chosen: s.Encoder(), Revision: s.Revision(), Silent: err != nil}
	out.InUse, _ = m.Servers.Encoder()
	for _, e := range held {
		i := slices.IndexFunc(out.Held, func(h HeldEncoder) bool { return h.Encoder == e })
		if i < 0 {
			i, out.Held = len(out.Held), append(out.Held, HeldEncoder{Encoder: e})
		}
		out.Held[i].Servers++
	}
	slices.SortFunc(out.Held, func(a, b HeldEncoder) int {
		return cmp.Or(cmp.Compare(a.Encoder.Name, b.Encoder.Name), bytes.Compare(a.Encoder.Digest[:], b.Encoder.Digest[:]),
			cmp.Compare(a.Encoder.Precision, b.Encoder.Precision))
	})
	return out, nil
}

// UseEncoder makes every gateway of the store use an encoder: this one at once, and
// the others as soon as they hear of it and one of their servers holds it. It stays
// chosen: where it is held, no gateway uses another one. Errors: conflict where no
// server of this gateway holds it, or no checkpoint can be the default with it;
// store_unavailable, and those of the servers.
func (m *Manager) UseEncoder(ctx context.Context, digest quality.Digest, precision *string, by string) (Encoders,
	error) {
	before, err := m.Encoders(ctx)
	if err != nil {
		return Encoders{}, err
	}
	encoder, err := before.find(digest, precision)
	if err != nil {
		return Encoders{}, err
	}
	if !m.Library.canServe(encoder) {
		return Encoders{}, quality.Errorf(quality.KindConflict,
			"no checkpoint of this server that was trained on the encoder %s can be the default: nothing could be scored",
			encoder.Name)
	}
	_, err = m.replace(ctx, func(now desired.State) (desired.Document, []desired.Bundle, error) {
		d := now.Document
		d.Encoder = desired.EncoderOf(encoder)
		return d, nil, nil
	})
	if err != nil {
		return Encoders{}, unwritten(err)
	}
	m.syncSaved(ctx, "another encoder was chosen, and that isn't followed yet")
	after := before
	after.Chosen, after.Revision = desired.EncoderOf(encoder), m.Library.Snapshot().Revision()
	m.Logger.InfoContext(ctx, "encoder chosen", "by", by, "name", encoder.Name, "digest", encoder.Digest.String(),
		"precision", encoder.Precision, "revision", after.Revision)
	return after, nil
}

// find returns the encoder of a digest that a server holds. precision is nil where
// it doesn't matter.
func (e Encoders) find(digest quality.Digest, precision *string) (quality.Encoder, error) {
	var all []string
	var found []quality.Encoder
	for _, h := range e.Held {
		all = append(all, h.describe())
		if h.Encoder.Digest == digest && (precision == nil || *precision == h.Encoder.Precision) {
			found = append(found, h.Encoder)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return quality.Encoder{}, quality.Errorf(quality.KindConflict,
			"no inference server holds this encoder; they hold %s", strings.Join(all, " and "))
	}
	return quality.Encoder{}, quality.Errorf(quality.KindConflict,
		"inference servers hold this encoder in several precisions: name one; they hold %s", strings.Join(all, " and "))
}

func (h HeldEncoder) describe() string {
	text := fmt.Sprintf("%s (%s)", h.Encoder.Name, h.Encoder.Digest)
	if h.Encoder.Precision != "" {
		text = fmt.Sprintf("%s (%s, %s)", h.Encoder.Name, h.Encoder.Digest, h.Encoder.Precision)
	}
	return text
}
