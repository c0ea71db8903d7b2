package tritontest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/agiqa/agiqa/tritonclient"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// service answers the protocol for a Server.
type service struct {
	pb.UnimplementedGRPCInferenceServiceServer
	s *Server
}

func (v service) ServerLive(context.Context, *pb.ServerLiveRequest) (*pb.ServerLiveResponse, error) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return &pb.ServerLiveResponse{Live: v.s.live}, nil
}

func (v service) ServerReady(context.Context, *pb.ServerReadyRequest) (*pb.ServerReadyResponse, error) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return &pb.ServerReadyResponse{Ready: v.s.live}, nil
}

func (v service) ServerMetadata(context.Context, *pb.ServerMetadataRequest) (*pb.ServerMetadataResponse, error) {
	return &pb.ServerMetadataResponse{
		Name: "triton", Version: "2.51.0",
		Extensions: []string{"model_repository", "model_configuration", "statistics", "binary_tensor_data"},
	}, nil
}

// ModelReady of an unknown model is false, not an error, as on Triton.
func (v service) ModelReady(_ context.Context, req *pb.ModelReadyRequest) (*pb.ModelReadyResponse, error) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	m := v.s.models[req.GetName()]
	return &pb.ModelReadyResponse{Ready: m != nil && m.ready()}, nil
}

func (v service) ModelMetadata(_ context.Context, req *pb.ModelMetadataRequest) (*pb.ModelMetadataResponse, error) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	m, err := v.s.model(req.GetName())
	if err != nil {
		return nil, err
	}
	cfg := m.config
	resp := &pb.ModelMetadataResponse{Name: cfg.GetName(), Versions: []string{"1"}, Platform: cfg.GetPlatform()}
	for _, in := range cfg.GetInput() {
		resp.Inputs = append(resp.Inputs, tensorMetadata(in.GetName(), in.GetDataType(), in.GetDims()))
	}
	for _, out := range cfg.GetOutput() {
		resp.Outputs = append(resp.Outputs, tensorMetadata(out.GetName(), out.GetDataType(), out.GetDims()))
	}
	return resp, nil
}

func tensorMetadata(name string, t pb.DataType, dims []int64) *pb.ModelMetadataResponse_TensorMetadata {
	return &pb.ModelMetadataResponse_TensorMetadata{
		Name: name, Datatype: datatype(t), Shape: append([]int64{-1}, dims...),
	}
}

func (v service) ModelConfig(_ context.Context, req *pb.ModelConfigRequest) (*pb.ModelConfigResponse, error) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	m, err := v.s.model(req.GetName())
	if err != nil {
		return nil, err
	}
	return &pb.ModelConfigResponse{Config: proto.CloneOf(m.config)}, nil
}

func (v service) ModelInfer(ctx context.Context, req *pb.ModelInferRequest) (*pb.ModelInferResponse, error) {
	r := Request{Infer: req}
	r.Metadata, _ = metadata.FromIncomingContext(ctx)
	if d, ok := ctx.Deadline(); ok {
		r.Budget = time.Until(d)
	}
	if p, ok := peer.FromContext(ctx); ok {
		r.Peer = p.Addr.String()
	}
	f := v.s.arrived(r)
	if err := f.apply(ctx, req); err != nil {
		return nil, err
	}
	resp, err := v.s.infer(req)
	if err == nil && f != nil && f.lie != nil {
		f.lie(resp)
	}
	return resp, err
}

func (s *Server) infer(req *pb.ModelInferRequest) (*pb.ModelInferResponse, error) {
	s.mu.Lock()
	m, err := s.model(req.GetModelName())
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	cfg, enc, panel := proto.CloneOf(m.config), s.encoder, m.panel
	s.mu.Unlock()

	start := time.Now()
	n, raw, err := checkInputs(cfg, req)
	if err != nil {
		return nil, err
	}
	values, err := compute(enc, s.head, panel, cfg, n, raw)
	if err != nil {
		return nil, err
	}
	s.count(m, n, time.Since(start))
	return reply(cfg, req, n, values)
}

