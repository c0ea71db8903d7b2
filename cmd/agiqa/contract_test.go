package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/internal/contract"
)

// contradictions are answers to this process that the document doesn't
// describe.
var contradictions struct {
	sync.Mutex
	all []error
}

// documentFile names the file with the API's document, for the programs that
// tests run.
const documentFile = "TEST_OF_AGIQA_DOCUMENT"

// checkAnswers holds every answer that this process gets from an agiqa server, by
// its default transport, against the document. It reads that when there is an
// answer to check: most commands that tests run ask nothing.
func checkAnswers(report func(error)) {
	http.DefaultTransport = &contract.Transport{Base: http.DefaultTransport, Report: report,
		Document: sync.OnceValue(func() *contract.Document {
			data, err := os.ReadFile(os.Getenv(documentFile))
			var d *contract.Document
			if err == nil {
				d, err = contract.Read(data)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "the document:", err)
				os.Exit(1)
			}
			return d
		})}
}

// checkedRun runs the tests, and fails where an answer contradicts the document
// that the server prints, or where that is none.
func checkedRun(m *testing.M) int {
	remove, err := keepDocument()
	if err != nil {
		fmt.Fprintln(os.Stderr, "the document:", err)
		return 1
	}
	defer remove()
	checkAnswers(func(err error) {
		contradictions.Lock()
		defer contradictions.Unlock()
		contradictions.all = append(contradictions.all, err)
	})
	status := m.Run()
	contradictions.Lock()
	defer contradictions.Unlock()
	for _, err := range contradictions.all {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		status = 1
	}
	return status
}

// keepDocument proves the document and writes it where documentFile says.
func keepDocument() (remove func(), err error) {
	data, err := openAPI()
	if err != nil {
		return nil, err
	}
	if _, err := contract.Parse(data); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "agiqa-test-")
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "openapi.json")
	return func() { _ = os.RemoveAll(dir) }, errors.Join(os.WriteFile(name, data, 0o644), os.Setenv(documentFile, name))
}

// endOnContradiction ends a program that gets an answer that the document
// doesn't describe; its test sees the status.
func endOnContradiction(err error) {
	fmt.Fprintln(os.Stderr, "FAIL:", err)
	os.Exit(97)
}

func unmarshalled(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// wantServesItsDocument: what a server serves is what the answers of all tests
// are held against.
func wantServesItsDocument(t *testing.T, p *process) {
	t.Helper()
	resp, err := http.Get(p.url + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	d, err := contract.Parse(data)
	if err != nil {
		t.Fatalf("the served document: %v", err)
	}
	for _, path := range []string{"/v1/score", "/v1/compare", "/v1/preprocess"} {
		body := d.Operation(http.MethodPost, path)["requestBody"].(map[string]any)
		media := body["content"].(map[string]any)["application/json"].(map[string]any)
		example, err := json.Marshal(media["example"])
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(p.url+path, "application/json", bytes.NewReader(example))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s answers its example with %d", path, resp.StatusCode)
		}
	}
	printed, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(unmarshalled(t, data), unmarshalled(t, printed)) {
		t.Error("/openapi.json is not what agiqa openapi prints")
	}
}
