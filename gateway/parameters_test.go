package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// Every value of a list counts, in their order, and what is no list is refused
// where it comes twice.
func TestRepeatedParameters(t *testing.T) {
	r := newRig(t)
	file := testimages.PNG(32, 32)
	var names []string
	got := r.post("/v1/score?checkpoint=other&include=embedding&checkpoint=demo,other", file, "image/png").scores(t).Results[0]
	for _, v := range got.Scores {
		names = append(names, v.Checkpoint.Name)
	}
	if strings.Join(names, " ") != "other demo" || len(got.Embedding) == 0 {
		t.Errorf("verdicts of %v and %d numbers of an embedding, want other and demo, and some", names, len(got.Embedding))
	}
	const arms = "/v1/score?include=embedding&include=all_arms" // the second one wants a key
	r.post(arms, file, "image/png").wantProblem(t, quality.KindUnauthenticated)

	for _, target := range []string{"/v1/score?preprocess=exact&preprocess=fast", "/v1/preprocess?format=png&checkpoint=x&format=png"} {
		calls := len(r.calls())
		p := r.post(target, file, "image/png").wantProblem(t, quality.KindBadRequest)
		name := target[strings.Index(target, "?")+1 : strings.Index(target, "=")]
		if want := (gateway.ProblemField{Location: "query." + name, Message: p.Detail}); len(p.Errors) != 1 || p.Errors[0] != want || !strings.Contains(p.Detail, name) {
			t.Errorf("%s: detail %q, errors %v, want %v", target, p.Detail, p.Errors, want)
		}
		if len(r.calls()) != calls {
			t.Errorf("%s reached Triton", target)
		}
	}
	// Where a parameter is unknown it says nothing, however often it comes.
	if a := r.ask(http.MethodGet, "/v1/checkpoints?a=1&a=2", nil); a.status != http.StatusOK {
		t.Errorf("status %d: %s", a.status, a.body)
	}
}
