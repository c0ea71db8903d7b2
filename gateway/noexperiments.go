package gateway

import (
	"context"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// noExperiments is a server that runs none.
type noExperiments struct{}

var errNoExperiments = quality.Errorf(quality.KindNotFound, "this server runs no experiments: its setting experiment-store is none")

func (noExperiments) Create(context.Context, []byte, string) (experiment.Experiment, error) {
	return experiment.Experiment{}, errNoExperiments
}

func (noExperiments) Start(context.Context, experiment.ID, string) (experiment.Experiment, error) {
	return experiment.Experiment{}, errNoExperiments
}

func (noExperiments) Change(context.Context, experiment.ID, int64, experiment.Change) (experiment.Experiment, error) {
	return experiment.Experiment{}, errNoExperiments
}

func (noExperiments) Promote(context.Context, experiment.ID, experiment.ArmID, string, experiment.Force) (experiment.Experiment, error) {
	return experiment.Experiment{}, errNoExperiments
}

func (noExperiments) Rollback(context.Context, experiment.ID, string) (experiment.Experiment, error) {
	return experiment.Experiment{}, errNoExperiments
}

func (noExperiments) List(context.Context) ([]experiment.Experiment, error) {
	return nil, errNoExperiments
}

func (noExperiments) Status(context.Context, experiment.ID) (ExperimentStatus, error) {
	return ExperimentStatus{}, errNoExperiments
}

func (noExperiments) Audits(context.Context, experiment.ID) ([]experiment.Audit, error) {
	return nil, errNoExperiments
}

func (noExperiments) Report(context.Context, experiment.ID, bool) ([]byte, error) {
	return nil, errNoExperiments
}

func (noExperiments) Label(context.Context, FeedbackRequest) (FeedbackReceipt, error) {
	return FeedbackReceipt{}, errNoExperiments
}
