package experiment

import "github.com/agiqa/agiqa/quality"

// Covers reports as an internal error that a is not the audit record of the
// change that made e: it must name e and its revision.
func (a Audit) Covers(e Experiment) error {
	if a.Experiment == e.ID && a.Revision == e.Revision {
		return nil
	}
	return quality.Errorf(quality.KindInternal, "the audit record is of %q at revision %d, not of %q at %d",
		a.Experiment, a.Revision, e.ID, e.Revision)
}
