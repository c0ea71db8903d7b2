package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
)

// client talks to a server over its public API.
type client struct {
	base string
	key  config.Secret // sent with changes only
	http *http.Client
}

func newClient(base string) *client {
	return &client{base: strings.TrimRight(base, "/"), http: &http.Client{
		Timeout:   2 * time.Minute,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute},
	}}
}

// answers reports whether an agiqa server is there.
func (c *client) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var health struct{ Name string }
	return c.get(ctx, "/healthz", &health) == nil && health.Name == "agiqa"
}

func (c *client) get(ctx context.Context, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	return c.do(req, out)
}

// score sends one picture by the route ("/v1/score" or "/v1/compare") to the
// checkpoints that are named, to be preprocessed in mode, and returns the whole
// answer.
func (c *client) score(ctx context.Context, route string, p picture, checkpoints, include []string, mode string) (gateway.ScoreResponse, error) {
	var out gateway.ScoreResponse
	body, contentType := p.data, "application/octet-stream"
	query := url.Values{}
	// The server reads lists that are divided by commas, and only the first of
	// parameters of one name.
	if len(checkpoints) > 0 {
		query.Set("checkpoint", strings.Join(checkpoints, ","))
	}
	if len(include) > 0 {
		query.Set("include", strings.Join(include, ","))
	}
	if mode != "" {
		query.Set("preprocess", mode)
	}
	if p.url != "" {
		var err error
		if body, err = json.Marshal(gateway.ScoreRequest{Images: []gateway.ImageInput{{URL: p.url}}}); err != nil {
			return out, err
		}
		contentType = "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+route+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	req.Header.Set("Content-Type", contentType)
	if err := c.do(req, &out); err != nil {
		return out, err
	}
	if len(out.Results) != 1 {
		return out, fmt.Errorf("the server gave %d results for one image", len(out.Results))
	}
	return out, nil
}

// maxAnswer bounds what is read of an answer: embeddings for 64 checkpoints
// stay far below it.
const maxAnswer = 16 << 20

// do sends req and decodes the answer, or returns the problem that the server
// reported as a *gateway.Problem.
func (c *client) do(req *http.Request, out any) error {
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("answer of %s: %w", c.base, err)
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
		problem := &gateway.Problem{}
		if json.Unmarshal(body, problem) == nil && problem.Code != "" {
			return problem
		}
		return fmt.Errorf("%s answered %s", c.base, res.Status)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("answer of %s: %w", c.base, err)
	}
	return nil
}

// withServer runs f with a client: of the server at the url setting, or, when
// none runs there and none was asked for, of an embedded one that is started
// for the occasion.
func withServer(cmd *cobra.Command, t *terminal, f func(ctx context.Context, c *client) error) error {
	s, err := loadSettings(cmd, t)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	c := newClient(s.URL)
	if c.answers(ctx) {
		return f(ctx, c)
	}
	if s.URL != config.Default().URL {
		return fmt.Errorf("setting url: no agiqa server answers at %s", s.URL)
	}
	t.note("agiqa: no server at %s; starting an embedded one (agiqa up keeps it running)", s.URL)
	return withEmbedded(ctx, s, t, f)
}

func withEmbedded(ctx context.Context, s config.Settings, t *terminal, f func(ctx context.Context, c *client) error) error {
	s.Listen = net.JoinHostPort("127.0.0.1", "0")
	s.LogLevel = "error"
	e, err := startEmbedded(ctx, s, true, newLogger(s, t.err, t.screen))
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- e.run(running, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		return errors.Join(errors.New("the embedded server ended before it was ready"), err)
	case <-ctx.Done():
		stop()
		return errors.Join(context.Cause(ctx), <-ended)
	}
	err = f(ctx, newClient(e.url()))
	stop()
	return errors.Join(err, <-ended)
}
