package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/demo"
	"github.com/agiqa/agiqa/experiment/stats"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
)

// demonstration is a demonstration in progress. It knows the server as any client
// does, by its address and keys.
type demonstration struct {
	*cli.Terminal
	execute     Execute
	client      *cli.Client // with the admin key
	application *cli.Client // with the key of an application that has people rate images
	images      []demo.Image
	out         string
	data        string // the server's data folder, for commands that read the key or the store
	shake       float64
}

// says shows a command and runs it, as a person would.
func (d *demonstration) says(ctx context.Context, args ...string) error {
	fmt.Fprintf(d.Terminal.Out, "\n$ agiqa %s\n", strings.Join(args, " "))
	return d.execute(ctx, d.Terminal.With("AGIQA_URL="+d.client.Base, "AGIQA_DATA_DIR="+d.data), args)
}

func (d *demonstration) print(format string, args ...any) {
	fmt.Fprintf(d.Terminal.Out, format+"\n", args...)
}

// importArms brings three checkpoints in and makes the worse one the default.
func (d *demonstration) importArms(ctx context.Context, original *checkpoint.Bundle) error {
	candidate, err := original.Rescaled("candidate", scaleFactor, scaleOffset)
	if err != nil {
		return err
	}
	d.print("\nImported over HTTP: candidate says %g times the demo checkpoint's score plus %g; current and twin are "+
		"two copies of it\n"+
		"whose weights are off at random, by up to %g times themselves. current is the default.",
		scaleFactor, scaleOffset, d.shake)
	bundles := []*checkpoint.Bundle{candidate}
	for i, name := range []string{"current", "twin"} {
		b, err := candidate.Perturbed(name, uint64(i+1), d.shake)
		if err != nil {
			return err
		}
		bundles = append(bundles, b)
	}
	for _, b := range bundles {
		name := b.Checkpoint().Name
		body, contentType, err := cli.ImportBody(b, name, name == "current")
		if err != nil {
			return err
		}
		var report gateway.CheckpointReport
		if err := post(ctx, d.client, "/v1/checkpoints", contentType, body, &report); err != nil {
			return fmt.Errorf("importing %s: %w", name, err)
		}
	}
	return nil
}

// employ creates the key of the application that has people rate images: without
// one, the server wouldn't start an experiment that acts by itself.
func (d *demonstration) employ(ctx context.Context) error {
	var key gateway.NewAPIKey
	err := d.send(ctx, d.client, "/v1/keys", gateway.KeyRequest{Name: "labelling",
		Scopes: []access.Scope{access.ScopeScore, access.ScopeFeedback}}, &key)
	if err != nil {
		return fmt.Errorf("creating an API key: %w", err)
	}
	d.application = cli.NewClient(d.client.Base)
	d.application.Key = config.Secret(key.Secret)
	d.print("The application that has people rate images has a key of its own, with the scopes score and feedback.")
	return nil
}

func post(ctx context.Context, c *cli.Client, path, contentType string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	return c.Change(req, out)
}

// send posts JSON with a client's key.
func (d *demonstration) send(ctx context.Context, c *cli.Client, path string, body, out any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return post(ctx, c, path, "application/json", raw, out)
}

