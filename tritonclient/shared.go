package tritonclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agiqa/agiqa/internal/loopback"
	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// SharedMemory says whether pixels reach a Triton on this machine through
// memory that both see, instead of over the connection.
type SharedMemory string

// The values of SharedMemory.
const (
	SharedMemoryOff  SharedMemory = "off"
	SharedMemoryAuto SharedMemory = "auto" // where a server is on this machine and takes it
	SharedMemoryOn   SharedMemory = "on"   // a server that does not take it is not ready
)

// sharedImages is how many images the region of one replica holds: 19 MB,
// which is reserved when the region is made. Calls that find no room go over
// the connection.
const sharedImages = 128

// sharedMemory is one replica's region. Each call takes a run of places in it,
// one for an image, and gives them back when the server answered. Places of a
// call that ended without an answer stay taken for as long as the server may
// live: nobody can tell when it stops reading them.
type sharedMemory struct {
	mu        sync.Mutex
	region    *region
	taken     [sharedImages]bool
	lost      [sharedImages]bool // taken, by calls without an answer
	begun     int64              // of connections, for which it is registered; 0: for none
	tried     int64              // of connections, for which that was tried
	preparing chan struct{}      // closed when the try under way has ended; nil: none is
	closed    bool
	refused   error // why it was not registered at the last try
}

// local reports whether an address is of this machine whatever a resolver says.
func local(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && loopback.Is(host)
}

// share gives r a region where the configuration wants that.
func (c *Client) share(r *replica) {
	if (c.cfg.SharedMemory == SharedMemoryAuto || c.cfg.SharedMemory == SharedMemoryOn) && local(r.addr) && regionsWork {
		r.shared = &sharedMemory{}
	}
}

// placed is a call whose pixels lie in a region.
type placed struct {
	of      *sharedMemory
	from, n int
	call    *inferCall
}

// place copies the pixels of req into r's region. It returns nil where they
// have to go over the connection: there is no region, no room, or the server
// behind the latest connection has not been told of it, which place then sets
// going.
func (c *Client) place(r *replica, req *inferCall) *placed {
	s := r.shared
	if s == nil {
		return nil
	}
	at := slices.IndexFunc(req.head.Inputs, func(in *pb.ModelInferRequest_InferInputTensor) bool { return in.Name == tensorPixels })
	if at < 0 {
		return nil
	}
	begun := r.conns.begun.Load()
	p, stale := s.take(begun, len(req.raw[at]))
	if stale {
		c.background.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), c.cfg.StatusTimeout)
			defer cancel()
			c.prepareShared(ctx, r, begun)
		})
	}
	if p != nil {
		p.fill(req, at)
	}
	return p
}

// take finds room for n images next to each other. stale says that the caller
// has to register the region on the connections of now.
func (s *sharedMemory) take(begun int64, n int) (p *placed, stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || begun == 0: // or no connection yet
		return nil, false
	case s.begun == begun:
		return s.room(n), false
	}
	return nil, s.tried != begun && s.begin()
}

// again is take's stale for those who wait: what was refused is tried again.
func (s *sharedMemory) again(begun int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed && begun != 0 && s.begun != begun && s.begin()
}

// begin makes the caller the one that registers. s.mu is held.
func (s *sharedMemory) begin() bool {
	if s.preparing != nil {
		return false
	}
	s.preparing = make(chan struct{})
	return true
}

