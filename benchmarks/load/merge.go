package load

import "slices"

// Merge joins runs against one target, as if each had begun when the one
// before ended. What stood behind the targets is left to the single runs.
func Merge(runs ...Run) Run {
	if len(runs) == 0 {
		return Run{}
	}
	out := Run{Target: runs[0].Target, Loop: runs[0].Loop, Started: runs[0].Started}
	for _, r := range runs {
		columns := make([]int, len(r.Stages))
		for i, name := range r.Stages {
			at := slices.Index(out.Stages, name)
			if at < 0 {
				at = len(out.Stages)
				out.Stages = append(out.Stages, name)
			}
			columns[i] = at
		}
		for _, rec := range r.Records {
			rec.Due += out.Took
			if rec.Outcome == Completed || rec.Outcome == Failed {
				rec.Start += out.Took
				rec.Done += out.Took
				if rec.First > 0 {
					rec.First += out.Took
				}
			}
			if len(rec.Stages) > 0 {
				row := slices.Repeat([]float32{-1}, len(out.Stages))
				for i, ms := range rec.Stages {
					row[columns[i]] = ms
				}
				rec.Stages = row
			}
			out.Records = append(out.Records, rec)
		}
		out.Length += r.Length
		out.Took += max(r.Took, r.Length)
		out.CPU += r.CPU
		out.Broken = firstOf(out.Broken, r.Broken)
		if r.Process != nil {
			if out.Process == nil {
				out.Process = &ProcessUse{}
			}
			out.Process.CPU += r.Process.CPU
			out.Process.RSSKB = max(out.Process.RSSKB, r.Process.RSSKB)
			out.Process.FDs = max(out.Process.FDs, r.Process.FDs)
		}
	}
	return out
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
