package storetest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// Memory is an experiment.Store that forgets everything with the process. It
// keeps encoded records, so that what it returns went the way that a stored
// record goes, and shares nothing with what it was given.
type Memory struct {
	now func() time.Time

	mu          sync.Mutex
	broken      error
	last        int64 // the last place given
	experiments []experiment.Experiment
	audits      [][]byte
	exposures   []row
	feedback    []row
}

type row struct {
	seq int64
	key string        // an exposure's id, a piece of feedback's key
	of  experiment.ID // "": an orphan
	at  time.Time
	raw []byte
}

var _ experiment.Store = (*Memory)(nil)

// NewMemory returns an empty store. now tells it when orphans expire.
func NewMemory(now func() time.Time) *Memory { return &Memory{now: now} }

// Break makes every call fail as store_unavailable because of cause, as with a
// disk that is full; nil repairs it. Nothing is lost meanwhile.
func (m *Memory) Break(cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = cause
}

// enter locks m for one call. Where it fails there is nothing to unlock.
func (m *Memory) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return quality.Errorf(quality.KindOf(err), "the caller left").Because(err)
	}
	m.mu.Lock()
	if m.broken != nil {
		defer m.mu.Unlock()
		return quality.Errorf(quality.KindStoreUnavailable, "the experiment store is unavailable").Because(m.broken)
	}
	return nil
}

// Create implements experiment.Store.
func (m *Memory) Create(ctx context.Context, e experiment.Experiment, a experiment.Audit) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if err := a.Covers(e); err != nil {
		return err
	}
	if m.find(e.ID) >= 0 {
		return quality.Errorf(quality.KindConflict, "experiment %q already exists", e.ID)
	}
	record, err := encode(a)
	if err != nil {
		return err
	}
	m.experiments = append(m.experiments, copied(e))
	slices.SortStableFunc(m.experiments, func(a, b experiment.Experiment) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	m.audits = append(m.audits, record)
	return nil
}

// Get implements experiment.Store.
func (m *Memory) Get(ctx context.Context, id experiment.ID) (experiment.Experiment, error) {
	if err := m.enter(ctx); err != nil {
		return experiment.Experiment{}, err
	}
	defer m.mu.Unlock()
	i := m.find(id)
	if i < 0 {
		return experiment.Experiment{}, noExperiment(id)
	}
	return copied(m.experiments[i]), nil
}

// List implements experiment.Store.
func (m *Memory) List(ctx context.Context) ([]experiment.Experiment, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var all []experiment.Experiment
	for _, e := range m.experiments {
		all = append(all, copied(e))
	}
	return all, nil
}

// Swap implements experiment.Store.
func (m *Memory) Swap(ctx context.Context, was int64, e experiment.Experiment, a experiment.Audit) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if err := a.Covers(e); err != nil {
		return err
	}
	i := m.find(e.ID)
	if i < 0 {
		return noExperiment(e.ID)
	}
	if now := m.experiments[i].Revision; now != was {
		return quality.Errorf(quality.KindConflict, "experiment %q is at revision %d, not %d", e.ID, now, was)
	}
	record, err := encode(a)
	if err != nil {
		return err
	}
	m.experiments[i] = copied(e)
	m.audits = append(m.audits, record)
	return nil
}

// Audits implements experiment.Store.
func (m *Memory) Audits(ctx context.Context, id experiment.ID) ([]experiment.Audit, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var trail []experiment.Audit
	for _, raw := range m.audits {
		if a := decode[experiment.Audit](raw); a.Experiment == id {
			trail = append(trail, a)
		}
	}
	return trail, nil
}

// AppendExposures implements experiment.Store.
func (m *Memory) AppendExposures(ctx context.Context, exposures []experiment.Exposure) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	records := make([][]byte, len(exposures))
	for i, e := range exposures {
		var err error
		if records[i], err = encode(e); err != nil {
			return err
		}
	}
	for i, e := range exposures {
		if !slices.ContainsFunc(m.exposures, func(r row) bool { return r.key == e.ID }) {
			m.exposures = append(m.exposures, row{m.place(), e.ID, e.Experiment, e.Time, records[i]})
			m.joinOrphans(e)
		}
	}
	return nil
}

// joinOrphans moves the orphans that waited for e to the end of the log, where
// readers that went past them find them.
func (m *Memory) joinOrphans(e experiment.Exposure) {
	m.expire()
	for i := 0; i < len(m.feedback); {
		r := m.feedback[i]
		if r.of != "" {
			i++
			continue
		}
		f := decode[experiment.Feedback](r.raw)
		if !f.IsOn(e) {
			i++
			continue
		}
		r.raw, _ = encode(f.Joined(e)) // it was encoded before
		r.seq, r.of = m.place(), e.Experiment
		m.feedback = append(slices.Delete(m.feedback, i, i+1), r)
	}
}

// expire forgets orphans whose time has passed.
func (m *Memory) expire() {
	since := m.now().Add(-experiment.OrphanFor)
	m.feedback = slices.DeleteFunc(m.feedback, func(r row) bool { return r.of == "" && r.at.Before(since) })
}