// settled waits until no try is under way.
func (s *sharedMemory) settled(ctx context.Context) error {
	s.mu.Lock()
	preparing := s.preparing
	s.mu.Unlock()
	if preparing == nil {
		return nil
	}
	select {
	case <-preparing:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// room takes n free places. s.mu is held.
func (s *sharedMemory) room(n int) *placed {
	run := 0
	for i, taken := range s.taken {
		if run++; taken {
			run = 0
		}
		if run == n {
			from := i + 1 - n
			for j := from; j <= i; j++ {
				s.taken[j] = true
			}
			return &placed{of: s, from: from, n: n}
		}
	}
	return nil
}

// fill copies the pieces of the at-th input and makes the call that refers to
// them.
func (p *placed) fill(req *inferCall, at int) {
	offset, size := p.from*quality.PixelsLen, p.n*quality.PixelsLen
	dst := p.of.region.mem[offset : offset+size]
	for _, piece := range req.raw[at] {
		dst = dst[copy(dst, piece):]
	}
	in := req.head.Inputs[at]
	inputs := slices.Clone(req.head.Inputs)
	inputs[at] = &pb.ModelInferRequest_InferInputTensor{
		Name: in.Name, Datatype: in.Datatype, Shape: in.Shape,
		Parameters: map[string]*pb.InferParameter{
			"shared_memory_region":    {ParameterChoice: &pb.InferParameter_StringParam{StringParam: p.of.region.name}},
			"shared_memory_offset":    {ParameterChoice: &pb.InferParameter_Int64Param{Int64Param: int64(offset)}},
			"shared_memory_byte_size": {ParameterChoice: &pb.InferParameter_Int64Param{Int64Param: int64(size)}},
		},
	}
	p.call = &inferCall{
		head: &pb.ModelInferRequest{
			ModelName: req.head.ModelName, Parameters: req.head.Parameters, Inputs: inputs, Outputs: req.head.Outputs,
		},
		raw: slices.Delete(slices.Clone(req.raw), at, at+1),
	}
}

// end gives the places back if the server surely reads them no more.
func (p *placed) end(sent bool, err error) {
	s := p.of
	s.mu.Lock()
	defer s.mu.Unlock()
	known := !sent || letGo(err)
	for i := p.from; i < p.from+p.n; i++ {
		s.taken[i], s.lost[i] = !known, !known
	}
}

// letGo reports whether the end of a call that was sent proves that the server
// is done with its inputs: it answered, or refused in words of its own. gRPC
// makes some of these codes itself, when a connection or a deadline ends.
func letGo(err error) bool {
	if err == nil {
		return true
	}
	text := strings.ToLower(status.Convert(err).Message())
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound:
		return true
	case codes.Unavailable:
		return strings.Contains(text, "exceeds maximum queue size") || strings.Contains(text, "request timeout expired")
	case codes.Internal:
		return strings.Contains(text, "failed to process the request") || strings.Contains(text, "onnx runtime error")
	}
	return false
}

// unknownRegion reports whether a server refused a call since it knows nothing
// of the region: it was started again a moment ago.
func unknownRegion(err error) bool {
	code := status.Code(err)
	return (code == codes.InvalidArgument || code == codes.NotFound) &&
		strings.Contains(strings.ToLower(status.Convert(err).Message()), "shared memory region")
}

// forget makes calls go over the connection until there is a new one.
func (s *sharedMemory) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = 0
}

// prepareShared tells the server behind r's connections of the region and runs
// the image encoder through it once. The caller has set preparing.
func (c *Client) prepareShared(ctx context.Context, r *replica, begun int64) {
	err := c.registerShared(ctx, r)
	s := r.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.preparing)
	s.preparing, s.tried = nil, begun
	changed := err == nil || s.refused == nil
	if s.refused = err; err == nil {
		s.begun = begun
	}
	switch {
	case s.closed || !changed:
	case err == nil:
		c.logger.Debug("pixels go to Triton through shared memory", "triton", r.addr, "region", s.region.name)
	case c.cfg.SharedMemory == SharedMemoryOn:
		c.logger.Error("no shared memory with Triton; pixels go over the connection", "triton", r.addr, "error", err)
	default:
		c.logger.Info("no shared memory with Triton; pixels go over the connection", "triton", r.addr, "error", err)
	}
}

