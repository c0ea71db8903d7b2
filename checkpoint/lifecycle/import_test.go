package lifecycle_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

func TestImport(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		r := newRig(t, uploads)
		b := r.bundle("fresh", 1)
		report, err := r.manager.Import(t.Context(), lifecycle.Import{Bundle: b, Name: "renamed", By: "key-1"})
		must(t, err)
		if report.Golden != 3 || report.MaxDiff > 1e-4 || report.Known || report.Default != shippedName {
			t.Errorf("report %+v", report)
		}
		var steps []lifecycle.StepName
		for _, s := range report.Steps {
			steps = append(steps, s.Name)
		}
		if !slices.Equal(steps, []lifecycle.StepName{
			lifecycle.StepValidate, lifecycle.StepEncode, lifecycle.StepVerify, lifecycle.StepWrite, lifecycle.StepLoad,
			lifecycle.StepCheck, lifecycle.StepReplay, lifecycle.StepCache, lifecycle.StepPersist, lifecycle.StepSwitch,
		}) {
			t.Errorf("steps %v", steps)
		}
		e, err := r.library.Snapshot().Get("renamed")
		must(t, err)
		if e.Checkpoint.Digest != b.Checkpoint().Digest || !e.Imported || e.Checkpoint.HeadOnly != uploads {
			t.Errorf("entry %+v", e.Checkpoint)
		}
		want := []string{e.Checkpoint.HeadModel()}
		if !uploads {
			want = append(want, e.Checkpoint.EnsembleModel())
		}
		for i, s := range r.servers {
			for _, model := range want {
				if !slices.Contains(s.Models(), model) {
					t.Errorf("server %d lacks %s", i, model)
				}
			}
		}
		calls := r.servers[0].Calls(tritontest.TextEncoder) + r.servers[1].Calls(tritontest.TextEncoder)
		if _, cached, err := r.texts.TextEmbeddings(t.Context(), e.Checkpoint); err != nil || !cached {
			t.Errorf("text embeddings: cached %t, %v", cached, err)
		}
		if got := r.servers[0].Calls(tritontest.TextEncoder) + r.servers[1].Calls(tritontest.TextEncoder); got != calls {
			t.Errorf("%d calls of the text encoder, want %d as before", got, calls)
		}
		if log := r.log.String(); !strings.Contains(log, "action=import") || !strings.Contains(log, "by=key-1") ||
			!strings.Contains(log, e.Checkpoint.Digest.String()) {
			t.Errorf("no audit line: %s", log)
		}
		again, err := r.manager.Import(t.Context(), lifecycle.Import{Bundle: b, Name: "renamed", Activate: true})
		must(t, err)
		if !again.Known || again.Default != "renamed" || again.Previous != shippedName {
			t.Errorf("second import: %+v", again)
		}
	})
}

// TestImportWithoutGolden: the bundle gets cases of its own arithmetic, and
// keeps them.
func TestImportWithoutGolden(t *testing.T) {
	r := newRig(t, true)
	manifest, weights := draft(t, "bare", 1, 0).Files(t)
	b, err := checkpoint.Decode(manifest, weights, r.limits)
	must(t, err)
	r.heads.add(b)
	report, err := r.manager.Import(t.Context(), lifecycle.Import{Bundle: b})
	must(t, err)
	if report.Golden != 8 {
		t.Errorf("%d golden cases, want 8", report.Golden)
	}
	kept, err := checkpoint.Open(filepath.Join(r.dir, "bare"), checkpoint.DefaultLimits())
	must(t, err)
	if len(kept.Golden()) != 8 || kept.Checkpoint().Digest != b.Checkpoint().Digest {
		t.Errorf("kept %d cases, digest %s", len(kept.Golden()), kept.Checkpoint().Digest)
	}
}

