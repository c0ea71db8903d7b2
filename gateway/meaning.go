package gateway

import (
	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// ScoreScale is the scale of the opinions that a checkpoint was trained on.
type ScoreScale struct {
	Min   float64 `json:"min" doc:"Lower end of the scale of the opinions that the checkpoint was trained on"`
	Max   float64 `json:"max" doc:"Upper end of that scale"`
	Unit  string  `json:"unit" example:"MOS"`
	Clamp bool    `json:"clamp" doc:"Whether scores beyond the scale are cut to it; otherwise a score may exceed it, such as 5.02 on 1 to 5"`
}

func scoreScale(r quality.ScoreRange) ScoreScale {
	return ScoreScale{Min: r.Min, Max: r.Max, Unit: r.Unit, Clamp: r.Clamp}
}

// ScoreInterval is a prediction interval.
type ScoreInterval struct {
	Low      float32 `json:"low"`
	High     float32 `json:"high"`
	Coverage float64 `json:"coverage" example:"0.9" doc:"Nominal share of pictures, like those of the calibration, for which what the checkpoint was trained to predict lies in their interval. That is people's mean opinion only where it was trained on people's ratings"`
}

// Distribution says how far a picture is from the training data.
type Distribution struct {
	Distance  float32 `json:"distance" doc:"Mean over the views of 1 - the largest cosine with an embedding of the training data, 0 to 2"`
	Threshold float64 `json:"threshold" doc:"Largest distance of pictures that resemble the training data"`
	Outside   bool    `json:"outside" doc:"Whether the distance is above the threshold: the picture is unlike the training data, and the score and its interval may be off"`
}

// Measurement is the score of one checkpoint with what qualifies it. Every
// member is empty where the checkpoint gave no score.
type Measurement struct {
	Score        *float32       `json:"score" nullable:"true" doc:"On the checkpoint's scale, and cut to it where the scale says clamp"`
	RawScore     *float32       `json:"raw_score,omitempty" doc:"What the head computed, where that is beyond the scale and the score was cut"`
	Interval     *ScoreInterval `json:"interval,omitempty" doc:"Prediction interval of the score, where the checkpoint was calibrated and omit doesn't name it"`
	Distribution *Distribution  `json:"distribution,omitempty" doc:"Whether the picture resembles the training data, where the checkpoint has a sample of that and omit doesn't name it"`
}

// Parts of an answer that may be left out.
const (
	omitInterval     = "interval"
	omitDistribution = "distribution"
)

// measurement is what is shown of a score without an error.
func (p parts) measurement(s scoring.CheckpointScore) Measurement {
	c, raw := s.Checkpoint, s.Score
	score := float32(c.Score.Score(float64(raw)))
	out := Measurement{Score: &score}
	if score != raw {
		out.RawScore = &raw
	}
	if c.Calibration != nil && !p.omits(omitInterval) {
		i := c.Calibration.Around(float64(raw), c.Score)
		out.Interval = &ScoreInterval{Low: float32(i.Low), High: float32(i.High), Coverage: i.Coverage}
	}
	if c.Reference != nil && !p.omits(omitDistribution) {
		threshold := c.Reference.Threshold()
		out.Distribution = &Distribution{
			Distance: float32(s.Distance), Threshold: threshold, Outside: s.Distance > threshold,
		}
	}
	return out
}

// CheckpointEvaluation is how well a checkpoint's scores agreed with people's
// opinions of a data set.
type CheckpointEvaluation struct {
	Dataset string       `json:"dataset"`
	Task    quality.Task `json:"task" doc:"What people were asked for"`
	Images  int          `json:"images" doc:"Number of pictures"`
	SRCC    float64      `json:"srcc" doc:"Spearman correlation of scores and mean opinions"`
	Low     float64      `json:"low" doc:"Lower end of its confidence interval"`
	High    float64      `json:"high" doc:"Upper end of its confidence interval"`
}

// CheckpointReference describes the sample of the training data that answers
// compare pictures with.
type CheckpointReference struct {
	Rows      int     `json:"rows" doc:"Number of embeddings"`
	Threshold float64 `json:"threshold" doc:"Largest distance of pictures that resemble them"`
}

// meaning fills in what a view of a checkpoint says of its scores.
func (v *CheckpointView) meaning(c quality.Checkpoint, m checkpoint.Manifest) {
	v.Task, v.Scale, v.Views, v.Recipe = c.Task, scoreScale(c.Score), c.Views.Strings(), c.Views.Recipe()
	v.Score = v.Scale
	if c.Calibration != nil {
		coverage := c.Calibration.Coverage()
		v.Coverage = &coverage
	}
	if r := c.Reference; r != nil {
		v.Reference = &CheckpointReference{Rows: r.Rows(), Threshold: r.Threshold()}
	}
	v.Evaluation = make([]CheckpointEvaluation, len(m.Evaluation))
	for i, e := range m.Evaluation {
		v.Evaluation[i] = CheckpointEvaluation(e)
	}
}
