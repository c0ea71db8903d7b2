package load

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"sync/atomic"
)

// Payload is what differs from request to request.
type Payload struct {
	Query       []byte // without ? or &; empty: none
	Header      []byte // whole lines, each with its line end
	ContentType string
	Body        [][]byte // pieces, sent one after another

	scratch []byte
}

func (p *Payload) reset() {
	p.Query, p.Header, p.Body, p.scratch = p.Query[:0], p.Header[:0], p.Body[:0], p.scratch[:0]
}

// Workload makes payloads.
type Workload interface {
	// Fill makes the n-th payload. It depends on n alone, but for bytes that
	// have to be unique, and is called from many goroutines.
	Fill(n int, p *Payload)
}

// Fixed sends the same every time.
type Fixed struct {
	ContentType string
	Body        []byte
}

// Fill implements [Workload].
func (f Fixed) Fill(_ int, p *Payload) {
	p.ContentType = f.ContentType
	if len(f.Body) > 0 {
		p.Body = append(p.Body, f.Body)
	}
}

// Picture is an image file.
type Picture struct {
	Name string
	Data []byte
}

// Form is how a picture travels.
type Form string

// The forms.
const (
	Raw       Form = "raw"       // the body is the file
	Multipart Form = "multipart" // a form with one part named image
	JSON      Form = "json"      // {"images":[{"data":BASE64}]}
)

// Pick says which of several comes next.
type Pick string

// The picks.
const (
	InTurn  Pick = "round-robin"
	Uniform Pick = "uniform"
	Zipf    Pick = "zipf" // few are asked for often, most seldom
)

// PicturesConfig describes requests that carry pictures.
type PicturesConfig struct {
	Pictures []Picture
	Pick     Pick
	ZipfS    float64 // exponent: the k-th picture is asked for in proportion to k^-s
	Form     Form
	// Unique makes every file another one to whoever looks at its bytes, by
	// what follows the end of the image: the pixels stay the same. No two
	// requests share a file, of this run or another, with the same seed or not:
	// caches outlive runs.
	Unique bool

	Checkpoints    []string // named in the query; empty: none is
	CheckpointPick Pick     // InTurn or Uniform

	Units      int    // experiment units; 0: none
	UnitHeader string // header that carries the unit

	Seed uint64
}

// Pictures is the [Workload] of a scoring route.
type Pictures struct {
	cfg         PicturesConfig
	weights     []float64 // Zipf: shares summed up
	checkpoints [][]byte
	encoded     [][]byte // JSON: base64 of each picture, up to its tail
	tails       [][]byte // JSON: the rest, so that more can follow
	nonce       uint64
	filled      atomic.Uint64 // unique files so far
}

// boundary is a multipart boundary: it need not be secret, only unlikely.
const boundary = "agiqa-bench-7MA4YWxkTrZu0gW"

