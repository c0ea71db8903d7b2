package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// migrate brings the schema to the version of this program. Any number of
// processes may do so at once.
func (s *Store) migrate(ctx context.Context, tx *sql.Tx) error {
	if s.dialect.lockSchema != "" {
		if _, err := tx.ExecContext(ctx, s.dialect.lockSchema); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, s.dialect.types.Replace(
		`CREATE TABLE IF NOT EXISTS agiqa_schema (version {int} PRIMARY KEY)`)); err != nil {
		return err
	}
	var version int
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM agiqa_schema`).Scan(&version); err != nil {
		return err
	}
	if version > len(migrations) {
		return fmt.Errorf("the database schema has version %d, this program supports up to %d; use a newer program", version,
			len(migrations))
	}
	for i, statements := range migrations[version:] {
		for _, statement := range statements {
			if _, err := tx.ExecContext(ctx, s.dialect.types.Replace(statement)); err != nil {
				return fmt.Errorf("schema %d: %w", version+i+1, err)
			}
		}
		if _, err := tx.ExecContext(ctx, s.sql(`INSERT INTO agiqa_schema (version) VALUES (?)`), version+i+1); err != nil {
			return err
		}
	}
	return nil
}

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
