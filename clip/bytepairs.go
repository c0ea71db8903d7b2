package clip

// bytePairs splits one word (its UTF-8 bytes) into vocabulary symbols: from
// single bytes, the pair that was learned earliest merges first, leftmost
// first, until no neighbours merge. The time is O(n log n) in the word's length,
// for strangers send words of any length.
func (v *vocabulary) bytePairs(word string) []int32 {
	if word == "" {
		return nil
	}
	m := newMerging(v, word)
	for len(m.queue) > 0 {
		m.step()
	}
	ids := make([]int32, 0, 4)
	for i := int32(0); i >= 0; i = m.next[i] {
		ids = append(ids, m.symbol[i])
	}
	return ids
}

// merging is a word while it is being merged: a linked list of symbols, each
// at the position of its first byte, and a heap of the pairs that may merge.
type merging struct {
	vocabulary *vocabulary
	symbol     []int32
	prev, next []int32  // -1 at the ends
	queue      []uint64 // binary heap of mergedID<<32 | position of the left symbol
}

const gone int32 = -1 // the symbol of a position that merged into its left neighbour

func newMerging(v *vocabulary, word string) *merging {
	n := len(word)
	cells := make([]int32, 3*n)
	m := &merging{vocabulary: v, symbol: cells[:n], prev: cells[n : 2*n], next: cells[2*n:]}
	for i := range n {
		m.symbol[i] = v.byteID[word[i]]
		m.prev[i], m.next[i] = int32(i-1), int32(i+1)
	}
	m.symbol[n-1] += byteCount
	m.next[n-1] = -1
	m.queue = make([]uint64, 0, n)
	for i := range n - 1 {
		m.offer(int32(i))
	}
	return m
}

// step takes the best pair and merges it, unless one of its symbols has merged
// elsewhere since it was queued.
func (m *merging) step() {
	best := m.pop()
	id, at := int32(best>>32), int32(uint32(best))
	if m.symbol[at] == gone {
		return
	}
	right := m.next[at]
	if right < 0 || m.vocabulary.merged[pair{m.symbol[at], m.symbol[right]}] != id {
		return
	}
	m.symbol[at], m.symbol[right] = id, gone
	m.next[at] = m.next[right]
	if m.next[at] >= 0 {
		m.prev[m.next[at]] = at
		m.offer(at)
	}
	if m.prev[at] >= 0 {
		m.offer(m.prev[at])
	}
}

// offer queues the pair that starts at position at, if it merges at all.
func (m *merging) offer(at int32) {
	id, ok := m.vocabulary.merged[pair{m.symbol[at], m.symbol[m.next[at]]}]
	if !ok {
		return
	}
	q := append(m.queue, uint64(id)<<32|uint64(at))
	i := len(q) - 1
	for i > 0 && q[(i-1)/2] > q[i] {
		q[i], q[(i-1)/2] = q[(i-1)/2], q[i]
		i = (i - 1) / 2
	}
	m.queue = q
}

// pop removes the smallest element of the heap. container/heap would box every
// element.
func (m *merging) pop() uint64 {
	q := m.queue
	top, last := q[0], len(q)-1
	q[0] = q[last]
	q = q[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if q[child] < q[least] {
				least = child
			}
		}
		if least == i {
			break
		}
		q[i], q[least] = q[least], q[i]
		i = least
	}
	m.queue = q
	return top
}
