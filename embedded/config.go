package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// Config configures a server. Start from [DefaultConfig].
type Config struct {
	// Venv is the Python environment that venv.sh created.
	Venv string
	// ModelRepositories are the folders of Triton models. A model may be in
	// one of them only. At least one is needed.
	ModelRepositories []string
	// LaterRepositories are further folders of models, which must exist. Their
	// models aren't loaded at start but when a client requests it. Models that
	// may be removed while the server runs belong here, since a start fails if a
	// model to load is missing.
	LaterRepositories []string
	// Models are loaded at start, in the order of their dependencies. Nil: all
	// that have a configs/<ConfigName>.pbtxt.
	Models []string
	// ConfigName picks configs/<ConfigName>.pbtxt in each model's folder.
	ConfigName string

	// RunDir holds a folder for each running server, removed when it ends.
	// Where Triton can't work in it because of the characters or the length of
	// its path, the folder is in XDG_RUNTIME_DIR of Env or in /tmp.
	RunDir string
	// LogFile receives the output of the server. Start renames an existing file
	// to LogFile + ".1".
	LogFile string
	// LogMaxBytes bounds LogFile. A full file is renamed to LogFile + ".1", so
	// the logs take up to twice as much disk.
	LogMaxBytes int64

	// ShmBytes is the initial size of each model instance's shared memory, in
	// bytes. It grows as needed.
	ShmBytes int64

	// OTLPTracesURL is where the server sends its spans as OTLP/HTTP, path
	// included (http://127.0.0.1:4318/v1/traces). Empty: no tracing. Only
	// requests that carry a traceparent are traced.
	OTLPTracesURL string
	// TraceResource are resource attributes of those spans; service.name is
	// "triton" unless given.
	TraceResource map[string]string

	// Env is the environment of the server, in the form of os.Environ. AGIQA_*
	// are left out: some hold secrets.
	Env []string

	// StartTimeout bounds the time until the server is ready, each time.
	StartTimeout time.Duration
	// StopGrace is the time between SIGTERM and SIGKILL.
	StopGrace time.Duration
	// Restart limits how often and how fast a server that died is restarted.
	Restart RestartPolicy

	// Logger logs every change of state. Nil: no logs.
	Logger *slog.Logger
	// OnState is called for every change of state, one call at a time, from a
	// goroutine that waits for it: it must not block. May be nil.
	OnState func(State)
}

// DefaultConfig returns a Config that lacks only the model repositories and
// the environment.
func DefaultConfig() Config {
	return Config{
		Venv:         ".venv",
		ConfigName:   "embedded",
		RunDir:       ".agiqa/triton",
		LogFile:      ".agiqa/triton.log",
		LogMaxBytes:  16 << 20,
		ShmBytes:     1 << 20,
		StartTimeout: time.Minute,
		StopGrace:    10 * time.Second,
		Restart: RestartPolicy{
			Initial: 100 * time.Millisecond,
			Max:     10 * time.Second,
			Limit:   8,
			Window:  2 * time.Minute,
		},
	}
}

// modelName is what Triton accepts as the name of a folder of its own.
var modelName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// Validate reports every fault at once, each with the name of its field.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, f := range []struct{ name, value string }{
		{"Venv", c.Venv}, {"ConfigName", c.ConfigName}, {"RunDir", c.RunDir}, {"LogFile", c.LogFile},
	} {
		if f.value == "" {
			fault("%s is empty", f.name)
		}
	}
	if c.ConfigName != "" && !modelName.MatchString(c.ConfigName) {
		fault("ConfigName %q is not a file name", c.ConfigName)
	}
	if len(c.ModelRepositories) == 0 {
		fault("ModelRepositories is empty")
	}
	for _, m := range c.Models {
		if !modelName.MatchString(m) {
			fault("Models: %q is not the name of a model", m)
		}
	}
	if c.LogMaxBytes < 64<<10 {
		fault("LogMaxBytes is %d, want at least 65536", c.LogMaxBytes)
	}
	if c.ShmBytes < 64<<10 {
		fault("ShmBytes is %d, want at least 65536", c.ShmBytes)
	}
	if c.OTLPTracesURL != "" {
		if u, err := url.Parse(c.OTLPTracesURL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			fault("OTLPTracesURL %q is not an http or https URL", c.OTLPTracesURL)
		}
	}
	if c.StartTimeout <= 0 {
		fault("StartTimeout is %v, want more than 0", c.StartTimeout)
	}
	if c.StopGrace <= 0 {
		fault("StopGrace is %v, want more than 0", c.StopGrace)
	}
	return errors.Join(append(faults, c.Restart.validate()...)...)
}

// absolute returns c with absolute paths: the server may run in another folder.
func (c Config) absolute() (Config, error) {
	c.ModelRepositories = slices.Clone(c.ModelRepositories)
	c.LaterRepositories = slices.Clone(c.LaterRepositories)
	paths := []*string{&c.Venv, &c.RunDir, &c.LogFile}
	for i := range c.ModelRepositories {
		paths = append(paths, &c.ModelRepositories[i])
	}
	for i := range c.LaterRepositories {
		paths = append(paths, &c.LaterRepositories[i])
	}
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return c, err
		}
		*p = abs
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
