package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
)

// Client calls a server over its public API.
type Client struct {
	Base   string        // URL without a slash at its end
	Key    config.Secret // the admin key, sent by Change and Fetch only
	APIKey config.Secret // an API key, sent by everything else; "": none
	Mode   string        // preprocessing mode, sent with scoring requests; "": the server's own
	http   *http.Client

	insecure bool        // send keys in clear to other machines
	trusted  *tls.Config // nil: by this machine's authorities
	keyed    http.RoundTripper
	keyedFor config.Secret
	once     sync.Mutex
}

// NewClient returns a client of the server at a URL.
func NewClient(base string) *Client {
	return &Client{Base: strings.TrimRight(base, "/"),
		http: &http.Client{Timeout: 2 * time.Minute, Transport: transport(func(*http.Transport) {})}}
}

// ClientOf returns a client of the server at the url setting, with its API key.
func ClientOf(s config.Settings) (*Client, error) {
	trusted, err := trust(s)
	if err != nil {
		return nil, err
	}
	c := NewClient(s.URL)
	c.APIKey, c.insecure, c.trusted = s.APIKey, s.Insecure, trusted
	if trusted != nil {
		c.http.Transport = transport(func(t *http.Transport) { t.TLSClientConfig = trusted })
	}
	return c, nil
}

// Answers reports whether an agiqa server responds at the URL within 2 seconds.
func (c *Client) Answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var health struct{ Name string }
	return c.Get(ctx, "/healthz", &health) == nil && health.Name == "agiqa"
}

// Get sends a GET request and decodes the answer. Errors are those of Send.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Base+path, nil)
	if err != nil {
		return err
	}
	return c.Do(req, out)
}

// Ask is what a request asks of the server for a picture. Empty lists leave the
// choice to the server.
type Ask struct {
	Checkpoints, Aspects, Include, Omit []string

	Prompt string // that the picture was made from; "" for none
}

// Score sends one picture by the route ("/v1/score" or "/v1/compare") and
// returns the whole answer.
func (c *Client) Score(ctx context.Context, route string, p Picture, ask Ask) (gateway.ScoreResponse, error) {
	var out gateway.ScoreResponse
	query := url.Values{}
	for name, values := range map[string][]string{
		"checkpoint": ask.Checkpoints, "aspects": ask.Aspects, "include": ask.Include, "omit": ask.Omit,
	} {
		if len(values) > 0 {
			query.Set(name, strings.Join(values, ","))
		}
	}
	if ask.Prompt != "" {
		query.Set("prompt", ask.Prompt)
	}
	if c.Mode != "" {
		query.Set("preprocess", c.Mode)
	}
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodPost,
		c.Base+route+"?"+query.Encode(),
		bytes.NewReader(p.Data),
	)
	if err != nil {
		return out, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	if err := c.Do(req, &out); err != nil {
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

// Do sends req and decodes the answer. Errors are those of Send.
func (c *Client) Do(req *http.Request, out any) error { return c.do(c.http, req, out) }

func (c *Client) do(by *http.Client, req *http.Request, out any) error {
	body, _, err := c.send(by, req)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("answer of %s: %w", c.Base, err)
	}
	return nil
}

// Send sends req and returns the body and headers of the answer. A problem that
// the server reports is an error of type *gateway.Problem.
func (c *Client) Send(req *http.Request) ([]byte, http.Header, error) { return c.send(c.http, req) }

func (c *Client) send(by *http.Client, req *http.Request) ([]byte, http.Header, error) {
	if c.APIKey != "" && req.Header.Get("Authorization") == "" {
		if err := checkKeyTravel(c.Base, c.insecure); err != nil {
			return nil, nil, err
		}
		req.Header.Set("Authorization", "Bearer "+string(c.APIKey))
	}
	res, err := by.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("it is larger than %d MiB", maxAnswer>>20)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("answer of %s: %w", c.Base, err)
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
		problem := &gateway.Problem{}
		if json.Unmarshal(body, problem) == nil && problem.Code != "" {
			return nil, nil, problem
		}
		return nil, nil, fmt.Errorf("%s answered %s", c.Base, res.Status)
	}
	return body, res.Header, nil
}

// withKey adds the key to a request, and sees to it that an admin key goes only to a
// server that has proved to know it. An API key goes without: it can do less, and
// be revoked.
func (c *Client) withKey(req *http.Request) (*http.Client, error) {
	if err := checkKeyTravel(c.Base, c.insecure); err != nil {
		return nil, err
	}
	if access.WellFormed(string(c.Key)) {
		req.Header.Set("Authorization", "Bearer "+string(c.Key))
		return c.http, nil
	}
	c.once.Lock()
	defer c.once.Unlock()
	if c.keyed == nil || c.keyedFor != c.Key {
		keyed, err := provenTransport(c.Base, c.Key, c.trusted)
		if err != nil {
			return nil, err
		}
		c.keyed, c.keyedFor = keyed, c.Key
	}
	req.Header.Set("Authorization", "Bearer "+string(c.Key))
	return &http.Client{Timeout: c.http.Timeout, Transport: c.keyed, CheckRedirect: noRedirect}, nil
}

// noRedirect lets no server send a key elsewhere.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Change sends a request with the admin key and decodes the answer. The error of
// a conflict lists what is missing.
func (c *Client) Change(req *http.Request, out any) error {
	keyed, err := c.withKey(req)
	if err != nil {
		return err
	}
	err = c.do(keyed, req, out)
	if p, ok := errors.AsType[*gateway.Problem](err); ok && p.Code == quality.KindConflict && len(p.Errors) > 0 {
		var missing []string
		for _, e := range p.Errors {
			missing = append(missing, e.Message)
		}
		return fmt.Errorf("%w: %s", p, strings.Join(missing, " "))
	}
	return err
}

// Fetch sends a GET request with the admin key and returns the body.
func (c *Client) Fetch(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Base+path, nil)
	if err != nil {
		return nil, err
	}
	keyed, err := c.withKey(req)
	if err != nil {
		return nil, err
	}
	raw, _, err := c.send(keyed, req)
	return raw, err
}

// PathSegment escapes a name for use as one segment of a path.
func PathSegment(name string) string { return url.PathEscape(name) }

// ExperimentPath returns the path of an experiment in the API.
func ExperimentPath(id string) string { return "/v1/experiments/" + PathSegment(id) }

// Faulty reports whether the score of any checkpoint is missing.
func Faulty(r gateway.Result) bool {
	faulty := func(v gateway.CheckpointScore) bool { return v.Error != nil }
	return r.Error != nil || slices.ContainsFunc(r.Scores, faulty) ||
		slices.ContainsFunc(slices.Collect(maps.Values(r.Aspects)), faulty)
}
