package quality

import "regexp"

// Task names what a score measures. Scores of two tasks are never compared:
// 4 of 5 in authenticity says nothing about 3 of 5 in quality.
type Task string

// The tasks that have a meaning here; a checkpoint may declare others.
const (
	TaskQuality      Task = "quality"      // how good the picture looks
	TaskAuthenticity Task = "authenticity" // how real it looks
	TaskAlignment    Task = "alignment"    // how well it shows what its prompt asked for
)

var taskName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// Valid reports whether t may name a task: 1 to 32 lower-case letters, digits,
// hyphens and underscores, a letter first.
func (t Task) Valid() bool { return taskName.MatchString(string(t)) }