// NewPictures checks a configuration.
func NewPictures(cfg PicturesConfig) (*Pictures, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(cfg.Pictures) == 0 {
		fault("no pictures to send")
	}
	if !slices.Contains([]Pick{InTurn, Uniform, Zipf}, cfg.Pick) {
		fault("pick: %q, must be %s, %s or %s", cfg.Pick, InTurn, Uniform, Zipf)
	}
	if cfg.Pick == Zipf && !(cfg.ZipfS > 0 && cfg.ZipfS <= 10) {
		fault("zipf: %g, must be above 0 and at most 10", cfg.ZipfS)
	}
	if !slices.Contains([]Form{Raw, Multipart, JSON}, cfg.Form) {
		fault("form: %q, must be %s, %s or %s", cfg.Form, Raw, Multipart, JSON)
	}
	if cfg.CheckpointPick != InTurn && cfg.CheckpointPick != Uniform {
		fault("checkpoint-pick: %q, must be %s or %s", cfg.CheckpointPick, InTurn, Uniform)
	}
	if cfg.Units < 0 {
		fault("units: %d, must not be negative", cfg.Units)
	}
	if cfg.Units > 0 {
		if err := checkHeader(cfg.UnitHeader, "0"); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	w := &Pictures{cfg: cfg, nonce: rand.Uint64()}
	for _, name := range cfg.Checkpoints {
		w.checkpoints = append(w.checkpoints, []byte("checkpoint="+url.QueryEscape(name)))
	}
	sum := 0.0
	for k, p := range cfg.Pictures {
		sum += math.Pow(float64(k+1), -cfg.ZipfS)
		w.weights = append(w.weights, sum)
		if cfg.Form == JSON {
			whole := len(p.Data) / 3 * 3
			w.encoded = append(w.encoded, base64.StdEncoding.AppendEncode(nil, p.Data[:whole]))
			w.tails = append(w.tails, p.Data[whole:])
		}
	}
	return w, nil
}

// Fill implements [Workload].
func (w *Pictures) Fill(n int, p *Payload) {
	i := w.pick(n)
	if len(w.checkpoints) > 0 {
		k := n % len(w.checkpoints)
		if w.cfg.CheckpointPick == Uniform {
			k = int(w.random(n, 2) % uint64(len(w.checkpoints)))
		}
		p.Query = append(p.Query, w.checkpoints[k]...)
	}
	if w.cfg.Units > 0 {
		p.Header = append(append(p.Header, w.cfg.UnitHeader...), ": unit-"...)
		p.Header = strconv.AppendUint(p.Header, w.random(n, 3)%uint64(w.cfg.Units), 10)
		p.Header = append(p.Header, "\r\n"...)
	}
	switch w.cfg.Form {
	case Raw:
		p.ContentType = "application/octet-stream"
		p.Body = append(p.Body, w.cfg.Pictures[i].Data)
		if w.cfg.Unique {
			p.scratch = w.tag(p.scratch)
			p.Body = append(p.Body, p.scratch)
		}
	case Multipart:
		p.ContentType = "multipart/form-data; boundary=" + boundary
		p.Body = append(p.Body, multipartHead, w.cfg.Pictures[i].Data)
		if w.cfg.Unique {
			p.scratch = w.tag(p.scratch)
			p.Body = append(p.Body, p.scratch)
		}
		p.Body = append(p.Body, multipartTail)
	case JSON:
		p.ContentType = "application/json"
		var rest [32]byte
		tail := append(rest[:0], w.tails[i]...)
		if w.cfg.Unique {
			tail = w.tag(tail)
		}
		p.scratch = base64.StdEncoding.AppendEncode(p.scratch, tail)
		p.Body = append(p.Body, jsonHead, w.encoded[i], p.scratch, jsonTail)
	}
}

var (
	multipartHead = []byte("--" + boundary +
		"\r\nContent-Disposition: form-data; name=\"image\"; filename=\"image\"\r\nContent-Type: " +
		"application/octet-stream\r\n\r\n")
	multipartTail = []byte("\r\n--" + boundary + "--\r\n")
	jsonHead      = []byte(`{"images":[{"data":"`)
	jsonTail      = []byte(`"}]}`)
)

// tag appends sixteen bytes that no other request has.
func (w *Pictures) tag(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, w.nonce), w.filled.Add(1))
}

func (w *Pictures) pick(n int) int {
	count := len(w.cfg.Pictures)
	switch w.cfg.Pick {
	case Uniform:
		return int(w.random(n, 1) % uint64(count))
	case Zipf:
		u := float64(w.random(n, 1)>>11) / (1 << 53) * w.weights[count-1]
		return min(sort.SearchFloat64s(w.weights, u), count-1)
	}
	return n % count
}

// random is a number for each request and purpose: splitmix64 over them.
func (w *Pictures) random(n int, purpose uint64) uint64 {
	z := w.cfg.Seed + purpose*0xD1342543DE82EF95 + (uint64(n)+1)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
