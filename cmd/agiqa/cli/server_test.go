package cli_test

import (
	"testing"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/config"
)

// Settings that only a server reads are refused in the environment and the file
// too, where the server was not named but found.
func TestSettingsBesideAServerThatWasFound(t *testing.T) {
	src := config.Sources{
		Environ:  []string{"AGIQA_QUEUE=7", "AGIQA_PREPROCESS=fast", "AGIQA_DATA_DIR=x", "AGIQA_LISTEN="},
		File:     []byte("max_images: 3\n"),
		FileName: "agiqa.yaml",
	}
	given, err := config.GivenBy(src)
	if err != nil {
		t.Fatal(err)
	}
	want := "agiqa.yaml: max_images, AGIQA_QUEUE have no effect on the server that runs at http://s: " +
		"stop that server, or start another one for this command with --embedded, or name the server with --url"
	if err := cli.CheckEffective(given, "http://s"); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	src.Environ = append(src.Environ, "AGIQA_URL=http://s")
	if given, err = config.GivenBy(src); err != nil || cli.CheckEffective(given, "http://s") != nil {
		t.Errorf("of a named server: %v, %v", err, cli.CheckEffective(given, "http://s"))
	}
}