// count adds one execution to a model's statistics.
func (s *Server) count(m *model, n int, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.items += uint64(n)
	m.runs++
	for _, d := range []**pb.StatisticDuration{&m.stats.Success, &m.stats.ComputeInfer} {
		if *d == nil {
			*d = &pb.StatisticDuration{}
		}
		(*d).Count++
		(*d).Ns += uint64(took)
	}
}

// model returns a model that is ready, or Triton's error. s.mu is held.
func (s *Server) model(name string) (*model, error) {
	m := s.models[name]
	switch {
	case m == nil:
		return nil, status.Errorf(codes.NotFound, "Request for unknown model: '%s' is not found", name)
	case !m.ready():
		return nil, status.Errorf(codes.NotFound, "Request for unknown model: '%s' has no available versions", name)
	}
	return m, nil
}

func (v service) ModelStatistics(_ context.Context,
	req *pb.ModelStatisticsRequest) (*pb.ModelStatisticsResponse, error) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if _, err := v.s.model(req.GetName()); req.GetName() != "" && err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "requested model '%s' is not available", req.GetName())
	}
	resp := &pb.ModelStatisticsResponse{}
	for _, name := range v.s.names() {
		m := v.s.models[name]
		if !m.ready() || req.GetName() != "" && name != req.GetName() {
			continue
		}
		resp.ModelStats = append(resp.ModelStats, &pb.ModelStatistics{
			Name: name, Version: "1", InferenceCount: m.items, ExecutionCount: m.runs,
			InferenceStats: proto.CloneOf(&m.stats),
		})
	}
	return resp, nil
}

