package tritonclient

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// ModelState is one line of a replica's model repository.
type ModelState struct {
	Replica string // its address; for operators
	Name    string
	Version string // "" for a model that was never loaded
	State   string // "READY", "LOADING", "UNLOADING", "UNAVAILABLE" or ""
	Reason  string // such as "unloaded", or why a load failed
}

// Ready reports whether the model takes requests.
func (s ModelState) Ready() bool { return s.State == "READY" }

// ModelUpload is a model that exists on no disk of the server.
type ModelUpload struct {
	Config []byte            // ModelConfig as JSON
	Files  map[string][]byte // by path in the model's folder, such as "1/model.onnx"
}

// Index lists the models in the repositories of every replica. A model that
// was uploaded is in no repository and is not listed: ask [Client.ModelReady].
// Replicas that fail are in the error, each with its address; what the others
// said is returned with it.
func (c *Client) Index(ctx context.Context) ([]ModelState, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	var mu sync.Mutex
	var all []ModelState
	err := c.pool.Each(ctx, func(ctx context.Context, r *replicas.Replica) error {
		resp, err := rpc(r).RepositoryIndex(ctx, &pb.RepositoryIndexRequest{})
		if err != nil {
			return r.Failure(ctx, "", err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, m := range resp.GetModels() {
			all = append(all, ModelState{r.Addr(), m.GetName(), m.GetVersion(), m.GetState(), m.GetReason()})
		}
		return nil
	})
	return all, err
}

// Load loads a model on every replica, from the server's repository or, with
// upload, from memory. It returns when every replica serves the model or has
// failed, and then the error names each that did.
//
// A model that is loaded and unchanged stays as it is. So may one for which
// other files are uploaded (Triton 24.10 answers that all is well and serves
// the old ones), so a new content needs a new name.
func (c *Client) Load(ctx context.Context, model string, upload *ModelUpload) error {
	return c.load(ctx, model, upload, func(context.Context, *replicas.Replica) bool { return true })
}

// Ensure loads a model on the replicas where it is not ready. It is the step
// by which a replica that restarted catches up with the others: models here
// never change under their name.
func (c *Client) Ensure(ctx context.Context, model string, upload *ModelUpload) error {
	return c.load(ctx, model, upload, func(ctx context.Context, r *replicas.Replica) bool {
		return modelReady(ctx, r, model) != nil
	})
}

func (c *Client) load(
	ctx context.Context, model string, upload *ModelUpload, needed func(context.Context, *replicas.Replica) bool,
) error {
	req, err := loadRequest(model, upload)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.LoadTimeout)
	defer cancel()
	return c.pool.Each(ctx, func(ctx context.Context, r *replicas.Replica) error {
		if !needed(ctx, r) {
			return nil
		}
		if _, err := rpc(r).RepositoryModelLoad(ctx, req); err != nil {
			return fmt.Errorf("load: %w", r.Failure(ctx, model, err))
		}
		return nil
	})
}

// Unload unloads a model on every replica. It returns when new requests are
// refused; those under way finish on the old instance, whose memory goes with
// the last of them. Ensembles that contain the model go with it. A model that
// no replica knows is not an error.
func (c *Client) Unload(ctx context.Context, model string) error {
	if err := checkModelName(model); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	c.batch.forget(model)
	return c.pool.Each(ctx, func(ctx context.Context, r *replicas.Replica) error {
		_, err := rpc(r).RepositoryModelUnload(ctx, &pb.RepositoryModelUnloadRequest{ModelName: model})
		if err != nil {
			return fmt.Errorf("unload: %w", r.Failure(ctx, model, err))
		}
		return nil
	})
}

func loadRequest(model string, upload *ModelUpload) (*pb.RepositoryModelLoadRequest, error) {
	if err := checkModelName(model); err != nil {
		return nil, err
	}
	req := &pb.RepositoryModelLoadRequest{ModelName: model}
	if upload == nil {
		return req, nil
	}
	if len(upload.Config) == 0 {
		return nil, fmt.Errorf("load model %s: an upload needs a configuration", model)
	}
	req.Parameters = map[string]*pb.ModelRepositoryParameter{
		"config": {ParameterChoice: &pb.ModelRepositoryParameter_StringParam{StringParam: string(upload.Config)}},
	}
	for path, content := range upload.Files {
		req.Parameters["file:"+path] = &pb.ModelRepositoryParameter{
			ParameterChoice: &pb.ModelRepositoryParameter_BytesParam{BytesParam: content},
		}
	}
	return req, nil
}

// checkModelName refuses names that old servers would take for a path.
func checkModelName(model string) error {
	ok := model != "" && len(model) <= 128 && strings.Trim(model,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
	if !ok {
		return quality.Errorf(quality.KindBadRequest, "%.64q is not a model's name", model)
	}
	return nil
}
