package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A component is part of agiqa, or runs beside it, without being a Go module.
type component struct {
	name, version string
	licence       licence
	use           string
	// files are the licences' texts, by their path in the repository; a
	// component that the repository does not contain has none.
	files []string
	texts []document
}

// pythonLock pins what is installed for the embedded Triton.
const pythonLock = "embedded/requirements.lock"

// swguiSwaggerUI is the Swagger UI inside swgui v1.8.5, as its README says.
const swguiSwaggerUI = "5.29.1"

// components returns the list, with versions and texts read from the repository.
func components(root string) ([]component, error) {
	list := []component{
		{
			name: "CLIP vocabulary (bpe_simple_vocab_16e6.txt)", version: "from open_clip_torch", licence: mit,
			use:   "in the binary: byte-pair merges of the tokenizer",
			files: []string{"clip/vocab/LICENSE.openai_clip", "clip/vocab/LICENSE.open_clip"},
		},
		{name: "Swagger UI", version: swguiSwaggerUI, licence: apache2, use: "in the binary: the page /docs"},
		{name: "nvidia-pytriton", licence: apache2, use: "beside the binary: its tritonserver, run by `agiqa up`"},
		{name: "numpy", licence: bsd3, use: "beside the binary: heads in the embedded Triton"},
		{name: "onnxruntime", licence: mit, use: "beside the binary: encoders in the embedded Triton"},
	}
	lock, err := os.ReadFile(filepath.Join(root, pythonLock))
	if err != nil {
		return nil, err
	}
	for i := range list {
		if err := complete(&list[i], root, string(lock)); err != nil {
			return nil, fmt.Errorf("component %s: %w", list[i].name, err)
		}
	}
	return list, nil
}

// complete reads what the repository says of a component: its version in the
// lock file when none is given, and its texts.
func complete(c *component, root, lock string) error {
	if c.version == "" {
		versions := locked(lock, c.name)
		if len(versions) == 0 {
			return fmt.Errorf("%s does not pin it", pythonLock)
		}
		c.version = strings.Join(versions, " or ")
	}
	for _, file := range c.files {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil {
			return err
		}
		found := classify(string(text))
		if len(found) != 1 || found[0] != c.licence {
			return fmt.Errorf("%s reads as %q, want %s", file, found, c.licence)
		}
		c.texts = append(c.texts, document{licences: found, text: string(text)})
	}
	return nil
}

// locked returns the versions that a lock file pins of a package: one for each
// of its conditions.
func locked(lock, name string) []string {
	pin := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `==([^\s;\\]+)`)
	var versions []string
	for _, m := range pin.FindAllStringSubmatch(lock, -1) {
		versions = append(versions, m[1])
	}
	return versions
}
