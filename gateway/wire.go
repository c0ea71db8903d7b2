package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// ScoreRequest is the JSON body of /v1/score and /v1/compare.
type ScoreRequest struct {
	Images      []ImageInput    `json:"images" minItems:"1" nullable:"false" doc:"The images, at most the server's max-images"`
	Checkpoint  CheckpointNames `json:"checkpoint,omitempty" doc:"Checkpoints that score: a name, names with commas between them, or a list; the server's default when absent. An image is encoded once for all of them"`
	Checkpoints CheckpointNames `json:"checkpoints,omitempty" doc:"As checkpoint; both count"`
	Aspects     CheckpointNames `json:"aspects,omitempty" doc:"What to score, each by a checkpoint for that, in place of checkpoint: tasks, or TASK=CHECKPOINT. A task picks the default checkpoint if that has the task, otherwise the only one that does"`
	Include     []string        `json:"include,omitempty" enum:"embedding,views,all_arms" nullable:"false" doc:"Further parts of the answer"`
	Omit        []string        `json:"omit,omitempty" enum:"interval,distribution" nullable:"false" doc:"Parts of the answer to leave out"`
	Preprocess  string          `json:"preprocess,omitempty" enum:"exact,fast" doc:"How images become pixels: exact, as training did, or fast, large JPEGs shrunk while they are decoded; the server's way when absent"`
}

// CheckpointNames are names of checkpoints. In JSON they are a string, with
// commas between the names, or an array of strings.
type CheckpointNames []string

// UnmarshalJSON implements [json.Unmarshaler].
func (n *CheckpointNames) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*n = CheckpointNames{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(n))
}

// Schema implements [huma.SchemaProvider].
func (CheckpointNames) Schema(huma.Registry) *huma.Schema {
	most := maxChosen
	text := &huma.Schema{Type: huma.TypeString}
	return &huma.Schema{OneOf: []*huma.Schema{text, {Type: huma.TypeArray, Items: text, MaxItems: &most}}}
}

// namesExpected is the fault of a value that is no CheckpointNames.
var namesExpected = fmt.Sprintf("expected a name or a list of at most %d names", maxChosen)

// ImageInput is one image of a JSON body.
type ImageInput struct {
	ID   string `json:"id,omitempty" maxLength:"256" doc:"Comes back in the result; its position when absent"`
	Data string `json:"data,omitempty" contentEncoding:"base64" doc:"The image file as base64: standard or URL alphabet, padded or not, line breaks allowed; or a data URL of it"`
	URL  string `json:"url,omitempty" maxLength:"4096" doc:"Not served: answers image_url_forbidden"`

	Prompt string `json:"prompt,omitempty" minLength:"1" maxLength:"4096" doc:"Text that the image was made from, for checkpoints that read prompts; of more than 75 tokens: prompt_too_long"`
}

// ScoreResponse answers /v1/score and /v1/compare.
type ScoreResponse struct {
	Results    []Result           `json:"results" nullable:"false" doc:"One for each image, in their order"`
	Encoder    EncoderRef         `json:"encoder"`
	Preprocess string             `json:"preprocess" doc:"Names the exact way from file to pixels. A score that was made in another way, because its checkpoint names another recipe, says so itself"`
	RequestID  string             `json:"request_id"`
	TraceID    string             `json:"trace_id"`
	TimingMS   map[string]float64 `json:"timing_ms" nullable:"false" doc:"Milliseconds by stage, and in total, from the end of the request's header. Stages may overlap, and decode and resize are parts of prepare."`
}

// Result is the outcome for one image. Where error is not null or withheld is
// set, the members about the score are null. The first of several checkpoints may fail alone:
// then error is its, and scores or aspects have the others'.
type Result struct {
	ID string `json:"id"`
	Measurement
	Checkpoint *CheckpointRef             `json:"checkpoint" doc:"The checkpoint that gave the score"`
	Preprocess string                     `json:"preprocess,omitempty" doc:"Names the way from file to pixels for that checkpoint, where it isn't the answer's"`
	Categories *Categories                `json:"categories" doc:"Cosine of the image with each learned prompt. For show: the score is not computed from them."`
	Views      []ViewScore                `json:"views,omitempty" nullable:"false" doc:"The score of each view of the checkpoint, where they were asked for: a coarse map of the picture. the score is their mean, cut to the scale where that says clamp"`
	Scores     []CheckpointScore          `json:"scores,omitempty" nullable:"false" doc:"The result of every checkpoint, where several were asked for"`
	Aspects    map[string]CheckpointScore `json:"aspects,omitempty" nullable:"false" doc:"The result for every task that aspects asked for, by task"`
	Image      *ImageRef                  `json:"image"`
	Cache      *CacheRef                  `json:"cache"`
	Experiment *ExperimentRef             `json:"experiment" doc:"The experiment that chose the checkpoint, or null"`
	Embedding  []float32                  `json:"embedding,omitempty" nullable:"false" doc:"L2-normalised image embedding, where it was asked for and the checkpoints have one view"`
	Embeddings map[string][]float32       `json:"embeddings,omitempty" nullable:"false" doc:"Those of the views by name, where they were asked for and the checkpoints have several"`
	Withheld   string                     `json:"withheld,omitempty" enum:"blind" doc:"Why there is no score although there is no error. blind: the request said X-Agiqa-Blind"`
	Error      *Problem                   `json:"error"`
}

