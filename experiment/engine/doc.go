// Package engine runs experiments: it enrols requests, writes down what they
// were shown before they are answered, takes feedback, watches guardrails,
// widens ramps, and promotes and rolls back.
//
// Several engines may work on one store. Each reads it once a second and at
// once after a change of its own; every change is a compare-and-swap on the
// experiment's revision, so that of two engines that want the same thing one
// does it.
//
// It refuses to let an experiment cost a score: where the store fails, the
// control answers and the answer says so; where an arm fails, the control
// answers for it. scoring asks it for the arms of a request and tells it what
// they said (scoring.Director); gateway and cmd show it to people.
package engine
