package sqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/agiqa/agiqa/quality"
)

// maxJournal is what a write-ahead log is cut to after it was copied into the
// database.
const maxJournal = 64 << 20

// openSQLite prepares the pools of a file. Nothing is opened yet; the file is made
// by the first check. A path that can't be a file's is an error.
func openSQLite(c Config) (dialect, error) {
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return dialect{}, err
	}
	switch info, err := os.Stat(path); {
	case errors.Is(err, syscall.ENOTDIR):
		return dialect{}, err
	case err == nil && !info.Mode().IsRegular():
		return dialect{}, quality.Errorf(quality.KindStoreUnavailable, "%s is no file", path)
	}
	pool := func(size int, queryOnly bool) (*sql.DB, error) {
		connector, err := sqlite.NewConnector(sqliteURI(path, queryOnly))
		if err != nil {
			return nil, err
		}
		db := sql.OpenDB(connector)
		db.SetMaxOpenConns(size)
		db.SetMaxIdleConns(size)
		return db, nil
	}
	write, err := pool(1, false)
	if err != nil {
		return dialect{}, err
	}
	read, err := pool(readers, true)
	if err != nil {
		return dialect{}, err
	}
	return dialect{
		name:      "sqlite",
		types:     strings.NewReplacer("{seq}", "INTEGER PRIMARY KEY", "{int}", "INTEGER", "{bytes}", "BLOB"),
		clock:     `CAST(unixepoch('subsec') * 1000000 AS INTEGER)`,
		lockState: `SELECT revision FROM agiqa_state WHERE id = 1`,
		lockLog:   `SELECT last FROM agiqa_log WHERE id = 1`, // the transaction began as a writer
		write:     write, read: read,
		fault: sqliteFault,
		check: sameFile(path),
		where: path,
		why:   sqliteWhy,
	}, nil
}

// makeFile makes an empty file, which is an empty database, readable by its
// owner alone; its name is on the disk when it returns.
func makeFile(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// sqliteURI says how every connection is made: a write-ahead log, an fsync
// with every commit, transactions that begin as writers, and no file made in
// place of one that is gone.
func sqliteURI(path string, queryOnly bool) string {
	q := url.Values{
		"mode":          {"rw"},
		"_busy_timeout": {strconv.FormatInt(lockWait.Milliseconds(), 10)},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_txlock":       {"immediate"},
		"_pragma":       {fmt.Sprintf("journal_size_limit(%d)", maxJournal)},
		"_error_rc":     {"1"},
		"_dqs":          {"0"},
		"_defensive":    {"1"},
	}
	if queryOnly {
		q.Set("_query_only", "1")
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

// sameFile returns a check that makes the file the first time, and then wants that
// the path still leads to it. SQLite goes on writing to a file that was removed, and
// what it acknowledges would be gone with the process.
func sameFile(path string) func() error {
	var mu sync.Mutex
	var file os.FileInfo // nil: not seen yet
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		if file == nil {
			if err := makeFile(path); err != nil {
				return err
			}
		}
		now, err := os.Stat(path)
		if err != nil {
			return err
		}
		if file == nil {
			file = now
		}
		if !os.SameFile(file, now) {
			return fmt.Errorf("%s was replaced by another file; restart the server", path)
		}
		return nil
	}
}

// sqliteWhy says what is wrong with the file.
func sqliteWhy(err error) string {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL:
			return "no space left on device"
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
			return "the file can't be written"
		case sqlite3.SQLITE_CANTOPEN:
			return "the file can't be opened"
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return "the file is damaged, and is left as it is; restore it, or move it away to begin anew"
		case sqlite3.SQLITE_IOERR:
			return "the disk fails, or is full"
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return "another process holds it"
		}
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return ""
}

// sqliteFault tells errors of the file from those of a statement.
func sqliteFault(err error) fault {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		// A file system's error, or database/sql's about a broken connection.
		return ofLink
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return ofLock
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM,
		sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_CORRUPT,
		sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PROTOCOL:
		return ofLink
	}
	return ofRecord
}
