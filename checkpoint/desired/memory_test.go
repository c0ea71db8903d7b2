package desired_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/checkpoint/desired/desiredtest"
	"github.com/agiqa/agiqa/quality"
)

func TestMemory(t *testing.T) {
	for name, shared := range map[string]bool{"shared": true, "alone": false} {
		t.Run(name, func(t *testing.T) {
			desiredtest.Run(t, func(*testing.T) (a, b desired.Store) {
				m := desired.NewMemory("test", shared, time.Now)
				return m, m
			})
		})
	}
}

func TestLeasesExpire(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	m := desired.NewMemory("test", true, func() time.Time { return now })
	head := quality.DigestOf([]byte("x"))
	held := func() bool {
		t.Helper()
		holders, err := m.Holders(t.Context(), head)
		if err != nil {
			t.Fatal(err)
		}
		free, err := m.Lock(t.Context(), "b", "x")
		if err != nil || free == slices.Contains(holders, "a") {
			t.Errorf("held by %v, and free %t, %v", holders, free, err)
		}
		return len(holders) > 0
	}
	if _, err := m.Lock(t.Context(), "a", "x"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time renews
		if err := m.Hold(t.Context(), "a", -1, []quality.Digest{head}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(desired.LeaseTime - time.Second)
		if !held() {
			t.Error("a lease ended early")
		}
	}
	now = now.Add(2 * time.Second)
	if held() {
		t.Error("a lease that nobody renewed holds on")
	}
}

func TestAddressTellsPartsApart(t *testing.T) {
	a := desired.Bundle{Manifest: []byte("ab"), Weights: []byte("c")}
	b := desired.Bundle{Manifest: []byte("a"), Weights: []byte("bc")}
	if a.Address() == b.Address() {
		t.Error("two bundles have one address")
	}
}

// TestDocumentsOfNewerPrograms: they may have more members, which an older program
// leaves as they are.
func TestDocumentsOfNewerPrograms(t *testing.T) {
	d, err := desired.Decode([]byte(`{"default":"one","canary":{"x":[1,2]},"checkpoints":[]}`))
	if err != nil || d.Default != "one" {
		t.Errorf("%+v, %v", d, err)
	}
	before := d.Fingerprint()
	d.Default = "two"
	d = d.With(desired.Checkpoint{Name: "three"})
	raw, err := d.Encode()
	if text := string(raw); err != nil || !strings.Contains(text, `"canary":{"x":[1,2]}`) ||
		!strings.Contains(text, `"default":"two"`) {
		t.Errorf("after a change: %s, %v", raw, err)
	}
	if d.Fingerprint() == before {
		t.Error("another document has the same fingerprint")
	}
	if again, err := desired.Decode(raw); err != nil || again.Fingerprint() != d.Fingerprint() {
		t.Errorf("read again: %+v, %v", again, err)
	}

	// A member that this program knows is none of a newer one.
	full := desired.Document{Default: "one", Previous: "two", Checkpoints: []desired.Checkpoint{{Name: "three"}},
		Encoder: desired.Encoder{Digest: quality.DigestOf([]byte("x")), Precision: "int8"}}
	for i := range reflect.TypeFor[desired.Document]().NumField() {
		field := reflect.TypeFor[desired.Document]().Field(i)
		if field.IsExported() && reflect.ValueOf(full).Field(i).IsZero() {
			t.Fatalf("this test leaves %s out", field.Name)
		}
	}
	if raw, err = full.Encode(); err != nil {
		t.Fatal(err)
	}
	if got, err := desired.Decode(raw); err != nil || !reflect.DeepEqual(got, full) {
		t.Errorf("%+v, %v, want %+v", got, err, full)
	}
	for _, raw := range []string{"", "{", `{"checkpoints":[{"digest":"x"}]}`} {
		if _, err := desired.Decode([]byte(raw)); err == nil {
			t.Errorf("%q was taken for a document", raw)
		}
	}
}
