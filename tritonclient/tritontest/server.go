package tritontest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// Server is a Triton on a loopback port. Its methods may be called at any
// time, also while it serves.
type Server struct {
	t    testing.TB
	addr string

	mu      sync.Mutex
	running *grpc.Server
	served  sync.WaitGroup
	encoder quality.Encoder
	models  map[string]*model
	live    bool
	faults  map[string]*fault
	calls   map[string]int // ModelInfer, by model
	rows    map[string]int // of these, by model
	loads   map[string]int // RepositoryModelLoad, by model
	last    map[string]Request
	reject  map[string]error // RepositoryModelLoad, by model
	head    HeadFunc
	folder  string        // of models that were written while the server ran; "": none
	changed chan struct{} // closed and replaced whenever a call arrives
}

// Request is one ModelInfer as it arrived.
type Request struct {
	Infer    *pb.ModelInferRequest
	Metadata metadata.MD   // such as traceparent
	Budget   time.Duration // until the call's deadline; 0: it had none
	Peer     string        // the client's address
}

// Timeout returns the queue timeout that the request asked for, 0 if none.
func (r Request) Timeout() time.Duration {
	return time.Duration(r.Infer.GetParameters()["timeout"].GetInt64Param()) * time.Microsecond
}

// Option changes what [New] makes.
type Option func(*options)

type options struct {
	encoder     quality.Encoder
	checkpoints []quality.Checkpoint
	maxBatch    int
	address     string
	head        HeadFunc
	repository  string
}

// WithEncoder makes the server hold another encoder than [Encoder].
func WithEncoder(enc quality.Encoder) Option { return func(o *options) { o.encoder = enc } }

// WithCheckpoints loads heads and ensembles.
func WithCheckpoints(cs ...quality.Checkpoint) Option {
	return func(o *options) { o.checkpoints = append(o.checkpoints, cs...) }
}

// WithMaxBatch sets max_batch_size of every model; without it, 8.
func WithMaxBatch(n int) Option { return func(o *options) { o.maxBatch = n } }

// HeadFunc is what a head computes. prompt is nil where the head reads none.
type HeadFunc func(
	c quality.Digest, text quality.TextEmbeddings, image, prompt quality.Embedding,
) (quality.HeadScore, error)

// WithHead makes every head and ensemble compute by head instead of
// [HeadScore].
func WithHead(head HeadFunc) Option { return func(o *options) { o.head = head } }

// WithRepository makes the server look for models that it does not know in a
// folder, as it does in its model repository: by <model>/configs/embedded.pbtxt.
func WithRepository(dir string) Option { return func(o *options) { o.repository = dir } }

// WithAddress makes the server listen there instead of on a free port of
// 127.0.0.1.
func WithAddress(hostPort string) Option { return func(o *options) { o.address = hostPort } }

// New starts a server, which stops when the test ends.
func New(t testing.TB, opts ...Option) *Server {
	t.Helper()
	o := options{encoder: Encoder(), maxBatch: 8}
	for _, opt := range opts {
		opt(&o)
	}
	s := &Server{
		t: t, encoder: o.encoder, live: true,
		models: map[string]*model{
			ImageEncoder: newModel(ImageEncoderConfig(o.encoder, o.maxBatch)),
			TextEncoder:  newModel(TextEncoderConfig(o.encoder, o.maxBatch)),
		},
		faults:  map[string]*fault{},
		calls:   map[string]int{},
		rows:    map[string]int{},
		loads:   map[string]int{},
		last:    map[string]Request{},
		reject:  map[string]error{},
		head:    o.head,
		folder:  o.repository,
		changed: make(chan struct{}),
	}
	for _, c := range o.checkpoints {
		s.models[c.HeadModel()] = newModel(HeadConfig(o.encoder, c, o.maxBatch))
		if c.HasEnsemble() {
			s.models[c.EnsembleModel()] = newModel(EnsembleConfig(o.encoder, c, o.maxBatch))
		}
	}
	if s.head == nil {
		s.head = func(
			c quality.Digest, text quality.TextEmbeddings, image, prompt quality.Embedding,
		) (quality.HeadScore, error) {
			if prompt != nil {
				return PromptHeadScore(quality.Checkpoint{Digest: c}, text, image, prompt), nil
			}
			return HeadScore(quality.Checkpoint{Digest: c}, text, image), nil
		}
	}
	if o.address != "" {
		must(t, s.listen(o.address))
	} else {
		proctest.OnFreePort(t, func(port int) error { return s.listen(proctest.Loopback(port)) })
	}
	t.Cleanup(s.Stop)
	return s
}

