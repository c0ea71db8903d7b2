package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/internal/proof"
	"github.com/agiqa/agiqa/quality"
)

// TestChallenge: the server proves that it knows the admin key, for its own address
// only, and doesn't ask for the key.
func TestChallenge(t *testing.T) {
	r := newRig(t, func(p *plan) { p.gateway.AllowedHosts = []string{"api.example"} })
	url := r.serve().URL
	own := strings.TrimPrefix(url, "http://")
	key, err := proof.Derive(adminKey)
	must(t, err)
	for address, want := range map[string]quality.Kind{
		own: "", "api.example:443": "", "tunnel.example:1": quality.KindMisdirected, "evil.example:80": quality.KindMisdirected,
		"": quality.KindMisdirected,
	} {
		c := proof.New(address)
		body, err := json.Marshal(c)
		must(t, err)
		got := send(t, http.MethodPost, url+proof.Path, body, map[string]string{"Content-Type": "application/json"})
		if want != "" {
			if p := got.wantProblem(t, want); !strings.Contains(p.Detail, "allowed-hosts") {
				t.Errorf("%s: %q does not name the setting", address, p.Detail)
			}
			continue
		}
		var answer proof.Answer
		if err := json.Unmarshal(got.body, &answer); err != nil || !key.Accepts(c, answer) {
			t.Errorf("%s: status %d, %s: %v", address, got.status, got.body, err)
		}
	}
	short := map[string]any{"nonce": "00", "address": own}
	r.postJSON(proof.Path, short, host("localhost")).wantProblem(t, quality.KindBadRequest)
	none := newRig(t, func(p *plan) { p.gateway.AdminKey = "" })
	none.postJSON(proof.Path, proof.New(own)).wantProblem(t, quality.KindUnauthenticated)
}
