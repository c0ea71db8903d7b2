package experiment_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

func taskOf(h experiment.Hasher) experiment.Task {
	return experiment.Task{
		Experiment: "sharper", Phase: 3, Rater: h.Rater("key:app", "r7"), Image: quality.DigestOf([]byte("a")),
		Expires: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC),
	}
}

func TestTaskToken(t *testing.T) {
	h := hasher(t, testKey)
	image := taskOf(h)
	pair := image
	pair.Other = quality.DigestOf([]byte("b"))
	longest := pair
	longest.Experiment = experiment.ID(strings.Repeat("x", 64))
	for name, task := range map[string]experiment.Task{"image": image, "pair": pair, "longest name": longest} {
		token := h.Token(task)
		got, ok := h.Task(token)
		if !ok || got != task || len(token) > 512 {
			t.Errorf("%s: %+v, %t, %d bytes, want %+v", name, got, ok, len(token), task)
		}
		if _, ok := hasher(t, testKey+"!").Task(token); ok {
			t.Errorf("%s: another key takes it", name)
		}
	}
	if image.Kind() != experiment.MOS || pair.Kind() != experiment.Pair ||
		!image.Issued().Equal(image.Expires.Add(-experiment.TaskFor)) {
		t.Errorf("kinds %s and %s, issued %s", image.Kind(), pair.Kind(), image.Issued())
	}

	// What is answered is the same whichever way a pair is named, whenever and in which
	// phase it is asked, and for nothing else.
	again, swapped, other, phase := pair, pair, pair, pair
	again.Expires = again.Expires.Add(time.Hour)
	swapped.Image, swapped.Other = swapped.Other, swapped.Image
	other.Rater, phase.Phase = h.Rater("key:app", "r8"), 4
	if h.Answer(again) != h.Answer(pair) || h.Answer(swapped) != h.Answer(pair) || h.Answer(phase) != h.Answer(pair) {
		t.Error("one pair has several answers")
	}
	for name, task := range map[string]experiment.Task{"one image": image, "rater": other, "experiment": longest} {
		if h.Answer(task) == h.Answer(pair) {
			t.Errorf("another %s has the same answer", name)
		}
	}
}

// FuzzTaskToken: whatever is sent, only what the server made is a task or an
// assignment, in that spelling alone.
func FuzzTaskToken(f *testing.F) {
	h, err := experiment.NewHasher([]byte(testKey))
	if err != nil {
		f.Fatal(err)
	}
	issued := h.Token(taskOf(h))
	f.Add(issued)
	f.Add(issued[:20])
	f.Add("ta_")
	f.Add("as_" + issued[3:])
	f.Add(issued[:30] + "\n" + issued[30:])
	assignment := h.Assignment(uuid.MustParse("018f5b0e-0000-7000-8000-000000000001"))
	f.Add(assignment)
	f.Add(assignment + "\r\n")
	f.Fuzz(func(t *testing.T, token string) {
		if token != assignment && h.Issued(token) {
			t.Errorf("%q is taken for %s", token, assignment)
		}
		if task, ok := h.Task(token); ok && h.Token(task) != token {
			t.Errorf("%q is taken for %+v", token, task)
		}
	})
}
