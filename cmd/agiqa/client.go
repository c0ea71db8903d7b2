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
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/server"
)

// client talks to a server over its public API.
type client struct {
	base string
	key  config.Secret // sent with changes only
	mode string        // of preprocessing, sent with scoring requests; "": the server's own
	http *http.Client
}

func newClient(base string) *client {
	return &client{base: strings.TrimRight(base, "/"), http: &http.Client{Timeout: 2 * time.Minute, Transport: transport()}}
}

// transport is the process's default one with room for many connections to one
// server. Tests put one there that checks the answers.
func transport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	t = t.Clone()
	t.Proxy, t.MaxIdleConnsPerHost, t.IdleConnTimeout = nil, 64, time.Minute
	return t
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
// checkpoints that are named and returns the whole answer.
func (c *client) score(
	ctx context.Context,
	route string,
	p picture,
	checkpoints, include []string,
) (gateway.ScoreResponse, error) {
	var out gateway.ScoreResponse
	query := url.Values{}
	// The server reads lists that are divided by commas, and only the first of
	// parameters of one name.
	if len(checkpoints) > 0 {
		query.Set("checkpoint", strings.Join(checkpoints, ","))
	}
	if len(include) > 0 {
		query.Set("include", strings.Join(include, ","))
	}
	if c.mode != "" {
		query.Set("preprocess", c.mode)
	}
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodPost,
		c.base+route+"?"+query.Encode(),
		bytes.NewReader(p.data),
	)
	if err != nil {
		return out, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
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

// do sends req and decodes the answer. Errors are those of send.
func (c *client) do(req *http.Request, out any) error {
	body, _, err := c.send(req)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("answer of %s: %w", c.base, err)
	}
	return nil
}

// send sends req and returns the answer, or the problem that the server reported
// as a *gateway.Problem.
func (c *client) send(req *http.Request) ([]byte, http.Header, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("answer of %s: %w", c.base, err)
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
		problem := &gateway.Problem{}
		if json.Unmarshal(body, problem) == nil && problem.Code != "" {
			return nil, nil, problem
		}
		return nil, nil, fmt.Errorf("%s answered %s", c.base, res.Status)
	}
	return body, res.Header, nil
}

// addServing adds the flags of a command that uses the running server or, where
// there is none, starts one: the settings of a server, and --embedded.
func addServing(cmd *cobra.Command) {
	config.AddFlags(cmd.Flags(), serverGroups...)
	cmd.Flags().Bool("embedded", false, "start a server for this command, also where one runs")
}

// withServer runs f with a client: of the server at the url setting, or, when
// none runs there and none was asked for, of an embedded one that is started
// for the occasion.
func withServer(cmd *cobra.Command, t *terminal, f func(ctx context.Context, c *client) error) error {
	s, given, err := loadGiven(cmd, t)
	if err != nil {
		return err
	}
	embedded, err := cmd.Flags().GetBool("embedded")
	if err != nil {
		return err
	}
	mode := ""
	if _, ok := given["preprocess"]; ok {
		mode = s.Preprocess
	}
	withMode := func(ctx context.Context, c *client) error {
		c.mode = mode
		return f(ctx, c)
	}
	ctx := cmd.Context()
	_, asked := given["url"]
	switch c := newClient(s.URL); {
	case embedded && asked && given["url"].Flag:
		return errors.New("--embedded and --url exclude each other")
	case embedded:
	case c.answers(ctx):
		if err := checkEffective(given, s.URL); err != nil {
			return err
		}
		return withMode(ctx, c)
	case asked:
		return fmt.Errorf("setting url: no agiqa server answers at %s", s.URL)
	default:
		t.note("agiqa: no server at %s; starting an embedded one (agiqa up keeps it running)", s.URL)
	}
	return withEmbedded(ctx, s, t, withMode)
}

// checkEffective refuses settings that only a server reads, where one runs that
// was started without them. A flag means this command. The environment and the
// settings file may describe the server, and do where they or a flag name it.
func checkEffective(given map[string]config.Given, server string) error {
	_, named := given["url"]
	var idle []string
	for _, st := range config.All() {
		g, ok := given[st.Key]
		ofServer := st.Use == config.UseServer && (g.Flag || !named)
		if ok && (ofServer || st.Use == config.UseFolder && g.Flag) {
			idle = append(idle, g.Source)
		}
	}
	if len(idle) == 0 {
		return nil
	}
	verb := "has"
	if len(idle) > 1 {
		verb = "have"
	}
	text := fmt.Sprintf(
		"%s %s no effect on the server that runs at %s: "+
			"stop that server, or start another one for this command with --embedded",
		strings.Join(idle, ", "),
		verb,
		server,
	)
	if !slices.ContainsFunc(idle, func(source string) bool { return strings.HasPrefix(source, "--") }) {
		text += ", or name the server with --url"
	}
	if slices.Contains(idle, "--default-checkpoint") {
		text += " (--checkpoint chooses a checkpoint for this command)"
	}
	return errors.New(text)
}

func withEmbedded(
	ctx context.Context,
	s config.Settings,
	t *terminal,
	f func(ctx context.Context, c *client) error,
) error {
	s.Listen = net.JoinHostPort("127.0.0.1", "0")
	s.LogLevel = "error"
	srv, err := server.New(ctx, t.embedded(s, true))
	if err != nil {
		return err
	}
	return srv.While(ctx, func(ctx context.Context) error { return f(ctx, newClient(srv.URL())) })
}
