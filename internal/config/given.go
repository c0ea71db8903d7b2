package config

import "strings"

// Use says who reads a setting.
type Use string

// Who reads a setting.
const (
	UseServer  Use = ""        // a server, when it starts
	UseRequest Use = "request" // a server; clients send it with a request
	UseFolder  Use = "folder"  // a server; clients look for its keys there
	UseProcess Use = "process" // whichever process has it
)

// readBy declares a setting that not only a server reads.
func (st Setting) readBy(u Use) Setting {
	st.Use = u
	return st
}

// Given is a setting that was set.
type Given struct {
	Source string // "--queue", "AGIQA_QUEUE" or "agiqa.yaml: queue"
	Flag   bool   // it was set on the command line
}

// GivenBy returns the settings that src sets, by key, each with the source that
// takes precedence. A variable of OpenTelemetry's own sets nothing here: it is
// meant for every program.
func GivenBy(src Sources) (map[string]Given, error) {
	file, err := readFile(src)
	if err != nil {
		return nil, err
	}
	env, given := Environment(src.Environ), map[string]Given{}
	for _, st := range All() {
		switch _, source := src.lookup(st, file, env); {
		case source == "--"+st.Key:
			given[st.Key] = Given{Source: source, Flag: true}
		case source == EnvName(st.Key):
			given[st.Key] = Given{Source: source}
		case source != "default" && !strings.HasPrefix(source, "OTEL_"):
			given[st.Key] = Given{Source: source + ": " + FileKey(st.Key)}
		}
	}
	return given, nil
}
