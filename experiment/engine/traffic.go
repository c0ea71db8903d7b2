package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// A request takes part in one experiment: of those that want it, in the one that was
// started first. So an experiment gets what those before it leave, which may be
// little, or nothing.

const (
	// trafficUnits are units that are made up to see which experiment takes them:
	// 40,000 tell shares to a quarter of a percent.
	trafficUnits = 40_000
	// littleLeft is the share of what its definition says below which an experiment
	// is told that others take the rest.
	littleLeft = 0.9
)

// advice is what to do about it.
const advice = "give both a part of one namespace, lower the other's coverage, or stop it"

// draws are which of the units experiments want, each worked out once. They ask the
// function that assigns requests, so that namespaces, slots and salts need no
// formula of their own.
type draws struct {
	hasher experiment.Hasher
	wanted map[definitionOf][]bool
}

// definitionOf names an experiment as it is at a revision.
type definitionOf struct {
	id       experiment.ID
	revision int64
}

func (e *Engine) newDraws() draws { return draws{e.Hasher, map[definitionOf][]bool{}} }

func (d draws) wants(x experiment.Experiment) []bool {
	at := definitionOf{x.ID, x.Revision}
	if d.wanted[at] == nil {
		all := make([]bool, trafficUnits)
		for i := range all {
			// Users and images are different units, whose buckets tell nothing of each other.
			_, all[i] = d.hasher.Assign(x, x.Unit, "traffic "+x.Header+" "+strconv.Itoa(i))
		}
		d.wanted[at] = all
	}
	return d.wanted[at]
}

// traffic is what an experiment gets of all units like those that it assigns.
type traffic struct {
	id     experiment.ID
	wants  float64 // as many as its definition says
	gets   float64 // at least
	most   float64 // if requests that others may take are not for them
	takers []taker // those that take some, the one that takes most first
}

// taker is an experiment that takes units first.
type taker struct {
	experiment.Experiment
	partly bool    // only requests of its audience, or with its kind of unit
	share  float64 // of the units that the other one wants
}

// traffic works out what x gets behind others, which are in the order in which they
// were started.
func (d draws) traffic(x experiment.Experiment, before []experiment.Experiment) traffic {
	t := traffic{id: x.ID, wants: covers(x)}
	var rivals []taker
	for _, o := range before {
		if both, every := meets(o, x); both {
			rivals = append(rivals, taker{Experiment: o, partly: !every})
		}
	}
	wants, gets, most := 0, 0, 0
	for i, wanted := range d.wants(x) {
		if !wanted {
			continue
		}
		wants++
		first, surely := -1, false
		for k, o := range rivals {
			if d.wants(o.Experiment)[i] {
				if first < 0 {
					first = k
				}
				surely = surely || !o.partly
			}
		}
		if first < 0 {
			gets++
		} else {
			rivals[first].share++
		}
		if !surely {
			most++
		}
	}
	if wants == 0 {
		return t
	}
	t.gets, t.most = t.wants*float64(gets)/float64(wants), t.wants*float64(most)/float64(wants)
	for _, r := range rivals {
		if r.share > 0 {
			r.share /= float64(wants)
			t.takers = append(t.takers, r)
		}
	}
	slices.SortStableFunc(t.takers, func(a, b taker) int { return cmp.Compare(b.share, a.share) })
	return t
}

// meets says whether a request can be for both experiments, and whether every request
// that x wants has what o asks for: its attributes and its kind of unit.
func meets(o, x experiment.Experiment) (both, every bool) {
	found := func(kind experiment.UnitKind) bool {
		return kind == experiment.UnitImage || kind == experiment.UnitRequest
	}
	every = o.Unit == x.Unit && o.Header == x.Header || found(o.Unit) || found(o.Fallback)
	for name, values := range o.Audience {
		wanted, named := x.Audience[name]
		common := 0
		for _, v := range wanted {
			if slices.Contains(values, v) {
				common++
			}
		}
		if named && common == 0 {
			return false, false
		}
		every = every && named && common == len(wanted)
	}
	return true, every
}

// starved says in words, with the numbers, that an experiment gets far less than its
// definition says; "" where it does not.
func (t traffic) starved() string {
	if t.wants == 0 || t.gets >= littleLeft*t.wants {
		return ""
	}
	var who []string
	for _, o := range t.takers {
		text := fmt.Sprintf("%s takes about %s of these", o.ID, share(o.share))
		if o.partly {
			text = fmt.Sprintf("%s takes up to about %s of these%s", o.ID, share(o.share), admitted(o.Audience))
		}
		who = append(who, text)
	}
	gets := "about " + share(t.gets)
	switch {
	case t.most > t.gets:
		gets = "between " + share(t.gets) + " and " + share(t.most)
	case t.gets == 0:
		gets = "none"
	}
	return fmt.Sprintf("experiment %s asks for %s of all units and gets %s: a request takes part in the experiment "+
		"that was "+
		"started first, and %s; %s", t.id, share(t.wants), gets, strings.Join(who, ", "), advice)
}

// admitted names an audience.
func admitted(a experiment.Audience) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		parts = append(parts, name+" "+strings.Join(a[name], " or "))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// share is a percentage, as exactly as it is known.
func share(f float64) string {
	digits := 0
	if f < 0.01 {
		digits = 1
	}
	return strconv.FormatFloat(100*f, 'f', digits, 64) + " %"
}

// covers is the share of all units that a definition asks for.
func covers(x experiment.Experiment) float64 {
	all := float64(x.Coverage) / float64(experiment.Whole)
	if n := x.Namespace; n != nil {
		all *= float64(n.To-n.From) / float64(experiment.Whole)
	}
	return all
}

// checkTraffic refuses, as a conflict, to start an experiment that no request could
// reach. Where requests reach it, but far fewer than its definition says, it adds
// that to the change, for the audit record.
func (d draws) checkTraffic(x experiment.Experiment, all []experiment.Experiment, c *experiment.Change) error {
	t := d.traffic(x, before(x, all))
	text := t.starved()
	if text != "" && t.most == 0 {
		return quality.Errorf(quality.KindConflict, "%s", text)
	}
	c.Detail = text
	c.Numbers["share of units wanted"], c.Numbers["share of units left"] = number(t.wants), number(t.gets)
	return nil
}

// before are the running experiments that take requests before x, which may not
// have started yet, in the order in which they do.
func before(x experiment.Experiment, all []experiment.Experiment) []experiment.Experiment {
	var first []experiment.Experiment
	for _, o := range all {
		if o.ID != x.ID && o.State == experiment.Running && (x.Started.IsZero() || inTurn(o, x) < 0) {
			first = append(first, o)
		}
	}
	slices.SortFunc(first, inTurn)
	return first
}

// inTurn compares running experiments by who takes a request first.
func inTurn(a, b experiment.Experiment) int {
	return cmp.Or(a.Started.Compare(b.Started), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

// Warnings say what a running experiment doesn't get of what its definition says,
// and which other one gets less because of it.
func (e *Engine) Warnings(id experiment.ID) []string {
	var texts []string
	all, d := e.current.Load().all, e.newDraws()
	for _, x := range all {
		if x.State != experiment.Running {
			continue
		}
		first := before(x, all)
		if x.ID != id && !slices.ContainsFunc(first, func(o experiment.Experiment) bool { return o.ID == id }) {
			continue
		}
		t := d.traffic(x, first)
		if x.ID == id || slices.ContainsFunc(t.takers, func(o taker) bool { return o.ID == id }) {
			if text := t.starved(); text != "" {
				texts = append(texts, text)
			}
		}
	}
	return texts
}
