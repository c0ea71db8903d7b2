package main

import (
	"strings"
	"testing"
)

// TestServeAsTransformer: KServe appends arguments to a transformer's, which
// don't stop it, and help doesn't mention them.
func TestServeAsTransformer(t *testing.T) {
	t.Parallel()
	appended := []string{"--model_name", "agiqa", "--predictor_host", "agiqa-predictor.scoring", "--http_port", "8080"}
	_, errs, status := runCommand(t, nil, nil, append([]string{"serve"}, appended...)...)
	if status == 0 || !strings.Contains(errs, "triton") || strings.Contains(errs, "unknown flag") {
		t.Errorf("status %d: %s; want the complaint that no Triton is given", status, errs)
	}
	out, _, _ := runCommand(t, nil, nil, "serve", "--help")
	if strings.Contains(out, "predictor_host") {
		t.Error("help lists KServe's arguments")
	}
}
