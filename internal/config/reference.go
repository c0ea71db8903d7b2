package config

import (
	"fmt"
	"strings"
)

// Reference returns the reference page of all settings, in Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" +
		"<!-- Made by `agiqa config reference`; `make generate` writes it anew. -->\n\n" +
		"Each setting has a flag, an environment variable and a key in a YAML file " +
		"(`--config FILE` or `AGIQA_CONFIG`).\n" +
		"A flag takes precedence over the variable, the variable over the file, the file over the default.\n" +
		"An empty variable counts as not set; white space around a value is removed.\n" +
		"Amounts of memory take `B`, `kB`, `MB`, `GB`, `KiB`, `MiB`, `GiB`; " +
		"durations are written as `500ms`, `30s`, `2h`.\n" +
		"All faults are reported at once, each with the setting's name.\n" +
		"Each secret can also be read from a file (`--admin-key-file`, `AGIQA_ADMIN_KEY_FILE`, `admin_key_file`), " +
		"which keeps it out of command lines, environments and the settings file. " +
		"The file has one line; giving both the secret and its file is an error.\n" +
		"\nThe OpenTelemetry SDK also reads `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` and " +
		"`OTEL_EXPORTER_OTLP_HEADERS`.\n")
	group := ""
	for _, s := range All() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n## %s\n\n"+
				"| flag | variable | file key | type | values | default | meaning |\n"+
				"|---|---|---|---|---|---|---|\n", group)
		}
		def := "(empty)"
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		fmt.Fprintf(&b, "| `--%s` | `%s` | `%s` | %s | %s | %s | %s |\n",
			s.Key, EnvName(s.Key), FileKey(s.Key), s.Type, s.Bounds, def, s.Help)
	}
	return b.String()
}
