package tritontest_test

import (
	"testing"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

func TestFakeConforms(t *testing.T) {
	cp, other := tritontest.Checkpoint("demo"), tritontest.Checkpoint("other")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp, other), tritontest.WithMaxBatch(4))
	panel, err := quality.NewPanel("test/1", []quality.Checkpoint{other, cp})
	if err != nil {
		t.Fatal(err)
	}
	texts := []quality.TextEmbeddings{tritontest.Texts(tritontest.Encoder()), tritontest.Texts(tritontest.Encoder())}
	texts[0][0], texts[0][5] = texts[0][5], texts[0][0] // the two are not alike
	s.AddPanel(panel, texts)
	client, err := tritonclient.New(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	tritontest.Conformance(t, client, tritontest.Encoder(), cp)
	tritontest.PanelConformance(t, client, tritontest.Encoder(), panel, texts)
}
