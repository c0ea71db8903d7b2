package tritonmodels

import (
	"context"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
)

// PanelServers are the servers as package lifecycle's panels see them.
type PanelServers struct{ *Servers }

var (
	_ lifecycle.PanelServers = PanelServers{}
	_ lifecycle.PanelFolder  = (*Folder)(nil)
)

// PanelReady implements [lifecycle.PanelServers].
func (s PanelServers) PanelReady(ctx context.Context, p quality.Panel) error {
	return forOperators(s.client.ReadyEverywhere(ctx, p.Model()))
}

// LoadPanel implements [lifecycle.PanelServers].
func (s PanelServers) LoadPanel(ctx context.Context, p *checkpoint.Panel) error {
	name := p.Panel().Model()
	if !s.upload {
		return forOperators(s.client.Ensure(ctx, name, nil))
	}
	variant, err := s.variant(ctx)
	if err != nil {
		return forOperators(err)
	}
	model, err := p.Model(variant)
	if err != nil {
		return err
	}
	upload, err := tritonclient.NewUpload(model.Config, model.Files)
	if err != nil {
		return err
	}
	return forOperators(s.client.Ensure(ctx, name, upload))
}

// UnloadPanel implements [lifecycle.PanelServers].
func (s PanelServers) UnloadPanel(ctx context.Context, p quality.Panel) error {
	return forOperators(s.client.Unload(ctx, p.Model()))
}

// CheckPanel implements [lifecycle.PanelServers].
func (s PanelServers) CheckPanel(ctx context.Context, encoder quality.Encoder, p quality.Panel) error {
	return forOperators(s.client.CheckPanelEverywhere(ctx, encoder, p))
}

// ScorePanel implements [lifecycle.PanelServers].
func (s PanelServers) ScorePanel(ctx context.Context, encoder quality.Encoder, p quality.Panel,
	images []quality.Embedding) (map[string][][]quality.HeadScore, error) {
	answers, err := s.client.ScorePanelEverywhere(ctx, encoder, p, images)
	return answers, forOperators(err)
}

// WritePanel implements [lifecycle.PanelFolder]. What is there under the name
// may differ in the last bits of its text embeddings, which another server
// computed.
func (f *Folder) WritePanel(p *checkpoint.Panel) error {
	err := p.Write(f.dir)
	if quality.KindOf(err) != quality.KindConflict {
		return err
	}
	if err := f.RemovePanel(p.Panel()); err != nil {
		return err
	}
	return p.Write(f.dir)
}

// RemovePanel implements [lifecycle.PanelFolder].
func (f *Folder) RemovePanel(p quality.Panel) error { return checkpoint.RemovePanel(f.dir, p) }
