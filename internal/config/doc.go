// Package config turns flags, environment, a YAML file and defaults into one
// checked value, [Settings].
//
// One declaration holds key, default, bounds and help of every setting: the
// flags, the AGIQA_* variables, the keys of the file and the reference page are
// derived from it. Every fault is reported at once; each names the setting and
// where the bad value came from.
//
// It never acts on a setting: nothing is dialled or created here, and nothing is
// opened but the files that contain secrets.
// It stands between cmd and everything that cmd builds.
package config
