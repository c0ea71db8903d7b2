// Package cli is what the commands of agiqa share: the terminal, settings as
// flags, printing as JSON, selecting images from arguments, and a client of a
// running server or of an embedded one that a command starts for itself.
//
// It is imported by cmd/agiqa and its sub-packages, and by nothing else.
package cli
