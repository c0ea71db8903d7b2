package encoder

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/internal/lockfile"
	"github.com/agiqa/agiqa/quality"
)

//go:embed model/model.py model/encoder.pbtxt.tmpl
var masters embed.FS

// WriteRepository makes dir a complete Triton model repository: the encoder,
// its image graph in the given precisions, and the heads and ensembles of
// those bundles that were trained on this encoder. Each model has its three
// configurations; embedded and cpu serve int8, gpu serves fp32.
//
// The folder appears whole or not at all. One that is whole already is left
// alone, and graphs that are there are taken over, so that archive is read only
// where a graph is missing. changed says whether anything was written.
func (f *Folder) WriteRepository(
	dir, archive string, bundles []*checkpoint.Bundle, precisions ...Precision,
) (changed bool, err error) {
	parent, name := filepath.Dir(dir), filepath.Base(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return false, err
	}
	unlock, err := lockfile.Acquire(filepath.Join(parent, "."+name+".lock"))
	if err != nil {
		return false, fmt.Errorf("another process writes %s: %w", dir, err)
	}
	defer unlock()
	if err := removeLeftovers(parent, name); err != nil {
		return false, err
	}
	// Beside its target, since a rename is atomic within one file system only.
	staged, err := os.MkdirTemp(parent, "."+name+".new-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(staged) // nothing, once it was renamed
	if err := os.Chmod(staged, 0o755); err != nil {
		return false, err
	}
	if err := f.stage(staged, dir, archive, bundles, precisions); err != nil {
		return false, err
	}
	same, err := sameTree(staged, dir)
	if err != nil || same {
		return false, err
	}
	return true, replace(staged, dir)
}

// stage writes the repository into an empty folder. Graphs are linked from the
// folder present where that has them.
func (f *Folder) stage(staged, present, archive string, bundles []*checkpoint.Bundle, precisions []Precision) error {
	for _, p := range []Precision{Int8, FP32} {
		file := graphOf(p)
		if err := makeFolders(staged, filepath.Dir(file)); err != nil {
			return err
		}
		if fileMatches(filepath.Join(present, file), f.Files[file]) &&
			os.Link(filepath.Join(present, file), filepath.Join(staged, file)) == nil {
			continue
		}
		if !slices.Contains(precisions, p) {
			continue
		}
		graph, err := f.Image(archive, p)
		if err != nil {
			return err
		}
		if err := writeFile(staged, file, graph); err != nil {
			return err
		}
	}
	text, err := f.Text()
	if err != nil {
		return err
	}
	files, err := f.modelFiles()
	if err != nil {
		return err
	}
	files[textGraph], files[DocumentFile] = text, f.raw
	for file, content := range files {
		if err := writeFile(staged, file, content); err != nil {
			return err
		}
	}
	for _, b := range f.own(bundles) {
		if err := checkpoint.Materialize(b, staged); err != nil {
			return err
		}
	}
	return nil
}

// own returns the bundles that were trained on this encoder.
func (f *Folder) own(bundles []*checkpoint.Bundle) []*checkpoint.Bundle {
	return slices.DeleteFunc(slices.Clone(bundles), func(b *checkpoint.Bundle) bool {
		return b.Checkpoint().Encoder != f.Digest
	})
}

// Configurations returns the configurations of all models that
// [Folder.WriteRepository] writes, by their names in the repository.
func (f *Folder) Configurations(bundles []*checkpoint.Bundle) (map[string][]byte, error) {
	all, err := f.modelFiles()
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(all, func(name string, _ []byte) bool { return path.Ext(name) != ".pbtxt" })
	for _, b := range f.own(bundles) {
		own, err := checkpoint.Configurations(b)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, own)
	}
	return all, nil
}

// CheckRepository reports why dir isn't a whole repository that
// [Folder.WriteRepository] made of this encoder and these bundles, with the
// graph for precision p; nil if it is. Contents were checked when they were
// written; this looks at names and sizes only, so that it's quick. Whoever
// wants to know what the configurations say compares [Folder.Configurations].
func (f *Folder) CheckRepository(dir string, bundles []*checkpoint.Bundle, p Precision) error {
	present, err := os.ReadFile(filepath.Join(dir, DocumentFile))
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("it hasn't been built")
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(present, f.raw) {
		return errors.New("it was built for another version of the encoder")
	}
	for _, file := range []string{graphOf(p), textGraph} {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil || info.Size() != f.Files[file].Bytes {
			return fmt.Errorf("it lacks %s", file)
		}
	}
	for _, b := range f.own(bundles) {
		c := b.Checkpoint()
		models := []string{c.HeadModel()}
		if c.HasEnsemble() {
			models = append(models, c.EnsembleModel())
		}
		for _, model := range models {
			if _, err := os.Stat(filepath.Join(dir, model)); err != nil {
				return fmt.Errorf("it lacks the models of checkpoint %s", c.Name)
			}
		}
	}
	return nil
}

// tensorConfig is an input or output without its batch.
type tensorConfig struct {
	Name, Type string
	Dims       []int
}

