package checkpoint_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/quality"
)

func TestDecodeManifestRefuses(t *testing.T) {
	set := func(value any, path ...string) func(map[string]any) {
		return func(m map[string]any) {
			for _, key := range path[:len(path)-1] {
				m = m[key].(map[string]any)
			}
			m[path[len(path)-1]] = value
		}
	}
	nested := json.RawMessage(strings.Repeat("[", 40) + strings.Repeat("]", 40))
	tests := []struct {
		name  string
		spoil func(map[string]any)
		want  string
	}{
		{"unknown key", set(1, "extra"), `unknown key "extra"`},
		{"key in another case", set("x", "Name"), `unknown key "Name"; did you mean "name"?`},
		{"missing key", func(m map[string]any) { delete(m, "licence") }, "licence is missing"},
		{"null", set(nil, "context_length"), "context_length is null"},
		{"a list for a name", set([]any{}, "name"), "name: array where a string is wanted"},
		{"a list for an encoder", set([]any{}, "encoder"), "is not an object"},
		{"text for a flag", set("x", "class_specific_context"), "string where true or false is wanted"},
		{"another type", set("2", "context_length"), "context_length: string where a whole number is wanted"},
		{"fraction", set(2.5, "context_length"), "context_length: number 2.5 where a whole number"},
		{"long number", set(json.RawMessage(strings.Repeat("9", 5000)), "context_length"), "context_length: number 999"},
		{"other format", set("agiqa-checkpoint/3", "format"),
			`format is "agiqa-checkpoint/3", want "agiqa-checkpoint/1" or "agiqa-checkpoint/2"`},
		{"format in another case", func(m map[string]any) { m["Format"] = m["format"]; delete(m, "format") },
			`unknown key "Format"`},
		{"format missing", func(m map[string]any) { delete(m, "format") }, "format is missing"},
		{"task in format 1", set("quality", "task"), `unknown key "task"`},
		{"clamp in format 1", set(true, "score", "clamp"), `score: unknown key "clamp"`},
		{"evaluation in format 1", set([]any{}, "evaluation"), `unknown key "evaluation"`},
		{"digest without algorithm", set(strings.Repeat("0", 64), "digest"), "is not of the form sha256:"},
		{"five categories", set([]string{"terrible", "bad", "poor", "average", "good"}, "categories"), "categories are"},
		{"categories in another order", set([]string{"bad", "terrible", "poor", "average", "good", "perfect"}, "categories"),
			"categories are"},
		{"position", set("start", "class_token_position"), `class_token_position is "start"`},
		{"no context", set(0, "context_length"), "context_length is 0"},
		{"scale upside down", set(5, "score", "min"), "score: min 5 is not below max 5"},
		{"scale without unit", set("", "score", "unit"), `score: unit ""`},
		{"unit with a line break", set("M\nOS", "score", "unit"), `score: unit "M\nOS"`},
		{"unknown key in score", set(1, "score", "mean"), `score: unknown key "mean"`},
		{"score is a list", set([]int{1, 5}, "score"), "score: is not an object"},
		{"number too large for the scale", set(json.RawMessage("1e999"), "score", "max"), "score: max: number 1e999"},
		{"encoder without name", set("", "encoder", "name"), `encoder: name ""`},
		{"encoder digest in upper case", set(strings.ToUpper(encoderDigest.String()), "encoder", "digest"),
			"encoder: digest"},
		{"training is a string", set("on a laptop", "training"), "training is not an object"},
		{"metrics is a list", set([]int{}, "metrics"), "metrics is not an object"},
		{"deeply nested metrics", set(map[string]any{"a": nested}, "metrics"), "nested more than 16 deep"},
		{"no licence", set("", "licence"), "licence"},
		{"no golden case", set([]any{}, "golden"), "golden: no case"},
		{"golden case with a key more", set([]any{map[string]any{"image_embedding": []int{1}, "score": 1, "id": 1}},
			"golden"), `golden[0]: unknown key "id"`},
		{"golden case without score", set([]any{map[string]any{"image_embedding": []int{1}}}, "golden"),
			"golden[0]: score is missing"},
		{"golden number too large", set([]any{map[string]any{"image_embedding": []float64{1e300}, "score": 1}}, "golden"),
			"golden[0]: image_embedding: number 1e+300"},
		{"all at once", func(m map[string]any) { m["name"], m["licence"] = "A", "" },
			"name \"A\" does not match [a-z0-9][a-z0-9._-]{0,63}\nlicence"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDraft("demo", 1)
			d.manifest["digest"] = d.digest()
			tt.spoil(d.manifest)
			wantFault(t, d.files(t), tt.want)
		})
	}
}