// tell runs one experiment from its definition to its end.
func (d *demonstration) tell(ctx context.Context, p phase) error {
	d.print("\n== %s: %s\n", p.id, p.title)
	people, err := d.simulated(ctx, p)
	if err != nil {
		return err
	}
	dir := filepath.Join(d.out, p.id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	definition := filepath.Join(dir, "definition.yaml")
	if err := os.WriteFile(definition, []byte(p.definition(len(d.images))), 0o644); err != nil {
		return err
	}
	d.print("\n%s", p.definition(len(d.images)))
	if err := d.says(ctx, "experiment", "create", definition); err != nil {
		return err
	}
	if err := d.says(ctx, "experiment", "start", p.id); err != nil {
		return err
	}
	last, err := d.collect(ctx, p, people)
	if err != nil {
		return err
	}
	if last.Experiment.State != experiment.Promoted {
		if err := d.says(ctx, "experiment", "stop", p.id, "--yes"); err != nil {
			return err
		}
	}
	if err := d.says(ctx, "experiment", "status", p.id); err != nil {
		return err
	}
	began := time.Now()
	if err := d.says(ctx, "experiment", "report", p.id, "--out", dir); err != nil {
		return err
	}
	d.print("report.json, report.html and report.png, after %.1f s", time.Since(began).Seconds())
	if err := d.says(ctx, "experiment", "replay", p.id, filepath.Join(dir, "report.json")); err != nil {
		return err
	}
	if err := d.says(ctx, "experiment", "audit", p.id); err != nil {
		return err
	}
	return d.end(ctx, p, last)
}

// Definition is the experiment in text. It may end within a day,
// and is made for as many labels as there are images; all else is as it would be.
func (p phase) definition(images int) string {
	return fmt.Sprintf(`id: %s
hypothesis: %s agrees better with raters than current
arms:
  - checkpoint: current
  - checkpoint: %s
primary: loss_mse
horizon: %d
min_labels: %d
min_duration: 1s
auto: act
guardrails:
  - {kind: head_latency_p99, limit: 10000}   # milliseconds: a busy machine is no reason to hold a demonstration
`, p.id, p.treatment, p.treatment, images, 3*images/4)
}

// simulated makes the people and says what they like. For that both arms score
// every image before the experiment begins; the scores go to the people only.
func (d *demonstration) simulated(ctx context.Context, p phase) ([][]stats.Rating, error) {
	control, treatment, err := d.scores(ctx, "current", p.treatment)
	if err != nil {
		return nil, err
	}
	people, err := p.truth.Opinions(control, treatment)
	if err != nil {
		return nil, err
	}
	ratings, err := demo.Rate(people, demo.Raters(p.careless, p.truth.Seed))
	if err != nil {
		return nil, err
	}
	var apart, rater stats.Moments
	for i := range people {
		_, _ = apart.Add(treatment[i]-control[i]), rater.Add(people[i].SD)
	}
	d.print("Simulated: %s.\n"+
		"The arms' scores are %.2f apart on average (deviation %.2f). By the true opinions %s's squared error is smaller "+
		"by %+.3f;\n"+
		"the server is not told, and has to find it out from ratings: 20 people, 5 for each image, on half points, who "+
		"scatter about\n"+
		"the true opinion as in AGIQA-3K (mean deviation %.2f); %d of the 20 do not look and rate some other image.",
		p.told, apart.Mean(), apart.SD(), p.treatment, demo.Advantage(people, control, treatment), rater.Mean(), p.careless)
	return ratings, nil
}

// scored is the answer for one image, or why there is none.
type scored struct {
	answer gateway.ScoreResponse
	err    error
}

func (d *demonstration) scores(ctx context.Context, names ...string) (control, treatment []float64, err error) {
	bar := d.Progress(len(d.images), "scoring by both")
	defer bar.Done()
	list := make([]cli.Picture, len(d.images))
	for i, m := range d.images {
		list[i] = cli.Picture{Name: m.Name, Data: m.Data}
	}
	cli.InOrder(list, parallel, func(m cli.Picture) scored {
		if ctx.Err() != nil {
			return scored{err: context.Cause(ctx)}
		}
		answer, err := d.client.Score(ctx, "/v1/compare", m, cli.Ask{Checkpoints: names})
		return scored{answer: answer, err: err}
	}, func(m cli.Picture, r scored) {
		bar.Step()
		if r.err == nil &&
			(slices.ContainsFunc(r.answer.Results, cli.Faulty) || len(r.answer.Results[0].Scores) != len(names)) {
			r.err = errors.New("it was not scored by both arms")
		}
		if r.err != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", m.Name, r.err))
			return
		}
		scores := r.answer.Results[0].Scores
		control, treatment = append(control, float64(*scores[0].Score)), append(treatment, float64(*scores[1].Score))
	})
	return control, treatment, err
}

const (
	parallel      = 4
	batchSize     = 20 // images between two looks at the status
	imagesPerLine = 40 // images between two lines of the table
	// After the last rating the server looks at the records every five seconds; it
	// has this long to promote, and an experiment that must not be promoted runs on
	// for one of its looks.
	promotionWait = 30 * time.Second
	oneLook       = 6 * time.Second
)

