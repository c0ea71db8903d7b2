package config

import "fmt"

// Fault is one bad setting.
type Fault struct {
	Key    string // kebab-case
	Source string // where the value came from: a flag, a variable, a file
	Text   string
}

// Error names the setting by its flag and its variable.
func (f *Fault) Error() string {
	return fmt.Sprintf("setting %s (--%s, %s; from %s): %s", f.Key, f.Key, EnvName(f.Key), f.Source, f.Text)
}
