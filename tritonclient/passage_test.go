package tritonclient_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// passengers are calls with a passage, and what was reported of them.
type passengers struct {
	t      *testing.T
	client *tritonclient.Client
	mu     sync.Mutex
	lost   []bool // alone, for each call that was lost with its server
	calls  sync.WaitGroup
}

func (p *passengers) context(ctx context.Context, alone bool) context.Context {
	return quality.WithPassage(ctx, quality.Passage{Alone: alone, Lost: func(alone bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lost = append(p.lost, alone)
	}})
}

// send begins a call.
func (p *passengers) send(ctx context.Context) {
	p.calls.Go(func() { _, _ = p.client.EncodeImages(p.context(ctx, false), images(1)) })
}

// Lost is said only of calls whose connection, or whose model's process, broke
// down between sending and answer.
func TestWhichCallsAreLostWithTheirServer(t *testing.T) {
	const model = tritontest.ImageEncoder
	answer := func(code codes.Code, message string) func(*passengers, *tritontest.Server) {
		return func(p *passengers, s *tritontest.Server) {
			s.Fail(model, code, message)
			p.send(p.t.Context())
		}
	}
	for _, test := range []struct {
		name string
		run  func(p *passengers, s *tritontest.Server)
		want []bool
	}{
		{"killed with one call", func(p *passengers, s *tritontest.Server) {
			s.Hold(model)
			p.send(p.t.Context())
			s.WaitCalls(model, 1)
			s.Stop()
		}, []bool{true}},
		{"killed with two calls", func(p *passengers, s *tritontest.Server) {
			s.Hold(model)
			p.send(p.t.Context())
			p.send(p.t.Context())
			s.WaitCalls(model, 2)
			s.Stop()
		}, []bool{false, false}},
		{"killed with one call and one without a passage", func(p *passengers, s *tritontest.Server) {
			s.Hold(model)
			p.send(p.t.Context())
			p.calls.Go(func() { _, _ = p.client.EncodeImages(p.t.Context(), images(1)) })
			s.WaitCalls(model, 2)
			s.Stop()
		}, []bool{true}},
		{"killed after the caller left", func(p *passengers, s *tritontest.Server) {
			s.Hold(model)
			ctx, leave := context.WithCancel(p.t.Context())
			p.send(ctx)
			s.WaitCalls(model, 1)
			leave()
			p.calls.Wait()
			s.Stop()
		}, []bool{true}},
		{"answered", func(p *passengers, _ *tritontest.Server) { p.send(p.t.Context()) }, nil},
		{"not sent", func(p *passengers, s *tritontest.Server) {
			s.Stop()
			wantConnected(p.t, p.client, 0, false)
			p.send(p.t.Context())
		}, nil},
		{"out of time", func(p *passengers, s *tritontest.Server) {
			s.Hold(model)
			ctx, cancel := context.WithTimeout(p.t.Context(), 100*time.Millisecond)
			context.AfterFunc(p.t.Context(), cancel)
			p.send(ctx)
			p.calls.Wait()
		}, nil},
		{"the server leaves and answers what it has", func(p *passengers, s *tritontest.Server) {
			release := s.Hold(model)
			p.send(p.t.Context())
			s.WaitCalls(model, 1)
			time.AfterFunc(50*time.Millisecond, release)
			s.Shutdown()
		}, nil},
		{"queue full", answer(codes.Unavailable, tritontest.QueueFull), nil},
		{"leaves", answer(codes.Unavailable, tritontest.Exiting), nil},
		{"looks unreachable, but answered", answer(codes.Unavailable, "?"), nil},
		{"the model raised", answer(codes.Internal, "it raised"), nil},
		{"the model's process died", answer(codes.Internal, tritontest.DeadStub), []bool{true}},
		{"what comes to a dead process is no evidence", func(p *passengers, s *tritontest.Server) {
			s.Fail(model, codes.Internal, tritontest.DeadStub)
			for range 3 {
				p.send(p.t.Context())
				p.calls.Wait()
			}
			s.Hold(model)
			p.send(p.t.Context())
			s.WaitCalls(model, 4)
			s.Stop()
		}, []bool{true}},
		{"nor what comes to a server that leaves", func(p *passengers, s *tritontest.Server) {
			s.Fail(model, codes.Unavailable, tritontest.Exiting)
			p.send(p.t.Context())
			p.calls.Wait()
			s.Hold(model)
			p.send(p.t.Context())
			s.WaitCalls(model, 2)
			s.Stop()
		}, nil},
		{"after an answer it is", func(p *passengers, s *tritontest.Server) {
			s.Fail(model, codes.Internal, tritontest.DeadStub)
			p.send(p.t.Context())
			p.calls.Wait()
			s.Heal()
			p.send(p.t.Context())
			p.calls.Wait()
			s.Hold(model)
			p.send(p.t.Context())
			s.WaitCalls(model, 3)
			s.Stop()
		}, []bool{true, true}},
		{"and so it is on a new connection", func(p *passengers, s *tritontest.Server) {
			s.Fail(model, codes.Internal, tritontest.DeadStub)
			p.send(p.t.Context())
			p.calls.Wait()
			s.Stop()
			wantConnected(p.t, p.client, 0, false)
			s.Start()
			wantConnected(p.t, p.client, 0, true)
			s.Hold(model)
			p.send(p.t.Context())
			s.WaitCalls(model, 2)
			s.Stop()
		}, []bool{true, true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := tritontest.New(t)
			p := &passengers{t: t, client: newClient(t, nil, s)}
			wantConnected(t, p.client, 0, true)
			if _, err := p.client.Describe(t.Context()); err != nil {
				t.Fatal(err)
			}
			test.run(p, s)
			p.calls.Wait()
			p.client.WaitIdle(t.Context())
			if !slices.Equal(p.lost, test.want) {
				t.Errorf("lost, and alone: %v, want %v", p.lost, test.want)
			}
		})
	}
}

// While a call must be alone at one server, others go to another one, however
// busy that is.
func TestOthersAvoidACallThatMustBeAlone(t *testing.T) {
	const model = tritontest.ImageEncoder
	a, b := tritontest.New(t), tritontest.New(t)
	p := &passengers{t: t, client: newClient(t, nil, a, b)}
	wantConnected(t, p.client, 0, true)
	wantConnected(t, p.client, 1, true)
	if _, err := p.client.Describe(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer p.calls.Wait()
	defer b.Hold(model)()
	leave := p.client.OccupyRoom(t, 0)
	for range 4 {
		p.send(t.Context())
	}
	b.WaitCalls(model, 4)
	leave()
	defer a.Hold(model)()
	p.send(t.Context())
	a.WaitCalls(model, 1)
}
