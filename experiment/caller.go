package experiment

import (
	"regexp"
	"slices"
	"strings"

	"github.com/agiqa/agiqa/quality"
)

// Bounds of what a caller may say of itself.
const (
	MaxUnitBytes      = 256
	MaxAttributes     = 8
	MaxAttributeBytes = 64
)

var attributeName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,31}$`)

// Caller is what an experiment may know of a scoring request.
type Caller struct {
	Header     func(name string) string // nil: there are none
	APIKey     string
	Request    string            // the request's id
	Trace      string            // its trace's id
	Blind      bool              // its rater will not see the score
	Prompt     quality.Digest    // of the prompt that the image was made from; zero: not sent
	Attributes map[string]string // for audiences and slices
}

// ParseAttributes reads "style=anime, model=sdxl": at most [MaxAttributes],
// names of [a-z0-9_.-], values without commas of at most [MaxAttributeBytes].
func ParseAttributes(s string) (map[string]string, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	out := map[string]string{}
	for part := range strings.SplitSeq(s, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		value = strings.TrimSpace(value)
		if !ok || !attributeName.MatchString(name) || value == "" || len(value) > MaxAttributeBytes || !printable(value) {
			return nil, quality.Errorf(quality.KindBadRequest,
				"attributes read name=value, separated by commas: names of up to 32 of a-z, 0-9, _ . -, values of up to %d bytes",
				MaxAttributeBytes)
		}
		if out[name] = value; len(out) > MaxAttributes {
			return nil, quality.Errorf(quality.KindBadRequest, "more than %d attributes", MaxAttributes)
		}
	}
	return out, nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}

// Admits reports whether a request with these attributes is in the audience.
func (a Audience) Admits(attributes map[string]string) bool {
	for name, values := range a {
		if !slices.Contains(values, attributes[name]) {
			return false
		}
	}
	return true
}

// UnitOf returns what of a request is assigned as a whole, and false where it
// has neither the experiment's unit nor its fallback. image is asked for only
// where images are units.
func (e Experiment) UnitOf(c Caller, image func() quality.Digest) (UnitKind, string, bool) {
	for _, kind := range []UnitKind{e.Unit, e.Fallback} {
		value := ""
		switch kind {
		case UnitHeader:
			if c.Header != nil {
				value = c.Header(e.Header)
			}
		case UnitAPIKey:
			value = c.APIKey
		case UnitImage:
			value = image().Hex()
		case UnitRequest:
			value = c.Request
		}
		if value != "" && len(value) <= MaxUnitBytes {
			return kind, value, true
		}
	}
	return "", "", false
}
