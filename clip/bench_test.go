package clip_test

import (
	"strings"
	"testing"

	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := clip.New(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTokenize(b *testing.B) {
	const prompt = "A highly detailed matte painting of a castle at sunset, trending on art-station, 8K, it's dramatic. "
	for name, text := range map[string]string{
		"prompt":   prompt,
		"chinese":  "坐在窗台上的小猫，超高清，电影感，名画风格",
		"long":     strings.Repeat(prompt, clip.MaxTextBytes/len(prompt)),
		"one_word": strings.Repeat("a", clip.MaxTextBytes),
		"marks":    strings.Repeat("\u0301\u0323", clip.MaxTextBytes/4),
		"escapes": "&" + strings.Repeat("amp;", clip.MaxEscapeDepth-1) +
			strings.Repeat("\u0301\u0323", clip.MaxTextBytes/4-20),
		"ampersand": strings.Repeat("&", clip.MaxTextBytes),
		"names":     strings.Repeat("&aaaaaaa", clip.MaxTextBytes/8),
	} {
		b.Run(name, func(b *testing.B) {
			tokenizer := newTokenizer(b)
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, _, err := tokenizer.Tokenize(text, clip.Options{Truncate: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAssemble(b *testing.B) {
	tokenizer := newTokenizer(b)
	categories := quality.Categories()
	spec := clip.PromptSpec{
		Categories: categories[:], Position: clip.End, ContextLength: 16, Context: make([]float32, 16*512), W: 512,
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := clip.Assemble(tokenizer, spec); err != nil {
			b.Fatal(err)
		}
	}
}
