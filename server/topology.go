package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/checkpoint/tritonmodels"
	"github.com/agiqa/agiqa/embedded"
	"github.com/agiqa/agiqa/internal/config"
)

// topology says where the Tritons are and what is shared with them.
type topology struct {
	addresses []string
	access    tritonAccess
	library   *lifecycle.Library
	folder    modelFolder // shared with Triton; nil: heads travel with the load call
	ephemeral bool        // another server may own the data folder: change nothing in it
}

// modelFolder is a model repository that Triton reads and this process writes.
type modelFolder interface {
	lifecycle.ModelFolder
	lifecycle.PanelFolder
}

// newTopology opens the checkpoints and starts an embedded Triton where one
// is wanted.
func (s *Server) newTopology(ctx context.Context, cfg Config) (topology, error) {
	if !cfg.Embedded {
		return s.remoteTriton(ctx)
	}
	child, err := EmbeddedConfig(s.settings, s.dir, cfg.Environ)
	if err != nil {
		return topology{}, err
	}
	child.Logger = s.logger
	top, err := s.embeddedTriton(ctx, cfg.Ephemeral, child)
	if err != nil {
		return topology{}, err
	}
	child.OnState = func(state embedded.State) {
		if state == embedded.Ready {
			select {
			case s.restarted <- struct{}{}: // it has lost what was loaded after its start
			default: // known already
			}
		}
	}
	if s.child, err = embedded.Start(ctx, child); err != nil {
		return topology{}, err
	}
	s.onClose("the embedded Triton", tritonMark, s.stopTriton)
	top.addresses = []string{s.child.GRPCAddr()}
	return top, nil
}

// remoteTriton is for a gateway whose Tritons run elsewhere. They share no disk
// with it unless the settings say so.
func (s *Server) remoteTriton(ctx context.Context) (topology, error) {
	settings := s.settings
	if len(settings.Triton) == 0 {
		return topology{}, errors.New("setting triton (AGIQA_TRITON) is empty: give Triton's gRPC addresses, or use agiqa " +
			"up, which starts one")
	}
	t := topology{addresses: settings.Triton}
	var err error
	if t.access, err = newTritonAccess(settings); err != nil {
		return t, err
	}
	if t.library, err = openLibrary(settings, settings.ModelUpload != "shared", false, s.logger); err != nil {
		return t, err
	}
	s.join(ctx, t.library)
	if settings.ModelUpload == "shared" {
		if settings.ModelRepository == config.AutoRepository {
			return t,
				errors.New("setting model-repository is needed with model-upload shared: name the folder that Triton reads")
		}
		t.folder = tritonmodels.NewFolder(settings.ModelRepository)
	}
	return t, nil
}

// embeddedTriton is for a gateway with a Triton of its own. Models of imported
// checkpoints are files in a repository beside the project's, unless the
// settings want them uploaded.
func (s *Server) embeddedTriton(ctx context.Context, ephemeral bool, child embedded.Config) (topology, error) {
	settings := s.settings
	t := topology{ephemeral: ephemeral}
	uploads := settings.ModelUpload == "upload"
	var err error
	if t.library, err = openLibrary(settings, uploads, ephemeral, s.logger); err != nil {
		return t, err
	}
	s.join(ctx, t.library)
	repository := child.LaterRepositories[0]
	if err := os.MkdirAll(repository, 0o700); err != nil {
		return t, fmt.Errorf("setting data-dir: %w", err)
	}
	folder := tritonmodels.NewFolder(repository, child.ModelRepositories...)
	if uploads {
		return t, folder.Tidy(nil)
	}
	t.folder = folder
	return t, folder.Tidy(t.library.Imported())
}

// TritonLog is the name of the embedded Triton's log in the data folder.
const TritonLog = "tritonserver.log"

// EmbeddedConfig is what the settings say of an embedded Triton whose models,
// run files and log are in dir.
func EmbeddedConfig(s config.Settings, dir string, environ []string) (embedded.Config, error) {
	cfg := embedded.DefaultConfig()
	cfg.Venv = s.Venv
	cfg.ModelRepositories = []string{s.ModelRepository}
	cfg.LaterRepositories = []string{filepath.Join(dir, "model_repository")}
	cfg.RunDir = filepath.Join(dir, "run")
	cfg.LogFile = filepath.Join(dir, TritonLog)
	cfg.Env = environ
	if s.OTLPEndpoint != "" {
		traces, err := url.JoinPath(s.OTLPEndpoint, "v1", "traces")
		if err != nil {
			return cfg, fmt.Errorf("setting otlp-endpoint: %w", err)
		}
		cfg.OTLPTracesURL = traces
	}
	return cfg, nil
}

// stopTriton stops the embedded Triton, by force where it doesn't go by itself.
func (s *Server) stopTriton(ctx context.Context) error {
	if err := s.child.Stop(ctx); err != nil {
		s.logger.Warn("triton was killed: it did not stop in time", "error", err)
	}
	return nil
}

// Listen opens the address of a setting before anything slow happens. The error
// says what to do when it is taken.
func Listen(setting, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("setting %s: another program uses %s; stop it, or choose another address with --%s or %s "+
			"(port 0 picks a free one)",
			setting, address, setting, config.EnvName(setting))
	}
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w", setting, err)
	}
	return l, nil
}
