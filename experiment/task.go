package experiment

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// TaskFor is how long a task may be answered.
const TaskFor = 24 * time.Hour

// Task asks a rater for an opinion of an image, or of a pair of images, of which
// nobody was shown a score. Its token is what a label brings back to be blind.
type Task struct {
	Experiment ID
	Phase      int
	Rater      string         // keyed hash in hexadecimal: see [Hasher.Rater]
	Image      quality.Digest // the image, or the first of a pair
	Other      quality.Digest // the second of a pair; zero: there is none
	Expires    time.Time      // in whole seconds
}

// Issued is when the task was made.
func (t Task) Issued() time.Time { return t.Expires.Add(-TaskFor) }

// Kind is that of a label that answers the task.
func (t Task) Kind() FeedbackKind {
	if t.Other.IsZero() {
		return MOS
	}
	return Pair
}

const (
	taskPrefix  = "ta_"
	taskVersion = 1
	taskMAC     = 16
	digestBytes = len(quality.Digest{})
	// taskFixed is the size of what comes before the experiment's id: version,
	// expiry, phase, rater, both images.
	taskFixed = 1 + 8 + 4 + raterBytes + 2*digestBytes
)

// Token is the task in text, with a MAC: nobody without the key can make one or
// change what one says.
func (h Hasher) Token(t Task) string {
	rater, err := hex.DecodeString(t.Rater)
	if err != nil || len(rater) != raterBytes {
		rater = make([]byte, raterBytes) // nobody's
	}
	raw := make([]byte, 0, taskFixed+len(t.Experiment)+taskMAC)
	raw = append(raw, taskVersion)
	raw = binary.BigEndian.AppendUint64(raw, uint64(t.Expires.Unix()))
	raw = binary.BigEndian.AppendUint32(raw, uint32(t.Phase))
	raw = append(raw, rater...)
	raw = append(raw, t.Image[:]...)
	raw = append(raw, t.Other[:]...)
	raw = append(raw, t.Experiment...)
	sum := h.mac("task", string(raw))
	return taskPrefix + base64.RawURLEncoding.EncodeToString(append(raw, sum[:taskMAC]...))
}

// Task reads a token, and returns false for one that no server with this key
// made.
func (h Hasher) Task(token string) (Task, bool) {
	raw, ok := decodeToken(token, taskPrefix)
	if !ok || len(raw) < taskFixed+taskMAC {
		return Task{}, false
	}
	raw, mac := raw[:len(raw)-taskMAC], raw[len(raw)-taskMAC:]
	sum := h.mac("task", string(raw))
	if subtle.ConstantTimeCompare(mac, sum[:taskMAC]) != 1 || raw[0] != taskVersion {
		return Task{}, false
	}
	t := Task{
		Expires: time.Unix(int64(binary.BigEndian.Uint64(raw[1:])), 0).UTC(), Phase: int(binary.BigEndian.Uint32(raw[9:])),
		Rater: hex.EncodeToString(raw[13 : 13+raterBytes]), Experiment: ID(raw[taskFixed:]),
	}
	copy(t.Image[:], raw[13+raterBytes:])
	copy(t.Other[:], raw[13+raterBytes+digestBytes:])
	return t, true
}

// Answer is the name of what a label answers: one rater's opinion of one image,
// or of one pair in whichever order. A store keeps one label of that name.
func (h Hasher) Answer(t Task) string {
	low, high := t.Image, t.Other
	if !high.IsZero() && bytes.Compare(low[:], high[:]) > 0 {
		low, high = high, low
	}
	// The third part was the phase in former versions.
	sum := h.mac("answer", string(t.Experiment), "1", t.Rater, string(low[:]), string(high[:]))
	return hex.EncodeToString(sum[:16])
}
