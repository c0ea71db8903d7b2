package cli_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
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
