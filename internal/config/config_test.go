package config_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/agiqa/agiqa/internal/config"
)

func TestDefaultsAreValid(t *testing.T) {
	if _, err := config.Load(config.Sources{}); err != nil {
		t.Fatal(err)
	}
}

func TestPrecedence(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(flags, "HTTP", "Images", "Scoring")
	if err := flags.Parse([]string{"--listen=127.0.0.1:1", "--trust-traces", "--trusted-proxies", "10.0.0.0/8"}); err != nil {
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
	want.TrustedProxies = config.Networks{netip.MustParsePrefix("10.0.0.0/8")}
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
		"setting request-timeout (--request-timeout, AGIQA_REQUEST_TIMEOUT; from AGIQA_REQUEST_TIMEOUT): ",
		"setting max-images (--max-images, AGIQA_MAX_IMAGES; from AGIQA_MAX_IMAGES): must be at least 1, is -1",
		`must be debug, info, warn or error, is "loud"`, "is not a URL with scheme redis, rediss or unix",
		`from AGIQA_MAX_IMAGE_BYTES): "9e9"`, `"nonsense" is neither host:port nor unix:///PATH`,
		"trace-ratio", "trace-queue", "from AGIQA_TRUST_TRACES", "request-timeout",
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

// TestSettingsFileIsReadStrictly: what isn't understood is refused with the line
// and, where it is close, the name that was meant.
func TestSettingsFileIsReadStrictly(t *testing.T) {
	for text, want := range map[string]string{
		"queue: 1\nqueue: 2\n":        `line 2: mapping key "queue" already defined at line 1`,
		"Queue: 1\n":                  `agiqa.yaml:1: unknown setting "Queue"; did you mean queue?`,
		"max-images: 1\n":             `agiqa.yaml:1: unknown setting "max-images"; did you mean max_images?`,
		"queue: 1\n---\nqueue: 2\n":   "agiqa.yaml: something follows the first document",
		"queue: 1\n...\nqueue: 2\n":   "agiqa.yaml: something follows",
		"listen: \xff\n":              "agiqa.yaml: the file is not UTF-8",
		"\xff\xfeq\x00:\x00":          "agiqa.yaml: the file is not UTF-8",
		"cors_origins: [{a: b}, x]\n": `agiqa.yaml:1: setting "cors_origins" must be a value or a list`,
		"queue: 1\n...\n":             "",
		"---\nqueue: 1\n":             "",
		"# nothing\n":                 "",
	} {
		_, err := config.Load(config.Sources{File: []byte(text), FileName: "agiqa.yaml"})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestBytes(t *testing.T) {
	for _, tc := range []struct {
		text string
		want config.Bytes
		ok   bool
	}{
		{"0", 0, true}, {"17", 17, true}, {"20MiB", 20 << 20, true}, {"2 kB", 2000, true}, {"1GiB", 1 << 30, true},
		{"5B", 5, true}, {"", 0, false}, {"-1", 0, false}, {"1.5MiB", 0, false}, {"MiB", 0, false},
		{"9223372036854775807KiB", 0, false},
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

func TestNetworks(t *testing.T) {
	got, err := config.ParseNetworks(" 10.1.2.3/8 , ::1,")
	if err != nil || fmt.Sprint(got) != "[10.0.0.0/8 ::1/128]" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := config.ParseNetworks(""); err != nil || len(got) != 0 {
		t.Errorf("nothing is %v, %v", got, err)
	}
	for _, text := range []string{"true", "false", "10.0.0.0/33", "host", "fe80::1%eth0", "10.0.0.0/8;10.1.1.1"} {
		if got, err := config.ParseNetworks(text); err == nil {
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
		t.Errorf("docs/configuration.md is out of date; run make generate (-want +got):\n%s", diff)
	}
}

// load reads one setting's text from its variable, and then from its flag.
func load(t *testing.T, key, text string) (config.Settings, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(flags,
		"HTTP", "Images", "Scoring", "Triton", "Checkpoints", "Experiments", "Cache", "Telemetry", "Program")
	if err := flags.Set(key, text); err != nil {
		t.Fatal(err)
	}
	byFlag, flagErr := config.Load(config.Sources{Flags: flags})
	byEnv, envErr := config.Load(config.Sources{Environ: []string{config.EnvName(key) + "=" + text}})
	if (flagErr == nil) != (envErr == nil) {
		t.Errorf("%s=%q: the flag gives %v, the variable %v", key, text, flagErr, envErr)
	}
	if diff := cmp.Diff(byFlag, byEnv, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("%s=%q: the flag and the variable differ:\n%s", key, text, diff)
	}
	return byEnv, envErr
}

func TestBounds(t *testing.T) {
	for key, texts := range map[string]struct{ good, bad string }{
		"listen": {":0 [::1]:80", "x :x:y"}, "request-timeout": {"25ms", "24ms 0s -1s x"},
		"drain-delay": {"0s", "-1ns"}, "drain-timeout": {"1s", "999ms"}, "max-connections": {"1", "0"},
		"max-body-bytes": {"1", "0 -1"}, "max-images": {"1", "0 1.5 x"}, "max-body-memory": {"1", "0"},
		"memory-watermark": {"0 1 0.5", "-0.1 1.1 NaN"}, "rate-limit": {"0 0.5", "-1 NaN Inf"},
		"rate-limit-burst": {"1", "0"}, "rate-limit-keys": {"1", "0"},
		"max-image-bytes": {"1", "0"}, "max-image-pixels": {"1 1099511627776", "0 1099511627777"},
		"max-image-scans": {"1", "0"}, "decoders": {"auto go", "Go"}, "preprocess": {"exact fast", "slow"},
		"decode-memory": {"1", "0"}, "concurrency": {"0", "-1"}, "queue": {"0", "-1"}, "queue-wait": {"0s", "-1s"},
		"batching": {"auto gateway triton", "on"}, "batch-max": {"2", "1"}, "batch-wait": {"1ns", "0s"},
		"triton": {
			"a:1 a:1,b:2 [::1]:8001 unix:///run/grpc:1,a:1",
			"a :1 a:0 a:65536 a:http a:1,a:1 http://a:8000 unix://run/grpc unix:/run/grpc unix://",
		},
		"triton-control-key": {"0123456789abcde=", "0123456789abcde 0123456789abcdeé"},
		"triton-connections": {"1 64", "0 65"},
		"model-upload":       {"auto shared upload", "x"}, "max-bundle-bytes": {"1", "0"}, "change-timeout": {"1ns", "0s"},
		"golden-tolerance": {"1e-9", "0 Inf NaN"}, "experiment-key": {"0123456789abcdef", "0123456789abcde"},
		"cache-key": {"0123456789abcdef", "0123456789abcde"}, "cache-key-previous": {"0123456789abcdef", "0123456789abcde"},
		"experiment-store": {
			"none a.db /a/b.db postgres://u:p@h/d?password=a@b postgresql:///d?host=/run postgres://h/d", "mysql://h/d",
		},
		"redis-url": {
			"redis://h redis://:p%40@h:1/2 rediss://u:p@h unix:///run/redis.sock redis://h?skip_verify=true",
			"http://h h:6379 redis:// redis://h/0#x",
		},
		"text-ttl": {"1ns", "0s"}, "image-ttl": {"1ns", "0s"}, "image-redis-ttl": {"1ns", "0s"},
		"image-cache-bytes": {"0 256KiB", "1 -1 255KiB"}, "trace-ratio": {"1 0.0001", "0 1.1 NaN"},
		"trace-queue": {"2048", "2047"}, "trace-bytes": {"1MiB", "1048575"},
		"log-level": {"debug info warn error", "INFO"}, "log-format": {"auto json text", "xml"},
		"operations-listen": {"127.0.0.1:0", "x"}, "min-body-rate": {"0 8KiB", "-1 x"}, "url": {"http://h https://h:1", "h:1 ftp://h"},
		"otlp-endpoint": {
			"http://h https://h:4318/otlp", "h:4318 grpc://h http://u:p@h http://h/v1/metrics http://h?x=1",
		},
		"admin-key": {"0123456789abc-~!", "0123456789abcde ä0123456789abcdef 0123456789abcdeé~ " + strings.Repeat("x", 257)},
		"allowed-hosts": {
			"* api.example API.example.:8443,localhost 10.0.0.1:1 [::1] [fe80::1]:80",
			"http://a a/b a:http *.example u@a ::1 a:1:2 :80 a?x",
		},
		"cors-origins": {
			"* https://app.example https://a.example,http://localhost:3000 https://app.example/ HTTP://[::1]:80",
			"app.example https://*.example *,https://a ftp://a https://a/b https://u@a https://a?x=1 null https://",
		},
	} {
		for text := range strings.FieldsSeq(texts.good) {
			if _, err := load(t, key, text); err != nil {
				t.Errorf("%s=%s is refused: %v", key, text, err)
			}
		}
		for text := range strings.FieldsSeq(texts.bad) {
			_, err := load(t, key, text)
			if f, ok := errors.AsType[*config.Fault](err); !ok || f.Key != key {
				t.Errorf("%s=%s: %v", key, text, err)
			}
		}
	}
}

// TestEveryBoundIsEnforced: a setting whose reference shows bounds refuses a
// text that no bound allows.
func TestEveryBoundIsEnforced(t *testing.T) {
	for _, s := range config.All() {
		if s.Bounds == "" {
			continue
		}
		text := "no \u2028bounds"
		switch s.Key {
		case "experiment-key", "cache-key", "cache-key-previous":
			text = "short"
		case "experiment-store":
			text = "x://"
		}
		if _, err := load(t, s.Key, text); err == nil {
			t.Errorf("%s shows the bounds %q and takes %q", s.Key, s.Bounds, text)
		}
	}
}

// TestWhiteSpace: secrets often come from files that end in a newline.
func TestWhiteSpace(t *testing.T) {
	for _, around := range []string{"%s\n", "%s\r\n", " %s\t"} {
		for key, text := range map[string]string{
			"admin-key": "0123456789abcdef", "redis-url": "redis://:pw@h", "experiment-key": "0123456789abcdef",
			"cache-key":        "0123456789abcdef",
			"experiment-store": "postgres://u:pw@h/d", "max-images": "7", "url": "http://h", "otlp-endpoint": "http://h",
		} {
			clean, err := load(t, key, text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := load(t, key, fmt.Sprintf(around, text))
			if err != nil {
				t.Errorf("%s=%q: %v", key, fmt.Sprintf(around, text), err)
			}
			if diff := cmp.Diff(clean, got); diff != "" {
				t.Errorf("%s=%q is not trimmed:\n%s", key, fmt.Sprintf(around, text), diff)
			}
		}
	}
	for _, key := range []string{"admin-key", "redis-url", "experiment-key", "cache-key",
		"experiment-store", "data-dir", "venv"} {
		const text = "redis://0123456789abcdef\nhunter2"
		if _, err := load(t, key, text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s with a line end within: %v", key, err)
		}
	}
	if _, err := load(t, "admin-key", "two words of a key"); err == nil {
		t.Error("an admin key with a space, which no Authorization header can carry, is accepted")
	}
}

// TestEmptyIsNotSet: an empty variable, and a key of the file without a value,
// leave what is weaker in place.
func TestEmptyIsNotSet(t *testing.T) {
	var environ []string
	var file strings.Builder
	for _, s := range config.All() {
		environ = append(environ, config.EnvName(s.Key)+"=", "OTEL_EXPORTER_OTLP_ENDPOINT= ")
		fmt.Fprintf(&file, "%s:\n", config.FileKey(s.Key))
	}
	same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	for name, src := range map[string]config.Sources{
		"variables": {Environ: environ}, "file": {File: []byte(file.String()), FileName: "f"},
	} {
		got, err := config.Load(src)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(config.Default(), got, same); diff != "" {
			t.Errorf("%s (-default +got):\n%s", name, diff)
		}
	}
	got, err := config.Load(config.Sources{Environ: []string{"AGIQA_MAX_IMAGES="}, File: []byte("max_images: 5")})
	if err != nil || got.MaxImages != 5 {
		t.Errorf("an empty variable over a file: %d, %v; want the file's 5", got.MaxImages, err)
	}
}

// TestPasswordsInURLs: a password with characters that a URL gives a meaning is
// explained and never shown, wherever the parser sees it.
func TestPasswordsInURLs(t *testing.T) {
	for _, text := range []string{
		"redis://:p@ss/w#rd%1@host", "redis://:s3cr/et@host", "redis://:a@s3cr/et@host", "redis://:s3cr#et@host",
		"redis://:12/s3cret@host", "redis://:s3cr%et@host", "redis://u:s3cr et@host", "redis://:s3cr:et@host/0#x",
	} {
		for key, text := range map[string]string{
			"redis-url": text, "experiment-store": strings.Replace(text, "redis", "postgres", 1),
		} {
			_, err := load(t, key, text)
			if err == nil || !strings.Contains(err.Error(), "percent-encoded") {
				t.Errorf("%s=%s: %v, want a word about percent-encoding", key, text, err)
				continue
			}
			for _, part := range []string{"s3cr", "ss/w", "rd%1", "12/"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%s shows a part of the password: %v", key, err)
				}
			}
		}
	}
}

func TestOTLPEndpoint(t *testing.T) {
	const base, traces = "OTEL_EXPORTER_OTLP_ENDPOINT=", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="
	for _, tc := range []struct {
		name, file string
		environ    []string
		want       string // "!" and a part of the error
	}{
		{name: "nothing"},
		{name: "base", environ: []string{"AGIQA_OTLP_ENDPOINT=http://a:4318/"}, want: "http://a:4318"},
		{name: "traces", environ: []string{"AGIQA_OTLP_ENDPOINT=http://a:4318/v1/traces"}, want: "http://a:4318"},
		{name: "below a path", environ: []string{"AGIQA_OTLP_ENDPOINT=http://a/otlp/v1/traces/"}, want: "http://a/otlp"},
		{name: "metrics", environ: []string{"AGIQA_OTLP_ENDPOINT=http://a/v1/metrics"}, want: "!takes no traces"},
		{name: "standard", environ: []string{base + "http://o:4318"}, want: "http://o:4318"},
		{name: "standard traces", environ: []string{base + "http://o", traces + "http://p/v1/traces"}, want: "http://p"},
		{name: "another path", environ: []string{traces + "http://p/x"},
			want: "!from OTEL_EXPORTER_OTLP_TRACES_ENDPOINT): must end"},
		{name: "bad standard", environ: []string{base + "o:4318"}, want: "!from OTEL_EXPORTER_OTLP_ENDPOINT"},
		{name: "ours first", environ: []string{"AGIQA_OTLP_ENDPOINT=http://a", base + "o:4318", traces + "x"},
			want: "http://a"},
		{name: "the file first", file: "otlp_endpoint: http://f", environ: []string{base + "http://o"}, want: "http://f"},
		{name: "off", environ: []string{base + "http://o", "OTEL_TRACES_EXPORTER=none"}},
		{name: "disabled", environ: []string{base + "http://o", "OTEL_SDK_DISABLED=true"}},
		{name: "gRPC", environ: []string{base + "http://o:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
			want: "!http/protobuf"},
		{name: "HTTP traces", environ: []string{base + "http://o", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
			"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"}, want: "http://o"},
		{name: "ours and gRPC", environ: []string{"AGIQA_OTLP_ENDPOINT=http://a", base + "http://o",
			"OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, want: "http://a"},
	} {
		got, err := config.Load(config.Sources{Environ: tc.environ, File: []byte(tc.file), FileName: "f"})
		if part, bad := strings.CutPrefix(tc.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %v, want %q", tc.name, err, part)
			}
		} else if err != nil || got.OTLPEndpoint != tc.want {
			t.Errorf("%s: %q, %v; want %q", tc.name, got.OTLPEndpoint, err, tc.want)
		}
	}
}

// TestOrigins: they are compared with what browsers send, byte by byte.
func TestOrigins(t *testing.T) {
	got, err := load(t, "cors-origins",
		"https://App.Example/, http://localhost:80,https://a:443,https://b:80,http://[::1]:3000")
	want := []string{"https://app.example", "http://localhost", "https://a", "https://b:80", "http://[::1]:3000"}
	if err != nil || !cmp.Equal(got.CORSOrigins, want) {
		t.Errorf("%v, %v, want %v", got.CORSOrigins, err, want)
	}
}

// TestHostNames: they are compared with the Host header, byte by byte.
func TestHostNames(t *testing.T) {
	got, err := load(t, "allowed-hosts", "API.Example., a:8443, [::1], [FE80::1]:80,*")
	want := []string{"api.example", "a:8443", "::1", "[fe80::1]:80", "*"}
	if err != nil || !cmp.Equal(got.AllowedHosts, want) {
		t.Errorf("%v, %v, want %v", got.AllowedHosts, err, want)
	}
}

// TestEveryFieldIsDeclaredOnce holds the declaration against the fields. The
// setting that names a secret's file has no field of its own.
func TestEveryFieldIsDeclaredOnce(t *testing.T) {
	declared := slices.DeleteFunc(config.All(), func(s config.Setting) bool { return s.FileOf != "" })
	if fields := reflect.TypeFor[config.Settings]().NumField(); fields != len(declared) {
		t.Errorf("%d fields, %d declared settings", fields, len(declared))
	}
}
