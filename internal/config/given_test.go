package config_test

import (
	"maps"
	"testing"

	"github.com/spf13/pflag"

	"github.com/agiqa/agiqa/internal/config"
)

func TestGivenBy(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(flags, "HTTP", "Images")
	if err := flags.Parse([]string{"--listen=127.0.0.1:1", "--preprocess=exact"}); err != nil {
		t.Fatal(err)
	}
	got, err := config.GivenBy(config.Sources{
		Flags: flags, FileName: "agiqa.yaml", File: []byte("listen: 127.0.0.1:3\nqueue: 7\nurl:\n"),
		Environ: []string{
			"AGIQA_LISTEN=127.0.0.1:2",
			"AGIQA_MAX_IMAGES=5",
			"AGIQA_TRITON=",
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://x",
		},
	})
	want := map[string]config.Given{
		"listen": {Source: "--listen", Flag: true}, "preprocess": {Source: "--preprocess", Flag: true},
		"queue": {Source: "agiqa.yaml: queue"}, "max-images": {Source: "AGIQA_MAX_IMAGES"},
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
