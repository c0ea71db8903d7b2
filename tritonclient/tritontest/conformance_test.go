package tritontest_test

import (
	"testing"

	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

func TestFakeConforms(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp), tritontest.WithMaxBatch(4))
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
}
