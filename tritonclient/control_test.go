package tritonclient_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/replicas"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// upload is a checkpoint's head as it travels in a load call.
func upload(t *testing.T, cp quality.Checkpoint) *tritonclient.ModelUpload {
	t.Helper()
	config, err := protojson.Marshal(tritontest.HeadConfig(tritontest.Encoder(), cp, 8))
	if err != nil {
		t.Fatal(err)
	}
	return &tritonclient.ModelUpload{Config: config, Files: map[string][]byte{"1/model.onnx": {8, 1}}}
}

// scoreOne asks for one score.
func scoreOne(t *testing.T, c *tritonclient.Client, cp quality.Checkpoint) error {
	t.Helper()
	enc := tritontest.Encoder()
	text := tritontest.Texts(enc)
	image := tritontest.ImageEmbedding(enc, tritontest.Image(0))
	got, err := c.Score(t.Context(), tritontest.Encoder(), cp, text, []quality.Embedding{image})
	if err != nil {
		return err
	}
	if want := tritontest.HeadScore(cp, text, image); got[0] != want {
		t.Errorf("score %+v, want %+v", got[0], want)
	}
	return nil
}

func TestUploadServeUnload(t *testing.T) {
	cp := tritontest.Checkpoint("new")
	a, b := tritontest.New(t), tritontest.New(t)
	c := newClient(t, nil, a, b)
	wantError(t, scoreOne(t, c, cp), quality.KindModelUnavailable, cp.HeadModel())

	if err := c.Load(t.Context(), cp.HeadModel(), upload(t, cp)); err != nil {
		t.Fatalf("Load: %v", err)
	}
	for _, s := range []*tritontest.Server{a, b} {
		if err := scoreOne(t, newClient(t, nil, s), cp); err != nil {
			t.Errorf("replica %s: %v", s.Addr(), err)
		}
	}
	if err := c.Unload(t.Context(), cp.HeadModel()); err != nil {
		t.Fatalf("Unload: %v", err)
	}
	wantError(t, c.ModelReady(t.Context(), cp.HeadModel()), quality.KindModelUnavailable, cp.HeadModel())
	if err := c.Unload(t.Context(), "never_loaded"); err != nil {
		t.Errorf("Unload of what is not there: %v", err)
	}
}

// An ensemble goes and comes with its head.
func TestUnloadTakesTheEnsemble(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	a := tritontest.New(t, tritontest.WithCheckpoints(cp))
	b := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, nil, a, b)
	if err := c.Unload(t.Context(), cp.HeadModel()); err != nil {
		t.Fatalf("Unload: %v", err)
	}
	for _, model := range []string{cp.HeadModel(), cp.EnsembleModel()} {
		states := stateOf(t, c, model)
		for _, s := range []*tritontest.Server{a, b} {
			if got := states[s.Addr()]; got.Ready() || got.Reason != "unloaded" {
				t.Errorf("replica %s: %+v, want it unloaded", s.Addr(), got)
			}
		}
	}
	if err := c.Load(t.Context(), cp.HeadModel(), nil); err != nil {
		t.Fatalf("Load: %v", err)
	}
	for _, s := range []*tritontest.Server{a, b} {
		if err := newClient(t, nil, s).Check(t.Context(), tritontest.Encoder(), cp.HeadModel(),
			cp.EnsembleModel()); err != nil {
			t.Errorf("replica %s: %v", s.Addr(), err)
		}
	}
}

func stateOf(t *testing.T, c *tritonclient.Client, model string) map[string]tritonclient.ModelState {
	t.Helper()
	all, err := c.Index(t.Context())
	if err != nil {
		t.Fatalf("Index: %v", err)
	}
	states := map[string]tritonclient.ModelState{}
	for _, s := range all {
		if s.Name == model {
			states[s.Replica] = s
		}
	}
	return states
}

// Ensure leaves alone what serves and loads what a restart lost.
func TestEnsure(t *testing.T) {
	cp := tritontest.Checkpoint("new")
	has, lacks := tritontest.New(t, tritontest.WithCheckpoints(cp)), tritontest.New(t)
	c := newClient(t, nil, has, lacks)
	if err := c.Ensure(t.Context(), cp.HeadModel(), upload(t, cp)); err != nil {
		t.Fatalf("Ensure: %v", err)
	}
	if err := scoreOne(t, newClient(t, nil, lacks), cp); err != nil {
		t.Errorf("the replica that lacked it: %v", err)
	}
	if got := lacks.Loads(cp.HeadModel()); got != 1 {
		t.Errorf("%d loads where it was missing, want 1", got)
	}
	if got := has.Loads(cp.HeadModel()); got != 0 {
		t.Errorf("%d loads where it was ready, want 0", got)
	}
}