// CheckpointScore is the result of one checkpoint for one image. Where error is
// not null, score and categories are null.
type CheckpointScore struct {
	Measurement
	Checkpoint     CheckpointRef `json:"checkpoint"`
	Preprocess     string        `json:"preprocess,omitempty" doc:"As in a result"`
	Categories     *Categories   `json:"categories"`
	Views          []ViewScore   `json:"views,omitempty" nullable:"false" doc:"As in a result"`
	TextEmbeddings string        `json:"text_embeddings" enum:"hit,miss"`
	Error          *Problem      `json:"error" doc:"Why this checkpoint gave no score; the others are not concerned"`
}

// ViewScore is what a checkpoint says of one view of an image.
type ViewScore struct {
	View  string  `json:"view" doc:"224: the middle of the picture as a whole. 448/r0c1: of its middle at 448x448 pixels, the 224x224 pixels in row 0 and column 1. Another recipe than pillow12-bicubic-224 follows a colon"`
	Box   Box     `json:"box"`
	Score float32 `json:"score"`
}

// Box is a part of the original picture.
type Box struct {
	X      int `json:"x" doc:"Pixels from the left edge"`
	Y      int `json:"y" doc:"Pixels from the upper edge"`
	Width  int `json:"width" doc:"Pixels, rounded outwards"`
	Height int `json:"height" doc:"Pixels, rounded outwards"`
}

// CheckpointRef names a checkpoint and says what its scores mean.
type CheckpointRef struct {
	Name   string         `json:"name"`
	Digest quality.Digest `json:"digest"`
	Task   quality.Task   `json:"task" example:"quality" doc:"What its scores measure"`
	Scale  ScoreScale     `json:"scale"`
}

// EncoderRef names an encoder.
type EncoderRef struct {
	Name      string         `json:"name"`
	Digest    quality.Digest `json:"digest" doc:"Of the weights"`
	Precision string         `json:"precision,omitempty" doc:"How it computes, such as int8. Embeddings of two precisions are close but not equal. Absent: full precision"`
}

func encoderRef(e quality.Encoder) EncoderRef {
	return EncoderRef{Name: e.Name, Digest: e.Digest, Precision: e.Precision}
}

// Categories are the six quality words.
type Categories struct {
	Terrible float32 `json:"terrible"`
	Bad      float32 `json:"bad"`
	Poor     float32 `json:"poor"`
	Average  float32 `json:"average"`
	Good     float32 `json:"good"`
	Perfect  float32 `json:"perfect"`
}

// ImageRef is what the server knows of an image.
type ImageRef struct {
	SHA256             string `json:"sha256"`
	Format             string `json:"format" enum:"jpeg,png,webp,gif"`
	Width              int    `json:"width" doc:"Pixels, before resizing"`
	Height             int    `json:"height" doc:"Pixels, before resizing"`
	Decoder            string `json:"decoder,omitempty" doc:"What decoded it: go. Absent where the embedding was cached"`
	OrientationIgnored bool   `json:"orientation_ignored,omitempty" doc:"EXIF says that the picture is to be turned or mirrored. It was scored as it is stored, as in training: turn it before, if people see it turned"`
	FramesIgnored      bool   `json:"frames_ignored,omitempty" doc:"An animation, of which the first frame was scored"`
}

// CacheRef says what did not have to be computed.
type CacheRef struct {
	ImageEmbedding string `json:"image_embedding" enum:"hit,miss"`
	TextEmbeddings string `json:"text_embeddings" enum:"hit,miss"`
}

func hitOrMiss(hit bool) string {
	if hit {
		return "hit"
	}
	return "miss"
}

