package sqlstore_test

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/experiment/storetest"
)

// sqliteFile opens a store's file beside it.
func sqliteFile(t *testing.T, path string) *sql.DB {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path}).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execute(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// TestOlderProgramStarts on what this one leaves behind. Programs of schema 3 only
// looked at the highest version in agiqa_schema, and ran the statements of the
// fixture.
func TestOlderProgramStarts(t *testing.T) {
	t.Parallel()
	c := sqliteConfig(t)
	s := open(t, c)
	db := sqliteFile(t, c.Path)
	var version int
	if err := db.QueryRowContext(t.Context(), `SELECT MAX(version) FROM agiqa_schema`).Scan(&version); err != nil ||
		version != 3 {
		t.Errorf("a program must know schema %d, %v, want 3", version, err)
	}
	raw, err := os.ReadFile("testdata/program-3.sql")
	if err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(string(raw), ";\n") {
		if strings.TrimSpace(statement) != "" {
			execute(t, db, statement)
		}
	}
	keys, err := s.ListKeys(t.Context(), c.Clock())
	if err != nil || len(keys) != 1 || keys[0].Name != "old" {
		t.Errorf("keys %+v, %v, want the one of the older program", keys, err)
	}
	if err := s.AppendExposures(t.Context(), []experiment.Exposure{storetest.NewExposure("x", 1)}); err != nil {
		t.Errorf("beside an older program: %v", err)
	}
}

// TestNewerPrograms have gone further: what they added is in nobody's way, unless
// they say that a program must know it.
func TestNewerPrograms(t *testing.T) {
	t.Parallel()
	c := sqliteConfig(t)
	open(t, c).Close()
	db := sqliteFile(t, c.Path)
	newer := sqlstore.Versions + 1
	execute(t, db, `CREATE TABLE agiqa_later (id INTEGER PRIMARY KEY)`,
		`ALTER TABLE agiqa_exposures ADD COLUMN later INTEGER NOT NULL DEFAULT 0`,
		fmt.Sprintf(`INSERT INTO agiqa_schema_steps (version, program) VALUES (%d, '9.8.0')`, newer))
	s := open(t, c)
	if err := s.AppendExposures(t.Context(), []experiment.Exposure{storetest.NewExposure("x", 1)}); err != nil {
		t.Errorf("on a newer schema: %v", err)
	}
	execute(t, db, fmt.Sprintf(`INSERT INTO agiqa_schema (version) VALUES (%d)`, newer))
	_, err := sqlstore.Open(t.Context(), c)
	if want := "agiqa 9.8.0 or newer"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Open: %v, want a word about %s", err, want)
	}
}