func TestControlFailures(t *testing.T) {
	cp := tritontest.Checkpoint("new")
	up, down := tritontest.New(t), tritontest.New(t)
	c := newClient(t, nil, up, down)
	wantConnected(t, c, 1, true)
	down.Stop()
	wantConnected(t, c, 1, false)

	err := c.Load(t.Context(), cp.HeadModel(), upload(t, cp))
	wantError(t, err, quality.KindModelUnavailable, "cannot be reached")
	replica, ok := errors.AsType[*replicas.Error](err)
	if !ok || replica.Replica != down.Addr() {
		t.Errorf("error %v does not name replica %s", err, down.Addr())
	}
	if strings.Contains(err.Error(), up.Addr()) {
		t.Errorf("error %v names %s, which loaded it", err, up.Addr())
	}
	if err := scoreOne(t, newClient(t, nil, up), cp); err != nil {
		t.Errorf("the replica that is up: %v", err)
	}

	all, err := c.Index(t.Context())
	if err == nil || len(all) != 2 {
		t.Errorf("Index = %v, %v, want the two models of the one that is up, and an error", all, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, nil, s)
	for _, test := range []struct {
		name, model string
		upload      *tritonclient.ModelUpload
		want        string
	}{
		{"a path", "../etc", nil, "not a model's name"},
		{"a path on a disk", "a/b", nil, "not a model's name"},
		{"no name", "", nil, "not a model's name"},
		{"a very long name", strings.Repeat("x", 129), nil, "not a model's name"},
		{"no configuration", "m", &tritonclient.ModelUpload{Files: map[string][]byte{"1/model.onnx": {}}},
			"needs a configuration"},
		{"not in the repository", "m", nil, "could not be loaded"},
		{"configuration that is none", "m", &tritonclient.ModelUpload{Config: []byte("{")}, "could not be loaded"},
		{"configuration of another model", "m",
			&tritonclient.ModelUpload{Config: []byte(`{"name":"n"}`)}, "could not be loaded"},
		{"model of no known kind", "m", &tritonclient.ModelUpload{Config: []byte("{}")}, "could not be loaded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := c.Load(t.Context(), test.model, test.upload); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
		})
	}
	if err := c.Unload(t.Context(), "../etc"); err == nil {
		t.Error("Unload of a path worked")
	}
}

// A host name that stands for two servers is balanced over, and controlled
// on, both. The two listen on the same port of two loopback addresses.
func TestNameOfSeveralServers(t *testing.T) {
	cp := tritontest.Checkpoint("new")
	a := tritontest.New(t)
	_, port, err := net.SplitHostPort(a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	b := tritontest.New(t, tritontest.WithAddress(net.JoinHostPort("127.0.0.2", port)))
	c := newClient(t, func(cfg *tritonclient.Config) {
		cfg.Addresses = []string{net.JoinHostPort("localhost", port)}
		cfg.Lookup = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1", "127.0.0.2"}, nil }
	}, a)
	if err := c.Load(t.Context(), cp.HeadModel(), upload(t, cp)); err != nil {
		t.Fatalf("Load: %v", err)
	}
	for _, s := range []*tritontest.Server{a, b} {
		if got := s.Loads(cp.HeadModel()); got != 1 {
			t.Errorf("replica %s loaded it %d times, want once", s.Addr(), got)
		}
	}
}

func TestStatistics(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, nil, s)
	if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(3)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err != nil {
		t.Fatal(err)
	}
	got, err := c.Statistics(t.Context(), tritontest.ImageEncoder)
	if err != nil || len(got) != 1 {
		t.Fatalf("Statistics = %+v, %v, want one model", got, err)
	}
	if got[0].Compute <= 0 || got[0].Compute > time.Minute {
		t.Errorf("compute time %v", got[0].Compute)
	}
	if sum := got[0].Input + got[0].Infer + got[0].Output; sum != got[0].Compute {
		t.Errorf("the parts of %v come to %v", got[0].Compute, sum)
	}
	got[0].Compute, got[0].Input, got[0].Infer, got[0].Output = 0, 0, 0, 0
	want := tritonclient.ModelStatistics{
		Replica: s.Addr(), Model: tritontest.ImageEncoder, Version: "1", Items: 4, Executions: 2, Requests: 2,
	}
	if got[0] != want {
		t.Errorf("Statistics = %+v, want %+v", got[0], want)
	}
	all, err := c.Statistics(t.Context(), "")
	if err != nil || len(all) != 4 {
		t.Errorf("of all: %d models, %v, want 4", len(all), err)
	}
	_, err = c.Statistics(t.Context(), "nobody_loaded_this")
	wantError(t, err, quality.KindModelUnavailable, "nobody_loaded_this")
}

func TestServer(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, nil, s)
	info, err := c.Server(t.Context())
	if err != nil || info.Name != "triton" || info.Version != "2.51.0" {
		t.Errorf("Server = %+v, %v", info, err)
	}
	s.Stop()
	_, err = c.Server(t.Context())
	wantError(t, err, quality.KindModelUnavailable, "the inference server cannot be reached")
}
