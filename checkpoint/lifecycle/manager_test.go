package lifecycle_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// choice is the default and the one before it.
func choice(s *lifecycle.Snapshot) [2]string {
	def, err := s.Default()
	if err != nil {
		return [2]string{"", s.Previous()}
	}
	return [2]string{def.Checkpoint.Name, s.Previous()}
}

func TestActivateAndRollback(t *testing.T) {
	r := newRig(t, false)
	r.mustImport("one", 1)
	r.mustImport("two", 2)
	_, err := r.manager.Rollback(t.Context(), "test")
	wantKind(t, err, quality.KindConflict)
	begun := r.library.Snapshot()
	for _, step := range []struct {
		do   func() (lifecycle.Change, error)
		want [2]string
	}{
		{func() (lifecycle.Change, error) { return r.manager.Activate(t.Context(), "one", "test") },
			[2]string{"one", shippedName}},
		{func() (lifecycle.Change, error) { return r.manager.Activate(t.Context(), "one", "test") },
			[2]string{"one", shippedName}},
		{func() (lifecycle.Change, error) { return r.manager.Activate(t.Context(), "two", "test") }, [2]string{"two", "one"}},
		{func() (lifecycle.Change, error) { return r.manager.Rollback(t.Context(), "test") }, [2]string{"one", "two"}},
		{func() (lifecycle.Change, error) { return r.manager.Rollback(t.Context(), "test") }, [2]string{"two", "one"}},
		{func() (lifecycle.Change, error) { return r.manager.Remove(t.Context(), "one", "test") }, [2]string{"two", ""}},
	} {
		before := choice(r.library.Snapshot())[0]
		change, err := step.do()
		must(t, err)
		if got := choice(r.library.Snapshot()); got != step.want || change.Default != got[0] ||
			change.Previous != got[1] || change.Before != before {
			t.Errorf("default and previous %q, want %q; change %+v", got, step.want, change)
		}
	}
	if got := choice(begun); got != [2]string{shippedName, ""} {
		t.Errorf("the snapshot of the beginning says %q now", got)
	}
	if e, err := begun.Get("one"); err != nil || e.Checkpoint.Name != "one" {
		t.Errorf("the snapshot of the beginning lost a checkpoint: %v", err)
	}
}

