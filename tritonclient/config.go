package tritonclient

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// Models names the two encoders on Triton.
type Models struct {
	ImageEncoder string
	TextEncoder  string
}

// label bounds the values of the label model: names of heads are made of digests,
// and there would be more of them with every import.
func (m Models) label(model string) string {
	switch {
	case model == m.ImageEncoder:
		return "image_encoder"
	case model == m.TextEncoder:
		return "text_encoder"
	case strings.HasPrefix(model, "clip_agiqa_"):
		return "ensemble"
	case strings.HasPrefix(model, "prompt_head_"):
		return "head"
	case strings.HasPrefix(model, "prompt_panel_"):
		return "panel"
	}
	return "_other"
}

// Config is what a [Client] needs. Start from [DefaultConfig] and set
// Addresses.
type Config struct {
	replicas.Config // where the servers are, and how they are reached

	// Models names the encoders.
	Models Models

	// RequestTimeout is the budget of an inference whose context has no
	// deadline.
	RequestTimeout time.Duration

	// Margin is the part of a budget that is kept back for the way home:
	// Triton is told to give up this much earlier than the caller does.
	Margin time.Duration

	// MinBudget is the least time worth handing to Triton. An inference with
	// less than Margin + MinBudget left is refused without being sent.
	MinBudget time.Duration

	// StatusTimeout bounds health, metadata, statistics, index and unload calls.
	StatusTimeout time.Duration

	// LoadTimeout bounds the load of one model. A TensorRT engine may have to
	// be built in it.
	LoadTimeout time.Duration

	// MaxBatch caps the items of one request, below what a model allows.
	MaxBatch int
}

// DefaultConfig returns a Config without addresses.
func DefaultConfig() Config {
	return Config{
		Config:         replicas.DefaultConfig(),
		Models:         Models{ImageEncoder: "clip_image_encoder", TextEncoder: "clip_text_encoder"},
		RequestTimeout: 10 * time.Second,
		Margin:         20 * time.Millisecond,
		MinBudget:      5 * time.Millisecond,
		StatusTimeout:  5 * time.Second,
		LoadTimeout:    10 * time.Minute,
		MaxBatch:       64,
	}
}

// Validate reports every fault of the configuration at once, each with the
// name of its field.
func (c Config) Validate() error {
	faults := []error{c.Config.Validate()}
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(c.Models.ImageEncoder != "", "Models.ImageEncoder: empty")
	fault(c.Models.TextEncoder != "", "Models.TextEncoder: empty")
	fault(c.Margin >= 0, "Margin: %v is negative", c.Margin)
	fault(c.MinBudget > 0, "MinBudget: %v, want more than 0", c.MinBudget)
	fault(c.RequestTimeout >= c.Margin+c.MinBudget,
		"RequestTimeout: %v is less than Margin + MinBudget, %v", c.RequestTimeout, c.Margin+c.MinBudget)
	fault(c.StatusTimeout > 0, "StatusTimeout: %v, want more than 0", c.StatusTimeout)
	fault(c.LoadTimeout > 0, "LoadTimeout: %v, want more than 0", c.LoadTimeout)
	fault(c.MaxBatch > 0, "MaxBatch: %d, want at least 1", c.MaxBatch)
	fault(c.MaxMessageBytes >= minMessageBytes,
		"MaxMessageBytes: %d, want at least %d, which one image needs", c.MaxMessageBytes, minMessageBytes)
	return errors.Join(faults...)
}

// messageOverhead is room for everything in a message that is not tensor
// data: names, shapes, parameters and framing come to a few hundred bytes.
const messageOverhead = 16 << 10

const minMessageBytes = quality.PixelsLen + 128<<10 + messageOverhead
