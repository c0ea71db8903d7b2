// Package config turns flags, environment, a YAML file and defaults into one
// checked value, [Settings].
//
// The fields of Settings are the only list of settings there is: the flags,
// the AGIQA_* variables, the keys of the file and the reference page are all
// derived from their tags. Every fault is reported at once, each naming the
// setting and where the bad value came from.
//
// It refuses to act on a setting: nothing is opened, dialled or created here.
// It stands between cmd and everything that cmd builds.
package config