func TestActivateFails(t *testing.T) {
	for _, test := range []struct {
		name    string
		target  string
		kind    quality.Kind
		arrange func(r *rig, b *checkpoint.Bundle)
	}{
		{"no such checkpoint", "nobody", quality.KindCheckpointNotFound, func(*rig, *checkpoint.Bundle) {}},
		{"a name that cannot be", "../one", quality.KindCheckpointNotFound, func(*rig, *checkpoint.Bundle) {}},
		{"no encoder", "one", quality.KindModelUnavailable, func(r *rig, _ *checkpoint.Bundle) { r.spy.noEncoder = true }},
		{"a server is away", "one", quality.KindModelUnavailable, func(r *rig, _ *checkpoint.Bundle) { r.servers[1].Stop() }},
		{"no text embeddings", "one", quality.KindOverloaded, func(r *rig, _ *checkpoint.Bundle) {
			r.spy.texts = func() error { return quality.Errorf(quality.KindOverloaded, "later") }
		}},
		{"the choice cannot be saved", "one", quality.KindStoreUnavailable,
			func(r *rig, _ *checkpoint.Bundle) { r.store.set(false, true) }},
		{"the store is away", "one", quality.KindStoreUnavailable,
			func(r *rig, _ *checkpoint.Bundle) { r.store.set(true, false) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, true)
			test.arrange(r, r.mustImport("one", 1))
			before := r.state()
			_, err := r.manager.Activate(t.Context(), test.target, "test")
			wantKind(t, err, test.kind)
			if after := r.state(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// TestDefaultKeepsItsTask wants neither an activation nor an import to change
// what the numbers of requests without a checkpoint mean.
func TestDefaultKeepsItsTask(t *testing.T) {
	r := newRig(t, true)
	of := func(name string, seed uint64) *checkpoint.Bundle {
		d := draft(t, name, seed, 0).Meaningful(quality.TaskAuthenticity, "448/r0c0", "224")
		enc := tritontest.Encoder()
		d.AddGolden(t, 1, quality.TextEmbeddings(tritontest.TextEmbeddings(enc, d.Prompts(t))))
		return r.heads.add(d.Bundle(t))
	}
	_, err := r.manager.Import(t.Context(), lifecycle.Import{Bundle: of("realism", 7)})
	must(t, err)
	before := r.state()
	const want = "checkpoint %s scores authenticity, the default shipped scores quality"
	_, err = r.manager.Activate(t.Context(), "realism", "test")
	wantKind(t, err, quality.KindConflict)
	if !strings.Contains(err.Error(), fmt.Sprintf(want, "realism")) {
		t.Errorf("activate: %v", err)
	}
	_, err = r.manager.Import(t.Context(), lifecycle.Import{Bundle: of("another", 8), Activate: true})
	wantKind(t, err, quality.KindConflict)
	if !strings.Contains(err.Error(), "step validate: "+fmt.Sprintf(want, "another")) {
		t.Errorf("import: %v", err)
	}
	if after := r.state(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	e, err := r.library.Snapshot().Get("realism")
	must(t, err)
	if c := e.Checkpoint; c.Task != quality.TaskAuthenticity || c.Views.String() != "448/r0c0,224" ||
		c.Calibration == nil || c.Reference == nil {
		t.Errorf("imported %+v", c)
	}
	diff, err := r.manager.Diff("shipped", "realism")
	must(t, err)
	fields := map[string]string{}
	for _, f := range diff.Fields {
		fields[f.Field] = f.A + " | " + f.B
	}
	for field, want := range map[string]string{
		"task": "quality | authenticity", "views": "224 | 448/r0c0,224", "score": "0..5 MOS | 0..5 MOS, clamped",
		"reference": ` | {"threshold":0.5}`,
		"format":    "agiqa-checkpoint/1 | agiqa-checkpoint/2",
	} {
		if fields[field] != want {
			t.Errorf("%s: %q, want %q", field, fields[field], want)
		}
	}
	last := diff.Tensors[len(diff.Tensors)-1]
	if last.Name != "reference" || last.ShapeA != nil || len(last.ShapeB) != 2 || last.Equal {
		t.Errorf("tensor that one alone has: %+v", last)
	}
}

// TestActivateLoadsWhatWasLost: activation does not wait for reconciliation.
func TestActivateLoadsWhatWasLost(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		r := newRig(t, uploads)
		b := r.mustImport("one", 1)
		r.servers[0].Forget()
		_, err := r.manager.Activate(t.Context(), "one", "test")
		must(t, err)
		if !slices.Contains(r.servers[0].Models(), b.Checkpoint().HeadModel()) {
			t.Errorf("server 0 has %v", r.servers[0].Models())
		}
	})
}

func TestRemove(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		r := newRig(t, uploads)
		before := r.state()
		r.mustImport("one", 1)
		_, err := r.manager.Remove(t.Context(), shippedName, "test")
		wantKind(t, err, quality.KindConflict)
		_, err = r.manager.Remove(t.Context(), "nobody", "test")
		wantKind(t, err, quality.KindCheckpointNotFound)
		_, err = r.manager.Activate(t.Context(), "one", "test")
		must(t, err)
		_, err = r.manager.Remove(t.Context(), "one", "test")
		wantKind(t, err, quality.KindConflict)
		_, err = r.manager.Activate(t.Context(), shippedName, "test")
		must(t, err)
		_, err = r.manager.Remove(t.Context(), "one", "test")
		must(t, err)
		must(t, os.Remove(filepath.Join(r.dir, lifecycle.StateFile)))
		if after := r.state(); after != before {
			t.Errorf("an import and its removal left something.\nbefore:\n%s\nafter:\n%s", before, after)
		}
		r.mustImport("one", 1) // the name and the content are free again
	})
}

// TestRemoveWhileAServerIsAway: the checkpoint goes, and what could not be
// unloaded is logged.
func TestRemoveWhileAServerIsAway(t *testing.T) {
	r := newRig(t, true)
	r.mustImport("one", 1)
	r.servers[1].Stop()
	_, err := r.manager.Remove(t.Context(), "one", "test")
	must(t, err)
	if _, err := r.library.Snapshot().Get("one"); err == nil {
		t.Error("it is still there")
	}
	if !strings.Contains(r.log.String(), "stay behind") {
		t.Errorf("log: %s", r.log)
	}
}

// TestRestart: imported checkpoints, the default and the one before it.
func TestRestart(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		r := newRig(t, uploads)
		r.mustImport("one", 1)
		r.mustImport("two", 2)
		for _, name := range []string{"one", "two"} {
			_, err := r.manager.Activate(t.Context(), name, "test")
			must(t, err)
		}
		before := r.state()
		must(t, os.MkdirAll(filepath.Join(r.dir, ".work", "cut off"), 0o755)) // as a killed import leaves it
		shipped, err := r.library.Snapshot().Get(shippedName)
		must(t, err)
		r.open(shipped.Bundle)
		if after := r.state(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		change, err := r.manager.Rollback(t.Context(), "test")
		must(t, err)
		if change.Default != "one" {
			t.Errorf("rollback after the restart goes to %s", change.Default)
		}
	})
}

