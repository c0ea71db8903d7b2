package lifecycle_test

import (
	"strings"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// draftFor returns a sound bundle to be of any encoder.
func draftFor(t *testing.T, e quality.Encoder, name string, seed uint64) *checkpointtest.Draft {
	t.Helper()
	d := checkpointtest.New(e, name, seed)
	return d.AddGolden(t, 1, quality.TextEmbeddings(tritontest.TextEmbeddings(e, d.Prompts(t))))
}

// TestDefaultFollowsTheEncoder ships checkpoints of two encoders, small (demo,
// other) and large (quick, precise), and changes which of them serves.
func TestDefaultFollowsTheEncoder(t *testing.T) {
	small := tritontest.Encoder()
	large := small
	large.Name, large.Digest, large.DefaultCheckpoint = "large", quality.DigestOf([]byte("large")), "quick"
	unwished := large
	unwished.DefaultCheckpoint = ""
	unknown := quality.Encoder{Name: "unknown", Digest: quality.DigestOf([]byte("unknown"))}
	bundle := func(e quality.Encoder, name string, seed uint64) *checkpoint.Bundle {
		return draftFor(t, e, name, seed).Bundle(t)
	}
	demo, other := bundle(small, lifecycle.Demo, 1), bundle(small, "other", 2)
	quick, precise := bundle(large, "quick", 3), bundle(large, "precise", 4)
	all := []*checkpoint.Bundle{demo, other, quick, precise}
	for _, tt := range []struct {
		name    string
		shipped []*checkpoint.Bundle
		preset  string
		encoder quality.Encoder
		want    string
	}{
		{"demo of the small encoder", all, "", small, "demo"},
		{"the large encoder's own", all, "", large, "quick"},
		{"the preset", all, "precise", large, "precise"},
		{"a preset of another encoder", all, "other", large, "quick"},
		{"a wish that isn't there", []*checkpoint.Bundle{demo, precise}, "", large, "precise"},
		{"several and no wish", all, "", unwished, "demo"},
		{"no checkpoint of the encoder", all, "other", unknown, "other"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := lifecycle.OpenLibrary(lifecycle.LibraryConfig{
				Shipped: tt.shipped, Dir: t.TempDir(), Preset: tt.preset,
				Limits: checkpoint.DefaultLimits(), Tokenizer: checkpointtest.Tokenizer(t),
			})
			must(t, err)
			before := choice(l.Snapshot())[0]
			changed := l.UseEncoder(tt.encoder)
			if got := choice(l.Snapshot()); got != [2]string{tt.want, ""} {
				t.Errorf("default and previous are %q, want %q", got, tt.want)
			}
			if want := map[bool]string{true: tt.want}[before != tt.want]; changed != want {
				t.Errorf("changed is %q, want %q", changed, want)
			}
			if again := l.UseEncoder(tt.encoder); again != "" {
				t.Errorf("the second time changed %q", again)
			}
		})
	}
}

// TestDefaultComesBackWithItsEncoder: a choice isn't lost while another encoder
// serves.
func TestDefaultComesBackWithItsEncoder(t *testing.T) {
	r := newRig(t, false)
	large := tritontest.Encoder()
	large.Digest, large.DefaultCheckpoint = quality.DigestOf([]byte("large")), "quick"
	shipped := r.bundle(shippedName, 100)
	quick := draftFor(t, large, "quick", 3).Bundle(t)
	r.mustImport("one", 1)
	_, err := r.manager.Activate(t.Context(), "one", "test")
	must(t, err)
	config := r.libraryConfig(shipped)
	config.Shipped = append(config.Shipped, quick)
	for range 2 { // the second time after a restart under the other encoder
		l, err := lifecycle.OpenLibrary(config)
		must(t, err)
		for _, step := range []struct {
			encoder quality.Encoder
			want    string
		}{{large, "quick"}, {tritontest.Encoder(), "one"}, {large, "quick"}} {
			l.UseEncoder(step.encoder)
			if got := choice(l.Snapshot())[0]; got != step.want {
				t.Errorf("default is %q, want %q", got, step.want)
			}
		}
	}
}

// TestUseEncoder: what is chosen on one gateway is known to the others, is kept over
// restarts, and is refused where it would end all scoring.
func TestUseEncoder(t *testing.T) {
	all, store, _ := gateways(t, false, 2)
	here, there := all[0], all[1]
	there.run()
	now := tritontest.Encoder()
	unknown := quality.DigestOf([]byte("unknown"))
	none := tritontest.Encoder()
	none.Name, none.Digest = "untrained", quality.DigestOf([]byte("untrained"))
	int8, fp16 := "int8", "fp16"
	refused := func(text string, digest quality.Digest, precision *string) {
		t.Helper()
		_, err := here.manager.UseEncoder(t.Context(), digest, precision, "test")
		wantKind(t, err, quality.KindConflict)
		if err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
	refused("they hold tritontest (sha256:", unknown, nil)
	refused("no inference server holds", now.Digest, &int8)
	here.servers[0].Exchange(none)
	refused("no checkpoint of this server", none.Digest, nil)
	quick, slow := now, now
	quick.Precision, slow.Precision = int8, fp16
	here.servers[0].Exchange(quick)
	here.servers[1].Exchange(slow)
	refused("in several precisions", now.Digest, nil)
	if state, err := store.Desired(t.Context()); err != nil || state.Encoder != (desired.Encoder{}) {
		t.Errorf("after what was refused: %+v, %v", state, err)
	}

	got, err := here.manager.UseEncoder(t.Context(), now.Digest, &int8, "test")
	must(t, err)
	want := desired.Encoder{Digest: now.Digest, Precision: int8}
	if got.Chosen != want || got.Silent || len(got.Held) != 2 || got.Held[0].Servers != 1 {
		t.Errorf("%+v, want %+v chosen of two", got, want)
	}
	if log := here.log.String(); !strings.Contains(log, "encoder chosen") || !strings.Contains(log, "by=test") {
		t.Errorf("no audit line: %s", log)
	}
	for name, r := range map[string]*rig{"this": here, "the other": there} {
		within(t, patience, name+" gateway follows", func() bool { return r.library.Snapshot().Encoder() == want })
	}
	must(t, here.manager.Sync(t.Context()))
	if got := here.openLibrary(here.bundle(shippedName, 100)).Snapshot().Encoder(); got != want {
		t.Errorf("after a restart without the store: %+v, want %+v", got, want)
	}
	here.servers[1].Stop()
	if got, err := here.manager.Encoders(t.Context()); err != nil || !got.Silent || len(got.Held) != 1 {
		t.Errorf("with a server that is away: %+v, %v", got, err)
	}
	here.servers[0].Stop()
	_, err = here.manager.UseEncoder(t.Context(), now.Digest, nil, "test")
	wantKind(t, err, quality.KindModelUnavailable)
}