func TestDecodeManifestRefusesMeaning(t *testing.T) {
	set := func(value any, path ...string) func(*draft) {
		return func(d *draft) {
			m := d.manifest
			for _, key := range path[:len(path)-1] {
				m = m[key].(map[string]any)
			}
			m[path[len(path)-1]] = value
		}
	}
	without := func(path ...string) func(*draft) {
		return func(d *draft) {
			m := d.manifest
			for _, key := range path[:len(path)-1] {
				m = m[key].(map[string]any)
			}
			delete(m, path[len(path)-1])
		}
	}
	evaluated := func(key string, value any) func(*draft) {
		return func(d *draft) { d.manifest["evaluation"].([]any)[0].(map[string]any)[key] = value }
	}
	reference := func(shape []int, data []float32) func(*draft) {
		return func(d *draft) {
			d.tensors["reference"] = safetensors.Tensor{Name: "reference", Shape: shape, Data: data}
		}
	}
	tests := []struct {
		name  string
		spoil func(*draft)
		want  string
	}{
		{"unknown key", set(1, "aspects"), `unknown key "aspects"`},
		{"no task", without("task"), "task is missing"},
		{"no views", without("views"), "views is missing"},
		{"no clamp", without("score", "clamp"), "score: clamp is missing"},
		{"no evaluation", without("evaluation"), "evaluation is missing"},
		{"evaluation is null", set(nil, "evaluation"), "evaluation is null"},
		{"interval is null", set(nil, "interval"), "interval is null"},
		{"task in capitals", set("Quality", "task"), `task "Quality" does not match [a-z][a-z0-9_-]{0,31}`},
		{"task too long", set(strings.Repeat("a", 33), "task"), "does not match"},
		{"clamp is a number", set(1, "score", "clamp"), "score: clamp: number where true or false is wanted"},
		{"views are a string", set("224", "views"), "views: string where an array is wanted"},
		{"no view", set([]string{}, "views"), "views: 0, want 1 to 16"},
		{"a view twice", set([]string{"224", "448/r0c0", "224"}, "views"), "views: 224 is listed twice"},
		{"no such view", set([]string{"448"}, "views"), "448"},
		{"a view outside", set([]string{"448/r2c0"}, "views"), "rows and columns 0 to 1, not r2c0"},
		{"seventeen views", set(strings.Split(strings.Repeat("224,", 16)+"224", ","), "views"), "views: 17, want 1 to 16"},
		{"interval is a list", set([]any{}, "interval"), "interval: is not an object"},
		{"interval with a key more", set(1, "interval", "bins"), `interval: unknown key "bins"`},
		{"interval without edges", without("interval", "edges"), "interval: edges is missing"},
		{"coverage of 90", set(90, "interval", "coverage"), "interval: coverage is 90, must be between 0 and 1"},
		{"coverage of 1", set(1, "interval", "coverage"), "interval: coverage is 1"},
		{"as many edges as bins", set([]float64{2, 3, 4}, "interval", "edges"),
			"interval: 3 edges and 3 half_widths, want one edge fewer than half_widths"},
		{"edges not in order", set([]float64{4, 4}, "interval", "edges"), "edges[1] is 4, must be above edges[0], 4"},
		{"negative half width", set([]float64{1, -0.1, 1}, "interval", "half_widths"), "half_widths[1] is -0.1"},
		{"no half width", set([]float64{}, "interval", "half_widths"), "0 half_widths, want 1 to 64"},
		{"reference with a key more", set("x", "reference", "rows"), `reference: unknown key "rows"`},
		{"negative threshold", set(-0.1, "reference", "threshold"), "threshold is -0.1, must be 0 to 2"},
		{"threshold of 3", set(3, "reference", "threshold"), "threshold is 3"},
		{"reference without its tensor", func(d *draft) { delete(d.tensors, "reference") },
			`weights.safetensors: tensor "reference" is missing, which the manifest declares`},
		{"tensor without reference", without("reference"), `tensor "reference" is not part of a checkpoint`},
		{"reference of another dimension", reference([]int{1, dim + 1}, make([]float32, dim+1)),
			`tensor "reference" has shape [1 9], want [1 to 1024, 8]`},
		{"reference without rows", reference([]int{0, dim}, nil), "has shape [0 8]"},
		{"reference of one dimension", reference([]int{dim}, make([]float32, dim)), "has shape [8]"},
		{"reference of zeros", reference([]int{1, dim}, make([]float32, dim)), "row 0: embedding has norm 0"},
		{"prompt that is no flag", set("yes", "prompt"), "string where true or false is wanted"},
		{"evaluation with a key more", evaluated("krcc", 1), `evaluation[0]: unknown key "krcc"`},
		{"evaluation of nobody", evaluated("images", 0), "evaluation[0]: images is 0, must be positive"},
		{"evaluation without a name", evaluated("dataset", ""), `evaluation[0]: dataset ""`},
		{"evaluation of no task", evaluated("task", "?"), `evaluation[0]: task "?"`},
		{"correlation outside its interval", evaluated("srcc", 0.9),
			"low 0.5, srcc 0.9 and high 0.7 are not in this order between -1 and 1"},
		{"correlation of 2", func(d *draft) { evaluated("srcc", 2)(d); evaluated("high", 2)(d) }, "high 2 are not"},
		{"too many evaluations", func(d *draft) {
			d.manifest["evaluation"] = slices.Repeat(d.manifest["evaluation"].([]any), 33)
		}, "evaluation: 33 entries, at most 32 are allowed"},
		{"unknown recipe", set("pillow14-bicubic-224", "recipe"), `recipe: unknown recipe "pillow14-bicubic-224"; ` +
			"the recipes are pillow12-bicubic-224 and pillow13-bicubic-224"},
		{"recipe that is no text", set(13, "recipe"), "recipe: number where a string is wanted"},
		{"recipe in a view", set([]string{"224:pillow13-bicubic-224"}, "views"),
			"views: 224:pillow13-bicubic-224 names a recipe, which is a key of its own"},
		{"all at once", func(d *draft) { set("?", "task")(d); set(7, "interval", "coverage")(d) },
			"task \"?\" does not match [a-z][a-z0-9_-]{0,31}\ninterval: coverage is 7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newMeaningfulDraft("demo", 1)
			tt.spoil(d)
			wantFault(t, d.files(t), tt.want)
		})
	}
}