// parameter is a fact that the gateway reads from a configuration.
type parameter struct{ Key, Value string }

// modelConfig is what the configurations of a model share.
type modelConfig struct {
	Name                 string
	MaxBatch, UsualBatch int // the second is what an engine is tuned for
	Inputs, Outputs      []tensorConfig
	Parameters           []parameter
	WarmUp               []int

	Variant checkpoint.Variant
	Graph   string // file name
	FP16    bool   // a GPU may compute in half precision

	Instances int // that run at once; several have a thread each
}

// Batch sizes of the encoders.
const (
	imageBatch, usualImages = 32, 8
	textBatch, usualTexts   = 64, quality.CategoryCount // the prompts of one checkpoint
)

// cpuInstances is how many processors the configuration cpu keeps busy with
// images: the limit of its container in compose.
const cpuInstances = 8

// modelFiles returns the configurations and the program of both encoders, by
// their names in the repository.
func (f *Folder) modelFiles() (map[string][]byte, error) {
	program, err := masters.ReadFile("model/model.py")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{imageModel + "/1/model.py": program, textModel + "/1/model.py": program}
	for _, v := range []checkpoint.Variant{checkpoint.Embedded, checkpoint.CPU, checkpoint.GPU} {
		for _, m := range []modelConfig{f.imageConfig(v), f.textConfig(v)} {
			text, err := m.text()
			if err != nil {
				return nil, err
			}
			files[m.Name+"/configs/"+string(v)+".pbtxt"] = text
		}
	}
	return files, nil
}

// shared are the parameters of both encoders.
func (d Document) shared() []parameter {
	return []parameter{{"encoder_digest", d.Digest.String()}, {"encoder_name", d.Name}}
}

func (d Document) imageConfig(v checkpoint.Variant) modelConfig {
	precision, instances := Int8, 1
	switch v {
	case checkpoint.GPU:
		precision = FP32
	case checkpoint.CPU:
		instances = cpuInstances
	}
	m := modelConfig{
		Name: imageModel, MaxBatch: imageBatch, UsualBatch: usualImages,
		Inputs:     []tensorConfig{{tensorPixels, "TYPE_UINT8", []int{d.ImageSize, d.ImageSize, 3}}},
		Outputs:    []tensorConfig{{tensorImage, "TYPE_FP32", []int{d.EmbeddingDim}}},
		WarmUp:     []int{1, usualImages, imageBatch},
		Variant:    v,
		Graph:      filepath.Base(graphOf(precision)),
		FP16:       true,
		Instances:  instances,
		Parameters: append(d.shared(), parameter{"encoder_precision", string(precision)}),
	}
	if d.DefaultCheckpoint != "" {
		m.Parameters = append(m.Parameters, parameter{"default_checkpoint", d.DefaultCheckpoint})
	}
	if v == checkpoint.Embedded {
		m.Parameters = append(m.Parameters, parameter{"graph_file", m.Graph})
	}
	return m
}

func (d Document) textConfig(v checkpoint.Variant) modelConfig {
	l, w := d.ContextLength, d.TextWidth
	return modelConfig{
		Name: textModel, MaxBatch: textBatch, UsualBatch: usualTexts,
		Inputs: []tensorConfig{
			{"token_ids", "TYPE_INT32", []int{l}}, {"context", "TYPE_FP32", []int{l, w}},
			{"context_mask", "TYPE_UINT8", []int{l}},
		},
		Outputs:   []tensorConfig{{"text_embedding", "TYPE_FP32", []int{d.EmbeddingDim}}},
		WarmUp:    []int{1, usualTexts, textBatch},
		Variant:   v,
		Graph:     filepath.Base(textGraph),
		Instances: 1,
		Parameters: append(d.shared(), parameter{"text_width", strconv.Itoa(w)}, parameter{"context_length", strconv.Itoa(l)},
			parameter{"text_capability", d.Capabilities.Text}),
	}
}

// text returns the configuration. What the template inserts is digests,
// numbers and checked names: nothing that needs escaping.
func (m modelConfig) text() ([]byte, error) {
	join := func(separator string, dims []int) string {
		texts := make([]string, len(dims))
		for i, d := range dims {
			texts[i] = strconv.Itoa(d)
		}
		return strings.Join(texts, separator)
	}
	const file = "encoder.pbtxt.tmpl"
	t, err := template.New(file).Funcs(template.FuncMap{
		"list": join,
		// profile is the shapes of all inputs at one batch size, as TensorRT wants them.
		"profile": func(inputs []tensorConfig, batch int) string {
			shapes := make([]string, len(inputs))
			for i, in := range inputs {
				shapes[i] = in.Name + ":" + join("x", append([]int{batch}, in.Dims...))
			}
			return strings.Join(shapes, ",")
		},
	}).ParseFS(masters, "model/"+file)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, m); err != nil {
		return nil, fmt.Errorf("configuration of %s for %s: %w", m.Name, m.Variant, err)
	}
	return out.Bytes(), nil
}
