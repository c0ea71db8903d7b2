package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// crashRounds is how often the gateway is killed: a few times as a matter of
// course, more with AGIQA_TEST_CRASH_ROUNDS (make test-crash).
func crashRounds() int {
	if n, err := strconv.Atoi(os.Getenv("AGIQA_TEST_CRASH_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return 5
}

// A gateway that is killed with feedback under way has every label that it
// acknowledged, each once, and none that nobody sent.
func TestAcknowledgedFeedbackSurvivesKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "experiments.db")
	image := quality.DigestOf([]byte("an image"))
	withStore(t, path, func(s *sqlstore.Store) {
		x := experiment.Experiment{ID: "x", State: experiment.Running, Phase: 1, Revision: 1, Created: time.Now().UTC(),
			Started: time.Now().UTC(), MaxDuration: time.Hour}
		mustDo(t, s.Create(t.Context(), x, experiment.Created(x, "test", x.Created)))
		mustDo(t, s.AppendExposures(t.Context(), []experiment.Exposure{{
			ID: "0", Assignment: "a", Time: time.Now().UTC(), Experiment: "x", Phase: 1, Image: image, Status: experiment.Ok,
		}}))
	})
	sent, acknowledged := &set{keys: map[string]bool{}}, &set{keys: map[string]bool{}}
	for round := range crashRounds() {
		killUnderFeedback(t, dir, round, image, sent, acknowledged)
		times := map[string]int{}
		withStore(t, path, func(s *sqlstore.Store) {
			for r, err := range s.Feedback(t.Context(), "x", 0) {
				mustDo(t, err)
				times[r.Record.Key]++
			}
		})
		for key := range acknowledged.keys {
			if times[key] != 1 {
				t.Errorf("round %d: label %s was acknowledged and is there %d times", round, key, times[key])
			}
		}
		for key, n := range times {
			if n != 1 || !sent.keys[key] {
				t.Errorf("round %d: label %s is there %d times, sent: %t", round, key, n, sent.keys[key])
			}
		}
	}
	if len(acknowledged.keys) == 0 {
		t.Error("no label was ever acknowledged")
	}
	t.Logf("%d labels sent, %d acknowledged", len(sent.keys), len(acknowledged.keys))
}

type set struct {
	mu   sync.Mutex
	keys map[string]bool
}

func (s *set) add(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[key] = true
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func withStore(t *testing.T, path string, f func(s *sqlstore.Store)) {
	t.Helper()
	cfg := sqlstore.DefaultConfig()
	cfg.Path = path
	s, err := sqlstore.Open(t.Context(), cfg)
	mustDo(t, err)
	f(s)
	mustDo(t, s.Close())
}

// killUnderFeedback starts a gateway, sends labels from several clients, and
// kills it at a moment that nobody chose. Feedback needs no Triton.
func killUnderFeedback(t *testing.T, dir string, round int, image quality.Digest, sent, acknowledged *set) {
	t.Helper()
	const secret = "a key for experiments of tests"
	hasher, err := experiment.NewHasher([]byte(secret))
	mustDo(t, err)
	cmd := command(t, []string{"AGIQA_DATA_DIR=" + dir, "AGIQA_ADMIN_KEY=" + testAdminKey,
		"AGIQA_EXPERIMENT_KEY=" + secret},
		"serve", "--listen",
		"127.0.0.1:0", "--triton", "127.0.0.1:9")
	stderr, err := cmd.StderrPipe()
	mustDo(t, err)
	mustDo(t, cmd.Start())
	defer cmd.Wait() //nolint:errcheck // it is killed
	defer cmd.Process.Kill()
	url := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			var line struct{ Msg, Address string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
				url <- line.Address
			}
		}
	}()
	var base string
	select {
	case base = <-url:
	case <-time.After(time.Minute):
		t.Fatal("the gateway does not listen")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := make(chan struct{}, 1) // holds one when a label was acknowledged
	var clients sync.WaitGroup
	for c := range 4 {
		clients.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprintf("%d-%d-%d", round, c, n)
				value := 3.0
				body, err := json.Marshal(gateway.FeedbackRequest{Key: key, Image: image.Hex(), Rater: "rater " +
					key, Kind: "mos", Value: &value})
				if err != nil {
					t.Error(err)
					return
				}
				name := hasher.Key("admin", key)
				sent.add(name)
				req, err := http.NewRequestWithContext(ctx, http.MethodPost,
					strings.TrimRight(base, "/")+"/v1/feedback", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Authorization", "Bearer "+testAdminKey)
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					return // it is dead
				}
				res.Body.Close()
				if res.StatusCode != http.StatusCreated {
					t.Errorf("label %s: status %d", key, res.StatusCode)
				}
				acknowledged.add(name)
				select {
				case first <- struct{}{}:
				default:
				}
			}
		})
	}
	select {
	case <-first:
	case <-time.After(time.Minute):
		t.Error("no label is acknowledged")
	}
	timer := time.NewTimer(time.Duration(rand.IntN(200)) * time.Millisecond)
	<-timer.C
	mustDo(t, cmd.Process.Kill())
	clients.Wait()
}
