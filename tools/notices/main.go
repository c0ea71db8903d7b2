// Command notices writes THIRD_PARTY_NOTICES.md: what the agiqa binary contains
// of others' work, under which licence, with the texts that these licences want
// passed on.
//
//	go run ./tools/notices
//
// The Go modules are those that the go command links into cmd/agiqa, their
// licences are read from the module cache. The rest (files in the repository,
// Python packages that run beside the binary) is the list in components.go. A
// module without a licence, or with one that is not on the allow-list, is an
// error: nothing is written, and a person decides.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("o", "THIRD_PARTY_NOTICES.md", "file to write")
	flag.Parse()
	if err := write(context.Background(), ".", *out); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

func write(ctx context.Context, root, out string) error {
	text, err := generate(ctx, root)
	if err != nil {
		return err
	}
	return os.WriteFile(out, []byte(text), 0o644)
}

// generate makes the page for the repository at root.
func generate(ctx context.Context, root string) (string, error) {
	works, err := modules(ctx, root)
	if err != nil {
		return "", err
	}
	others, err := components(root)
	if err != nil {
		return "", err
	}
	return render(works, others), nil
}
