package pictures_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"image/png"
	"math/rand/v2"
	"testing"

	"github.com/agiqa/agiqa/internal/pictures"
)

// Canaries are compared between servers of different releases, and measurements
// with those of earlier ones, so pixels must stay as they are.
func TestPixelsStay(t *testing.T) {
	canaries := sha256.New()
	for n := range uint64(50) {
		canaries.Write(pictures.Canary(n).Pix)
	}
	for name, tt := range map[string]struct{ got, want []byte }{
		"canaries": {canaries.Sum(nil), digest("3d2d73c57a836ab4aba5ed4253930b7d8a407019b9c4b78c4e5b08b86a53e176")},
		"gradient": {sum(pictures.Gradient(61, 45, 3).Pix),
			digest("6026e92396267644964d3f65a6992097a1adb29eb093e19803a27e1ff96aed44")},
		"photo": {sum(pictures.Photo(64).Pix), digest("9f2a1c7149120c1941bfe0897d1a699f9b98d5ece8e92321363a4b7c7e1f45b7")},
		"noise": {sum(pictures.Noise(32, rand.New(rand.NewPCG(1, 2))).Pix),
			digest("a47a7c5d48ca1be4e62e0be5bcda192feb25b3913c8a2746ef9602028611567c")},
	} {
		if !bytes.Equal(tt.got, tt.want) {
			t.Errorf("%s: pixels have digest %x, want %x", name, tt.got, tt.want)
		}
	}
}

func sum(pixels []byte) []byte {
	d := sha256.Sum256(pixels)
	return d[:]
}

func digest(text string) []byte {
	d, _ := hex.DecodeString(text)
	return d
}

func TestPNGKeepsPixels(t *testing.T) {
	img := pictures.Gradient(9, 7, 1)
	data, err := pictures.PNG(img)
	if err != nil {
		t.Fatal(err)
	}
	back, err := png.Decode(bytes.NewReader(data))
	if err != nil || back.Bounds() != img.Bounds() {
		t.Fatalf("decoded as %v: %v", back, err)
	}
	for y := range 7 {
		for x := range 9 {
			if got, want := back.At(x, y), img.At(x, y); got != want {
				t.Errorf("pixel %d,%d is %v, want %v", x, y, got, want)
			}
		}
	}
}