func TestDecodeManifestRefusesNames(t *testing.T) {
	for _, name := range []string{
		"", ".", "..", "../demo", "%2e%2e%2f", "/etc/passwd", "a/b", `a\b`, "demo\x00", "demo ", " demo", "Demo", "CON",
		"demo\n", "*", "{tag}", "-demo", "_demo", "dеmo" /* a Cyrillic е */, strings.Repeat("a", 65),
		strings.Repeat("a", 10_000),
	} {
		d := newDraft(name, 1)
		wantFault(t, d.files(t), "does not match [a-z0-9]")
	}
}

func TestDecodeManifestRefusesDocuments(t *testing.T) {
	d := newDraft("demo", 1)
	whole := string(d.files(t)["manifest.json"].Data)
	tests := []struct {
		name, document, want string
	}{
		{"empty", "", "unexpected EOF"},
		{"a list", "[]", "is not an object"},
		{"null", "null", "is not an object"},
		{"cut", whole[:len(whole)/2], "is not JSON"},
		{"two documents", whole + "{}", "something after the document"},
		{"not UTF-8", strings.Replace(whole, "demo", "d\xffmo", 1), "is not UTF-8"},
		{"NaN", strings.Replace(whole, "3.25", "NaN", 1), "is not JSON"},
		{"key twice", strings.Replace(whole, `"name":"demo"`, `"name":"demo","name":"demo"`, 1), `duplicate key "name"`},
		{"key twice within", strings.Replace(whole, `"seed":1`, `"seed":1,"seed":2`, 1), `duplicate key "seed"`},
		{"key twice, once escaped", strings.Replace(whole, `"name":"demo"`, `"name":"demo","\u006eame":"x"`, 1),
			`duplicate key "name"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := d.files(t)
			files["manifest.json"].Data = []byte(tt.document)
			wantFault(t, files, tt.want)
		})
	}
}

// FuzzDecodeManifest holds that whatever is accepted is safe to use in the
// names and texts that are made of it, and is the same after a round trip.
func FuzzDecodeManifest(f *testing.F) {
	d := newDraft("demo", 1)
	d.manifest["digest"] = d.digest()
	sound, err := json.Marshal(d.manifest)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sound)
	f.Add(bytes.Replace(sound, []byte(`"demo"`), []byte(`"../demo"`), 1))
	f.Add(bytes.Replace(sound, []byte(`"name"`), []byte(`"NAME"`), 1))
	f.Add(bytes.Replace(sound, []byte(`3.25`), []byte(`1e999`), 1))
	f.Add([]byte(`{"format":"agiqa-checkpoint/1"}`))
	meaningful := newMeaningfulDraft("demo", 1)
	meaningful.manifest["digest"] = meaningful.digest()
	second, err := json.Marshal(meaningful.manifest)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(second)
	f.Add(bytes.Replace(second, []byte(`"448/r0c1"`), []byte(`"448/r9c9"`), 1))
	f.Add([]byte(strings.Repeat(`{"a":`, 100)))
	limits := checkpoint.DefaultLimits()
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := checkpoint.DecodeManifest(b, limits)
		if err != nil {
			if len(err.Error()) > 4096 {
				t.Errorf("error of %d bytes echoes the document", len(err.Error()))
			}
			return
		}
		if !quality.ValidCheckpointName(m.Name) {
			t.Errorf("name %q was accepted", m.Name)
		}
		if len(m.Categories) != quality.CategoryCount || len(m.Golden) == 0 || m.Score.Min >= m.Score.Max ||
			!m.Task.Valid() || len(m.Views) == 0 {
			t.Errorf("accepted %+v", m)
		}
		for _, text := range []string{m.Score.Unit, m.Encoder.Name, m.Licence} {
			if strings.ContainsAny(text, "\n\r\x00\x1b") || text == "" {
				t.Errorf("text %q was accepted", text)
			}
		}
		first, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("Marshal: %v", err)
		}
		again, err := checkpoint.DecodeManifest(first, limits)
		if err != nil {
			t.Fatalf("DecodeManifest refuses what it accepted: %v", err)
		}
		second, err := json.Marshal(again)
		if err != nil {
			t.Fatalf("Marshal: %v", err)
		}
		if !bytes.Equal(first, second) {
			t.Errorf("round trip: first %s\nsecond %s", first, second)
		}
	})
}
