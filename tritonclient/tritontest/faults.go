package tritontest

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// AllModels, in place of a model's name, makes a fault one of every model that
// has none of its own.
const AllModels = "*"

// What Triton says, by the source of its core.
const (
	QueueFull    = "in ensemble 'clip_agiqa', [request id: <id_unknown>] Exceeds maximum queue size"
	QueueTimeout = "[request id: <id_unknown>] Request timeout expired"
	Exiting      = "Server exiting"
	NotReady     = "Server not ready"
	DeadStub     = "Stub process 'prompt_head_0_0' is not healthy."
)

// fault is how ModelInfer of a model misbehaves: first wait, then hook, then
// err, and if none stopped it lie about the reply.
type fault struct {
	wait <-chan struct{}
	hook func(context.Context, *pb.ModelInferRequest) error
	err  error
	lie  func(*pb.ModelInferResponse)
}

// set replaces the fault of a model.
func (s *Server) set(model string, f *fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[model] = f
}

// Fail makes every ModelInfer of the model fail.
func (s *Server) Fail(model string, code codes.Code, message string) {
	s.set(model, &fault{err: status.Error(code, message)})
}

// Lie lets lie change every reply of the model.
func (s *Server) Lie(model string, lie func(*pb.ModelInferResponse)) {
	s.set(model, &fault{lie: lie})
}

// Hold keeps every ModelInfer of the model waiting until release is called,
// the client gives up or the server stops. Release may be called twice.
func (s *Server) Hold(model string) (release func()) {
	wait := make(chan struct{})
	s.set(model, &fault{wait: wait})
	return sync.OnceFunc(func() { close(wait) })
}

// OnInfer runs hook on every ModelInfer of the model; an error is the answer.
func (s *Server) OnInfer(model string, hook func(context.Context, *pb.ModelInferRequest) error) {
	s.set(model, &fault{hook: hook})
}

// Heal ends all faults. What is held stays held until released.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
	s.live = true
}

// SetLive changes what ServerLive and ServerReady answer.
func (s *Server) SetLive(live bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = live
}

// FailLoad makes every load call for a model fail, or with AllModels for every
// model. An OK code ends it.
func (s *Server) FailLoad(model string, code codes.Code, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reject[model] = status.Error(code, message)
}

// Loads returns how many load calls for a model have arrived.
func (s *Server) Loads(model string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads[model]
}

// Unload takes a model away, and the ensembles that contain it.
func (s *Server) Unload(model string) {
	s.t.Helper()
	if err := s.unload(model); err != nil {
		s.t.Fatalf("tritontest: %v", err)
	}
}

// Load brings a model back that was unloaded, with the ensembles that contain
// it.
func (s *Server) Load(model string) {
	s.t.Helper()
	if err := s.load(model); err != nil {
		s.t.Fatalf("tritontest: %v", err)
	}
}

// AddCheckpoint loads head and ensemble of c.
func (s *Server) AddCheckpoint(c quality.Checkpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := int(s.models[ImageEncoder].config.GetMaxBatchSize())
	s.models[c.HeadModel()] = newModel(HeadConfig(s.encoder, c, size))
	if c.HasEnsemble() {
		s.models[c.EnsembleModel()] = newModel(EnsembleConfig(s.encoder, c, size))
	}
}

// AddPanel loads a panel whose columns are scored as the heads of its
// checkpoints score with texts, one set for each.
func (s *Server) AddPanel(p quality.Panel, texts []quality.TextEmbeddings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := newModel(PanelConfig(s.encoder, p, int(s.models[ImageEncoder].config.GetMaxBatchSize())))
	m.panel = func(image quality.Embedding) ([]quality.HeadScore, error) {
		var all []quality.HeadScore
		for i, c := range p.Checkpoints {
			j, err := s.head(c.Digest, texts[i], image, nil)
			if err != nil {
				return nil, err
			}
			all = append(all, j)
		}
		return all, nil
	}
	s.models[p.Model()] = m
}

// Exchange replaces both encoders, as a new release of them would.
func (s *Server) Exchange(enc quality.Encoder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := int(s.models[ImageEncoder].config.GetMaxBatchSize())
	s.encoder = enc
	s.models[ImageEncoder] = newModel(ImageEncoderConfig(enc, size))
	s.models[TextEncoder] = newModel(TextEncoderConfig(enc, size))
}

// EditConfig lets edit change the configuration of a loaded model.
func (s *Server) EditConfig(model string, edit func(*pb.ModelConfig)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	edit(s.models[model].config)
}

// apply runs the fault before the reply is computed.
func (f *fault) apply(ctx context.Context, req *pb.ModelInferRequest) error {
	if f == nil {
		return nil
	}
	if f.wait != nil {
		select {
		case <-f.wait:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if f.hook != nil {
		if err := f.hook(ctx, req); err != nil {
			return err
		}
	}
	return f.err
}
