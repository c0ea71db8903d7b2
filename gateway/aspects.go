package gateway

import (
	"cmp"
	"slices"
	"strings"

	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
)

// maxAspects is the most tasks of one request.
const maxAspects = 16

// resolveAspects turns aspects into one checkpoint for each task, in their
// order. An aspect is a task, which picks the default checkpoint if it has that
// task and otherwise the only one of the encoder in use that has it, or
// TASK=CHECKPOINT. Errors: bad_request, checkpoint_not_found, conflict for a
// checkpoint of another task.
func (g *Gateway) resolveAspects(set lifecycle.Set, aspects []string) ([]quality.Checkpoint, error) {
	if len(aspects) > maxAspects {
		return nil, quality.Errorf(quality.KindBadRequest, "more than %d aspects in one request", maxAspects)
	}
	chosen := make([]quality.Checkpoint, len(aspects))
	for i, aspect := range aspects {
		text, name, named := strings.Cut(aspect, "=")
		task := quality.Task(strings.TrimSpace(text))
		var err error
		switch {
		case !task.Valid():
			err = quality.Errorf(quality.KindBadRequest, "aspect %s is neither TASK nor TASK=CHECKPOINT, such as quality",
				quality.Quote(aspect))
		case slices.ContainsFunc(chosen[:i], func(c quality.Checkpoint) bool { return c.Task == task }):
			err = quality.Errorf(quality.KindBadRequest, "aspect %s is asked for twice", task)
		case named:
			chosen[i], err = checkpointOfTask(set, strings.TrimSpace(name), task)
		default:
			chosen[i], err = g.defaultOf(set, task)
		}
		if err != nil {
			return nil, err
		}
	}
	return chosen, nil
}

// checkpointOfTask returns the checkpoint of that name, which must have the
// task.
func checkpointOfTask(set lifecycle.Set, name string, task quality.Task) (quality.Checkpoint, error) {
	entry, err := set.Get(name)
	if err != nil {
		return quality.Checkpoint{}, err
	}
	if c := entry.Checkpoint; c.Task != task {
		return quality.Checkpoint{}, quality.Errorf(quality.KindConflict, "checkpoint %s scores %s, not %s", c.Name, c.Task,
			task)
	}
	return entry.Checkpoint, nil
}

// defaultOf returns the checkpoint that scores a task when none is named.
func (g *Gateway) defaultOf(set lifecycle.Set, task quality.Task) (quality.Checkpoint, error) {
	encoder, _ := g.scorer.Encoder()
	c, err := set.Default()
	switch {
	case err == nil && c.Checkpoint.Task == task:
		return c.Checkpoint, nil
	case err != nil && quality.KindOf(err) != quality.KindCheckpointNotFound:
		return quality.Checkpoint{}, err // it isn't known
	}
	var candidates []quality.Checkpoint
	var tasks, names []string
	for _, e := range set.List() {
		c := e.Checkpoint
		if c.Encoder != encoder.Digest {
			continue
		}
		tasks = append(tasks, string(c.Task))
		if c.Task == task {
			candidates, names = append(candidates, c), append(names, c.Name)
		}
	}
	slices.Sort(tasks)
	switch len(candidates) {
	case 1:
		return candidates[0], nil
	case 0:
		return quality.Checkpoint{}, quality.Errorf(quality.KindCheckpointNotFound,
			"no checkpoint scores %s; tasks of the checkpoints here: %s", task,
			cmp.Or(strings.Join(slices.Compact(tasks), ", "), "none"))
	}
	return quality.Checkpoint{}, quality.Errorf(quality.KindBadRequest,
		"%d checkpoints score %s and none of them is the default: name one of %s, as in %s=%s", len(names), task,
		strings.Join(names, ", "), task, names[0])
}

// oneTask reports checkpoints of different tasks, whose scores nobody may
// compare.
func oneTask(checkpoints []quality.Checkpoint) error {
	for _, c := range checkpoints {
		if first := checkpoints[0]; c.Task != first.Task {
			return quality.Errorf(quality.KindConflict,
				"checkpoint %s scores %s and %s scores %s: scores of different tasks can't be compared; ask for them with "+
					"aspects=%s,%s", first.Name, first.Task, c.Name, c.Task, first.Task, c.Task)
		}
	}
	return nil
}
