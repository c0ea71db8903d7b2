package load

import (
	"cmp"
	"slices"
)

// Merge joins runs against one target, as if each had begun when the one
// before ended. What stood behind the targets is added up.
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
		out.Behind = out.Behind.and(r.Behind)
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

// and adds what was done in another run; nil is nothing that is known.
func (b *Behind) and(more *Behind) *Behind {
	if b == nil || more == nil {
		return cmp.Or(b, more)
	}
	sum := Behind{
		Models: slices.Clone(b.Models), Stages: b.Stages,
		Calls: b.Calls + more.Calls, QueueMS: b.QueueMS + more.QueueMS, ComputeMS: b.ComputeMS + more.ComputeMS,
	}
	for _, u := range more.Models {
		at := slices.IndexFunc(sum.Models, func(have Use) bool { return have.Model == u.Model })
		if at < 0 {
			sum.Models = append(sum.Models, u)
		} else {
			sum.Models[at] = sum.Models[at].and(u)
		}
	}
	return &sum
}

// and adds what the same model did in another run.
func (u Use) and(more Use) Use {
	share := 0.0 // of the requests, more's
	if n := u.Requests + more.Requests; n > 0 {
		share = float64(more.Requests) / float64(n)
	}
	mean := func(a, b float64) float64 { return a + (b-a)*share }
	sum := Use{
		Model: u.Model, Requests: u.Requests + more.Requests, Failures: u.Failures + more.Failures,
		Items: u.Items + more.Items, Executions: u.Executions + more.Executions,
		QueueMS: mean(u.QueueMS, more.QueueMS), ComputeMS: mean(u.ComputeMS, more.ComputeMS),
		InputMS: mean(u.InputMS, more.InputMS), InferMS: mean(u.InferMS, more.InferMS),
		OutputMS: mean(u.OutputMS, more.OutputMS),
	}
	if sum.Executions > 0 {
		sum.MeanBatch = float64(sum.Items) / float64(sum.Executions)
	}
	return sum
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
