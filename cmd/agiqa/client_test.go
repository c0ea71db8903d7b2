package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// Beside a running server, a setting is honoured or refused by name. It never
// looks as if it had an effect.
func TestSettingsBesideARunningServer(t *testing.T) {
	var calls atomic.Int64
	server := scoreServer(t, &calls)
	dir := t.TempDir()
	image, dataset := filepath.Join(dir, "a.png"), filepath.Join(dir, "data.csv")
	file := filepath.Join(dir, "agiqa.yaml")
	for path, text := range map[string]string{image: "1.5", dataset: "image,mos\na.png,1\n",
		file: "preprocess: fast\nqueue: 7\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		env, args []string
		out, errs string
	}{
		"score --preprocess":      {nil, []string{"score", image, "--preprocess", "fast"}, "3.0000", ""},
		"score, the server's way": {nil, []string{"score", image}, "1.5000", ""},
		"AGIQA_PREPROCESS":        {[]string{"AGIQA_PREPROCESS=fast"}, []string{"score", image}, "3.0000", ""},
		"of a named server":       {[]string{"AGIQA_QUEUE=7"}, []string{"score", image, "--config", file}, "3.0000", ""},
		"score --queue": {nil, []string{"score", image, "--queue", "256"}, "",
			"--queue has no effect on the server that runs at " + server.URL},
		"compare --queue": {nil, []string{"compare", image, "--queue", "256"}, "", "--queue has no effect"},
		"eval --queue": {nil, []string{"eval", "--csv", dataset, "--images", dir, "--queue", "256"},
			"", "--queue has no effect"},
		"several": {nil, []string{"score", image, "--queue=1", "--data-dir=x"}, "",
			"--queue, --data-dir have no effect"},
		"score --default-checkpoint": {nil, []string{"score", image, "--default-checkpoint", "x"}, "",
			"--checkpoint chooses a checkpoint for this command"},
		"--embedded": {nil, []string{"score", image, "--embedded"}, "",
			"--embedded and --url are mutually exclusive"},
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
