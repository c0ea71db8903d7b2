package analysis_test

import (
	"flag"
	"os"
	"testing"
)

// A case of the replay property makes two whole reports: 25 cases unless more are
// asked for.
func TestMain(m *testing.M) {
	flag.Parse()
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := flag.Set("rapid.checks", "25"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
