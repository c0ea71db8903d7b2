package load_test

import (
	"os"
	"testing"

	"github.com/agiqa/agiqa/benchmarks/load"
)

func TestUsageOfThisProcess(t *testing.T) {
	t.Parallel()
	u, err := load.ReadUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.RSSKB < 1000 || u.FDs < 3 || u.Threads < 1 {
		t.Errorf("usage %+v", u)
	}
	if _, err := load.ReadUsage(1 << 30); err == nil {
		t.Error("a process that is not there has a usage")
	}
}
