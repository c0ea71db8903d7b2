package tritontest

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// region is what was registered: a part of a file in /dev/shm. Each inference
// reads it anew, at the moment at which it computes.
type region struct {
	path         string
	offset, size int64
}

// SystemSharedMemoryRegister opens the file, as Triton does, to answer for it.
func (v service) SystemSharedMemoryRegister(_ context.Context, req *pb.SystemSharedMemoryRegisterRequest) (*pb.SystemSharedMemoryRegisterResponse, error) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if v.s.noShm {
		return nil, status.Error(codes.Unimplemented, "shared memory is not allowed on this server")
	}
	if _, ok := v.s.regions[req.GetName()]; ok {
		return nil, status.Errorf(codes.AlreadyExists, "shared memory region '%s' already in manager", req.GetName())
	}
	r := region{path: filepath.Join("/dev/shm", req.GetKey()), offset: int64(req.GetOffset()), size: int64(req.GetByteSize())}
	info, err := os.Stat(r.path)
	if err != nil || info.Size() < r.offset+r.size {
		return nil, status.Errorf(codes.InvalidArgument, "failed to register shared memory region '%s': unable to open %s", req.GetName(), req.GetKey())
	}
	v.s.regions[req.GetName()] = r
	return &pb.SystemSharedMemoryRegisterResponse{}, nil
}

func (v service) SystemSharedMemoryUnregister(_ context.Context, req *pb.SystemSharedMemoryUnregisterRequest) (*pb.SystemSharedMemoryUnregisterResponse, error) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if req.GetName() == "" {
		clear(v.s.regions)
	}
	delete(v.s.regions, req.GetName())
	return &pb.SystemSharedMemoryUnregisterResponse{}, nil
}

// Regions returns the files in /dev/shm that are registered.
func (s *Server) Regions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var paths []string
	for _, r := range s.regions {
		paths = append(paths, r.path)
	}
	slices.Sort(paths)
	return paths
}

// readShared returns req with the tensors that it only refers to.
func (s *Server) readShared(req *pb.ModelInferRequest) (*pb.ModelInferRequest, error) {
	refers := func(in *pb.ModelInferRequest_InferInputTensor) bool {
		return in.GetParameters()["shared_memory_region"] != nil
	}
	if !slices.ContainsFunc(req.GetInputs(), refers) {
		return req, nil
	}
	full, sent := proto.CloneOf(req), req.GetRawInputContents()
	full.RawInputContents = nil
	for _, in := range req.GetInputs() {
		if !refers(in) {
			if len(sent) == 0 {
				return nil, status.Errorf(codes.InvalidArgument, "expected more raw inputs for model '%s'", req.GetModelName())
			}
			full.RawInputContents, sent = append(full.RawInputContents, sent[0]), sent[1:]
			continue
		}
		p := in.GetParameters()
		raw, err := s.readRegion(p["shared_memory_region"].GetStringParam(),
			p["shared_memory_offset"].GetInt64Param(), p["shared_memory_byte_size"].GetInt64Param())
		if err != nil {
			return nil, err
		}
		full.RawInputContents = append(full.RawInputContents, raw)
	}
	full.RawInputContents = append(full.RawInputContents, sent...) // too many is for checkInputs to say
	return full, nil
}

func (s *Server) readRegion(name string, offset, size int64) ([]byte, error) {
	s.mu.Lock()
	r, ok := s.regions[name]
	s.mu.Unlock()
	if !ok {
		return nil, status.Errorf(codes.NotFound, "Unable to find shared memory region: '%s'", name)
	}
	if offset < 0 || size < 0 || offset+size > r.size {
		return nil, status.Errorf(codes.InvalidArgument, "Invalid offset + byte size for shared memory region: '%s'", name)
	}
	f, err := os.Open(r.path)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "shared memory region '%s' is gone", name)
	}
	defer f.Close()
	raw := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, r.offset+offset, size), raw); err != nil {
		return nil, status.Errorf(codes.Internal, "shared memory region '%s': %v", name, err)
	}
	return raw, nil
}

// ForgetRegions makes the server lose every region.
func (s *Server) ForgetRegions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.regions)
}
