package fair

// Remembered is how many clients a queue knows.
func (q *Queue[T]) Remembered() int { return len(q.clients.shares) }