// collect scores images as users would ask for them and lets people rate them,
// until the server promotes or there are no more images.
func (d *demonstration) collect(ctx context.Context, p phase,
	people [][]stats.Rating) (gateway.ExperimentStatus, error) {
	d.print("\nimages  ratings  effect   interval            decision")
	bar := d.Progress(len(d.images), "rating")
	defer bar.Done()
	var status gateway.ExperimentStatus
	for first := 0; first < len(d.images); first += batchSize {
		over, err := d.rateBatch(ctx, p, people, first, min(first+batchSize, len(d.images)), bar)
		if err != nil {
			return status, err
		}
		if status, err = d.status(ctx, p.id); err != nil {
			return status, err
		}
		over = over || status.Experiment.State != experiment.Running
		if over || (first+batchSize)%imagesPerLine == 0 {
			bar.Clear()
			d.print("%s", tableLine(status))
		}
		if over {
			break
		}
	}
	return d.await(ctx, p, status)
}

func tableLine(s gateway.ExperimentStatus) string {
	line := fmt.Sprintf("%6d  %7d", s.Counts["images_labelled_blind"], s.Counts["labels"])
	for _, a := range s.Arms {
		if a.Effect != nil {
			line += fmt.Sprintf("  %+.4f", *a.Effect)
		}
		if a.Low != nil && a.High != nil {
			line += fmt.Sprintf("  %-18s", fmt.Sprintf("%+.4f to %+.4f", *a.Low, *a.High))
		} else {
			line += "  none before 100   "
		}
	}
	switch {
	case s.Experiment.State == experiment.Promoted:
		line += "  promoted: " + string(s.Experiment.Winner)
	case s.Recommends != "":
		line += "  ready: " + s.Recommends
	default:
		line += "  continue"
	}
	return line
}

// await gives the server time for its own decision.
func (d *demonstration) await(ctx context.Context, p phase,
	status gateway.ExperimentStatus) (gateway.ExperimentStatus, error) {
	if status.Experiment.State != experiment.Running {
		return status, nil
	}
	patience := promotionWait
	if !p.promotes {
		patience = oneLook
		d.print("\nThose were all the images. The server looks at the records once more, and must not promote.")
	}
	deadline, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for status.Experiment.State == experiment.Running {
		select {
		case <-ticker.C:
		case <-deadline.Done():
			return status, ctx.Err()
		}
		var err error
		if status, err = d.status(ctx, p.id); err != nil {
			return status, err
		}
	}
	d.print("%s", tableLine(status))
	return status, nil
}

func (d *demonstration) status(ctx context.Context, id string) (status gateway.ExperimentStatus, err error) {
	raw, err := d.client.Fetch(ctx, cli.ExperimentPath(id))
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal(raw, &status)
}

