package proof_test

import (
	"testing"

	"github.com/agiqa/agiqa/internal/proof"
)

func TestProof(t *testing.T) {
	t.Parallel()
	key, err := proof.Derive("the-key-of-this-test")
	if err != nil {
		t.Fatal(err)
	}
	other, err := proof.Derive("another-key-of-this-test")
	if err != nil {
		t.Fatal(err)
	}
	c := proof.New("127.0.0.1:8080")
	if again := proof.New(c.Address); again.Nonce == c.Nonce || len(c.Nonce) != 64 {
		t.Errorf("nonces %q and %q", c.Nonce, again.Nonce)
	}
	elsewhere := proof.Challenge{Nonce: c.Nonce, Address: "127.0.0.1:8081"}
	for name, test := range map[string]struct {
		answer proof.Answer
		want   bool
	}{
		"the key":         {key.Answer(c), true},
		"another key":     {other.Answer(c), false},
		"another address": {key.Answer(elsewhere), false},
		"another nonce":   {key.Answer(proof.New(c.Address)), false},
		"nothing":         {proof.Answer{}, false},
		"the challenge":   {proof.Answer{Proof: c.Nonce}, false},
	} {
		if got := key.Accepts(c, test.answer); got != test.want {
			t.Errorf("%s: accepted %v, want %v", name, got, test.want)
		}
	}
}
