package storetest_test

import (
	"errors"
	"testing"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/quality"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(_ *testing.T, clock *storetest.Clock) experiment.Store {
		return storetest.NewMemory(clock.Now)
	})
}

func TestMemoryBreaks(t *testing.T) {
	m := storetest.NewMemory(storetest.NewClock().Now)
	cause := errors.New("no space left on device")
	m.Break(cause)
	err := m.AppendExposures(t.Context(), []experiment.Exposure{storetest.NewExposure("x", 1)})
	if quality.KindOf(err) != quality.KindStoreUnavailable || !errors.Is(err, cause) {
		t.Errorf("while broken: %v, want store_unavailable because of %q", err, cause)
	}
	m.Break(nil)
	if err := m.AppendExposures(t.Context(), []experiment.Exposure{storetest.NewExposure("x", 1)}); err != nil {
		t.Errorf("when repaired: %v", err)
	}
}
