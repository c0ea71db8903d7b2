// Command helmchart writes the parts of deploy/chart that have their source
// elsewhere (make generate): Helm reads no file outside a chart's folder. Copies
// of files of deploy/ go below files/, the number of the release into
// Chart.yaml, the names of settings into values.schema.json. A test compares.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/version"
)

// copies maps files of deploy/ to folders below the chart's files/.
var copies = map[string]string{
	"prometheus/rules.yml":      "",
	"prometheus/alerts.yml":     "",
	"grafana/dashboards/*.json": "dashboards",
	"otel-collector.yaml":       "",
	"redis/*":                   "redis",
	"postgres/*":                "postgres",
}

// ofChart are the settings that the chart sets itself, or that have no meaning
// in a pod.
var ofChart = []string{
	"listen", "operations-listen", "triton", "triton-ca", "triton-cert", "triton-key", "triton-control-key-file",
	"redis-url-file", "experiment-store-file", "experiment-key-file", "cache-key-file", "admin-key-file",
	"data-dir", "checkpoints", "otlp-endpoint", "drain-delay", "allowed-hosts", "trusted-proxies", "tls-cert",
	"tls-key", "log-format",
	"url", "url-ca", "api-key-file", "insecure", "venv",
}

func main() {
	files, err := generate("deploy")
	if err == nil {
		err = write(filepath.Join("deploy", "chart"), files)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "helmchart:", err)
		os.Exit(1)
	}
}

// generate returns the contents of files by their path in the chart.
func generate(deploy string) (map[string]string, error) {
	files := map[string]string{}
	for pattern, folder := range copies {
		names, err := filepath.Glob(filepath.Join(deploy, pattern))
		if err != nil || len(names) == 0 {
			return nil, fmt.Errorf("%s: no such files", pattern)
		}
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			files[filepath.Join("files", folder, filepath.Base(name))] = string(content)
		}
	}
	var names []string
	for _, key := range settings() {
		names = append(names, `"`+config.FileKey(key)+`"`)
	}
	for _, r := range []struct{ file, pattern, with string }{
		{"Chart.yaml", `(?m)^(version: ).*$`, "${1}" + version.Number},
		{"Chart.yaml", `(?m)^(appVersion: ).*$`, `${1}"` + version.Number + `"`},
		{"values.schema.json", `("propertyNames": \{ "enum": \[)[^\]]*(\] \})`,
			"${1}\n            " + strings.Join(names, ",\n            ") + "\n          ${2}"},
	} {
		text, ok := files[r.file]
		if !ok {
			content, err := os.ReadFile(filepath.Join(deploy, "chart", r.file))
			if err != nil {
				return nil, err
			}
			text = string(content)
		}
		pattern := regexp.MustCompile(r.pattern)
		if n := len(pattern.FindAllString(text, -1)); n != 1 {
			return nil, fmt.Errorf("%s: %q is there %d times, want once", r.file, r.pattern, n)
		}
		files[r.file] = pattern.ReplaceAllString(text, r.with)
	}
	return files, nil
}

// settings are the keys that gateway.settings takes: secrets come from files.
func settings() []string {
	var keys []string
	for _, s := range config.All() {
		if s.Type != "secret" && !slices.Contains(ofChart, s.Key) {
			keys = append(keys, s.Key)
		}
	}
	slices.Sort(keys)
	return keys
}

// write replaces what the folder has of generated files.
func write(chart string, files map[string]string) error {
	if err := os.RemoveAll(filepath.Join(chart, "files")); err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(chart, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
