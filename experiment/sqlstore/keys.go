package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/quality"
)

var _ access.Store = (*Store)(nil)

const keyColumns = `id, name, hash, scopes, rater, created, created_by, expires, used, revoked, revoked_by`

// CreateKey implements access.Store. Whoever creates keys takes turns, with
// writers of other processes as well: the row that they lock is the log's.
func (s *Store) CreateKey(ctx context.Context, k access.Key) error {
	return s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, again bool) error {
		var last int64
		if err := tx.QueryRowContext(ctx, s.dialect.lockLog).Scan(&last); err != nil {
			return err
		}
		if again {
			if _, err := s.keyOf(ctx, tx, k.ID); !errors.Is(err, sql.ErrNoRows) {
				return err // the first attempt was committed
			}
		}
		var named, all int
		err := tx.QueryRowContext(ctx, s.sql(`SELECT COALESCE(SUM(CASE WHEN name = ? THEN 1 ELSE 0 END), 0), COUNT(*) `+
			`FROM agiqa_keys WHERE revoked = 0 AND (expires = 0 OR expires > ?)`), k.Name, micros(k.Created)).Scan(&named, &all)
		switch {
		case err != nil:
			return err
		case named >= access.MaxPerName:
			return quality.Errorf(quality.KindConflict, "%d keys named %s are valid; revoke one before you create another",
				named, k.Name)
		case all >= access.MaxKeys:
			return quality.Errorf(quality.KindConflict, "%d keys are valid; revoke some before you create others", all)
		}
		_, err = tx.ExecContext(ctx, s.sql(`INSERT INTO agiqa_keys (`+keyColumns+`) VALUES `+tuples(1, 11)),
			k.ID, k.Name, k.Hash[:], scopesText(k.Scopes), k.Rater, micros(k.Created), k.CreatedBy, micros(k.Expires),
			micros(k.Used), micros(k.Revoked), k.RevokedBy)
		return err
	}})
}

// ListKeys implements access.Store.
func (s *Store) ListKeys(ctx context.Context, since time.Time) ([]access.Key, error) {
	var all []access.Key
	err := s.query(ctx, func(rows *sql.Rows) error {
		k, err := scanKey(rows.Scan)
		all = append(all, k)
		return err
	}, `SELECT `+keyColumns+` FROM agiqa_keys WHERE (revoked = 0 OR revoked >= ?) AND (expires = 0 OR expires >= ?) `+
		`ORDER BY created, id`, micros(since), micros(since))
	return all, err
}

// RevokeKey implements access.Store.
func (s *Store) RevokeKey(ctx context.Context, id, by string, at time.Time) (access.Key, error) {
	var k access.Key
	err := s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, _ bool) error {
		_, err := tx.ExecContext(ctx, s.sql(`UPDATE agiqa_keys SET revoked = ?, revoked_by = ? WHERE id = ? AND revoked = 0`),
			micros(at), by, id)
		if err != nil {
			return err
		}
		revoked, err := s.keyOf(ctx, tx, id)
		if errors.Is(err, sql.ErrNoRows) {
			return quality.Errorf(quality.KindNotFound, "no API key has the ID %s", quality.Quote(id))
		}
		if err == nil {
			k = revoked
		}
		return err
	}})
	if err != nil { // a caller that left must not look at what the writer writes
		return access.Key{}, err
	}
	return k, nil
}

// UseKeys implements access.Store.
func (s *Store) UseKeys(ctx context.Context, used map[string]time.Time) error {
	return s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, _ bool) error {
		for _, id := range slices.Sorted(maps.Keys(used)) { // in one order everywhere, so that nobody waits in a circle
			at := micros(used[id])
			if _, err := tx.ExecContext(ctx, s.sql(`UPDATE agiqa_keys SET used = ? WHERE id = ? AND used < ?`),
				at, id, at); err != nil {
				return err
			}
		}
		return nil
	}})
}

// keyOf returns a key by its ID, or [sql.ErrNoRows].
func (s *Store) keyOf(ctx context.Context, tx *sql.Tx, id string) (access.Key, error) {
	return scanKey(tx.QueryRowContext(ctx, s.sql(`SELECT `+keyColumns+` FROM agiqa_keys WHERE id = ?`), id).Scan)
}

func scanKey(scan func(...any) error) (access.Key, error) {
	var (
		k                               access.Key
		hash                            []byte
		scopes                          string
		created, expires, used, revoked int64
	)
	err := scan(&k.ID, &k.Name, &hash, &scopes, &k.Rater, &created, &k.CreatedBy, &expires, &used, &revoked, &k.RevokedBy)
	if err != nil {
		return k, err
	}
	if len(hash) != len(k.Hash) {
		return access.Key{}, quality.Errorf(quality.KindInternal, "the record of API key %s is damaged", quality.Quote(k.ID))
	}
	copy(k.Hash[:], hash)
	for name := range strings.FieldsSeq(scopes) {
		k.Scopes = append(k.Scopes, access.Scope(name))
	}
	k.Created, k.Expires, k.Used, k.Revoked = instant(created), instant(expires), instant(used), instant(revoked)
	return k, nil
}

func scopesText(scopes []access.Scope) string {
	var names []string
	for _, s := range scopes {
		names = append(names, string(s))
	}
	return strings.Join(slices.Compact(names), " ")
}

// micros is a time as it's stored; the zero value is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func instant(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
