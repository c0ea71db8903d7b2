package preprocess

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

//go:embed pillow_child.py
var childScript string

// Pillow is a Python process with Pillow and NumPy.
type Pillow struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	out      *bufio.Reader
	stderr   *tail
	Versions map[string]string // of Pillow, NumPy, Python and the libraries in them
}

// StartPillow starts python, which must have Pillow and NumPy, on the given
// processor; a negative one is any. ctx bounds its life; Close ends it.
func StartPillow(ctx context.Context, python string, processor int) (*Pillow, error) {
	cmd := exec.CommandContext(ctx, python, "-c", childScript)
	p := &Pillow{cmd: cmd, stderr: &tail{}}
	cmd.Stderr = p.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.out = in, bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", python, err)
	}
	if err := p.introduce(processor); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Pillow) introduce(processor int) error {
	if _, err := p.ask(request{Op: "versions"}, nil, &p.Versions); err != nil {
		return err
	}
	if processor < 0 {
		return nil
	}
	_, err := p.ask(request{Op: "pin", CPU: processor}, nil, nil)
	return err
}

// Close ends the process and waits for it.
func (p *Pillow) Close() error {
	if err := p.in.Close(); err != nil {
		return err
	}
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("python: %w%s", err, p.stderr.text())
	}
	return nil
}

// Name implements [Contestant].
func (p *Pillow) Name() string { return "pillow" }

// Does implements [Contestant].
func (p *Pillow) Does(Step, string) bool { return true }

// Exact implements [Contestant].
func (p *Pillow) Exact() bool { return true }

// Load implements [Contestant].
func (p *Pillow) Load(_ context.Context, data []byte) (Digest, error) {
	var reply struct{ SHA256 string }
	if _, err := p.ask(request{Op: "load"}, data, &reply); err != nil {
		return Digest{}, err
	}
	var d Digest
	if n, err := hex.Decode(d[:], []byte(reply.SHA256)); err != nil || n != len(d) {
		return Digest{}, fmt.Errorf("digest %q of the result", reply.SHA256)
	}
	return d, nil
}

// Time implements [Contestant]. The clocks are read in the process itself.
func (p *Pillow) Time(_ context.Context, step Step) (Cost, error) {
	var reply struct {
		WallNS int64 `json:"wall_ns"`
		CPUNS  int64 `json:"cpu_ns"`
	}
	_, err := p.ask(request{Op: "time", Step: step}, nil, &reply)
	return Cost{Wall: time.Duration(reply.WallNS), CPU: time.Duration(reply.CPUNS)}, err
}

// Encode writes an image file's picture in one of Pillow's formats.
func (p *Pillow) Encode(file []byte, format string, options map[string]any) ([]byte, error) {
	return p.ask(request{Op: "encode", Format: format, Options: options}, file, nil)
}

// Converted is what Pillow makes of a file.
type Converted struct {
	Width, Height int
	RGB           []byte // convert("RGB") at full size
	Out           []byte // the 224x224 pixels; nil where the resize before the crop would be vast
}

// Convert decodes a PNG, JPEG, WebP or GIF and prepares it. The error is a
// [*Refusal] where Pillow does not decode it.
func (p *Pillow) Convert(file []byte) (Converted, error) {
	var reply struct{ Width, Height int }
	data, err := p.ask(request{Op: "convert"}, file, &reply)
	if err != nil {
		return Converted{}, err
	}
	n := 3 * reply.Width * reply.Height
	if len(data) < n {
		return Converted{}, fmt.Errorf("pillow: %d bytes of an image of %d x %d pixels", len(data), reply.Width, reply.Height)
	}
	c := Converted{Width: reply.Width, Height: reply.Height, RGB: data[:n]}
	if len(data) > n {
		c.Out = data[n:]
	}
	return c, nil
}

// Refusal is an exception of Pillow's.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return "pillow: " + r.Reason }

type request struct {
	Op      string         `json:"op"`
	Bytes   int            `json:"bytes,omitempty"`
	CPU     int            `json:"cpu"`
	Step    Step           `json:"step,omitempty"`
	Format  string         `json:"format,omitempty"`
	Options map[string]any `json:"options"`
}

// ask sends one request and reads its answer into reply, unless that is nil,
// and the data behind it.
func (p *Pillow) ask(r request, data []byte, reply any) ([]byte, error) {
	r.Bytes = len(data)
	line, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if _, err := p.in.Write(append(append(line, '\n'), data...)); err != nil {
		return nil, fmt.Errorf("writing to python: %w%s", err, p.stderr.text())
	}
	answer, err := p.out.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("python gave no answer (does it have pillow and numpy?): %w%s", err, p.stderr.text())
	}
	var common struct {
		Error string
		Bytes int
	}
	if err := json.Unmarshal(answer, &common); err != nil {
		return nil, fmt.Errorf("python's answer: %w", err)
	}
	if common.Error != "" {
		return nil, &Refusal{common.Error}
	}
	if reply != nil {
		if err := json.Unmarshal(without(answer, "bytes"), reply); err != nil {
			return nil, fmt.Errorf("python's answer: %w", err)
		}
	}
	out := make([]byte, common.Bytes)
	_, err = io.ReadFull(p.out, out)
	return out, err
}

// without removes one member of a JSON object.
func without(object []byte, member string) []byte {
	var m map[string]json.RawMessage
	if json.Unmarshal(object, &m) != nil {
		return object
	}
	delete(m, member)
	b, err := json.Marshal(m)
	if err != nil {
		return object
	}
	return b
}

// tail keeps the last of what the process complains about.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const most = 2000
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-most):]
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.b) == 0 {
		return ""
	}
	return "\n" + string(t.b)
}
