package storetest

import (
	"fmt"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// noon has parts of a second, so that a store which drops them is found out.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

// NewExperiment returns a running experiment with every field set.
func NewExperiment(id experiment.ID) experiment.Experiment {
	return experiment.Experiment{
		ID: id, Name: "contexts of 16 tokens", Owner: "vision", Hypothesis: "longer contexts agree better with people",
		Created: noon, State: experiment.Running, Phase: 2, Revision: 1,
		Started: noon.Add(time.Minute), Ended: noon.Add(time.Hour),
		Primary: experiment.PrimaryLoss, MDE: 0.02, Alpha: 0.05, Margin: 0.01, Horizon: 1000,
		Arms: []experiment.Arm{
			{ID: "a", Checkpoint: "demo", Digest: quality.DigestOf([]byte("a")), Role: experiment.Control,
				Mode: experiment.Live, Weight: 500_000},
			{ID: "b", Checkpoint: "long", Digest: quality.DigestOf([]byte("b")), Role: experiment.Treatment,
				Mode: experiment.Live, Weight: 500_000},
		},
		Encoder: quality.DigestOf([]byte("encoder")), Preprocess: "clip-224",
		Unit: experiment.UnitHeader, Header: "X-User", Fallback: experiment.UnitAPIKey,
		Namespace: &experiment.Namespace{Name: "scores", From: 0, To: 400_000},
		Coverage:  100_000, Salt: "00112233445566778899aabbccddeeff", HashVersion: 1,
		Audience:  experiment.Audience{"style": {"photo", "anime"}},
		Ramp:      []experiment.RampStep{{Coverage: 200_000, MinTime: time.Hour, MinUnits: 100}},
		BlindOnly: true, LabelsAnswerTasks: true, MinLabels: 300, MinRaters: 3, MinDuration: time.Hour,
		MaxDuration: 30 * 24 * time.Hour,
		Guardrails:  []experiment.Guardrail{{Kind: experiment.GuardSRM, Limit: 0.001, Action: experiment.ActHold}},
		Auto:        experiment.AutoRecommend, Held: []string{"srm"},
		Past: []experiment.PastPhase{{Phase: 1, Ended: noon.Add(2 * time.Minute), Coverage: 200_000,
			Arms:  []experiment.ArmShare{{ID: "a", Weight: 400_000}, {ID: "b", Weight: 600_000, Out: true}},
			Slots: []experiment.Slot{{Arm: "a", From: 0, To: 400_000}}}},
	}
}

// AuditOf returns the record of the change that made e.
func AuditOf(e experiment.Experiment, action string) experiment.Audit {
	return experiment.Audit{
		Time: noon, Experiment: e.ID, Revision: e.Revision, Action: action, By: "admin-1",
		To: e.State, Detail: "because", Numbers: map[string]string{"p": "0.04"},
	}
}

// NewExposure returns the nth exposure of an experiment: an image, an
// assignment and a unit of its own.
func NewExposure(id experiment.ID, n int) experiment.Exposure {
	name := fmt.Sprintf("%s-%d", id, n)
	bucket := experiment.PPM(n)
	return experiment.Exposure{
		ID: "exposure-" + name, Assignment: "assignment-" + name, Time: noon, SinceBoot: time.Hour + time.Duration(n),
		Experiment: id, Phase: 2, Unit: quality.DigestOf([]byte(name)).Hex(), Bucket: &bucket,
		UnitKind: experiment.UnitHeader, Shown: "a", Rank: 3,
		Image:   quality.DigestOf([]byte("image " + name)),
		Encoder: quality.DigestOf([]byte("encoder")), Preprocess: "clip-224",
		Scores: []experiment.ArmScore{{Arm: "a", Score: 0.1 + float32(n)}, {Arm: "b", Score: 1.0 / 3}},
		Cached: true, TotalMS: 12.5, HeadMS: 0.7, Trace: "4bf92f3577b34da6a3ce929d0e0e4736", Blind: true, Status: "ok",
		Slices: map[string]string{"style": "photo"},
	}
}

// NewFeedback returns the nth accepted label of an experiment, on the image of
// its nth exposure.
func NewFeedback(id experiment.ID, n int) experiment.Feedback {
	name := fmt.Sprintf("%s-%d", id, n)
	return experiment.Feedback{
		ID: "feedback-" + name, Key: "key-" + name, Body: quality.DigestOf([]byte("body " + name)),
		Time: noon, Given: noon.Add(-time.Minute),
		Experiment: id, Phase: 2, Assignment: "assignment-" + name, Image: quality.DigestOf([]byte("image " + name)),
		Rater: quality.DigestOf([]byte("rater")).Hex(), Kind: experiment.MOS, Value: 3.5, Blind: true, LatencyMS: 900,
		State: experiment.Accepted, Task: "task-" + name, Sender: "sender",
	}
}

// NewOrphan returns the nth label on an image that nobody has seen. It names
// no assignment.
func NewOrphan(n int) experiment.Feedback {
	f := NewFeedback("", n)
	f.Phase, f.Assignment, f.State, f.Blind, f.Task = 0, "", experiment.Orphan, false, ""
	return f
}
