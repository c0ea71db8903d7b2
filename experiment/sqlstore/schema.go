package sqlstore

// required is the oldest schema that a program must know to work on what this one
// leaves behind. A migration only adds (tables, indexes, columns with a default),
// so that programs of the release before go on working beside this one; required
// is raised to a version a minor release after that version appeared.
const required = 3

// since says which release was the first to know a schema after the third.
var since = map[int]string{4: "0.1.0"}

// migrations lists, by version from 1, the statements that lead there. {seq},
// {bytes} and {int} are the dialect's types. A migration that was released is
// never edited: add another.
//
// A record is kept whole, as JSON. Columns beside it exist to find it by, and
// so that a person can ask the database. Times are microseconds since 1970.
var migrations = [][]string{{
	// One row: the last place given in the log. Its row is what writers lock,
	// so that places are committed in their order, and a reader that has seen
	// one will never find a lower one appear.
	`CREATE TABLE agiqa_log (id {int} PRIMARY KEY, last {int} NOT NULL)`,
	`INSERT INTO agiqa_log (id, last) VALUES (1, 0)`,

	`CREATE TABLE agiqa_experiments (
		id TEXT PRIMARY KEY, created {int} NOT NULL, revision {int} NOT NULL, state TEXT NOT NULL, record {bytes} NOT NULL)`,
	`CREATE TABLE agiqa_audits (
		experiment TEXT NOT NULL, revision {int} NOT NULL, record {bytes} NOT NULL, PRIMARY KEY (experiment, revision))`,

	`CREATE TABLE agiqa_exposures (
		seq {seq}, id TEXT NOT NULL UNIQUE, experiment TEXT NOT NULL, assignment TEXT NOT NULL, image {bytes}, record {bytes} NOT NULL)`,
	`CREATE INDEX agiqa_exposures_experiment ON agiqa_exposures (experiment, seq)`,
	`CREATE INDEX agiqa_exposures_assignment ON agiqa_exposures (assignment, seq)`,
	`CREATE INDEX agiqa_exposures_image ON agiqa_exposures (image, seq)`,

	`CREATE TABLE agiqa_feedback (
		seq {seq}, idempotency TEXT NOT NULL UNIQUE, experiment TEXT NOT NULL, at {int} NOT NULL, assignment TEXT NOT NULL,
		image {bytes}, image_a {bytes}, image_b {bytes}, record {bytes} NOT NULL)`,
	`CREATE INDEX agiqa_feedback_experiment ON agiqa_feedback (experiment, seq)`,
	// Orphans have no experiment.
	`CREATE INDEX agiqa_orphans_at ON agiqa_feedback (at) WHERE experiment = ''`,
	`CREATE INDEX agiqa_orphans_assignment ON agiqa_feedback (assignment) WHERE experiment = '' AND assignment <> ''`,
	`CREATE INDEX agiqa_orphans_image ON agiqa_feedback (image) WHERE experiment = '' AND assignment = ''`,
	`CREATE INDEX agiqa_orphans_image_a ON agiqa_feedback (image_a) WHERE experiment = '' AND assignment = ''`,
	`CREATE INDEX agiqa_orphans_image_b ON agiqa_feedback (image_b) WHERE experiment = '' AND assignment = ''`,
}, {
	// 0 is never. hash is the SHA-256 of the key's secret.
	`CREATE TABLE agiqa_keys (
		id TEXT PRIMARY KEY, name TEXT NOT NULL, hash {bytes} NOT NULL, scopes TEXT NOT NULL, rater TEXT NOT NULL,
		created {int} NOT NULL, created_by TEXT NOT NULL, expires {int} NOT NULL, used {int} NOT NULL,
		revoked {int} NOT NULL, revoked_by TEXT NOT NULL)`,
	`CREATE INDEX agiqa_keys_name ON agiqa_keys (name)`,
}, {
	// Whether nobody was shown a score, to know which images are sealed without
	// reading records. Of older exposures nobody knows.
	`ALTER TABLE agiqa_exposures ADD COLUMN blind {int} NOT NULL DEFAULT 0`,
	// What a label answers, once; NULL, of which there may be any number, where
	// it answers no task. And whose key it came with.
	`ALTER TABLE agiqa_feedback ADD COLUMN task TEXT`,
	`ALTER TABLE agiqa_feedback ADD COLUMN sender TEXT NOT NULL DEFAULT ''`,
	`CREATE UNIQUE INDEX agiqa_feedback_task ON agiqa_feedback (task)`,
	`CREATE INDEX agiqa_orphans_sender ON agiqa_feedback (sender) WHERE experiment = ''`,
}, {
	// The desired state: one row, and the bundles that it names.
	`CREATE TABLE agiqa_state (id {int} PRIMARY KEY, store TEXT NOT NULL, revision {int} NOT NULL, document TEXT NOT NULL)`,
	`INSERT INTO agiqa_state (id, store, revision, document) VALUES (1, '', 0, '{}')`,
	`CREATE TABLE agiqa_bundles (address TEXT PRIMARY KEY, manifest {bytes} NOT NULL, weights {bytes} NOT NULL)`,
	// Who uses a head, in a slot of their own, and who has a lock, in the only
	// slot. Expiry is by the database's clock.
	`CREATE TABLE agiqa_leases (
		subject TEXT NOT NULL, slot TEXT NOT NULL, holder TEXT NOT NULL, expires {int} NOT NULL, PRIMARY KEY (subject, slot))`,
	`CREATE INDEX agiqa_leases_holder ON agiqa_leases (holder)`,
}}
