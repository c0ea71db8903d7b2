// Package desired is what every gateway of a store should serve: which
// checkpoints were imported, which one is the default, and which was before.
//
// A [Store] keeps it as one document with a revision, and the bundles that it
// names. It also keeps leases: which gateway uses which head, and who is loading
// one. Package checkpoint/lifecycle turns the desired state into the state of a
// gateway and its inference servers; package experiment/sqlstore keeps it in SQLite
// or PostgreSQL.
package desired