// TestImportFails fails at every step and finds everything as it was.
func TestImportFails(t *testing.T) {
	const name = "fresh"
	head := func(b *checkpoint.Bundle) string { return b.Checkpoint().HeadModel() }
	for _, test := range []struct {
		name    string
		step    lifecycle.StepName
		kind    quality.Kind
		detail  string                                        // part of what is shown
		shared  bool                                          // concerns the shared folder alone
		bundle  func(t *testing.T, r *rig) *checkpoint.Bundle // nil: a sound one
		arrange func(t *testing.T, r *rig, b *checkpoint.Bundle)
	}{
		{
			name: "no encoder yet", step: lifecycle.StepValidate, kind: quality.KindModelUnavailable,
			arrange: func(t *testing.T, r *rig, b *checkpoint.Bundle) { r.spy.noEncoder = true },
		},
		{
			name: "of another encoder", step: lifecycle.StepValidate, kind: quality.KindEncoderMismatch,
			detail: "was trained on encoder",
			bundle: func(t *testing.T, r *rig) *checkpoint.Bundle {
				enc := tritontest.Encoder()
				enc.Digest = quality.DigestOf([]byte("another"))
				d := checkpointtest.New(enc, name, 1)
				return d.AddGolden(t, 1, tritontest.Texts(enc)).Bundle(t)
			},
		},
		{
			name: "head of other embeddings", step: lifecycle.StepValidate, kind: quality.KindEncoderMismatch,
			detail: "embeddings of 16 numbers",
			bundle: func(t *testing.T, r *rig) *checkpoint.Bundle {
				enc := tritontest.Encoder()
				enc.Dim = 16
				d := checkpointtest.New(enc, name, 1)
				return d.AddGolden(t, 1, quality.TextEmbeddings(tritontest.TextEmbeddings(enc, d.Prompts(t)))).Bundle(t)
			},
		},
		{
			name: "context of another width", step: lifecycle.StepValidate, kind: quality.KindEncoderMismatch,
			detail: "context vectors of 12 numbers",
			bundle: func(t *testing.T, r *rig) *checkpoint.Bundle {
				enc := tritontest.Encoder()
				enc.TextWidth = 12
				d := checkpointtest.New(enc, name, 1)
				return d.AddGolden(t, 1, tritontest.Texts(enc)).Bundle(t)
			},
		},
		{
			name: "name is taken", step: lifecycle.StepValidate, kind: quality.KindConflict, detail: "named",
			bundle: func(t *testing.T, r *rig) *checkpoint.Bundle { return r.bundle(shippedName, 1) },
		},
		{
			name: "content is there under another name", step: lifecycle.StepValidate,
			kind: quality.KindConflict, detail: "are the same",
			bundle: func(t *testing.T, r *rig) *checkpoint.Bundle { return r.bundle(name, 100) },
		},
		{
			name: "text encoder fails", step: lifecycle.StepEncode, kind: quality.KindModelUnavailable,
			arrange: func(t *testing.T, r *rig, b *checkpoint.Bundle) {
				for _, s := range r.servers {
					s.Fail(tritontest.TextEncoder, codes.Internal, "out of order")
				}
			},
		},
		{
			name: "golden score is wrong", step: lifecycle.StepVerify, kind: quality.KindCheckpointInvalid, detail: "golden[1]",
			bundle: func(t *testing.T, r *rig) *checkpoint.Bundle {
				d := draft(t, name, 1, 3)
				d.Manifest.Golden[1].Score += 3e-4
				return r.heads.add(d.Bundle(t))
			},
		},
		{
			name: "another model is in the folder", step: lifecycle.StepWrite, kind: quality.KindConflict, shared: true,
			arrange: func(t *testing.T, r *rig, b *checkpoint.Bundle) {
				must(t, os.MkdirAll(filepath.Join(r.models, head(b), "1"), 0o755))
				must(t, os.WriteFile(filepath.Join(r.models, head(b), "1", "model.onnx"), []byte("of somebody else"), 0o600))
			},
		},
		{
			name: "one server does not load", step: lifecycle.StepLoad,
			kind: quality.KindModelUnavailable, detail: "on 127.0.0.1:",
			arrange: func(t *testing.T, r *rig, b *checkpoint.Bundle) {
				r.servers[1].FailLoad(tritontest.AllModels, codes.InvalidArgument, "load failed for model")
			},
		},
		{
			name: "one server is away", step: lifecycle.StepLoad, kind: quality.KindModelUnavailable,
			arrange: func(t *testing.T, r *rig, b *checkpoint.Bundle) {
				var once sync.Once // whichever is asked for the prompts, the other one dies
				for i, s := range r.servers {
					s.OnInfer(tritontest.TextEncoder, func(context.Context, *pb.ModelInferRequest) error {
						once.Do(r.servers[1-i].Stop)
						return nil
					})
				}
			},
		},
		{
			name: "a server has something else under the name", step: lifecycle.StepCheck, kind: quality.KindModelBadOutput,
			arrange: func(t *testing.T, r *rig, b *checkpoint.Bundle) {
				r.spy.check = func() error { return quality.Errorf(quality.KindModelBadOutput, "another digest") }
			},
		},
		{
			name: "one server computes something else", step: lifecycle.StepReplay,
			kind: quality.KindModelBadOutput, detail: "golden[0] scores",
			arrange: func(t *testing.T, r *rig, b *checkpoint.Bundle) {
				r.servers[1].Lie(head(b),
					func(resp *pb.ModelInferResponse) { copy(resp.RawOutputContents[0], []byte{0, 0, 0x80, 0x3f}) })
			},
		},
		{
			name: "text embeddings are not to be had", step: lifecycle.StepCache, kind: quality.KindDeadlineExceeded,
			arrange: func(t *testing.T, r *rig, b *checkpoint.Bundle) {
				r.spy.texts = func() error { return context.DeadlineExceeded }
			},
		},
		{
			name: "it cannot be saved", step: lifecycle.StepPersist, kind: quality.KindStoreUnavailable,
			arrange: func(t *testing.T, r *rig, b *checkpoint.Bundle) { r.store.set(false, true) },
		},
	} {
		ways(t, func(t *testing.T, uploads bool) {
			if uploads && test.shared {
				return
			}
			t.Run(test.name, func(t *testing.T) {
				r := newRig(t, uploads)
				b := (*checkpoint.Bundle)(nil)
				if test.bundle != nil {
					b = test.bundle(t, r)
				} else {
					b = r.bundle(name, 1)
				}
				if test.arrange != nil {
					test.arrange(t, r, b)
				}
				before := r.state()
				_, err := r.manager.Import(t.Context(), lifecycle.Import{Bundle: b, Activate: true})
				wantKind(t, err, test.kind)
				e, ok := errors.AsType[*quality.Error](err)
				if !ok || !strings.Contains(e.Detail, "step "+string(test.step)) || !strings.Contains(e.Detail, test.detail) {
					t.Errorf("error %v, want it to say step %s and %q", err, test.step, test.detail)
				}
				if after := r.state(); after != before {
					t.Errorf("the failed import changed something.\nbefore:\n%s\nafter:\n%s", before, after)
				}
			})
		})
	}
}