func checkpointRef(c quality.Checkpoint) CheckpointRef {
	return CheckpointRef{Name: c.Name, Digest: c.Digest, Task: c.Task, Scale: scoreScale(c.Score)}
}

// categories relies on the order of [quality.Categories]; a test holds it.
func categories(s [quality.CategoryCount]float32) Categories {
	return Categories{Terrible: s[0], Bad: s[1], Poor: s[2], Average: s[3], Good: s[4], Perfect: s[5]}
}

// parts says what of a response is shown.
type parts struct {
	several   bool // the scores of every checkpoint
	aspects   bool // the same, by task
	embedding bool
	views     bool
	arms      bool // every arm's
	blind     bool // no score, nor anything that tells it
	omit      []string
	way       quality.PreprocessID // of the answer
}

// preprocess names the way of a score that isn't the answer's.
func (p parts) preprocess(s scoring.CheckpointScore) string {
	if s.Preprocess == p.way {
		return ""
	}
	return string(s.Preprocess)
}

// withheldBlind is why an answer has no score: its request said so.
const withheldBlind = "blind"

func (p parts) omits(part string) bool { return slices.Contains(p.omit, part) }

func (p parts) result(id *ids, r scoring.ImageResult) Result {
	first := r.Scores[0]
	out := Result{
		ID: r.ID,
		Image: &ImageRef{SHA256: r.Info.Digest.Hex(), Format: r.Info.Format, Width: r.Info.Width, Height: r.Info.Height,
			Decoder: r.Decoder, FramesIgnored: r.Info.FramesIgnored,
			OrientationIgnored: r.Info.OrientationIgnored},
		Cache: &CacheRef{ImageEmbedding: hitOrMiss(r.EmbeddingCached), TextEmbeddings: hitOrMiss(first.TextCached)},

		Experiment: experimentRef(r.Shown),
	}
	if p.blind {
		out.Withheld = withheldBlind
		return out
	}
	if first.Err != nil {
		out.Error = id.problem(first.Err)
	} else {
		ref, cats := checkpointRef(first.Checkpoint), categories(first.Similarity)
		out.Measurement, out.Checkpoint, out.Categories = p.measurement(first), &ref, &cats
		out.Views, out.Preprocess = p.viewScores(first), p.preprocess(first)
	}
	if p.embedding {
		out.Embedding, out.Embeddings = embeddings(r.Embeddings)
	}
	if p.several {
		for _, s := range r.Scores {
			out.Scores = append(out.Scores, p.checkpointScore(id, s))
		}
	}
	if p.aspects {
		out.Aspects = make(map[string]CheckpointScore, len(r.Scores))
		for _, s := range r.Scores {
			out.Aspects[string(s.Checkpoint.Task)] = p.checkpointScore(id, s)
		}
	}
	if p.arms {
		for _, s := range r.Arms {
			out.Scores = append(out.Scores, p.checkpointScore(id, s))
		}
	}
	return out
}

// embeddings returns that of the only view, or those of several by name.
func embeddings(of map[quality.View]quality.Embedding) (one []float32, several map[string][]float32) {
	several = make(map[string][]float32, len(of))
	for view, e := range of {
		one, several[view.String()] = e, e
	}
	if len(of) == 1 {
		return one, nil
	}
	return nil, several
}

func (p parts) checkpointScore(id *ids, s scoring.CheckpointScore) CheckpointScore {
	out := CheckpointScore{Checkpoint: checkpointRef(s.Checkpoint), TextEmbeddings: hitOrMiss(s.TextCached),
		Preprocess: p.preprocess(s)}
	if s.Err != nil {
		out.Error = id.problem(s.Err)
		return out
	}
	cats := categories(s.Similarity)
	out.Measurement, out.Categories, out.Views = p.measurement(s), &cats, p.viewScores(s)
	return out
}

func (p parts) viewScores(s scoring.CheckpointScore) []ViewScore {
	if !p.views {
		return nil
	}
	out := make([]ViewScore, len(s.Views))
	for i, one := range s.Views {
		out[i] = ViewScore{View: one.View.String(), Box: Box(one.Box), Score: one.Score}
	}
	return out
}

func timingMS(t *scoring.Timings, total time.Duration) map[string]float64 {
	out := map[string]float64{"total": milliseconds(total)}
	for stage, d := range t.Stages() {
		out[string(stage)] = milliseconds(d)
	}
	return out
}

// milliseconds keeps microseconds, which is as fine as the clock is worth.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
