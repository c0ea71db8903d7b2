package main

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

// generalRepository copies the small encoder and its heads, and declares that
// its text tower knows language, as that of a published CLIP does.
func generalRepository(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model_repository")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(repository, "model_repository"))); err != nil {
		t.Fatal(err)
	}
	changed := 0
	err := fs.WalkDir(os.DirFS(dir), "clip_text_encoder/configs", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		file := filepath.Join(dir, path)
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		changed += bytes.Count(text, []byte(`"quality-words"`))
		return os.WriteFile(file, bytes.ReplaceAll(text, []byte(`"quality-words"`), []byte(`"general"`)), 0o600)
	})
	if err != nil || changed != 3 {
		t.Fatalf("%d configurations of the text encoder declare quality-words, want 3 (%v)", changed, err)
	}
	return dir
}

// TestPromptsOfARunningServer imports a prompt-aware checkpoint into a server on
// the real Triton, where its golden cases are replayed, and scores by it.
func TestPromptsOfARunningServer(t *testing.T) {
	for _, mode := range []string{"shared", "upload"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel() // mostly waiting
			env := []string{
				"AGIQA_DATA_DIR=" + t.TempDir(), "AGIQA_MODEL_UPLOAD=" + mode, "AGIQA_MODEL_REPOSITORY=" + generalRepository(t),
			}
			p := startUp(t, env)
			triton := tritonOf(t, p)
			enc, err := triton.Describe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			draft := checkpointtest.New(enc, "aware", 1).PromptAware()
			learned, err := triton.EncodePrompts(t.Context(), enc, draft.Prompts(t))
			if err != nil {
				t.Fatal(err)
			}
			text := quality.TextEmbeddings(learned)
			bundle := draft.AddGolden(t, 4, text).Bundle(t)
			dir := filepath.Join(t.TempDir(), "aware")
			checkpointtest.WriteBundle(t, bundle, dir)
			client := append(env[:len(env):len(env)], "AGIQA_URL="+p.url)
			if report := agiqa(t, client, "checkpoint", "import", dir); report["golden"] != 4.0 {
				t.Errorf("report %v", report)
			}

			for _, prompt := range []string{"a harbour at dawn, oil painting", "tiles", "tiles"} {
				got := scoreAs(t, p, "&checkpoint=aware&prompt="+url.QueryEscape(prompt), example(t, "harbour.jpg"))
				want := alignment(t, bundle, text, got.embedding, prompt, enc, triton)
				if !near(got.score, want) {
					t.Errorf("prompt %q scored %v, want %v", prompt, got.score, want)
				}
			}
			harbour, err := filepath.Abs(filepath.Join(repository, "examples", "harbour.jpg"))
			if err != nil {
				t.Fatal(err)
			}
			line := agiqa(t, client, "score", harbour, "--checkpoint", "aware", "--prompt", "tiles")
			got := scoreAs(t, p, "&checkpoint=aware&prompt=tiles", example(t, "harbour.jpg"))
			if !near(line["score"].(float64), got.score) {
				t.Errorf("agiqa score --prompt says %v, the API %v", line["score"], got.score)
			}

			for query, detail := range map[string]string{
				"checkpoint=aware":           "checkpoint aware needs the prompt",
				"checkpoint=demo&prompt=cat": "checkpoint demo doesn't read",
			} {
				a := post(t, p.url+"/v1/score?"+query, "image/jpeg", example(t, "harbour.jpg"))
				if a.status != http.StatusBadRequest || !strings.Contains(a.problem.Detail, detail) {
					t.Errorf("%s: status %d, %q; want 400 with %q", query, a.status, a.problem.Detail, detail)
				}
			}
		})
	}
}

// alignment computes the score by the arithmetic of the bundle.
func alignment(
	t *testing.T, b *checkpoint.Bundle, text quality.TextEmbeddings, image quality.Embedding, prompt string,
	enc quality.Encoder, encoder quality.TextEncoder,
) float64 {
	t.Helper()
	picture, err := clip.PicturePrompt(checkpointtest.Tokenizer(t), prompt, b.PromptSpec().W)
	if err != nil {
		t.Fatal(err)
	}
	embeddings, err := encoder.EncodePrompts(t.Context(), enc, picture)
	if err != nil {
		t.Fatal(err)
	}
	scored, err := b.Head().ScoreWithPrompt(image, text, embeddings[0])
	if err != nil {
		t.Fatal(err)
	}
	return float64(scored.Score)
}

// TestPromptsNeedAGeneralTextTower: the small encoder that is in the repository
// knows quality words only, and says so to whoever brings a prompt.
func TestPromptsNeedAGeneralTextTower(t *testing.T) {
	env := []string{"AGIQA_DATA_DIR=" + t.TempDir()}
	p := startUp(t, env)
	a := post(t, p.url+"/v1/score?prompt=a+cat", "image/jpeg", example(t, "harbour.jpg"))
	if a.status != http.StatusBadRequest || !strings.Contains(a.problem.Detail, "knows quality words only") ||
		!strings.Contains(a.problem.Detail, "agiqa-train export-encoders") {
		t.Errorf("status %d, %q", a.status, a.problem.Detail)
	}
	enc, err := tritonOf(t, p).Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	draft := checkpointtest.New(enc, "aware", 1).PromptAware()
	dir := filepath.Join(t.TempDir(), "aware")
	checkpointtest.WriteBundle(t, draft.AddGolden(t, 1, unitTexts(enc.Dim)).Bundle(t), dir)
	_, errs, status := runCommand(t, append(env, "AGIQA_URL="+p.url), nil, "checkpoint", "import", dir)
	if status == 0 || !strings.Contains(errs, "knows quality words only") {
		t.Errorf("import: exit status %d, %s", status, errs)
	}
}

// unitTexts are six unit vectors.
func unitTexts(dim int) quality.TextEmbeddings {
	var text quality.TextEmbeddings
	for i := range text {
		text[i] = make(quality.Embedding, dim)
		text[i][i] = 1
	}
	return text
}
