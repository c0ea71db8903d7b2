package desired

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// LeaseTime is how long a lease lasts that is not renewed.
const LeaseTime = 15 * time.Second

// MaxBundleBytes bounds a bundle in a store.
const MaxBundleBytes = 1 << 28

// State is the document of a store at one revision.
type State struct {
	// Store is the identity of the store, made with its first document; "" before.
	Store string
	// Revision counts changes; 0: nobody has changed anything.
	Revision int64
	Document
}

// Document is what gateways should serve.
type Document struct {
	// Default is the name of the checkpoint that scores when a request names none,
	// imported or shipped; "": nobody chose, and each gateway's own settings count.
	Default string `json:"default,omitempty"`
	// Previous is what a rollback goes to; "" for nothing.
	Previous string `json:"previous,omitempty"`
	// Checkpoints are the imported ones, in order of name.
	Checkpoints []Checkpoint `json:"checkpoints"`
	// Encoder is what gateways use as soon as a server holds it; zero: nobody chose,
	// and they stay with the one in use for as long as any server holds that.
	Encoder Encoder `json:"encoder,omitzero"`
	// more is what a newer program wrote and this one doesn't know: a change by this
	// one leaves it as it is.
	more map[string]json.RawMessage
}

// Encoder identifies an image encoder.
type Encoder struct {
	Digest    quality.Digest `json:"digest"`              // of the weights
	Precision string         `json:"precision,omitempty"` // see [quality.Encoder]
}

// EncoderOf returns what identifies e.
func EncoderOf(e quality.Encoder) Encoder { return Encoder{e.Digest, e.Precision} }

// Checkpoint is an imported checkpoint.
type Checkpoint struct {
	Name   string         `json:"name"`
	Digest quality.Digest `json:"digest"` // of the checkpoint
	Bundle quality.Digest `json:"bundle"` // address of the bundle
}

// Bundle is the two files of a bundle.
type Bundle struct{ Manifest, Weights []byte }

// Address is the SHA-256 of both files, each after its length.
func (b Bundle) Address() quality.Digest {
	h := sha256.New()
	for _, part := range [][]byte{b.Manifest, b.Weights} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return quality.Digest(h.Sum(nil))
}

// Find returns the imported checkpoint of that name.
func (d Document) Find(name string) (Checkpoint, bool) {
	i := slices.IndexFunc(d.Checkpoints, func(c Checkpoint) bool { return c.Name == name })
	if i < 0 {
		return Checkpoint{}, false
	}
	return d.Checkpoints[i], true
}

// Has reports whether the checkpoint with that content was imported.
func (d Document) Has(digest quality.Digest) bool {
	return slices.ContainsFunc(d.Checkpoints, func(c Checkpoint) bool { return c.Digest == digest })
}

// With returns the document that has c besides.
func (d Document) With(c Checkpoint) Document {
	d.Checkpoints = append(slices.Clone(d.Checkpoints), c)
	slices.SortFunc(d.Checkpoints, func(a, b Checkpoint) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return d
}

// Without returns the document that lacks the checkpoint of that name.
func (d Document) Without(name string) Document {
	d.Checkpoints = slices.DeleteFunc(slices.Clone(d.Checkpoints), func(c Checkpoint) bool { return c.Name == name })
	if d.Previous == name {
		d.Previous = ""
	}
	return d
}

// Encode returns the document as a store keeps it. Equal documents are equal
// bytes.
func (d Document) Encode() ([]byte, error) {
	raw, err := json.Marshal(d)
	if err != nil || len(d.more) == 0 {
		return raw, err
	}
	all := maps.Clone(d.more)
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// Decode reads what Encode wrote, by this program or by a newer one.
func Decode(raw []byte) (d Document, err error) {
	if err = json.Unmarshal(raw, &d); err == nil {
		err = json.Unmarshal(raw, &d.more)
	}
	if err != nil {
		return Document{}, fmt.Errorf("the desired state is damaged: %w", err)
	}
	for _, known := range []string{"default", "previous", "checkpoints", "encoder"} {
		delete(d.more, known)
	}
	if len(d.more) == 0 {
		d.more = nil
	}
	return d, nil
}

// Fingerprint tells documents apart.
func (d Document) Fingerprint() quality.Digest {
	raw, err := d.Encode()
	if err != nil {
		return quality.Digest{} // impossible: names and digests
	}
	return quality.DigestOf(raw)
}

// Store keeps the desired state. It is safe for concurrent use. Errors are
// *[quality.Error]: store_unavailable where the store can't be reached, besides
// those that each method names.
type Store interface {
	// Shared reports whether other gateways may use the store. One that no other
	// gateway uses needs no leases: Hold, Lock and Unlock do nothing, and Changes
	// never tells.
	Shared() bool
	// Desired returns the state of this moment.
	Desired(ctx context.Context) (State, error)
	// Replace replaces the document of revision was and keeps the bundles that are
	// added. Bundles that the document doesn't name are deleted. conflict where the
	// revision is another one; nothing has changed then.
	Replace(ctx context.Context, was int64, d Document, add ...Bundle) (State, error)
	// Bundle returns the bundle of an address, or not_found.
	Bundle(ctx context.Context, address quality.Digest) (Bundle, error)
	// Hold makes heads those that holder uses, until LeaseTime from now, and renews
	// its other leases. With a revision of 0 or more, conflict where the store has
	// another one; nothing has changed then.
	Hold(ctx context.Context, holder string, revision int64, heads []quality.Digest) error
	// Holders returns who uses a head.
	Holders(ctx context.Context, head quality.Digest) ([]string, error)
	// Lock takes the exclusive lease of that name, unless another holder has it.
	Lock(ctx context.Context, holder, name string) (bool, error)
	// Unlock gives it back.
	Unlock(ctx context.Context, holder, name string) error
	// Leave gives up everything that holder has.
	Leave(ctx context.Context, holder string) error
	// Changes tells, soon after a change, that Desired returns something new. It may
	// tell too often, and may miss changes while the store is away. It ends with ctx.
	Changes(ctx context.Context) <-chan struct{}
}

// ErrMoved returns the conflict of a store that has another revision.
func ErrMoved(now, was int64) error {
	return quality.Errorf(quality.KindConflict,
		"somebody else changed the checkpoints at the same moment (revision %d, not %d); look and try again", now, was)
}

// NoBundle returns the error of an address that is unknown.
func NoBundle(address quality.Digest) error {
	return quality.Errorf(quality.KindNotFound, "the store has no bundle %s", address)
}
