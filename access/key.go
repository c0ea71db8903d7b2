package access

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/agiqa/agiqa/quality"
)

// Key is what is known of an API key. The secret itself is known to its holder
// alone.
type Key struct {
	ID        string
	Name      string
	Hash      [sha256.Size]byte // of the secret
	Scopes    []Scope
	Rater     string // see [Principal]
	Created   time.Time
	CreatedBy string    // as [Principal.By]
	Expires   time.Time // zero: never
	Used      time.Time // at most [UsedEvery] behind; zero: never
	Revoked   time.Time // zero: it was not
	RevokedBy string
}

// State says whether a key is valid.
type State string

// The states of a key.
const (
	Valid   State = "valid"
	Expired State = "expired"
	Revoked State = "revoked"
)

// States returns every state.
func States() []State { return []State{Valid, Expired, Revoked} }

// StateAt returns the key's state at a time.
func (k Key) StateAt(t time.Time) State {
	switch {
	case !k.Revoked.IsZero():
		return Revoked
	case !k.Expires.IsZero() && !t.Before(k.Expires):
		return Expired
	}
	return Valid
}

// Ended returns when the key ceased to be valid, and zero for one that is.
func (k Key) Ended(t time.Time) time.Time {
	switch k.StateAt(t) {
	case Revoked:
		return k.Revoked
	case Expired:
		return k.Expires
	}
	return time.Time{}
}

// String names the key as [Principal.By] does.
func (k Key) String() string { return Principal{KeyID: k.ID, Name: k.Name}.By() }

// Bounds of keys.
const (
	MaxPerName = 2      // valid keys of one name: one more while it is replaced
	MaxKeys    = 10_000 // valid keys altogether
	MaxRater   = 256    // bytes of a rater's name
	// MaxLifetime is the longest time after which a key may expire.
	MaxLifetime = 10 * 365 * 24 * time.Hour
	// KeepFor is how long a key that expired or was revoked stays in lists, and
	// its holder is told what became of it.
	KeepFor = 30 * 24 * time.Hour
)

// prefix lets people and scanners of leaked secrets recognise a key.
const prefix = "agiqa_"

var (
	keyPattern  = regexp.MustCompile(`^agiqa_([a-z2-7]{12})_([A-Z2-7]{26})$`)
	namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
)

// Format describes a key to people.
const Format = prefix + "ID_SECRET"

// WellFormed reports whether a text has the form of a key.
func WellFormed(s string) bool { return keyPattern.MatchString(s) }

// parseKey takes a key apart.
func parseKey(s string) (id, secret string, ok bool) {
	m := keyPattern.FindStringSubmatch(s)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// Spec is what a new key is to be.
type Spec struct {
	Name     string
	Scopes   []Scope
	Rater    string
	Lifetime time.Duration // 0: it never expires
}

// validate reports the first fault, and brings the scopes into their usual order.
func (s *Spec) validate() error {
	invalid := func(format string, args ...any) error { return quality.Errorf(quality.KindBadRequest, format, args...) }
	if !namePattern.MatchString(s.Name) {
		return invalid("name %s does not match [a-z0-9][a-z0-9._-]{0,63}", quality.Quote(s.Name))
	}
	var known []Scope
	for _, scope := range Scopes() {
		if slices.Contains(s.Scopes, scope) {
			known = append(known, scope)
		}
	}
	for _, scope := range s.Scopes {
		if !slices.Contains(known, scope) {
			return invalid("unknown scope %s; the scopes are %s", quality.Quote(string(scope)), join(Scopes()))
		}
	}
	if s.Scopes = known; len(known) == 0 {
		return invalid("scopes is empty; the scopes are %s", join(Scopes()))
	}
	if s.Rater != "" {
		if len(s.Rater) > MaxRater || strings.ContainsFunc(s.Rater, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return invalid("rater must be printable text of at most %d bytes", MaxRater)
		}
		if !slices.Contains(known, ScopeFeedback) {
			return invalid("rater is for keys with the scope %s", ScopeFeedback)
		}
	}
	if s.Lifetime != 0 && (s.Lifetime < time.Minute || s.Lifetime > MaxLifetime) {
		return invalid("expires_in must be between 1m and %dd", MaxLifetime/(24*time.Hour))
	}
	return nil
}

func join(scopes []Scope) string {
	var names []string
	for _, s := range scopes {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// ParseLifetime reads a duration such as 12h, or days such as 90d. "" is 0.
func ParseLifetime(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return 0,
			quality.Errorf(quality.KindBadRequest, "expires_in %s is not a duration such as 12h or 90d", quality.Quote(s))
	}
	return d, nil
}

// newKey makes a key and its secret form, which nobody can make again.
func newKey(spec Spec, by string, now time.Time) (Key, string) {
	secret := rand.Text()
	k := Key{
		ID: strings.ToLower(rand.Text()[:12]), Name: spec.Name, Hash: sha256.Sum256([]byte(secret)), Scopes: spec.Scopes,
		Rater: spec.Rater, Created: now, CreatedBy: by,
	}
	if spec.Lifetime > 0 {
		k.Expires = now.Add(spec.Lifetime)
	}
	return k, fmt.Sprintf("%s%s_%s", prefix, k.ID, secret)
}
