package main

import (
	"math"
	"reflect"
	"testing"
)

func small() Fleet {
	return Fleet{
		Service:  Service{Decode: 0.01, Spread: 0.5, Batch: 0.001, Row: 0.0001, MaxBatch: 32},
		Gateways: Pool{Replicas: 1, Start: 10}, Processors: 1, QueueWait: 1000, CPUTarget: 0.6,
		Tritons: Pool{Replicas: 1, Start: 60}, Load: Load{Rate: 50, Factor: 1, Begin: 500, Until: 1000, End: 4000},
	}
}

// TestWaitsAreThoseOfTheory: one processor with Poisson arrivals is an M/G/1
// queue, whose mean wait is that of Pollaczek and Khinchine.
func TestWaitsAreThoseOfTheory(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{30, 60, 80} {
		f := small()
		f.Load.Rate = rate
		r := Run(f, 7)
		busy := rate * f.Service.Decode
		want := busy * f.Service.Decode * (1 + f.Service.Spread*f.Service.Spread) / (2 * (1 - busy))
		var got, n float64
		for _, w := range r.Windows {
			answered := float64(w.Offered - w.Refused)
			got, n = got+answered*(w.Admission+w.Processor), n+answered
		}
		if got /= n; math.Abs(got/want-1) > 0.12 {
			t.Errorf("%v/s: mean wait %.2f ms, want %.2f", rate, 1000*got, 1000*want)
		}
	}
}

// TestTritonComputesFullBatches: beyond its capacity a Triton answers what full
// batches are worth, and no more; gateways refuse the rest.
func TestTritonComputesFullBatches(t *testing.T) {
	t.Parallel()
	f := small()
	f.Gateways, f.Processors, f.QueueWait = Pool{Replicas: 4}, 8, 1
	f.Service.Decode, f.Service.Batch, f.Service.Row, f.Service.MaxBatch = 0.001, 0.01, 0.002, 16
	f.Load = Load{Rate: 700, Factor: 1, Begin: 10, Until: 50, End: 60}
	want := 16 / (0.01 + 16*0.002)
	answered := 0
	r := Run(f, 1)
	for _, s := range r.Seconds[20:50] {
		answered += s.Answered
	}
	if got := float64(answered) / 30; math.Abs(got/want-1) > 0.02 {
		t.Errorf("%.0f images/s, want %.0f", got, want)
	}
	if w := r.Windows[1]; w.Refused == 0 || w.P99 > 2.5 || w.Triton < w.Processor {
		t.Errorf("refused %d, p99 %.2f s, waits for Triton %.3f s, for a processor %.3f s", w.Refused,
			w.P99, w.Triton, w.Processor)
	}
}

func TestEverythingIsCountedOnce(t *testing.T) {
	t.Parallel()
	f := small()
	f.Gateways.Max, f.Tritons.Max, f.InFlight, f.QueueWait = 10, 4, 8, 0.5
	f.Load = Load{Rate: 60, Factor: 10, Begin: 30, Until: 200, End: 300}
	r := Run(f, 3)
	var offered, answered, refused int
	for _, s := range r.Seconds {
		offered, answered, refused = offered+s.Offered, answered+s.Answered, refused+s.Refused
	}
	left := offered - answered - refused // on its way when the run ends
	if left < 0 || left > 50 || refused == 0 || answered < 10000 {
		t.Errorf("offered %d, answered %d, refused %d", offered, answered, refused)
	}
	if again := Run(f, 3); !reflect.DeepEqual(r, again) {
		t.Error("the same seed gives other figures")
	}
}

// TestPodsTakeTheirTime: replicas grow as fast as the chart's behavior allows, and
// serve when they have started.
func TestPodsTakeTheirTime(t *testing.T) {
	t.Parallel()
	f := small()
	f.Gateways, f.QueueWait = Pool{Replicas: 1, Max: 100, Start: 20}, 0.5
	f.Load = Load{Rate: 50, Factor: 100, Begin: 60, Until: 300, End: 310}
	r := Run(f, 1)
	before, most := 1, 0
	for at := 15; at < 300; at += 15 {
		now := r.Seconds[at].Gateways
		if now > max(2*before, before+4) {
			t.Errorf("%d gateways at %d s, %d 15 s before", now, at, before)
		}
		before, most = now, max(most, now)
	}
	if at80 := r.Seconds[60+20]; at80.Gateways != 1 {
		t.Errorf("%d gateways 20 s into the spike: none can have started", at80.Gateways)
	}
	// A busy processor isn't busier than 100 %: each round adds two thirds.
	if most < 8 || most > 30 {
		t.Errorf("%d gateways after four minutes, want some rounds of 1.67 times", most)
	}
}

// TestAThresholdAboveTheBoundNeverScales: gateways refuse what would wait longer
// than queue-wait, so an autoscaler that waits for more sees nothing.
func TestAThresholdAboveTheBoundNeverScales(t *testing.T) {
	t.Parallel()
	f := small()
	f.Gateways, f.Processors, f.QueueWait = Pool{Replicas: 4}, 8, 1
	f.Service.Decode, f.Service.Batch, f.Service.Row = 0.001, 0.01, 0.01
	f.Tritons = Pool{Replicas: 1, Max: 10, Start: 10}
	f.Load = Load{Rate: 20, Factor: 20, Begin: 30, Until: 290, End: 300}
	for waiting, scales := range map[float64]bool{10: false, 0.25: true} {
		f.Waiting = waiting
		r := Run(f, 1)
		if got := r.Windows[3].Tritons; got > 1 != scales {
			t.Errorf("from %v s on: %d Tritons", waiting, got)
		}
	}
}

func TestDesired(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		replicas int
		ratio    float64
		want     int
	}{{4, 1, 4}, {4, 1.09, 4}, {4, 1.11, 5}, {4, 0.91, 4}, {4, 0.89, 4}, {4, 0.5, 2}, {4, 1.67, 7}, {3, 0, 0}} {
		if got := desired(c.replicas, c.ratio); got != c.want {
			t.Errorf("%d replicas at %v: %d, want %d", c.replicas, c.ratio, got, c.want)
		}
	}
}
