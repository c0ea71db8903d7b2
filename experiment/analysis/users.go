package analysis

// compareUsers runs the sequence of what users do, by unit, in the order of their
// first thumb.
func (s *State) compareUsers(units []outcome, points int) []Comparison {
	return nil
}
