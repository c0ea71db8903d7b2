package scoring

import "context"

// CostOf is what a request would cost now, beside the request itself.
func (s *Service) CostOf(ctx context.Context, req Request) (float64, error) {
	j, err := s.newJob(req)
	if err != nil {
		return 0, err
	}
	return costOf(s.lookUp(ctx, j, j.rows(s.inspect(ctx, j)))), nil
}
