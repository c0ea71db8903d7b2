// Command sbom writes the software bill of materials of a release in CycloneDX's
// JSON: the Go modules in a binary, and the packages that lock files pin.
//
//	go run ./tools/sbom -binary FILE -version VERSION -date DATE -out FILE LOCK...
//
// cyclonedx-gomod lists the modules with their licences, which are in the module
// cache when the binary was built here; what is missing there is downloaded.
// The same arguments give the same bytes.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/agiqa/agiqa/tools/locks"
)

func main() {
	var r release
	flag.StringVar(&r.binary, "binary", "", "the program")
	flag.StringVar(&r.version, "version", "", "its version")
	flag.StringVar(&r.date, "date", "", "when it was made, RFC 3339")
	out := flag.String("out", "", "file to write")
	flag.Parse()
	r.locks, r.tools = flag.Args(), "tools"
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := r.writeTo(ctx, *out); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		stop()
		os.Exit(1)
	}
}

// release is what a bill of materials is written of.
type release struct {
	binary, version, date string
	locks                 []string
	tools                 string // the folder of gotools.mod
}

func (r release) writeTo(ctx context.Context, path string) error {
	if r.binary == "" || r.version == "" || r.date == "" || path == "" {
		return errors.New("-binary, -version, -date and -out are needed")
	}
	var content bytes.Buffer
	if err := r.write(ctx, &content); err != nil {
		return err
	}
	return os.WriteFile(path, content.Bytes(), 0o644)
}

func (r release) write(ctx context.Context, w io.Writer) error {
	bom, err := r.goModules(ctx)
	if err != nil {
		return err
	}
	components := *bom.Components
	for _, file := range r.locks {
		pins, err := locks.Read(file)
		if err != nil {
			return err
		}
		for _, p := range pins {
			components = append(components, component(p))
		}
	}
	slices.SortFunc(components, func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	bom.Components = &components
	bom.Metadata.Timestamp = r.date
	bom.Metadata.Component.Name, bom.Metadata.Component.Version = "agiqa", r.version
	bom.Metadata.Licenses = nil
	encoder := cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false)
	return encoder.EncodeVersion(bom, cdx.SpecVersion1_6)
}

// goModules runs cyclonedx-gomod, and leaves out of its answer what tells one
// machine from another.
func (r release) goModules(ctx context.Context) (*cdx.BOM, error) {
	tool := exec.CommandContext(ctx, "go", "tool", "-n", "-modfile=gotools.mod", "cyclonedx-gomod")
	tool.Dir = r.tools
	path, err := output(tool)
	if err != nil {
		return nil, fmt.Errorf("build cyclonedx-gomod: %w", err)
	}
	cmd := exec.CommandContext(ctx, strings.TrimSpace(string(path)), "bin", "-json", "-licenses", "-std", "-noserial",
		"-notimestamp", "-version", "v"+r.version, r.binary)
	// Building the binary has checked the modules against go.sum.
	cmd.Env = append(os.Environ(), "GOSUMDB=off")
	listed, err := output(cmd)
	if err != nil {
		return nil, fmt.Errorf("cyclonedx-gomod: %w", err)
	}
	bom := new(cdx.BOM)
	if err := cdx.NewBOMDecoder(bytes.NewReader(listed), cdx.BOMFileFormatJSON).Decode(bom); err != nil {
		return nil, fmt.Errorf("cyclonedx-gomod: %w", err)
	}
	if bom.Components == nil || bom.Metadata == nil || bom.Metadata.Component == nil || bom.Metadata.Tools == nil ||
		bom.Metadata.Tools.Tools == nil {
		return nil, fmt.Errorf("cyclonedx-gomod lists no module of %s", r.binary)
	}
	for i := range *bom.Metadata.Tools.Tools {
		(*bom.Metadata.Tools.Tools)[i].Hashes = nil // of a program that was built here
	}
	return bom, nil
}

// component describes a pin. Its hashes are those of the files that are accepted.
func component(p locks.Pin) cdx.Component {
	purl := "pkg:pypi/" + p.Name + "@" + p.Version
	c := cdx.Component{Type: cdx.ComponentTypeLibrary, Name: p.Name, Version: p.Version, PackageURL: purl, BOMRef: purl}
	if p.Marker != "" {
		c.Properties = &[]cdx.Property{{Name: "agiqa:python:marker", Value: p.Marker}}
	}
	var hashes []cdx.Hash
	for _, h := range p.Hashes {
		hashes = append(hashes, cdx.Hash{Algorithm: cdx.HashAlgoSHA256, Value: strings.TrimPrefix(h, "sha256:")})
	}
	c.ExternalReferences = &[]cdx.ExternalReference{{
		Type: cdx.ERTypeDistribution, URL: "https://pypi.org/project/" + p.Name + "/" +
			p.Version + "/#files", Hashes: &hashes,
	}}
	return c
}

func output(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