// Addr returns host:port. It stays the same over [Server.Stop] and
// [Server.Start].
func (s *Server) Addr() string { return s.addr }

// Config returns a client configuration for this server alone.
func (s *Server) Config() tritonclient.Config {
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses = []string{s.addr}
	return cfg
}

// Encoder returns the encoder that the server holds.
func (s *Server) Encoder() quality.Encoder {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.encoder
}

// Start listens again after [Server.Stop] or [Server.Shutdown], on the same port and with the same
// models.
func (s *Server) Start() {
	s.t.Helper()
	must(s.t, s.listen(s.addr))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("tritontest: %v", err)
	}
}

func (s *Server) listen(address string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s.addr = l.Addr().String()
	g := grpc.NewServer(grpc.MaxRecvMsgSize(1<<30), grpc.MaxSendMsgSize(1<<30))
	pb.RegisterGRPCInferenceServiceServer(g, service{s: s})
	s.running = g
	s.served.Go(func() { _ = g.Serve(l) }) // ends by Stop
	return nil
}

// Forget makes the server lose every model that came after its start, as a
// server does that is started again.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, m := range s.models {
		if m.late {
			delete(s.models, name)
		}
	}
}

// Models returns the names of the models that take requests, in order.
func (s *Server) Models() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ready []string
	for _, name := range s.names() {
		if s.models[name].ready() {
			ready = append(ready, name)
		}
	}
	return ready
}

// Stop drops every connection and call at once, as a killed server does.
func (s *Server) Stop() { s.end((*grpc.Server).Stop) }

// Shutdown tells clients to go elsewhere, answers what is under way and
// stops, as a server does on SIGTERM.
func (s *Server) Shutdown() { s.end((*grpc.Server).GracefulStop) }

func (s *Server) end(how func(*grpc.Server)) {
	s.mu.Lock()
	g := s.running
	s.running = nil
	s.mu.Unlock()
	if g != nil {
		how(g)
		s.served.Wait()
	}
}

// Calls returns how many ModelInfer calls of a model have arrived.
func (s *Server) Calls(model string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[model]
}

// Rows returns the batch sizes of all ModelInfer calls of a model together.
func (s *Server) Rows(model string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[model]
}

// WaitCalls waits until n ModelInfer calls of a model have arrived, and fails
// the test if they do not within a minute.
func (s *Server) WaitCalls(model string, n int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		s.mu.Lock()
		got, changed := s.calls[model], s.changed
		s.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			s.t.Fatalf("tritontest: %d calls of model %s arrived, want %d", got, model, n)
		}
	}
}

// Last returns the last ModelInfer of a model, and whether there was one.
func (s *Server) Last(model string) (Request, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.last[model]
	return r, ok
}

// arrived notes a call and returns the model's fault.
func (s *Server) arrived(r Request) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.Infer.GetModelName()
	s.calls[name]++
	if in := r.Infer.GetInputs(); len(in) > 0 && len(in[0].GetShape()) > 0 {
		s.rows[name] += int(in[0].GetShape()[0])
	}
	s.last[name] = r
	close(s.changed)
	s.changed = make(chan struct{})
	if f := s.faults[name]; f != nil {
		return f
	}
	return s.faults[AllModels]
}