// AppendFeedback implements experiment.Store.
func (m *Memory) AppendFeedback(ctx context.Context, f experiment.Feedback) (experiment.Receipt, error) {
	if err := m.enter(ctx); err != nil {
		return experiment.Receipt{}, err
	}
	defer m.mu.Unlock()
	m.expire()
	for _, r := range m.feedback {
		if r.key != f.Key {
			continue
		}
		stored := decode[experiment.Feedback](r.raw)
		if !bytes.Equal(stored.Body[:], f.Body[:]) {
			return experiment.Receipt{}, quality.Errorf(quality.KindConflict, "this idempotency key was used for different "+
				"feedback")
		}
		return experiment.Receipt{Feedback: stored, Duplicate: true}, nil
	}
	if f.Experiment == "" {
		if e, ok := m.exposureOf(f); ok {
			f = f.Joined(e)
		}
	}
	raw, err := encode(f)
	if err != nil {
		return experiment.Receipt{}, err
	}
	m.feedback = append(m.feedback, row{m.place(), f.Key, f.Experiment, f.Time, raw})
	return experiment.Receipt{Feedback: decode[experiment.Feedback](raw)}, nil
}

// exposureOf returns what f is on: by its assignment the exposure that was
// written first, by its images the latest in a running experiment.
func (m *Memory) exposureOf(f experiment.Feedback) (experiment.Exposure, bool) {
	if f.Assignment != "" {
		return m.byAssignment(f.Assignment)
	}
	return m.latest(f.IsOn)
}

// ByAssignment implements experiment.Store.
func (m *Memory) ByAssignment(ctx context.Context, assignment string) (experiment.Exposure, error) {
	if err := m.enter(ctx); err != nil {
		return experiment.Exposure{}, err
	}
	defer m.mu.Unlock()
	if e, ok := m.byAssignment(assignment); ok {
		return e, nil
	}
	return experiment.Exposure{}, quality.Errorf(quality.KindNotFound, "no exposure found for this assignment")
}

func (m *Memory) byAssignment(assignment string) (experiment.Exposure, bool) {
	for _, r := range m.exposures {
		if e := decode[experiment.Exposure](r.raw); assignment != "" && e.Assignment == assignment {
			return e, true
		}
	}
	return experiment.Exposure{}, false
}

// ByImage implements experiment.Store.
func (m *Memory) ByImage(ctx context.Context, image quality.Digest) (experiment.Exposure, error) {
	if err := m.enter(ctx); err != nil {
		return experiment.Exposure{}, err
	}
	defer m.mu.Unlock()
	if e, ok := m.latest(experiment.Feedback{Image: image}.IsOn); ok {
		return e, nil
	}
	return experiment.Exposure{}, quality.Errorf(quality.KindNotFound, "no exposure of this image found in a running "+
		"experiment")
}

// latest returns the last exposure of a running experiment that is wanted.
func (m *Memory) latest(wanted func(experiment.Exposure) bool) (experiment.Exposure, bool) {
	for _, r := range slices.Backward(m.exposures) {
		e := decode[experiment.Exposure](r.raw)
		i := m.find(e.Experiment)
		if i >= 0 && m.experiments[i].State == experiment.Running && wanted(e) {
			return e, true
		}
	}
	return experiment.Exposure{}, false
}

// Exposures implements experiment.Store.
func (m *Memory) Exposures(ctx context.Context, id experiment.ID,
	after int64) iter.Seq2[experiment.Sequenced[experiment.Exposure], error] {
	return replay[experiment.Exposure](ctx, m, id, after, func() []row { return m.exposures })
}

// Feedback implements experiment.Store.
func (m *Memory) Feedback(ctx context.Context, id experiment.ID,
	after int64) iter.Seq2[experiment.Sequenced[experiment.Feedback], error] {
	return replay[experiment.Feedback](ctx, m, id, after, func() []row { return m.feedback })
}

// replay goes through a copy of the rows. It holds no lock while it yields, so
// that its caller may write.
func replay[T any](ctx context.Context, m *Memory, id experiment.ID, after int64,
	rows func() []row) iter.Seq2[experiment.Sequenced[T], error] {
	return func(yield func(experiment.Sequenced[T], error) bool) {
		if err := m.enter(ctx); err != nil {
			yield(experiment.Sequenced[T]{}, err)
			return
		}
		all := slices.Clone(rows())
		m.mu.Unlock()
		for _, r := range all {
			if r.seq <= after || id == "" || r.of != id {
				continue
			}
			if !yield(experiment.Sequenced[T]{Seq: r.seq, Record: decode[T](r.raw)}, nil) {
				return
			}
		}
	}
}

// Close implements experiment.Store.
func (m *Memory) Close() error { return nil }

func (m *Memory) place() int64 {
	m.last++
	return m.last
}

func (m *Memory) find(id experiment.ID) int {
	return slices.IndexFunc(m.experiments, func(e experiment.Experiment) bool { return e.ID == id })
}

func noExperiment(id experiment.ID) error {
	return quality.Errorf(quality.KindNotFound, "experiment %q not found", id)
}

func encode(record any) ([]byte, error) {
	raw, err := json.Marshal(record)
	if err != nil {
		return nil, quality.Errorf(quality.KindInternal, "encoding a record failed").Because(err)
	}
	return raw, nil
}

// decode reads what encode wrote.
func decode[T any](raw []byte) T {
	var record T
	if err := json.Unmarshal(raw, &record); err != nil {
		panic("storetest: a record that was encoded cannot be decoded: " + err.Error())
	}
	return record
}

func copied(e experiment.Experiment) experiment.Experiment {
	raw, err := json.Marshal(e)
	if err != nil {
		panic("storetest: an experiment cannot be encoded: " + err.Error())
	}
	return decode[experiment.Experiment](raw)
}
