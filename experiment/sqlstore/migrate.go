package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/agiqa/agiqa/quality"
)

// migrate brings the schema to the version of this program. Any number of
// processes may do so at once.
func (s *Store) migrate(ctx context.Context, tx *sql.Tx) error {
	if s.dialect.lockSchema != "" {
		if _, err := tx.ExecContext(ctx, s.dialect.lockSchema); err != nil {
			return err
		}
	}
	for _, table := range []string{
		// The versions that a program must know.
		`CREATE TABLE IF NOT EXISTS agiqa_schema (version {int} PRIMARY KEY)`,
		// The versions that were applied, and the first release that knows each.
		`CREATE TABLE IF NOT EXISTS agiqa_schema_steps (version {int} PRIMARY KEY, program TEXT NOT NULL)`,
	} {
		if _, err := tx.ExecContext(ctx, s.dialect.types.Replace(table)); err != nil {
			return err
		}
	}
	needed, err := s.schemaVersion(ctx, tx, "agiqa_schema")
	if err != nil {
		return err
	}
	if needed > len(migrations) {
		return s.tooOld(ctx, tx, needed)
	}
	applied, err := s.schemaVersion(ctx, tx, "agiqa_schema_steps")
	if err != nil {
		return err
	}
	// A newer program may have gone further. What it added is not in our way.
	for version := max(applied, needed) + 1; version <= len(migrations); version++ {
		for _, statement := range migrations[version-1] {
			if _, err := tx.ExecContext(ctx, s.dialect.types.Replace(statement)); err != nil {
				return fmt.Errorf("schema %d: %w", version, err)
			}
		}
		if _, err := tx.ExecContext(ctx, s.sql(`INSERT INTO agiqa_schema_steps (version, program) VALUES (?, ?)`),
			version, since[version]); err != nil {
			return err
		}
	}
	for version := needed + 1; version <= required; version++ {
		if _, err := tx.ExecContext(ctx, s.sql(`INSERT INTO agiqa_schema (version) VALUES (?)`), version); err != nil {
			return err
		}
	}
	return nil
}

// schemaVersion returns the highest version in a table, 0 where there is none.
func (s *Store) schemaVersion(ctx context.Context, tx *sql.Tx, table string) (version int, err error) {
	err = tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM `+table).Scan(&version)
	return version, err
}

// tooOld says which release the database needs, if a program said so.
func (s *Store) tooOld(ctx context.Context, tx *sql.Tx, needed int) error {
	var program string
	err := tx.QueryRowContext(ctx, s.sql(`SELECT program FROM agiqa_schema_steps WHERE version = ?`),
		needed).Scan(&program)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	newer := "a newer program"
	if program != "" {
		newer = "agiqa " + program + " or newer"
	}
	return quality.Errorf(quality.KindStoreUnavailable,
		"the database schema has version %d, this program supports up to %d; use %s", needed,
		len(migrations), newer).Because(errTooOld)
}

// errTooOld is the cause of the error of tooOld, which no time mends.
var errTooOld = errors.New("program too old for the schema")

// sql puts a statement's placeholders, written as ?, into the dialect's form.
// Statements hold no literal question mark.
func (s *Store) sql(statement string) string {
	if !s.dialect.numbered {
		return statement
	}
	var b strings.Builder
	n := 0
	for part := range strings.SplitSeq(statement, "?") {
		if n > 0 {
			fmt.Fprintf(&b, "$%d", n)
		}
		b.WriteString(part)
		n++
	}
	return b.String()
}

// tuples returns "(?,?),(?,?)": rows of columns placeholders.
func tuples(rows, columns int) string {
	one := "(" + strings.TrimSuffix(strings.Repeat("?,", columns), ",") + ")"
	return strings.TrimSuffix(strings.Repeat(one+",", rows), ",")
}
