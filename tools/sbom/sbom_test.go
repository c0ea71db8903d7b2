package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestSBOM writes the bill of materials of this test's own binary.
func TestSBOM(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles cyclonedx-gomod")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := release{
		binary: self, version: "1.2.3-dev+abc", date: "2026-11-29T12:00:00Z", tools: "..",
		locks: []string{"../../embedded/requirements.lock", "../../encoders/clip-vit-b-16/requirements.lock"},
	}
	var got, again bytes.Buffer
	for _, out := range []*bytes.Buffer{&got, &again} {
		if err := r.write(t.Context(), out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), again.Bytes()) {
		t.Error("the second one differs")
	}
	if host, err := os.Hostname(); err != nil || bytes.Contains(got.Bytes(), []byte(host)) {
		t.Errorf("it names this machine (%v)", err)
	}
	schema := compile(t)
	if err := validate(t, schema, got.Bytes()); err != nil {
		t.Error(err)
	}
	for _, broken := range []struct{ old, new string }{
		{`"type": "library"`, `"type": "libary"`},
		{`"alg": "SHA-256"`, `"alg": "sha256"`},
		{`"specVersion": "1.6"`, `"specVersion": 1.6`},
	} {
		if err := validate(t, schema, bytes.Replace(got.Bytes(), []byte(broken.old), []byte(broken.new), 1)); err == nil {
			t.Errorf("the schema takes %s", broken.new)
		}
	}

	var bom struct {
		Metadata struct {
			Timestamp string
			Component struct{ Name, Version string }
		}
		Components []struct {
			Name, Version, Purl string
			Evidence            struct{ Licenses []any }
			Properties          []struct{ Name, Value string }
			ExternalReferences  []struct{ Hashes []struct{ Content string } }
		}
	}
	if err := json.Unmarshal(got.Bytes(), &bom); err != nil {
		t.Fatal(err)
	}
	if m := bom.Metadata; m.Component.Name != "agiqa" || m.Component.Version != r.version || m.Timestamp != r.date {
		t.Errorf("metadata %+v", m)
	}
	find := func(name, version string) (found bool) {
		for _, c := range bom.Components {
			if c.Name != name || !strings.HasPrefix(c.Version, version) {
				continue
			}
			found = true
			switch ours := strings.HasPrefix(c.Purl, "pkg:pypi/"); {
			case ours && (len(c.ExternalReferences) == 0 || len(c.ExternalReferences[0].Hashes) == 0):
				t.Errorf("%s has no hashes", name)
			case !ours && name != "std" && len(c.Evidence.Licenses) == 0:
				t.Errorf("%s has no licence", name)
			}
		}
		return found
	}
	for name, version := range map[string]string{
		"std": "go1.", "github.com/CycloneDX/cyclonedx-go": "v", "numpy": "1.", "nvidia-pytriton": "", "sahu65": "",
	} {
		if !find(name, version) {
			t.Errorf("%s %s is missing", name, version)
		}
	}
	// One version for old Pythons and another for the rest: both, each with its condition.
	if !find("onnxruntime", "1.23.") || !find("onnxruntime", "1.3") {
		t.Error("versions of onnxruntime are missing")
	}
}

// compile reads the schemas of CycloneDX 1.6 from the module that encodes it.
func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}",
		"github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := os.DirFS(filepath.Join(strings.TrimSpace(string(out)), "schema"))
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for id, file := range map[string]string{
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json",
		"jsf-0.82.schema.json": "jsf-0.82.schemax.json", // as it is named there
	} {
		content, err := fs.ReadFile(dir, file)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+id, parse(t, content)); err != nil {
			t.Fatal(err)
		}
	}
	return c.MustCompile("http://cyclonedx.org/schema/bom-1.6.schema.json")
}

func validate(t *testing.T, schema *jsonschema.Schema, document []byte) error {
	t.Helper()
	return schema.Validate(parse(t, document))
}

func parse(t *testing.T, content []byte) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return value
}
