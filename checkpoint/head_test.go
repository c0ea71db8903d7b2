package checkpoint_test

import (
	"math"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/quality"
)

// TestHeadScore is small enough to follow by hand: D = 1 and H = 2, so that W0
// has a row of seven for each hidden unit.
func TestHeadScore(t *testing.T) {
	h := checkpoint.Head{
		Dim: 1, Hidden: 2,
		W0: []float32{
			2, 1, 0, 0, 0, 0, 0, // 2*image + t1
			0, 0, 0, 0, 0, 0, 1, // t6
		},
		B0: []float32{0.5, -10}, // the second unit is below zero for every input here
		W1: []float32{3, 1000},
		B1: []float32{0.25},
	}
	text := quality.TextEmbeddings{{4}, {5}, {6}, {7}, {8}, {9}}
	tests := []struct {
		name  string
		image float32
		want  quality.HeadScore
	}{
		{"active", 1, quality.HeadScore{Score: 3*(2+4+0.5) + 0.25, Similarity: [6]float32{4, 5, 6, 7, 8, 9}}},
		{"cut off by the ReLU", -3, quality.HeadScore{Score: 0.25, Similarity: [6]float32{-12, -15, -18, -21, -24, -27}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := h.Score(quality.Embedding{tt.image}, text)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("Score(%v) = %+v, want %+v", tt.image, got, tt.want)
			}
		})
	}
}

func TestHeadScoreRefuses(t *testing.T) {
	h := newDraft("demo", 1).bundle(t).Head()
	good := make(quality.Embedding, dim)
	text := quality.TextEmbeddings{good, good, good, good, good, good}
	short := text
	short[5] = good[:dim-1]
	if _, err := h.Score(good[:1], text); err == nil ||
		!strings.Contains(err.Error(), "embedding 1 of 7 has 1 numbers, want 8") {
		t.Errorf("short image: %v", err)
	}
	if _, err := h.Score(good, short); err == nil ||
		!strings.Contains(err.Error(), "embedding 7 of 7 has 7 numbers, want 8") {
		t.Errorf("short text: %v", err)
	}
}

// BenchmarkHeadScore is the reference at the size of a ViT-B/16 checkpoint.
func BenchmarkHeadScore(b *testing.B) {
	const d, h = 512, 512
	head := checkpoint.Head{
		Dim: d, Hidden: h,
		W0: make([]float32, h*7*d), B0: make([]float32, h), W1: make([]float32, h), B1: make([]float32, 1),
	}
	image := make(quality.Embedding, d)
	image[0] = 1
	text := quality.TextEmbeddings{image, image, image, image, image, image}
	for b.Loop() {
		j, err := head.Score(image, text)
		if err != nil || math.IsNaN(float64(j.Score)) {
			b.Fatal(j, err)
		}
	}
}
