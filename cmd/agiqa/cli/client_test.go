package cli_test

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/config"
)

// Lists go in one parameter each: of several of one name the server reads the
// first alone.
func TestClientAsksForEveryCheckpoint(t *testing.T) {
	t.Parallel()
	var asked url.Values
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query()
		_, _ = w.Write([]byte(`{"results":[{}]}`))
	}))
	defer server.Close()
	ask := cli.Ask{
		Checkpoints: []string{"a", "b"}, Aspects: []string{"quality", "authenticity=c"},
		Include: []string{"embedding", "all_arms"}, Omit: []string{"interval", "distribution"},
		Prompt: "a cat, a dog & more",
	}
	if _, err := cli.NewClient(server.URL).Score(t.Context(), "/v1/compare", cli.Picture{}, ask); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"checkpoint": "a,b", "aspects": "quality,authenticity=c", "include": "embedding,all_arms",
		"omit": "interval,distribution", "prompt": "a cat, a dog & more",
	} {
		if got := asked[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestClientSendsItsKey: the API key goes with everything that wants no admin key,
// and the admin key with nothing else.
func TestClientSendsItsKey(t *testing.T) {
	t.Parallel()
	sent := map[string]string{}
	server := httptest.NewServer(knows(t, "the-admin-key", func(w http.ResponseWriter, r *http.Request) {
		sent[r.Method+" "+r.URL.Path] = r.Header.Get("Authorization")
		_, _ = w.Write([]byte(`{"results":[{}]}`))
	}))
	defer server.Close()
	for _, key := range []config.Secret{"an-api-key", ""} {
		clear(sent)
		c := cli.NewClient(server.URL)
		c.Key, c.APIKey = "the-admin-key", key
		change, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, server.URL+"/change", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, scored := c.Score(t.Context(), "/v1/score", cli.Picture{}, cli.Ask{})
		_, fetched := c.Fetch(t.Context(), "/fetch")
		if err := errors.Join(scored, fetched, c.Get(t.Context(), "/get", &struct{}{}),
			c.Change(change, &struct{}{})); err != nil {
			t.Fatal(err)
		}
		own := ""
		if key != "" {
			own = "Bearer " + string(key)
		}
		want := map[string]string{
			"POST /v1/score": own, "GET /get": own, "GET /fetch": "Bearer the-admin-key",
			"DELETE /change": "Bearer the-admin-key",
		}
		if !maps.Equal(sent, want) {
			t.Errorf("sent %v, want %v", sent, want)
		}
	}
}