func (s *Server) names() []string {
	var names []string
	for name := range s.models {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (v service) RepositoryIndex(_ context.Context,
	req *pb.RepositoryIndexRequest) (*pb.RepositoryIndexResponse, error) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	resp := &pb.RepositoryIndexResponse{}
	for _, name := range v.s.names() {
		m := v.s.models[name]
		if m.upload || req.GetReady() && !m.ready() {
			continue
		}
		resp.Models = append(resp.Models, &pb.RepositoryIndexResponse_ModelIndex{
			Name: name, Version: "1", State: m.state, Reason: m.reason,
		})
	}
	return resp, nil
}

func (v service) RepositoryModelLoad(_ context.Context,
	req *pb.RepositoryModelLoadRequest) (*pb.RepositoryModelLoadResponse, error) {
	if req.GetRepositoryName() != "" {
		return nil, status.Error(codes.Unimplemented, "'repository_name' specification is not supported")
	}
	v.s.mu.Lock()
	v.s.loads[req.GetModelName()]++
	err := v.s.reject[req.GetModelName()]
	if err == nil {
		err = v.s.reject[AllModels]
	}
	v.s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if len(req.GetParameters()) == 0 {
		return &pb.RepositoryModelLoadResponse{}, v.s.load(req.GetModelName())
	}
	return &pb.RepositoryModelLoadResponse{}, v.s.upload(req)
}

func (v service) RepositoryModelUnload(_ context.Context,
	req *pb.RepositoryModelUnloadRequest) (*pb.RepositoryModelUnloadResponse, error) {
	return &pb.RepositoryModelUnloadResponse{}, v.s.unload(req.GetModelName())
}

// load makes a known model ready, with the steps of an ensemble before it and
// the ensembles that it is a step of after it, as Triton does.
func (s *Server) load(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.find(name); err != nil {
		return err
	}
	m := s.models[name]
	if m == nil {
		return status.Errorf(codes.Internal, "failed to load '%s', failed to poll from model repository", name)
	}
	m.load()
	for _, step := range m.config.GetEnsembleScheduling().GetStep() {
		if part := s.models[step.GetModelName()]; part != nil {
			part.load()
		}
	}
	for _, e := range s.ensemblesOf(name) {
		e.load()
	}
	return nil
}

// find looks for a model, and the steps that it is made of, in the folder of
// late models. One that is not there is no error. s.mu is held.
func (s *Server) find(name string) error {
	if m := s.models[name]; s.folder == "" || m != nil && (m.ready() || !m.late || m.upload) {
		return nil
	}
	delete(s.models, name) // what it was when it was unloaded does not count
	raw, err := os.ReadFile(filepath.Join(s.folder, name, "configs", "embedded.pbtxt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return status.Errorf(codes.Internal, "failed to load '%s': %v", name, err)
	}
	cfg, err := tritonclient.ParseModelConfig(raw)
	if err != nil {
		return status.Errorf(codes.Internal, "failed to load '%s': %v", name, err)
	}
	for _, step := range cfg.GetEnsembleScheduling().GetStep() {
		if err := s.find(step.GetModelName()); err != nil {
			return err
		}
		if part := s.models[step.GetModelName()]; part == nil || part.upload {
			return status.Errorf(codes.Internal, "failed to load '%s', failed to poll from model repository", name)
		}
	}
	m := newModel(cfg)
	if roleOf(cfg) == panelRole {
		if raw, err = os.ReadFile(filepath.Join(s.folder, name, filepath.FromSlash(panelFile))); err == nil {
			m.panel, err = readPanel(raw)
		}
		if err != nil {
			return status.Errorf(codes.Internal, "failed to load '%s': %v", name, err)
		}
	}
	m.late = true
	s.models[name] = m
	return nil
}

func (m *model) load() {
	if !m.ready() {
		m.state, m.reason = stateReady, ""
	}
}

// ensemblesOf returns the ensembles that have a model as a step. s.mu is held.
func (s *Server) ensemblesOf(name string) []*model {
	var out []*model
	for _, m := range s.models {
		for _, step := range m.config.GetEnsembleScheduling().GetStep() {
			if step.GetModelName() == name {
				out = append(out, m)
			}
		}
	}
	return out
}

// upload adds a model that came with the call. For one that is loaded it does
// nothing, which is what Triton 24.10 was seen to do.
func (s *Server) upload(req *pb.RepositoryModelLoadRequest) error {
	config := ""
	for key, p := range req.GetParameters() {
		switch {
		case key == "config":
			config = p.GetStringParam()
		case strings.HasPrefix(key, "file:") && p.GetBytesParam() != nil:
		default:
			return status.Errorf(codes.InvalidArgument, "unrecognized load parameter '%s'", key)
		}
	}
	cfg := &pb.ModelConfig{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(config), cfg); err != nil {
		return status.Errorf(codes.InvalidArgument, "load failed for model '%s': %v", req.GetModelName(), err)
	}
	if cfg.GetName() != "" && cfg.GetName() != req.GetModelName() {
		return status.Errorf(codes.Internal, "failed to load '%s', failed to poll from model repository", req.GetModelName())
	}
	cfg.Name = req.GetModelName()
	// An ensemble's steps are polled from disk. The real server was seen to
	// answer the same when it has the files of neither.
	if roleOf(cfg) == ensembleRole {
		return status.Errorf(codes.Internal, "failed to load '%s', failed to poll from model repository", cfg.GetName())
	}
	if roleOf(cfg) == unknownRole {
		return status.Errorf(codes.InvalidArgument, "load failed for model '%s': its inputs are of no known model",
			cfg.GetName())
	}
	var panel panelFunc
	if roleOf(cfg) == panelRole {
		var err error
		if panel, err = readPanel(req.GetParameters()["file:"+panelFile].GetBytesParam()); err != nil {
			return status.Errorf(codes.InvalidArgument, "load failed for model '%s': %v", cfg.GetName(), err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.models[cfg.GetName()]; m == nil || !m.ready() {
		m = newModel(cfg)
		m.upload, m.late, m.panel = true, true, panel
		s.models[cfg.GetName()] = m
	}
	return nil
}

// unload makes a model and the ensembles that it is a step of unavailable.
// Triton takes the unload of an unknown model for done.
func (s *Server) unload(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := s.ensemblesOf(name)
	if m := s.models[name]; m != nil {
		gone = append(gone, m)
	}
	for _, m := range gone {
		m.state, m.reason = stateUnavailable, "unloaded"
	}
	return nil
}
