package experiment

import "github.com/agiqa/agiqa/quality"

// Outcome is what became of one image of a request that takes part.
type Outcome struct {
	Image  quality.Digest
	Scores []ArmScore // of the arms that judged, in their order; nil where nothing could be scored
	Cached bool       // the embedding was known
	Status string     // ok, or a quality.Kind
}

// Scored is what became of a request that takes part.
type Scored struct {
	Outcomes   []Outcome // by image
	Encoder    quality.Digest
	Preprocess quality.PreprocessID // of the control
	TotalMS    float64
	HeadMS     float64
}

// Shown says which arm answers for an image.
type Shown struct {
	Experiment ID
	Phase      int
	Arm        ArmID  // that the image was assigned to
	Served     int    // place among the arms that judged of the one whose score is returned
	Assignment string // what feedback names; empty where nothing was recorded
	Rank       int    // in an interleaved ranking, from 1
	Degraded   bool   // no record could be written: the control answers
}

// Ok is the status of an outcome without an error.
const Ok = "ok"