func (c *Client) registerShared(ctx context.Context, r *replica) error {
	s := r.shared
	s.mu.Lock()
	if s.region == nil && !s.closed {
		var err error
		if s.region, err = newRegion(sharedImages * quality.PixelsLen); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	region := s.region
	s.mu.Unlock()
	if region == nil {
		return errors.New("the client is closing")
	}
	_, err := r.rpc().SystemSharedMemoryRegister(ctx, &pb.SystemSharedMemoryRegisterRequest{
		Name: region.name, Key: "/" + region.name, ByteSize: uint64(len(region.mem)),
	})
	switch {
	case status.Code(err) == codes.AlreadyExists: // another connection to the same server
	case err != nil:
		return fmt.Errorf("register a region: %w", err)
	default:
		s.newServer()
	}
	return c.probeShared(ctx, r)
}

// newServer takes back the places of calls that an earlier server never
// answered: the one that is there now had not heard of the region.
func (s *sharedMemory) newServer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, lost := range s.lost {
		if lost {
			s.taken[i], s.lost[i] = false, false
		}
	}
}

// probeShared runs a gray image through the region.
func (c *Client) probeShared(ctx context.Context, r *replica) error {
	enc := c.encoder.Load()
	if enc == nil {
		return errors.New("the encoder is not known yet")
	}
	gray, err := quality.NewPixels(bytes.Repeat([]byte{128}, quality.PixelsLen))
	if err != nil {
		return err
	}
	r.shared.mu.Lock()
	p := r.shared.room(1)
	r.shared.mu.Unlock()
	if p == nil {
		return errors.New("every place is taken")
	}
	want := []output{{name: tensorImageEmbedding, shape: []int64{1, int64(enc.Dim)}}}
	req := newRequest(c.cfg.Models.ImageEncoder, c.cfg.StatusTimeout-min(c.cfg.Margin, c.cfg.StatusTimeout/2), []input{pixelsInput([]quality.Pixels{gray})}, want)
	p.fill(req, 0)
	resp := &pb.ModelInferResponse{}
	err = r.link().Invoke(ctx, pb.GRPCInferenceService_ModelInfer_FullMethodName, p.call, resp, grpc.ForceCodecV2(c.codec))
	p.end(true, err)
	if err == nil {
		_, err = readReply(resp, req.head.ModelName, want)
	}
	if err != nil {
		return fmt.Errorf("run the image encoder on a region: %w", err)
	}
	return nil
}

// sharedReady is nil unless shared memory was demanded and r does not take it.
func (c *Client) sharedReady(ctx context.Context, r *replica) error {
	s := r.shared
	if s == nil || c.cfg.SharedMemory != SharedMemoryOn {
		return nil
	}
	begun := r.conns.begun.Load()
	if s.again(begun) {
		c.prepareShared(ctx, r, begun)
	}
	if err := s.settled(ctx); err != nil {
		return ended(ctx, "")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused == nil {
		return nil
	}
	return quality.Errorf(quality.KindModelUnavailable, "the inference server takes no shared memory, which is set to on").
		Because(&ReplicaError{Replica: r.addr, Err: s.refused})
}

// unshare takes the region off the server, unless a call may still read it:
// some servers unmap at once what is unregistered. Calls have ended by now.
func (c *Client) unshare(r *replica) {
	s := r.shared
	if s == nil {
		return
	}
	s.mu.Lock()
	s.closed = true
	idle := s.begun != 0 && !slices.Contains(s.taken[:], true)
	s.mu.Unlock()
	if idle {
		ctx, cancel := context.WithTimeout(context.Background(), min(time.Second, c.cfg.StatusTimeout))
		defer cancel()
		// A server that is gone has forgotten it anyway.
		_, _ = r.rpc().SystemSharedMemoryUnregister(ctx, &pb.SystemSharedMemoryUnregisterRequest{Name: s.region.name})
	}
}

// release unlinks and unmaps the region. No call writes to it any more; a
// question of readiness that still does keeps the memory, but not the name.
func (s *sharedMemory) release() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.region == nil {
		return nil
	}
	return s.region.close(s.preparing == nil)
}
