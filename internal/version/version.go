// Package version says which build of agiqa this is: the release, the commit,
// and whether anything was changed since. The build writes the last two into the
// binary; see stamp.sh.
package version

import (
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// Number is the release that this code becomes, and the only place that says so.
// Every build but the release's own has a version that continues it with "-dev".
const Number = "0.1.0"

// stamp is what stamp.sh printed, set by the linker: COMMIT,DATE,STATE.
var stamp string

// Info describes a build.
type Info struct {
	Version  string `json:"version"`  // a semantic version: 0.1.0, or 0.1.0-dev+0123456789ab.modified
	Commit   string `json:"commit"`   // all digits; empty if unknown
	Date     string `json:"date"`     // of the commit, RFC 3339, UTC; empty if unknown
	Modified bool   `json:"modified"` // the files were not the commit's
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Current returns the build that is running.
var Current = sync.OnceValue(func() Info {
	var settings []debug.BuildSetting
	if build, ok := debug.ReadBuildInfo(); ok {
		settings = build.Settings
	}
	return Of(stamp, settings)
})

// Of returns what a stamp says, or without one what the go command recorded,
// which it does for a plain go build in a clone.
func Of(stamp string, settings []debug.BuildSetting) Info {
	info := Info{Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	released := false
	if parts := strings.Split(stamp, ","); len(parts) == 3 {
		info.Commit, info.Date, info.Modified = parts[0], parts[1], parts[2] == "modified"
		released = parts[2] == "release"
	} else {
		for _, s := range settings {
			switch s.Key {
			case "vcs.revision":
				info.Commit = s.Value
			case "vcs.time":
				info.Date = s.Value
			case "vcs.modified":
				info.Modified = s.Value == "true"
			}
		}
	}
	info.Version = Number
	if released {
		return info
	}
	info.Version += "-dev"
	if info.Commit != "" {
		info.Version += "+" + info.Commit[:min(12, len(info.Commit))]
		if info.Modified {
			info.Version += ".modified"
		}
	}
	return info
}