// TestOpenLibraryDamaged: what can't be read, and isn't in the store, is left out
// and named, and no other checkpoint scores in the place of the one that was chosen.
// What is damaged stays, also when somebody chooses anew. What the store has is
// whole.
func TestOpenLibraryDamaged(t *testing.T) {
	for _, test := range []struct {
		name  string
		want  string // in the damage; "": none
		def   string // the default then; "": there is none
		spoil func(r *rig)
	}{
		{"state is not JSON", "state.json", shippedName, func(r *rig) {
			must(r.t, os.WriteFile(filepath.Join(r.dir, lifecycle.StateFile), []byte("{"), 0o600))
		}},
		{"state names a path", "names no checkpoint", shippedName, func(r *rig) {
			must(r.t, os.WriteFile(filepath.Join(r.dir, lifecycle.StateFile), []byte(`{"default":"../x"}`), 0o600))
		}},
		{"state has an unknown member", "unknown field", shippedName, func(r *rig) {
			must(r.t, os.WriteFile(filepath.Join(r.dir, lifecycle.StateFile), []byte(`{"default":"one","x":1}`), 0o600))
		}},
		{"the default has gone", "", "", func(r *rig) {
			must(r.t, os.RemoveAll(filepath.Join(r.dir, "one")))
		}},
		{"weights were damaged", "weights.safetensors", "", func(r *rig) {
			must(r.t, os.Truncate(filepath.Join(r.dir, "one", checkpoint.WeightsFile), 100))
		}},
		{"one number was changed", "digest is", "", func(r *rig) {
			name := filepath.Join(r.dir, "one", checkpoint.WeightsFile)
			raw, err := os.ReadFile(name)
			must(r.t, err)
			raw[len(raw)-1] ^= 1
			must(r.t, os.WriteFile(name, raw, 0o600))
		}},
		{"a folder was renamed", "another name", "", func(r *rig) {
			must(r.t, os.Rename(filepath.Join(r.dir, "one"), filepath.Join(r.dir, "uno")))
		}},
		{"a name is shipped with another content", "name or the content of another one", "one", func(r *rig) {
			b := r.bundle(shippedName, 5)
			checkpointtest.WriteBundle(r.t, b, filepath.Join(r.dir, shippedName))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, true)
			r.mustImport("one", 1)
			_, err := r.manager.Activate(t.Context(), "one", "test")
			must(t, err)
			test.spoil(r)
			shipped, err := r.library.Snapshot().Get(shippedName)
			must(t, err)
			before := files(t, r.dir)
			r.open(shipped.Bundle)
			def, err := r.library.Default()
			if err != nil || def.Checkpoint.Name != "one" || len(r.library.Damaged()) > 0 && test.def != "one" {
				t.Errorf("with the store: default %s, %v, damaged %v", def.Checkpoint.Name, err, r.library.Damaged())
			}
			r.store = &faultyStore{Store: desired.NewMemory("another", false, time.Now)} // which takes over what is left
			must(t, os.RemoveAll(r.dir))
			for path, content := range before {
				must(t, os.MkdirAll(filepath.Dir(path), 0o700))
				must(t, os.WriteFile(path, []byte(content), 0o600))
			}
			r.open(shipped.Bundle)
			damaged := r.library.Damaged()
			if test.want == "" && len(damaged) > 0 ||
				test.want != "" && (len(damaged) != 1 || !strings.Contains(damaged[0].Err.Error(), test.want)) {
				t.Errorf("damaged: %v, want %q", damaged, test.want)
			}
			def, err = r.library.Default()
			if test.def == "" {
				wantKind(t, err, quality.KindModelUnavailable)
			} else if err != nil || def.Checkpoint.Name != test.def {
				t.Errorf("default %s, %v, want %s", def.Checkpoint.Name, err, test.def)
			}
			if name := r.library.UseEncoder(tritontest.Encoder()); name != "" {
				t.Errorf("the encoder makes %s the default", name)
			}
			_, err = r.manager.Activate(t.Context(), shippedName, "test")
			must(t, err)
			if def, err := r.library.Default(); err != nil || def.Checkpoint.Name != shippedName {
				t.Errorf("default %s, %v after the activation", def.Checkpoint.Name, err)
			}
			after := files(t, r.dir)
			kept := slices.Collect(maps.Values(after))
			for _, content := range before {
				whole := strings.HasPrefix(content, `{"default":"one"`) || strings.HasPrefix(content, `{"store"`)
				if !slices.Contains(kept, content) && !whole {
					t.Errorf("a file with %.60q is gone", content)
				}
			}
		})
	}
}

