package stubtriton

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// ServerLive answers yes.
func (s *Server) ServerLive(context.Context, *pb.ServerLiveRequest) (*pb.ServerLiveResponse, error) {
	return &pb.ServerLiveResponse{Live: true}, nil
}

// ServerReady answers yes.
func (s *Server) ServerReady(context.Context, *pb.ServerReadyRequest) (*pb.ServerReadyResponse, error) {
	return &pb.ServerReadyResponse{Ready: true}, nil
}

// ServerMetadata names the protocol's server, and says in the version that
// this is not it.
func (s *Server) ServerMetadata(context.Context, *pb.ServerMetadataRequest) (*pb.ServerMetadataResponse, error) {
	return &pb.ServerMetadataResponse{
		Name: "triton", Version: "stub",
		Extensions: []string{"model_repository", "model_configuration", "statistics", "binary_tensor_data"},
	}, nil
}

// ModelReady of an unknown model is false, not an error.
func (s *Server) ModelReady(_ context.Context, req *pb.ModelReadyRequest) (*pb.ModelReadyResponse, error) {
	return &pb.ModelReadyResponse{Ready: s.models[req.GetName()] != nil}, nil
}

// ModelConfig shows a configuration as it was read.
func (s *Server) ModelConfig(_ context.Context, req *pb.ModelConfigRequest) (*pb.ModelConfigResponse, error) {
	m, err := s.model(req.GetName())
	if err != nil {
		return nil, err
	}
	return &pb.ModelConfigResponse{Config: m.config}, nil
}

// ModelMetadata shows the tensors, with the batch as -1.
func (s *Server) ModelMetadata(_ context.Context, req *pb.ModelMetadataRequest) (*pb.ModelMetadataResponse, error) {
	m, err := s.model(req.GetName())
	if err != nil {
		return nil, err
	}
	resp := &pb.ModelMetadataResponse{Name: m.config.GetName(), Versions: []string{"1"}, Platform: m.config.GetPlatform()}
	for _, in := range m.config.GetInput() {
		resp.Inputs = append(resp.Inputs, tensorMetadata(in.GetName(), in.GetDataType(), in.GetDims()))
	}
	for _, out := range m.config.GetOutput() {
		resp.Outputs = append(resp.Outputs, tensorMetadata(out.GetName(), out.GetDataType(), out.GetDims()))
	}
	return resp, nil
}

func tensorMetadata(name string, t pb.DataType, dims []int64) *pb.ModelMetadataResponse_TensorMetadata {
	return &pb.ModelMetadataResponse_TensorMetadata{Name: name, Datatype: datatypes[t].name,
		Shape: append([]int64{-1}, dims...)}
}

// RepositoryIndex lists every model as ready.
func (s *Server) RepositoryIndex(context.Context, *pb.RepositoryIndexRequest) (*pb.RepositoryIndexResponse, error) {
	resp := &pb.RepositoryIndexResponse{}
	for _, name := range s.names {
		resp.Models = append(resp.Models, &pb.RepositoryIndexResponse_ModelIndex{Name: name, Version: "1", State: "READY"})
	}
	return resp, nil
}

// RepositoryModelLoad loads nothing: what there is was read at the start.
func (s *Server) RepositoryModelLoad(_ context.Context,
	req *pb.RepositoryModelLoadRequest) (*pb.RepositoryModelLoadResponse, error) {
	_, err := s.model(req.GetModelName())
	return &pb.RepositoryModelLoadResponse{}, err
}

// ModelInfer waits for a turn, takes the service time, and answers.
func (s *Server) ModelInfer(ctx context.Context, req *pb.ModelInferRequest) (*pb.ModelInferResponse, error) {
	m, err := s.model(req.GetModelName())
	if err != nil {
		return nil, err
	}
	batch, err := readBatch(m.config, req)
	if err != nil {
		return nil, err
	}
	if pixels := batch.raw["pixels"]; pixels != nil && s.engine != nil {
		embeddings, queue, compute, err := s.engine.embed(ctx, pixels, batch.n)
		if err != nil {
			return nil, err
		}
		m.count(batch.n, queue, compute)
		return answer(m.config, req, batch, embeddings), nil
	}
	arrived := time.Now()
	select {
	case m.turns <- struct{}{}:
		defer func() { <-m.turns }()
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	began := time.Now()
	resp := answer(m.config, req, batch, nil)
	if rest := s.cfg.ServiceTime - time.Since(began); rest > 0 {
		t := time.NewTimer(rest)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	m.count(batch.n, began.Sub(arrived), time.Since(began))
	return resp, nil
}

func (m *model) count(items int, queue, compute time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items += uint64(items)
	m.requests++
	m.queue += queue
	m.compute += compute
}

// ModelStatistics counts what the models have done. A stub's batches are its
// requests.
func (s *Server) ModelStatistics(_ context.Context,
	req *pb.ModelStatisticsRequest) (*pb.ModelStatisticsResponse, error) {
	if req.GetName() != "" && s.models[req.GetName()] == nil {
		return nil, status.Errorf(codes.InvalidArgument, "requested model '%s' is not available", req.GetName())
	}
	resp := &pb.ModelStatisticsResponse{}
	for _, name := range s.names {
		if req.GetName() == "" || name == req.GetName() {
			resp.ModelStats = append(resp.ModelStats, s.models[name].statistics())
		}
	}
	return resp, nil
}

func (m *model) statistics() *pb.ModelStatistics {
	m.mu.Lock()
	defer m.mu.Unlock()
	of := func(d time.Duration) *pb.StatisticDuration {
		return &pb.StatisticDuration{Count: m.requests, Ns: uint64(d)}
	}
	return &pb.ModelStatistics{
		Name: m.config.GetName(), Version: "1", InferenceCount: m.items, ExecutionCount: m.requests,
		InferenceStats: &pb.InferStatistics{
			Success: of(m.queue + m.compute), Fail: &pb.StatisticDuration{}, Queue: of(m.queue),
			ComputeInput: of(0), ComputeInfer: of(m.compute), ComputeOutput: of(0),
		},
	}
}
