package cli

import "runtime/debug"

// Version is the release. The commit comes from the build information.
const Version = "0.1.0"

// VersionText returns the version with its commit, if that is known.
func VersionText() string {
	if c := Commit(); c != "" {
		return Version + " (" + c + ")"
	}
	return Version
}

// Commit returns the first 12 characters of the commit that the binary was built
// from, or "" where the build did not record it.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return ""
}
