package stubtriton

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// Config says what the server pretends to be.
type Config struct {
	// Repository is the folder of Triton models whose configurations are shown.
	Repository string
	// Variant picks one of the configurations that each model has.
	Variant string
	// ServiceTime is how long a model works on one request.
	ServiceTime time.Duration
	// Instances is how many requests a model works on at once.
	Instances int
	// Engine is a program, with its arguments, that embeds images instead of the
	// stub; see [Server.Serve]. Images then take the time that it takes.
	Engine []string
}

// DefaultConfig answers at once.
func DefaultConfig() Config {
	return Config{Repository: "model_repository", Variant: "embedded", Instances: 4}
}

// Validate reports invalid values.
func (c Config) Validate() error {
	var faults []error
	if c.ServiceTime < 0 || c.ServiceTime > time.Minute {
		faults = append(faults, fmt.Errorf("service-time: %s, must be 0 to a minute", c.ServiceTime))
	}
	if c.Instances < 1 || c.Instances > 4096 {
		faults = append(faults, fmt.Errorf("instances: %d, must be 1 to 4096", c.Instances))
	}
	return errors.Join(faults...)
}

// Server holds the models.
type Server struct {
	pb.UnimplementedGRPCInferenceServiceServer
	cfg    Config
	models map[string]*model
	names  []string
	engine *engine // nil: the stub makes embeddings itself
}

// model is one configuration, its turns, and what it has done.
type model struct {
	config *pb.ModelConfig
	turns  chan struct{}

	mu       sync.Mutex
	items    uint64
	requests uint64
	queue    time.Duration
	compute  time.Duration
}

// maxConfigBytes bounds a config.pbtxt.
const maxConfigBytes = 1 << 20

// New reads the repository.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(cfg.Repository, "*", "configs", cfg.Variant+".pbtxt"))
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, models: map[string]*model{}}
	for _, name := range files {
		config, err := readConfig(name)
		if err != nil {
			return nil, err
		}
		s.models[config.GetName()] = &model{config: config, turns: make(chan struct{}, cfg.Instances)}
		s.names = append(s.names, config.GetName())
	}
	slices.Sort(s.names)
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no models with a configs/%s.pbtxt", cfg.Repository, cfg.Variant)
	}
	return s, nil
}

func readConfig(name string) (*pb.ModelConfig, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxConfigBytes {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxConfigBytes)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	config := &pb.ModelConfig{}
	if err := prototext.Unmarshal(text, config); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return config, nil
}

// Models are the names that it answers to, in order.
func (s *Server) Models() []string { return slices.Clone(s.names) }

// maxMessage is above what the largest batch of images needs.
const maxMessage = 64 << 20

// Serve answers on l until ctx ends or the engine does. It starts the engine
// first and waits until it's ready.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if len(s.cfg.Engine) > 0 {
		m, err := s.model(imageEncoder)
		if err != nil {
			return err
		}
		if s.engine, err = startEngine(ctx, s.cfg.Engine, m.config); err != nil {
			return err
		}
		go func() { <-s.engine.ended; cancel() }()
	}
	err := s.serve(ctx, l)
	if s.engine == nil {
		return err
	}
	return errors.Join(err, s.engine.close())
}

// imageEncoder is the model whose work an engine does.
const imageEncoder = "clip_image_encoder"

func (s *Server) serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))
	pb.RegisterGRPCInferenceServiceServer(g, s)
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	return g.Serve(l) // nil after Stop
}

// model returns a model, or Triton's words.
func (s *Server) model(name string) (*model, error) {
	if m := s.models[name]; m != nil {
		return m, nil
	}
	return nil, status.Errorf(codes.NotFound, "Request for unknown model: '%s' is not found", name)
}
