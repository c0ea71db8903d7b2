// Package labels bounds the values of a metric's label that are names which
// operators make: over months there would be more of them than Prometheus
// should hold. It stands below whoever counts by such a name, and knows nothing
// of metrics.
package labels

import "sync"

// Other stands for every name beyond the bound.
const Other = "_other"

// Most is how many names a label of this program lets through.
const Most = 64

// Bound lets the first [Most] names through as they are. The zero value is
// ready; it is safe for concurrent use.
type Bound struct {
	mu   sync.Mutex
	seen map[string]bool
}

// Of returns name, or [Other].
func (b *Bound) Of(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[name] {
		return name
	}
	if len(b.seen) >= Most {
		return Other
	}
	if b.seen == nil {
		b.seen = make(map[string]bool)
	}
	b.seen[name] = true
	return name
}
