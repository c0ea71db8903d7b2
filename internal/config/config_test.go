package config_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/agiqa/agiqa/internal/config"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := config.Default().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestPrecedence(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(flags, "HTTP", "Images", "Scoring")
	if err := flags.Parse([]string{"--listen=127.0.0.1:1", "--trust-traces"}); err != nil {
		t.Fatal(err)
	}
	got, err := config.Load(config.Sources{
		Flags:    flags,
		Environ:  []string{"AGIQA_LISTEN=127.0.0.1:2", "AGIQA_MAX_IMAGES=5", "AGIQA_TRITON=a:1, b:2"},
		File:     []byte("listen: 127.0.0.1:3\nmax_images: 6\nqueue: 7\n"),
		FileName: "agiqa.yaml",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Listen = "127.0.0.1:1"
	want.TrustTraces = config.Peers{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	want.MaxImages = 5
	want.Queue = 7
	want.Triton = []string{"a:1", "b:2"}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestEveryFaultAtOnce(t *testing.T) {
	_, err := config.Load(config.Sources{
		Environ: []string{
			"AGIQA_REQUEST_TIMEOUT=soon", "AGIQA_MAX_IMAGES=-1", "AGIQA_LOG_LEVEL=loud",
			"AGIQA_REDIS_URL=http://secret@x", "AGIQA_MAX_IMAGE_BYTES=9e9", "AGIQA_TRITON=nonsense",
			"AGIQA_TRACE_RATIO=0", "AGIQA_TRACE_QUEUE=1", "AGIQA_TRUST_TRACES=10.0.0.0/99",
		},
		File:     []byte("listne: x\nqueue: {a: b}\n"),
		FileName: "agiqa.yaml",
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"request-timeout (from AGIQA_REQUEST_TIMEOUT)", "max-images (AGIQA_MAX_IMAGES): must be positive, is -1",
		`log-level`, `redis-url`, `max-image-bytes (from AGIQA_MAX_IMAGE_BYTES): "9e9"`, `"nonsense" is not host:port`,
		"trace-ratio", "trace-queue", "trust-traces (from AGIQA_TRUST_TRACES)",
		`agiqa.yaml:1: unknown setting "listne"`, `agiqa.yaml:2: setting "queue" must be a value or a list`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("error shows a secret:\n%v", err)
	}
	if f, ok := errors.AsType[*config.Fault](err); !ok || f.Key == "" {
		t.Errorf("no Fault in %v", err)
	}
}

func TestBytes(t *testing.T) {
	for _, tc := range []struct {
		text string
		want config.Bytes
		ok   bool
	}{
		{"0", 0, true}, {"17", 17, true}, {"20MiB", 20 << 20, true}, {"2 kB", 2000, true}, {"1GiB", 1 << 30, true},
		{"5B", 5, true}, {"", 0, false}, {"-1", 0, false}, {"1.5MiB", 0, false}, {"9223372036854775807KiB", 0, false}, {"MiB", 0, false},
	} {
		got, err := config.ParseBytes(tc.text)
		if got != tc.want || (err == nil) != tc.ok {
			t.Errorf("ParseBytes(%q) = %d, %v, want %d, ok %v", tc.text, got, err, tc.want, tc.ok)
		}
	}
}

func TestPeers(t *testing.T) {
	for text, want := range map[string]string{
		"": "[]", "false": "[]", "0": "[]", "true": "[0.0.0.0/0 ::/0]",
		"10.0.0.0/8": "[10.0.0.0/8]", " 10.1.2.3/8 , ::1,": "[10.0.0.0/8 ::1/128]", "127.0.0.1": "[127.0.0.1/32]",
	} {
		got, err := config.ParsePeers(text)
		if err != nil || fmt.Sprint(got) != want && !(want == "[]" && got == nil) {
			t.Errorf("%q is %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"yes", "10.0.0.0/33", "10.0.0/8", "host", "fe80::1%eth0", "true,10.0.0.0/8"} {
		if got, err := config.ParsePeers(text); err == nil {
			t.Errorf("%q is taken as %v", text, got)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	s := config.Default()
	s.AdminKey = "hunter2"
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, s); strings.Contains(text, "hunter2") {
			t.Errorf("%s shows the secret: %s", verb, text)
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	got := config.UnknownVariables([]string{"AGIQA_REDIS_ULR=x", "AGIQA_REDIS_URL=y", "AGIQA_CONFIG=z", "HOME=/"})
	if diff := cmp.Diff([]string{"AGIQA_REDIS_ULR"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestSettingsAreDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range config.All() {
		if s.Key == "" || s.Group == "" || !strings.HasSuffix(s.Help, ".") {
			t.Errorf("setting %+v lacks a key, a group or a sentence of help", s)
		}
		if seen[s.Key] {
			t.Errorf("setting %s appears twice", s.Key)
		}
		seen[s.Key] = true
	}
	if config.EnvName("max-image-bytes") != "AGIQA_MAX_IMAGE_BYTES" {
		t.Errorf("EnvName = %s", config.EnvName("max-image-bytes"))
	}
	if d := config.Default().RequestTimeout; d != 30*time.Second {
		t.Errorf("request-timeout = %s", d)
	}
}

func TestReferencePageIsCurrent(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatalf("%v (write it with: make generate)", err)
	}
	if diff := cmp.Diff(config.Reference(), string(page)); diff != "" {
		t.Errorf("docs/configuration.md is not what `agiqa config reference` prints; run make generate (-want +got):\n%s", diff)
	}
}