// rateBatch has images scored, asks people about them and sends what they say. It
// reports whether the experiment was over before the batch was.
func (d *demonstration) rateBatch(ctx context.Context, p phase, people [][]stats.Rating, first, end int,
	bar cli.Progress) (over bool, err error) {
	places := map[string]int{} // of images, by digest
	ratings := map[int][]int{} // images, by rater
	for i := first; i < end; i++ {
		result, err := d.ask(ctx, d.images[i], fmt.Sprintf("visitor-%d", i))
		if err != nil {
			return false, fmt.Errorf("%s: %w", d.images[i].Name, err)
		}
		ref := result.Experiment
		if ref == nil {
			return true, nil
		}
		if ref.ID != p.id || ref.Assignment == "" || result.Score != nil {
			return false, fmt.Errorf("%s: scored by experiment %q, assignment %q, with a score: %t",
				d.images[i].Name, ref.ID, ref.Assignment, result.Score != nil)
		}
		places[result.Image.SHA256] = i
		for _, r := range people[i] {
			ratings[r.Rater] = append(ratings[r.Rater], i)
		}
		bar.Step()
	}
	for _, rater := range slices.Sorted(maps.Keys(ratings)) {
		tasks, err := d.tasks(ctx, p, rater, ratings[rater], places)
		if err != nil || tasks == nil {
			return err == nil, err
		}
		for _, task := range tasks {
			i := places[task.Image]
			at := slices.IndexFunc(people[i], func(r stats.Rating) bool { return r.Rater == rater })
			if blind, err := d.rate(ctx, p, task, i, people[i][at]); err != nil || !blind {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// ask has an image scored for a unit of the experiment, by the application, which
// is not told the score.
func (d *demonstration) ask(ctx context.Context, m demo.Image, unit string) (gateway.Result, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.client.Base+"/v1/score", bytes.NewReader(m.Data))
	if err != nil {
		return gateway.Result{}, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set(experiment.UnitHeaderName, unit)
	req.Header.Set("X-Agiqa-Blind", "true")
	var answer gateway.ScoreResponse
	if err := d.application.Change(req, &answer); err != nil {
		return gateway.Result{}, err
	}
	if len(answer.Results) != 1 || answer.Results[0].Error != nil {
		return gateway.Result{}, errors.New("the image could not be scored")
	}
	return answer.Results[0], nil
}

// tasks takes the tasks of a rater about images; nil where the experiment is over.
func (d *demonstration) tasks(ctx context.Context, p phase, rater int, images []int,
	places map[string]int) ([]gateway.LabellingTask, error) {
	ask := gateway.TasksRequest{Rater: raterName(rater), Count: len(images)}
	for digest, i := range places {
		if slices.Contains(images, i) {
			ask.Images = append(ask.Images, digest)
		}
	}
	var answer struct{ Tasks []gateway.LabellingTask }
	err := d.send(ctx, d.application, cli.ExperimentPath(p.id)+"/tasks", ask, &answer)
	if err != nil {
		if status, statusErr := d.status(ctx, p.id); statusErr == nil && status.Experiment.State != experiment.Running {
			return nil, nil
		}
		return nil, fmt.Errorf("tasks: %w", err)
	}
	if len(answer.Tasks) != len(images) {
		return nil, fmt.Errorf("rater %d has %d tasks about %d images", rater, len(answer.Tasks), len(images))
	}
	return answer.Tasks, nil
}

func raterName(rater int) string { return fmt.Sprintf("rater-%d", rater) }

// rate sends what somebody says of an image, and reports whether it counts. The
// first image's ratings are sent twice, as by a client that lost an answer: the
// second time counts nothing.
func (d *demonstration) rate(ctx context.Context, p phase, task gateway.LabellingTask, image int,
	r stats.Rating) (blind bool, err error) {
	feedback := gateway.FeedbackRequest{
		Key: fmt.Sprintf("%s/%d/%d", p.id, image, r.Rater), Task: task.Token, Rater: raterName(r.Rater),
		Kind: string(experiment.MOS), Value: &r.Value,
	}
	times := 1
	if image == 0 {
		times = 2
	}
	for sent := range times {
		var receipt gateway.FeedbackReceipt
		if err := d.send(ctx, d.application, "/v1/feedback", feedback, &receipt); err != nil {
			return false, fmt.Errorf("feedback: %w", err)
		}
		if receipt.Standing != string(experiment.Accepted) || receipt.Duplicate != (sent > 0) {
			return false, fmt.Errorf("feedback is %s, a repetition: %t", receipt.Standing, receipt.Duplicate)
		}
		blind = receipt.Blind
	}
	return blind, nil
}

// end holds the experiment to how it must end.
func (d *demonstration) end(ctx context.Context, p phase, last gateway.ExperimentStatus) error {
	var list cli.CheckpointList
	if err := d.client.Get(ctx, "/v1/checkpoints", &list); err != nil {
		return err
	}
	promoted := last.Experiment.State == experiment.Promoted
	if promoted != p.promotes {
		return fmt.Errorf("it is %s after %d images with labels", last.Experiment.State, last.Counts["images_labelled_blind"])
	}
	if !promoted {
		if list.Default != "current" {
			return fmt.Errorf("nothing was promoted and the default is %s", list.Default)
		}
		d.print("\nNo decision after %d images with %d ratings, as it must be: the default is still %s.",
			last.Counts["images_labelled_blind"], last.Counts["labels"], list.Default)
		return nil
	}
	if string(last.Experiment.Winner) != p.treatment || list.Default != p.treatment {
		return fmt.Errorf("the winner is %s and the default %s, want %s", last.Experiment.Winner, list.Default, p.treatment)
	}
	d.print("\nThe server promoted %s by itself: it is the default now. And back:", list.Default)
	began := time.Now()
	if err := d.says(ctx, "experiment", "rollback", p.id, "--yes"); err != nil {
		return err
	}
	took := time.Since(began)
	if err := d.client.Get(ctx, "/v1/checkpoints", &list); err != nil {
		return err
	}
	if list.Default != "current" {
		return fmt.Errorf("after the rollback the default is %s", list.Default)
	}
	d.print("After %s everybody is answered by %s again: every checkpoint stays loaded.",
		took.Round(time.Millisecond), list.Default)
	return nil
}
