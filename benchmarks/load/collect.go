package load

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// garbage is how much a run may leave behind before it is collected.
const garbage = 256 << 20

// rare is what runs that overlap have in common.
var rare struct {
	sync.Mutex
	runs int
	was  int // the GC percent before the first of them
}

// collectRarely collects, and then lets a run leave so much behind that the
// next collection is far off. It is for runs whose records are there already:
// what is live hardly grows then, and a percentage of it stays a bound. A
// memory limit of the process counts as ever, and so does a percentage that is
// larger, or off. Once all runs that overlap have called what it returns, the
// percentage is what it was.
func collectRarely() (restore func()) {
	rare.Lock()
	defer rare.Unlock()
	if rare.runs == 0 {
		runtime.GC()
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		rare.was = debug.SetGCPercent(-1)
		percent := int(garbage * 100 / max(live[0].Value.Uint64(), 1<<20))
		if rare.was < 0 {
			percent = rare.was
		}
		debug.SetGCPercent(max(percent, rare.was))
	}
	rare.runs++
	return func() {
		rare.Lock()
		defer rare.Unlock()
		if rare.runs--; rare.runs == 0 {
			debug.SetGCPercent(rare.was)
		}
	}
}
