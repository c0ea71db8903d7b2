package engine

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"

	"github.com/agiqa/agiqa/experiment"
)

// rank merges the rankings of two interleaved arms where a request has several
// images: a team-draft. Each image is shown by the arm that placed it, so that
// a choice is credited to that arm. Who picks first in a round is by a coin
// that is made of the images, so that the same request is answered alike. Images
// whose scores are withheld have no place.
func (t *Trial) rank(ctx context.Context, s experiment.Scored) {
	var teams []int
	for k, a := range t.live.active {
		if a.Mode == experiment.Interleave {
			teams = append(teams, k)
		}
	}
	var images []int
	for i, p := range t.placements {
		if p.arm == "" || len(s.Outcomes[i].Scores) != len(t.live.active) {
			continue
		}
		// The places of others would tell the score of an image that is withheld.
		if how, _, err := t.engine.sightOf(ctx, s.Outcomes[i].Image); err == nil && how&blind == 0 {
			images = append(images, i)
		}
	}
	if len(teams) != 2 || len(images) < 2 {
		return
	}
	for _, i := range images {
		for _, k := range teams {
			if s.Outcomes[i].Scores[k].Fault != "" {
				return // a ranking with a hole is none
			}
		}
	}
	var orders [2][]int
	for n, k := range teams {
		orders[n] = slices.Clone(images)
		slices.SortStableFunc(orders[n], func(a, b int) int {
			return cmp.Compare(s.Outcomes[b].Scores[k].Score, s.Outcomes[a].Scores[k].Score)
		})
	}
	for place, pick := range draft(orders, t.coin(s, images)) {
		t.placements[pick.image].arm, t.placements[pick.image].rank = t.live.active[teams[pick.team]].ID, place+1
	}
}

// coin is a source that the images decide.
func (t *Trial) coin(s experiment.Scored, images []int) func() bool {
	var seed [32]byte
	for _, i := range images {
		for n, b := range s.Outcomes[i].Image {
			seed[n] ^= b
		}
	}
	r := rand.New(rand.NewChaCha8(seed))
	return func() bool { return r.IntN(2) == 0 }
}

type pick struct{ image, team int }

// draft is the team-draft: in each round a coin says which team picks first,
// and each takes its best image that is left.
func draft(orders [2][]int, coin func() bool) []pick {
	var out []pick
	taken := map[int]bool{}
	take := func(team int) {
		for _, image := range orders[team] {
			if !taken[image] {
				taken[image] = true
				out = append(out, pick{image: image, team: team})
				return
			}
		}
	}
	for len(out) < len(orders[0]) {
		first := 0
		if coin() {
			first = 1
		}
		take(first)
		take(1 - first)
	}
	return out
}
