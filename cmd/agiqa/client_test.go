package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

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
	if _, err := newClient(server.URL).score(t.Context(), "/v1/compare", picture{}, []string{"a", "b"}, []string{"embedding", "all_arms"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"checkpoint": "a,b", "include": "embedding,all_arms"} {
		if got := asked[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// Beside a running server, a setting is honoured or refused by name. It never
// looks as if it had an effect.
func TestSettingsBesideARunningServer(t *testing.T) {
	var calls atomic.Int64
	server := scoreServer(t, &calls)
	dir := t.TempDir()
	image, dataset := filepath.Join(dir, "a.png"), filepath.Join(dir, "data.csv")
	file := filepath.Join(dir, "agiqa.yaml")
	for path, text := range map[string]string{image: "1.5", dataset: "image,mos\na.png,1\n", file: "preprocess: fast\nqueue: 7\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		env, args []string
		out, errs string
	}{
		"score --preprocess":         {nil, []string{"score", image, "--preprocess", "fast"}, "3.0000", ""},
		"score, the server's way":    {nil, []string{"score", image}, "1.5000", ""},
		"AGIQA_PREPROCESS":           {[]string{"AGIQA_PREPROCESS=fast"}, []string{"score", image}, "3.0000", ""},
		"of a named server":          {[]string{"AGIQA_QUEUE=7"}, []string{"score", image, "--config", file}, "3.0000", ""},
		"score --queue":              {nil, []string{"score", image, "--queue", "256"}, "", "--queue has no effect on the server that runs at " + server.URL},
		"compare --queue":            {nil, []string{"compare", image, "--queue", "256"}, "", "--queue has no effect"},
		"eval --queue":               {nil, []string{"eval", "--csv", dataset, "--images", dir, "--queue", "256"}, "", "--queue has no effect"},
		"several":                    {nil, []string{"score", image, "--queue=1", "--data-dir=x"}, "", "--queue, --data-dir have no effect"},
		"score --default-checkpoint": {nil, []string{"score", image, "--default-checkpoint", "x"}, "", "--checkpoint chooses a checkpoint for this command"},
		"--embedded":                 {nil, []string{"score", image, "--embedded"}, "", "--embedded and --url exclude each other"},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, status := runCommand(t, tc.env, nil, append(tc.args, "--url", server.URL)...)
			if (status == 0) != (tc.errs == "") || !strings.Contains(out, tc.out) || !strings.Contains(errs, tc.errs) {
				t.Errorf("status %d, %s%s", status, out, errs)
			}
			if tc.errs != "" && (strings.Count(errs, "\n") != 1 || out != "") {
				t.Errorf("want one line on stderr alone, got %s%s", out, errs)
			}
		})
	}
}

// Settings that only a server reads are refused in the environment and the file
// too, where the server was not named but found.
func TestSettingsBesideAServerThatWasFound(t *testing.T) {
	src := config.Sources{
		Environ:  []string{"AGIQA_QUEUE=7", "AGIQA_PREPROCESS=fast", "AGIQA_DATA_DIR=x", "AGIQA_LISTEN="},
		File:     []byte("max_images: 3\n"),
		FileName: "agiqa.yaml",
	}
	given, err := config.GivenBy(src)
	if err != nil {
		t.Fatal(err)
	}
	want := "agiqa.yaml: max_images, AGIQA_QUEUE have no effect on the server that runs at http://s: " +
		"stop that server, or start another one for this command with --embedded, or name the server with --url"
	if err := checkEffective(given, "http://s"); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	src.Environ = append(src.Environ, "AGIQA_URL=http://s")
	if given, err = config.GivenBy(src); err != nil || checkEffective(given, "http://s") != nil {
		t.Errorf("of a named server: %v, %v", err, checkEffective(given, "http://s"))
	}
}
