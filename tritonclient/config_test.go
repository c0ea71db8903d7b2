package tritonclient_test

import (
	"strings"
	"testing"

	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

func TestDefaultConfigIsValid(t *testing.T) {
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses = []string{"127.0.0.1:8001", "[::1]:8001", "triton.example:8001"}
	if err := cfg.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
}

func TestValidateReportsEveryFault(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  tritonclient.Config
		want []string
	}{
		{"zero", tritonclient.Config{}, []string{
			"Addresses: empty", "Models.ImageEncoder", "Models.TextEncoder", "MinBudget", "StatusTimeout",
			"LoadTimeout", "MaxBatch", "MaxInFlight", "Connections", "MaxMessageBytes",
		}},
		{"addresses", tritonclient.Config{Config: replicas.Config{
			Addresses: []string{"a:1", "nohost", ":1", "b:0", "b:65536", "b:http", "a:1"},
		}}, []string{
			`Addresses[1]: "nohost"`, `Addresses[2]: ":1"`, `Addresses[3]: "b:0"`, `Addresses[4]: "b:65536"`,
			`Addresses[5]: "b:http"`, `Addresses[6]: "a:1" is given twice`,
		}},
		{"times", tritonclient.Config{Margin: -1, MinBudget: 10, RequestTimeout: 5}, []string{"Margin:", "RequestTimeout:"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.cfg.Validate()
			if err == nil {
				t.Fatal("Validate found nothing")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
			if c, err := tritonclient.New(test.cfg); err == nil {
				_ = c.Close()
				t.Error("New accepted it")
			}
		})
	}
}