// TestImportAfterAFailure: what failed can be tried again.
func TestImportAfterAFailure(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		r := newRig(t, uploads)
		b := r.bundle("fresh", 1)
		r.servers[1].FailLoad(tritontest.AllModels, codes.InvalidArgument, "load failed for model")
		_, err := r.manager.Import(t.Context(), lifecycle.Import{Bundle: b})
		wantKind(t, err, quality.KindModelUnavailable)
		r.servers[1].FailLoad(tritontest.AllModels, codes.OK, "")
		_, err = r.manager.Import(t.Context(), lifecycle.Import{Bundle: b})
		must(t, err)
	})
}

// TestImportKeepsWhatOthersLoaded: a failure takes back what the import did,
// and not what another gateway had done before.
func TestImportKeepsWhatOthersLoaded(t *testing.T) {
	r := newRig(t, true)
	b := r.mustImport("fresh", 1)
	other := newRigOn(t, r)
	other.spy.check = func() error { return errors.New("out of order") }
	_, err := other.manager.Import(t.Context(), lifecycle.Import{Bundle: b})
	wantKind(t, err, quality.KindInternal)
	for i, s := range r.servers {
		if !slices.Contains(s.Models(), b.Checkpoint().HeadModel()) {
			t.Errorf("server %d lost %s", i, b.Checkpoint().HeadModel())
		}
	}
}

// newRigOn is a second gateway, with a data folder of its own, on the servers
// of the first.
func newRigOn(t *testing.T, r *rig) *rig {
	t.Helper()
	second := *r
	second.store = &faultyStore{Store: desired.NewMemory("other", false, time.Now)}
	second.dir = filepath.Join(t.TempDir(), "checkpoints")
	shipped, err := r.library.Snapshot().Get(shippedName)
	must(t, err)
	second.open(shipped.Bundle)
	return &second
}

// TestImportOfACallerThatLeft: an import that was given up is undone.
func TestImportOfACallerThatLeft(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		r := newRig(t, uploads)
		b := r.bundle("fresh", 1)
		before := r.state()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, s := range r.servers {
			s.OnInfer(b.Checkpoint().HeadModel(), func(context.Context, *pb.ModelInferRequest) error { cancel(); return nil })
		}
		_, err := r.manager.Import(ctx, lifecycle.Import{Bundle: b})
		wantKind(t, err, quality.KindClientClosedRequest)
		if after := r.state(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	})
}

func TestOneImportAtATime(t *testing.T) {
	r := newRig(t, true)
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	for _, s := range r.servers {
		s.OnInfer(tritontest.TextEncoder, func(context.Context, *pb.ModelInferRequest) error {
			select {
			case arrived <- struct{}{}:
			default:
			}
			<-release
			return nil
		})
	}
	first := make(chan error, 1)
	b := r.bundle("fresh", 1)
	go func() {
		_, err := r.manager.Import(t.Context(), lifecycle.Import{Bundle: b})
		first <- err
	}()
	select {
	case <-arrived:
	case err := <-first:
		t.Fatalf("the first import ended: %v", err)
	}
	_, err := r.manager.Import(t.Context(), lifecycle.Import{Bundle: r.bundle("second", 2)})
	wantKind(t, err, quality.KindConflict)
	_, err = r.manager.Remove(t.Context(), "fresh", "test")
	wantKind(t, err, quality.KindConflict)
	close(release)
	must(t, <-first)
}

func TestMaxCheckpoints(t *testing.T) {
	r := newRig(t, true)
	cfg := lifecycle.DefaultConfig()
	cfg.MaxCheckpoints = 2
	var err error
	r.manager, err = lifecycle.NewManager(cfg, r.manager.Deps)
	must(t, err)
	r.mustImport("one", 1)
	_, err = r.manager.Import(t.Context(), lifecycle.Import{Bundle: r.bundle("two", 2)})
	wantKind(t, err, quality.KindConflict)
}

func TestConfigNamesEveryFault(t *testing.T) {
	_, err := lifecycle.NewManager(lifecycle.Config{Tolerance: math.NaN()}, lifecycle.Deps{})
	for _, field := range []string{"MaxCheckpoints", "Tolerance", "UndoTimeout", "ReconcileInterval", "ReconcileTimeout"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v lacks %s", err, field)
		}
	}
}
