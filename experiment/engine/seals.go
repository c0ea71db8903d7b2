package engine

import (
	"context"
	"sync"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// sealBudget is how long one refresh reads images of the log.
const sealBudget = 500 * time.Millisecond

// imageKey is the first half of an image's digest.
type imageKey [16]byte

// sight says how an image was seen in an experiment, a bit each.
type sight uint8

const (
	seen   sight = 1 << iota // it was scored in the experiment
	blind                    // at least once, nobody was shown a score
	opened                   // at least once, somebody may have been
)

func sightOf(blindly bool) sight {
	if blindly {
		return seen | blind
	}
	return seen | opened
}

// seals remembers the images of experiments that have not ended: their scores
// are withheld. It is filled from the log, and by this server's own exposures at
// once. Where it may not know all images, it says so.
type seals struct {
	mu   sync.RWMutex
	of   map[experiment.ID]*sealed
	held int // images, of all
	most int
}

// sealed are the images of one experiment.
type sealed struct {
	arms   map[quality.Digest]string // checkpoints by digest
	images map[imageKey]sight
	after  int64 // place in the log up to which it was read
	read   bool  // the log was read to its end
	full   bool  // an image had no room
}

func newSeals(most int) *seals { return &seals{of: map[experiment.ID]*sealed{}, most: most} }

// keep begins to remember what has not ended, and forgets the rest.
func (s *seals) keep(all []experiment.Experiment) []experiment.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[experiment.ID]bool{}
	var ids []experiment.ID
	for _, x := range all {
		if x.State != experiment.Running && x.State != experiment.Paused {
			continue
		}
		known[x.ID] = true
		ids = append(ids, x.ID)
		if s.of[x.ID] == nil {
			s.of[x.ID] = &sealed{images: map[imageKey]sight{}}
		}
		s.of[x.ID].arms = map[quality.Digest]string{}
		for _, a := range x.Arms {
			s.of[x.ID].arms[a.Digest] = a.Checkpoint
		}
	}
	for id, e := range s.of {
		if !known[id] {
			s.held -= len(e.images)
			delete(s.of, id)
		}
	}
	return ids
}

// place is where the log of an experiment is to be read on.
func (s *seals) place(id experiment.ID) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.of[id]; e != nil {
		return e.after
	}
	return 0
}

// add remembers sightings of one experiment, read up to a place of the log; 0:
// they are this server's own. It reports whether this is the first time that there is no room for one.
func (s *seals) add(id experiment.ID, after int64, sightings ...experiment.Sighting) (overflows bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.of[id]
	if e == nil {
		return false // it has ended
	}
	e.after = max(e.after, after)
	for _, x := range sightings {
		k := imageKey(x.Image[:16])
		before, known := e.images[k]
		if !known && s.held >= s.most {
			overflows = overflows || !e.full
			e.full = true
			continue
		}
		if !known {
			s.held++
		}
		e.images[k] = before | sightOf(x.Blind)
	}
	return overflows
}

func (s *seals) wasRead(id experiment.ID, to bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.of[id]; e != nil {
		e.read = to
	}
}

// look says how an image was seen in experiments that have not ended. arm is the
// one of checkpoints that is an arm of an experiment which has seen it. certain
// is false where it may have been seen otherwise too.
func (s *seals) look(image quality.Digest, checkpoints []quality.Digest) (how sight, arm string, certain bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	certain = true
	for _, e := range s.of {
		in := e.images[imageKey(image[:16])]
		how |= in
		certain = certain && e.read && !e.full
		if in != 0 && arm == "" {
			arm = e.armAmong(checkpoints)
		}
	}
	return how, arm, certain
}

// armAmong returns the first of checkpoints that is an arm, and "" for none.
func (e *sealed) armAmong(checkpoints []quality.Digest) string {
	for _, c := range checkpoints {
		if name, is := e.arms[c]; is {
			return name
		}
	}
	return ""
}

// armOf is armAmong of an experiment.
func (s *seals) armOf(id experiment.ID, checkpoints []quality.Digest) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.of[id]; e != nil {
		return e.armAmong(checkpoints)
	}
	return ""
}

// size is how many images are remembered.
func (s *seals) size() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return int64(s.held)
}

// saw remembers sightings, and says so where there is no room for one.
func (e *Engine) saw(ctx context.Context, id experiment.ID, after int64, sightings ...experiment.Sighting) {
	if e.seals.add(id, after, sightings...) {
		e.Logger.WarnContext(ctx, "not all images of running experiments can be remembered; from now on each image "+
			"that is scored is looked up in the store", "experiment", string(id), "images", e.seals.most)
	}
}

// followImages reads the images that other servers of the store have seen. What
// there is no time for is read the next time.
func (e *Engine) followImages(ctx context.Context, ids ...experiment.ID) error {
	ctx, cancel := context.WithTimeout(ctx, sealBudget)
	defer cancel()
	for _, id := range ids {
		const most = 4096
		batch := make([]experiment.Sighting, 0, 64)
		last := e.seals.place(id)
		flush := func() {
			e.saw(ctx, id, last, batch...)
			batch = batch[:0]
		}
		for r, err := range e.Store.Sightings(ctx, id, last) {
			if err != nil {
				flush()
				e.seals.wasRead(id, false)
				return err
			}
			batch, last = append(batch, r.Record), r.Seq
			if len(batch) == most {
				flush()
			}
		}
		flush()
		e.seals.wasRead(id, true)
	}
	return nil
}

// sightOf says how an image was seen in experiments that have not ended, and which
// of checkpoints is an arm of one of those. What is not remembered is looked up
// in the store.
func (e *Engine) sightOf(ctx context.Context, image quality.Digest,
	checkpoints ...quality.Digest) (sight, string, error) {
	how, arm, certain := e.seals.look(image, checkpoints)
	if certain {
		return how, arm, nil
	}
	all, err := e.Store.SightingsOf(ctx, image)
	if err != nil {
		e.telemetry.storeFailed(ctx, "sightings")
	}
	for _, x := range all {
		how |= sightOf(x.Blind)
		if arm == "" {
			arm = e.seals.armOf(x.Experiment, checkpoints)
		}
	}
	return how, arm, err
}

// Withheld says why scores of an image are for the admin key alone: forbidden, or
// store_unavailable where nobody knows; or nil. checkpoints are those that the
// request names; none where it leaves the choice to the server.
//
// An image of which nobody was shown a score stays so until its experiment has
// ended, on every route; and what an arm says of an image of its experiment is
// told to nobody who asks for that arm.
func (e *Engine) Withheld(ctx context.Context, image quality.Digest, checkpoints []quality.Digest) error {
	how, arm, err := e.sightOf(ctx, image, checkpoints...)
	switch {
	case how&blind != 0:
		return quality.Errorf(quality.KindForbidden,
			"the image is being rated by people who must not know its score: until the experiment ends, "+
				"its scores need a key with the scope admin")
	case arm != "":
		return quality.Errorf(quality.KindForbidden, "checkpoint %s is an arm of a running experiment that has "+
			"this image: until it ends, that checkpoint's scores of it need a key with the scope admin", arm)
	}
	return err
}
