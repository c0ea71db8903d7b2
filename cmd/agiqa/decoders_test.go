package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/config"
)

// TestDecodersSettingHasNoEffect: its values of old are read, with a warning
// that names the source, and others are refused as ever.
func TestDecodersSettingHasNoEffect(t *testing.T) {
	for _, tc := range []struct {
		env, warning string
		sound        bool
	}{
		{"", "", true},
		{"AGIQA_DECODERS=go", "AGIQA_DECODERS is deprecated and has no effect", true},
		{"AGIQA_DECODERS=auto", "AGIQA_DECODERS is deprecated and has no effect", true},
		{"AGIQA_DECODERS=libwebp", "", false},
	} {
		var notes bytes.Buffer
		cmd := &cobra.Command{}
		config.AddFlags(cmd.Flags(), cli.ServerGroups...)
		_, err := cli.LoadSettings(cmd, &cli.Terminal{Err: &notes, Env: []string{tc.env}})
		if (err == nil) != tc.sound || err != nil && !strings.Contains(err.Error(), "AGIQA_DECODERS") {
			t.Errorf("%s: error %v", tc.env, err)
		}
		if got := notes.String(); got != "" != (tc.warning != "") || !strings.Contains(got, tc.warning) {
			t.Errorf("%s: notes %q, want %q", tc.env, got, tc.warning)
		}
	}
}

func TestDoctorLooksAtDecoders(t *testing.T) {
	if f := lookAtDecoders(t.Context(), config.Default()); !f.OK || !strings.Contains(f.Detail, "Pillow's pixels") {
		t.Errorf("finding %+v", f)
	}
}
