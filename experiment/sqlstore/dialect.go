package sqlstore

import (
	"context"
	"database/sql"
	"strings"
)

// dialect is how the two databases differ.
type dialect struct {
	name       string
	types      *strings.Replacer
	numbered   bool   // placeholders are $1, $2
	lockSchema string // taken before the schema is looked at; "": the transaction is enough
	nowMicros  string // the database's clock, in microseconds since 1970; "": it has none of its own
	lockLog    string // returns the last place, and makes other writers wait
	warns      bool   // the server's settings may undo what durability promises
	shared     bool   // several gateways may use it
	clock      string // microseconds since 1970, by the database's clock
	lockState  string // returns the revision of the desired state, which stays until the transaction ends

	// listen calls told whenever the desired state changed, until ctx or the
	// connection ends; nil: nobody tells.
	listen func(ctx context.Context, told func()) error
	notify string // tells those that listen, with the commit; "": nobody listens

	write, read *sql.DB

	// fault says what an error of the database means for the next attempt.
	fault func(error) fault
	// check finds what a commit would not notice; it may be nil.
	check func() error
	// where and why tell people about a failure; "" where there is nothing to say.
	where string
	why   func(error) string
}

// fault is what an error means for whoever tries again.
type fault int

const (
	ofRecord fault = iota // this statement failed: others may succeed
	ofLink                // the connection or the disk: a new connection may succeed
	ofLock                // another process holds the database: waiting longer may help
	ofSetup               // only a person can help: wrong password, no such database
)

// drop closes the connections that nobody uses, so that the next use opens new
// ones.
func drop(db *sql.DB, keep int) {
	db.SetMaxIdleConns(-1)
	db.SetMaxIdleConns(keep)
}