// files returns the contents of all files below a folder, by path.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		all[path] = string(raw)
		return err
	}))
	return all
}

// TestShippedAfterImported: a release that ships what was imported takes over.
func TestShippedAfterImported(t *testing.T) {
	r := newRig(t, true)
	b := r.mustImport("one", 1)
	cfg := r.libraryConfig(b)
	cfg.Preset = "one"
	library, err := lifecycle.OpenLibrary(cfg)
	must(t, err)
	e, err := library.Snapshot().Get("one")
	if err != nil || e.Imported || len(library.Snapshot().List()) != 1 {
		t.Errorf("entry %+v, %v", e, err)
	}
}

// TestReconcile: one of two servers restarts and has what it had, also when
// the folder it shares was lost.
func TestReconcile(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		r := newRig(t, uploads)
		b := r.mustImport("one", 1)
		before := r.state()
		r.servers[1].Stop()
		r.servers[1].Forget()
		r.servers[1].Start()
		r.awaitServers()
		if !uploads {
			must(t, checkpoint.Remove(r.models, b.Checkpoint().Digest))
		}
		r.manager.Reconcile(t.Context())
		if after := r.state(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		if err := r.manager.Failure(b.Checkpoint().Digest); err != nil {
			t.Errorf("trouble: %v", err)
		}
	})
}

func TestReconcileTellsTrouble(t *testing.T) {
	r := newRig(t, true)
	b := r.mustImport("one", 1)
	d := b.Checkpoint().Digest
	r.servers[1].Stop()
	for range 3 {
		r.manager.Reconcile(t.Context())
	}
	if err := r.manager.Failure(d); err == nil || !strings.Contains(err.Error(), r.servers[1].Addr()) {
		t.Errorf("trouble %v, want one that names %s", err, r.servers[1].Addr())
	}
	if n := strings.Count(r.log.String(), "checkpoint is not on every server"); n < 1 || n > 4 {
		t.Errorf("%d log lines of two checkpoints in trouble for three rounds:\n%s", n, r.log)
	}
	loads := r.servers[0].Loads(b.Checkpoint().HeadModel())
	r.servers[1].Forget()
	r.servers[1].Start()
	r.awaitServers()
	r.manager.Reconcile(t.Context())
	if err := r.manager.Failure(d); err != nil {
		t.Errorf("trouble afterwards: %v", err)
	}
	if got := r.servers[0].Loads(b.Checkpoint().HeadModel()); got != loads {
		t.Errorf("the healthy server was asked to load %d times", got-loads)
	}
}

// TestReconcileSkips what belongs to another encoder, and everything while no
// encoder is known.
func TestReconcileSkips(t *testing.T) {
	r := newRig(t, true)
	b := r.mustImport("one", 1)
	r.servers[0].Forget()
	r.spy.noEncoder = true
	r.manager.Reconcile(t.Context())
	if slices.Contains(r.servers[0].Models(), b.Checkpoint().HeadModel()) {
		t.Error("it was loaded without an encoder")
	}
}

func TestDiff(t *testing.T) {
	r := newRig(t, true)
	r.mustImport("one", 1)
	near := draft(t, "near", 1, 0)
	near.Tensors["head.0.bias"].Data[2] += 0.5
	near.Manifest.Score.Max = 100
	enc := tritontest.Encoder()
	near.AddGolden(t, 1, quality.TextEmbeddings(tritontest.TextEmbeddings(enc, near.Prompts(t))))
	b := r.heads.add(near.Bundle(t))
	_, err := r.manager.Import(t.Context(), lifecycle.Import{Bundle: b})
	must(t, err)
	d, err := r.manager.Diff("one", "near")
	must(t, err)
	var fields, changed []string
	for _, f := range d.Fields {
		fields = append(fields, f.Field)
	}
	for _, x := range d.Tensors {
		if !x.Equal {
			changed = append(changed, x.Name)
			if diff := x.MaxAbs - 0.5; diff > 1e-6 || diff < -1e-6 || x.RMS < 0.2 || x.RMS > 0.21 || !(x.Cosine < 1) {
				t.Errorf("%s: %+v, want one number of six that is 0.5 off", x.Name, x)
			}
		}
	}
	if !slices.Equal(fields, []string{"digest", "score", "golden"}) || !slices.Equal(changed, []string{"head.0.bias"}) {
		t.Errorf("fields %v and tensors %v differ", fields, changed)
	}
	if same, err := r.manager.Diff("one", "one"); err != nil || len(same.Fields) != 0 {
		t.Errorf("one and itself: %+v, %v", same.Fields, err)
	}
	_, err = r.manager.Diff("one", "nobody")
	wantKind(t, err, quality.KindCheckpointNotFound)
}
