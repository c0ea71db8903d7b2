package gateway_test

import (
	"strings"
	"testing"

	"github.com/agiqa/agiqa/gateway"
)

func TestConfigValidateNamesEveryField(t *testing.T) {
	err := gateway.Config{}.Validate()
	for _, field := range []string{"RequestTimeout", "MaxBodyBytes", "MaxImages", "MaxImageBytes"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
	if _, err := gateway.New(gateway.Config{}, gateway.Deps{}); err == nil {
		t.Error("New took a configuration that cannot be right")
	}
}
