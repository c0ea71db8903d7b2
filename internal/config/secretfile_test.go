package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/agiqa/agiqa/internal/config"
)

// secretValues has a valid value for each secret. A new secret needs one here.
var secretValues = map[string]string{
	"admin-key": "0123456789abcdef", "api-key": "0123456789abcdef", "experiment-key": "0123456789abcdef",
	"experiment-store": "postgres://u:hunter2@h/d", "redis-url": "redis://:hunter2@h",
	"cache-key": "0123456789abcdef", "cache-key-previous": "0123456789abcdef",
	"triton-control-key": "0123456789abcdef",
}

// secretFile writes a file that its owner alone may read.
func secretFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// fieldsOfSecrets are the fields of type Secret that have a value.
func fieldsOfSecrets(s config.Settings) []string {
	var set []string
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if secret, ok := v.Field(i).Interface().(config.Secret); ok && secret != "" {
			set = append(set, string(secret))
		}
	}
	return set
}

// TestEverySecretCanComeFromAFile: by flag, variable and settings file, with or
// without a newline at the end.
func TestEverySecretCanComeFromAFile(t *testing.T) {
	secrets := 0
	for _, st := range config.All() {
		if st.Type != "secret" {
			continue
		}
		secrets++
		value, key := secretValues[st.Key], st.Key+"-file"
		for _, end := range []string{"", "\n", "\r\n", " \n\n"} {
			name := secretFile(t, value+end)
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			config.AddFlags(flags, st.Group)
			if err := flags.Set(key, name); err != nil {
				t.Fatal(err)
			}
			for way, src := range map[string]config.Sources{
				"flag":     {Flags: flags},
				"variable": {Environ: []string{config.EnvName(key) + "= " + name + " "}},
				"file":     {File: []byte(config.FileKey(key) + ": " + name), FileName: "agiqa.yaml"},
			} {
				got, err := config.Load(src)
				if diff := cmp.Diff([]string{value}, fieldsOfSecrets(got)); err != nil || diff != "" {
					t.Errorf("%s by %s, end %q: %v, %s", key, way, end, err, diff)
				}
				if given, err := config.GivenBy(src); err != nil || len(given) != 1 || given[key].Source == "" {
					t.Errorf("%s by %s: given %v, %v", key, way, given, err)
				}
			}
		}
		if names := config.UnknownVariables([]string{config.EnvName(key) + "=x"}); len(names) > 0 {
			t.Errorf("%s is taken for a typing error", names)
		}
	}
	if fields := reflect.TypeFor[config.Settings](); secrets == 0 || secrets != len(secretValues) {
		t.Errorf("%d secrets among %d settings, %d values in this test", secrets, fields.NumField(), len(secretValues))
	}
}

// TestUnusableSecretFiles: the error names the setting, where the name of the file
// came from, and the file, and shows nothing of its content.
func TestUnusableSecretFiles(t *testing.T) {
	for _, test := range []struct {
		name, key, file, want string
		also                  []string // further variables
	}{
		{name: "missing", key: "admin-key", file: filepath.Join(t.TempDir(), "absent"), want: "no such file"},
		{name: "a folder", key: "admin-key", file: t.TempDir(), want: "not a regular one"},
		{name: "a device", key: "admin-key", file: os.DevNull, want: "not a regular one"},
		{name: "empty", key: "admin-key", file: secretFile(t, ""), want: "is empty"},
		{name: "white space", key: "experiment-store", file: secretFile(t, " \n"), want: "is empty"},
		{name: "two lines", key: "experiment-key", file: secretFile(t, "hunter2-hunter2-hunter2\nx\n"),
			want: "more than one line"},
		{name: "huge", key: "redis-url", file: secretFile(t, strings.Repeat("hunter2 ", 10_000)), want: "65536 bytes"},
		{name: "a control character", key: "redis-url", file: secretFile(t, "redis://h\x00hunter2"),
			want: "control character"},
		{name: "no header carries it", key: "admin-key", file: secretFile(t, "hunter2 hunter2 hunter2"),
			want: "printable ASCII"},
		{name: "too short", key: "admin-key", file: secretFile(t, "hunter2"), want: "16 to 256 characters"},
		{name: "a short experiment key", key: "experiment-key", file: secretFile(t, "hunter2"), want: "at least 16 bytes"},
		{name: "no URL", key: "redis-url", file: secretFile(t, "http://:hunter2@h"), want: "scheme redis"},
		{name: "both", key: "admin-key", file: secretFile(t, secretValues["admin-key"]),
			also: []string{"AGIQA_ADMIN_KEY=hunter2hunter2hunter2"}, want: "is also given by AGIQA_ADMIN_KEY"},
	} {
		variable := config.EnvName(test.key + "-file")
		_, err := config.Load(config.Sources{Environ: append(test.also, variable+"="+test.file)})
		if err == nil {
			t.Errorf("%s: accepted", test.name)
			continue
		}
		for _, want := range []string{"setting " + test.key + " ", "from " + variable + ", " + test.file + "): ", test.want} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error lacks %q: %v", test.name, want, err)
			}
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a part of the secret: %v", test.name, err)
		}
	}
	_, err := config.Load(config.Sources{
		Environ: []string{"AGIQA_ADMIN_KEY_FILE=" + secretFile(t, secretValues["admin-key"])},
		File:    []byte("admin_key: " + secretValues["admin-key"]), FileName: "agiqa.yaml",
	})
	if err == nil || !strings.Contains(err.Error(), "is also given by agiqa.yaml") {
		t.Errorf("a secret in the settings file and in a file of its own: %v", err)
	}
}

func TestExposedSecrets(t *testing.T) {
	for mode, exposed := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o444: true, 0o604: true} {
		name := secretFile(t, secretValues["admin-key"])
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		got, err := config.ExposedSecrets(config.Sources{Environ: []string{"AGIQA_ADMIN_KEY_FILE=" + name}})
		if err != nil || exposed != (len(got) == 1 && strings.Contains(got[0], name)) || !exposed && got != nil {
			t.Errorf("mode %o: %v, %v", mode, got, err)
		}
	}
}
